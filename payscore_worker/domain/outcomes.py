"""What becomes of a trip once a step was taken: WeChat accepted, refused, or told where the order stands.

Only what WeChat signed ends a trip or decides about money; a refusal decides when to ask again, and whom to call
(reference payscore-api F.5).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from payscore_worker.domain.fares import paid_elsewhere
from payscore_worker.domain.next_step import (
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    LowerOrder,
    OpenOrder,
    PayOrder,
    Rules,
)
from payscore_worker.domain.trip import (
    COMPLETED_ELSEWHERE,
    LATE_LOOK,
    NOT_SENT_BACK,
    PAID_TWICE,
    TERMINAL,
    Asking,
    Debit,
    Declined,
    DeclineReason,
    Doubt,
    Look,
    Lowering,
    Opening,
    OrderPhase,
    OrderSeen,
    Payment,
    Problem,
    SecondTry,
    Sync,
    Trip,
    TripState,
    Unanswered,
    Waived,
    WrittenOff,
    fare_fen,
    needs_confirm,
    owed_fen,
    too_much_fen,
)
from payscore_worker.errors import ConflictingFact, Refusal

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)

DEBIT_PAUSE: Final = 3 * MINUTE
"""The wait WeChat asks for while it is collecting (reference payscore-api B.7)."""

PAUSES: Final = (timedelta(0), MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR)
"""Before each question that follows a refused call. A refusal may be a proxy's, and last as long as an outage; one more
than these, after three hours, is for a person."""

LONGEST_UNPERMITTED: Final = 15 * MINUTE
"""A permission to open orders that WeChat's operations have mended is noticed within this time."""

QUESTION_PAUSES: Final = (
    timedelta(seconds=5),
    timedelta(seconds=15),
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR / 2,
    HOUR,
    2 * HOUR,
)
"""Before a refused question is asked again: it changes nothing, so there is time (reference payscore-api F.5 d)."""

APART: Final = timedelta(seconds=10)
"""Between the two answers "no such order" that stand for one signed word (reference payscore-api F.5 c): WeChat's
replicas lag by tens of milliseconds."""

APART_IN_DOUBT: Final = 2 * MINUTE
"""The same where a create may still be on its way: longer than a call of ours can take with all its tries."""

MAX_REBUILDS: Final = 2
"""Bodies of one call that are dropped because every send was refused: one made anew, and one without what need not be
said. What is refused then is for a person."""

DECLINING: Final[Mapping[Refusal, DeclineReason]] = {
    Refusal.RISK_REFUSED: DeclineReason.RISK_REFUSED,
    Refusal.ARREARS: DeclineReason.ARREARS,
    Refusal.TOO_MANY_ORDERS: DeclineReason.TOO_MANY_ORDERS,
    Refusal.MINOR_PROTECTED: DeclineReason.MINOR_PROTECTED,
    Refusal.AMOUNT_OVER_LIMIT: DeclineReason.AMOUNT_OVER_LIMIT,
}
"""The refusals of a create by which WeChat will not serve this passenger or this amount, once it is sure that no order
runs."""

PARAMETERS: Final = frozenset({Refusal.BAD_TIME, Refusal.INVALID_PARAMETER})
"""The refusals that name a parameter: the body may be rebuilt (reference payscore-api B.10)."""

LOWERING_LOST: Final = "lowering_lost"
"""The problem of a fare that WeChat said it has lowered, and goes on collecting."""

OVER_LIMIT: Final = "the fare is above the risk amount"
NOT_ENABLED: Final = "the passenger has not enabled PayScore"


# --- Accepted ---


def opening(trip: Trip, what: Opening) -> Trip:
    """Mark that the create is about to be sent for the first time."""
    return replace(trip, opening=what, bodies=trip.bodies + 1)


def opened(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """WeChat accepted the order, and it runs."""
    order_id = order.order_id or trip.order_id
    opened_at = order.started_at or now
    running = replace(trip, state=TripState.OPEN, order_id=order_id, opened_at=opened_at, polls=0, asked_at=None)
    return _settled_down(running)


def created(trip: Trip, order: OrderSeen, now: datetime, *, package: str, confirm_by: datetime) -> Trip:
    """WeChat accepted the order, and gave what the page opens with on which the passenger confirms it.

    Nobody is asked to confirm what is to be cancelled, or asked twice; and who is asked is not waited for in vain: a
    trip that stood still for want of the page goes on.
    """
    seen = see(trip, order, now)
    waits = seen.state is TripState.OPEN and _is_unconfirmed(seen)
    if not waits or seen.confirm_by is not None or not package:
        return seen
    return _settled_down(replace(seen, package=package, confirm_by=confirm_by, problem=None))


def completing(trip: Trip, end_time: datetime) -> Trip:
    """Mark that the complete is about to be sent for the first time."""
    return replace(trip, end_time=end_time, bodies=trip.bodies + 1)


def cancelling(trip: Trip) -> Trip:
    """Mark that the cancel is about to be sent for the first time."""
    return replace(trip, bodies=trip.bodies + 1)


def lower_to_fen(trip: Trip) -> int:
    """Say what WeChat is to collect from now on: the fare, or nothing of one that was waived."""
    return 0 if trip.waived is not None else fare_fen(trip)


def is_lowering_prepared(trip: Trip) -> bool:
    """Tell whether a body that lowers the fare is stored: the same again; only a waived fare has one of its own."""
    sent_fen = None if trip.lowering is None else trip.lowering.sent_fen
    return sent_fen is not None and (trip.waived is None or sent_fen == 0)


def lowering(trip: Trip) -> Trip:
    """Mark that the fare is about to be lowered for the first time to what it is now."""
    asked = trip.lowering or Lowering(asked_fen=owed_fen(trip))
    return replace(trip, lowering=replace(asked, sent_fen=lower_to_fen(trip)), bodies=trip.bodies + 1)


def lowered(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """WeChat accepted the lower fare; whether the order of one that was waived is over, its answer says."""
    if trip.state is not TripState.COMPLETED:
        return see(trip, order, now)
    if trip.waived is not None:
        return see(_lowered(trip, trip.waived), order, now)
    sent_fen = None if trip.lowering is None else trip.lowering.sent_fen
    return see(trip if sent_fen is None else _taken(trip, sent_fen), order, now)


def _taken(trip: Trip, fen: int) -> Trip:
    """WeChat collects this much, and no longer what it collected before."""
    calm = replace(trip, doubt=None, refusals=0, refused_as="", polls=0, asked_at=None)
    return replace(calm, lowering=Lowering(asked_fen=fen, before_fen=owed_fen(trip)))


def syncing(trip: Trip, sync: Sync) -> Trip:
    """Mark that WeChat is about to be told for the first time that the fare was paid elsewhere."""
    return replace(trip, sync=sync, bodies=trip.bodies + 1)


def synced(trip: Trip, order: OrderSeen | None, now: datetime) -> Trip:
    """WeChat has taken it that the fare was paid elsewhere; that the order is over, its answer says, or it is asked."""
    if trip.state is not TripState.COMPLETED or trip.sync is None:
        return trip if order is None else see(trip, order, now)
    calm = replace(trip, doubt=None, refusals=0, refused_as="", polls=0, asked_at=None)
    heard = replace(calm, sync=replace(trip.sync, accepted=True))
    return heard if order is None else see(heard, order, now)


def asking(trip: Trip, step: int) -> Trip:
    """Mark that WeChat is about to be asked to collect now."""
    return replace(trip, asking=Asking(step=step, due=True, sent=True), bodies=trip.bodies + 1)


def asked_to_pay(trip: Trip) -> Trip:
    """WeChat was asked to collect, and tries now: look soon."""
    if trip.asking is None:
        return trip
    calm = replace(trip, doubt=None, refusals=0, refused_as="", polls=0, asked_at=None)
    return replace(calm, asking=Asking(step=trip.asking.step))


def _lowered(trip: Trip, waived: Waived) -> Trip:
    calm = replace(trip, doubt=None, refusals=0, refused_as="", polls=0, asked_at=None)
    return replace(calm, waived=replace(waived, lowered=True))


def completed(trip: Trip, now: datetime) -> Trip:
    """WeChat accepted the amount; the money is not yet in."""
    return _settled_down(replace(trip, state=TripState.COMPLETED, completed_at=now, declined=None, finish_ticket=""))


def complete_accepted(trip: Trip, total_fen: int, now: datetime) -> Trip:
    """WeChat accepted the fare, as it does the same bytes of an order that is over (reference payscore-api B.10).

    To a trip that a signed word has ended without a charge meanwhile, it says nothing: nothing is collected.
    """
    if trip.written_off is not None or (trip.state is TripState.PAID and trip.paid_elsewhere is not None):
        return trip
    return see(trip, OrderSeen(phase=OrderPhase.COLLECTING, total_fen=total_fen), now)


def order_cancelled(trip: Trip, now: datetime) -> Trip:
    """WeChat cancelled the order, as we asked."""
    if trip.state is TripState.OPEN:
        return _gone(replace(trip, problem=None), DeclineReason.AMOUNT_OVER_LIMIT, OVER_LIMIT)
    return see(trip, OrderSeen(phase=OrderPhase.REVOKED), now)


def stale(trip: Trip, now: datetime) -> Trip:
    """The start or the end is missing for too long; said once."""
    return replace(trip, stale_since=now)


def overdue(trip: Trip, step: int, now: datetime) -> Trip:
    """The money is out for too long; said once at each age that is reached."""
    return replace(trip, overdue_since=trip.overdue_since or now, overdue_step=step, overdue_told_at=now)


def service_answered(trip: Trip, *, enabled: bool) -> Trip:
    """WeChat said whether the passenger has enabled the service.

    A service that is off ends the trip where no order was ever asked for. It does not end orders that run, and that a
    create was refused nobody has signed: then it is asked about (reference payscore-api C.4, F.5 c).
    """
    calm = replace(trip, missed_at=None, unanswered=None)
    if enabled:
        # After a NO_AUTH: enabled just now, or our configuration is wrong. The same bytes will tell.
        return replace(calm, service_enabled=True, doubt=None)
    if not trip.bodies:
        return _gone(calm, DeclineReason.SERVICE_NOT_ENABLED, NOT_ENABLED)
    return replace(calm, doubt=replace(_doubt_of(trip, Refusal.NOT_PERMITTED), service_off=True, ask_after=None))


def declines_for_service(before: Trip, after: Trip) -> bool:
    """Tell whether a change declines a trip because its passenger has not enabled the service."""
    ends = after.state is TripState.DECLINED is not before.state
    return ends and after.declined is not None and after.declined.reason is DeclineReason.SERVICE_NOT_ENABLED


def service_opened(trip: Trip, now: datetime, rules: Rules) -> Trip:
    """Take a declined trip up again whose passenger has enabled the service while riding.

    Nothing payable exists before the end, and no order was ever asked for, so there is no second one (ADR 23). A trip
    whose end is missing for too long is not ridden any more.
    """
    reason = None if trip.declined is None else trip.declined.reason
    was_declined = trip.state is TripState.DECLINED and reason is DeclineReason.SERVICE_NOT_ENABLED
    is_ridden = trip.ended is None and trip.cancelled is None and now < trip.noted_at + rules.stale_after
    if not was_declined or not is_ridden or trip.bodies or trip.problem is not None:
        return trip
    return _settled_down(replace(trip, state=TripState.NOTED, declined=None))


def declined(trip: Trip, reason: DeclineReason, message: str, *, now: datetime) -> Trip:
    """PayScore will not serve; an order that stands is to be cancelled first."""
    if trip.state is TripState.OPEN:
        return _settled_down(replace(trip, declined=Declined(reason=reason, message=message)))
    return _gone(trip, reason, message, look_at=now + LATE_LOOK)


def outdated(trip: Trip) -> Trip:
    """Ask whether the order was opened after all: its create was refused, and the settings have changed since."""
    return replace(trip, doubt=_doubt_of(trip, Refusal.MISCONFIGURED), missed_at=None)


# --- Refused ---


def refused(trip: Trip, doubt: Doubt, now: datetime, *, others_pass: bool = True) -> Trip:
    """WeChat refused a call: ask where the order stands, after a pause that grows; after hours, a person must look.

    `others_pass`: creates of other trips were accepted meanwhile. Where none was, a create that is "not permitted" is
    about the merchant, and nobody could do anything about this trip (reference payscore-api F.5 g).
    """
    if doubt.refusal is Refusal.NOT_ENABLED:
        doubt = replace(doubt, refusal=Refusal.NOT_PERMITTED)
    doubt = replace(doubt, again=trip.refused_as == doubt.refusal)
    about_us = doubt.step == OpenOrder.__name__ and doubt.refusal is Refusal.NOT_PERMITTED and not others_pass
    leads_on = not doubt.again and (doubt.refusal in PARAMETERS or _declines(doubt))
    has_its_chance = leads_on or _leads_to_lowering(trip, doubt) or _can_be_left(trip, doubt)
    if trip.refusals >= len(PAUSES) and not about_us and not has_its_chance:
        return _troubled_by(trip, doubt, now)
    pause = PAUSES[min(trip.refusals, len(PAUSES) - 1)]
    if doubt.refusal is Refusal.DEBIT_IN_FLIGHT:
        pause = max(pause, DEBIT_PAUSE)
    if doubt.refusal is Refusal.NOT_PERMITTED and doubt.step == OpenOrder.__name__:
        pause = min(pause, LONGEST_UNPERMITTED)
    if doubt.refusal is Refusal.AMOUNT_OVER_LIMIT:
        pause = min(pause, APART)
    ask_after = now + pause if pause else None
    refusals, doubt = min(trip.refusals + 1, len(PAUSES)), replace(doubt, ask_after=ask_after)
    return replace(trip, doubt=doubt, refusals=refusals, refused_as=doubt.refusal.value, missed_at=None)


def _can_be_left(trip: Trip, doubt: Doubt) -> bool:
    """Tell whether a refused call need not succeed: money goes back where a fare is not lowered, or comes in anyway."""
    lowers = doubt.step == LowerOrder.__name__ and trip.waived is None
    return lowers or doubt.step == PayOrder.__name__


def _declines(doubt: Doubt) -> bool:
    """Tell whether a refusal would end the trip, once it is sure that no order runs."""
    about_the_fare = doubt.step == CompleteOrder.__name__ and doubt.refusal is Refusal.AMOUNT_OVER_LIMIT
    return about_the_fare or (doubt.step == OpenOrder.__name__ and doubt.refusal in DECLINING)


def question_refused(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    """WeChat refused a question, or answered what cannot be: ask again, with pauses that grow (payscore-api F.5 d, e).

    That a passenger has never enabled the service is told by a refusal too; only two of them, some time apart, count.
    """
    about_the_service = doubt.step == AskServiceState.__name__ and trip.state is TripState.NOTED
    if about_the_service and doubt.refusal is Refusal.NOT_ENABLED:
        return _never_enabled(trip, doubt, now)
    count = 0 if trip.unanswered is None else trip.unanswered.count
    if count >= len(QUESTION_PAUSES):
        return _troubled_by(trip, doubt, now)
    return replace(trip, unanswered=_unanswered(trip, doubt, now, pause=QUESTION_PAUSES[count]))


def _never_enabled(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    if trip.missed_at is not None and now - trip.missed_at >= APART:
        return service_answered(trip, enabled=False)
    missed_at = trip.missed_at or now
    return replace(trip, missed_at=missed_at, unanswered=_unanswered(trip, doubt, now, pause=missed_at + APART - now))


def _unanswered(trip: Trip, doubt: Doubt, now: datetime, *, pause: timedelta) -> Unanswered:
    before = trip.unanswered
    return Unanswered(
        step=doubt.step,
        code=doubt.code or doubt.refusal.value,
        message=doubt.message,
        request_id=doubt.request_id,
        since=now if before is None else before.since,
        count=1 if before is None else before.count + 1,
        ask_after=now + pause,
    )


# --- Asked ---


def asked(trip: Trip, order: OrderSeen, now: datetime, *, certain: bool = False) -> Trip:
    """WeChat told, on our question, where the order stands.

    `certain`: no send of the call in doubt can have been accepted.
    """
    seen = see(trip, order, now)
    if seen.state is not trip.state or seen.problem is not None:
        return seen
    if order.phase is OrderPhase.UNKNOWN:
        return _puzzled(trip, "unknown_state", "WeChat Pay shows a state that no table knows", now)
    seen = replace(seen, unanswered=None, missed_at=None)
    match trip.state:
        case TripState.COMPLETED:
            return _asked_when_completed(trip, seen, order, now)
        case TripState.OPEN if order.phase is OrderPhase.CREATED and _is_unconfirmed(seen):
            return replace(seen, doubt=None, polls=trip.polls + 1, asked_at=now)
        case TripState.OPEN if order.phase is OrderPhase.CREATED and not _is_given_up(seen):
            return _puzzled(trip, "unknown_state", "WeChat Pay waits for a confirmation of an order that ran", now)
        case TripState.OPEN if order.phase is OrderPhase.RUNNING:
            seen = replace(seen, finish_ticket=order.finish_ticket, opened_at=order.started_at or seen.opened_at)
    if trip.doubt is None or order.phase not in (OrderPhase.RUNNING, OrderPhase.CREATED):
        return replace(seen, doubt=None)
    return _unmoved(seen, trip.doubt, now, certain=certain)


def _asked_when_completed(trip: Trip, seen: Trip, order: OrderSeen, now: datetime) -> Trip:
    if order.phase is not OrderPhase.COLLECTING:
        return _puzzled(trip, "completion_lost", "WeChat Pay accepted the fare, and shows a running order", now)
    if _is_lowering_lost(seen, order):
        return _puzzled(trip, LOWERING_LOST, "WeChat Pay accepted a lower fare, and shows the old one", now)
    if seen.sync is not None and seen.sync.accepted:
        message = "WeChat Pay accepted that the fare was paid elsewhere, and goes on collecting"
        return _puzzled(trip, "sync_lost", message, now)
    return replace(_collecting(seen), doubt=None, polls=trip.polls + 1, asked_at=now)


def _collecting(trip: Trip) -> Trip:
    """Take another way where WeChat goes on collecting, and has refused twice to do otherwise.

    One refusal is unsigned, and may be anybody's. What it does not cancel is lowered (reference payscore-api B.7); what
    it does not lower goes back once it is paid (B.8); and that it is asked to collect now need not be.
    """
    doubt = trip.doubt
    if doubt is not None and _can_be_left(trip, doubt) and _is_settled(trip, doubt):
        calm = replace(trip, refusals=0, refused_as="")
        if doubt.step == PayOrder.__name__:
            return replace(calm, asking=None if trip.asking is None else Asking(step=trip.asking.step))
        return calm if trip.lowering is None else replace(calm, lowering=replace(trip.lowering, refused=True))
    if trip.waived is None or trip.doubt is None or not trip.doubt.again or not _leads_to_lowering(trip, trip.doubt):
        return trip
    return replace(trip, waived=replace(trip.waived, lowers=True), refusals=0, refused_as="")


def _is_settled(trip: Trip, doubt: Doubt) -> bool:
    """Tell whether a refusal will not change by itself: while WeChat is collecting, it asks for patience."""
    return trip.refusals >= len(PAUSES) or (doubt.again and doubt.refusal is not Refusal.DEBIT_IN_FLIGHT)


def _leads_to_lowering(trip: Trip, doubt: Doubt) -> bool:
    """Tell whether a refusal says that WeChat cancels nothing that it collects."""
    cancels = trip.waived is not None and doubt.step == CancelOrder.__name__
    return cancels and doubt.refusal is Refusal.WRONG_STATE


def _is_lowering_lost(trip: Trip, order: OrderSeen) -> bool:
    if trip.waived is not None:
        return trip.waived.lowered and order.total_fen not in (None, 0)
    return _was_collected(trip, order.total_fen)


def _was_collected(trip: Trip, fen: int | None) -> bool:
    """Tell whether this is what WeChat collected before it last took a lower fare."""
    return fen is not None and trip.lowering is not None and fen == trip.lowering.before_fen


def _is_unconfirmed(trip: Trip) -> bool:
    """Tell whether the passenger has still to confirm the order."""
    return trip.opened_at is None and needs_confirm(trip) and not _is_given_up(trip)


def _is_given_up(trip: Trip) -> bool:
    """Tell whether the order is to be cancelled, which it can be before it was confirmed, too (payscore-api B.7)."""
    return trip.cancelled is not None or trip.declined is not None or trip.paid_elsewhere is not None


def not_found(trip: Trip, doubt: Doubt, now: datetime, *, certain: bool, second: SecondTry | None = None) -> Trip:
    """WeChat knows no such order: `doubt` is its answer to our question, and unsigned (payscore-api F.5 c, e).

    After an accepted create it is lag. Before, two such answers, some time apart, stand for WeChat's word. `second`:
    how the trip is tried again where it was refused for risk.
    """
    if trip.state in TERMINAL and not (trip.look is not None and trip.look.alive):
        return _settled_down(replace(trip, look=None))
    if trip.state is not TripState.NOTED:
        return question_refused(trip, doubt, now)
    cause = _doubt_of(trip, Refusal.ORDER_NOT_FOUND)
    apart = APART if certain else APART_IN_DOUBT
    if not _takes_two(trip, cause) or (trip.missed_at is not None and now - trip.missed_at >= apart):
        return _never_there(replace(trip, doubt=None, missed_at=None, unanswered=None), cause, now, second)
    missed_at = trip.missed_at or now
    return replace(trip, missed_at=missed_at, doubt=replace(cause, ask_after=missed_at + apart), unanswered=None)


def _takes_two(trip: Trip, cause: Doubt) -> bool:
    """Tell whether the trip would end, or its body be dropped; to send the same bytes again, one answer is enough."""
    drops = cause.refusal in PARAMETERS or cause.refusal is Refusal.MISCONFIGURED
    is_over = trip.cancelled is not None or trip.paid_elsewhere is not None
    return is_over or cause.service_off or cause.refusal in DECLINING or drops


def _never_there(trip: Trip, cause: Doubt, now: datetime, second: SecondTry | None) -> Trip:
    """Resolve the doubt about a create: there is no order."""
    look_at = now + LATE_LOOK
    if trip.cancelled is not None or trip.paid_elsewhere is not None or cause.service_off:
        return _gone(trip, DeclineReason.SERVICE_NOT_ENABLED, NOT_ENABLED, look_at=look_at)
    if cause.refusal is Refusal.RISK_REFUSED and second is not None:
        return _tried_again(trip, second)
    if cause.refusal in DECLINING:
        return _gone(trip, DECLINING[cause.refusal], cause.message, look_at=look_at)
    if cause.refusal is Refusal.MISCONFIGURED:
        return replace(trip, opening=None)
    return _rebuilding(trip, cause, now) if cause.refusal in PARAMETERS else trip


def _tried_again(trip: Trip, second: SecondTry) -> Trip:
    """Leave the first number, under which no order runs, for the second."""
    return replace(_settled_down(trip), out_order_no=second.out_order_no, opening=None, second=second)


def _unmoved(trip: Trip, doubt: Doubt, now: datetime, *, certain: bool) -> Trip:
    """Resolve the doubt about a complete or a cancel: it had no effect, as the signed order shows."""
    calm = replace(trip, doubt=None)
    if _declines(doubt) and doubt.again:
        return declined(calm, DeclineReason.AMOUNT_OVER_LIMIT, doubt.message, now=now)
    if doubt.refusal in PARAMETERS and certain:
        return _rebuilding(calm, doubt, now)
    return calm  # the same bytes again; PAUSES bounds it


def _rebuilding(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    """Drop the body: every send of it was refused, and the order stands where it stood (payscore-api B.10)."""
    if trip.rebuilds >= MAX_REBUILDS:
        return _troubled_by(trip, doubt, now)
    dropped = replace(trip, rebuilds=trip.rebuilds + 1, refusals=min(trip.refusals, trip.rebuilds + 1))
    if doubt.step == OpenOrder.__name__:
        return replace(dropped, opening=None)
    return without_complete(dropped) if doubt.step == CompleteOrder.__name__ else dropped


def without_complete(trip: Trip) -> Trip:
    """Drop the body of the complete: the next one tells the fare as it is then."""
    return replace(trip, end_time=None, lowering=None)


def _puzzled(trip: Trip, code: str, message: str, now: datetime) -> Trip:
    """Ask again later about an answer that cannot be: it may come from a replica that lags."""
    doubt = replace(_doubt_of(trip, Refusal.UNCLEAR), step=AskOrder.__name__, code=code, message=message)
    return question_refused(trip, doubt, now)


def _doubt_of(trip: Trip, refusal: Refusal) -> Doubt:
    """Take the doubt that stands, or have one of our own about the create."""
    own = Doubt(step=OpenOrder.__name__, refusal=refusal, code="", message="", request_id="", uncertain=True)
    return trip.doubt or own


# --- Seen ---


def see(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Take WeChat's signed word on where the order stands, asked for or not.

    A trip that stands still for a person goes on where the word leads it on (reference payscore-api F.5 f), and has the
    problem that the word shows where that is another one.

    Raises:
        ConflictingFact: it contradicts a payment that is noted.

    """
    if order.phase is OrderPhase.UNKNOWN:
        return trip
    if trip.problem is not None:
        freed = see(replace(trip, problem=None), order, now)
        stays = freed.problem_told == trip.problem_told if freed.problem is not None else not _is_led_on(trip, freed)
        return trip if stays else freed
    match trip.state:
        case TripState.NOTED:
            return _see_when_noted(trip, order, now)
        case TripState.OPEN:
            return _see_when_open(trip, order, now)
        case TripState.COMPLETED:
            return _see_when_completed(trip, order, now)
        case TripState.PAID:
            return _see_when_paid(trip, order, now)
        case TripState.DECLINED | TripState.CANCELLED:
            return _see_when_given_up(trip, order, now)
        case _:
            assert_never(trip.state)


def _is_led_on(trip: Trip, freed: Trip) -> bool:
    """Tell whether a word brought the trip to another state, or showed that its order runs."""
    return (freed.state, freed.opened_at) != (trip.state, trip.opened_at)


def _see_when_noted(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    if not trip.bodies:
        return _troubled(trip, "unexpected_order", "WeChat Pay shows an order that we did not ask for", now)
    match order.phase:
        case OrderPhase.RUNNING:
            return opened(trip, order, now)
        case OrderPhase.ACCEPTED:
            return _accepted(trip, order)
        case OrderPhase.CREATED if needs_confirm(trip):
            return _accepted(trip, order)
        case OrderPhase.CREATED:
            return _must_be_confirmed(_accepted(trip, order), now)
        case OrderPhase.COLLECTING | OrderPhase.DONE:
            return _completed_elsewhere(trip, order, now)
        case _:
            return _revoked(trip, order)


def _see_when_open(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    match order.phase:
        case OrderPhase.RUNNING if trip.opened_at is None and trip.declined is None:
            return opened(trip, order, now)
        case OrderPhase.CREATED if trip.opened_at is None and trip.declined is None and not needs_confirm(trip):
            return _must_be_confirmed(trip, now)
        case OrderPhase.ACCEPTED | OrderPhase.RUNNING | OrderPhase.CREATED:
            return trip
        case OrderPhase.COLLECTING | OrderPhase.DONE if trip.end_time is None:
            return _completed_elsewhere(trip, order, now)
        case OrderPhase.COLLECTING | OrderPhase.DONE if order.total_fen not in (None, owed_fen(trip)):
            return _amount_differs(trip, order, now)  # a completion, and not ours
        case OrderPhase.COLLECTING | OrderPhase.DONE:
            return _see_when_completed(completed(trip, now), order, now)
        case _:
            return _revoked(trip, order)


def _accepted(trip: Trip, order: OrderSeen) -> Trip:
    return _settled_down(replace(trip, state=TripState.OPEN, order_id=order.order_id or trip.order_id))


def _must_be_confirmed(trip: Trip, now: datetime) -> Trip:
    """Give up an order that waits for a confirmation which nobody is asked for (reference payscore-api 0.3)."""
    message = "WeChat Pay waits for the passenger to confirm an order that needs no confirmation"
    return declined(trip, DeclineReason.REVOKED, message, now=now)


def _completed_elsewhere(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Adopt a completion that was not ours, where it is about exactly what is owed."""
    if trip.ended is None or order.total_fen != owed_fen(trip):
        return _troubled(trip, COMPLETED_ELSEWHERE, f"the order was completed, and not by us: {_amounts(order)}", now)
    order_id, opened_at = order.order_id or trip.order_id, trip.opened_at or order.started_at or now
    return _see_when_completed(completed(replace(trip, order_id=order_id, opened_at=opened_at), now), order, now)


def _see_when_completed(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    match order.phase:
        case OrderPhase.COLLECTING:
            return _see_collecting(trip, order, now)
        case OrderPhase.DONE:
            return _see_done(trip, order, now)
        case OrderPhase.REVOKED | OrderPhase.EXPIRED if trip.waived is not None:
            return _written_off(trip, trip.waived)
        case OrderPhase.REVOKED | OrderPhase.EXPIRED:
            return _troubled(trip, "revoked_after_completion", "the order is gone, and the money with it", now)
        case _:
            return trip  # word from before the completion, come late


def _see_collecting(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Compare what WeChat goes on collecting: what was owed, what it was last told, or what a lagging replica knows."""
    if trip.waived is not None and order.total_fen == 0:
        return trip if trip.waived.lowered else _lowered(trip, trip.waived)
    if order.total_fen is not None and _is_lowered_there(trip, order.total_fen):
        return _taken(trip, order.total_fen)
    is_known = order.total_fen in (None, owed_fen(trip)) or _was_collected(trip, order.total_fen)
    return trip if is_known else _amount_differs(trip, order, now)


def _see_done(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Take the end: paid, in whichever way; or of a fare that was waived, without a charge."""
    if _is_paid_elsewhere(trip, order):
        return _settled_down(paid_elsewhere(trip))
    if _is_paid_in_full(trip, order):
        return _paid(trip, order, now)
    paid_fen = order.paid_fen
    if paid_fen is not None and order.total_fen in (None, paid_fen) and _is_known(trip, paid_fen):
        return _paid(_taken(trip, paid_fen), order, now)
    if trip.waived is not None and order.total_fen == 0 and not order.paid_fen:
        return _written_off(trip, trip.waived)
    return _amount_differs(trip, order, now)


def _is_known(trip: Trip, fen: int) -> bool:
    """Tell whether this is a fare that WeChat was told at any time: what of it is too much goes back."""
    return _is_lowered_there(trip, fen) or _was_collected(trip, fen)


def _is_lowered_there(trip: Trip, fen: int) -> bool:
    """Tell whether this is what WeChat was last told to collect, or the fare: we have not heard it take that."""
    if trip.waived is not None or trip.lowering is None or not trip.lowered:
        return False
    return fen != trip.lowering.asked_fen and fen in (trip.lowering.sent_fen, fare_fen(trip))


def _is_paid_elsewhere(trip: Trip, order: OrderSeen) -> bool:
    """Tell whether an order is over because of what was paid elsewhere: WeChat has debited nothing for it."""
    lowering = trip.lowering
    ours = (None, owed_fen(trip), None if lowering is None else lowering.sent_fen)
    return trip.paid_elsewhere is not None and not order.debits and order.total_fen in ours


def _see_when_paid(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Compare the payment. What is absent contradicts nothing that we hold (reference payscore-api F.5 i)."""
    payment = trip.payment
    if payment is not None and trip.paid_elsewhere is not None and not payment.debits:
        return _see_when_paid_elsewhere(trip, payment, order, now)
    if order.phase is not OrderPhase.DONE or payment is None:
        return trip  # word from before the payment, come late
    known, told = frozenset(payment.transaction_ids), frozenset(debit.transaction_id for debit in order.debits)
    if order.paid_fen not in (None, payment.paid_fen) or (known and told and known.isdisjoint(told)):
        raise ConflictingFact("WeChat Pay shows another payment than the one noted")
    debits = _learned(payment.debits, order.debits)
    return trip if debits == payment.debits else replace(trip, payment=replace(payment, debits=debits))


def _see_when_paid_elsewhere(trip: Trip, payment: Payment, order: OrderSeen, now: datetime) -> Trip:
    """Compare with an end without a charge; what WeChat has debited all the same came in twice (design rule 11)."""
    if order.phase is not OrderPhase.DONE:
        return _see_when_given_up(trip, order, now)
    if not order.debits:
        return trip if trip.look is None else _settled_down(replace(trip, look=None))
    twice = replace(payment, paid_fen=order.paid_fen or payment.paid_fen, debits=order.debits)
    return _settled_down(replace(trip, payment=twice, look=None))


def _learned(known: tuple[Debit, ...], told: tuple[Debit, ...]) -> tuple[Debit, ...]:
    """Add the debits, and their amounts, that were not told before; what is noted of them stays."""
    amounts = {debit.transaction_id: debit.amount_fen for debit in told}
    old = tuple(
        debit if debit.amount_fen is not None else replace(debit, amount_fen=amounts.get(debit.transaction_id))
        for debit in known
    )
    ids = {debit.transaction_id for debit in known}
    return old + tuple(debit for debit in told if debit.transaction_id not in ids)


def _see_when_given_up(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    """Compare with an end without a charge: an order that runs all the same is cancelled; money is for a person."""
    match order.phase:
        case OrderPhase.ACCEPTED | OrderPhase.RUNNING | OrderPhase.CREATED:
            return replace(trip, look=Look(at=now, alive=True), order_id=order.order_id or trip.order_id)
        case OrderPhase.COLLECTING | OrderPhase.DONE if order.total_fen != 0:
            message = f"WeChat Pay collects for a trip that is {trip.state}: {_amounts(order)}"
            return _troubled(replace(trip, look=None), "charged_though_over", message, now)
        case _:
            return trip if trip.look is None else _settled_down(replace(trip, look=None))


def _revoked(trip: Trip, order: OrderSeen) -> Trip:
    if order.phase is OrderPhase.EXPIRED and _is_unconfirmed(trip):
        return _gone(trip, DeclineReason.NOT_CONFIRMED, "the order expired before the passenger confirmed it")
    if order.phase is OrderPhase.EXPIRED:
        return _gone(trip, DeclineReason.EXPIRED, "the order expired before it was completed")
    return _gone(trip, DeclineReason.REVOKED, "the order was revoked before it was completed")


def _is_paid_in_full(trip: Trip, order: OrderSeen) -> bool:
    owed = owed_fen(trip)
    return (order.paid_fen or 0) == owed and order.total_fen in (None, owed)


def _paid(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    payment = Payment(paid_fen=order.paid_fen or 0, paid_at=order.paid_at or now, debits=order.debits)
    return _settled_down(replace(trip, state=TripState.PAID, payment=payment, waived=None, asking=None))


def _written_off(trip: Trip, waived: Waived) -> Trip:
    """End without a charge, as a person decided: WeChat collects nothing any more."""
    written_off = WrittenOff(total_fen=waived.total_fen, by=waived.by, reason=waived.reason)
    return _settled_down(replace(trip, state=TripState.CANCELLED, waived=None, written_off=written_off))


def _amount_differs(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
    return _troubled(trip, "amount_differs", f"owed {owed_fen(trip)} fen; WeChat Pay shows {_amounts(order)}", now)


def _amounts(order: OrderSeen) -> str:
    return f"total {order.total_fen}, paid {order.paid_fen}"


# --- Given up, in trouble, taken up again ---


def with_problem(trip: Trip, problem: Problem) -> Trip:
    """Stop: a person must look."""
    told = f"{problem.code} {problem.step}"
    return replace(trip, problem=problem, problem_told=told, doubt=None, unanswered=None, missed_at=None)


def without_problem(trip: Trip) -> Trip:
    """Take the trip up again, and ask at once: a person has looked."""
    calm = replace(trip, doubt=None, refusals=0, refused_as="", rebuilds=0, unanswered=None)
    if trip.problem is not None and trip.problem.code in (PAID_TWICE, NOT_SENT_BACK):
        return replace(calm, problem=None, returned_fen=trip.returned_fen + too_much_fen(trip))  # seen to
    if trip.problem is not None and trip.problem.code == LOWERING_LOST and trip.waived is None and trip.lowering:
        before_fen = trip.lowering.before_fen
        lost = trip.lowering if before_fen is None else Lowering(asked_fen=before_fen)
        calm = replace(calm, lowering=lost)
    anew = None if trip.waived is None else replace(trip.waived, lowers=False, lowered=False)
    return replace(calm, problem=None, polls=0, asked_at=None, waived=anew)


def _gone(trip: Trip, reason: DeclineReason, message: str, *, look_at: datetime | None = None) -> Trip:
    """End without a charge, for the cause noted first: the cancelled trip, the decision to decline, or this one.

    `look_at`: when to look once more, where an order may have been asked for and no signed word of it stands behind
    this end.
    """
    look = Look(at=look_at) if look_at is not None and trip.bodies else None
    over = _settled_down(replace(trip, look=look))
    if trip.cancelled is not None:
        return replace(over, state=TripState.CANCELLED)
    if trip.paid_elsewhere is not None:
        return paid_elsewhere(over)
    return replace(over, state=TripState.DECLINED, declined=trip.declined or Declined(reason=reason, message=message))


def _troubled(trip: Trip, code: str, message: str, now: datetime) -> Trip:
    step = "" if trip.doubt is None else trip.doubt.step
    return with_problem(trip, Problem(code=code, message=message, request_id="", step=step, since=now))


def _troubled_by(trip: Trip, doubt: Doubt, now: datetime) -> Trip:
    problem = Problem(
        code=doubt.code or doubt.refusal,
        message=doubt.message,
        request_id=doubt.request_id,
        step=doubt.step,
        since=now,
    )
    return with_problem(trip, problem)


def _settled_down(trip: Trip) -> Trip:
    calm = replace(trip, doubt=None, refusals=0, refused_as="", rebuilds=0)
    return replace(calm, unanswered=None, missed_at=None, problem_told="")
