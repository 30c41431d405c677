"""The flows: what befalls a trip in each, and how it must end, whatever crashes on the way."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.domain.trip import TripState
from tests.crash.lane import SECOND
from tests.crash.laws import PARAMETERS
from tests.crash.scene import FARE_FEN, LOWERED_FEN, REFUND_FEN, Scene

TRIES: Final = 3
"""The quick ones of the client: when all of them lose their reply, the outcome is unknown (`client.TRIES`)."""

OPENED: Final = "settlement.opened"
COMPLETED: Final = "settlement.completed"
PAID: Final = "settlement.paid"
DECLINED: Final = "settlement.declined"
CANCELLED: Final = "settlement.cancelled"
WRITTEN_OFF: Final = "settlement.written_off"
REFUNDED: Final = "settlement.refunded"
LOWERED: Final = "settlement.lowered"
CONFIRMATION_REQUESTED: Final = "settlement.confirmation_requested"
AUTHORISED: Final = "authorisation.opened"
AUTHORISATION_OVER: Final = "authorisation.closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A story, and its only end."""

    play: Callable[[Scene], Awaitable[None]]
    state: TripState | None = TripState.PAID
    """None: there is no trip."""
    owed_fen: int = FARE_FEN
    refunded_fen: int = 0
    paid_elsewhere_fen: int = 0
    has_order: bool = True
    announced: frozenset[str] = frozenset({OPENED, COMPLETED, PAID})
    families: tuple[str, ...] = ("payafter", "serviceorder")
    confirm_expires: str = ""
    """How long the passenger may take to confirm the order; empty: there is nothing to confirm."""
    account: str = ""
    """Whose trip it is, where there are several accounts; empty: there is one."""
    second_risk_fen: str = ""
    """For how much an order is asked for again that was refused for risk; empty: it is not."""
    authorisation: AuthorisationState | None = None
    """In which the passenger's authorisation ends; None: it is not about one."""


async def _happy(scene: Scene) -> None:
    await scene.starts()
    await scene.until_announced(OPENED)
    await scene.rides()
    await scene.ends()


async def _ended_first(scene: Scene) -> None:
    await scene.ends()
    await scene.until_noted("trip.ended")
    await scene.starts()


async def _declined(scene: Scene) -> None:
    """The passenger has closed the service."""
    await scene.closes_service()
    await scene.starts()
    await scene.until_announced(DECLINED)
    await scene.ends()
    await scene.until_noted("trip.ended")


async def _refused(scene: Scene) -> None:
    """WeChat Pay refuses the order."""
    await scene.passenger("risk_refused")
    await scene.starts()
    await scene.until_announced(DECLINED)
    await scene.ends()
    await scene.until_noted("trip.ended")


async def _cancelled(scene: Scene) -> None:
    await scene.starts()
    await scene.until_announced(OPENED)
    await scene.is_cancelled()


async def _lost_create(scene: Scene) -> None:
    await scene.fault("drop_reply", call="create", times=TRIES)
    await _happy(scene)


async def _lost_complete(scene: Scene) -> None:
    await scene.fault("drop_reply", call="complete", times=TRIES)
    await _happy(scene)


async def _lost_callback(scene: Scene) -> None:
    """WeChat Pay never tells of the payment; the reconciler asks."""
    await scene.fault("callback_lost")
    await _happy(scene)


async def _duplicates(scene: Scene) -> None:
    """Everything is said at least twice: at once, later, and under another id."""
    await scene.fault("callback_duplicated")
    start = await scene.starts()
    await scene.starts(again=start)
    await scene.until_announced(OPENED)
    await scene.starts()
    await scene.rides()
    end = await scene.ends()
    await scene.ends(again=end)
    await scene.until_announced(PAID)
    await scene.ends()
    await scene.calls_back_again()


async def _lies(scene: Scene) -> None:
    """A forged payment, a stranger's payment, another fare; then the true payment, and a forgery before it."""
    await scene.passenger("never_pays")
    await _happy(scene)
    await scene.until_announced(COMPLETED)
    await scene.is_lied_to(forged=True)
    await scene.is_lied_to(forged=False)
    contradiction = await scene.ends(fare_fen=FARE_FEN + 100)
    scene.refused["payscore.trip-ended"] = {contradiction}
    await scene.until_refused()
    await scene.fault("callback_forged_first")
    await scene.pays_now()


async def _unheard(scene: Scene) -> None:
    """Nobody takes the first announcement; the relay comes back with it."""
    await scene.nobody_listens()
    try:
        await scene.starts()
        await scene.until_accepted()
        await scene.rides()
    finally:
        await scene.somebody_listens()
    await scene.until_announced(OPENED)
    await scene.ends()


async def _waived(scene: Scene) -> None:
    """A person waives the fare, and dies in the moment in which that is written: the rest is the workers'."""
    await scene.passenger("never_pays")
    await _happy(scene)
    await scene.until_announced(COMPLETED)
    await scene.is_waived()


async def _refunded(scene: Scene) -> None:
    """Money goes back; it is asked for twice, and for more than is left."""
    await _happy(scene)
    await scene.until_announced(PAID)
    request = await scene.is_refunded()
    await scene.is_refunded(again=request)
    await scene.until_noted("refund.requested")
    scene.refused["payscore.refund-requested"] = {await scene.is_refunded(f"more-{scene.trip_id}")}
    await scene.until_refused()


async def _lost_refund(scene: Scene) -> None:
    """Nobody hears that the refund is accepted, nor how it ended; the reconciler asks."""
    await _happy(scene)
    await scene.until_announced(PAID)
    await scene.fault("drop_reply", call="refund", times=TRIES)
    await scene.fault("callback_lost")
    await scene.is_refunded()


async def _lowered(scene: Scene) -> None:
    """The fare is lowered while the money is out, and said so twice; then it comes."""
    await scene.passenger("never_pays")
    await _happy(scene)
    await scene.until_announced(COMPLETED)
    lowered = await scene.is_lowered()
    await scene.is_lowered(again=lowered)
    await scene.until_announced(LOWERED)
    await scene.pays_now()


async def _lowered_once_paid(scene: Scene) -> None:
    await _happy(scene)
    await scene.until_announced(PAID)
    await scene.is_lowered()


async def _paid_elsewhere(scene: Scene) -> None:
    """The fare is paid in cash while WeChat Pay collects, and said so twice."""
    await scene.passenger("never_pays")
    await _happy(scene)
    await scene.until_announced(COMPLETED)
    paid = await scene.is_paid_elsewhere()
    await scene.is_paid_elsewhere(again=paid)


async def _confirmed(scene: Scene) -> None:
    """The passenger confirms the order, and rides."""
    await scene.starts()
    await scene.until_announced(CONFIRMATION_REQUESTED)
    await scene.confirms()
    await scene.until_announced(OPENED)
    await scene.rides()
    await scene.ends()


async def _not_confirmed(scene: Scene) -> None:
    """The passenger does not care, and rides all the same."""
    await scene.starts()
    await scene.until_announced(DECLINED)
    await scene.ends()
    await scene.until_noted("trip.ended")


async def _authorised(scene: Scene) -> None:
    """The passenger authorises PayScore before he rides, which is asked for twice, and leaves the platform."""
    await scene.passenger("not_enabled")
    request = await scene.wants_authorisation()
    await scene.wants_authorisation(again=request)
    await scene.until_announced(PARAMETERS)
    await scene.enables()
    await scene.until_announced(AUTHORISED)
    end = await scene.leaves()
    await scene.leaves(again=end)


async def _enabled_while_riding(scene: Scene) -> None:
    """The trip is declined; the passenger enables the service in the car, and rides as everybody does."""
    await scene.passenger("not_enabled")
    await scene.starts()
    await scene.until_announced(DECLINED)
    await scene.enables()
    await scene.until_announced(OPENED)
    await scene.rides()
    await scene.ends()


async def _second_account(scene: Scene) -> None:
    """The trip is a local company's; at another one's door its payment is told before it comes."""
    await scene.passenger("never_pays")
    await _happy(scene)
    await scene.until_announced(COMPLETED)
    await scene.is_lied_to_by_another_account()
    await scene.until_refused()
    await scene.pays_now()


async def _tried_again(scene: Scene) -> None:
    """WeChat Pay refuses the order for risk, and takes one for less under the second number."""
    await scene.refuses_first_order()
    await _happy(scene)
    await scene.until_announced(PAID)
    await scene.until_first_order_is_seen_to()


FLOWS: Final[Mapping[str, Flow]] = {
    "happy": Flow(play=_happy),
    "ended first": Flow(play=_ended_first),
    "declined": Flow(
        play=_declined,
        state=TripState.DECLINED,
        owed_fen=0,
        has_order=False,
        announced=frozenset({AUTHORISATION_OVER, DECLINED}),
    ),
    "refused": Flow(
        play=_refused,
        state=TripState.DECLINED,
        owed_fen=0,
        has_order=False,
        announced=frozenset({DECLINED}),
    ),
    "cancelled": Flow(
        play=_cancelled,
        state=TripState.CANCELLED,
        owed_fen=0,
        announced=frozenset({OPENED, CANCELLED}),
    ),
    "lost create": Flow(play=_lost_create),
    "lost complete": Flow(play=_lost_complete),
    "lost callback": Flow(play=_lost_callback),
    "duplicates": Flow(play=_duplicates),
    "lies": Flow(play=_lies),
    "unheard": Flow(play=_unheard),
    "waived": Flow(
        play=_waived,
        state=TripState.CANCELLED,
        owed_fen=0,
        announced=frozenset({OPENED, COMPLETED, WRITTEN_OFF}),
        families=("serviceorder",),
    ),
    "refunded": Flow(
        play=_refunded,
        refunded_fen=REFUND_FEN,
        announced=frozenset({OPENED, COMPLETED, PAID, REFUNDED}),
        families=("serviceorder",),
    ),
    "lowered": Flow(
        play=_lowered,
        owed_fen=LOWERED_FEN,
        announced=frozenset({OPENED, COMPLETED, LOWERED, PAID}),
        families=("serviceorder",),
    ),
    "lowered once paid": Flow(
        play=_lowered_once_paid,
        refunded_fen=FARE_FEN - LOWERED_FEN,
        announced=frozenset({OPENED, COMPLETED, PAID, LOWERED, REFUNDED}),
        families=("payafter",),
    ),
    "paid elsewhere": Flow(play=_paid_elsewhere, owed_fen=0, paid_elsewhere_fen=FARE_FEN),
    "lost refund": Flow(
        play=_lost_refund,
        refunded_fen=REFUND_FEN,
        announced=frozenset({OPENED, COMPLETED, PAID, REFUNDED}),
        families=("payafter",),
    ),
    "confirmed": Flow(
        play=_confirmed,
        announced=frozenset({CONFIRMATION_REQUESTED, OPENED, COMPLETED, PAID}),
        families=("payafter",),
        confirm_expires="1m",
    ),
    "not confirmed": Flow(
        play=_not_confirmed,
        state=TripState.DECLINED,
        owed_fen=0,
        announced=frozenset({CONFIRMATION_REQUESTED, DECLINED}),
        families=("serviceorder",),
        confirm_expires="1s",
    ),
    "authorised": Flow(
        play=_authorised,
        state=None,
        owed_fen=0,
        has_order=False,
        announced=frozenset({PARAMETERS, AUTHORISED, AUTHORISATION_OVER}),
        authorisation=AuthorisationState.CLOSED,
    ),
    "enabled while riding": Flow(
        play=_enabled_while_riding,
        announced=frozenset({DECLINED, AUTHORISED, OPENED, COMPLETED, PAID}),
        authorisation=AuthorisationState.OPEN,
    ),
    "second account": Flow(play=_second_account, account=SECOND),
    "tried again": Flow(play=_tried_again, second_risk_fen="10000"),
}
