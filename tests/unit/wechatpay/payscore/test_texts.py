from collections.abc import Sequence
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payscore_worker.wechatpay.payscore import DiscountItem, FeeItem
from payscore_worker.wechatpay.payscore.texts import fit_items, url_encoded
from payscore_worker.wechatpay.texts import clean

texts = st.text(st.characters(exclude_categories=[]), max_size=80)  # surrogates and controls included
amounts = st.integers(min_value=0, max_value=10**9)
fees = st.lists(
    st.builds(FeeItem, name=texts, amount_fen=amounts, description=texts, count=st.integers(-5, 1000)), max_size=130
)
discounts = st.lists(st.builds(DiscountItem, name=texts, amount_fen=amounts, description=texts), max_size=40)


def total(items: Sequence[FeeItem] | Sequence[DiscountItem]) -> int:
    return sum(item.amount_fen for item in items)


@given(text=texts, chars=st.integers(0, 300))
def test_an_encoded_text_decodes_to_the_beginning_of_the_text(text: str, chars: int) -> None:
    encoded = url_encoded(text, chars)

    assert len(encoded) <= chars
    assert clean(text).startswith(unquote(encoded, errors="strict"))


def test_an_escape_is_not_torn() -> None:
    assert url_encoded("车车", 17) == "%E8%BD%A6"


@given(fees=fees, discounts=discounts, max_discounts=st.sampled_from([5, 30]))
def test_items_fit_and_keep_their_sums(fees: list[FeeItem], discounts: list[DiscountItem], max_discounts: int) -> None:
    fitting_fees, fitting_discounts = fit_items(fees, discounts, max_discounts=max_discounts)
    fitting: list[FeeItem | DiscountItem] = [*fitting_fees, *fitting_discounts]

    assert (total(fitting_fees), total(fitting_discounts)) == (total(fees), total(discounts))
    assert len(fitting_fees) == min(len(fees), 100)
    assert len(fitting_discounts) == min(len(discounts), max_discounts)
    assert len({item.name for item in fitting}) == len(fitting)
    assert all(0 < len(item.name) <= 20 and len(item.description) <= 30 for item in fitting)
    assert all(1 <= fee.count <= 100 for fee in fitting_fees)


def names_of(*fees: str, discounts: Sequence[str] = ()) -> list[str]:
    fitting_fees, fitting_discounts = fit_items(
        [FeeItem(name=name, amount_fen=1) for name in fees],
        [DiscountItem(name=name, amount_fen=1) for name in discounts],
        max_discounts=5,
    )
    return [fee.name for fee in fitting_fees] + [discount.name for discount in fitting_discounts]


def test_what_fits_is_left_as_it_is() -> None:
    fees = [FeeItem(name=f"费{n}", amount_fen=n, description="里程" * 15, count=100) for n in range(1, 101)]
    discounts = [DiscountItem(name=f"券{n}", amount_fen=n, description="活动" * 15) for n in range(1, 6)]

    assert fit_items(fees, discounts, max_discounts=5) == (fees, discounts)


def test_a_description_is_cut_at_thirty_characters() -> None:
    fees, discounts = fit_items(
        [FeeItem(name="里程费", amount_fen=1, description="里" * 31)],
        [DiscountItem(name="优惠券", amount_fen=1, description="新" * 31)],
        max_discounts=5,
    )

    assert (fees[0].description, discounts[0].description) == ("里" * 30, "新" * 30)


@pytest.mark.parametrize(("count", "sent"), [(-1, 1), (0, 1), (1, 1), (2, 2), (100, 100), (101, 100)])
def test_a_count_is_brought_within_its_limits(count: int, sent: int) -> None:
    (fee,), _ = fit_items([FeeItem(name="里程费", amount_fen=1, count=count)], [], max_discounts=5)

    assert fee.count == sent


def test_surplus_fees_are_one_item_under_a_name_of_their_own() -> None:
    fees, _ = fit_items([FeeItem(name=f"费{n}", amount_fen=1) for n in range(101)], [], max_discounts=5)

    assert len(fees) == 100
    assert fees[-1] == FeeItem(name="其他费用", amount_fen=2)


def test_what_has_a_meaning_in_an_address_is_escaped() -> None:
    assert url_encoded("a/b&c=d X", 100) == "a%2Fb%26c%3Dd%20X"


def test_an_encoded_text_may_be_as_long_as_its_limit() -> None:
    assert url_encoded("车车", 18) == "%E8%BD%A6%E8%BD%A6"


def test_equal_names_are_told_apart_within_their_limit() -> None:
    long = "高速公路通行费用及桥梁隧道通行费用合计"

    assert names_of(*[long + "abc"] * 3) == [long + "a", long[:17] + "(2)", long[:17] + "(3)"]


def test_a_name_that_already_looks_numbered_is_not_taken_twice() -> None:
    assert names_of("停车费", "停车费(2)", "停车费") == ["停车费", "停车费(2)", "停车费(3)"]


def test_a_discount_does_not_take_the_name_of_a_fee() -> None:
    assert names_of("夜间服务", discounts=["夜间服务"]) == ["夜间服务", "夜间服务(2)"]


def test_an_item_without_a_sendable_name_gets_one() -> None:
    assert names_of("🚕", "", discounts=["🎁"]) == ["费用", "费用(2)", "优惠"]


def test_surplus_items_are_folded_into_the_last_and_named_for_what_they_are() -> None:
    discounts = [DiscountItem(name=f"券{n}", amount_fen=n, description="活动") for n in range(1, 8)]

    _, fitting = fit_items([], discounts, max_discounts=5)

    assert [item.name for item in fitting] == ["券1", "券2", "券3", "券4", "其他优惠"]
    assert fitting[-1] == DiscountItem(name="其他优惠", amount_fen=5 + 6 + 7)
