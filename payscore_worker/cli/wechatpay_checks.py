"""What must hold between us and WeChat Pay: keys, clock, a signed call, and the whole way there and back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import uuid4

import httpx

from payscore_worker.bootstrap.wechatpay import WechatPay
from payscore_worker.bootstrap.wiring import make_topology, now
from payscore_worker.cli.checks import Check, clock_check
from payscore_worker.errors import MerchantRefused, Refusal, SettlementError, WechatPayError, WechatPayRejected
from payscore_worker.messaging.link import BROKEN, connect, reason_of
from payscore_worker.messaging.overhearing import overhearing
from payscore_worker.messaging.topology import NOTIFICATIONS
from payscore_worker.settings import BrokerSettings
from payscore_worker.wechatpay import UnusableCertificates, read_date
from payscore_worker.wechatpay.echo import ECHOED, WrongEcho, is_echo_of, send_echo
from payscore_worker.wechatpay.payscore import PayScore
from payscore_worker.wechatpay.signatures import TIMESTAMP_HEADER

RSA_BITS: Final = 2048
"""What WeChat Pay issues certificates for."""

EXPIRY_WARNING: Final = timedelta(days=30)

NO_CERTIFICATES: Final = ("RESOURCE_NOT_EXISTS", "NOT_ENOUGH")
NO_CERTIFICATE_TEXTS: Final = ("无可用的平台证书", "证书不存在", "平台证书已过期")
"""How WeChat Pay says that it has no platform certificate for a merchant, or none any more (payscore-api E.5)."""

STAMP_DIGITS: Final = 10
"""A Unix time in seconds, until the year 2286; in milliseconds it has more."""

CALLBACK_SECONDS: Final = 30.0
"""Callbacks take seconds to tens of seconds (reference payscore-api D.5)."""

UNCALLED: Final = (
    "start the webhook, see that PAYSCORE_NOTIFY_URL leads to it from the internet, and what it logs as "
    "notification_refused; before it runs: --no-callback"
)

REACH: Final = "check PAYSCORE_API_BASE_URLS and the network"


class Passing(Protocol):
    """Events that come by."""

    async def until(self, is_it: Callable[[bytes], bool]) -> None:
        """Wait until the one comes by."""


class TimeListener(httpx.AsyncBaseTransport):
    """Listens for the time on answers to our signed calls, refusals too: an unsigned call is anybody's to answer."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport
        self.skew: timedelta | None = None
        """By how much our clock was ahead of WeChat Pay's at the last answer that told the time."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        told = _told_time(response.headers)
        if told is not None and "Authorization" in request.headers:
            self.skew = now() - told
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def _told_time(headers: httpx.Headers) -> datetime | None:
    """Read the second at which WeChat Pay signed, or else at which it answered."""
    stamp = headers.get(TIMESTAMP_HEADER, "")
    if stamp.isascii() and stamp.isdecimal() and len(stamp) <= STAMP_DIGITS:
        return datetime.fromtimestamp(int(stamp), UTC)
    return read_date(headers.get("Date", ""))


def private_key(wechatpay: WechatPay) -> Check:
    bits = wechatpay.client.merchant.private_key.key_size
    repair = "use the RSA-2048 key of the merchant certificate"
    return Check(name="keys", ok=bits == RSA_BITS, detail=f"private key of {bits} bits, APIv3 key of 32", repair=repair)


def clock(listener: TimeListener) -> Check:
    """Compare our clock with WeChat Pay's, to the second that it tells."""
    if listener.skew is None:
        detail = "no answer to a signed call tells WeChat Pay's time"
        return Check(name="clock", ok=False, detail=detail, repair=REACH)
    return clock_check("clock", listener.skew, "WeChat Pay's")


async def verification_keys(wechatpay: WechatPay) -> Check:
    name = "verification keys"
    try:
        await wechatpay.keys.refresh()
    except UnusableCertificates as error:
        return Check(name=name, ok=False, detail=f"platform certificates {error}", repair="correct PAYSCORE_APIV3_KEY")
    except SettlementError as error:
        return Check(name=name, ok=False, detail=str(error), repair=_repair_of_keys(error))
    expiry = min(wechatpay.keys.certificate_expiry.values(), default=None)
    if expiry is None:
        return Check(name=name, ok=True, detail=f"public key {wechatpay.keys.wanted_serial}")
    left = expiry - datetime.now(UTC)
    repair = "see whether WeChat Pay has issued the next platform certificate"
    return Check(name=name, ok=left > EXPIRY_WARNING, detail=f"certificate valid for {left.days} days", repair=repair)


def _repair_of_keys(error: SettlementError) -> str:
    """Say what helps where the certificates cannot be had (reference payscore-api E.5, E.6)."""
    if not isinstance(error, WechatPayError) or not error.code:
        return REACH
    if error.code in NO_CERTIFICATES or any(text in error.message for text in NO_CERTIFICATE_TEXTS):
        return (
            "this merchant has no platform certificates: download the WeChat Pay public key in the merchant platform, "
            "and set PAYSCORE_WECHATPAY_PUBLIC_KEY and PAYSCORE_WECHATPAY_PUBLIC_KEY_ID"
        )
    return "check PAYSCORE_MERCHANT_SERIAL_NO and PAYSCORE_MERCHANT_PRIVATE_KEY: they must belong together"


async def signed_call(wechatpay: WechatPay) -> Check:
    """Ask for orders that nobody made, of each app: whoever says so has believed our signature and knows our ids."""
    payscores = wechatpay.payscores
    checks = [await _signed_call(payscores.present("", appid), wechatpay) for appid in payscores.appids]
    return next((check for check in checks if not check.ok), checks[0])


async def _signed_call(payscore: PayScore, wechatpay: WechatPay) -> Check:
    name, appid = "signed call", payscore.terms.appid
    try:
        await payscore.query(f"doctor-{uuid4().hex[:16]}")
    except WechatPayRejected as error:
        if error.refusal is Refusal.ORDER_NOT_FOUND:
            return Check(name=name, ok=True, detail="signature, mchid, appid and service_id are known")
        repair = f"check mchid, appid {appid}, service_id, serial and private key against the merchant platform"
        return Check(name=name, ok=False, detail=str(error), repair=repair)
    except SettlementError as error:
        repair = REACH if wechatpay.keys.ready else "mend the verification keys first"
        return Check(name=name, ok=False, detail=str(error), repair=repair)
    return Check(
        name=name, ok=False, detail="an order that nobody made was found", repair="check PAYSCORE_API_BASE_URLS"
    )


# --- The echo: every key of both sides is used, and no money moves (reference payscore-api E.10) ---


async def echo(wechatpay: WechatPay) -> Check:
    """Have WeChat Pay say a message back, open and sealed."""
    return await _echo(wechatpay, _make_message(), callback=False)


def _make_message() -> str:
    """Make a message that nobody else sends."""
    return f"doctor-{uuid4().hex}"


async def _echo(wechatpay: WechatPay, message: str, *, callback: bool) -> Check:
    name = "echo"
    try:
        await send_echo(wechatpay.client, message, callback=callback)
    except WrongEcho as error:
        return Check(name=name, ok=False, detail=str(error), repair="check PAYSCORE_MERCHANT_PRIVATE_KEY and proxies")
    except MerchantRefused as error:
        repair = "check PAYSCORE_WECHATPAY_PUBLIC_KEY and its id, PAYSCORE_MERCHANT_SERIAL_NO and its private key"
        return Check(name=name, ok=False, detail=str(error), repair=repair)
    except WechatPayRejected as error:
        repair = "ask WeChat Pay whether this merchant has /v3/security/echo; nothing else depends on it"
        return Check(name=name, ok=None, detail=str(error), repair=repair)
    except SettlementError as error:
        return Check(name=name, ok=False, detail=str(error), repair=REACH)
    return Check(name=name, ok=True, detail="sealed by us and by WeChat Pay, and opened on both sides")


async def echo_and_callback(wechatpay: WechatPay, broker: BrokerSettings) -> AsyncIterator[Check]:
    """Do the same, and wait until the webhook publishes what WeChat Pay has called it with."""
    message, topology = _make_message(), make_topology(broker)
    echoed: Check | None = None
    try:
        async with (
            await connect(broker.amqp_url, "payscore-worker doctor") as connection,
            overhearing(connection, topology, NOTIFICATIONS, ECHOED.lower()) as overheard,
        ):
            echoed = await _echo(wechatpay, message, callback=True)
            yield echoed
            if echoed.ok:
                yield await _callback(overheard, message)
    except BROKEN as error:
        repair = "mend the broker first: the webhook publishes callbacks there"
        if echoed is None:
            yield await echo(wechatpay)
        yield Check(name="callback", ok=None, detail=f"cannot be heard: {reason_of(error)}", repair=repair)


async def _callback(overheard: Passing, message: str) -> Check:
    name = "callback"
    try:
        async with asyncio.timeout(CALLBACK_SECONDS):
            await overheard.until(lambda event: is_echo_of(message, event))
    except TimeoutError:
        detail = f"none came through the webhook within {CALLBACK_SECONDS:.0f} seconds"
        return Check(name=name, ok=False, detail=detail, repair=UNCALLED)
    return Check(name=name, ok=True, detail="came through the webhook, verified and decrypted")
