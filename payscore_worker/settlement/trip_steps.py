"""Takes the steps of a trip that need WeChat Pay: asks, stores the bytes, sends them, and writes what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import (
    AskFirstOrder,
    AskOrder,
    AskServiceState,
    CancelFirstOrder,
    CancelOrder,
    CompleteOrder,
    Decline,
    LowerOrder,
    OpenOrder,
    PayOrder,
    Rest,
    Rules,
    SayOverdue,
    SayStale,
    SendBack,
    Step,
    Stop,
    SyncOrder,
    end_time_for,
    risk_amount_fen,
)
from payscore_worker.domain.second_try import second_try_of
from payscore_worker.domain.trip import (
    Doubt,
    Opening,
    Trip,
    TripState,
    fare_of,
    needs_confirm,
    owed_fen,
)
from payscore_worker.errors import (
    MalformedMessage,
    Refusal,
    Retryable,
    WechatPayError,
    WechatPayRejected,
)
from payscore_worker.settlement import journal
from payscore_worker.settlement.books import Change, ReturnBooks, TripBooks
from payscore_worker.settlement.fare_steps import FareSteps
from payscore_worker.settlement.first_order_steps import FirstOrderSteps
from payscore_worker.settlement.translation import (
    SENT_BY,
    cancel_reason,
    completion,
    doubt,
    new_order,
    odd_answer,
    plain_completion,
    plain_order,
    seen,
)
from payscore_worker.settlement.trip_calls import NOT_ANSWERED, Run, TripCalls, of, passenger
from payscore_worker.storage import CallOutcome, CallRecord, ServiceNote, Storage
from payscore_worker.wechatpay import Answer, Call, CallKind
from payscore_worker.wechatpay.payscore import Order, PayScore, PayScores, Phase

START_MARGIN: Final = timedelta(seconds=10)
"""A start sent in seconds must lie after WeChat's now, and their clock may be ahead (reference payscore-api 0.9)."""

OTHERS_PASS: Final = timedelta(hours=1)
"""A create that was accepted within this time shows that we may open orders; a refusal is then about one trip."""

NO_AUTHORISATION: Final = frozenset({Refusal.NOT_PERMITTED, Refusal.NOT_ENABLED})
"""The refusals of a create for want of the passenger's authorisation, or of ours (reference payscore-api F.1)."""

MAX_TOKEN_SENDS: Final = 3
"""Rounds in which a token is asked for before a trip is declined without it."""

TOKEN_GENERATION: Final = 0
"""In the journal: asking for a token is no body of the order's, of which there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the settings say of every order."""

    introduction: str
    start_at_event: bool
    service_state_ttl: timedelta
    out_order_no_prefix: str = ""


class Steps(TripCalls):
    """What there is to do about a trip, one step at a time."""

    def __init__(
        self,
        *,
        storage: Storage,
        books: TripBooks,
        returns: ReturnBooks,
        payscores: PayScores,
        rules: Rules,
        terms: Terms,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(storage=storage, books=books, payscores=payscores, clock=clock)
        self._rules = rules
        self._terms = terms
        self._fares = FareSteps(
            storage=storage,
            books=books,
            returns=returns,
            payscores=payscores,
            rules=rules,
            refund_prefix=terms.out_order_no_prefix,
            clock=clock,
        )
        self._first_orders = FirstOrderSteps(storage=storage, books=books, payscores=payscores, clock=clock)
        self._accepted_at: dict[str, datetime] = {}
        """When a create was last accepted, by the mchid it was of."""

    async def take(self, step: Step, run: Run) -> None:
        """Take one step; the run's trip is then where that led, or as another worker left it.

        Raises:
            Retryable: WeChat Pay, or the database, is out of reach; the same step again is right.
            MalformedMessage: the call cannot be made of what the trip says.

        """
        match step:
            case AskServiceState():
                await self._ask_service_state(run)
            case OpenOrder():
                await self._open_order(run)
            case AskOrder():
                await self._ask_order(run)
            case CompleteOrder():
                await self._complete_order(run)
            case CancelOrder():
                await self._cancel_order(run)
            case LowerOrder() | SyncOrder() | PayOrder() | SendBack():
                await self._fares.take(step, run)
            case AskFirstOrder() | CancelFirstOrder():
                await self._first_orders.take(step, run)
            case Decline() | Stop() | SayStale() | SayOverdue():
                await self._conclude(step, run)
            case Rest():
                return
            case _:
                assert_never(step)

    async def _conclude(self, step: Decline | Stop | SayStale | SayOverdue, run: Run) -> None:
        """Write what needs no call."""
        now = self._clock()
        match step:
            case Decline():
                await self._move(run, lambda trip: outcomes.declined(trip, step.reason, step.message, now=now))
            case Stop():
                await self.stop(run, step.code, step.message, step=step.step)
            case SayStale():
                await self._move(run, lambda trip: outcomes.stale(trip, now))
            case SayOverdue():
                await self._move(run, lambda trip: outcomes.overdue(trip, step.step, now))
            case _:
                assert_never(step)

    async def recall(self, run: Run) -> None:
        """Find under which terms an order was opened, where a release that did not keep them has opened it."""
        trip, opening = run.trip, run.trip.opening
        if not trip.bodies or (opening is not None and opening.terms is not None):
            return
        if opening is None and trip.state is TripState.NOTED:
            return  # its body was dropped
        record = await self._storage.last_call(trip.trip_id, CallKind.CREATE)
        if record is None:
            return
        opening = opening or Opening(risk_amount_fen=risk_amount_fen(trip, self._rules), start_time=None)
        terms = self._payscores.terms_in(Call(CallKind.CREATE, record.method, record.path, record.body))
        run.trip = replace(trip, opening=replace(opening, terms=terms))

    # --- Questions: nothing is stored before them ---

    async def _ask_service_state(self, run: Run) -> None:
        trip, started = run.trip, of(run.trip.started)
        if trip.doubt is None and await self._is_known_on(trip, started.openid):
            run.trip = outcomes.service_answered(trip, enabled=True)
            return
        enabled = await self._service_enabled(run, started.openid)
        if enabled is None:
            return
        if enabled and trip.doubt is not None:
            self._speaking(trip).not_permitted(trip.doubt.code)
        known = replace(trip, service_enabled=True)
        if outcomes.service_answered(trip, enabled=enabled) == known:
            run.trip = known  # for this run; the next write comes with the create
            return
        await self._move(run, lambda trip: outcomes.service_answered(trip, enabled=enabled))

    async def _is_known_on(self, trip: Trip, openid: str) -> bool:
        """Tell whether the service is known to be on. That it is off is never taken from memory: it would decline."""
        ttl = self._terms.service_state_ttl
        if not ttl:
            return False
        note = await self._storage.service_of(passenger(openid, self._present(trip), self._payscores))
        return note is not None and note.enabled and self._clock() - note.as_of <= ttl

    async def _service_enabled(self, run: Run, openid: str) -> bool | None:
        """Ask under the present terms: it is about the passenger, and not about an order."""
        payscore = self._present(run.trip)
        record = journal.asking(payscore.service_question, self._clock())
        try:
            enabled, answer = await payscore.service_enabled(openid)
        except WechatPayRejected as error:
            await self._question_refused(run, record, AskServiceState, error)
            return None
        except MalformedMessage as error:
            await self._question_odd(run, odd_answer(AskServiceState, "malformed_answer", str(error)))
            return None
        except NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise
        journal.remember(run.asked, journal.accepted(record, answer, self._clock()))
        if self._terms.service_state_ttl:
            note = ServiceNote(enabled=enabled, as_of=self._clock())
            await self._storage.note_service(passenger(openid, payscore, self._payscores), note)
        return enabled

    async def _ask_order(self, run: Run) -> None:
        record = journal.asking(CallKind.QUERY, self._clock())
        try:
            order, answer = await self._speaking(run.trip).query(run.trip.out_order_no)
        except WechatPayRejected as error:
            if error.refusal is not Refusal.ORDER_NOT_FOUND:
                await self._question_refused(run, record, AskOrder, error)
                return
            journal.remember(run.asked, journal.failed(record, error, self._clock()))
            await self._take_absence(run, doubt(AskOrder, error))
            return
        except MalformedMessage as error:
            await self._question_odd(run, odd_answer(AskOrder, "malformed_answer", str(error)))
            return
        except NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise
        journal.remember(run.asked, journal.accepted(record, answer, self._clock()))
        await self._take_word(run, order, answer)

    async def _take_absence(self, run: Run, unknown: Doubt) -> None:
        certain, now = await self._is_certain(run.trip, CallKind.CREATE), self._clock()
        prefix = (self._rules.other(run.trip) or self._terms).out_order_no_prefix

        def absent(trip: Trip) -> Trip:
            second = second_try_of(trip, self._rules, now, prefix=prefix)
            return outcomes.not_found(trip, unknown, now, certain=certain, second=second)

        await self._move(run, absent)

    async def _take_word(self, run: Run, order: Order, answer: Answer) -> None:
        trip, request_id = run.trip, answer.request_id
        if not self._speaking(trip).is_ours(order) or order.out_order_no != trip.out_order_no:
            message = "WeChat Pay answered with another order than ours"
            await self._question_odd(run, odd_answer(AskOrder, "not_ours", message, request_id=request_id))
            return
        if self._needs_ticket(trip) and order.phase is Phase.RUNNING and not order.finish_ticket:
            message = "WeChat Pay shows a running order without finish_ticket"
            await self._question_odd(run, odd_answer(AskOrder, "no_finish_ticket", message, request_id=request_id))
            return
        word, now = seen(order), self._clock()
        certain = trip.doubt is not None and await self._is_certain(trip, SENT_BY[trip.doubt.step])
        await self._hear(run, word, lambda trip: outcomes.asked(trip, word, now, certain=certain))

    def _needs_ticket(self, trip: Trip) -> bool:
        ticketed = self._rules.family_of(trip) in self._rules.ticketed
        return ticketed and trip.state is TripState.OPEN and trip.end_time is None and trip.ended is not None

    async def _question_refused(self, run: Run, record: CallRecord, step: type, error: WechatPayRejected) -> None:
        journal.remember(run.asked, journal.failed(record, error, self._clock()))
        if error.refusal is Refusal.NOT_PERMITTED:  # a question needs no permission of the passenger's
            self._speaking(run.trip).not_permitted(error.code)
        await self._question_odd(run, doubt(step, error))

    async def _question_odd(self, run: Run, odd: Doubt) -> None:
        now = self._clock()
        await self._move(run, lambda trip: outcomes.question_refused(trip, odd, now))

    async def _is_certain(self, trip: Trip, kind: CallKind) -> bool:
        """Tell whether no send of a call can have been accepted, by whichever worker it was made."""
        record = await self._storage.last_call(trip.trip_id, kind)
        return record is None or record.is_surely_without_effect

    # --- Calls with a body: stored, and each send counted, before they are made ---

    async def _open_order(self, run: Run) -> None:
        payscore = self._speaking(run.trip)
        if run.trip.opening is not None and await self._is_outdated(run.trip, payscore):
            await self._move(run, outcomes.outdated)
            return
        prepared = run.trip.opening is not None
        record = await (self._begin(run, CallKind.CREATE) if prepared else self._prepare_create(run))
        if record is None:
            return
        answer = await self._send(run, record, OpenOrder)
        if answer is None:
            return
        try:
            order = payscore.read_created(answer.data)
        except MalformedMessage as error:
            await self._answered_oddly(run, record, answer, odd_answer(OpenOrder, "malformed_answer", str(error)))
            return
        if order.phase is Phase.UNKNOWN:
            message = "WeChat Pay shows a state that no table knows"
            await self._answered_oddly(run, record, answer, odd_answer(OpenOrder, "unknown_state", message))
            return
        if needs_confirm(run.trip) and order.phase in (Phase.CREATED, Phase.ACCEPTED) and not order.package:
            message = "WeChat Pay shows an order to be confirmed without package"
            await self._answered_oddly(run, record, answer, odd_answer(OpenOrder, "no_package", message))
            return
        now = self._clock()
        self._accepted_at[payscore.terms.mchid] = now
        payscore.permitted()
        word, confirm_by = seen(order), now + self._rules.confirm_expires
        await self._hear(
            run,
            None,
            lambda trip: outcomes.created(trip, word, now, package=order.package, confirm_by=confirm_by),
            answered=journal.accepted(record, answer, now),
        )

    async def _refused(self, run: Run, record: CallRecord, step: type, error: WechatPayRejected) -> None:
        if needs_confirm(run.trip) and step is OpenOrder and error.refusal in NO_AUTHORISATION:
            self._speaking(run.trip).not_permitted(
                error.code
            )  # there is no authorisation: the service has the other mode
        await super()._refused(run, record, step, error)

    async def _is_outdated(self, trip: Trip, payscore: PayScore) -> bool:
        """Tell whether a create was refused under settings that have changed since."""
        if payscore.terms == self._present(trip).terms:
            return False
        record = await self._storage.last_call(trip.trip_id, CallKind.CREATE)
        return record is not None and record.outcome is CallOutcome.REFUSED

    async def _prepare_create(self, run: Run) -> CallRecord | None:
        trip, started, now = run.trip, of(run.trip.started), self._clock()
        payscore, is_plain = self._present(trip), run.trip.rebuilds >= outcomes.MAX_REBUILDS
        risk_fen = risk_amount_fen(trip, self._rules)
        opening = Opening(
            risk_amount_fen=min(risk_fen, self._rules.risk_fen_of(trip)) if is_plain else risk_fen,
            start_time=max(started.started_at, now + START_MARGIN) if self._terms.start_at_event else None,
            is_plain=is_plain,
            terms=payscore.terms,
        )
        write, account = plain_order if is_plain else new_order, self._rules.other(trip) or self._terms
        call = payscore.create(write(trip, started, opening, introduction=account.introduction))
        return await self._prepare(run, call, lambda trip: outcomes.opening(trip, opening))

    async def _complete_order(self, run: Run) -> None:
        payscore = self._speaking(run.trip)
        prepared = run.trip.end_time is not None
        record = await (self._begin(run, CallKind.COMPLETE) if prepared else self._prepare_complete(run, payscore))
        if record is None:
            return
        answer = await self._send(run, record, CompleteOrder)
        if answer is None:
            return
        total_fen, now = owed_fen(run.trip), self._clock()
        await self._hear(
            run,
            None,
            lambda trip: outcomes.complete_accepted(trip, total_fen, now),
            answered=journal.accepted(record, answer, now),
        )

    async def _prepare_complete(self, run: Run, payscore: PayScore) -> CallRecord | None:
        trip, started, ended = run.trip, of(run.trip.started), fare_of(run.trip)
        end_time = end_time_for(trip, self._clock())
        if trip.rebuilds >= outcomes.MAX_REBUILDS:
            call = payscore.complete(plain_completion(trip, ended, end_time=end_time))
        else:
            call = payscore.complete(completion(trip, started, ended, end_time=end_time))
        return await self._prepare(run, call, lambda trip: outcomes.completing(trip, end_time))

    async def _cancel_order(self, run: Run) -> None:
        trip = run.trip
        call = self._speaking(trip).cancel(out_order_no=trip.out_order_no, reason=cancel_reason(trip))
        before = await self._storage.last_call(trip.trip_id, CallKind.CANCEL)
        is_dropped = (
            before is not None and trip.rebuilds and before.is_surely_without_effect and before.body != call.body
        )
        if before is None or is_dropped:
            record = await self._prepare(run, call, outcomes.cancelling)
        else:
            record = await self._begin(run, CallKind.CANCEL)
        if record is None:
            return
        answer = await self._send(run, record, CancelOrder)
        if answer is not None:
            now = self._clock()
            await self._hear(
                run,
                None,
                lambda trip: outcomes.order_cancelled(trip, now),
                answered=journal.accepted(record, answer, now),
            )

    # --- What a passenger enables the service with, who has not ---

    async def _write(self, run: Run, change: Change, answered: CallRecord | None) -> None:
        if outcomes.declines_for_service(run.trip, change(run.trip)):
            change = await self._with_token(run, change)
        await super()._write(run, change, answered)

    async def _with_token(self, run: Run, decline: Change) -> Change:
        """Decline with the token that opens the page on which the passenger enables the service, if there is one."""
        token = await self._enable_token(run.trip)
        return lambda trip: replace(decline(trip), enable_token=token)

    async def _enable_token(self, trip: Trip) -> str:
        """Ask for a token under the trip's number: the same bytes, however often. A decline does without, in the end.

        Raises:
            Retryable: WeChat Pay is out of reach, and was not in vain too often.

        """
        payscore = self._present(trip)
        if not payscore.gives_tokens:
            return ""
        record = await self._begin_token(trip, payscore)
        if record is None:
            return ""
        try:
            answer = await payscore.send(Call(CallKind(record.kind), record.method, record.path, record.body))
        except WechatPayError as error:
            await self._storage.journal(trip, journal.failed(record, error, self._clock()))
            if isinstance(error, Retryable) and record.begun < MAX_TOKEN_SENDS:
                raise
            return ""
        try:
            token = payscore.read_token(answer.data)
        except MalformedMessage:
            await self._storage.journal(trip, journal.answered_oddly(record, answer, self._clock()))
            return ""
        await self._storage.journal(trip, journal.accepted(record, answer, self._clock()))
        return token

    async def _begin_token(self, trip: Trip, payscore: PayScore) -> CallRecord | None:
        """Store the bytes, or load them, and count that they are sent; None: often enough."""
        known = await self._storage.last_call(trip.trip_id, CallKind.PRE_AUTHORISE, TOKEN_GENERATION)
        if known is None:
            call = payscore.pre_authorise(trip.out_order_no)
            record = journal.prepared(call, generation=TOKEN_GENERATION, at=self._clock())
            await self._storage.journal(trip, record)
            return record
        if known.begun >= MAX_TOKEN_SENDS:
            return None
        return await self._storage.begin_send(trip.trip_id, CallKind.PRE_AUTHORISE, TOKEN_GENERATION)

    def _others_pass(self, trip: Trip, now: datetime) -> bool:
        accepted_at = self._accepted_at.get(self._speaking(trip).terms.mchid)
        return accepted_at is not None and now - accepted_at < OTHERS_PASS
