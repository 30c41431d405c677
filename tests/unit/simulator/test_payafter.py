"""The strict rules of the payafter-orders family (reference payscore-api A)."""

import base64
from datetime import timedelta

import httpx
import pytest

from payscore_worker.simulator import Simulator

from .bodies import ABSENT, NOTIFY_URL, Json, a_complete, a_create
from .clock import Clock
from .merchant import BASES, Merchant
from .refusals import field_of, refusal_of

OUT_OF_RANGE = (400, "PARAM_ERROR", "参数超出取值范围", 268435464)
WRONG_MODE = (403, "NO_AUTH", "商户暂无权限使用此服务", 0)


async def created(merchant: Merchant, **changes: object) -> httpx.Response:
    return await merchant.create("payafter", a_create("payafter", **changes))


async def completed(
    merchant: Merchant, clock: Clock, opened_with: Json | None = None, **changes: object
) -> httpx.Response:
    """Creates, rides for ten minutes, and completes with these changes."""
    response = await created(merchant, **(opened_with or {}))
    assert response.status_code == 200, response.text
    clock.advance(600)
    return await merchant.complete("payafter", "trip-1", a_complete("payafter", clock.text(), **changes))


# Create


@pytest.mark.parametrize(
    "member", ["out_order_no", "service_start_time", "service_introduction", "risk_amount", "openid"]
)
async def test_create_needs(merchant: Merchant, member: str) -> None:
    assert field_of(await created(merchant, **{member: ABSENT})) == f"/{member}"


@pytest.mark.parametrize("member", ["appid", "service_id"])
async def test_create_names_the_service(merchant: Merchant, member: str) -> None:
    body = merchant.ours() | a_create("payafter")
    del body[member]
    assert field_of(await merchant.post(BASES["payafter"], body)) == f"/{member}"


async def test_create_needs_no_notify_url(merchant: Merchant) -> None:
    assert "notify_url" not in a_create("payafter")
    assert (await created(merchant)).status_code == 200


LONGEST = [
    ("service_introduction", "/service_introduction", 20),
    ("service_start_location", "/service_start_location", 20),
    ("service_end_location", "/service_end_location", 20),
    ("fees__0__fee_name", "/fees/0/fee_name", 20),
    ("fees__0__fee_desc", "/fees/0/fee_desc", 30),
    ("discounts__0__discount_name", "/discounts/0/discount_name", 20),
    ("discounts__0__discount_desc", "/discounts/0/discount_desc", 30),
    ("openid", "/openid", 128),
]
WITH_ITEMS: Json = {"fees": [{"fee_name": "起步价", "fee_amount": 1000}], "discounts": [{"discount_name": "优惠券"}]}


@pytest.mark.parametrize(("member", "field", "limit"), LONGEST)
async def test_a_text_of_create_has_its_longest_length_in_characters(
    merchant: Merchant, member: str, field: str, limit: int
) -> None:
    assert (await created(merchant, **(WITH_ITEMS | {member: "车" * limit}))).status_code == 200
    response = await created(merchant, **(WITH_ITEMS | {member: "车" * (limit + 1), "out_order_no": "trip-2"}))
    assert field_of(response) == field
    assert refusal_of(response) == OUT_OF_RANGE


@pytest.mark.parametrize(("member", "field"), [(member, field) for member, field, _ in LONGEST])
async def test_an_empty_text_is_refused(merchant: Merchant, member: str, field: str) -> None:
    assert field_of(await created(merchant, **(WITH_ITEMS | {member: ""}))) == field


@pytest.mark.parametrize("member", [member for member, _, _ in LONGEST])
async def test_a_text_of_one_character_is_accepted(merchant: Merchant, member: str) -> None:
    assert (await created(merchant, **(WITH_ITEMS | {member: "车"}))).status_code == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"out_order_no": "trip 1"}, "/out_order_no"),
        ({"out_order_no": "t" * 33}, "/out_order_no"),
        ({"risk_amount": 0}, "/risk_amount"),
        ({"risk_amount": 200.0}, "/risk_amount"),
        ({"risk_amount": "200"}, "/risk_amount"),
        ({"risk_amount": 50_001}, "/risk_amount"),
        ({"need_user_confirm": 0}, "/need_user_confirm"),
        ({"fees": [{"fee_amount": 1}]}, "/fees/0/fee_name"),
        ({"fees": [{"fee_name": "车费", "fee_amount": -1}]}, "/fees/0/fee_amount"),
        ({"fees": [{"fee_name": "车费", "fee_amount": 1, "fee_count": 0}]}, "/fees/0/fee_count"),
        ({"fees": [{"fee_name": "车费", "fee_amount": 1}] * 2}, "/fees/1"),
        ({"fees": [{"fee_name": f"费{n}"} for n in range(101)]}, "/fees"),
        ({"fees": [{"fee_name": "车费", "fee_amount": 20_001}]}, "/risk_amount"),
        ({"discounts": [{"discount_name": f"券{n}"} for n in range(6)]}, "/discounts"),
        ({"discounts": [{"discount_name": "券"}] * 2}, "/discounts/1"),
        (
            {
                "fees": [{"fee_name": "车费", "fee_amount": 20_100}],
                "discounts": [{"discount_name": "券", "discount_amount": 100}],
            },
            "/risk_amount",
        ),
        ({"attach": "车次"}, "/attach"),
        ({"attach": "a" * 201}, "/attach"),
    ],
)
async def test_create_refuses(merchant: Merchant, changes: Json, field: str) -> None:
    assert field_of(await created(merchant, **changes)) == field


@pytest.mark.parametrize(
    "changes",
    [
        {"risk_amount": 50_000},
        {"fees": [{"fee_name": "车费", "fee_amount": 20_000}]},
        {"fees": [{"fee_name": f"费{n}"} for n in range(100)]},
        {"discounts": [{"discount_name": f"券{n}"} for n in range(5)]},
        {
            "fees": [{"fee_name": "车费", "fee_amount": 20_099}],
            "discounts": [{"discount_name": "券", "discount_amount": 100}],
        },
        {"attach": "a" * 200},
        {"attach": "a"},
        {"risk_amount": 1},
        {"fees": [{"fee_name": "车费", "fee_amount": 1, "fee_count": 1}]},
    ],
)
async def test_create_accepts(merchant: Merchant, changes: Json) -> None:
    response = await created(merchant, **changes)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("changes", [{"need_user_confirm": True}, {"need_user_confirm": ABSENT}])
async def test_the_service_is_licensed_for_no_confirm_orders_only(merchant: Merchant, changes: Json) -> None:
    assert refusal_of(await created(merchant, **changes)) == WRONG_MODE


async def test_create_answers_without_a_ticket(merchant: Merchant) -> None:
    answer = (await created(merchant)).json()
    assert answer.pop("order_id").startswith("100000000020260301")
    assert answer == merchant.ours() | {"mchid": merchant.keys.mchid, "out_order_no": "trip-1"}


# The ticket


async def test_every_query_of_a_running_order_gives_another_ticket(merchant: Merchant) -> None:
    await created(merchant)
    tickets = {await merchant.finish_ticket("trip-1") for _ in range(3)}
    assert len(tickets) == 3
    assert all(0 < len(ticket) <= 512 for ticket in tickets)


async def test_an_earlier_ticket_stays_valid(merchant: Merchant, clock: Clock) -> None:
    await created(merchant)
    earlier = await merchant.finish_ticket("trip-1")
    await merchant.finish_ticket("trip-1")
    clock.advance(600)
    body = a_complete("payafter", clock.text(), finish_ticket=earlier)
    assert (await merchant.complete("payafter", "trip-1", body)).status_code == 200


async def test_only_a_running_order_has_a_ticket(merchant: Merchant, clock: Clock) -> None:
    await completed(merchant, clock)
    assert "finish_ticket" not in (await merchant.query("payafter", "trip-1")).json()


async def test_a_ticket_of_another_order_is_refused(merchant: Merchant, clock: Clock) -> None:
    await created(merchant, out_order_no="trip-2")
    response = await completed(merchant, clock, finish_ticket=await merchant.finish_ticket("trip-2"))
    assert field_of(response) == "/finish_ticket"


@pytest.mark.parametrize("ticket", [ABSENT, "", "made-up", "车票", "t" * 513, base64.b64encode(bytes(48)).decode()])
async def test_a_ticket_that_was_never_given_is_refused(merchant: Merchant, clock: Clock, ticket: object) -> None:
    await created(merchant)
    clock.advance(600)
    body = merchant.ours() | a_complete("payafter", clock.text(), finish_ticket=ticket)
    assert field_of(await merchant.post(f"{BASES['payafter']}/trip-1/complete", body)) == "/finish_ticket"


@pytest.mark.parametrize(("length", "complaint"), [(512, "参数错误"), (513, "参数超出取值范围")])
async def test_a_ticket_has_512_characters_at_most(
    merchant: Merchant, clock: Clock, length: int, complaint: str
) -> None:
    response = await completed(merchant, clock, finish_ticket="t" * length)
    assert refusal_of(response)[2] == complaint


# Complete


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"finish_type": ABSENT}, "/finish_type"),
        ({"finish_type": 3}, "/finish_type"),
        ({"real_service_end_time": ABSENT}, "/real_service_end_time"),
        ({"real_service_end_time": "20260301"}, "/real_service_end_time"),
        ({"real_service_end_time": "10:10"}, "/real_service_end_time"),
        ({"real_service_start_time": "10:10"}, "/real_service_start_time"),
        ({"real_service_end_location": "静" * 21}, "/real_service_end_location"),
        ({"total_amount": ABSENT}, "/total_amount"),
        ({"total_amount": -1}, "/total_amount"),
        ({"total_amount": 32.0}, "/total_amount"),
        ({"fees__0__fee_amount": ABSENT}, "/fees/0/fee_amount"),
        ({"fees__0__fee_amount": "3200"}, "/fees/0/fee_amount"),
        ({"fees__0__fee_name": "车" * 21}, "/fees/0/fee_name"),
        ({"fees": [{"fee_name": "车费", "fee_amount": 1600}] * 2}, "/fees/1"),
        ({"fees": [{"fee_name": f"费{n}", "fee_amount": 32} for n in range(101)]}, "/fees"),
        ({"discounts": [{"discount_name": "券"}]}, "/discounts/0/discount_amount"),
        ({"discounts": [{"discount_name": f"券{n}", "discount_amount": 0} for n in range(6)]}, "/discounts"),
        ({"cancel_reason": "因" * 31}, "/cancel_reason"),
    ],
)
async def test_complete_refuses(merchant: Merchant, clock: Clock, changes: Json, field: str) -> None:
    assert field_of(await completed(merchant, clock, **changes)) == field


@pytest.mark.parametrize(
    "changes",
    [
        {"real_service_start_time": "20260301100100"},
        {"discounts": [{"discount_name": "券", "discount_amount": 200}], "total_amount": 3000},
        {"fees": [{"fee_name": f"费{n}", "fee_amount": 32} for n in range(100)]},
        {"fees": [{"fee_name": "车费", "fee_amount": 20_000}], "total_amount": 20_000},
    ],
)
async def test_complete_accepts(merchant: Merchant, clock: Clock, changes: Json) -> None:
    response = await completed(merchant, clock, **changes)
    assert response.status_code == 200, response.text


async def test_a_total_that_is_not_the_sum_is_refused(merchant: Merchant, clock: Clock) -> None:
    response = await completed(merchant, clock, discounts=[{"discount_name": "券", "discount_amount": 1}])
    assert refusal_of(response) == (400, "PARAM_ERROR", "最终总金额计算非法", 0)


async def test_a_total_above_the_risk_amount_is_refused(merchant: Merchant, clock: Clock) -> None:
    response = await completed(merchant, clock, fees=[{"fee_name": "车费", "fee_amount": 20_001}], total_amount=20_001)
    assert refusal_of(response) == (400, "INVALID_REQUEST", "总金额超过此服务的服务风险金额", 271316656)


@pytest.mark.parametrize(
    ("kind", "at_create", "at_complete", "limit"),
    [
        ("fees", [{"fee_name": f"预{n}"} for n in range(60)], [{"fee_name": f"费{n}"} for n in range(40)], 100),
        ("discounts", [{"discount_name": "预"}], [{"discount_name": f"券{n}"} for n in range(4)], 5),
    ],
)
async def test_the_items_of_create_count_against_the_limit(
    merchant: Merchant, clock: Clock, kind: str, at_create: list[Json], at_complete: list[Json], limit: int
) -> None:
    amount = {"fees": "fee_amount", "discounts": "discount_amount"}[kind]
    items = [item | {amount: 0} for item in at_complete]
    rest: Json = {} if kind == "fees" else {"fees": []}
    one_more = [*items, {**items[0], **{name: "再一" for name in items[0] if name.endswith("_name")}}]
    assert len(at_create) + len(items) == limit
    response = await completed(merchant, clock, {kind: at_create}, **{kind: one_more, "total_amount": 0, **rest})
    assert field_of(response) == f"/{kind}"
    changes: Json = {kind: items, "total_amount": 0, **rest}
    body = a_complete("payafter", clock.text(), **changes)
    assert (await merchant.complete("payafter", "trip-1", body)).status_code == 200


# The place of arrival (reference payscore-api A.5, the table)


@pytest.mark.parametrize(
    ("start", "expected", "sent", "status"),
    [
        ("虹桥站", "静安寺", ABSENT, 200),
        ("虹桥站", "静安寺", "静安寺", 400),
        ("虹桥站", "静安寺", "虹桥站", 400),
        ("虹桥站", "静安寺", "人民广场", 200),
        ("虹桥站", ABSENT, ABSENT, 200),
        ("虹桥站", ABSENT, "虹桥站", 400),
        ("虹桥站", ABSENT, "人民广场", 200),
        (ABSENT, ABSENT, "人民广场", 200),
    ],
)
async def test_the_place_of_arrival_is_sent_only_where_it_says_something_new(
    merchant: Merchant, clock: Clock, start: object, expected: object, sent: object, status: int
) -> None:
    opened_with = {"service_start_location": start, "service_end_location": expected}
    response = await completed(merchant, clock, opened_with, real_service_end_location=sent)
    assert response.status_code == status
    if status == 400:
        assert field_of(response) == "/real_service_end_location"


# A service that was not used


UNUSED: Json = {
    "finish_type": 1,
    "cancel_reason": "乘客未上车",
    "total_amount": 0,
    "fees": ABSENT,
    "real_service_end_time": ABSENT,
}


async def test_an_unused_service_is_finished_without_a_charge(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    assert (await completed(merchant, clock, **UNUSED)).status_code == 200
    clock.advance(60)
    await simulator.run_once()
    entity = (await merchant.query("payafter", "trip-1")).json()
    assert (entity["state"], entity["finish_type"], entity["total_amount"]) == ("FINISHED", 1, 0)
    assert simulator.ledger().totals.charged_fen == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cancel_reason": ABSENT}, "/cancel_reason"),
        ({"total_amount": 1, "fees": [{"fee_name": "空驶费", "fee_amount": 1}]}, "/total_amount"),
        ({"real_service_end_location": "静安寺"}, "/real_service_end_location"),
        ({"finish_ticket": "made-up"}, "/finish_ticket"),
    ],
)
async def test_an_unused_service_is_refused(merchant: Merchant, clock: Clock, changes: Json, field: str) -> None:
    assert field_of(await completed(merchant, clock, **(UNUSED | changes))) == field


# What a query shows


async def test_a_query_shows_the_order_as_it_went(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    opened_with = {"service_start_location": "虹桥站", "attach": "a%20b", "fees": [{"fee_name": "预估"}]}
    await completed(merchant, clock, opened_with)
    owing = (await merchant.query("payafter", "trip-1")).json()
    simulator.pay("trip-1")
    paid = (await merchant.query("payafter", "trip-1")).json()
    (charge,) = simulator.ledger().orders["trip-1"].charges
    assert owing == merchant.ours() | {
        "mchid": merchant.keys.mchid,
        "out_order_no": "trip-1",
        "state": "FINISHED",
        "finish_type": 2,
        "service_start_time": "20260301100000",
        "real_service_start_time": "20260301100000",
        "real_service_end_time": "20260301101000",
        "service_start_location": "虹桥站",
        "service_introduction": "网约车出行",
        "fees": [{"fee_name": "车费", "fee_amount": 3200, "fee_count": 1}],
        "risk_amount": 20_000,
        "total_amount": 3200,
        "attach": "a%20b",
    }
    assert paid == owing | {
        "state": "USER_PAID",
        "pay_succ_time": "20260301101000",
        "finish_transaction_id": charge.transaction_id,
    }


async def test_an_order_paid_elsewhere_names_the_channel(
    merchant: Merchant, simulator: Simulator, clock: Clock
) -> None:
    await completed(merchant, clock)
    simulator.sync("trip-1")
    entity = (await merchant.query("payafter", "trip-1")).json()
    assert entity["pay_type"] == "MchChannelPayType"
    assert "finish_transaction_id" not in entity


@pytest.mark.parametrize(("seconds", "accepted"), [(-60, False), (0, False), (1, True), (59, True), (60, False)])
async def test_what_was_paid_elsewhere_was_paid_after_the_completion_and_before_the_sync(
    merchant: Merchant, clock: Clock, seconds: int, *, accepted: bool
) -> None:
    clock.now = clock.now.replace(microsecond=0)
    await completed(merchant, clock)
    paid_at = clock.now + timedelta(seconds=seconds)
    clock.advance(60)
    response = await merchant.sync("payafter", "trip-1", paid_at)
    assert (response.status_code == 200) is accepted
    assert accepted or field_of(response) == "/detail/paid_time"


async def test_a_notify_url_is_ignored(merchant: Merchant, simulator: Simulator, clock: Clock) -> None:
    await completed(merchant, clock, {"notify_url": "http://elsewhere/"})
    simulator.pay("trip-1")
    assert simulator.notifications()[0].url == NOTIFY_URL


# Cancel


async def test_a_reason_for_cancelling_is_given_in_thirty_characters(merchant: Merchant) -> None:
    await created(merchant)
    path = f"{BASES['payafter']}/trip-1/cancel"
    assert field_of(await merchant.post(path, merchant.ours())) == "/reason"
    assert field_of(await merchant.cancel("payafter", "trip-1", "因" * 31)) == "/reason"
    assert (await merchant.cancel("payafter", "trip-1", "因" * 30)).status_code == 200
