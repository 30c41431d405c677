"""`audit`: tells whether the books are in order."""

import asyncio
import sys
from contextlib import aclosing
from dataclasses import asdict
from typing import Final

import click
from aio_pika.abc import AbstractConnection
from rich.console import Console
from rich.text import Text

from payscore_worker.accounts import names_of_accounts
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import make_topology, now
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, run
from payscore_worker.messaging.inspect import Depth, depths
from payscore_worker.messaging.link import connect
from payscore_worker.messaging.topology import Topology
from payscore_worker.oversight.audit import (
    Finding,
    audit_books,
    audit_queues,
    audit_refunds_at_wechatpay,
    audit_wechatpay,
)
from payscore_worker.settings import BrokerSettings, DatabaseSettings, Environment
from payscore_worker.storage.belonging import Owners
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports

ALL: Final = 100_000
"""More than a merchant wants to ask WeChat Pay about in one go."""

LOOKS: Final = 5
PAUSE_SECONDS: Final = 1.0
"""A broker that is only busy has counted its queues within these; one that cannot ask a leader has not."""


@click.command()
@click.option(
    "--wechatpay",
    "sample",
    default=0,
    type=click.IntRange(0, ALL),
    help="Also ask about so many trips, at random, and about all with a problem, and about their refunds.",
)
@json_option
def audit(*, sample: int, as_json: bool) -> None:
    """Check that nothing is lost: database, outbox, queues, and WeChat Pay's word; exit 1 on an imbalance."""
    findings = run(_audit(Environment(), sample))
    ok = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": ok, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    sys.exit(FINE if ok else NOT_FINE)


def _print(finding: Finding) -> None:
    mark = Text("✔ ", style="green") if finding.ok else Text("✘ ", style="red")
    trips = f" ({', '.join(finding.trips)})" if finding.trips else ""
    Console().print(mark + Text(f"{finding.check}: {finding.detail}{trips}"))


def _owners(environment: Environment) -> Owners | None:
    """Tell several accounts apart; None where there is one, or the settings do not tell."""
    names = names_of_accounts(environment)
    return Owners(default=next(iter(names.values())), names=names) if len(names) > 1 else None


async def _counted(connection: AbstractConnection, topology: Topology) -> list[Depth]:
    """Look at the queues, and again where RabbitMQ was too busy to count one: what stays unknown is a finding."""
    found = await depths(connection, topology)
    for _ in range(LOOKS - 1):
        if not any(depth.is_uncounted for depth in found):
            break
        await asyncio.sleep(PAUSE_SECONDS)
        found = await depths(connection, topology)
    return found


async def _audit(environment: Environment, sample: int) -> list[Finding]:
    broker = environment.read(BrokerSettings)
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        reports = Reports(engine)
        findings = await audit_books(reports, now(), _owners(environment))
        async with await connect(broker.amqp_url, "payscore-worker audit") as connection:
            found = await _counted(connection, make_topology(broker))
        findings += audit_queues(found, await reports.pending_announcements())
        if sample:
            rows = {row["trip_id"]: row for row in [*await reports.parked(), *await reports.sample(sample)]}
            wechatpay = make_wechatpays(environment)
            async with aclosing(wechatpay):
                findings.append(await audit_wechatpay(list(rows.values()), wechatpay.payscores, wechatpay.names))
                refunds = [*await reports.parked_refunds(), *await reports.refunds_of(list(rows))]
                by_id = {row["refund_id"]: row for row in refunds}
                findings.append(await audit_refunds_at_wechatpay(list(by_id.values()), wechatpay.refunds))
    return findings
