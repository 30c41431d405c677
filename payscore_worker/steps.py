"""Takes the steps of a trip that need WeChat Pay: asks, stores the bytes, sends them, and writes what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar, assert_never

from payscore_worker import journal, outcomes
from payscore_worker.books import Books, Change
from payscore_worker.errors import OutcomeUnknown, Refusal, WechatPayRejected, WechatPayUnavailable
from payscore_worker.storage import CallOutcome, CallRecord, ServiceNote, Storage
from payscore_worker.translation import cancel_reason, completion, doubt, new_order, seen
from payscore_worker.trip import (
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    Decline,
    Opening,
    OpenOrder,
    Problem,
    Rest,
    Rules,
    SayOverdue,
    SayStale,
    Step,
    Trip,
    TripState,
    end_time_for,
    risk_amount_fen,
)
from payscore_worker.wechatpay import Answer, Call, CallKind, Order, PayScore, Phase

START_MARGIN: Final = timedelta(seconds=10)
"""A start sent in seconds must lie after WeChat's now, and their clock may be ahead (reference payscore-api 0.9)."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the settings say of every order."""

    introduction: str
    start_at_event: bool
    service_state_ttl: timedelta
    out_order_no_prefix: str = ""


@dataclass(slots=True)
class Run:
    """One trip while it is advanced: the row in hand, and the questions asked but not yet journaled."""

    trip: Trip
    asked: dict[str, CallRecord] = field(default_factory=dict)


class Steps:
    """What there is to do about a trip, one step at a time."""

    def __init__(
        self,
        *,
        storage: Storage,
        books: Books,
        payscore: PayScore,
        rules: Rules,
        terms: Terms,
        clock: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._books = books
        self._payscore = payscore
        self._rules = rules
        self._terms = terms
        self._clock = clock

    async def take(self, step: Step, run: Run) -> None:
        """Take one step; the run's trip is then where that led, or as another worker left it.

        Raises:
            Retryable: WeChat Pay, or the database, is out of reach; the same step again is right.
            MalformedMessage: WeChat Pay's answer cannot be read.

        """
        now = self._clock()
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
            case Decline():
                await self._move(run, lambda trip: outcomes.declined(trip, step.reason, step.message))
            case SayStale():
                await self._move(run, lambda trip: outcomes.stale(trip, now))
            case SayOverdue():
                await self._move(run, lambda trip: outcomes.overdue(trip, now))
            case Rest():
                return
            case _:
                assert_never(step)

    async def stop(self, run: Run, code: str, message: str, *, step: str, request_id: str = "") -> None:
        """Leave the trip to a person, and say so."""
        problem = Problem(code=code, message=message, request_id=request_id, step=step, since=self._clock())
        await self._move(run, lambda trip: outcomes.with_problem(trip, problem))

    # --- Questions: nothing is stored before them ---

    async def _ask_service_state(self, run: Run) -> None:
        started = _of(run.trip.started)
        known = await self._known_service(started.openid) if run.trip.doubt is None else None
        enabled = known.enabled if known is not None else await self._service_enabled(run, started.openid)
        if enabled is None:
            return
        answered = outcomes.service_answered(run.trip, enabled=enabled, now=self._clock())
        if answered.state is run.trip.state and answered.problem is None:
            run.trip = answered  # known for this run; the next write comes with the create
            return
        await self._move(run, lambda trip: outcomes.service_answered(trip, enabled=enabled, now=self._clock()))

    async def _known_service(self, openid: str) -> ServiceNote | None:
        ttl = self._terms.service_state_ttl
        if not ttl:
            return None
        note = await self._storage.service_of(openid)
        return note if note is not None and self._clock() - note.as_of <= ttl else None

    async def _service_enabled(self, run: Run, openid: str) -> bool | None:
        record = self._question(CallKind.USER_SERVICE_STATE)
        try:
            enabled, answer = await self._payscore.service_enabled(openid)
        except WechatPayRejected as error:
            await self._refused(run, record, AskServiceState, error)
            return None
        except (WechatPayUnavailable, OutcomeUnknown) as error:
            await self._journal_failure(run, record, error)
            raise
        journal.remember(run.asked, journal.accepted(record, answer, self._clock()))
        if self._terms.service_state_ttl:
            await self._storage.note_service(openid, ServiceNote(enabled=enabled, as_of=self._clock()))
        return enabled

    async def _ask_order(self, run: Run) -> None:
        record = self._question(CallKind.QUERY)
        try:
            order, answer = await self._payscore.query(run.trip.out_order_no)
        except WechatPayRejected as error:
            if error.refusal is not Refusal.ORDER_NOT_FOUND:
                await self._refused(run, record, AskOrder, error)
                return
            unknown = doubt(AskOrder, error, uncertain=False)
            journal.remember(run.asked, journal.failed(record, error, CallOutcome.REFUSED, self._clock()))
            await self._move(run, lambda trip: outcomes.not_found(trip, unknown, self._clock()))
            return
        except (WechatPayUnavailable, OutcomeUnknown) as error:
            await self._journal_failure(run, record, error)
            raise
        journal.remember(run.asked, journal.accepted(record, answer, self._clock()))
        await self._take_word(run, order, answer)

    async def _take_word(self, run: Run, order: Order, answer: Answer) -> None:
        if not self._payscore.is_ours(order) or order.out_order_no != run.trip.out_order_no:
            message = "WeChat Pay answered with another order than ours"
            await self.stop(run, "not_ours", message, step=AskOrder.__name__, request_id=answer.request_id)
            return
        if self._needs_ticket(run.trip) and order.phase is Phase.RUNNING and not order.finish_ticket:
            raise OutcomeUnknown("a running order without finish_ticket", request_id=answer.request_id)
        word = seen(order)
        if run.trip.doubt is None and run.trip.state is TripState.OPEN and order.phase is Phase.RUNNING:
            run.trip = outcomes.asked(run.trip, word, self._clock())  # the next write comes with the complete
            return
        await self._move(run, lambda trip: outcomes.asked(trip, word, self._clock()))

    def _needs_ticket(self, trip: Trip) -> bool:
        return self._rules.needs_finish_ticket and trip.state is TripState.OPEN and trip.end_time is None

    def _question(self, kind: CallKind) -> CallRecord:
        return journal.prepared(Call(kind, "GET", ""), generation=0, at=self._clock())

    # --- Calls with a body: stored before their first send ---

    async def _open_order(self, run: Run) -> None:
        prepared = run.trip.opening is not None
        record = await (self._journaled(run, CallKind.CREATE) if prepared else self._prepare_create(run))
        if record is None:
            return
        answer = await self._send(run, record, OpenOrder)
        if answer is None:
            return
        order = self._payscore.read_created(answer.data)
        word, now = seen(order), self._clock()
        await self._move(
            run, lambda trip: outcomes.see(trip, word, now), answered=journal.accepted(record, answer, now)
        )

    async def _prepare_create(self, run: Run) -> CallRecord | None:
        trip, started, now = run.trip, _of(run.trip.started), self._clock()
        start_time = max(started.started_at, now + START_MARGIN) if self._terms.start_at_event else None
        opening = Opening(risk_amount_fen=risk_amount_fen(trip, self._rules), start_time=start_time)
        order = new_order(trip, started, opening, introduction=self._terms.introduction)
        call = self._payscore.create(order)
        return await self._prepare(run, call, lambda trip: outcomes.opening(trip, opening))

    async def _complete_order(self, run: Run) -> None:
        prepared = run.trip.end_time is not None
        record = await (self._journaled(run, CallKind.COMPLETE) if prepared else self._prepare_complete(run))
        if record is None:
            return
        answer = await self._send(run, record, CompleteOrder)
        if answer is None:
            return
        now = self._clock()
        await self._move(
            run, lambda trip: outcomes.completed(trip, now), answered=journal.accepted(record, answer, now)
        )

    async def _prepare_complete(self, run: Run) -> CallRecord | None:
        trip, started, ended = run.trip, _of(run.trip.started), _of(run.trip.ended)
        end_time = end_time_for(trip, self._clock())
        call = self._payscore.complete(completion(trip, started, ended, end_time=end_time))
        return await self._prepare(run, call, lambda trip: outcomes.completing(trip, end_time))

    async def _cancel_order(self, run: Run) -> None:
        if await self._storage.last_call(run.trip.trip_id, CallKind.CANCEL) is not None:
            record: CallRecord | None = await self._journaled(run, CallKind.CANCEL)
        else:
            call = self._payscore.cancel(out_order_no=run.trip.out_order_no, reason=cancel_reason(run.trip))
            record = await self._prepare(run, call, outcomes.cancelling)
        if record is None:
            return
        answer = await self._send(run, record, CancelOrder)
        if answer is not None:
            await self._move(run, outcomes.order_cancelled, answered=journal.accepted(record, answer, self._clock()))

    async def _prepare(self, run: Run, call: Call, mark: Change) -> CallRecord | None:
        """Store the bytes, and with them the mark on the trip that they may be on their way (design 3.1).

        None: another worker moved the trip; look at it again.
        """
        record = journal.prepared(call, generation=run.trip.bodies + 1, at=self._clock())
        prepared = mark(run.trip)
        if not await self._books.write(run.trip, prepared, calls=[record, *run.asked.values()]):
            run.trip = await self._books.reload(run.trip)
            return None
        run.trip = replace(prepared, version=prepared.version + 1)
        run.asked.clear()
        return record

    async def _journaled(self, run: Run, kind: CallKind) -> CallRecord:
        """Load the bytes that may have been sent before: until WeChat says otherwise, they were."""
        record = _of(await self._storage.last_call(run.trip.trip_id, kind))
        return replace(record, uncertain=record.uncertain or record.outcome is not CallOutcome.REFUSED)

    async def _send(self, run: Run, record: CallRecord, step: type) -> Answer | None:
        """Send journaled bytes; None: WeChat refused, and the trip has taken note of it."""
        call = Call(CallKind(record.kind), record.method, record.path, record.body)
        try:
            return await self._payscore.send(call)
        except WechatPayRejected as error:
            await self._refused(run, record, step, error)
            return None
        except (WechatPayUnavailable, OutcomeUnknown) as error:
            await self._journal_failure(run, record, error)
            raise

    async def _refused(self, run: Run, record: CallRecord, step: type, error: WechatPayRejected) -> None:
        refusal = doubt(step, error, uncertain=record.uncertain or error.attempts > 1)
        failed = journal.failed(record, error, CallOutcome.REFUSED, self._clock())
        await self._move(run, lambda trip: outcomes.refused(trip, refusal, self._clock()), answered=failed)

    async def _journal_failure(
        self, run: Run, record: CallRecord, error: WechatPayUnavailable | OutcomeUnknown
    ) -> None:
        if not error.attempts:
            return  # the call was not made
        unknown = isinstance(error, OutcomeUnknown) or record.uncertain
        outcome = CallOutcome.UNKNOWN if unknown else record.outcome
        await self._storage.journal(run.trip, journal.failed(record, error, outcome, self._clock()))

    # --- Writing ---

    async def _move(self, run: Run, change: Change, *, answered: CallRecord | None = None) -> None:
        """Write what became of a step, on the newest row, unless another worker has taken the trip elsewhere."""
        calls = [*run.asked.values()] if answered is None else [answered, *run.asked.values()]
        state = run.trip.state
        run.trip = await self._books.change(
            run.trip, lambda trip: change(trip) if trip.state is state and trip.problem is None else trip, calls=calls
        )
        run.asked.clear()


def _of(value: _T | None) -> _T:
    """Take what the trip's state promises to be there."""
    if value is None:
        raise RuntimeError("a trip's row contradicts its state")
    return value
