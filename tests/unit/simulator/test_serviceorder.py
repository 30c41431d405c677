"""The strict rules of the serviceorder family (reference payscore-api B)."""

import httpx
import pytest

from payscore_worker.simulator import Behaviour, Passenger, Simulator

from .bodies import ABSENT, NOTIFY_URL, Json, a_complete, a_create, changed
from .clock import Clock
from .merchant import BASES, Merchant
from .refusals import field_of, refusal_of

OUT_OF_RANGE = (400, "PARAM_ERROR", "参数超出取值范围", 268435464)
WRONG_MODE = (403, "NO_AUTH", "商户暂无权限使用此服务", 0)


async def created(merchant: Merchant, **changes: object) -> httpx.Response:
    return await merchant.create("serviceorder", a_create("serviceorder", **changes))


async def completed(
    merchant: Merchant, clock: Clock, opened_with: Json | None = None, **changes: object
) -> httpx.Response:
    """Creates, rides for ten minutes, and completes with these changes."""
    response = await created(merchant, **(opened_with or {}))
    assert response.status_code == 200, response.text
    clock.advance(600)
    return await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text(), **changes))


# Create


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ("out_order_no", "/out_order_no"),
        ("service_introduction", "/service_introduction"),
        ("time_range", "/time_range"),
        ("time_range__start_time", "/time_range/start_time"),
        ("risk_fund", "/risk_fund"),
        ("risk_fund__name", "/risk_fund/name"),
        ("risk_fund__amount", "/risk_fund/amount"),
        ("notify_url", "/notify_url"),
        ("openid", "/openid"),
    ],
)
async def test_create_needs(merchant: Merchant, member: str, field: str) -> None:
    assert field_of(await created(merchant, **{member: ABSENT})) == field


@pytest.mark.parametrize("member", ["appid", "service_id"])
async def test_create_names_the_service(merchant: Merchant, member: str) -> None:
    body = merchant.ours() | a_create("serviceorder")
    del body[member]
    assert field_of(await merchant.post(BASES["serviceorder"], body)) == f"/{member}"


LONGEST = [
    ("service_introduction", "/service_introduction", 20),
    ("post_payments__0__name", "/post_payments/0/name", 20),
    ("post_payments__0__description", "/post_payments/0/description", 30),
    ("post_discounts__0__name", "/post_discounts/0/name", 20),
    ("post_discounts__0__description", "/post_discounts/0/description", 30),
    ("time_range__start_time_remark", "/time_range/start_time_remark", 20),
    ("time_range__end_time_remark", "/time_range/end_time_remark", 20),
    ("location__start_location", "/location/start_location", 20),
    ("location__end_location", "/location/end_location", 20),
    ("risk_fund__description", "/risk_fund/description", 30),
    ("device__start_device_id", "/device/start_device_id", 50),
    ("device__end_device_id", "/device/end_device_id", 50),
    ("device__materiel_no", "/device/materiel_no", 100),
    ("openid", "/openid", 128),
]
WITH_EVERYTHING: Json = {
    "post_payments": [{"name": "起步价", "description": "三公里内"}],
    "post_discounts": [{"name": "优惠券", "description": "新客"}],
    "location": {"start_location": "上海虹桥站", "end_location": "静安寺"},
}


@pytest.mark.parametrize(("member", "field", "limit"), LONGEST)
async def test_a_text_of_create_has_its_longest_length_in_characters(
    merchant: Merchant, member: str, field: str, limit: int
) -> None:
    assert (await created(merchant, **(WITH_EVERYTHING | {member: "车" * limit}))).status_code == 200
    response = await created(merchant, **(WITH_EVERYTHING | {member: "车" * (limit + 1), "out_order_no": "trip-2"}))
    assert field_of(response) == field
    assert refusal_of(response) == OUT_OF_RANGE


@pytest.mark.parametrize(("member", "field"), [(member, field) for member, field, _ in LONGEST])
async def test_an_empty_text_is_refused(merchant: Merchant, member: str, field: str) -> None:
    assert field_of(await created(merchant, **(WITH_EVERYTHING | {member: ""}))) == field


@pytest.mark.parametrize("member", [member for member, _, _ in LONGEST])
async def test_a_text_of_one_character_is_accepted(merchant: Merchant, member: str) -> None:
    assert (await created(merchant, **(WITH_EVERYTHING | {member: "车"}))).status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"out_order_no": "trip 1"}, "/out_order_no"),
        ({"out_order_no": "行程1"}, "/out_order_no"),
        ({"out_order_no": "trip-1\n"}, "/out_order_no"),
        ({"out_order_no": "t" * 33}, "/out_order_no"),
        ({"out_order_no": 1}, "/out_order_no"),
        ({"risk_fund__amount": 0}, "/risk_fund/amount"),
        ({"risk_fund__amount": -1}, "/risk_fund/amount"),
        ({"risk_fund__amount": 200.0}, "/risk_fund/amount"),
        ({"risk_fund__amount": "200"}, "/risk_fund/amount"),
        ({"risk_fund__amount": True}, "/risk_fund/amount"),
        ({"risk_fund__amount": 50_001}, "/risk_fund/amount"),
        ({"risk_fund__name": "RISK"}, "/risk_fund/name"),
        ({"need_user_confirm": "false"}, "/need_user_confirm"),
        ({"post_payments": {"name": "车费", "amount": 1}}, "/post_payments"),
        ({"post_payments": [{"name": "车费"}]}, "/post_payments/0"),
        ({"post_payments": [{"amount": 1}]}, "/post_payments/0/name"),
        ({"post_payments": [{"name": "车费", "amount": -1}]}, "/post_payments/0/amount"),
        ({"post_payments": [{"name": "车费", "amount": 1, "count": 0}]}, "/post_payments/0/count"),
        ({"post_payments": [{"name": "车费", "amount": 1, "count": 101}]}, "/post_payments/0/count"),
        ({"post_payments": [{"name": "车费", "amount": 1}] * 2}, "/post_payments/1"),
        ({"post_payments": [{"name": f"费{n}", "amount": 1} for n in range(101)]}, "/post_payments"),
        ({"post_discounts": [{"name": "券"}]}, "/post_discounts/0/description"),
        ({"post_discounts": [{"name": "券", "description": "新客"}] * 2}, "/post_discounts/1"),
        ({"post_discounts": [{"name": f"券{n}", "description": "新"} for n in range(31)]}, "/post_discounts"),
        ({"location__end_location": "静安寺"}, "/location/end_location"),
        ({"attach": "车次 1"}, "/attach"),
        ({"attach": '{"trip":1}'}, "/attach"),
        ({"attach": "100%"}, "/attach"),
        ({"attach": "a" * 257}, "/attach"),
        ({"notify_url": "receiver/notify"}, "/notify_url"),
        ({"notify_url": "ftp://receiver/notify"}, "/notify_url"),
        ({"notify_url": "https:///notify"}, "/notify_url"),
        ({"notify_url": "https://receiver"}, "/notify_url"),
        ({"notify_url": "https://receiver/notify?trip=1"}, "/notify_url"),
        ({"notify_url": "https://receiver/notify#1"}, "/notify_url"),
        ({"notify_url": " https://receiver/notify"}, "/notify_url"),
        ({"notify_url": "https://[receiver/notify"}, "/notify_url"),
        ({"notify_url": "https://receiver/" + "n" * 239}, "/notify_url"),
    ],
)
async def test_create_refuses(merchant: Merchant, changes: Json, field: str) -> None:
    assert field_of(await created(merchant, **changes)) == field


@pytest.mark.parametrize(
    "changes",
    [
        {"out_order_no": "Az09_-|*" * 4},
        {"risk_fund__amount": 50_000},
        {"post_payments": [{"name": f"费{n}", "amount": 1} for n in range(100)]},
        {"post_payments": [{"name": "商品信息", "amount": 1}] * 2},
        {"post_payments": [{"name": "车费", "description": "按里程"}]},
        {"post_payments": [{"name": "车费", "amount": 0}]},
        {"post_discounts": [{"name": f"券{n}", "description": "新"} for n in range(30)]},
        {"location__start_location": "上海虹桥站"},
        {"attach": "%7B%22trip%22%3A1%7D"},
        {"attach": "a" * 256},
        {"attach": "a"},
        {"post_payments": [{"name": "车费", "amount": 1, "count": 1}]},
        {"post_payments": [{"name": "车费", "amount": 1, "count": 100}]},
        {"risk_fund__amount": 1},
        {"notify_url": "https://receiver/notify"},
        {"notify_url": "https://receiver/" + "n" * 238},
    ],
)
async def test_create_accepts(merchant: Merchant, changes: Json) -> None:
    response = await created(merchant, **changes)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "changes",
    [
        {"need_user_confirm": True},
        {"need_user_confirm": ABSENT},
        {"need_user_confirm": True, "openid": ABSENT},
        {"risk_fund__name": "DEPOSIT"},
        {"risk_fund__name": "ADVANCE"},
        {"risk_fund__name": "CASH_DEPOSIT"},
    ],
)
async def test_the_service_is_licensed_for_no_confirm_orders_only(merchant: Merchant, changes: Json) -> None:
    assert refusal_of(await created(merchant, **changes)) == WRONG_MODE


async def test_create_answers_with_the_running_order(merchant: Merchant) -> None:
    response = await created(merchant, attach="a%20b", location__start_location="上海虹桥站")
    entity = response.json()
    assert len(entity.pop("order_id")) == 31
    assert entity == merchant.ours() | {
        "mchid": merchant.keys.mchid,
        "out_order_no": "trip-1",
        "state": "DOING",
        "state_description": "USER_CONFIRM",
        "service_introduction": "网约车出行",
        "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": 20000},
        "time_range": {"start_time": "20260301100000"},
        "location": {"start_location": "上海虹桥站"},
        "attach": "a%20b",
        "notify_url": NOTIFY_URL,
    }


# Complete


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"post_payments": ABSENT}, "/post_payments"),
        ({"post_payments": [], "total_amount": 0}, "/post_payments"),
        ({"post_payments": [{"name": f"费{n}", "amount": 32} for n in range(101)]}, "/post_payments"),
        ({"post_payments": [{"name": "车费", "amount": 1600}] * 2}, "/post_payments/1"),
        ({"post_payments__0__name": "车" * 21}, "/post_payments/0/name"),
        ({"post_payments__0__amount": 3200.0}, "/post_payments/0/amount"),
        ({"post_discounts": [{"name": "券", "description": "新客"}]}, "/post_discounts/0/amount"),
        ({"post_discounts": [{"name": "券", "amount": 0}]}, "/post_discounts/0/description"),
        ({"total_amount": ABSENT}, "/total_amount"),
        ({"total_amount": -1}, "/total_amount"),
        ({"total_amount": 32.0}, "/total_amount"),
        ({"goods_tag": "g" * 33}, "/goods_tag"),
        ({"profit_sharing": "no"}, "/profit_sharing"),
        ({"location__end_location": "静安寺"}, "/location/end_location"),
        ({"location__start_location": "静安寺"}, "/location/start_location"),
        ({"time_range__start_time": "20260301095959"}, "/time_range/start_time"),
        ({"time_range__start_time": "20260301101001"}, "/time_range/start_time"),
        ({"time_range__start_time": "20260301"}, "/time_range/start_time"),
        ({"time_range__end_time": "20260301"}, "/time_range/end_time"),
        ({"time_range__end_time": "2026-03-01 10:10"}, "/time_range/end_time"),
        ({"time_range__end_time": "20260231101000"}, "/time_range/end_time"),
        ({"time_range__end_time": "２０２６０３０１"}, "/time_range/end_time"),
    ],
)
async def test_complete_refuses(merchant: Merchant, clock: Clock, changes: Json, field: str) -> None:
    assert field_of(await completed(merchant, clock, **changes)) == field


@pytest.mark.parametrize(
    "changes",
    [
        {"time_range__start_time": "20260301100500"},
        {"time_range__start_time": "20260301100000"},
        {"post_discounts": [{"name": "券", "description": "新客", "amount": 200}], "total_amount": 3000},
        {"post_payments": [{"name": f"费{n}", "amount": 32} for n in range(100)]},
        {"post_payments": [{"name": "商品信息", "amount": 1600}] * 2},
        {"post_payments": [{"name": "车费", "amount": 50_000}], "total_amount": 50_000},
        {"profit_sharing": True, "goods_tag": "g" * 32},
    ],
)
async def test_complete_accepts(merchant: Merchant, clock: Clock, changes: Json) -> None:
    response = await completed(merchant, clock, **changes)
    assert response.status_code == 200, response.text


async def test_a_real_start_is_as_precise_as_at_create(merchant: Merchant, clock: Clock) -> None:
    opened_with = {"time_range__start_time": clock.day()}
    times = {"time_range": {"start_time": clock.text(300), "end_time": clock.day()}}
    assert field_of(await completed(merchant, clock, opened_with, **times)) == "/time_range/start_time"
    times = {"time_range": {"start_time": clock.day(), "end_time": clock.day()}}
    body = a_complete("serviceorder", clock.day(), **times)
    assert (await merchant.complete("serviceorder", "trip-1", body)).status_code == 200


async def test_a_real_start_may_be_the_moment_of_the_call(merchant: Merchant, clock: Clock) -> None:
    """Only its end, given at create, then lies ahead."""
    clock.now = clock.now.replace(microsecond=0)
    opened_with = {"time_range__end_time": clock.text(3600)}
    times = {"time_range": {"start_time": clock.text(600)}}
    assert (await completed(merchant, clock, opened_with, **times)).status_code == 200


async def test_nothing_is_to_be_collected_of_an_order_without_a_price(merchant: Merchant, clock: Clock) -> None:
    response = await completed(merchant, clock, post_payments__0__amount=0, total_amount=0)
    assert response.json()["need_collection"] is False


async def test_an_end_place_may_be_sent_where_create_gave_a_start(merchant: Merchant, clock: Clock) -> None:
    opened_with = {"location__start_location": "上海虹桥站"}
    response = await completed(merchant, clock, opened_with, location__end_location="静安寺")
    assert response.json()["location"] == {"start_location": "上海虹桥站", "end_location": "静安寺"}


async def test_a_total_that_is_not_the_sum_is_refused(merchant: Merchant, clock: Clock) -> None:
    response = await completed(merchant, clock, total_amount=3201)
    assert refusal_of(response) == (400, "PARAM_ERROR", "最终总金额计算非法", 0)


async def test_discounts_count_against_the_sum(merchant: Merchant, clock: Clock) -> None:
    response = await completed(merchant, clock, post_discounts=[{"name": "券", "description": "新客", "amount": 200}])
    assert refusal_of(response)[2] == "最终总金额计算非法"


async def test_a_total_may_exceed_the_risk_fund_but_not_the_cap_of_the_service(
    merchant: Merchant, clock: Clock
) -> None:
    response = await completed(merchant, clock, post_payments=[{"name": "车费", "amount": 50_001}], total_amount=50_001)
    assert refusal_of(response) == (400, "INVALID_REQUEST", "总金额超过此服务的服务风险金额", 271316656)


async def test_an_end_that_create_did_not_give_is_required(merchant: Merchant, clock: Clock) -> None:
    response = await completed(merchant, clock, time_range=ABSENT)
    assert refusal_of(response)[:3] == (400, "PARAM_ERROR", "创建订单未填写服务结束时间,则结束时间必填")


async def test_an_end_that_create_gave_need_not_be_repeated(merchant: Merchant, clock: Clock) -> None:
    opened_with = {"time_range__end_time": clock.text(3600)}
    response = await completed(merchant, clock, opened_with, time_range=ABSENT)
    assert response.json()["time_range"]["end_time"] == "20260301110000"


async def test_complete_answers_with_the_order_without_its_collection(merchant: Merchant, clock: Clock) -> None:
    entity = (await completed(merchant, clock)).json()
    assert entity["state_description"] == "MCH_COMPLETE"
    assert entity["total_amount"] == 3200
    assert entity["need_collection"] is True
    assert entity["time_range"] == {"start_time": "20260301100000", "end_time": "20260301101000"}
    assert "collection" not in entity


# What a query shows


async def test_a_query_of_an_owing_order_shows_what_is_to_be_collected(merchant: Merchant, clock: Clock) -> None:
    await completed(merchant, clock)
    entity = (await merchant.query("serviceorder", "trip-1")).json()
    assert entity["openid"] == "passenger-1"
    assert entity["collection"] == {
        "state": "USER_PAYING",
        "total_amount": 3200,
        "paying_amount": 3200,
        "paid_amount": 0,
    }


async def test_a_query_of_a_paid_order_shows_the_debit(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await completed(merchant, clock)
    simulator.pay("trip-1")
    collection = (await merchant.query("serviceorder", "trip-1")).json()["collection"]
    (charge,) = simulator.ledger().orders["trip-1"].charges
    assert collection == {
        "state": "USER_PAID",
        "total_amount": 3200,
        "paying_amount": 0,
        "paid_amount": 3200,
        "details": [
            {
                "seq": 1,
                "amount": 3200,
                "paid_type": "NEWTON",
                "paid_time": "20260301101000",
                "transaction_id": charge.transaction_id,
            }
        ],
    }


async def test_a_coupon_shows_beside_the_debit(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    simulator.set_passenger("passenger-1", Passenger(Behaviour.PAYS_OTHER_AMOUNT, coupon_fen=1))
    await completed(merchant, clock)
    simulator.pay("trip-1")
    collection = (await merchant.query("serviceorder", "trip-1")).json()["collection"]
    (detail,) = collection["details"]
    (coupon,) = detail["promotion_detail"]
    assert (collection["total_amount"], collection["paid_amount"]) == (3200, 3199)
    assert (detail["amount"], coupon["amount"], coupon["scope"], coupon["type"]) == (3199, 1, "GLOBAL", "CASH")


async def test_a_query_of_an_order_paid_elsewhere_shows_no_transaction(merchant: Merchant, clock: Clock) -> None:
    await completed(merchant, clock)
    clock.advance(60)
    entity = (await merchant.sync("serviceorder", "trip-1", clock.now)).json()
    assert entity["collection"]["details"] == [
        {"seq": 1, "amount": 3200, "paid_type": "MCH", "paid_time": "20260301101100"}
    ]


async def test_what_was_paid_elsewhere_may_be_dated_by_its_day(merchant: Merchant, clock: Clock) -> None:
    await completed(merchant, clock)
    body = merchant.ours() | {"type": "Order_Paid", "detail": {"paid_time": clock.day()}}
    response = await merchant.post(f"{BASES['serviceorder']}/trip-1/sync", body)
    assert response.json()["collection"]["details"][0]["paid_time"] == "20260301000000"


@pytest.mark.parametrize(
    ("member", "value", "field"),
    [("type", "ORDER_PAID", "/type"), ("detail", {}, "/detail/paid_time"), ("detail", ABSENT, "/detail")],
)
async def test_a_sync_says_what_and_when(
    merchant: Merchant, clock: Clock, member: str, value: object, field: str
) -> None:
    await completed(merchant, clock)
    body = merchant.ours() | {"type": "Order_Paid", "detail": {"paid_time": clock.text()}}
    spoilt = changed(body, {member: value})
    assert field_of(await merchant.post(f"{BASES['serviceorder']}/trip-1/sync", spoilt)) == field


# Modify


async def modified(merchant: Merchant, total: int, **changes: object) -> httpx.Response:
    body = merchant.ours() | {
        "post_payments": [{"name": "车费", "amount": total}],
        "total_amount": total,
        "reason": "绕路减免",
    }
    return await merchant.post(f"{BASES['serviceorder']}/trip-1/modify", body | changes)


async def test_an_owing_order_is_modified_downwards(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await completed(merchant, clock)
    response = await modified(merchant, 3000)
    assert response.json()["collection"]["paying_amount"] == 3000
    simulator.pay("trip-1")
    assert simulator.ledger().orders["trip-1"].charged_fen == 3000


async def test_an_order_modified_to_nothing_is_over(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await completed(merchant, clock)
    assert (await modified(merchant, 0)).json()["state"] == "DONE"
    clock.advance(10)
    await simulator.run_once()
    assert simulator.ledger().orders["trip-1"].charged_fen == 0


@pytest.mark.parametrize("total", [3200, 3300])
async def test_an_order_is_not_modified_upwards(merchant: Merchant, clock: Clock, total: int) -> None:
    await completed(merchant, clock)
    assert field_of(await modified(merchant, total)) == "/total_amount"


async def test_a_modification_gives_a_reason_and_adds_up(merchant: Merchant, clock: Clock) -> None:
    await completed(merchant, clock)
    assert field_of(await modified(merchant, 3000, reason="绕" * 51)) == "/reason"
    assert refusal_of(await modified(merchant, 3000, total_amount=2999))[2] == "最终总金额计算非法"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"post_payments": [{"name": "车费", "amount": 1500}] * 2}, "/post_payments/1"),
        ({"post_payments": []}, "/post_payments"),
        ({"post_payments": [{"name": f"费{n}", "amount": 1} for n in range(101)]}, "/post_payments"),
    ],
)
async def test_a_modification_has_items_like_a_complete(
    merchant: Merchant, clock: Clock, changes: Json, field: str
) -> None:
    await completed(merchant, clock)
    assert field_of(await modified(merchant, 3000, **changes)) == field


async def test_a_modification_of_a_hundred_items_is_accepted(merchant: Merchant, clock: Clock) -> None:
    await completed(merchant, clock)
    items = [{"name": f"费{n}", "amount": 1} for n in range(100)]
    assert (await modified(merchant, 100, post_payments=items)).status_code == 200


async def test_a_modification_replaces_items_and_discounts_and_keeps_the_rest(merchant: Merchant, clock: Clock) -> None:
    discount = {"name": "券", "description": "新客", "amount": 200}
    before = (await completed(merchant, clock, post_discounts=[discount], total_amount=3000)).json()
    after = (await modified(merchant, 2900)).json()
    assert after["post_payments"] == [{"name": "车费", "amount": 2900}]
    assert "post_discounts" not in after
    assert after["time_range"] == before["time_range"]


async def test_only_an_owing_order_is_modified(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await created(merchant)
    refused = (400, "INVALID_REQUEST", "仅服务订单支付状态为待支付时，才可使用此能力", 271316657)
    assert refusal_of(await modified(merchant, 10)) == refused
    clock.advance(600)
    await merchant.complete("serviceorder", "trip-1", a_complete("serviceorder", clock.text()))
    simulator.pay("trip-1")
    assert refusal_of(await modified(merchant, 10)) == refused


async def test_the_first_complete_stays_binding_after_a_modification(merchant: Merchant, clock: Clock) -> None:
    await created(merchant)
    clock.advance(600)
    body = a_complete("serviceorder", clock.text())
    await merchant.complete("serviceorder", "trip-1", body)
    await modified(merchant, 3000)
    assert (await merchant.complete("serviceorder", "trip-1", body)).json()["total_amount"] == 3000


# Cancel


async def test_a_reason_for_cancelling_is_given_in_thirty_characters(merchant: Merchant) -> None:
    await created(merchant)
    path = f"{BASES['serviceorder']}/trip-1/cancel"
    assert field_of(await merchant.post(path, merchant.ours())) == "/reason"
    assert field_of(await merchant.cancel("serviceorder", "trip-1", "因" * 31)) == "/reason"
    assert (await merchant.cancel("serviceorder", "trip-1", "因" * 30)).status_code == 200


async def test_cancel_names_the_service(merchant: Merchant) -> None:
    await created(merchant)
    path = f"{BASES['serviceorder']}/trip-1/cancel"
    response = await merchant.post(path, {"appid": merchant.keys.appid, "reason": "行程取消"})
    assert field_of(response) == "/service_id"
