"""The flows: what befalls a trip in each, and how it may end when every answer is right."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from payscore_worker.domain.trip import TripState
from payscore_worker.simulator import Behaviour, CallKind, Fault, FaultKind, Passenger
from tests.answers.answers import ALL_CALLS
from tests.answers.city import FARE_FEN, LOWERED_FEN, REFUND_FEN, TRIP_ID, City

RIDE_SECONDS: Final = 600.0
LATE_SECONDS: Final = 4 * 3600.0
"""How long the passenger takes to pay who pays late."""

WAIVED_AFTER_SECONDS: Final = 60.0
REFUNDED_AFTER_SECONDS: Final = 3_600.0
LOWERED_AFTER_SECONDS: Final = 60.0

BY_HAND_SECONDS: Final = 3.0
"""Before the broker gives the trip to a worker again."""

RISK_ABOVE_CAP_FEN: Final = 60_000
"""Above what the simulated service allows (`SimulatorConfig.service_cap_fen`)."""

SECOND_RISK_FEN: Final = 10_000
"""Half of what a newcomer's orders ask for, and more than the fare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A story, and its end."""

    play: Callable[[City], Awaitable[None]]
    state: TripState = TripState.PAID
    written_off: bool = False
    """It ends without a charge since a person said so, and that is what is told."""
    refunded_fen: int = 0
    fare_fen: int = FARE_FEN
    """What the passenger has paid in the end: what is charged above it goes back."""
    paid_elsewhere: bool = False
    """WeChat Pay charges nothing for it; the fare was paid in another way."""
    is_taken_up_again: bool = False
    """It is declined, and then not: the passenger has enabled the service while riding."""
    runs: bool = True
    """WeChat Pay opens an order that runs."""
    is_second_accounts: bool = False
    """It is a trip of the second of two accounts."""
    second_risk_fen: int | None = None
    """For how much an order is asked for again that was refused for risk."""
    needs_confirm: bool = False
    """The passenger confirms the order, if he does."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """How the simulated WeChat Pay is set up for it."""
    families: tuple[str, ...] = ("payafter", "serviceorder")
    struck: frozenset[CallKind] = ALL_CALLS
    """The calls that are answered otherwise; what the others meet is played elsewhere."""


async def _settle(city: City) -> None:
    city.starts()
    await city.passes(RIDE_SECONDS)
    city.ends()


async def _in_one_breath(city: City) -> None:
    city.starts()
    city.ends()


async def _end_first(city: City) -> None:
    city.ends()
    await city.passes(30)
    city.starts()


async def _cancel(city: City) -> None:
    city.starts()
    await city.passes(RIDE_SECONDS)
    city.is_cancelled()


async def _cancel_at_once(city: City) -> None:
    city.starts()
    await city.passes(20)
    city.is_cancelled()


async def _not_enabled(city: City) -> None:
    city.passenger(Passenger(Behaviour.NOT_ENABLED))
    await _settle(city)


async def _risk_refused(city: City) -> None:
    city.passenger(Passenger(Behaviour.RISK_REFUSED))
    await _settle(city)


async def _late_payment(city: City) -> None:
    """The money comes hours later, and nobody is told of it."""
    city.passenger(Passenger(Behaviour.PAYS_LATE, seconds=LATE_SECONDS))
    city.simulator.add_fault(Fault(FaultKind.CALLBACK_LOST))
    await _settle(city)


async def _told_late(city: City) -> None:
    """The money comes hours later, and WeChat Pay says so."""
    city.passenger(Passenger(Behaviour.PAYS_LATE, seconds=LATE_SECONDS))
    await _settle(city)


async def _failed_create(city: City) -> None:
    """WeChat Pay takes the order, and waits for a confirmation that nobody will give (reference section 0, rule 3)."""
    city.passenger(Passenger(Behaviour.MUST_CONFIRM))
    await _settle(city)


async def _over_the_cap(city: City) -> None:
    """The ride service asks for a risk amount that WeChat Pay never takes; another body is needed."""
    city.starts(risk_amount_fen=RISK_ABOVE_CAP_FEN)
    await city.passes(RIDE_SECONDS)
    city.ends()


async def _by_hand(city: City) -> None:
    """A person completes the order in WeChat Pay's console, with the fare, before we know that it runs."""
    lost = Fault(FaultKind.DROP_REPLY, call=CallKind.CREATE, times=None, for_seconds=BY_HAND_SECONDS)
    city.simulator.add_fault(lost)
    city.starts()
    city.ends()
    await city.passes(BY_HAND_SECONDS)
    city.completes_by_hand()


async def _waive(city: City) -> None:
    """The fare is asked for, never paid, and waived by a person."""
    city.passenger(Passenger(Behaviour.NEVER_PAYS))
    await _settle(city)
    await city.passes(WAIVED_AFTER_SECONDS)
    await city.is_waived()


async def _refund(city: City) -> None:
    """Money goes back once the fare is paid."""
    await _settle(city)
    await city.passes(REFUNDED_AFTER_SECONDS)
    city.is_refunded()


async def _refund_unheard(city: City) -> None:
    """Nobody is told how the refund ended."""
    await _settle(city)
    await city.passes(REFUNDED_AFTER_SECONDS)
    city.simulator.add_fault(Fault(FaultKind.CALLBACK_LOST))
    city.is_refunded()


async def _enable_while_riding(city: City) -> None:
    """The passenger enables the service once his trip is declined, or is about to be."""
    city.passenger(Passenger(Behaviour.NOT_ENABLED))
    city.starts()
    await city.passes(RIDE_SECONDS / 2)
    city.enables()
    await city.passes(RIDE_SECONDS / 2)
    city.ends()


async def _second_account(city: City) -> None:
    """The trip is a local company's, and not the default one's."""
    city.starts()
    await city.passes(RIDE_SECONDS)
    city.ends()


async def _lower(city: City) -> None:
    """The fare is lowered while the money is out."""
    city.passenger(Passenger(Behaviour.PAYS_LATE, seconds=LATE_SECONDS))
    await _settle(city)
    await city.passes(LOWERED_AFTER_SECONDS)
    city.is_lowered()


async def _pay_elsewhere(city: City) -> None:
    """The fare is paid in cash while WeChat Pay collects."""
    city.passenger(Passenger(Behaviour.NEVER_PAYS))
    await _settle(city)
    await city.passes(LOWERED_AFTER_SECONDS)
    city.is_paid_elsewhere()


async def _pay_elsewhere_at_once(city: City) -> None:
    """The fare is paid in cash before WeChat Pay can have been asked for it, or in that moment."""
    city.passenger(Passenger(Behaviour.NEVER_PAYS))
    await _settle(city)
    city.is_paid_elsewhere()


async def _confirm(city: City) -> None:
    """The passenger confirms the order, and rides."""
    city.starts()
    await city.confirms()
    await city.passes(RIDE_SECONDS)
    city.ends()


async def _confirm_unheard(city: City) -> None:
    """Nobody is told that he has."""
    city.simulator.add_fault(Fault(FaultKind.CALLBACK_LOST))
    await _confirm(city)


async def _try_again(city: City) -> None:
    """The order is refused for risk, and one for less is not."""
    city.simulator.set_order(TRIP_ID, Passenger(Behaviour.RISK_REFUSED))
    await _settle(city)


FLOWS: Final[Mapping[str, Flow]] = {
    "settle": Flow(play=_settle),
    "in one breath": Flow(play=_in_one_breath, struck=frozenset({CallKind.CREATE, CallKind.COMPLETE})),
    "end first": Flow(play=_end_first, struck=frozenset({CallKind.CREATE})),
    "cancel": Flow(play=_cancel, state=TripState.CANCELLED, struck=frozenset({CallKind.CREATE, CallKind.CANCEL})),
    "cancel at once": Flow(play=_cancel_at_once, state=TripState.CANCELLED),
    "not enabled": Flow(play=_not_enabled, state=TripState.DECLINED, runs=False),
    "risk refused": Flow(
        play=_risk_refused,
        state=TripState.DECLINED,
        runs=False,
        struck=frozenset({CallKind.CREATE, CallKind.QUERY}),
    ),
    "late payment": Flow(play=_late_payment, struck=frozenset({CallKind.COMPLETE, CallKind.QUERY})),
    "told late": Flow(play=_told_late, struck=frozenset({CallKind.QUERY})),
    "failed create": Flow(
        play=_failed_create,
        state=TripState.DECLINED,
        runs=False,
        struck=frozenset({CallKind.CREATE, CallKind.QUERY}),
    ),
    "over the cap": Flow(play=_over_the_cap, struck=frozenset({CallKind.CREATE})),
    "waived, cancelled": Flow(
        play=_waive,
        state=TripState.CANCELLED,
        written_off=True,
        config={"cancel_while_owing": True},
        struck=frozenset({CallKind.CANCEL, CallKind.QUERY}),
    ),
    "waived, lowered": Flow(
        play=_waive,
        state=TripState.CANCELLED,
        written_off=True,
        families=("serviceorder",),
        struck=frozenset({CallKind.CANCEL, CallKind.MODIFY, CallKind.QUERY}),
    ),
    "refund": Flow(
        play=_refund, refunded_fen=REFUND_FEN, families=("serviceorder",), struck=frozenset({CallKind.REFUND})
    ),
    "refund, unheard": Flow(
        play=_refund_unheard,
        refunded_fen=REFUND_FEN,
        families=("payafter",),
        struck=frozenset({CallKind.REFUND, CallKind.REFUND_QUERY}),
    ),
    "enabled while riding": Flow(
        play=_enable_while_riding,
        is_taken_up_again=True,
        struck=frozenset({CallKind.USER_SERVICE_STATE, CallKind.QUERY_PERMISSION, CallKind.PRE_AUTHORISE}),
    ),
    "lowered": Flow(play=_lower, fare_fen=LOWERED_FEN, struck=frozenset({CallKind.MODIFY, CallKind.QUERY})),
    "paid elsewhere": Flow(play=_pay_elsewhere, paid_elsewhere=True, struck=frozenset({CallKind.SYNC, CallKind.QUERY})),
    "paid elsewhere at once": Flow(
        play=_pay_elsewhere_at_once,
        paid_elsewhere=True,
        struck=frozenset({CallKind.COMPLETE, CallKind.CANCEL, CallKind.SYNC}),
    ),
    "confirmed": Flow(play=_confirm, needs_confirm=True, struck=frozenset({CallKind.CREATE})),
    "confirmed, unheard": Flow(play=_confirm_unheard, needs_confirm=True, struck=frozenset({CallKind.QUERY})),
    "not confirmed": Flow(
        play=_settle,
        state=TripState.DECLINED,
        runs=False,
        needs_confirm=True,
        struck=frozenset({CallKind.QUERY, CallKind.CANCEL}),
    ),
    "second account": Flow(
        play=_second_account,
        is_second_accounts=True,
        struck=frozenset({CallKind.CREATE, CallKind.COMPLETE, CallKind.USER_SERVICE_STATE, CallKind.QUERY_PERMISSION}),
    ),
    "tried again": Flow(
        play=_try_again, second_risk_fen=SECOND_RISK_FEN, struck=frozenset({CallKind.CREATE, CallKind.QUERY})
    ),
    "by hand": Flow(play=_by_hand, struck=frozenset({CallKind.COMPLETE, CallKind.QUERY})),
}
