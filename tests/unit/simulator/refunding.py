"""What tests of refunds do over and over."""

from payscore_worker.simulator import Simulator

from .bodies import Json, a_complete, a_create
from .clock import Clock
from .merchant import Merchant
from .receiver import Receiver

NO_SUCH_TRANSACTION = (404, "RESOURCE_NOT_EXISTS", "订单不存在", 0)
OVER = (400, "INVALID_REQUEST", "退款金额大于可退金额", 0)


async def ride(
    merchant: Merchant, simulator: Simulator, clock: Clock, out_order_no: str = "trip-1", family: str = "serviceorder"
) -> str:
    """One order of 3200 fen, paid; the transaction_id of its debit."""
    openid = f"passenger-of-{out_order_no}"
    response = await merchant.create(family, a_create(family, out_order_no, openid=openid))
    assert response.status_code == 200, response.text
    clock.advance(600)
    response = await merchant.complete(family, out_order_no, a_complete(family, clock.text()))
    assert response.status_code == 200, response.text
    simulator.pay(out_order_no)
    return simulator.ledger_entry(out_order_no).charges[-1].transaction_id


async def accepted(merchant: Merchant, body: Json) -> Json:
    response = await merchant.refund(body)
    assert response.status_code == 200, response.text
    entity: Json = response.json()
    return entity


async def ended(merchant: Merchant, simulator: Simulator, out_refund_no: str = "refund-1") -> Json:
    """The refund when its time has come."""
    simulator.advance(2)
    await simulator.run_once()
    entity: Json = (await merchant.query_refund(out_refund_no)).json()
    return entity


async def heard(simulator: Simulator, receiver: Receiver) -> list[str]:
    """The events of refunds that have arrived."""
    await simulator.run_once()
    events = [arrival.envelope["event_type"] for arrival in receiver.arrivals]
    return [event for event in events if event.startswith("REFUND.")]
