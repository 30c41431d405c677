"""Sends calls to WeChat Pay: signed, verified, tried again for seconds, logged in one line each."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import perf_counter
from typing import Final, Generic, TypeVar

import aiohttp
import httpx
import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from payscore_worker import metrics, tracing, version
from payscore_worker.domain.account import DEFAULT
from payscore_worker.errors import (
    FailureClass,
    MerchantRefused,
    OutcomeUnknown,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay.answers import error_in, not_processed, read_answer, request_id_of, unknown
from payscore_worker.wechatpay.auth import SigningAuth, WechatPayAuth
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.hosts import TALLY, Hosts, Tally, cause_of, may_be_processed
from payscore_worker.wechatpay.keys import SERIAL_CHARS, VerificationKeys
from payscore_worker.wechatpay.merchant import Merchant
from payscore_worker.wechatpay.pace import Pace
from payscore_worker.wechatpay.reading import printable
from payscore_worker.wechatpay.refusals import code_label
from payscore_worker.wechatpay.signatures import SERIAL_HEADER, Signer
from payscore_worker.wechatpay.skew import Skew

TRIES: Final = 3
"""The first and two quick ones; what lasts longer is for the broker (reference payscore-api F.4)."""

PAUSE_SECONDS: Final = (0.1, 0.6)
"""Between tries; at random, so that calls which failed together do not come back together."""

TIMEOUT: Final = httpx.Timeout(10, connect=3).as_dict()
"""Seconds: 3 to connect, 10 for each read (reference payscore-api F.4), each write, and a place in the pool."""

TRY_SECONDS: Final = 30
"""For a try as a whole, on both hosts: the time-out of a read begins anew with every byte."""

SIGNING_THREADS: Final = 2
"""Measured with 50 calls in flight: the loop's lag falls to a third, for a twentieth more processor time."""

CERTIFICATES: Final = Call(CallKind.CERTIFICATES, "GET", "/v3/certificates")

TRANSPORT_ERRORS: Final = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError)
"""What transports raise; the aiohttp one lets some of aiohttp's own errors through."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Sending(Generic[T]):
    """A call on its way."""

    call: Call
    auth: httpx.Auth
    read: Callable[[httpx.Response, Tally], T]
    tally: Tally = field(default_factory=Tally)


class WechatPayClient:
    """The one way out to WeChat Pay."""

    def __init__(
        self,
        *,
        merchant: Merchant,
        keys: VerificationKeys,
        base_urls: Sequence[str],
        transport: httpx.AsyncBaseTransport,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        account: str = DEFAULT,
    ) -> None:
        # Reference payscore-api H-16: the merchant's own key is often put where WeChat Pay's belongs.
        if serial := keys.serial_of(merchant.private_key.public_key()):
            raise ValueError(f"{serial} is the merchant's own key; WeChat Pay signs with another")
        self.account: Final = account
        self.merchant: Final = merchant
        self.keys: Final = keys
        self.clock: Final = clock
        self._sleep = sleep
        self._pace = Pace(sleep=sleep)
        self._base_url = base_urls[0].removesuffix("/")
        signer = Signer(merchant.mchid, merchant.serial_no, merchant.private_key)
        self._signers = ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="wechatpay-sign")
        self.skew: Final = Skew()
        self._auth = WechatPayAuth(signer=signer, signers=self._signers, keys=keys, clock=clock, skew=self.skew)
        self._signing_only = SigningAuth(signer=signer, signers=self._signers, keys=keys, clock=clock, skew=self.skew)
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._http = httpx.AsyncClient(transport=Hosts(base_urls, transport, clock), cookies=no_cookies)
        self._headers = httpx.Headers(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"payscore-worker/{version()}",
            }
        )
        self._headers_with_body = httpx.Headers({**self._headers, "Content-Type": "application/json"})
        keys.download_from(self._certificates)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it logs whole URLs, and ours name passengers

    @property
    def gap_seconds(self) -> float:
        """The gap between two calls that WeChat Pay's throttling makes us keep; 0 while it does not."""
        return self._pace.gap_seconds

    async def send(self, call: Call) -> Answer:
        """Send a call: the same bytes at every try, signed anew.

        Raises:
            HeldBack: it was not tried.
            WechatPayUnavailable: no attempt was processed.
            OutcomeUnknown: an attempt may have been.
            MerchantRefused: it is us that are refused, and this call with us.
            WechatPayRejected: the last attempt was refused; `unsure` where an earlier one may have been processed.

        """
        self._pace.admit()
        return await self._send(_Sending(call, self._auth, read_answer))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.keys.aclose()
        await self._http.aclose()
        self._signers.shutdown(wait=False, cancel_futures=True)

    async def _certificates(self) -> tuple[Mapping[str, str], bytes]:
        return await self._send(_Sending(CERTIFICATES, self._signing_only, _read_unverified))

    async def _send(self, sending: _Sending[T]) -> T:
        """Send a call and log its one line."""
        started = perf_counter()
        with tracing.span(f"wechatpay {sending.call.kind.value}", tracing.Kind.CLIENT, {}) as span:
            try:
                answer = await self._try_quickly(sending)
            except WechatPayError as error:
                span.note(self._traced(sending, error))
                _log_call(sending, started, error, account=self.account)
                raise
            span.note(self._traced(sending))
            _log_call(sending, started, account=self.account)
            return answer

    def _traced(self, sending: _Sending[T], error: WechatPayError | None = None) -> dict[str, tracing.Value]:
        if not tracing.is_on():
            return {}
        response = sending.tally.response
        return {
            "http.request.method": sending.call.method,
            "server.address": httpx.URL(self._base_url).host,
            "http.response.status_code": None if response is None else response.status_code,
            "http.request.resend_count": sending.tally.sends - 1,
            "payscore.outcome": _outcome(error),
            "payscore.code": code_label("" if error is None else error.code),
            "payscore.request_id": None if response is None else request_id_of(response),
        }

    async def _try_quickly(self, sending: _Sending[T]) -> T:
        """Try, and bring in tenacity only when that failed: most calls succeed, and need not pay for it."""
        try:
            return await self._try(sending)
        except WechatPayError as error:
            return await self._try_again(sending, error)

    async def _try_again(self, sending: _Sending[T], failure: WechatPayError) -> T:
        tries = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_random(*PAUSE_SECONDS),
            retry=retry_if_exception(_may_pass),
            sleep=self._sleep,
            reraise=True,
        )
        async for attempt in tries:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise failure  # the try that has been made counts as the first
                return await self._try(sending)
        raise failure  # never reached: tenacity raises the last failure itself

    async def _try(self, sending: _Sending[T]) -> T:
        tally = sending.tally
        began = await self._pace.turn()
        try:
            async with asyncio.timeout(TRY_SECONDS):
                response = await self._http.send(self._request(sending), auth=sending.auth)
        except OutcomeUnknown as error:
            raise unknown(error.message, tally, failure=FailureClass.UNVERIFIED) from None
        except TRANSPORT_ERRORS as error:
            # Neither its text nor the error itself: aiohttp's name the whole URL, and ours may name a passenger.
            what = type(cause_of(error)).__name__
            if may_be_processed(error):
                raise unknown(f"no answer: {what}", tally) from None
            raise not_processed(f"not reached: {what}", tally) from None
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            self._pace.throttled(began)
        else:
            self._pace.passed()
        return sending.read(response, tally)

    def _request(self, sending: _Sending[T]) -> httpx.Request:
        """Build the request by hand: the client's way merges what we never vary, at a tenth of httpx's whole price."""
        call = sending.call
        return httpx.Request(
            call.method,
            self._base_url + call.path,
            headers=self._headers_with_body if call.body else self._headers,
            content=call.body,
            extensions={"timeout": TIMEOUT, TALLY: sending.tally},
        )


def _may_pass(error: BaseException) -> bool:
    """Tell whether a second try may fare better: nothing came back, nothing to believe, trouble there, or throttled.

    What is refused comes as another 4xx, and would be refused again.
    """
    if not isinstance(error, WechatPayError):
        return False
    status = error.status
    return status is None or status == HTTPStatus.TOO_MANY_REQUESTS or not httpx.codes.is_client_error(status)


def _read_unverified(response: httpx.Response, tally: Tally) -> tuple[Mapping[str, str], bytes]:
    """Take the list of certificates as it is; the keys verify it by what is in it (reference payscore-api E.5)."""
    if response.status_code != HTTPStatus.OK:
        raise error_in(response, tally)
    return response.headers, response.content


def _log_call(sending: _Sending[T], started: float, error: WechatPayError | None = None, *, account: str) -> None:
    """Write the one line of a call: no query, no body, no text of WeChat Pay's, for they may name the passenger."""
    seconds, kind, code = perf_counter() - started, sending.call.kind.value, "" if error is None else error.code
    metrics.of(metrics.CALLS, account, kind, _outcome(error), code_label(code)).observe(seconds)
    metrics.of(metrics.SENDS, account, kind).inc(sending.tally.sends)
    response = sending.tally.response
    # Bound, so that the line of the message that this call was made for names it too.
    request_id = "" if response is None else request_id_of(response)
    structlog.contextvars.bind_contextvars(wechatpay_request_id=request_id)
    _log.info(
        "wechatpay_call",
        account=account,
        kind=kind,
        method=sending.call.method,
        path=sending.call.route,
        status=None if response is None else response.status_code,
        code=code,
        attempts=sending.tally.sends,
        duration_ms=round(seconds * 1000, 1),
        serial="" if response is None else _serial_in(response.headers),
        wanted_serial="" if response is None else _serial_in(response.request.headers),
        outcome=_outcome(error),
    )


def _serial_in(headers: httpx.Headers) -> str:
    """Read which key is named; an answer that nobody has verified may name anything."""
    return printable(headers.get(SERIAL_HEADER, ""), SERIAL_CHARS)


def _outcome(error: WechatPayError | None) -> str:
    match error:
        case None:
            return "accepted"
        case WechatPayRejected():
            return error.refusal.value
        case WechatPayUnavailable():
            return "unavailable"
        case MerchantRefused():
            return "misconfigured"
        case _:
            return "unknown"
