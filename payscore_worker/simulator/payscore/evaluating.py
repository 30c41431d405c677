"""Whether WeChat Pay lets a passenger have an order: at create, or where he is to confirm it, then."""

from payscore_worker.simulator.passengers import REFUSALS
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.refusals import TOO_MANY_ORDERS, Refusal


def refusal_of(state: PayScoreState, out_order_no: str, openid: str) -> Refusal | None:
    """Why not, if not; whether he has the service on is not asked here."""
    behaviour = state.world.passengers.for_order(out_order_no, openid).behaviour
    if refusal := REFUSALS.get(behaviour):
        return refusal
    too_many = state.book.running_of(openid) >= state.world.config.max_running_orders
    return TOO_MANY_ORDERS if too_many else None
