"""`doctor`: checks what must hold before money moves, and says how to mend what does not."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Final

import click

from payscore_worker.accounts import AccountSettings, read_accounts
from payscore_worker.bootstrap.wechatpay import make_wechatpay, make_wechatpay_transport
from payscore_worker.bootstrap.wiring import make_management, make_topology, now
from payscore_worker.cli import wechatpay_checks
from payscore_worker.cli.checks import Check, clock_check, print_check
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, run
from payscore_worker.errors import SchemaOutdated
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

PLAN: Final = "payscore-worker topology plan, which says what `topology apply` would do"


@click.command()
@click.option("--callback/--no-callback", default=True, show_default=True, help="Have WeChat Pay call the webhook.")
@json_option
def doctor(*, callback: bool, as_json: bool) -> None:
    """Check settings, keys, database, broker, clock, and the whole way to WeChat Pay and back.

    No money moves. Exit 1 if something is not well.
    """
    checks = run(_examine(Environment(), callback=callback, tell=None if as_json else print_check))
    ok = all(check.ok is not False for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    sys.exit(FINE if ok else NOT_FINE)


async def _examine(environment: Environment, *, callback: bool, tell: Callable[[Check], None] | None) -> list[Check]:
    """Check everything; a person hears of each at once, for some take their time."""
    checks = []
    async for check in _checks(environment, callback=callback):
        checks.append(check)
        if tell is not None:
            tell(check)
    return checks


async def _checks(environment: Environment, *, callback: bool) -> AsyncIterator[Check]:
    settings = _settings(environment)
    yield settings
    if not settings.ok:
        return
    url = environment.read(DatabaseSettings).database_url
    database = await _database(url)
    yield database
    if database.ok:
        yield await _database_clock(url)
    broker = environment.read(BrokerSettings)
    for check in await _broker(broker):
        yield check
    accounts = read_accounts(environment)
    for account in accounts:
        async for check in _account(account, broker, callback=callback):
            yield check if len(accounts) == 1 else replace(check, name=f"{check.name} of {account.name}")


async def _account(account: AccountSettings, broker: BrokerSettings, *, callback: bool) -> AsyncIterator[Check]:
    """Check what must hold between one account and WeChat Pay."""
    listener = wechatpay_checks.TimeListener(make_wechatpay_transport())
    try:
        wechatpay = make_wechatpay(account.merchant, listener, account=account.name)
    except SettingsError as error:
        yield Check(name="keys", ok=False, detail=str(account.error(error)), repair="correct that setting")
        return
    yield wechatpay_checks.private_key(wechatpay)
    async with aclosing(wechatpay.client):
        yield await wechatpay_checks.verification_keys(wechatpay)
        signed = await wechatpay_checks.signed_call(wechatpay)
        yield signed
        if not signed.ok:
            yield Check(name="echo", ok=None, detail="not sent", repair="mend the signed call first")
        elif callback:
            async for check in wechatpay_checks.echo_and_callback(wechatpay, broker):
                yield check
        else:
            yield await wechatpay_checks.echo(wechatpay)
    yield wechatpay_checks.clock(listener)


def _settings(environment: Environment) -> Check:
    try:
        for part in PARTS:
            if part is not MerchantSettings:
                environment.read(part)
        accounts = read_accounts(environment)
    except SettingsError as error:
        return Check(name="settings", ok=False, detail=str(error), repair="set it in the environment or in .env")
    names = ", ".join(one.name for one in accounts)
    return Check(name="settings", ok=True, detail="complete" if len(accounts) == 1 else f"complete; accounts: {names}")


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
    return clock_check("database clock", clock.skew, "the database's")


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
