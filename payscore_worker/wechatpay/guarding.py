"""Makes a call behind the circuit breaker, and lets the breaker know what came of it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from payscore_worker.errors import HeldBack, MalformedMessage, WechatPayError, WechatPayRejected
from payscore_worker.wechatpay.breaker import Breaker

T = TypeVar("T")


async def guarded(breaker: Breaker, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call, unless WeChat Pay is out.

    Raises:
        HeldBack: it is; the call was not made.

    """
    breaker.admit()
    try:
        answer = await call()
    except WechatPayRejected:
        breaker.succeeded()
        raise
    except HeldBack:  # tells nothing of WeChat Pay
        raise
    except MalformedMessage:  # signed, so WeChat Pay is there
        breaker.succeeded()
        raise
    except WechatPayError as error:
        breaker.failed(error)
        raise
    breaker.succeeded()
    return answer
