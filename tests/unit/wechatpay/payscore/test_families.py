"""What both families do alike, and the bodies that they lay out differently."""

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payscore_worker.domain.trip import OrderTerms
from payscore_worker.errors import (
    FailureClass,
    MalformedMessage,
    MerchantRefused,
    NotOurs,
    Refusal,
    Rejected,
    WechatPayRejected,
)
from payscore_worker.events import ClientJump
from payscore_worker.wechatpay import Answer, Call, CallKind
from payscore_worker.wechatpay.payscore import (
    Completion,
    DiscountItem,
    FeeItem,
    Modification,
    NewOrder,
    PayScore,
    PermissionState,
    Phase,
)
from payscore_worker.wechatpay.payscore import family as family_module
from payscore_worker.wechatpay.payscore.families import (
    CAPPED,
    FAMILIES,
    LOWERING,
    MAX_TERMS,
    TICKETED,
    MerchantPayScores,
)
from payscore_worker.wechatpay.signatures import jump_sign
from tests.unit.wechatpay.wechat import Clock, Wechat, a_client, a_merchant, a_success, an_error

END = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
IDS = {"appid": "wxd678efh567hg6787", "service_id": "500001"}
ENTITY = IDS | {"mchid": "1230000109", "out_order_no": "trip-1"}
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"

Speaker = Callable[[str], PayScore]
families = pytest.mark.parametrize("family", ["payafter", "serviceorder"])


@pytest.fixture
def speak(clock: Clock, wechat: Wechat) -> Speaker:
    """Speak one of the families to the WeChat Pay of the test."""
    return lambda family: MerchantPayScores(family, a_client(wechat, clock=clock)).current


def an_order(**changes: Any) -> NewOrder:
    members: dict[str, Any] = {
        "out_order_no": "trip-1",
        "openid": OPENID,
        "introduction": "网约车出行",
        "risk_amount_fen": 20000,
        "start_location": "虹桥火车站",
        "end_location": "浦东机场T2",
        "attach": "城市=上海",
    }
    return NewOrder(**members | changes)


def a_completion(**changes: Any) -> Completion:
    members: dict[str, Any] = {
        "out_order_no": "trip-1",
        "fees": (
            FeeItem(name="里程费", amount_fen=4200, description="21 公里"),
            FeeItem(name="过路费", amount_fen=800, count=2),
        ),
        "discounts": (DiscountItem(name="新客立减", amount_fen=1000),),
        "total_fen": 4000,
        "end_time": END,
        "start_location": "虹桥火车站",
        "planned_end_location": "浦东机场T2",
        "end_location": "浦东机场T1",
        "finish_ticket": "AAQVf5Z6",
    }
    return Completion(**members | changes)


def body_of(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(call.body)
    return body


# --- create ---


def test_payafter_creates_an_order_without_confirmation(speak: Speaker) -> None:
    call = speak("payafter").create(an_order())

    assert (call.kind, call.method, call.path) == (CallKind.CREATE, "POST", "/v3/payscore/payafter-orders")
    assert body_of(call) == IDS | {
        "out_order_no": "trip-1",
        "service_start_time": "OnAccept",
        "service_start_location": "虹桥火车站",
        "service_end_location": "浦东机场T2",
        "service_introduction": "网约车出行",
        "risk_amount": 20000,
        "attach": "%E5%9F%8E%E5%B8%82%3D%E4%B8%8A%E6%B5%B7",
        "need_user_confirm": False,
        "openid": OPENID,
    }


def test_serviceorder_creates_an_order_without_confirmation(speak: Speaker) -> None:
    call = speak("serviceorder").create(an_order())

    assert (call.kind, call.method, call.path) == (CallKind.CREATE, "POST", "/v3/payscore/serviceorder")
    assert body_of(call) == IDS | {
        "out_order_no": "trip-1",
        "service_introduction": "网约车出行",
        "time_range": {"start_time": "OnAccept"},
        "location": {"start_location": "虹桥火车站", "end_location": "浦东机场T2"},
        "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": 20000},
        "attach": "%E5%9F%8E%E5%B8%82%3D%E4%B8%8A%E6%B5%B7",
        "notify_url": "https://pay.example.com/notify/payscore",
        "openid": OPENID,
        "need_user_confirm": False,
    }


@families
def test_an_order_that_the_passenger_confirms_differs_in_nothing_else_and_names_nobody(
    speak: Speaker, family: str
) -> None:
    """Reference payscore-api B.0: `openid` beside `need_user_confirm` is refused."""
    without = body_of(speak(family).create(an_order()))
    confirmed = body_of(speak(family).create(an_order(need_user_confirm=True, openid="")))

    assert without.pop("openid") == OPENID
    assert confirmed == without | {"need_user_confirm": True}


@families
def test_a_start_may_be_given_to_the_second(speak: Speaker, family: str) -> None:
    body = body_of(speak(family).create(an_order(start_time=END)))

    assert "20261121163000" in (body.get("service_start_time"), body.get("time_range", {}).get("start_time"))


@families
def test_what_is_empty_is_left_out(speak: Speaker, family: str) -> None:
    body = body_of(speak(family).create(an_order(start_location="", end_location="🛬", attach="")))

    assert not {"service_start_location", "service_end_location", "location", "attach"} & set(body)


def test_serviceorder_names_no_end_without_a_start(speak: Speaker) -> None:
    assert "location" not in body_of(speak("serviceorder").create(an_order(start_location="")))


@families
def test_texts_are_brought_within_their_limits(speak: Speaker, family: str) -> None:
    order = an_order(introduction="🚕" + "出" * 30, attach="车" * 100, start_location="点" * 30, end_location="终" * 30)
    body = body_of(speak(family).create(order))

    assert body["service_introduction"] == "出" * 20
    assert len(body["attach"]) <= (200 if family == "payafter" else 256)
    location = {
        "start_location": body.get("service_start_location"),
        "end_location": body.get("service_end_location"),
    }
    assert body.get("location", location) == {"start_location": "点" * 20, "end_location": "终" * 20}


def test_the_place_where_a_trip_ended_is_brought_within_its_limit(speak: Speaker) -> None:
    ended = a_completion(start_location="🚕点", end_location="终" * 30)

    assert body_of(speak("serviceorder").complete(ended))["location"] == {"end_location": "终" * 20}
    assert body_of(speak("payafter").complete(ended))["real_service_end_location"] == "终" * 20


def test_a_place_that_cannot_be_sent_is_none(speak: Speaker) -> None:
    assert "location" not in body_of(speak("serviceorder").complete(a_completion(start_location="🚕")))


@families
def test_an_introduction_of_emoji_alone_is_replaced(speak: Speaker, family: str) -> None:
    assert body_of(speak(family).create(an_order(introduction="🚕")))["service_introduction"] == "出行服务"


@families
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("out_order_no", ""),
        ("out_order_no", "a|b"),
        ("out_order_no", "x" * 33),
        ("out_order_no", "号"),
        ("openid", ""),
        ("openid", "a b"),
        ("openid", "x" * 129),
        ("risk_amount_fen", 0),
        ("risk_amount_fen", -1),
    ],
)
def test_an_order_that_cannot_be_sent_is_named(speak: Speaker, family: str, member: str, value: object) -> None:
    with pytest.raises(MalformedMessage, match=member):
        speak(family).create(an_order(**{member: value}))


# --- complete ---


def test_payafter_completes_with_the_ticket(speak: Speaker) -> None:
    call = speak("payafter").complete(a_completion())

    assert (call.kind, call.path) == (CallKind.COMPLETE, "/v3/payscore/payafter-orders/trip-1/complete")
    assert body_of(call) == IDS | {
        "finish_type": 2,
        "real_service_end_time": "20261121163000",
        "real_service_end_location": "浦东机场T1",
        "fees": [
            {"fee_name": "里程费", "fee_amount": 4200, "fee_desc": "21 公里"},
            {"fee_name": "过路费", "fee_amount": 800, "fee_count": 2},
        ],
        "discounts": [{"discount_name": "新客立减", "discount_amount": 1000}],
        "total_amount": 4000,
        "finish_ticket": "AAQVf5Z6",
    }


def test_serviceorder_completes_without_a_ticket(speak: Speaker) -> None:
    call = speak("serviceorder").complete(a_completion(finish_ticket=None))

    assert (call.kind, call.path) == (CallKind.COMPLETE, "/v3/payscore/serviceorder/trip-1/complete")
    assert body_of(call) == IDS | {
        "post_payments": [
            {"name": "里程费", "amount": 4200, "description": "21 公里"},
            {"name": "过路费", "amount": 800, "count": 2},
        ],
        "post_discounts": [{"name": "新客立减", "description": "新客立减", "amount": 1000}],
        "total_amount": 4000,
        "time_range": {"end_time": "20261121163000"},
        "location": {"end_location": "浦东机场T1"},
    }


@pytest.mark.parametrize(
    ("start", "planned", "real", "sent"),
    [
        ("A", "", "A", None),
        ("A", "B", "A", None),
        ("A", "B", "B", None),
        ("A", "B", "C", "C"),
        ("A", "", "C", "C"),
        ("", "", "C", "C"),
        ("A", "B", "", None),
        ("A" * 25, "", "A" * 20, None),
        ("A", "B" * 30, "B" * 25, None),
        ("A", "B🚕", "B", None),
    ],
)
def test_payafter_names_the_real_end_only_where_it_is_news(
    speak: Speaker, start: str, planned: str, real: str, sent: str | None
) -> None:
    completion = a_completion(start_location=start, planned_end_location=planned, end_location=real)

    assert body_of(speak("payafter").complete(completion)).get("real_service_end_location") == sent


def test_serviceorder_names_no_end_where_create_named_no_start(speak: Speaker) -> None:
    assert "location" not in body_of(speak("serviceorder").complete(a_completion(start_location="🚕")))


@families
def test_a_free_trip_completes_with_zero(speak: Speaker, family: str) -> None:
    body = body_of(speak(family).complete(a_completion(fees=(), discounts=(), total_fen=0)))

    assert body["total_amount"] == 0
    assert body.get("post_payments") == ([{"name": "行程费用", "amount": 0}] if family == "serviceorder" else None)
    assert not {"fees", "discounts", "post_discounts"} & set(body)


def test_payafter_says_of_a_discount_what_is_said_of_it(speak: Speaker) -> None:
    told = a_completion(discounts=(DiscountItem(name="新客立减", amount_fen=1000, description="首单"),))

    assert body_of(speak("payafter").complete(told))["discounts"] == [
        {"discount_name": "新客立减", "discount_amount": 1000, "discount_desc": "首单"}
    ]


def test_payafter_cannot_complete_without_a_ticket(speak: Speaker) -> None:
    with pytest.raises(ValueError, match=r"^a finish_ticket is needed to complete$"):
        speak("payafter").complete(a_completion(finish_ticket=None))


@families
@pytest.mark.parametrize(
    "changes",
    [
        {"total_fen": 4001},
        {"discounts": ()},
        {"fees": (FeeItem(name="a", amount_fen=-1),), "discounts": (), "total_fen": -1},
        {
            "fees": (FeeItem(name="a", amount_fen=1),),
            "discounts": (DiscountItem(name="b", amount_fen=2),),
            "total_fen": -1,
        },
    ],
)
def test_a_total_that_is_not_the_sum_is_refused(speak: Speaker, family: str, changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage, match="total_fen"):
        speak(family).complete(a_completion(**changes))


@families
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    fees=st.lists(st.integers(0, 10**7), max_size=130),
    discounts=st.lists(st.integers(0, 10**4), max_size=40),
    text=st.text(st.characters(exclude_categories=[]), max_size=40),
)
def test_whatever_is_completed_adds_up_on_the_wire(
    speak: Speaker, family: str, fees: list[int], discounts: list[int], text: str
) -> None:
    total_fen = sum(fees) - sum(discounts)
    if total_fen < 0:
        return
    completion = a_completion(
        fees=tuple(FeeItem(name=text, amount_fen=fee, description=text) for fee in fees),
        discounts=tuple(DiscountItem(name=text, amount_fen=discount) for discount in discounts),
        total_fen=total_fen,
        end_location=text,
    )
    call = speak(family).complete(completion)
    body = body_of(call)
    charged = [fee.get("amount", fee.get("fee_amount")) for fee in body.get("post_payments", body.get("fees", []))]
    taken_off = [
        item.get("amount", item.get("discount_amount"))
        for item in body.get("post_discounts", body.get("discounts", []))
    ]

    assert sum(charged) - sum(taken_off) == body["total_amount"] == total_fen
    assert len(charged) <= 100
    assert len(taken_off) <= (5 if family == "payafter" else 30)
    assert None not in leaves_of(body)
    assert max(call.body.decode()) <= "\uffff"


def leaves_of(value: object) -> list[object]:
    """List what stands in a document; a passenger may well write the word null."""
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves_of(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves_of(one)]
    return [value]


@families
def test_the_same_facts_make_the_same_bytes(speak: Speaker, family: str) -> None:
    payscore = speak(family)

    assert payscore.complete(a_completion()).body == payscore.complete(a_completion()).body
    assert payscore.create(an_order()).body == payscore.create(an_order()).body
    assert b": " not in payscore.create(an_order()).body


# --- modify ---


def a_modification(**changes: Any) -> Modification:
    fees = (FeeItem(name="里程费", amount_fen=4_200, description="21 公里", count=2),)
    discounts = (DiscountItem(name="新客立减", amount_fen=1_000),)
    lowered = Modification(
        out_order_no="trip-1", fees=fees, discounts=discounts, total_fen=3_200, reason="司机绕路" * 10
    )
    return replace(lowered, **changes)


def test_serviceorder_lowers_a_fare_by_items_that_replace_the_former_ones(speak: Speaker) -> None:
    call = speak("serviceorder").modify(a_modification())

    assert (call.kind, call.method) == (CallKind.MODIFY, "POST")
    assert call.path == "/v3/payscore/serviceorder/trip-1/modify"
    assert body_of(call) == IDS | {
        "post_payments": [{"name": "里程费", "amount": 4200, "description": "21 公里", "count": 2}],
        "post_discounts": [{"name": "新客立减", "description": "新客立减", "amount": 1000}],
        "total_amount": 3200,
        "reason": ("司机绕路" * 10)[:30],
    }


def test_a_fare_is_lowered_to_nothing_by_an_item_of_nothing(speak: Speaker) -> None:
    body = body_of(speak("serviceorder").modify(a_modification(fees=(), discounts=(), total_fen=0, reason="😡")))

    assert body == IDS | {
        "post_payments": [{"name": "行程费用", "amount": 0}],
        "total_amount": 0,
        "reason": "车费下调",
    }


@pytest.mark.parametrize(("member", "value"), [("total_fen", 3_201), ("out_order_no", "../x")])
def test_a_modification_that_cannot_be_sent_is_named(speak: Speaker, member: str, value: object) -> None:
    with pytest.raises(MalformedMessage, match=member):
        speak("serviceorder").modify(a_modification(**{member: value}))


def test_payafter_lowers_no_fare(speak: Speaker) -> None:
    with pytest.raises(ValueError, match=r"^order trip-1: this family has no call that lowers a fare$"):
        speak("payafter").modify(a_modification())


# --- cancel ---


@families
def test_a_cancel_names_ids_and_reason(speak: Speaker, family: str) -> None:
    call = speak(family).cancel(out_order_no="trip-1", reason="司机取消" * 10)

    path = {"payafter": "payafter-orders", "serviceorder": "serviceorder"}[family]
    assert (call.kind, call.path) == (CallKind.CANCEL, f"/v3/payscore/{path}/trip-1/cancel")
    assert body_of(call) == IDS | {"reason": ("司机取消" * 10)[:30]}


@families
def test_a_cancel_always_has_a_reason(speak: Speaker, family: str) -> None:
    assert body_of(speak(family).cancel(out_order_no="trip-1", reason="😡"))["reason"] == "行程取消"


@families
@pytest.mark.parametrize("out_order_no", ["", "../x", "a/b", "a?b", "x" * 33])
async def test_a_number_that_would_bend_the_path_is_refused(speak: Speaker, family: str, out_order_no: str) -> None:
    with pytest.raises(MalformedMessage, match="out_order_no"):
        speak(family).cancel(out_order_no=out_order_no, reason="x")
    with pytest.raises(MalformedMessage, match="out_order_no"):
        speak(family).complete(a_completion(out_order_no=out_order_no))
    with pytest.raises(MalformedMessage, match="out_order_no"):
        await speak(family).query(out_order_no)


# --- Asking ---


@families
async def test_a_query_names_ids_and_number(speak: Speaker, wechat: Wechat, family: str) -> None:
    wechat.replies = [a_success(ENTITY | {"state": "DONE", "total_amount": 0})]

    order, answer = await speak(family).query("trip-1")

    path = {"payafter": "payafter-orders", "serviceorder": "serviceorder"}[family]
    expected = f"/v3/payscore/{path}?service_id=500001&appid=wxd678efh567hg6787&out_order_no=trip-1"
    assert wechat.requests[0].url.raw_path.decode() == expected
    assert (order.phase, answer.request_id) == (Phase.DONE, "08F1-1")


@families
async def test_an_unknown_order_is_refused_as_not_found(speak: Speaker, wechat: Wechat, family: str) -> None:
    wechat.replies = [an_error(404, "ORDER_NOT_ EXIST", "订单不存在")]

    with pytest.raises(WechatPayRejected) as refused:
        await speak(family).query("trip-1")

    assert refused.value.refusal is Refusal.ORDER_NOT_FOUND


@families
async def test_an_ill_typed_answer_names_the_member(speak: Speaker, wechat: Wechat, family: str) -> None:
    wechat.replies = [a_success(ENTITY | {"state": "USER_PAID", "total_amount": "4000.00"})]

    with pytest.raises(MalformedMessage, match="total_amount"):
        await speak(family).query("trip-1")


SERVICE_ANSWERS = {
    "payafter": [{"use_service_state": state} for state in ("AVAILABLE", "UNAVAILABLE")],
    "serviceorder": [{"authorization_state": state} for state in ("AVAILABLE", "UNAVAILABLE", "UNBINDUSER")],
}
SERVICE_PATHS = {
    "payafter": f"/v3/payscore/user-service-state?appid=wxd678efh567hg6787&service_id=500001&openid={OPENID}",
    "serviceorder": f"/v3/payscore/permissions/openid/{OPENID}?service_id=500001&appid=wxd678efh567hg6787",
}


@families
async def test_the_service_state_is_asked_for_by_passenger(speak: Speaker, wechat: Wechat, family: str) -> None:
    answers = SERVICE_ANSWERS[family]
    wechat.replies = [a_success(answer) for answer in answers]
    payscore = speak(family)

    assert [(await payscore.service_enabled(OPENID))[0] for _ in answers] == [True, False, False][: len(answers)]
    assert wechat.requests[0].url.raw_path.decode() == SERVICE_PATHS[family]


@families
@pytest.mark.parametrize("member", ["openid", "service_id"])
async def test_a_service_state_of_another_passenger_or_service_is_not_believed(
    speak: Speaker, wechat: Wechat, family: str, member: str
) -> None:
    wechat.replies = [a_success(SERVICE_ANSWERS[family][0] | {member: "another"})]

    with pytest.raises(MalformedMessage, match=rf"^{member}: "):
        await speak(family).service_enabled(OPENID)


async def test_an_authorisation_is_asked_for_with_the_address_that_is_told_of_it(speak: Speaker) -> None:
    call = speak("serviceorder").pre_authorise("code-1")

    assert (call.kind, call.method, call.path) == (CallKind.PRE_AUTHORISE, "POST", "/v3/payscore/permissions")
    assert msgspec.json.decode(call.body) == {
        "service_id": "500001",
        "appid": "wxd678efh567hg6787",
        "authorization_code": "code-1",
        "notify_url": NOTIFY_URL,
    }


async def test_an_authorisation_is_asked_about_by_our_number_and_tells_when_it_was_signed_and_ended(
    speak: Speaker, wechat: Wechat
) -> None:
    answer = {
        "authorization_state": "UNAVAILABLE",
        "authorization_code": "code-1",
        "openid": OPENID,
        "appid": "another of ours: that of the last one who signed",
        "authorization_success_time": "2026-05-01T12:00:00+08:00",
        "cancel_authorization_time": "2026-05-02T12:00:00+08:00",
    }
    wechat.replies = [a_success(answer), a_success(answer | {"authorization_code": "code-2"})]
    payscore = speak("serviceorder")

    permission, _ = await payscore.permission("code-1")

    path = "/v3/payscore/permissions/authorization-code/code-1?service_id=500001"
    assert wechat.requests[0].url.raw_path.decode() == path
    assert (permission.state, permission.openid) == (PermissionState.UNAVAILABLE, OPENID)
    assert permission.authorised_at == datetime(2026, 5, 1, 4, tzinfo=UTC)
    assert permission.ended_at == datetime(2026, 5, 2, 4, tzinfo=UTC)
    assert OPENID not in repr(permission)
    with pytest.raises(MalformedMessage, match=r"^authorization_code: "):
        await payscore.permission("code-1")


async def test_one_family_knows_no_authorisation_by_a_number(speak: Speaker) -> None:
    with pytest.raises(ValueError, match="payafter"):
        speak("payafter").pre_authorise("code-1")
    with pytest.raises(ValueError, match="payafter"):
        await speak("payafter").permission("code-1")


@pytest.mark.parametrize("code", ["", "a" * 33, "a|b", "a/b", "号"])
async def test_a_number_that_cannot_stand_in_a_path_is_refused(speak: Speaker, code: str) -> None:
    with pytest.raises(MalformedMessage, match=r"^authorization_code: "):
        speak("serviceorder").pre_authorise(code)
    with pytest.raises(MalformedMessage, match=r"^authorization_code: "):
        await speak("serviceorder").permission(code)


@families
def test_a_service_is_closed_by_passenger_and_logs_do_not_name_him(speak: Speaker, family: str) -> None:
    call = speak(family).terminate(openid=OPENID, reason="注销账户" * 20)

    at_service = f"/v3/payscore/users/{OPENID}/permissions/500001/terminate"
    path = {"payafter": at_service, "serviceorder": f"/v3/payscore/permissions/openid/{OPENID}/terminate"}[family]
    ids = {"payafter": {"appid": IDS["appid"]}, "serviceorder": IDS}[family]
    assert (call.kind, call.method, call.path) == (CallKind.TERMINATE_PERMISSION, "POST", path)
    assert msgspec.json.decode(call.body) == ids | {"reason": ("注销账户" * 20)[:30]}
    assert call.route == path.replace(OPENID, "{openid}")
    with pytest.raises(MalformedMessage, match=r"^openid: "):
        speak(family).terminate(openid="a/b", reason="")


@families
@pytest.mark.parametrize("token", [None, "", 1])
def test_an_answer_without_a_token_is_refused(speak: Speaker, family: str, token: object) -> None:
    with pytest.raises(MalformedMessage, match=r"^apply_permissions_token: "):
        speak(family).read_token({"apply_permissions_token": token})


@families
async def test_a_call_is_sent_as_it_was_kept(speak: Speaker, wechat: Wechat, family: str) -> None:
    payscore = speak(family)
    made = payscore.complete(a_completion())
    kept = Call(CallKind(made.kind.value), made.method, made.path, bytes(made.body))

    await payscore.send(kept)

    assert wechat.requests[0].content == made.body


# --- Reading ---


def test_a_created_legacy_order_is_accepted_and_not_yet_known_to_run_where_its_answer_says_no_state(
    speak: Speaker,
) -> None:
    assert speak("payafter").read_created(ENTITY | {"order_id": "42"}).phase is Phase.ACCEPTED
    assert speak("payafter").read_created(ENTITY | {"state": "CREATED"}).phase is Phase.CREATED
    assert speak("payafter").read_created(ENTITY | {"state": "USER_ACCEPTED"}).phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("state", "description", "phase"),
    [("DOING", "USER_CONFIRM", Phase.RUNNING), ("CREATED", None, Phase.CREATED), (None, None, Phase.UNKNOWN)],
)
def test_a_created_current_order_is_what_its_answer_says(
    speak: Speaker, state: str | None, description: str | None, phase: Phase
) -> None:
    answered = ENTITY | {"state": state, "state_description": description}

    assert speak("serviceorder").read_created(answered).phase is phase


@families
@pytest.mark.parametrize("other", [{}, {"mchid": "1"}, {"appid": "1"}, {"service_id": "1"}, {"mchid": None}])
def test_an_order_is_ours_if_all_three_ids_are(speak: Speaker, family: str, other: dict[str, Any]) -> None:
    payscore = speak(family)

    assert payscore.is_ours(payscore.read_order(ENTITY | other)) is (not other)


@families
def test_a_service_change_of_ours_is_read_and_any_other_refused(speak: Speaker, family: str) -> None:
    change = ENTITY | {"openid": OPENID, "user_service_status": "USER_CLOSE_SERVICE"}

    assert speak(family).read_service_change(change).enabled is False
    for other in ({"appid": "2"}, {"service_id": "2"}, {"service_id": None}):
        with pytest.raises(NotOurs):
            speak(family).read_service_change(change | other)
    with pytest.raises(Rejected, match="another mchid") as refused:
        speak(family).read_service_change(change | {"mchid": "2", "service_id": "2"})
    assert not isinstance(refused.value, NotOurs)


# --- What differs, and the jump ---


def test_only_the_legacy_family_needs_a_ticket_and_caps_the_total(speak: Speaker) -> None:
    assert [speak(family).needs_finish_ticket for family in ("payafter", "serviceorder")] == [True, False]
    assert TICKETED == CAPPED == {"payafter"}
    assert {"serviceorder"} == LOWERING
    assert [speak(family).family for family in ("payafter", "serviceorder")] == ["payafter", "serviceorder"]


def test_there_are_two_families(speak: Speaker) -> None:
    assert list(FAMILIES) == ["payafter", "serviceorder"]
    with pytest.raises(ValueError, match="payafter, serviceorder"):
        speak("smartretail")


def jump_of(payscore: PayScore, *given: str) -> ClientJump:
    jump = payscore.enable_jump(*given)
    assert jump is not None
    return jump


def test_without_an_apiv2_key_the_jump_names_the_service(speak: Speaker) -> None:
    jump = jump_of(speak("payafter"), "trip-1")

    assert jump.business_type == "wxpayScoreEnable"
    assert jump.extra_data == {"mch_id": "1230000109", "service_id": "500001"}
    assert jump.query_string == "mch_id=1230000109&service_id=500001"


def test_with_an_apiv2_key_the_jump_is_signed(clock: Clock, wechat: Wechat) -> None:
    client = a_client(wechat, clock=clock, merchant=a_merchant(apiv2_key="k" * 32))

    jump = jump_of(MerchantPayScores("payafter", client).current, "trip-1")

    said = jump.extra_data
    assert said["sign"] == jump_sign(said, "k" * 32)
    assert said["timestamp"] == str(int(clock().timestamp()))
    assert len(said["nonce_str"]) == 32
    assert set(said) == {"mch_id", "service_id", "out_request_no", "timestamp", "nonce_str", "sign_type", "sign"}
    assert dict(parse_qsl(jump.query_string)) == said
    assert said["sign"] not in repr(jump)


def test_the_jump_of_the_published_key_is_signed_as_the_vectors_are(
    wechat: Wechat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Derived with the key of vectors V5, by hand, for the members of wxpayScoreEnable."""
    key = "192006250b4c09247ec02edce69f6a2d"
    clock = Clock(datetime.fromtimestamp(1530097563, UTC))
    monkeypatch.setattr(family_module, "make_nonce", lambda: "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2")
    merchant = a_merchant(apiv2_key=key, service_id="2002000000000558128851361561536")

    said = jump_of(
        MerchantPayScores("payafter", a_client(wechat, clock=clock, merchant=merchant)).current, "code-1"
    ).extra_data

    text = (
        "mch_id=1230000109&nonce_str=zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2&out_request_no=code-1"
        "&service_id=2002000000000558128851361561536&sign_type=HMAC-SHA256&timestamp=1530097563"
        f"&key={key}"
    )
    assert said["sign"] == hmac.new(key.encode(), text.encode(), "sha256").hexdigest().upper()


def signing(wechat: Wechat, clock: Clock, family: str, key: str | None) -> PayScore:
    merchant = a_merchant(apiv2_key=key, service_id="2002000000000558128851361561536")
    return MerchantPayScores(family, a_client(wechat, clock=clock, merchant=merchant)).current


@families
def test_v5_the_jumps_to_confirm_an_order_and_to_show_one_are_signed_as_the_vectors_are(
    wechat: Wechat, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(family_module, "make_nonce", lambda: "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2")
    clock = Clock(datetime.fromtimestamp(1530097563, UTC))
    payscore = signing(wechat, clock, family, "192006250b4c09247ec02edce69f6a2d")

    confirm, detail = payscore.confirm_jump("XXXXXXXX"), payscore.detail_jump("1234323JKHDFE1243252")

    signed = {
        "mch_id": "1230000109",
        "timestamp": "1530097563",
        "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
        "sign_type": "HMAC-SHA256",
    }
    assert (confirm.business_type, detail.business_type) == ("wxpayScoreUse", "wxpayScoreDetail")
    assert confirm.extra_data == signed | {
        "package": "XXXXXXXX",
        "sign": "1B322799DA4A00E25DE0448667F76807D222A2A36312907CF579D4CF3A3836E6",
    }
    assert detail.extra_data == signed | {
        "service_id": "2002000000000558128851361561536",
        "out_order_no": "1234323JKHDFE1243252",
        "sign": "BF8669DF97BBBECA4F55084DA8183383E42C6B4F7B5764C84CE8453224023A43",
    }


@families
def test_a_package_is_not_cut_and_is_escaped_in_the_query_alone(wechat: Wechat, clock: Clock, family: str) -> None:
    """Reference payscore-api C.3: some pages say 128 characters, and it has more."""
    package = "a+b/c=&" * 40

    jump = signing(wechat, clock, family, "k" * 32).confirm_jump(package)

    assert jump.extra_data["package"] == package
    assert dict(parse_qsl(jump.query_string)) == jump.extra_data
    assert package not in repr(jump)


@families
@pytest.mark.parametrize("name", ["confirm_jump", "detail_jump"])
def test_without_an_apiv2_key_a_page_that_takes_a_signature_is_held_back_with_the_settings_name(
    wechat: Wechat, clock: Clock, family: str, name: str
) -> None:
    with pytest.raises(MerchantRefused, match="PAYSCORE_APIV2_KEY is not set") as refused:
        getattr(signing(wechat, clock, family, None), name)("SECRET")

    assert (refused.value.failure, refused.value.attempts) == (FailureClass.MISCONFIGURED, 0)
    assert "SECRET" not in str(refused.value)


def test_a_token_opens_the_page_without_a_signature_and_nothing_takes_its_place(speak: Speaker) -> None:
    jump = jump_of(speak("serviceorder"), "trip-1", "a+token=")

    assert (jump.business_type, jump.extra_data) == ("wxpayScoreEnable", {"apply_permissions_token": "a+token="})
    assert jump.query_string == "apply_permissions_token=a%2Btoken%3D"
    assert "a+token" not in repr(jump)
    assert speak("serviceorder").enable_jump("trip-1") is None


# --- Orders live under the terms that they were opened under ---

OTHER = {"payafter": "serviceorder", "serviceorder": "payafter"}
NOTIFY_URL = "https://pay.example.com/notify/payscore"


def terms(family: str = "payafter", **changes: Any) -> OrderTerms:
    ours = OrderTerms(
        family=family, mchid=ENTITY["mchid"], appid=IDS["appid"], service_id=IDS["service_id"], notify_url=NOTIFY_URL
    )
    return replace(ours, **changes)


@pytest.fixture
def registry(clock: Clock, wechat: Wechat) -> Callable[[str], MerchantPayScores]:
    return lambda family: MerchantPayScores(family, a_client(wechat, clock=clock))


Registry = Callable[[str], MerchantPayScores]


@families
def test_new_orders_are_opened_under_the_terms_of_the_settings(registry: Registry, family: str) -> None:
    assert registry(family).current.terms == terms(family)


@families
def test_an_order_without_terms_and_one_under_the_present_ones_are_spoken_of_alike(
    registry: Registry, family: str
) -> None:
    payscores = registry(family)

    assert payscores.of(None) is payscores.of(terms(family)) is payscores.current


@families
async def test_an_order_of_the_other_family_is_spoken_of_in_its_own(
    registry: Registry, wechat: Wechat, family: str
) -> None:
    wechat.replies = [a_success(ENTITY | {"state": "REVOKED"})]
    payscores = registry(family)

    await payscores.of(terms(OTHER[family])).query("trip-1")

    orders_path = {"payafter": "/v3/payscore/payafter-orders", "serviceorder": "/v3/payscore/serviceorder"}
    assert wechat.requests[0].url.path == orders_path[OTHER[family]]
    assert payscores.current.family == family


@families
def test_an_order_keeps_its_appid_its_service_and_where_its_notifications_go(registry: Registry, family: str) -> None:
    kept = terms(family, appid="wx0", service_id="400000", notify_url="https://old.example.com/notify")
    speaking = registry(family).of(kept)
    created = body_of(speaking.create(an_order()))

    assert speaking.terms == kept
    for call in (
        speaking.create(an_order()),
        speaking.complete(a_completion()),
        speaking.cancel(out_order_no="t", reason="x"),
    ):
        assert body_of(call) | {"appid": "wx0", "service_id": "400000"} == body_of(call)
    assert created.get("notify_url", kept.notify_url) == kept.notify_url


@families
async def test_questions_about_an_order_name_its_own_ids(registry: Registry, wechat: Wechat, family: str) -> None:
    wechat.replies = [a_success(ENTITY | {"state": "REVOKED"})]

    await registry(family).of(terms(family, appid="wx0", service_id="400000")).query("trip-1")

    assert wechat.requests[0].url.query.decode() == "service_id=400000&appid=wx0&out_order_no=trip-1"


@families
@pytest.mark.parametrize("member", ["appid", "service_id"])
def test_an_order_under_other_terms_is_ours_by_those(registry: Registry, family: str, member: str) -> None:
    payscores = registry(family)
    kept = terms(family, **{member: "another"})
    order = payscores.current.read_order(ENTITY | {member: "another", "state": "REVOKED"})

    assert payscores.of(kept).is_ours(order)
    assert not payscores.current.is_ours(order)


@pytest.mark.parametrize("changes", [{"mchid": "1900000109"}, {"family": "smartretail"}])
def test_an_order_of_another_merchant_waits_for_its_keys(registry: Registry, changes: dict[str, Any]) -> None:
    with pytest.raises(MerchantRefused, match="its keys are not set") as refused:
        registry("payafter").of(replace(terms(), **changes))

    assert (refused.value.failure, refused.value.attempts) == (FailureClass.MISCONFIGURED, 0)
    assert not refused.value.unsure


def test_only_so_many_sets_of_terms_are_kept_at_hand(registry: Registry) -> None:
    payscores = registry("payafter")

    for number in range(2 * MAX_TERMS):
        assert payscores.of(terms(service_id=str(number))).terms.service_id == str(number)

    assert len(payscores._others) == MAX_TERMS


# --- The terms of an order whose row does not keep them: read from the create that was sent ---


@families
def test_terms_are_read_from_the_create_that_was_sent(registry: Registry, family: str) -> None:
    kept = terms(family, appid="wx0", service_id="400000")
    sent = registry(family).of(kept).create(an_order())

    assert registry(OTHER[family]).terms_in(sent) == kept


@families
def test_whether_the_passenger_confirms_is_read_from_the_create_too(registry: Registry, family: str) -> None:
    kept = terms(family, need_user_confirm=True)
    sent = registry(family).of(kept).create(an_order(need_user_confirm=True))

    assert registry(OTHER[family]).terms_in(sent) == kept


def test_terms_of_a_create_that_names_no_notify_url_take_the_settings(registry: Registry) -> None:
    sent = registry("payafter").current.create(an_order())
    assert "notify_url" not in body_of(sent)

    assert registry("serviceorder").terms_in(sent) == terms("payafter")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v3/payscore/smartretail-orders", b'{"appid":"wx0","service_id":"400000"}'),
        ("/v3/payscore/payafter-orders", b'{"appid":"wx0"}'),
        ("/v3/payscore/payafter-orders", b'{"appid":1,"service_id":"400000"}'),
        ("/v3/payscore/payafter-orders", b"{"),
        ("/v3/payscore/payafter-orders", b"[]"),
        ("/v3/payscore/payafter-orders", b""),
    ],
)
def test_a_create_that_cannot_be_read_tells_no_terms(registry: Registry, path: str, body: bytes) -> None:
    assert registry("payafter").terms_in(Call(CallKind.CREATE, "POST", path, body)) is None


# --- Signed answers about something else ---


@families
@pytest.mark.parametrize("member", ["mchid", "appid", "service_id", "out_order_no"])
def test_an_answer_about_another_order_is_named_by_the_member_that_differs(
    speak: Speaker, family: str, member: str
) -> None:
    assert speak(family).contradiction(ENTITY | {member: "another"}, "trip-1") == member


@families
@pytest.mark.parametrize("left_out", [{}, {"mchid": None}, {"appid": ""}])
def test_what_an_answer_leaves_out_contradicts_nothing(speak: Speaker, family: str, left_out: dict[str, Any]) -> None:
    assert speak(family).contradiction(ENTITY | left_out, "trip-1") == ""
    assert speak(family).contradiction({}, "trip-1") == ""


@families
def test_an_answer_is_compared_with_the_terms_of_its_order(registry: Registry, family: str) -> None:
    speaking = registry(family).of(terms(family, service_id="400000"))

    assert speaking.contradiction(ENTITY | {"service_id": "400000"}, "trip-1") == ""
    assert speaking.contradiction(ENTITY, "trip-1") == "service_id"


# --- What is refused says what, and what is at the limit is taken ---


@families
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"risk_amount_fen": 0}, "risk_amount_fen: must be above 0"),
        ({"out_order_no": "a|b"}, "out_order_no: 1 to 32 letters, digits, _ or - are expected"),
        ({"openid": "a b"}, "openid: 1 to 128 letters, digits, _ or - are expected"),
    ],
)
def test_an_order_that_cannot_be_sent_is_told_with_what_is_expected(
    speak: Speaker, family: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MalformedMessage, match=f"^{message}$"):
        speak(family).create(an_order(**changes))


@families
@pytest.mark.parametrize(
    "changes", [{"risk_amount_fen": 1}, {"out_order_no": "x" * 32}, {"openid": "x" * 128}, {"openid": "x"}]
)
def test_an_order_at_the_limits_is_sent(speak: Speaker, family: str, changes: dict[str, Any]) -> None:
    assert speak(family).create(an_order(**changes)).kind is CallKind.CREATE


@families
@pytest.mark.parametrize(
    ("fees_fen", "discounts_fen", "total_fen", "message"),
    [
        ([-1, 2], [], 1, "an amount is negative"),
        ([1], [-1], 2, "an amount is negative"),
        ([1], [2], -1, "an amount is negative"),
        ([1], [], 2, "is not the sum of fees less discounts"),
        ([3], [1], 4, "is not the sum of fees less discounts"),
    ],
)
def test_a_fare_that_does_not_add_up_is_told_with_what_is_wrong(
    speak: Speaker, family: str, fees_fen: list[int], discounts_fen: list[int], total_fen: int, message: str
) -> None:
    completion = a_completion(
        fees=tuple(FeeItem(name="a", amount_fen=fen) for fen in fees_fen),
        discounts=tuple(DiscountItem(name="b", amount_fen=fen) for fen in discounts_fen),
        total_fen=total_fen,
    )

    with pytest.raises(MalformedMessage, match=f"^total_fen: {message}$"):
        speak(family).complete(completion)


@families
async def test_a_passenger_whose_openid_would_bend_the_path_is_not_asked_about(
    speak: Speaker, wechat: Wechat, family: str
) -> None:
    with pytest.raises(MalformedMessage, match=r"^openid: "):
        await speak(family).service_enabled("a&b")

    assert wechat.requests == []


@families
def test_a_notification_that_is_not_for_us_says_whose_it_is(speak: Speaker, family: str) -> None:
    change = ENTITY | {"openid": OPENID, "user_service_status": "USER_CLOSE_SERVICE"}

    with pytest.raises(Rejected, match=r"^the notification names another mchid$"):
        speak(family).read_service_change(change | {"mchid": "2"})
    with pytest.raises(NotOurs, match=r"^the notification names another appid or service_id of our merchant$"):
        speak(family).read_service_change(change | {"appid": "2"})


@families
def test_calls_are_posted(speak: Speaker, family: str) -> None:
    payscore = speak(family)

    calls = [payscore.create(an_order()), payscore.complete(a_completion())]
    calls.append(payscore.cancel(out_order_no="trip-1", reason="x"))

    assert [(call.kind, call.method) for call in calls] == [
        (CallKind.CREATE, "POST"),
        (CallKind.COMPLETE, "POST"),
        (CallKind.CANCEL, "POST"),
    ]


@families
async def test_questions_are_counted_and_logged_by_their_kind(
    speak: Speaker, wechat: Wechat, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payscore, sent = speak(family), []
    send = payscore.send

    async def sending(call: Call) -> Answer:
        sent.append((call.kind, call.method, call.body))
        return await send(call)

    monkeypatch.setattr(payscore, "send", sending)
    service = SERVICE_ANSWERS[family][0]
    wechat.replies = [a_success(ENTITY | {"state": "REVOKED"}), a_success(service)]
    await payscore.query("trip-1")
    _, answer = await payscore.service_enabled(OPENID)

    assert sent == [(CallKind.QUERY, "GET", b""), (payscore.service_question, "GET", b"")]
    assert answer.data == service


def test_the_jump_is_for_the_number_it_was_asked_for_and_no_two_are_alike(clock: Clock, wechat: Wechat) -> None:
    client = a_client(wechat, clock=clock, merchant=a_merchant(apiv2_key="k" * 32))
    payscore = MerchantPayScores("payafter", client).current

    one, other = jump_of(payscore, "trip-1").extra_data, jump_of(payscore, "trip-1").extra_data

    assert one["nonce_str"] != other["nonce_str"]
    assert (one["out_request_no"], one["sign_type"]) == ("trip-1", "HMAC-SHA256")
    assert (one["mch_id"], one["service_id"]) == ("1230000109", "500001")


def test_a_family_that_there_is_not_is_told_with_those_there_are(registry: Registry) -> None:
    with pytest.raises(ValueError, match=r"^no PayScore family smartretail; there are payafter, serviceorder$"):
        registry("smartretail")


def test_an_order_of_another_merchant_says_whose_keys_are_missing(registry: Registry) -> None:
    message = "the order was opened under mchid 1900000109 in the family payafter; its keys are not set"

    with pytest.raises(MerchantRefused, match=f"^{message}$"):
        registry("payafter").of(terms(mchid="1900000109"))


def test_terms_that_are_at_hand_are_not_made_twice(registry: Registry) -> None:
    payscores = registry("payafter")

    assert payscores.of(terms(service_id="2")) is payscores.of(terms(service_id="2"))
    assert payscores.of(terms(service_id="2")) is not payscores.of(terms(service_id="3"))
