"""What a trip needs now: the rules, the steps, and next_step, which decides from the row alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never

from payscore_worker.domain.account import DEFAULT, Account
from payscore_worker.domain.trip import (
    PAID_TWICE,
    WAIVE_REFUSED,
    DeclineReason,
    Doubt,
    Look,
    OrderTerms,
    Trip,
    TripState,
    Waived,
    fare_fen,
    is_paid_twice,
    needs_confirm,
    too_much_fen,
)
from payscore_worker.errors import IllegalTransition, Refusal

END_MARGIN: Final = timedelta(seconds=10)
"""How far behind our clock the end sent to WeChat stays: theirs may be behind ours (reference payscore-api 0.9)."""

SHORTEST_SERVICE: Final = timedelta(seconds=1)
"""WeChat wants the end at least this long after the start (reference payscore-api A.5)."""

IN_HAND: Final = timedelta(minutes=1)
"""How long whoever moves a trip has it to itself; then the reconciler takes it up."""

LONGEST_WAIT_TO_COMPLETE: Final = timedelta(hours=1)
"""An ended trip that cannot be completed for longer than this has a start that is a slip of the pen."""

SYNC_MARGIN: Final = timedelta(seconds=10)
"""WeChat wants complete before `paid_time` before sync, and each by a margin (reference payscore-api B.9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the API families and the settings decide for every trip."""

    family: str
    """The family in which new orders are opened, of the default account."""
    ticketed: frozenset[str]
    """The families that complete an order with a ticket (reference payscore-api A.4)."""
    capped: frozenset[str]
    """The families in which the total may not exceed the risk amount (reference payscore-api 0.8)."""
    lowering: frozenset[str]
    """The families in which a fare can be lowered once it is asked for (reference payscore-api B.8)."""
    risk_amount_fen: int
    """For a trip that names none, of the default account."""
    second_risk_amount_fen: int | None = None
    """For the second try of a trip that was refused for risk, of the default account; None: there is none."""
    paying: frozenset[str]
    """The families in which WeChat can be asked to collect now (reference payscore-api B.9)."""
    poll_delays: tuple[timedelta, ...]
    stale_after: timedelta
    overdue_after: tuple[timedelta, ...]
    """The ages of a completion at which it is said that the money is out, each above the one before."""
    need_user_confirm: bool = False
    """New orders are confirmed by the passenger, one by one (reference payscore-api B.0)."""
    confirm_expires: timedelta = timedelta(minutes=55)
    """How long the passenger may take for that; what the page opens with is good for an hour (payscore-api C.3)."""
    pay_after: tuple[timedelta, ...] = ()
    """The ages of a completion at which WeChat is asked to collect now, each above the one before."""
    refunds_paid_twice: bool = False
    """What WeChat collected for a trip that was paid elsewhere goes back by itself; else a person decides."""
    account: str = DEFAULT
    """The name of the default account."""
    others: tuple[Account, ...] = ()
    """The other accounts."""

    def other(self, trip: Trip) -> Account | None:
        """Find whose trip it is; None: the default account's, or that of one which is no longer there.

        An order is its mchid's; before there is one, the trip is whose its start says.
        """
        terms, name = _terms_of(trip), "" if trip.started is None else trip.started.account
        if terms is not None:
            return next((one for one in self.others if one.mchid == terms.mchid), None)
        return next((one for one in self.others if one.name == name), None)

    def account_of(self, trip: Trip) -> str:
        """Name the account whose trip it is."""
        other = self.other(trip)
        return self.account if other is None else other.name

    def family_of(self, trip: Trip) -> str:
        """Name the family that a trip's order is in, or would be opened in."""
        terms, other = _terms_of(trip), self.other(trip)
        if terms is not None:
            return terms.family
        return self.family if other is None else other.family

    def is_confirmed(self, trip: Trip) -> bool:
        """Tell whether the account of a trip has passengers confirm each new order."""
        other = self.other(trip)
        return self.need_user_confirm if other is None else other.need_user_confirm

    def risk_fen_of(self, trip: Trip) -> int:
        """Say what the account of a trip asks for where the trip names no risk amount."""
        other = self.other(trip)
        return self.risk_amount_fen if other is None else other.risk_amount_fen

    def second_risk_fen_of(self, trip: Trip) -> int | None:
        """Say what the account of a trip asks for where it is refused for risk; None: nothing."""
        other = self.other(trip)
        return self.second_risk_amount_fen if other is None else other.second_risk_amount_fen


def _terms_of(trip: Trip) -> OrderTerms | None:
    return None if trip.opening is None else trip.opening.terms


# --- The steps ---


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do; look again at this time, or only when a fact comes."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AskServiceState:
    """Ask whether the passenger has enabled PayScore."""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """Create the order."""


@dataclass(frozen=True, slots=True)
class AskOrder:
    """Ask WeChat where the order stands."""


@dataclass(frozen=True, slots=True)
class CompleteOrder:
    """Complete the order with the fare."""


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel the order: the trip was cancelled, its fare is not for PayScore, or a person has waived it."""


@dataclass(frozen=True, slots=True)
class LowerOrder:
    """Have WeChat collect less: the fare was lowered, or waived, which is to nothing."""


@dataclass(frozen=True, slots=True)
class SyncOrder:
    """Tell WeChat that the fare was paid elsewhere, so that it collects no more."""


@dataclass(frozen=True, slots=True)
class PayOrder:
    """Ask WeChat to collect now."""


@dataclass(frozen=True, slots=True)
class AskFirstOrder:
    """Ask whether the first of two orders runs all the same, though WeChat refused it."""


@dataclass(frozen=True, slots=True)
class CancelFirstOrder:
    """Cancel the first of two orders."""


@dataclass(frozen=True, slots=True)
class SendBack:
    """Ask for a refund of what came in and is not ours."""


@dataclass(frozen=True, slots=True)
class Decline:
    """Give the trip up without a call."""

    reason: DeclineReason
    message: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave the trip to a person."""

    code: str
    message: str
    step: str = CompleteOrder.__name__


@dataclass(frozen=True, slots=True)
class SayStale:
    """Announce that the other half of the trip is missing for too long."""


@dataclass(frozen=True, slots=True)
class SayOverdue:
    """Announce that the money is out for too long."""

    step: int
    """The how-manieth age it has reached."""


Step = (
    Rest
    | AskServiceState
    | OpenOrder
    | AskOrder
    | CompleteOrder
    | CancelOrder
    | LowerOrder
    | SyncOrder
    | PayOrder
    | SendBack
    | AskFirstOrder
    | CancelFirstOrder
    | Decline
    | Stop
    | SayStale
    | SayOverdue
)


# --- Which one ---


def next_step(trip: Trip, now: datetime, rules: Rules) -> Step:
    """What this trip needs now, decided from its row alone."""
    if trip.problem is not None:
        return Rest()
    step = _next(trip, now, rules)
    if isinstance(step, Rest) and trip.doubt is None:
        return _look_at_first(trip, step, now)
    if isinstance(step, AskOrder | AskServiceState) and trip.unanswered is not None and now < trip.unanswered.ask_after:
        return Rest(trip.unanswered.ask_after)
    return step


def _look_at_first(trip: Trip, rest: Rest, now: datetime) -> Step:
    """See to the first of two orders while there is nothing else to do."""
    second = trip.second
    if second is None or second.look_at is None:
        return rest
    if second.alive:
        return CancelFirstOrder()
    if now >= second.look_at:
        return AskFirstOrder()
    return Rest(second.look_at if rest.until is None else min(rest.until, second.look_at))


def due_at(trip: Trip, now: datetime, rules: Rules) -> datetime | None:
    """When the reconciler must look at this trip: in time for its next step, or if whoever has it in hand fails."""
    step = next_step(trip, now, rules)
    return step.until if isinstance(step, Rest) else now + IN_HAND


def _next(trip: Trip, now: datetime, rules: Rules) -> Step:
    if trip.doubt is not None:
        return _resolve_doubt(trip, trip.doubt, now)
    match trip.state:
        case TripState.NOTED:
            return _next_when_noted(trip, now, rules)
        case TripState.OPEN:
            return _next_when_open(trip, now, rules)
        case TripState.COMPLETED:
            return _next_when_completed(trip, now, rules)
        case TripState.PAID:
            return _next_when_paid(trip, now, rules)
        case TripState.DECLINED | TripState.CANCELLED:
            return _look_again(trip.look, now)
        case _:
            assert_never(trip.state)


def _resolve_doubt(trip: Trip, doubt: Doubt, now: datetime) -> Step:
    if doubt.ask_after is not None and now < doubt.ask_after:
        return Rest(doubt.ask_after)
    if is_passengers_choice(trip, doubt) and not doubt.service_off:
        return AskServiceState()  # NO_AUTH names no cause: the passenger's choice, or our configuration
    return AskOrder()


def is_passengers_choice(trip: Trip, doubt: Doubt) -> bool:
    """Tell whether a create may be refused because the passenger has not authorised it: none that he confirms is."""
    not_permitted = doubt.refusal is Refusal.NOT_PERMITTED and doubt.step == OpenOrder.__name__
    return not_permitted and not needs_confirm(trip)


def _look_again(look: Look | None, now: datetime) -> Step:
    if look is None:
        return Rest()
    if look.alive:
        return CancelOrder()
    return AskOrder() if now >= look.at else Rest(look.at)


def _next_when_noted(trip: Trip, now: datetime, rules: Rules) -> Step:
    if trip.started is None:
        return _wait_for_the_other_half(trip, trip.noted_at, now, rules)
    if trip.cancelled is not None or trip.paid_elsewhere is not None:
        return AskOrder()  # its order may stand at WeChat, and none is opened only to be cancelled
    if trip.opening is not None:
        return OpenOrder()  # it may stand at WeChat already; the same bytes tell
    if over_limit(trip, rules):
        return Decline(DeclineReason.AMOUNT_OVER_LIMIT, "the fare is above the risk amount")
    if not trip.service_enabled and not rules.is_confirmed(trip):
        return AskServiceState()
    return OpenOrder()


def _next_when_open(trip: Trip, now: datetime, rules: Rules) -> Step:
    if trip.cancelled is not None or trip.declined is not None:
        return CancelOrder()
    if trip.paid_elsewhere is not None and trip.end_time is None:
        return CancelOrder()  # else the fare may stand at WeChat: it is told there that it was paid elsewhere
    if trip.opened_at is None and needs_confirm(trip):
        return _next_when_unconfirmed(trip, now, rules)
    if trip.opened_at is None:
        return AskOrder()  # the ride is on the order only once it runs (reference payscore-api 0.3)
    if trip.ended is None:
        return _wait_for_the_other_half(trip, trip.opened_at, now, rules)
    return _next_when_owed(trip, now, rules)


def _next_when_unconfirmed(trip: Trip, now: datetime, rules: Rules) -> Step:
    """Wait for the passenger to confirm; what opens the page for that came with the create, and with no query."""
    if over_limit(trip, rules):
        return CancelOrder()  # nobody is to confirm an order that cannot take the fare
    if trip.confirm_by is None:
        return OpenOrder()  # the same bytes bring it once more
    if trip.asked_at is not None and trip.asked_at >= trip.confirm_by:
        return Decline(DeclineReason.NOT_CONFIRMED, "the passenger has not confirmed the order")
    delay = rules.poll_delays[min(trip.polls, len(rules.poll_delays) - 1)]
    poll_at = (trip.asked_at or trip.confirm_by - rules.confirm_expires) + delay
    ask_at = min(poll_at, trip.confirm_by)  # he may have confirmed at the last moment, and nobody told us yet
    return AskOrder() if now >= ask_at else Rest(ask_at)


def _next_when_owed(trip: Trip, now: datetime, rules: Rules) -> Step:
    if trip.end_time is not None:
        return CompleteOrder()
    if over_limit(trip, rules):
        return CancelOrder()
    earliest = earliest_completion(trip)
    if earliest - now > LONGEST_WAIT_TO_COMPLETE:
        return Stop("start_in_future", f"the service began for WeChat Pay at {service_start(trip).isoformat()}")
    if now < earliest:
        return Rest(earliest)
    if rules.family_of(trip) in rules.ticketed and not trip.finish_ticket:
        return AskOrder()
    return CompleteOrder()


def _next_when_completed(trip: Trip, now: datetime, rules: Rules) -> Step:
    if trip.completed_at is None:
        raise IllegalTransition("a COMPLETED trip without the time of its completion")
    if trip.paid_elsewhere is not None and (trip.sync is None or not trip.sync.accepted):
        sync_at = sync_time(trip) + SYNC_MARGIN
        return SyncOrder() if now >= sync_at else Rest(sync_at)
    if trip.waived is not None and not trip.waived.lowered:
        return _waive(trip, trip.waived, rules)
    if is_to_be_lowered(trip) and rules.family_of(trip) in rules.lowering:
        return LowerOrder()
    if _is_to_be_asked_for(trip, now, rules):
        return PayOrder()
    reached = sum(now >= trip.completed_at + age for age in rules.overdue_after)
    if reached > trip.overdue_step:
        return SayOverdue(reached)
    delay = rules.poll_delays[min(trip.polls, len(rules.poll_delays) - 1)]
    poll_at = (trip.asked_at or trip.completed_at) + delay
    if trip.unanswered is not None:
        poll_at = trip.unanswered.ask_after
    if now >= poll_at:
        return AskOrder()
    steps = 0 if trip.asking is None else trip.asking.step
    ages = (*rules.overdue_after[trip.overdue_step :], *_pay_after(trip, rules)[steps:])
    return Rest(min([poll_at, *(trip.completed_at + age for age in ages)]))


def is_to_be_lowered(trip: Trip) -> bool:
    """Tell whether WeChat collects more than the fare, and may still take less."""
    lowering = trip.lowering
    return bool(trip.lowered) and lowering is not None and not lowering.refused and lowering.asked_fen > fare_fen(trip)


def sync_time(trip: Trip) -> datetime:
    """Choose the `paid_time` that WeChat is told: as it was, or the earliest that WeChat accepts.

    Raises:
        IllegalTransition: the trip was not completed, or not paid elsewhere.

    """
    if trip.completed_at is None or trip.paid_elsewhere is None:
        raise IllegalTransition("there is no payment elsewhere to tell WeChat Pay of")
    if trip.sync is not None:
        return trip.sync.paid_time
    return max(trip.paid_elsewhere.paid_at, trip.completed_at + SYNC_MARGIN)


def _is_to_be_asked_for(trip: Trip, now: datetime, rules: Rules) -> bool:
    if rules.family_of(trip) not in rules.paying:
        return False
    return (trip.asking is not None and trip.asking.due) or pay_step(trip, now, rules) > (
        0 if trip.asking is None else trip.asking.step
    )


def pay_step(trip: Trip, now: datetime, rules: Rules) -> int:
    """Count the ages reached at which WeChat is to be asked to collect."""
    if trip.completed_at is None:
        return 0
    return sum(now >= trip.completed_at + age for age in _pay_after(trip, rules))


def _pay_after(trip: Trip, rules: Rules) -> tuple[timedelta, ...]:
    return rules.pay_after if rules.family_of(trip) in rules.paying else ()


def _next_when_paid(trip: Trip, now: datetime, rules: Rules) -> Step:
    if not too_much_fen(trip):
        return _look_again(trip.look, now)
    if is_paid_twice(trip) and not rules.refunds_paid_twice:
        return Stop(
            PAID_TWICE, "the passenger has paid elsewhere, and WeChat Pay has collected", step=SendBack.__name__
        )
    return SendBack()


def _waive(trip: Trip, waived: Waived, rules: Rules) -> Step:
    if not waived.lowers:
        return CancelOrder()
    if rules.family_of(trip) in rules.lowering:
        return LowerOrder()
    message = "WeChat Pay cancels nothing that it collects, and a fare of this family cannot be lowered"
    return Stop(WAIVE_REFUSED, message, step=LowerOrder.__name__)


def _wait_for_the_other_half(trip: Trip, since: datetime, now: datetime, rules: Rules) -> Step:
    if trip.stale_since is not None:
        return Rest()
    stale_at = since + rules.stale_after
    return SayStale() if now >= stale_at else Rest(stale_at)


# --- What it is sent with ---


def risk_amount_fen(trip: Trip, rules: Rules) -> int:
    """The risk amount of the order: as asked for, as the trip names it, or the setting's."""
    if trip.opening is not None:
        return trip.opening.risk_amount_fen
    if trip.second is not None:
        return trip.second.risk_amount_fen
    if trip.started is not None and trip.started.risk_amount_fen is not None:
        return trip.started.risk_amount_fen
    return rules.risk_fen_of(trip)


def over_limit(trip: Trip, rules: Rules) -> bool:
    """Tell whether the fare is above what the order may take."""
    if trip.ended is None or rules.family_of(trip) not in rules.capped:
        return False
    return fare_fen(trip) > risk_amount_fen(trip, rules)


def earliest_completion(trip: Trip) -> datetime:
    """From when on the order can be completed: its end must lie after its start and behind WeChat's clock."""
    return service_start(trip) + SHORTEST_SERVICE + END_MARGIN


def end_time_for(trip: Trip, now: datetime) -> datetime:
    """Choose the end sent to WeChat: the trip's own where WeChat can accept it, else the latest it can accept."""
    if trip.ended is None:
        raise IllegalTransition("the end of a trip that has not ended")
    latest = now - END_MARGIN
    if trip.ended.ended_at < service_start(trip) + SHORTEST_SERVICE:
        return latest  # the order was opened after the ride had ended
    return min(trip.ended.ended_at, latest)


def service_start(trip: Trip) -> datetime:
    """When the service began for WeChat: the start we sent, or its acceptance."""
    if trip.opening is not None and trip.opening.start_time is not None:
        return trip.opening.start_time
    if trip.opened_at is None:
        raise IllegalTransition("an order that was never opened has no start")
    return trip.opened_at
