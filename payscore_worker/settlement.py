"""Note a fact; advance a trip, step by step, until it rests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar, assert_never
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec

from payscore_worker import journal, outcomes, tally, tracing
from payscore_worker.announcements import announcements
from payscore_worker.errors import (
    MalformedMessage,
    OutcomeUnknown,
    Refusal,
    Rejected,
    TripArchived,
    TripBusy,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.events import (
    Announcement,
    EventIn,
    OrderPaid,
    ServiceChanged,
    TripCancelled,
    TripEnded,
    TripStarted,
    message_in_hand,
    write_cloud_event,
)
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, ServiceNote, Storage
from payscore_worker.translation import (
    cancel_reason,
    cancelled_of,
    completion,
    doubt,
    ended_of,
    new_order,
    seen,
    started_of,
)
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
    due_at,
    end_time_for,
    next_step,
    note_cancelled,
    note_ended,
    note_started,
    out_order_no_for,
    risk_amount_fen,
)
from payscore_worker.wechatpay import (
    Answer,
    Call,
    CallKind,
    Order,
    PayScore,
    Phase,
)

MAX_STEPS: Final = 16
"""A trip needs at most seven steps and a few questions; more is a bug."""

MAX_CONFLICTS: Final = 8
"""Writers that may overtake us on one trip in a row; facts are few, so more is a bug."""

START_MARGIN: Final = timedelta(seconds=10)
"""A start sent in seconds must lie after WeChat's now, and their clock may be ahead (reference payscore-api 0.9)."""

SOURCE: Final = "payscore-worker"

Change = Callable[[Trip], Trip]
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


class Settlement:
    """Notes facts and advances trips; safe to be called for one trip many times over, here and elsewhere."""

    def __init__(
        self,
        *,
        storage: Storage,
        payscore: PayScore,
        rules: Rules,
        terms: Terms,
        clock: Callable[[], datetime],
        on_announced: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._payscore = payscore
        self._rules = rules
        self._terms = terms
        self._clock = clock
        self._on_announced = on_announced
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # --- Facts ---

    async def note_started(self, event: TripStarted) -> None:
        """Note that a trip began.

        Raises:
            ConflictingFact: the trip began otherwise before.

        """
        fact = started_of(event)
        await self._note(event.trip_id, "trip.started", event, lambda trip: note_started(trip, fact))

    async def note_ended(self, event: TripEnded) -> None:
        """Note that a trip ended, and its fare.

        Raises:
            ConflictingFact: the trip ended otherwise before, or was cancelled.

        """
        fact = ended_of(event)
        await self._note(event.trip_id, "trip.ended", event, lambda trip: note_ended(trip, fact))

    async def note_cancelled(self, event: TripCancelled) -> None:
        """Note that a trip will not be charged.

        Raises:
            ConflictingFact: the trip was cancelled otherwise before.
            IllegalTransition: the trip has ended.

        """
        fact = cancelled_of(event)
        await self._note(event.trip_id, "trip.cancelled", event, lambda trip: note_cancelled(trip, fact))

    async def note_paid(self, event: OrderPaid) -> str:
        """Note what a verified notification says of an order; returns the trip's id.

        Raises:
            MalformedMessage: a member is of another type than documented.
            Rejected: the order is not ours, or no trip, archived or not, has its number.
            ConflictingFact: it contradicts a settlement that is over.

        """
        order = self._payscore.read_order(event.resource)
        if not self._payscore.is_ours(order):
            raise Rejected("the notification names another mchid, appid or service_id")
        trip = await self._storage.load_by_out_order_no(order.out_order_no)
        if trip is None:
            return await self._compare_payment(order)
        if order.phase is Phase.UNKNOWN:
            return trip.trip_id  # our own question will learn it from WeChat again
        word = seen(order)
        await self._note(
            trip.trip_id,
            "payscore.user_paid",
            event,
            lambda newest: outcomes.see(newest, word, self._clock()),
            trip=trip,
        )
        return trip.trip_id

    async def note_service(self, event: ServiceChanged) -> None:
        """Note that a passenger opened or closed the PayScore service.

        Raises:
            MalformedMessage: a member is missing or of another type than documented.
            Rejected: it is not about our service.

        """
        change = self._payscore.read_service_change(event.resource)
        note = ServiceNote(enabled=change.enabled, as_of=change.changed_at or self._clock())
        await self._storage.note_service(change.openid, note)

    async def clear_problem(self, trip_id: str) -> None:
        """Take a trip up again that stood still for a person to look.

        Raises:
            Rejected: there is no such trip, or it has no problem.

        """
        trip = await self._storage.load(trip_id)
        if trip is None or trip.problem is None:
            raise Rejected(f"trip {trip_id!r} " + ("is not known" if trip is None else "has no problem"))
        await self._change(trip, outcomes.without_problem)

    async def _note(self, trip_id: str, type_: str, event: EventIn, fact: Change, trip: Trip | None = None) -> None:
        now = self._clock()
        noted = EventRecord(
            event_id=message_in_hand.get(),
            direction=Direction.IN,
            type=type_,
            at=now,
            body=msgspec.json.encode(event),
        )
        if trip is None:
            trip = await self._storage.load(trip_id) or self._new_trip(trip_id, now)
        try:
            await self._change(trip, fact, events=[noted])
        except TripArchived:
            await self._compare_fact(fact(self._new_trip(trip_id, now)))

    async def _compare_fact(self, told: Trip) -> None:
        """Take a fact of an archived trip: said before, it changes nothing; it never begins the trip anew (ADR 11)."""
        archived = await self._storage.archived(told.trip_id)
        if archived is None:
            raise TripArchived(f"another trip has the out_order_no {told.out_order_no!r} of trip {told.trip_id!r}")
        if not archived.knows(told):
            raise TripArchived(f"the trip ended as {archived.state}, and is archived in {archived.archive}")

    async def _compare_payment(self, order: Order) -> str:
        """Take WeChat Pay's word on an order that no trip has; returns the trip's id where the trip is archived."""
        archived = await self._storage.archived_by_out_order_no(order.out_order_no)
        if archived is None:
            raise Rejected(f"no trip has the out_order_no {order.out_order_no!r}")
        outcomes.see(archived.trip, seen(order), self._clock())
        return archived.trip_id

    def _new_trip(self, trip_id: str, now: datetime) -> Trip:
        out_order_no = out_order_no_for(trip_id, self._terms.out_order_no_prefix)
        return Trip(trip_id=trip_id, out_order_no=out_order_no, noted_at=now)

    # --- Advancing ---

    async def advance(self, trip_id: str) -> None:
        """Take a trip as far as it will go now.

        Raises:
            Retryable: something is out of reach; the trip is where it was, and the same call heals it.

        """
        async with self._turn(trip_id):
            trip = await self._storage.load(trip_id)
            if trip is not None:
                await self._advance(Run(trip))

    async def take_up(self, trip: Trip) -> None:
        """Advance a trip that the reconciler has claimed and loaded."""
        async with self._turn(trip.trip_id):
            run = Run(trip)
            await self._advance(run)
            if run.trip.version == trip.version:
                await self._storage.reschedule(trip, due_at=due_at(run.trip, self._clock(), self._rules))

    async def _advance(self, run: Run) -> None:
        for _ in range(MAX_STEPS):
            step = next_step(run.trip, self._clock(), self._rules)
            if isinstance(step, Rest):
                return
            try:
                await self._perform(step, run)
            except MalformedMessage as error:
                await self._stop(run, "malformed_answer", str(error), step=type(step).__name__)
        raise RuntimeError(f"trip {run.trip.trip_id} took more than {MAX_STEPS} steps")

    async def _perform(self, step: Step, run: Run) -> None:
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

    @asynccontextmanager
    async def _turn(self, trip_id: str) -> AsyncIterator[None]:
        """Let one task of this process at a trip: two would be right, and make their WeChat calls twice."""
        lock = self._turns.setdefault(trip_id, asyncio.Lock())
        async with lock:
            yield

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
            await self._stop(run, "not_ours", message, step=AskOrder.__name__, request_id=answer.request_id)
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
        if not await self._write(run.trip, prepared, calls=[record, *run.asked.values()]):
            run.trip = await self._reload(run.trip)
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

    async def _stop(self, run: Run, code: str, message: str, *, step: str, request_id: str = "") -> None:
        problem = Problem(code=code, message=message, request_id=request_id, step=step, since=self._clock())
        await self._move(run, lambda trip: outcomes.with_problem(trip, problem))

    async def _move(self, run: Run, change: Change, *, answered: CallRecord | None = None) -> None:
        """Write what became of a step, on the newest row, unless another worker has taken the trip elsewhere."""
        calls = [*run.asked.values()] if answered is None else [answered, *run.asked.values()]
        state = run.trip.state
        run.trip = await self._change(
            run.trip, lambda trip: change(trip) if trip.state is state and trip.problem is None else trip, calls=calls
        )
        run.asked.clear()

    async def _change(
        self, trip: Trip, change: Change, *, calls: Sequence[CallRecord] = (), events: Sequence[EventRecord] = ()
    ) -> Trip:
        for _ in range(MAX_CONFLICTS):
            changed = change(trip)
            if changed is trip and not calls:
                return trip
            if await self._write(trip, changed, calls=calls, events=events if changed is not trip else ()):
                return replace(changed, version=changed.version + 1)
            trip = await self._reload(trip)
        raise TripBusy(f"trip {trip.trip_id} was moved by others {MAX_CONFLICTS} times in a row")

    async def _write(
        self, before: Trip, after: Trip, *, calls: Sequence[CallRecord], events: Sequence[EventRecord] = ()
    ) -> bool:
        now = self._clock()
        told = [self._announcement(what, now) for what in announcements(before, after, self._enable_jump)]
        written = await self._storage.save(
            after, due_at=due_at(after, now, self._rules), now=now, calls=calls, events=[*events, *told]
        )
        if written:
            tally.count(before, after, [*events, *told])
        if written and told:
            self._on_announced()
        return written

    async def _reload(self, trip: Trip) -> Trip:
        """Load the newest row, and keep what only this run knows."""
        newest = await self._storage.load(trip.trip_id)
        if newest is None:
            raise TripArchived(f"trip {trip.trip_id!r} is no longer there")
        return replace(newest, service_enabled=trip.service_enabled, finish_ticket=trip.finish_ticket)

    def _announcement(self, what: Announcement, now: datetime) -> EventRecord:
        event_id = uuid4().hex
        body = write_cloud_event(
            id=event_id,
            source=SOURCE,
            type=what.TYPE,
            time=now,
            subject=what.trip_id,
            data=what,
            trace=tracing.carried(),
        )
        return EventRecord(event_id=event_id, direction=Direction.OUT, type=what.TYPE, at=now, body=body)

    def _enable_jump(self, trip: Trip) -> dict[str, str]:
        return self._payscore.enable_jump(out_request_no=trip.out_order_no)


def _of(value: _T | None) -> _T:
    """Take what the trip's state promises to be there."""
    if value is None:
        raise RuntimeError("a trip's row contradicts its state")
    return value
