"""What PayScore takes as text: short, every name once, and no more items than it lists.

Limits are those of reference payscore-api, section 0 rule 10; where two pages differ, the smaller one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar
from urllib.parse import quote

from payscore_worker.wechatpay.payscore.port import DiscountItem, FeeItem
from payscore_worker.wechatpay.texts import cap, clean

NAME_CHARS: Final = 20
INTRODUCTION_CHARS: Final = 20
LOCATION_CHARS: Final = 20
DESCRIPTION_CHARS: Final = 30
REASON_CHARS: Final = 30
MAX_FEES: Final = 100
MAX_COUNT: Final = 100

OTHER_FEES: Final = FeeItem(name="其他费用", amount_fen=0)
OTHER_DISCOUNTS: Final = DiscountItem(name="其他优惠", amount_fen=0)
"""What stands for the items that do not fit in the list."""

Item = TypeVar("Item", FeeItem, DiscountItem)


def url_encoded(text: str, chars: int) -> str:
    """URL-encode `attach`, cut between characters so that no escape is torn (reference payscore-api A.2, B.3)."""
    encoded = ""
    for character in clean(text):
        escape = quote(character, safe="")
        if len(encoded) + len(escape) > chars:
            break
        encoded += escape
    return encoded


def fit_items(
    fees: Sequence[FeeItem], discounts: Sequence[DiscountItem], *, max_discounts: int
) -> tuple[list[FeeItem], list[DiscountItem]]:
    """Bring the items of a completion within its limits, without changing what they add up to.

    Names are told apart across both lists: that they be unique "inside the order" may be meant so (B.2).
    """
    taken: set[str] = set()
    fitting_fees = [
        FeeItem(
            name=_own_name(fee.name, taken, otherwise="费用"),
            amount_fen=fee.amount_fen,
            description=cap(fee.description, DESCRIPTION_CHARS),
            count=min(max(fee.count, 1), MAX_COUNT),
        )
        for fee in _fold(fees, MAX_FEES, OTHER_FEES)
    ]
    fitting_discounts = [
        DiscountItem(
            name=_own_name(discount.name, taken, otherwise="优惠"),
            amount_fen=discount.amount_fen,
            description=cap(discount.description, DESCRIPTION_CHARS),
        )
        for discount in _fold(discounts, max_discounts, OTHER_DISCOUNTS)
    ]
    return fitting_fees, fitting_discounts


def _fold(items: Sequence[Item], most: int, others: Item) -> list[Item]:
    """Let `others` stand for all items that do not fit, and for the last place."""
    if len(items) <= most:
        return list(items)
    folded = list(items[: most - 1])
    folded.append(replace(others, amount_fen=sum(item.amount_fen for item in items[most - 1 :])))
    return folded


def _own_name(wanted: str, taken: set[str], *, otherwise: str) -> str:
    """Take a name that no item has yet: `停车费`, then `停车费(2)`."""
    wanted = cap(wanted, NAME_CHARS) or otherwise
    name, nth = wanted, 1
    while name in taken:  # ends: no more names are taken than there are items
        nth += 1
        suffix = f"({nth})"
        name = wanted[: NAME_CHARS - len(suffix)] + suffix
    taken.add(name)
    return name
