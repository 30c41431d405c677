"""The members of a refund request, each by its type and limits (reference payscore-api G.1, B.1)."""

from urllib.parse import quote

import pytest

from payscore_worker.simulator import Simulator

from .bodies import ABSENT, Json, a_refund
from .merchant import REFUNDS, Merchant
from .refunding import accepted
from .refusals import field_of, refusal_of

# The members of the request

OPTIONAL: list[Json] = [
    {"reason": "司机绕路"},
    {"reason": "因" * 26 + "ab"},
    {"notify_url": "https://merchant.example/notify/refund"},
    {"notify_url": "https://m.example/" + "n" * 238},
    {"funds_account": "AVAILABLE"},
    {"amount__from": [{"account": "AVAILABLE", "amount": 400}, {"account": "UNAVAILABLE", "amount": 600}]},
    {"goods_detail": [{"merchant_goods_id": "g", "unit_price": 1, "refund_amount": 1, "refund_quantity": 1}]},
    {"out_refund_no": "a|b*c@d_e-F9"},
    {"out_refund_no": "r" * 64},
    {"unknown": "ignored"},
]


@pytest.mark.parametrize("changes", OPTIONAL)
async def test_a_right_member_is_accepted(merchant: Merchant, transaction_id: str, changes: Json) -> None:
    await accepted(merchant, a_refund(transaction_id, **changes))


async def test_an_answer_repeats_where_the_money_is_taken_from(merchant: Merchant, transaction_id: str) -> None:
    parts = [{"account": "AVAILABLE", "amount": 1000}]
    assert (await accepted(merchant, a_refund(transaction_id, amount__from=parts)))["amount"]["from"] == parts


GOODS: Json = {"merchant_goods_id": "g", "unit_price": 1, "refund_amount": 1, "refund_quantity": 1}
WRONG: list[tuple[Json, str]] = [
    ({"transaction_id": ABSENT}, "/transaction_id"),
    ({"out_trade_no": "PS1"}, "/transaction_id"),
    ({"transaction_id": ""}, "/transaction_id"),
    ({"transaction_id": "4" * 33}, "/transaction_id"),
    ({"transaction_id": ABSENT, "out_trade_no": "t" * 33}, "/out_trade_no"),
    ({"out_refund_no": ABSENT}, "/out_refund_no"),
    ({"out_refund_no": ""}, "/out_refund_no"),
    ({"out_refund_no": "r" * 65}, "/out_refund_no"),
    ({"out_refund_no": "refund/1"}, "/out_refund_no"),
    ({"out_refund_no": "refund 1"}, "/out_refund_no"),
    ({"out_refund_no": "退款"}, "/out_refund_no"),
    ({"out_refund_no": "refund-1\n"}, "/out_refund_no"),
    ({"reason": ""}, "/reason"),
    ({"reason": "因" * 27}, "/reason"),
    ({"notify_url": "https://merchant.example/notify?a=b"}, "/notify_url"),
    ({"notify_url": "https://merchant.example"}, "/notify_url"),
    ({"notify_url": "ftp://merchant.example/notify"}, "/notify_url"),
    ({"notify_url": "https://m.example/" + "n" * 239}, "/notify_url"),
    ({"funds_account": "BASIC"}, "/funds_account"),
    ({"amount": ABSENT}, "/amount"),
    ({"amount__refund": ABSENT}, "/amount/refund"),
    ({"amount__refund": 0}, "/amount/refund"),
    ({"amount__refund": -1}, "/amount/refund"),
    ({"amount__refund": "1000"}, "/amount/refund"),
    ({"amount__refund": 10.5}, "/amount/refund"),
    ({"amount__total": ABSENT}, "/amount/total"),
    ({"amount__total": "3200"}, "/amount/total"),
    ({"amount__currency": ABSENT}, "/amount/currency"),
    ({"amount__currency": "USD"}, "/amount/currency"),
    ({"amount__from": [{"account": "AVAILABLE", "amount": 999}]}, "/amount/from"),
    ({"amount__from": [{"account": "BASIC", "amount": 1000}]}, "/amount/from/0/account"),
    ({"amount__from": [{"account": "AVAILABLE", "amount": 0}]}, "/amount/from/0/amount"),
    ({"goods_detail": GOODS}, "/goods_detail"),
    ({"goods_detail": [GOODS | {"merchant_goods_id": "g" * 33}]}, "/goods_detail/0/merchant_goods_id"),
    ({"goods_detail": [GOODS | {"wechatpay_goods_id": "g" * 33}]}, "/goods_detail/0/wechatpay_goods_id"),
    ({"goods_detail": [GOODS | {"goods_name": "g" * 257}]}, "/goods_detail/0/goods_name"),
    ({"goods_detail": [GOODS | {"refund_quantity": 0}]}, "/goods_detail/0/refund_quantity"),
    ({"goods_detail": [GOODS | {"unit_price": -1}]}, "/goods_detail/0/unit_price"),
    ({"goods_detail": [{"merchant_goods_id": "g"}]}, "/goods_detail/0/unit_price"),
    ({"reason": None}, "/reason"),
]


@pytest.mark.parametrize(("changes", "field"), WRONG)
async def test_a_wrong_member_is_named(
    merchant: Merchant, simulator: Simulator, transaction_id: str, changes: Json, field: str
) -> None:
    assert field_of(await merchant.refund(a_refund(transaction_id, **changes))) == field
    assert simulator.ledger().totals.refunds == 0


async def test_unsettled_money_is_for_deposits_only(merchant: Merchant, transaction_id: str) -> None:
    response = await merchant.refund(a_refund(transaction_id, funds_account="UNSETTLED"))
    assert refusal_of(response) == (400, "INVALID_REQUEST", "仅对出行预付押金退款适用", 0)


async def test_a_number_of_another_type_is_named_in_words(merchant: Merchant, transaction_id: str) -> None:
    response = await merchant.refund(a_refund(transaction_id, out_refund_no=1))
    assert refusal_of(response)[1:3] == ("PARAM_ERROR", "此字段需要一个 string 类型的 Json 值")
    response = await merchant.refund(a_refund(transaction_id, goods_detail=GOODS))
    assert refusal_of(response)[1:3] == ("PARAM_ERROR", "此字段需要 JSON 数组对象")


@pytest.mark.parametrize("out_refund_no", ["r" * 65, "refund%201"])
async def test_a_query_names_a_number_that_could_be_one(merchant: Merchant, out_refund_no: str) -> None:
    assert field_of(await merchant.query_refund(out_refund_no)) == "out_refund_no"


async def test_a_number_may_be_escaped_in_the_path(merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id, out_refund_no="a|b@c*d"))
    assert (await merchant.query_refund(quote("a|b@c*d", safe=""))).json()["out_refund_no"] == "a|b@c*d"


# What the path names is named nowhere else (reference payscore-api B.1)

REPEATED = (
    "无法将输入源“/query/out_refund_no”映射到目标字段“商户退款单号”中，"
    "此字段并非多重字段但被输入源“/uri_template/out_refund_no”映射过了。"
)


async def test_a_query_does_not_repeat_what_its_path_names(merchant: Merchant, transaction_id: str) -> None:
    await accepted(merchant, a_refund(transaction_id))
    response = await merchant.get(f"{REFUNDS}/refund-1", out_refund_no="refund-1")
    assert refusal_of(response)[:3] == (
        400,
        "PARAM_ERROR",
        REPEATED,
    )
