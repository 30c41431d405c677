"""An answer becomes what follows from it, to the last member: status, code, text, request id, attempts, doubt."""

from typing import Any

import httpx
import pytest

from payscore_worker.errors import (
    FailureClass,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay import Answer
from payscore_worker.wechatpay.answers import SHOWN_CHARS, error_in, not_processed, read_answer, request_id_of, unknown
from payscore_worker.wechatpay.hosts import Tally


def a_response(status: int = 400, *, request_id: str = "08F1-1", **body: Any) -> httpx.Response:
    return httpx.Response(status, json=body, headers={"Request-ID": request_id})


def after(response: httpx.Response | None, *, sends: int = 2, unsure: bool = False) -> Tally:
    return Tally(sends=sends, unsure=unsure, response=response)


def told(error: WechatPayError) -> tuple[object, ...]:
    return (
        type(error),
        error.message,
        error.status,
        error.code,
        error.request_id,
        error.attempts,
        error.unsure,
        error.failure,
    )


def test_a_success_is_read_with_all_that_it_says_of_itself() -> None:
    response = httpx.Response(
        200, json={"state": "DONE"}, headers={"Request-ID": "08F1-1", "Date": "Fri, 01 May 2026 12:00:00 GMT"}
    )

    assert read_answer(response, after(response)) == Answer(
        status=200, request_id="08F1-1", attempts=2, data={"state": "DONE"}, date="Fri, 01 May 2026 12:00:00 GMT"
    )


def test_a_success_may_say_nothing() -> None:
    response = httpx.Response(204)

    assert read_answer(response, after(response)) == Answer(status=204, request_id="", attempts=2, data={}, date="")


def test_a_success_that_is_no_json_object_is_not_believed() -> None:
    response = httpx.Response(200, content=b"[]", headers={"Request-ID": "08F1-1"})

    with pytest.raises(OutcomeUnknown) as caught:
        read_answer(response, after(response))

    message = "the answer is not a JSON object"
    assert told(caught.value) == (OutcomeUnknown, message, 200, "", "08F1-1", 2, True, FailureClass.UNVERIFIED)


def test_what_was_accepted_for_later_is_no_success_yet() -> None:
    response = a_response(202)

    with pytest.raises(OutcomeUnknown) as caught:
        read_answer(response, after(response))

    assert told(caught.value) == (OutcomeUnknown, "HTTP 202", 202, "", "08F1-1", 2, True, FailureClass.TROUBLE)


@pytest.mark.parametrize("unsure", [True, False])
def test_a_refusal_carries_what_wechat_said_and_whether_an_earlier_attempt_is_unknown(*, unsure: bool) -> None:
    response = a_response(code="PARAM_ ERROR", message="参数错误", detail={"field": "/fees", "value": "secret"})

    error = error_in(response, after(response, unsure=unsure))

    assert isinstance(error, WechatPayRejected)
    assert error.refusal is Refusal.INVALID_PARAMETER
    message = "参数错误 [/fees]"
    told_as = (WechatPayRejected, message, 400, "PARAM_ERROR", "08F1-1", 2, unsure, FailureClass.UNREACHABLE)
    assert told(error) == told_as


@pytest.mark.parametrize("request_id", ["08F1-271300099", "08F1-271299627"])
def test_the_sub_code_at_the_end_of_the_request_id_decides_about_a_refusal(request_id: str) -> None:
    response = a_response(code="PARAM_ERROR", message="参数错误", request_id=request_id)

    error = error_in(response, after(response))

    assert isinstance(error, WechatPayRejected)
    assert error.refusal is (Refusal.RISK_REFUSED if request_id.endswith("99") else Refusal.ARREARS)


@pytest.mark.parametrize("unsure", [True, False])
def test_a_refusal_of_the_merchant_names_the_member_and_its_class(*, unsure: bool) -> None:
    response = a_response(401, code="SIGN_ERROR", message="签名错误", detail={"field": "signature"})

    error = error_in(response, after(response, unsure=unsure))

    message = "签名错误 [signature]"
    told_as = (MerchantRefused, message, 401, "SIGN_ERROR", "08F1-1", 2, unsure, FailureClass.MISCONFIGURED)
    assert told(error) == told_as


@pytest.mark.parametrize(("unsure", "kind"), [(False, WechatPayUnavailable), (True, OutcomeUnknown)])
def test_a_throttled_call_was_not_processed_unless_an_earlier_attempt_may_have_been(
    kind: type[WechatPayError], *, unsure: bool
) -> None:
    response = a_response(429, code="FREQUENCY_LIMITED", message="频率超限")

    error = error_in(response, after(response, unsure=unsure))

    told_as = (kind, "频率超限", 429, "FREQUENCY_LIMITED", "08F1-1", 2, unsure, FailureClass.THROTTLED)
    assert told(error) == told_as


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (429, "", FailureClass.THROTTLED),  # somebody throttles, and it may be a proxy that does
        (404, "", FailureClass.FOREIGN),
        (407, "ProxyAuthenticationRequired", FailureClass.FOREIGN),
        (500, "SYSTEM_ERROR", FailureClass.TROUBLE),
        (400, "SYSTEM_ERROR", FailureClass.TROUBLE),
        (502, "", FailureClass.TROUBLE),
    ],
)
def test_an_answer_that_settles_nothing_says_how_wechat_is_out_and_leaves_the_call_unknown(
    status: int, code: str, failure: FailureClass
) -> None:
    response = a_response(status, code=code, message="坏了")
    tally = after(response)

    error = error_in(response, tally)

    assert told(error) == (OutcomeUnknown, "坏了", status, code, "08F1-1", 2, True, failure)
    assert tally.unsure  # and so do the attempts that follow


def test_without_an_answer_there_is_no_status_and_no_request_id() -> None:
    assert told(unknown("no answer", after(None))) == (
        OutcomeUnknown,
        "no answer",
        None,
        "",
        "",
        2,
        True,
        FailureClass.UNREACHABLE,
    )
    assert told(not_processed("no connection", after(None, sends=0))) == (
        WechatPayUnavailable,
        "no connection",
        None,
        "",
        "",
        0,
        False,
        FailureClass.UNREACHABLE,
    )


@pytest.mark.parametrize("detail", [None, "field", [], {}, {"field": None}, {"field": ""}, {"value": "secret"}])
def test_a_refusal_that_points_at_no_member_names_none(detail: object) -> None:
    response = a_response(code="PARAM_ERROR", message="参数错误", detail=detail)

    assert error_in(response, after(response)).message == "参数错误"


@pytest.mark.parametrize("message", [None, 5, "", " \n"])
def test_a_refusal_without_a_text_is_told_by_its_status(message: object) -> None:
    response = a_response(code="PARAM_ERROR", message=message)

    assert error_in(response, after(response)).message == "HTTP 400"


def test_what_is_shown_of_a_text_is_bounded_on_one_line_and_without_what_moves_a_terminal() -> None:
    shown = error_in(a_response(code="X", message="\x1b[2J\x7f一\r\n二 "), after(None)).message
    long = error_in(a_response(code="X", message="长" * (SHOWN_CHARS + 1)), after(None)).message

    assert shown == "[2J 一  二"
    assert long == "长" * SHOWN_CHARS


def test_a_request_id_is_shown_like_any_text_of_theirs() -> None:
    assert request_id_of(httpx.Response(200, headers={"Request-ID": " 08F1-1\x7f"})) == "08F1-1"
    assert request_id_of(httpx.Response(200)) == ""


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff", b'{"a":' * 60_000])
def test_a_body_that_is_no_json_object_says_nothing(body: bytes) -> None:
    response = httpx.Response(500, content=body)

    assert told(error_in(response, after(response)))[1:4] == ("HTTP 500", 500, "")
