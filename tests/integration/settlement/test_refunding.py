"""Refunds, from the request to the announced result, against WeChat Pay as the simulator plays it."""

from payscore_worker.domain.refund import RefundState
from tests.integration.settlement.town import Town


async def paid(town: Town, total_fen: int = 3_200) -> None:
    """Have a trip that is paid, and what was announced of it forgotten."""
    await town.starts()
    await town.passes(600)
    await town.ends(total_fen=total_fen)
    await town.passes(60)
    await town.passes(60)
    assert (await town.trip()).payment is not None
    await town.announced()


async def test_a_refund_goes_back_and_is_announced(town: Town) -> None:
    await paid(town)

    await town.refunds_of("r1", amount_fen=1_000)
    await town.passes(60)

    refund, trip = await town.refund(), await town.trip()
    assert refund.state is RefundState.REFUNDED
    assert trip.payment is not None
    assert (trip.payment.reserved_fen, trip.payment.refunded_fen) == (0, 1_000)
    ((type_, data),) = await town.announced()
    assert type_ == "settlement.refunded"
    assert (data["refund_id"], data["out_refund_no"], data["amount_fen"], data["refunded_fen"]) == (
        "r1",
        "r1",
        1_000,
        1_000,
    )
    assert town.calls_made("refund") == 1
