"""The flows: what befalls a trip in each, and how it may end when every answer is right."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from payscore_worker.simulator import Behaviour, Fault, FaultKind, Passenger
from payscore_worker.trip import TripState
from tests.answers.city import City

RIDE_SECONDS: Final = 600.0
LATE_SECONDS: Final = 4 * 3600.0
"""How long the passenger takes to pay who pays late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A story, and its end."""

    play: Callable[[City], Awaitable[None]]
    state: TripState = TripState.PAID


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


FLOWS: Final[Mapping[str, Flow]] = {
    "settle": Flow(play=_settle),
    "in one breath": Flow(play=_in_one_breath),
    "end first": Flow(play=_end_first),
    "cancel": Flow(play=_cancel, state=TripState.CANCELLED),
    "cancel at once": Flow(play=_cancel_at_once, state=TripState.CANCELLED),
    "not enabled": Flow(play=_not_enabled, state=TripState.DECLINED),
    "risk refused": Flow(play=_risk_refused, state=TripState.DECLINED),
    "late payment": Flow(play=_late_payment),
}
