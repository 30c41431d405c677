"""An amount that a person writes is whole fen, or none at all."""

import pytest

from payscore_worker.console.refunding import MADE_HERE, read_yuan
from payscore_worker.settlement.refunding import new_refund_id
from tests.builders import NOW


@pytest.mark.parametrize(
    ("written", "fen"),
    [("0.01", 1), ("0.1", 10), ("1", 100), ("12.5", 1_250), ("12.50", 1_250), ("1000000", 100_000_000)],
)
def test_yuan_are_read_to_the_fen(written: str, fen: int) -> None:
    assert read_yuan(written) == fen


@pytest.mark.parametrize(
    "written",
    ["", "0", "0.00", "-1", "1.", ".5", "1.005", "1e3", "12,50", "1 000", "¥1", "ten", "1000000.01", "１０", "1\n"],
)
def test_what_is_no_amount_is_not_read(written: str) -> None:
    assert read_yuan(written) is None


def test_the_ids_that_we_make_are_known_again_and_differ() -> None:
    ids = {new_refund_id(NOW) for _ in range(100)}

    assert len(ids) == 100
    assert all(MADE_HERE.fullmatch(one) for one in ids)
    assert all(one.startswith("by-hand-20260501T120000Z-") for one in ids)
