"""`doctor`: checks what must hold before money moves, and says how to mend what does not."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import click
import httpx
from rich.console import Console
from rich.text import Text

from payscore_worker.bootstrap.wechatpay import WechatPay, make_wechatpay, make_wechatpay_transport
from payscore_worker.bootstrap.wiring import make_management, make_topology, now
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, run
from payscore_worker.clocks import are_apart, difference
from payscore_worker.errors import Refusal, SchemaOutdated, SettlementError, WechatPayError, WechatPayRejected
from payscore_worker.messaging.drift import Plan, Remedy, ask, look
from payscore_worker.messaging.link import BROKEN, connect, reason_of
from payscore_worker.migrations import read_schema
from payscore_worker.settings import (
    PARTS,
    BrokerSettings,
    DatabaseSettings,
    Environment,
    MerchantSettings,
    SettingsError,
)
from payscore_worker.storage import see_that_it_fits
from payscore_worker.storage.clock import DatabaseClock
from payscore_worker.storage.connecting import see_that_statements_stay
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import driver_reason
from payscore_worker.storage.url import Postgresql, read_url
from payscore_worker.wechatpay import UnusableCertificates, read_date
from payscore_worker.wechatpay.signatures import TIMESTAMP_HEADER

RSA_BITS: Final = 2048
"""What WeChat Pay issues certificates for."""

EXPIRY_WARNING: Final = timedelta(days=30)

NO_CERTIFICATES: Final = ("RESOURCE_NOT_EXISTS", "NOT_ENOUGH")
NO_CERTIFICATE_TEXTS: Final = ("无可用的平台证书", "证书不存在", "平台证书已过期")
"""How WeChat Pay says that it has no platform certificate for a merchant, or none any more (payscore-api E.5)."""

STAMP_DIGITS: Final = 10
"""A Unix time in seconds, until the year 2286; in milliseconds it has more."""

PLAN: Final = "payscore-worker topology plan, which says what `topology apply` would do"

REACH: Final = "check PAYSCORE_API_BASE_URLS and the network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one check found; `repair` is what to do when it is not well, or could not be looked at (`ok` is None)."""

    name: str
    ok: bool | None
    detail: str
    repair: str = ""


class Heard(httpx.AsyncBaseTransport):
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


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check settings, keys, database, broker, clock and a signed call; exit 1 if something is not well."""
    checks = run(_examine(Environment()))
    ok = all(check.ok is not False for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            _print(check)
    sys.exit(FINE if ok else NOT_FINE)


def _print(check: Check) -> None:
    console = Console()
    mark = {True: Text("✔ ", style="green"), False: Text("✘ ", style="red"), None: Text("? ", style="yellow")}[check.ok]
    console.print(mark + Text(f"{check.name}: {check.detail}"))
    if not check.ok and check.repair:
        console.print(Text(f"    {check.repair}", style="bold"))


async def _examine(environment: Environment) -> list[Check]:
    return [check async for check in _checks(environment)]


async def _checks(environment: Environment) -> AsyncIterator[Check]:
    settings = _settings(environment)
    yield settings
    if not settings.ok:
        return
    url = environment.read(DatabaseSettings).database_url
    database = await _database(url)
    yield database
    if database.ok:
        yield await _database_clock(url)
    for check in await _broker(environment.read(BrokerSettings)):
        yield check
    heard = Heard(make_wechatpay_transport())
    try:
        wechatpay = make_wechatpay(environment.read(MerchantSettings), heard)
    except SettingsError as error:
        yield Check(name="keys", ok=False, detail=str(error), repair="correct that setting")
        return
    yield _keys(wechatpay)
    async with aclosing(wechatpay.client):
        yield await _verification_keys(wechatpay)
        yield await _signed_call(wechatpay)
    yield _clock(heard)


def _settings(environment: Environment) -> Check:
    try:
        for part in PARTS:
            environment.read(part)
    except SettingsError as error:
        return Check(name="settings", ok=False, detail=str(error), repair="set it in the environment or in .env")
    return Check(name="settings", ok=True, detail="complete")


async def _database(url: str) -> Check:
    try:
        schema = await read_schema(url)
        if isinstance(read_url(url), Postgresql):
            await see_that_statements_stay(lambda: url)
        see_that_it_fits(schema)
    except SchemaOutdated as error:
        return Check(name="database", ok=False, detail=error.found, repair=error.remedy)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises, it is the finding
        return Check(name="database", ok=False, detail=driver_reason(error), repair="check PAYSCORE_DATABASE_URL")
    return Check(name="database", ok=True, detail=f"at revision {schema.revision}")


async def _database_clock(url: str) -> Check:
    """Compare our clock with the database's, by which leases begin and end."""
    storage = await open_storage(url)
    try:
        clock = DatabaseClock(storage, own=now)
        await clock.look()
    finally:
        await storage.aclose()
    return _difference("database clock", clock.skew, "the database's")


async def _broker(broker: BrokerSettings) -> list[Check]:
    topology = make_topology(broker)
    told = await ask(make_management(broker))
    try:
        async with await connect(broker.amqp_url, "payscore-worker doctor") as connection:
            plan = await look(connection, topology, told)
    except BROKEN as error:
        return [Check(name="broker", ok=False, detail=reason_of(error), repair="check PAYSCORE_AMQP_URL")]
    return [_standing(plan, len(topology.queues)), _policies(plan)]


def _standing(plan: Plan, count: int) -> Check:
    """Tell whether exchanges, queues and bindings stand as they should."""
    drifts = [drift for drift in plan.drifts if not drift.is_of_policies]
    missing = [drift.subject for drift in drifts if drift.remedy is Remedy.DECLARE]
    others = [f"{drift.subject}: {drift.detail}" for drift in drifts if drift.remedy is not Remedy.DECLARE]
    if others:
        detail = "; ".join([*([f"missing: {', '.join(missing)}"] if missing else []), *others])
        return Check(name="broker", ok=False, detail=detail, repair=PLAN)
    if missing:
        detail = f"missing: {', '.join(missing)}"
        return Check(name="broker", ok=False, detail=detail, repair="payscore-worker topology")
    return Check(name="broker", ok=True, detail=f"{count} queues stand")


def _policies(plan: Plan) -> Check:
    """Tell whether somebody's policy makes queues lose messages; what could not be looked at is not called well."""
    found = [f"{drift.subject}: {drift.detail}" for drift in plan.drifts if drift.is_of_policies]
    if found:
        return Check(name="policies", ok=False, detail="; ".join([*found, *plan.unseen]), repair=PLAN)
    if plan.unseen:
        detail = "; ".join(plan.unseen)
        repair = f"set PAYSCORE_MANAGEMENT_URL, of a user with the tag monitoring; then {PLAN}"
        return Check(name="policies", ok=None, detail=detail, repair=repair)
    return Check(name="policies", ok=True, detail="none loses messages")


def _keys(wechatpay: WechatPay) -> Check:
    bits = wechatpay.client.merchant.private_key.key_size
    repair = "use the RSA-2048 key of the merchant certificate"
    return Check(name="keys", ok=bits == RSA_BITS, detail=f"private key of {bits} bits, APIv3 key of 32", repair=repair)


def _clock(heard: Heard) -> Check:
    """Compare our clock with WeChat Pay's, to the second that it tells."""
    if heard.skew is None:
        detail = "no answer to a signed call tells WeChat Pay's time"
        return Check(name="clock", ok=False, detail=detail, repair=REACH)
    return _difference("clock", heard.skew, "WeChat Pay's")


def _difference(name: str, skew: timedelta, whose: str) -> Check:
    return Check(
        name=name, ok=not are_apart(skew), detail=difference(skew, whose), repair="run NTP: timedatectl set-ntp true"
    )


async def _verification_keys(wechatpay: WechatPay) -> Check:
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


async def _signed_call(wechatpay: WechatPay) -> Check:
    """Ask for an order that nobody made: whoever says so has believed our signature and knows our ids."""
    name = "signed call"
    try:
        await wechatpay.payscores.current.query(f"doctor-{uuid4().hex[:16]}")
    except WechatPayRejected as error:
        if error.refusal is Refusal.ORDER_NOT_FOUND:
            return Check(name=name, ok=True, detail="signature, mchid, appid and service_id are known")
        repair = "check mchid, appid, service_id, serial and private key against the merchant platform"
        return Check(name=name, ok=False, detail=str(error), repair=repair)
    except SettlementError as error:
        repair = REACH if wechatpay.keys.ready else "mend the verification keys first"
        return Check(name=name, ok=False, detail=str(error), repair=repair)
    return Check(
        name=name, ok=False, detail="an order that nobody made was found", repair="check PAYSCORE_API_BASE_URLS"
    )
