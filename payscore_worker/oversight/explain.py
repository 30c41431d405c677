"""The story of one trip and its refunds, in time order: what was heard, asked of WeChat Pay, changed, and told."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from payscore_worker.domain.refund import CLOSED, GIVEN_UP, RefundState
from payscore_worker.domain.trip import (
    TERMINAL,
    TripState,
)
from payscore_worker.logs import short_openid
from payscore_worker.storage import CallOutcome, Direction
from payscore_worker.storage.belonging import belonging
from payscore_worker.storage.refunds import CLEAR, GIVE_UP, RefundReports
from payscore_worker.storage.reports import Reports, Row
from payscore_worker.wechatpay import CallKind

NOTIFICATIONS: Final = ("payscore.", "refund.")
"""What the types of WeChat Pay's notifications begin with."""

REQUESTED: Final = "refund.requested"
"""The ride service says this of refunds; whatever else is said of them, WeChat Pay says."""

REFUND_CALLS: Final = frozenset({CallKind.REFUND.value, CallKind.REFUND_QUERY.value})
"""The calls whose generation is the place of a refund."""

TOLD_OF: Final[Mapping[TripState, str]] = {
    TripState.OPEN: "settlement.opened",
    TripState.COMPLETED: "settlement.completed",
    TripState.PAID: "settlement.paid",
    TripState.DECLINED: "settlement.declined",
    TripState.CANCELLED: "settlement.cancelled",
}
"""The announcement that is written in the same transaction as the change to a state, by our clock.

The row's own times are in part WeChat Pay's, to the second.
"""

WRITTEN_OFF: Final = "settlement.written_off"
"""Takes the place of `settlement.cancelled` where the fare was written off."""

OVER: Final = {state.value: TOLD_OF[state] for state in TERMINAL}
STATES: Final = frozenset(state.value for state in TripState)
REFUND_STATES: Final = frozenset(state.value for state in RefundState)

TOLD_OF_REFUNDS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    RefundState.REFUNDED: ("settlement.refunded", frozenset({""})),
    RefundState.FAILED: ("settlement.refund_problem", frozenset({CLOSED, GIVEN_UP})),
}
"""The announcement, and the codes in it, that is written in the same transaction as the end of a refund."""

OUTCOMES: Final = frozenset(outcome.value for outcome in CallOutcome)

UNREADABLE: Final = "unreadable"
NEWER: Final = "written by a newer release; this one cannot read it"

_Kind = TypeVar("_Kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An event of the ride service was noted. How often the broker delivered it, nobody keeps."""

    KIND: ClassVar = "heard"
    at: datetime
    type: str
    id: str
    refund_id: str = ""
    """The refund that it is about, here and below; empty: it is about the trip."""
    why: str = ""
    """Of a fare after the trip has ended: what became of it, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """A notification of WeChat Pay was noted; it was verified before."""

    KIND: ClassVar = "notified"
    at: datetime
    type: str
    id: str
    refund_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A call to WeChat Pay; several attempts with the same bytes are one call."""

    KIND: ClassVar = "called"
    at: datetime
    """Its bytes were stored then, before they were first sent; of a question: when it was answered."""
    call: str
    generation: int
    outcome: str
    attempts: int
    status: int | None
    code: str
    request_id: str
    uncertain: bool
    """The outcome of some attempt is unknown."""
    begun: int | None
    """Sends of these bytes that were counted before they were made; None for a question, and where none was counted."""
    definite: int | None
    """Those of them that were surely not accepted."""
    answered_at: datetime | None
    refund_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The trip came to a state."""

    KIND: ClassVar = "moved"
    at: datetime
    state: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundMoved:
    """A refund of the trip came to a state."""

    KIND: ClassVar = "refund"
    at: datetime
    refund_id: str
    state: str
    amount_fen: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """The trip, or a refund of it, began to need attention, and does still."""

    KIND: ClassVar = "troubled"
    at: datetime
    what: str
    """`problem`, `stale`, `overdue`, or `unreadable`: by this release."""
    code: str
    why: str
    request_id: str
    refund_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """We wrote an announcement; the relay publishes it."""

    KIND: ClassVar = "announced"
    at: datetime
    type: str
    id: str
    published_at: datetime | None
    unroutable: int
    """How often the broker had nobody to give it to."""
    unrouted_at: datetime | None = None
    """Nobody took it for an hour: since then it is kept, until a person has it told again."""
    refund_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A person did something about the trip, or about a refund of it."""

    KIND: ClassVar = "decided"
    at: datetime
    who: str
    verb: str
    """As on the command line, without `trip`; with `refund`, where it is about one."""
    why: str
    """Of a refund that was asked for, also how much, and as which refund."""
    outcome: str
    ended_at: datetime | None
    refund_id: str = ""


Happening = Heard | Notified | Decided | Called | Moved | RefundMoved | Troubled | Announced

_RANK: Final = {
    kind: rank for rank, kind in enumerate((Heard, Notified, Decided, Called, Moved, RefundMoved, Troubled, Announced))
}
"""Of what bears the same time, the cause goes before the effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the fare, in fen; a discount is negative."""

    name: str
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FareLowered:
    """The fare is less than was told before, in fen."""

    lowered_at: datetime
    was_fen: int
    total_fen: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundTold:
    """One refund of the trip: how much goes back, and where it stands."""

    refund_id: str
    out_refund_no: str
    transaction_id: str
    amount_fen: int
    payer_refund_fen: int | None
    """What the passenger gets of it, where that is known; the rest was a coupon."""
    reason: str
    state: str
    since: datetime
    """When it came to this state."""
    problem: str
    """The code; empty: it does not stand still."""
    why: str
    """What the problem is, or what was refused and is asked about again."""
    due_at: datetime | None
    given_up: str | None = None
    """Who ended it, and why, where WeChat Pay has no such refund."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One trip: where it stands, and how it came there. No ticket, no body, no whole openid."""

    trip_id: str
    out_order_no: str
    state: str
    openid: str | None
    """Shortened."""
    order_id: str | None
    account: str | None = None
    """As the start names it; None: it names none, so it is the default one's."""
    mchid: str | None = None
    """Under whose number, app and in which family the order was opened; None: it was not, or by an old release."""
    appid: str | None = None
    family: str | None = None
    transaction_id: str | None
    total_fen: int | None
    paid_fen: int | None
    reserved_fen: int = 0
    """Of what was paid: what refunds that are under way will send back."""
    refunded_fen: int = 0
    """Of what was paid: what went back."""
    refunds: Sequence[RefundTold] = ()
    fare: Sequence[Item] = ()
    """As it is now."""
    fare_fen: int | None = None
    """What it comes to; `total_fen` is what WeChat Pay was told to collect, which may be more."""
    lowered: Sequence[FareLowered] = ()
    """Each time that it became less, in that order."""
    lowering: str | None = None
    """What WeChat Pay does about a fare that was lowered once it was asked for, or what goes back instead."""
    paid_elsewhere: str | None = None
    """How much, in which way, and what WeChat Pay was told of it."""
    asking: str | None = None
    """WeChat Pay is being asked to collect now."""
    confirming: str | None = None
    """Until when the passenger may confirm the order, or what came of that, where he was asked to."""
    second: str | None = None
    """The order is the trip's second: for how much, and what became of the first."""
    noted_at: datetime
    due_at: datetime | None
    """When the reconciler looks at it again."""
    accepted_fen: int | None = None
    """What WeChat Pay charges, where a person took it for what was owed."""
    waived: str | None = None
    """Who decided that it shall not be collected, and why, where that is not done yet."""
    written_off: str | None = None
    """Who gave the money up, and why."""
    doubt: str | None
    """A refusal that says nothing final, and is being looked into."""
    unanswered: str | None = None
    """A question that was refused, or answered with what cannot be, and is asked again."""
    look: str | None = None
    """A trip that is over is looked at once more, since no signed word of its order stands behind its end."""
    archive: str | None
    """The file that an archived trip is in; then little else is known here."""
    happenings: Sequence[Happening]

    def document(self) -> dict[str, Any]:
        """Write it as a document for scripts; `kind` tells the happenings apart."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "happenings"}
        happenings = [{"kind": one.KIND, **_members(one)} for one in self.happenings]
        document: dict[str, Any] = msgspec.to_builtins(told | {"happenings": happenings})
        return document


async def explain(reports: Reports, name: str) -> Story | None:
    """Tell the story of a trip, found by its id or its out_order_no; None where nobody knows it."""
    row = await reports.trip(name)
    if row is None:
        archived = await reports.archived(name)
        return None if archived is None else _archived(archived)
    trip_id = row["trip_id"]
    events, calls = await reports.events(trip_id), await reports.calls(trip_id)
    refunds, decided = await _refunds_of(reports, trip_id)
    happenings = [
        *_told(row, events, refunds),
        *decided,
        *(called(call, refunds) for call in calls),
        *_moves(row, events),
        *_troubles(row),
        *(one for refund in refunds for one in _about_refund(refund, events)),
    ]
    whose = belonging(row)
    return Story(
        account=whose.account or None,
        mchid=whose.mchid or None,
        appid=whose.appid or None,
        family=whose.family or None,
        trip_id=row["trip_id"],
        out_order_no=row["out_order_no"],
        state=row["state"],
        openid=short_openid(row["openid"]) if row["openid"] else None,
        order_id=row["order_id"] or None,
        transaction_id=row["transaction_id"] or None,
        total_fen=row["total_fen"],
        paid_fen=row["paid_fen"],
        reserved_fen=row["reserved_fen"] or 0,
        refunded_fen=row["refunded_fen"] or 0,
        refunds=tuple(map(_refund_told, refunds)),
        fare=tuple(_fare(row)),
        fare_fen=_fare_fen(row),
        lowered=tuple(_fares_lowered(row)),
        lowering=_lowering(row),
        paid_elsewhere=_paid_elsewhere(row),
        asking=_asking(row),
        confirming=_confirming(row),
        second=_second(row),
        noted_at=row["noted_at"],
        due_at=row["due_at"],
        accepted_fen=row["accepted_fen"],
        waived=_given_up(row, "waived"),
        written_off=_given_up(row, "written_off"),
        doubt=_doubt(row),
        unanswered=_unanswered(row),
        look=_look(row),
        archive=None,
        happenings=in_order(happenings),
    )


def in_order(happenings: Iterable[Happening]) -> list[Happening]:
    """Sort what happened by time, and the cause before the effect."""
    return sorted(happenings, key=lambda one: (one.at, _RANK[type(one)]))


async def _refunds_of(reports: Reports, trip_id: str) -> tuple[list[Row], list[Decided]]:
    """Read the refunds of a trip, and what people did about the trip and them."""
    about = RefundReports(reports)
    refunds = await about.of_trip(trip_id)
    actions = await about.actions_on(trip_id, [refund["refund_id"] for refund in refunds])
    return refunds, [decided_by(action) for action in (*await reports.actions_on(trip_id), *actions)]


def _told(row: Row, events: Sequence[Row], refunds: Sequence[Row]) -> Iterator[Happening]:
    fares = _Fares(row)
    ids = {refund["out_refund_no"]: refund["refund_id"] for refund in refunds}
    for event in events:
        yield told_of(event, refund_id=_refund_meant(event, ids), why=fares.about(event))


def told_of(event: Row, *, refund_id: str = "", why: str = "") -> Announced | Notified | Heard:
    """Tell of an event that was noted or announced; `why`: of one that the ride service told."""
    at, type_, id_ = event["at"], event["type"], event["event_id"]
    if event["direction"] == Direction.OUT.value:
        return Announced(
            at=at,
            type=type_,
            id=id_,
            published_at=None if event["pending"] else event["published_at"],
            unroutable=event["attempts"],
            unrouted_at=event["unrouted_at"],
            refund_id=refund_id,
        )
    if type_.startswith(NOTIFICATIONS) and type_ != REQUESTED:
        return Notified(at=at, type=type_, id=id_, refund_id=refund_id)
    return Heard(at=at, type=type_, id=id_, refund_id=refund_id, why=why)


def _refund_meant(event: Row, ids: Mapping[str, str]) -> str:
    """Name the refund that an event is about; WeChat Pay knows it by its number."""
    told = _about(event)
    return told.refund_id or told.data.refund_id or ids.get(told.resource.out_refund_no, "")


def _about(event: Row) -> "_About":
    """Read of an event's body which refund it is about, and nothing else."""
    if "refund" not in event["type"]:
        return _About()
    try:
        return msgspec.json.decode(event["body"], type=_About)
    except msgspec.MsgspecError:
        return _About()


def called(call: Row, refunds: Sequence[Row] = ()) -> Called:
    """Tell of a call to WeChat Pay."""
    places = {refund["generation"]: refund["refund_id"] for refund in refunds}
    return Called(
        at=call["prepared_at"],
        call=call["kind"],
        generation=call["generation"],
        outcome=call["outcome"] if call["outcome"] in OUTCOMES else UNREADABLE,
        attempts=call["attempts"],
        status=call["status"],
        code=call["code"],
        request_id=call["request_id"],
        uncertain=call["uncertain"],
        begun=call["begun"] or None,
        definite=call["definite"] if call["begun"] else None,
        answered_at=call["answered_at"],
        refund_id=places.get(call["generation"], "") if call["kind"] in REFUND_CALLS else "",
    )


def decided_by(action: Row) -> Decided:
    """Tell what a person did."""
    return Decided(
        at=action["at"],
        who=action["who"],
        verb=action["action"].removeprefix("trip "),
        why=action["reason"],
        outcome=action["outcome"],
        ended_at=action["ended_at"],
        refund_id=action["target"] if action["action"] in (CLEAR, GIVE_UP) else "",
    )


def _moves(row: Row, events: Sequence[Row]) -> Iterator[Moved]:
    told: dict[str, datetime] = {event["type"]: event["at"] for event in events}
    yield Moved(at=row["noted_at"], state=TripState.NOTED.value, why="")
    for state, column in ((TripState.OPEN, "opened_at"), (TripState.COMPLETED, "completed_at")):
        if row[column] is not None:
            yield Moved(at=told.get(TOLD_OF[state]) or row[column], state=state.value, why="")
    state = row["state"]
    declined = ": ".join(filter(None, (row["declined_reason"] or "", row["declined_message"] or "")))
    if state == TripState.PAID.value:
        if declined and (at := told.get(TOLD_OF[TripState.DECLINED])) is not None:
            yield Moved(at=at, state=TripState.DECLINED.value, why=declined)  # it was paid elsewhere then
        yield Moved(at=told.get(OVER[state]) or row["updated_at"], state=state, why=_way(row))
    elif state in OVER:
        why = _given_up(row, "written_off") or declined
        at = told.get(OVER[state]) or told.get(WRITTEN_OFF) or row["updated_at"]
        yield Moved(at=at, state=state, why=why)
    elif state not in STATES:
        yield Moved(at=row["updated_at"], state=state, why=NEWER)


def _troubles(row: Row) -> Iterator[Troubled]:
    for what in ("stale", "overdue"):
        since = row[f"{what}_since"]
        if since is not None:
            yield Troubled(at=since, what=what, code="", why="", request_id="")
    problem = _read(row, "problem", _Problem)
    if problem is not None:
        yield Troubled(
            at=problem.since, what="problem", code=problem.code, why=problem.message, request_id=problem.request_id
        )
    unreadable = [name for name, kind in _KINDS.items() if _is_unreadable(row, name, kind)]
    if unreadable:
        why = f"{', '.join(unreadable)}: {NEWER}"
        yield Troubled(at=row["updated_at"], what=UNREADABLE, code="", why=why, request_id="")


def _about_refund(refund: Row, events: Sequence[Row]) -> Iterator[Happening]:
    """Tell the states that a refund came to, and what it stands still for."""
    refund_id, amount_fen, state = refund["refund_id"], refund["amount_fen"], refund["state"]

    def moved(at: datetime, state: str, why: str = "") -> RefundMoved:
        return RefundMoved(at=at, refund_id=refund_id, state=state, amount_fen=amount_fen, why=why)

    yield moved(refund["requested_at"], RefundState.REQUESTED.value, refund["reason"])
    if refund["accepted_at"] is not None:
        yield moved(refund["accepted_at"], RefundState.ACCEPTED.value)
    if state in TOLD_OF_REFUNDS:
        yield moved(_ended_at(refund, events), state, _refund_given_up(refund) or "")
    elif state not in REFUND_STATES:
        yield moved(refund["updated_at"], state, NEWER)
    problem = _read(refund, "problem", _Problem)
    if problem is not None:
        yield Troubled(
            at=problem.since,
            what="problem",
            code=problem.code,
            why=problem.message,
            request_id=problem.request_id,
            refund_id=refund_id,
        )
    unreadable = [name for name, kind in _KINDS_OF_REFUND.items() if _is_unreadable(refund, name, kind)]
    if unreadable:
        why = f"{', '.join(unreadable)}: {NEWER}"
        at = refund["updated_at"]
        yield Troubled(at=at, what=UNREADABLE, code="", why=why, request_id="", refund_id=refund_id)


def _ended_at(refund: Row, events: Sequence[Row]) -> datetime:
    """Tell when a refund ended, by our clock: when that was announced; the row's own time is WeChat Pay's."""
    type_, codes = TOLD_OF_REFUNDS[refund["state"]]

    def tells_it(event: Row) -> bool:
        told = _about(event).data
        return event["type"] == type_ and told.refund_id == refund["refund_id"] and told.code in codes

    known = refund["refunded_at"] or refund["updated_at"]
    at: datetime = next((event["at"] for event in events if tells_it(event)), known)
    return at


def _refund_told(refund: Row) -> RefundTold:
    problem, refused = _read(refund, "problem", _Problem), _read(refund, "refused", _Doubt)
    code = problem.code if problem is not None else UNREADABLE if _is_unreadable(refund, "problem", _Problem) else ""
    since = {RefundState.REQUESTED.value: "requested_at", RefundState.ACCEPTED.value: "accepted_at"}
    why = "" if refused is None else f"{refused.step}: {refused.code} {refused.message}".strip()
    return RefundTold(
        refund_id=refund["refund_id"],
        out_refund_no=refund["out_refund_no"],
        transaction_id=refund["transaction_id"],
        amount_fen=refund["amount_fen"],
        payer_refund_fen=refund["payer_refund_fen"],
        reason=refund["reason"],
        state=refund["state"],
        since=refund[since.get(refund["state"], "refunded_at")] or refund["updated_at"],
        problem=code,
        why=why if problem is None else problem.message,
        due_at=refund["due_at"],
        given_up=_refund_given_up(refund),
    )


def _refund_given_up(refund: Row) -> str | None:
    given_up = _read(refund, "given_up", _GivenUpRefund)
    return None if given_up is None else f"given up by {given_up.by}: {given_up.reason}"


def _read(row: Row, name: str, kind: type[_Kind]) -> _Kind | None:
    """Read a column of JSON; None where nothing is in it, or nothing that this release can read."""
    if row[name] is None:
        return None
    try:
        return msgspec.json.decode(row[name], type=kind)
    except msgspec.MsgspecError:
        return None


def _is_unreadable(row: Row, name: str, kind: type[Any]) -> bool:
    return row[name] is not None and _read(row, name, kind) is None


# --- A fare, and what became of it ---


def _fare(row: Row) -> Iterator[Item]:
    fare = _fare_now(row)
    if fare is None:
        return
    for fee in fare.fees:
        yield Item(name=fee.name, amount_fen=fee.amount_fen)
    for discount in fare.discounts:
        yield Item(name=discount.name, amount_fen=-discount.amount_fen)


def _fare_now(row: Row) -> "_Ended | None":
    """Read the fare that counts: a fare only goes down, so the least that was told."""
    ended = _read(row, "ended", _Ended)
    if ended is None:
        return None
    return min((ended, *_lowered(row)), key=lambda fare: fare.total_fen)


def _fare_fen(row: Row) -> int | None:
    fare = _fare_now(row)
    return None if fare is None else fare.total_fen


def _lowered(row: Row) -> "list[_Lowered]":
    return _read(row, "lowered", list[_Lowered]) or []


def _fares_lowered(row: Row) -> Iterator[FareLowered]:
    """Tell each time that the fare became less; an older word that came late did not make it so."""
    ended = _read(row, "ended", _Ended)
    was_fen = None if ended is None else ended.total_fen
    for one in _lowered(row):
        if was_fen is not None and one.total_fen < was_fen:
            yield FareLowered(lowered_at=one.lowered_at, was_fen=was_fen, total_fen=one.total_fen, reason=one.reason)
            was_fen = one.total_fen


def _lowering(row: Row) -> str | None:
    lowering, fare_fen = _read(row, "lowering", _Lowering), _fare_fen(row)
    if lowering is None or fare_fen is None or not row["lowered"]:
        return None
    asked_fen, returned_fen = lowering.asked_fen, row["returned_fen"] or 0
    if row["state"] == TripState.PAID.value:
        back_fen = max(asked_fen - fare_fen, 0)
        return f"{asked_fen} fen were paid; {returned_fen} of {back_fen} fen were asked back" if back_fen else None
    if lowering.refused:
        return (
            f"WeChat Pay collects {asked_fen} fen and lowers it no more; {asked_fen - fare_fen} fen go back once paid"
        )
    if asked_fen > fare_fen:
        sent = "" if lowering.sent_fen is None else f", and is asked to make it {lowering.sent_fen}"
        return f"WeChat Pay collects {asked_fen} fen{sent}"
    return f"WeChat Pay collects {asked_fen} fen"


def _paid_elsewhere(row: Row) -> str | None:
    paid = _read(row, "paid_elsewhere", _PaidElsewhere)
    if paid is None:
        return None
    sync = _read(row, "sync", _Sync)
    told = ""
    if sync is not None:
        told = f"; WeChat Pay {'has taken it' if sync.accepted else 'is told'}, as paid at {_utc(sync.paid_time)}"
    twice = "; WeChat Pay has collected as well" if row["transaction_id"] else ""
    return f"{paid.amount_fen} fen by {paid.channel} at {_utc(paid.paid_at)}{told}{twice}"


def _asking(row: Row) -> str | None:
    asking = _read(row, "asking", _Asking)
    return "WeChat Pay is asked to collect now" if asking is not None and asking.due else None


def _confirming(row: Row) -> str | None:
    """Say what came of it that the passenger was asked to confirm the order; who gave it up first, the state tells."""
    if row["confirm_by"] is None:
        return None
    if row["opened_at"] is not None:
        return "confirmed"
    waits = row["state"] == TripState.OPEN.value and row["declined_reason"] is None
    return f"{'asked to confirm until' if waits else 'not confirmed; he was asked to until'} {_utc(row['confirm_by'])}"


def _second(row: Row) -> str | None:
    """Say of which order this is the second, and what became of the first."""
    second = _read(row, "second_try", _SecondTry)
    if second is None:
        return None
    if second.look_at is None:
        first = "is seen to"  # it does not run, or a person was called to it
    elif second.alive:
        first = "runs, and is being cancelled"
    else:
        first = f"is looked at once more at {_utc(second.look_at)}"
    return f"for {second.risk_amount_fen} fen; the first, {second.first_order_no}, was refused for risk and {first}"


def _way(row: Row) -> str:
    """Say of a trip that was not paid through WeChat Pay how it was."""
    paid = _read(row, "paid_elsewhere", _PaidElsewhere)
    return "" if paid is None or row["transaction_id"] else f"paid elsewhere, by {paid.channel}"


class _Fares:
    """Says of the events in their order what they made of the fare."""

    def __init__(self, row: Row) -> None:
        ended = _read(row, "ended", _Ended)
        self._fen = None if ended is None else ended.total_fen

    def about(self, event: Row) -> str:
        """Say what this one did; empty: it is about no fare, or cannot be read."""
        kind = _FARE_EVENTS.get(event["type"])
        if kind is None:
            return ""
        try:
            told = msgspec.json.decode(event["body"], type=kind)
        except msgspec.MsgspecError:
            return ""
        if isinstance(told, _PaidElsewhere):
            return f"{told.amount_fen} fen by {told.channel}"
        was_fen, self._fen = self._fen, told.total_fen if self._fen is None else min(self._fen, told.total_fen)
        return f"{was_fen} → {self._fen} fen: {told.reason}"


def _doubt(row: Row) -> str | None:
    doubt = _read(row, "doubt", _Doubt)
    return None if doubt is None else f"{doubt.step}: {doubt.code} {doubt.message}".strip()


def _unanswered(row: Row) -> str | None:
    asked = _read(row, "unanswered", _Unanswered)
    if asked is None:
        return None
    what = f"{asked.step}: {asked.code} {asked.message}".strip()
    return f"{what}; {asked.count} times since {_utc(asked.since)}, again at {_utc(asked.ask_after)}"


def _look(row: Row) -> str | None:
    if row["look_at"] is None:
        return None
    return "its order runs, and is being cancelled" if row["order_alive"] else f"once more at {_utc(row['look_at'])}"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _given_up(row: Row, name: str) -> str | None:
    given_up = _read(row, name, _GivenUp)
    return None if given_up is None else f"{given_up.total_fen} fen by {given_up.by}: {given_up.reason}"


def _archived(row: Row) -> Story:
    state, at = row["state"], row["archived_at"]
    return Story(
        trip_id=row["trip_id"],
        out_order_no=row["out_order_no"],
        state=state,
        openid=None,
        order_id=None,
        transaction_id=row["transaction_id"] or None,
        total_fen=None,
        paid_fen=row["paid_fen"],
        noted_at=row["noted_at"],
        due_at=None,
        doubt=None,
        archive=row["archive"],
        happenings=[
            Moved(at=row["noted_at"], state=TripState.NOTED.value, why=""),
            Moved(at=row["paid_at"] or at, state=state, why=""),
        ],
    )


def _members(happening: Happening) -> dict[str, Any]:
    return {name: getattr(happening, name) for name in happening.__dataclass_fields__}


# --- What is read of the row's JSON ---


class _Problem(msgspec.Struct):
    code: str
    message: str
    request_id: str
    since: datetime


class _Doubt(msgspec.Struct):
    step: str
    code: str
    message: str


class _Unanswered(_Doubt):
    since: datetime
    count: int
    ask_after: datetime


class _OfRefund(msgspec.Struct):
    refund_id: str = ""
    out_refund_no: str = ""
    code: str = ""


class _About(_OfRefund):
    """Which refund an event is about: the ride service says so plainly, we within the data of an announcement."""

    data: _OfRefund = msgspec.field(default_factory=_OfRefund)
    resource: _OfRefund = msgspec.field(default_factory=_OfRefund)


class _GivenUpRefund(msgspec.Struct):
    by: str
    reason: str


class _GivenUp(_GivenUpRefund):
    total_fen: int


class _Line(msgspec.Struct):
    name: str
    amount_fen: int


class _Ended(msgspec.Struct):
    fees: list[_Line]
    total_fen: int
    discounts: list[_Line] = msgspec.field(default_factory=list)


class _Lowered(_Ended, kw_only=True):
    lowered_at: datetime
    reason: str


class _PaidElsewhere(msgspec.Struct):
    paid_at: datetime
    amount_fen: int
    channel: str


class _Lowering(msgspec.Struct):
    asked_fen: int
    sent_fen: int | None = None
    refused: bool = False


class _Sync(msgspec.Struct):
    paid_time: datetime
    accepted: bool = False


class _Asking(msgspec.Struct):
    due: bool = False


class _SecondTry(msgspec.Struct):
    first_order_no: str
    risk_amount_fen: int
    look_at: datetime | None = None
    alive: bool = False


_FARE_EVENTS: Final[Mapping[str, type[_Lowered] | type[_PaidElsewhere]]] = {
    "trip.fare_lowered": _Lowered,
    "trip.paid_elsewhere": _PaidElsewhere,
}


_KINDS_OF_REFUND: Final[Mapping[str, type[msgspec.Struct]]] = {
    "problem": _Problem,
    "refused": _Doubt,
    "given_up": _GivenUpRefund,
}

_KINDS: Final[Mapping[str, Any]] = {
    "ended": _Ended,
    "lowered": list[_Lowered],
    "paid_elsewhere": _PaidElsewhere,
    "lowering": _Lowering,
    "sync": _Sync,
    "asking": _Asking,
    "second_try": _SecondTry,
    "doubt": _Doubt,
    "problem": _Problem,
    "unanswered": _Unanswered,
    "waived": _GivenUp,
    "written_off": _GivenUp,
}
