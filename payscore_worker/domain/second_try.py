"""A trip that WeChat Pay refused for risk may be tried once more, for less, under a second number (design rule 11).

An order takes no money before it is completed, and the first is never completed. That it does not run is said by two
unsigned answers only (reference payscore-api F.5 c), so it is looked at once more, and cancelled if it runs.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from payscore_worker.domain.next_step import CancelFirstOrder, Rules
from payscore_worker.domain.outcomes import with_problem
from payscore_worker.domain.trip import (
    LATE_LOOK,
    OrderPhase,
    OrderSeen,
    Problem,
    SecondTry,
    Trip,
    fare_fen,
    second_order_no_for,
)

FIRST_ORDER_RUNS: Final = "first_order_runs"
"""The problem of a first order that WeChat Pay neither cancels nor lets be asked about."""

FIRST_ORDER_COLLECTS: Final = "first_order_collects"
"""The problem of a first order that somebody completed: the passenger may be charged twice."""

PAUSES: Final = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=2),
)
"""Before the first order is looked at again, where WeChat Pay refused to show or to cancel it."""


def second_try_of(trip: Trip, rules: Rules, now: datetime, *, prefix: str) -> SecondTry | None:
    """Say how a trip is tried again that was refused for risk; None: it is declined."""
    fen = rules.second_risk_fen_of(trip)
    if fen is None or trip.second is not None or trip.opening is None or fen >= trip.opening.risk_amount_fen:
        return None
    if trip.ended is not None and rules.family_of(trip) in rules.capped and fare_fen(trip) > fen:
        return None  # an order that cannot take the fare is of no use
    return SecondTry(
        out_order_no=second_order_no_for(trip.trip_id, prefix),
        first_order_no=trip.out_order_no,
        first_terms=trip.opening.terms,
        risk_amount_fen=fen,
        look_at=now + LATE_LOOK,
    )


def first_seen(trip: Trip, order: OrderSeen | None, now: datetime) -> Trip:
    """Take WeChat Pay's word on the first order; None: it knows no such order."""
    second = trip.second
    if second is None or second.look_at is None:
        return trip
    if order is None:
        return first_over(trip)
    match order.phase:
        case OrderPhase.ACCEPTED | OrderPhase.RUNNING | OrderPhase.CREATED:
            return replace(trip, second=replace(second, alive=True, look_at=now))
        case OrderPhase.COLLECTING | OrderPhase.DONE if order.total_fen != 0:
            message = f"WeChat Pay collects for the first order {second.first_order_no!r}, which we never completed"
            return _troubled(first_over(trip), FIRST_ORDER_COLLECTS, message, now)
        case _:
            return first_over(trip)


def first_over(trip: Trip) -> Trip:
    """The first order does not run, or was cancelled."""
    second = trip.second
    return trip if second is None else replace(trip, second=replace(second, alive=False, look_at=None))


def cancelling_first(trip: Trip) -> Trip:
    """Mark that the cancel of the first order is about to be sent for the first time."""
    second = trip.second
    return trip if second is None else replace(trip, bodies=trip.bodies + 1, second=replace(second, cancelling=True))


def first_refused(trip: Trip, code: str, message: str, now: datetime) -> Trip:
    """WeChat Pay refused to show or to cancel the first order: look again, with pauses that grow."""
    second = trip.second
    if second is None or second.look_at is None:
        return trip
    if second.refusals >= len(PAUSES):
        again = replace(trip, second=replace(second, alive=False, refusals=0))
        refusing = "WeChat Pay refuses to show or to cancel it"
        said = f"the first order {second.first_order_no!r} may run, and {refusing}: {code} {message}"
        return _troubled(again, FIRST_ORDER_RUNS, said.rstrip(), now)
    look_at = now + PAUSES[second.refusals]
    return replace(trip, second=replace(second, alive=False, refusals=second.refusals + 1, look_at=look_at))


def _troubled(trip: Trip, code: str, message: str, now: datetime) -> Trip:
    step = CancelFirstOrder.__name__
    return with_problem(trip, Problem(code=code, message=message, request_id="", step=step, since=now))
