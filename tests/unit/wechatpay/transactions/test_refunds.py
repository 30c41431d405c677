"""What is sent to have money sent back, and what is read of what WeChat Pay says to it."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from payscore_worker.errors import (
    FailureClass,
    MalformedMessage,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay import Breaker, CallKind
from payscore_worker.wechatpay.transactions import (
    AccountRefunds,
    GuardedRefunds,
    MerchantRefunds,
    NewRefund,
    RefundStatus,
    RefundTold,
)
from payscore_worker.wechatpay.transactions.refunds import read_refund
from tests.unit.wechatpay.wechat import Clock, Reply, Wechat, a_client, a_merchant, a_success, an_error

TRANSACTION_ID = "4200000000202106241234567890"
NUMBERS = {
    "refund_id": "50000000382019052709732678859",
    "out_refund_no": "refund_1-a",
    "transaction_id": TRANSACTION_ID,
}
OLDER_AMOUNTS = {"total": 3200, "refund": 1000, "payer_total": 3000, "payer_refund": 937}
NEWER_AMOUNTS = OLDER_AMOUNTS | {
    "settlement_refund": 1000,
    "settlement_total": 3200,
    "discount_refund": 63,
    "currency": "CNY",
    "from": [{"account": "AVAILABLE", "amount": 1000}],
    "refund_fee": 0,
}
ANSWER = NUMBERS | {
    "out_trade_no": "wx202106241234567890",
    "channel": "ORIGINAL",
    "user_received_account": "支付用户零钱",
    "success_time": "2021-06-24T16:37:20+08:00",
    "create_time": "2021-06-24T16:36:00+08:00",
    "status": "SUCCESS",
    "funds_account": "AVAILABLE",
    "amount": NEWER_AMOUNTS,
    "promotion_detail": [{"promotion_id": "109519", "scope": "GLOBAL", "type": "CASH", "amount": 200}],
}
NOTICE = NUMBERS | {
    "mchid": "1230000109",
    "out_trade_no": "wx202106241234567890",
    "refund_status": "SUCCESS",
    "success_time": "2021-06-24T16:37:20+08:00",
    "user_received_account": "支付用户零钱",
    "amount": OLDER_AMOUNTS,
}
TOLD = RefundTold(
    mchid="",
    out_refund_no="refund_1-a",
    refund_id="50000000382019052709732678859",
    transaction_id=TRANSACTION_ID,
    status=RefundStatus.SUCCESS,
    amount_fen=1000,
    total_fen=3200,
    payer_refund_fen=937,
    succeeded_at=datetime(2021, 6, 24, 8, 37, 20, tzinfo=UTC),
)


OTHER_MCHID = "1230000200"


@pytest.fixture
def other(clock: Clock, wechat: Wechat) -> MerchantRefunds:
    """The refunds of another merchant of ours."""
    return MerchantRefunds(a_client(wechat, clock=clock, merchant=replace(a_merchant(), mchid=OTHER_MCHID)))


@pytest.fixture
def refunds(clock: Clock, wechat: Wechat) -> MerchantRefunds:
    return MerchantRefunds(a_client(wechat, clock=clock))


def a_refund(**changes: Any) -> NewRefund:
    members: dict[str, Any] = {
        "out_refund_no": "refund_1-a",
        "transaction_id": TRANSACTION_ID,
        "amount_fen": 1000,
        "total_fen": 3200,
        "reason": "司机绕路",
    }
    return NewRefund(**members | changes)


# --- What is sent ---


def test_a_refund_names_the_transaction_the_amounts_and_where_to_tell_of_it(refunds: MerchantRefunds) -> None:
    call = refunds.request(a_refund())

    assert (call.kind, call.method, call.path) == (CallKind.REFUND, "POST", "/v3/refund/domestic/refunds")
    assert call.body == (
        b'{"transaction_id":"4200000000202106241234567890","out_refund_no":"refund_1-a",'
        b'"reason":"\xe5\x8f\xb8\xe6\x9c\xba\xe7\xbb\x95\xe8\xb7\xaf",'
        b'"notify_url":"https://pay.example.com/notify/payscore",'
        b'"amount":{"refund":1000,"total":3200,"currency":"CNY"}}'
    )


def test_the_same_facts_make_the_same_bytes(refunds: MerchantRefunds) -> None:
    assert refunds.request(a_refund()) == refunds.request(a_refund())


def test_the_merchant_is_the_one_of_the_client(refunds: MerchantRefunds) -> None:
    assert refunds.mchid == "1230000109"


def test_everything_may_be_refunded_and_numbers_may_be_as_long_as_their_limits(refunds: MerchantRefunds) -> None:
    whole = a_refund(out_refund_no="r" * 64, transaction_id="4" * 32, amount_fen=3200)
    body = msgspec.json.decode(refunds.request(whole).body)

    assert (body["out_refund_no"], body["transaction_id"]) == ("r" * 64, "4" * 32)
    assert body["amount"] == {"refund": 3200, "total": 3200, "currency": "CNY"}


def test_a_single_fen_may_be_refunded(refunds: MerchantRefunds) -> None:
    body = msgspec.json.decode(refunds.request(a_refund(amount_fen=1)).body)

    assert body["amount"]["refund"] == 1


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("退" * 30, "退" * 26),  # 78 bytes; the next character would end at 81
        ("a" + "退" * 30, "a" + "退" * 26),
        ("ab" + "退" * 30, "ab" + "退" * 26),
        ("r" * 81, "r" * 80),
        ("绕路😡\n退款", "绕路 退款"),
    ],
)
def test_a_reason_is_shortened_to_its_bytes_between_two_characters(
    refunds: MerchantRefunds, reason: str, sent: str
) -> None:
    assert msgspec.json.decode(refunds.request(a_refund(reason=reason)).body)["reason"] == sent


@pytest.mark.parametrize("reason", ["", " ", "😡"])
def test_a_reason_of_nothing_is_left_out(refunds: MerchantRefunds, reason: str) -> None:
    body = msgspec.json.decode(refunds.request(a_refund(reason=reason)).body)

    assert set(body) == {"transaction_id", "out_refund_no", "notify_url", "amount"}


@pytest.mark.parametrize(
    ("member", "value", "complaint"),
    [
        *(
            ("out_refund_no", value, r"^out_refund_no: 1 to 64 letters, digits, _ or - are expected$")
            for value in ("", "x" * 65, "a|b", "a*b", "a@b", "a/../b", "号", "refund-1\n")
        ),
        *(
            ("transaction_id", value, r"^transaction_id: 1 to 32 printable characters are expected$")
            for value in ("", "4" * 33, "42 00", "42\n", "四", "\ud800")
        ),
        ("amount_fen", 0, r"^amount_fen: must be above 0$"),
        ("amount_fen", -1, r"^amount_fen: must be above 0$"),
        ("amount_fen", 3201, r"^amount_fen: is more than total_fen$"),
        ("total_fen", 999, r"^amount_fen: is more than total_fen$"),
    ],
)
def test_a_refund_that_cannot_be_sent_is_named(
    refunds: MerchantRefunds, member: str, value: object, complaint: str
) -> None:
    with pytest.raises(MalformedMessage, match=complaint):
        refunds.request(a_refund(**{member: value}))


async def test_a_refund_goes_out_as_it_was_built(refunds: MerchantRefunds, wechat: Wechat) -> None:
    wechat.replies = [a_success(ANSWER)]
    call = refunds.request(a_refund())

    answer = await refunds.send(call)

    (request,) = wechat.requests
    assert (request.method, request.url.path, request.content) == ("POST", call.path, call.body)
    assert answer.data == ANSWER


async def test_a_query_names_the_refund_in_its_path_and_nothing_else(refunds: MerchantRefunds, wechat: Wechat) -> None:
    wechat.replies = [a_success(ANSWER)]

    told, answer = await refunds.query("refund_1-a")

    (request,) = wechat.requests
    assert (request.method, request.url.raw_path) == ("GET", b"/v3/refund/domestic/refunds/refund_1-a")
    assert request.content == b""
    assert told == TOLD
    assert answer.data == ANSWER


async def test_journal_and_metrics_tell_a_query_from_a_refund(refunds: MerchantRefunds, wechat: Wechat) -> None:
    wechat.replies = [a_success(ANSWER), a_success(ANSWER)]

    with capture_logs() as logs:
        await refunds.send(refunds.request(a_refund()))
        await refunds.query("refund_1-a")

    assert [line["kind"] for line in logs] == ["refund", "refund_query"]


@pytest.mark.parametrize("out_refund_no", ["", "a/b", "a?b", "x" * 65])
async def test_a_number_that_no_refund_of_ours_has_is_not_asked_for(
    refunds: MerchantRefunds, wechat: Wechat, out_refund_no: str
) -> None:
    with pytest.raises(MalformedMessage, match=r"^out_refund_no: "):
        await refunds.query(out_refund_no)

    assert not wechat.requests


# --- What WeChat Pay says no with ---


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (an_error(404, "RESOURCE_NOT_EXISTS", "退款单不存在"), Refusal.RESOURCE_NOT_FOUND),
        (an_error(403, "NOT_ENOUGH", "商户可用退款余额不足"), Refusal.NOT_ENOUGH),
        (an_error(403, "USER_ACCOUNT_ABNORMAL", "用户账户异常或已注销"), Refusal.ACCOUNT_ABNORMAL),
        (an_error(400, "PARAM_ERROR", "参数错误"), Refusal.INVALID_PARAMETER),
        (an_error(400, "INVALID_REQUEST", "退款金额大于可退金额"), Refusal.UNCLEAR),
        (an_error(403, "NO_AUTH", "商户无权限"), Refusal.NOT_PERMITTED),
    ],
)
async def test_a_refusal_says_what_follows_from_it(
    refunds: MerchantRefunds, wechat: Wechat, reply: Reply, refusal: Refusal
) -> None:
    """The rows of reference payscore-api G.2."""
    wechat.replies = [reply]

    with pytest.raises(WechatPayRejected) as refused:
        await refunds.send(refunds.request(a_refund()))

    assert refused.value.refusal is refusal


@pytest.mark.parametrize(
    ("reply", "error", "failure"),
    [
        (an_error(500, "SYSTEM_ERROR"), OutcomeUnknown, FailureClass.TROUBLE),
        (an_error(429, "FREQUENCY_LIMITED", "该笔退款未受理"), WechatPayUnavailable, FailureClass.THROTTLED),
        (an_error(401, "SIGN_ERROR"), MerchantRefused, FailureClass.MISCONFIGURED),
        (an_error(404, "MCH_NOT_EXISTS"), MerchantRefused, FailureClass.MISCONFIGURED),
    ],
)
async def test_what_is_no_refusal_of_this_refund_is_told_as_that(
    refunds: MerchantRefunds, wechat: Wechat, reply: Reply, error: type[WechatPayError], failure: FailureClass
) -> None:
    """The other rows of reference payscore-api G.2."""
    wechat.replies = [reply] * 3

    with pytest.raises(error) as failed:
        await refunds.send(refunds.request(a_refund()))

    assert type(failed.value) is error
    assert failed.value.failure is failure
    assert {request.content for request in wechat.requests} == {refunds.request(a_refund()).body}


async def test_an_unknown_refund_is_refused_and_no_word_of_wechats(refunds: MerchantRefunds, wechat: Wechat) -> None:
    wechat.replies = [an_error(404, "RESOURCE_NOT_EXISTS", "退款单不存在")]

    with pytest.raises(WechatPayRejected) as refused:
        await refunds.query("refund-1")

    assert refused.value.refusal is Refusal.RESOURCE_NOT_FOUND


# --- What is read ---


def test_an_answer_is_read_whole(refunds: MerchantRefunds) -> None:
    assert refunds.read(ANSWER) == TOLD


@pytest.mark.parametrize("amounts", [OLDER_AMOUNTS, NEWER_AMOUNTS], ids=["older", "newer"])
def test_a_notification_is_read_whole_whichever_amounts_it_lists(
    refunds: MerchantRefunds, amounts: dict[str, Any]
) -> None:
    assert refunds.read(NOTICE | {"amount": amounts}) == replace(TOLD, mchid="1230000109")


@pytest.mark.parametrize("member", ["status", "refund_status"])
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("PROCESSING", RefundStatus.PROCESSING),
        ("SUCCESS", RefundStatus.SUCCESS),
        ("ABNORMAL", RefundStatus.ABNORMAL),
        ("CLOSED", RefundStatus.CLOSED),
        ("SOMETHING_NEW", RefundStatus.UNKNOWN),
        ("success", RefundStatus.UNKNOWN),
        ("", RefundStatus.UNKNOWN),
        (None, RefundStatus.UNKNOWN),
    ],
)
def test_a_refund_stands_where_it_is_said_to_and_else_nobody_knows(
    member: str, said: str | None, status: RefundStatus
) -> None:
    assert read_refund({"out_refund_no": "refund-1", member: said}).status is status


def test_a_status_said_twice_alike_is_one_and_said_differently_is_none() -> None:
    twice = {"out_refund_no": "refund-1", "status": "CLOSED"}

    assert read_refund(twice | {"refund_status": "CLOSED"}).status is RefundStatus.CLOSED
    with pytest.raises(MalformedMessage, match=r"^status: differs from refund_status$"):
        read_refund(twice | {"refund_status": "SUCCESS"})


def test_amounts_may_be_written_as_digits() -> None:
    told = read_refund(NUMBERS | {"amount": {"total": "3200", "refund": "1000", "payer_refund": "0"}})

    assert (told.total_fen, told.amount_fen, told.payer_refund_fen) == (3200, 1000, 0)


def test_what_is_not_said_is_empty() -> None:
    assert read_refund({"out_refund_no": "refund-1"}) == RefundTold(
        mchid="",
        out_refund_no="refund-1",
        refund_id="",
        transaction_id="",
        status=RefundStatus.UNKNOWN,
        amount_fen=None,
        total_fen=None,
        payer_refund_fen=None,
        succeeded_at=None,
    )


def test_a_time_that_cannot_be_read_hides_nothing_else() -> None:
    told = read_refund(ANSWER | {"success_time": "yesterday"})

    assert (told.status, told.succeeded_at) == (RefundStatus.SUCCESS, None)


@pytest.mark.parametrize("missing", [{}, {"out_refund_no": ""}, {"out_refund_no": None}])
def test_a_refund_without_our_number_is_nobodys(missing: dict[str, Any]) -> None:
    numberless = {name: value for name, value in ANSWER.items() if name != "out_refund_no"}

    with pytest.raises(MalformedMessage, match=r"^out_refund_no: missing$"):
        read_refund(numberless | missing)


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"mchid": 1230000109}, "mchid"),
        ({"out_refund_no": 1}, "out_refund_no"),
        ({"refund_id": 50000000382019052709732678859}, "refund_id"),
        ({"transaction_id": ["42"]}, "transaction_id"),
        ({"status": True}, "status"),
        ({"refund_status": {}}, "refund_status"),
        ({"success_time": 1624523840}, "success_time"),
        ({"amount": 1000}, "amount"),
        ({"amount": [OLDER_AMOUNTS]}, "amount"),
        ({"amount": OLDER_AMOUNTS | {"refund": 1000.0}}, "refund"),
        ({"amount": OLDER_AMOUNTS | {"refund": -1000}}, "refund"),
        ({"amount": OLDER_AMOUNTS | {"total": "+3200"}}, "total"),
        ({"amount": OLDER_AMOUNTS | {"payer_refund": True}}, "payer_refund"),
    ],
)
def test_a_member_of_another_type_than_documented_is_named(changes: dict[str, Any], member: str) -> None:
    with pytest.raises(MalformedMessage, match=rf"^{member}: expected "):
        read_refund(ANSWER | changes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(["out_refund_no", "status", "refund_status", "success_time", "amount", "mchid"])


@given(data=st.dictionaries(members, json_values))
def test_no_entity_breaks_the_reader(data: dict[str, Any]) -> None:
    with suppress(MalformedMessage):
        assert isinstance(read_refund(data), RefundTold)


# --- Whose it is ---


def test_a_merchant_speaks_of_its_own_payments_and_of_no_others(refunds: MerchantRefunds) -> None:
    assert refunds.of(refunds.mchid) is refunds
    with pytest.raises(
        MerchantRefused, match=r"^the refund is of a payment to mchid 1230000200; its keys are not set"
    ) as refused:
        refunds.of(OTHER_MCHID)
    assert (refused.value.attempts, refused.value.failure) == (0, FailureClass.MISCONFIGURED)


def test_of_several_merchants_the_one_that_was_paid_speaks(refunds: MerchantRefunds, other: MerchantRefunds) -> None:
    several = AccountRefunds([refunds, other])

    assert several.of(refunds.mchid) is refunds
    assert several.of(OTHER_MCHID) is other
    with pytest.raises(MerchantRefused, match=r"^the refund is of a payment to mchid 1900000001; its keys are not set"):
        several.of("1900000001")


def test_a_breaker_does_not_hide_whose_refunds_they_are(refunds: MerchantRefunds) -> None:
    guarded = GuardedRefunds(refunds, Breaker())

    assert guarded.of(refunds.mchid) is guarded
    with pytest.raises(MerchantRefused):
        guarded.of(OTHER_MCHID)


async def test_where_nobody_says_whose_it_is_the_first_of_several_speaks(
    refunds: MerchantRefunds, other: MerchantRefunds, wechat: Wechat
) -> None:
    several = AccountRefunds([refunds, other])
    wechat.replies = [a_success(ANSWER), a_success(ANSWER)]

    assert several.mchid == refunds.mchid
    assert several.request(a_refund()) == refunds.request(a_refund())
    assert (await several.send(several.request(a_refund()))).data == ANSWER
    told, _ = await several.query("refund_1-a")
    assert told == several.read(ANSWER) == TOLD
    assert all(f'mchid="{refunds.mchid}"' in request.headers["Authorization"] for request in wechat.requests)
