"""Takes the steps of an authorisation that need WeChat Pay: stores bytes, sends them, asks, and writes what came."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import (
    AskAuthorisation,
    AskService,
    Authorisation,
    AuthorisationStep,
    EndService,
    GiveParameters,
    Refused,
    TakeUpTrips,
)
from payscore_worker.domain.next_step import Rest
from payscore_worker.domain.trip import Problem
from payscore_worker.errors import (
    MalformedMessage,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.settlement import journal
from payscore_worker.settlement.books import AuthorisationBooks
from payscore_worker.settlement.translation import authorisation_refused, odd_authorisation
from payscore_worker.storage import CallRecord, Storage
from payscore_worker.wechatpay import Answer, Call, CallKind
from payscore_worker.wechatpay.payscore import PayScore, PayScores, Permission, PermissionState

_NOT_ANSWERED: Final = (WechatPayUnavailable, OutcomeUnknown, MerchantRefused)
"""Nothing was said about this authorisation: the same again, later."""

NOT_THERE: Final = frozenset({Refusal.NOT_ENABLED, Refusal.ORDER_NOT_FOUND})
"""What a question about an authorisation is refused with that nobody has signed or asked for (payscore-api C.2)."""

Change = Callable[[Authorisation], Authorisation]
TakeUp = Callable[[str, str], Awaitable[None]]
"""Takes up the trips of a passenger, by openid, with a merchant, by mchid."""


@dataclass(slots=True)
class AuthorisationRun:
    """One authorisation while it is advanced: the row in hand."""

    authorisation: Authorisation


class AuthorisationSteps:
    """What there is to do about an authorisation, one step at a time."""

    def __init__(
        self,
        *,
        storage: Storage,
        books: AuthorisationBooks,
        payscores: PayScores,
        take_up: TakeUp,
        clock: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._books = books
        self._payscores = payscores
        self._take_up = take_up
        self._clock = clock

    async def take(self, step: AuthorisationStep, run: AuthorisationRun) -> None:
        """Take one step; the run's authorisation is then where that led, or as another worker left it.

        Raises:
            Retryable: WeChat Pay, or the database, is out of reach; the same step again is right.
            MalformedMessage: the call cannot be made of what the authorisation says.

        """
        match step:
            case AskService():
                await self._ask_service(run)
            case GiveParameters():
                await self._give_parameters(run)
            case AskAuthorisation():
                await self._ask_authorisation(run)
            case TakeUpTrips():
                looks = run.authorisation.trip_looks
                await self._take_up(run.authorisation.openid, run.authorisation.terms.mchid)
                now = self._clock()
                await self._move(run, lambda one: outcomes.trips_taken_up(one, looks, now))
            case EndService():
                await self._end_service(run)
            case Rest():
                return
            case _:
                assert_never(step)

    async def stop(self, run: AuthorisationRun, code: str, message: str, *, step: str) -> None:
        """Leave the authorisation to a person, and count it."""
        problem = Problem(code=code, message=message, request_id="", step=step, since=self._clock())
        await self._move(run, lambda authorisation: outcomes.with_problem(authorisation, problem))

    # --- Questions: nothing is stored before them ---

    async def _ask_service(self, run: AuthorisationRun) -> None:
        payscore, openid = self._speaking(run), run.authorisation.openid
        asked = await self._ask(run, AskService, payscore.service_question, lambda: payscore.service_of(openid))
        if asked is None:
            return
        (permission, answered), now = asked, self._clock()
        if permission is None:
            await self._move(run, lambda one: outcomes.never_authorised(one, now), answered)
        elif permission.state is PermissionState.AVAILABLE:
            await self._move(run, lambda one: outcomes.service_on(one, permission.authorised_at, now), answered)
        else:
            await self._move(run, lambda one: outcomes.service_off(one, now), answered)

    async def _ask_authorisation(self, run: AuthorisationRun) -> None:
        """Ask by our number where the family knows it, and by the passenger where it does not."""
        payscore, code = self._speaking(run), run.authorisation.authorization_code
        if not payscore.gives_tokens:
            await self._ask_service(run)
            return
        asked = await self._ask(run, AskAuthorisation, CallKind.QUERY_PERMISSION, lambda: payscore.permission(code))
        if asked is None:
            return
        (permission, answered), now = asked, self._clock()
        is_his = permission is not None and permission.openid in ("", run.authorisation.openid)
        if permission is None or not is_his or permission.state is PermissionState.UNSIGNED:
            await self._move(run, lambda one: outcomes.not_signed(one, now), answered)
        elif permission.state is PermissionState.AVAILABLE:
            await self._change(run, lambda one: outcomes.opened(one, permission.authorised_at, now), answered)
        else:
            await self._change(run, lambda one: outcomes.closed(one, permission.ended_at, now), answered)

    async def _ask(
        self,
        run: AuthorisationRun,
        step: type,
        kind: CallKind,
        question: Callable[[], Awaitable[tuple[Permission, Answer]]],
    ) -> tuple[Permission | None, CallRecord] | None:
        """Ask; no permission: WeChat Pay knows of none, unsigned. None: that was no answer, and is noted."""
        record = journal.asking(kind, self._clock(), generation=run.authorisation.bodies)
        try:
            permission, answer = await question()
        except WechatPayRejected as error:
            answered = journal.failed(record, error, self._clock())
            if error.refusal in NOT_THERE:
                return None, answered
            await self._no_answer(run, authorisation_refused(step, error), answered)
            return None
        except MalformedMessage as error:
            await self._no_answer(run, odd_authorisation(step, str(error)))
            return None
        except _NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise
        return permission, journal.accepted(record, answer, self._clock())

    async def _no_answer(self, run: AuthorisationRun, why: Refused, answered: CallRecord | None = None) -> None:
        now = self._clock()
        await self._move(run, lambda authorisation: outcomes.no_answer(authorisation, why, now), answered)

    # --- Calls with a body: stored, and each send counted, before they are made ---

    async def _give_parameters(self, run: AuthorisationRun) -> None:
        payscore, authorisation = self._speaking(run), run.authorisation
        if not payscore.gives_tokens:  # then we sign
            now = self._clock()
            await self._move(run, lambda one: outcomes.given(one, "", now))
            return
        if authorisation.is_prepared:
            record = await self._begin(run, CallKind.PRE_AUTHORISE)
        else:
            call = payscore.pre_authorise(authorisation.authorization_code)
            prepared = await self._prepare(run, call, outcomes.preparing)
            if prepared is None:
                return
            record = prepared
        answer = await self._send(run, record, GiveParameters)
        if answer is None:
            return
        now = self._clock()
        try:
            token = payscore.read_token(answer.data)
        except MalformedMessage as error:
            why = odd_authorisation(GiveParameters, str(error))
            odd = journal.answered_oddly(record, answer, now)
            await self._move(run, lambda one: outcomes.refused(one, why, now), odd)
            return
        await self._move(run, lambda one: outcomes.given(one, token, now), journal.accepted(record, answer, now))

    async def _end_service(self, run: AuthorisationRun) -> None:
        authorisation = run.authorisation
        if authorisation.end_prepared:
            record = await self._begin(run, CallKind.TERMINATE_PERMISSION)
        else:
            reason = "" if authorisation.ending is None else authorisation.ending.reason
            call = self._speaking(run).terminate(openid=authorisation.openid, reason=reason)
            prepared = await self._prepare(run, call, outcomes.preparing_end)
            if prepared is None:
                return
            record = prepared
        answer = await self._send(run, record, EndService)
        if answer is not None:
            now = self._clock()
            await self._change(run, lambda one: outcomes.ended(one, now), journal.accepted(record, answer, now))

    async def _prepare(self, run: AuthorisationRun, call: Call, mark: Change) -> CallRecord | None:
        """Store the bytes, and with them the mark that they may be on their way (design 3.1).

        None: another worker moved it; look at it again.
        """
        marked = mark(run.authorisation)
        record = journal.prepared(call, generation=marked.bodies, at=self._clock())
        written = await self._books.write(run.authorisation, marked, calls=[record])
        run.authorisation = await self._books.reload(run.authorisation) if written is None else written
        return None if written is None else record

    async def _begin(self, run: AuthorisationRun, kind: CallKind) -> CallRecord:
        """Load bytes that were stored, and count that they are sent once more."""
        record = await self._storage.begin_send(run.authorisation.authorization_code, kind)
        if record is None:
            raise RuntimeError("an authorisation's row contradicts its journal")
        return record

    async def _send(self, run: AuthorisationRun, record: CallRecord, step: type) -> Answer | None:
        """Send journaled bytes; None: they were refused, and that is noted."""
        call = Call(CallKind(record.kind), record.method, record.path, record.body)
        try:
            return await self._speaking(run).send(call)
        except WechatPayRejected as error:
            now, why = self._clock(), authorisation_refused(step, error)
            answered = journal.failed(record, error, now)
            await self._move(run, lambda authorisation: outcomes.refused(authorisation, why, now), answered)
            return None
        except _NOT_ANSWERED as error:
            await self._journal_failure(run, record, error)
            raise

    async def _journal_failure(self, run: AuthorisationRun, record: CallRecord, error: WechatPayError) -> None:
        if error.attempts or record.begun:  # of a question that was not asked, there is nothing to say
            await self._storage.journal(run.authorisation, journal.failed(record, error, self._clock()))

    def _speaking(self, run: AuthorisationRun) -> PayScore:
        return self._payscores.of(run.authorisation.terms)

    # --- Writing ---

    async def _move(self, run: AuthorisationRun, change: Change, answered: CallRecord | None = None) -> None:
        """Write what became of a step, on the newest row, unless another worker has taken it elsewhere."""
        before = run.authorisation

        def moved(newest: Authorisation) -> Authorisation:
            elsewhere = newest.state is not before.state or newest.ending != before.ending or newest.problem is not None
            return newest if elsewhere else change(newest)

        await self._change(run, moved, answered)

    async def _change(self, run: AuthorisationRun, change: Change, answered: CallRecord | None) -> None:
        calls = [] if answered is None else [answered]
        run.authorisation = await self._books.change(run.authorisation, change, calls=calls)
