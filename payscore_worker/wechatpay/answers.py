"""Turns what came back, or did not, into an answer or into the error that says what follows."""

import re
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from payscore_worker.errors import (
    FailureClass,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay.calls import Answer
from payscore_worker.wechatpay.hosts import Tally
from payscore_worker.wechatpay.refusals import classify, is_foreign

SHOWN_CHARS: Final = 200
"""Enough of WeChat Pay's text for a log line and a journal row; an error comes unsigned and may say anything."""


def read_answer(response: httpx.Response, tally: Tally) -> Answer:
    """Read a verified success. 202, accepted for later processing, is none yet (reference payscore-api F)."""
    if response.status_code not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
        raise error_in(response, tally)
    data = _json_object(response.content or b"{}")
    if data is None:
        raise unknown("the answer is not a JSON object", tally, failure=FailureClass.UNVERIFIED)
    return Answer(
        status=response.status_code,
        request_id=request_id_of(response),
        attempts=tally.sends,
        data=data,
        date=response.headers.get("Date", ""),
    )


def error_in(response: httpx.Response, tally: Tally) -> WechatPayError:
    """Say what follows from an answer that is no success (reference payscore-api F.1, F.2)."""
    problem = _json_object(response.content) or {}
    code = re.sub(r"\s", "", _shown(problem.get("code")))
    message = _shown(problem.get("message")) or f"HTTP {response.status_code}"
    status, request_id = response.status_code, request_id_of(response)
    verdict = classify(status=status, code=code, message=message, request_id=request_id)
    if isinstance(verdict, Refusal):
        return WechatPayRejected(
            message + _pointer(problem),
            refusal=verdict,
            status=status,
            code=code,
            request_id=request_id,
            attempts=tally.sends,
            unsure=tally.unsure,
        )
    if verdict is MerchantRefused:
        return _error(MerchantRefused, message + _pointer(problem), tally, code, FailureClass.MISCONFIGURED)
    if verdict is WechatPayUnavailable:
        return not_processed(message, tally, code=code, failure=FailureClass.THROTTLED)
    return unknown(message, tally, code, failure=_failure(status, code))


def _failure(status: int, code: str) -> FailureClass:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureClass.THROTTLED
    return FailureClass.FOREIGN if is_foreign(status=status, code=code) else FailureClass.TROUBLE


def unknown(
    message: str, tally: Tally, code: str = "", *, failure: FailureClass = FailureClass.UNREACHABLE
) -> WechatPayError:
    """Say that the last attempt may have been processed."""
    tally.unsure = True
    return not_processed(message, tally, code, failure=failure)


def not_processed(
    message: str, tally: Tally, code: str = "", *, failure: FailureClass = FailureClass.UNREACHABLE
) -> WechatPayError:
    """Say that the last attempt was not processed: good news only if no earlier one may have been."""
    return _error(OutcomeUnknown if tally.unsure else WechatPayUnavailable, message, tally, code, failure)


def _error(kind: type[WechatPayError], message: str, tally: Tally, code: str, failure: FailureClass) -> WechatPayError:
    return kind(
        message,
        status=None if tally.response is None else tally.response.status_code,
        code=code,
        request_id="" if tally.response is None else request_id_of(tally.response),
        attempts=tally.sends,
        unsure=tally.unsure,
        failure=failure,
    )


def request_id_of(response: httpx.Response) -> str:
    """Read what WeChat Pay's support will ask for; its end is the sub-code."""
    return _shown(response.headers.get("Request-ID"))


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None


def _pointer(problem: dict[str, Any]) -> str:
    """Name the member that WeChat Pay points at, never its value."""
    detail = problem.get("detail")
    field = _shown(detail.get("field")) if isinstance(detail, dict) else ""
    return f" [{field}]" if field else ""


def _shown(text: object) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)[:SHOWN_CHARS].strip() if isinstance(text, str) else ""
