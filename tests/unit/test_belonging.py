"""Whose a row is, in names of the settings alone."""

import pytest

from payscore_worker.accounts import _NAME
from payscore_worker.storage.belonging import NOBODY, Owners

OWNERS = Owners(default="north", names={"1900000101": "north", "1900000202": "south"})


@pytest.mark.parametrize(
    ("mchid", "said", "account"),
    [
        ("1900000202", None, "south"),
        ("1900000202", "north", "south"),  # the order is there, whatever the start said
        ("1900000303", "south", NOBODY),
        (None, "south", "south"),
        (None, "west", NOBODY),
        (None, "", "north"),
        (None, None, "north"),
        ("", None, "north"),
    ],
)
def test_an_account_is_named_by_the_orders_number_or_else_by_the_start(
    mchid: str | None, said: str | None, account: str
) -> None:
    assert OWNERS.name(mchid, said) == account


def test_no_account_can_have_the_name_of_nobody() -> None:
    assert _NAME.fullmatch(NOBODY) is None
