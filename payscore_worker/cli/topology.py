"""`topology`: declares exchanges and queues; `plan` tells what stands otherwise, `apply` brings it about."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from payscore_worker.bootstrap.wiring import make_management, make_topology
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.errors import Rejected
from payscore_worker.messaging.addresses import broker_urls, vhost
from payscore_worker.messaging.applying import apply, wanted_policies
from payscore_worker.messaging.drift import Plan, Remedy, Told, ask, look
from payscore_worker.messaging.link import connect
from payscore_worker.messaging.management import ManagementUnavailable, PolicySeen
from payscore_worker.messaging.policies import above
from payscore_worker.settings import BrokerSettings, Environment


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def topology(context: click.Context, *, as_json: bool) -> None:
    """Declare exchanges and queues, and print them; `plan` and `apply` see to what stands otherwise."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json comes after {context.invoked_subcommand}")
        return
    declared = run(_declare(Environment().read(BrokerSettings)))
    if as_json:
        print_json(declared)
        return
    print_table(["exchange"], [[name] for name in declared["exchanges"]])
    print_table(["queue"], [[name] for name in declared["queues"]])


async def _declare(broker: BrokerSettings) -> dict[str, Any]:
    wanted = make_topology(broker)
    async with await connect(broker.amqp_url, "payscore-worker topology") as connection:
        await wanted.declare_on(connection)
    return {"exchanges": wanted.exchanges, "queues": wanted.queues}


@topology.command
@json_option
def plan(*, as_json: bool) -> None:
    """Show what stands otherwise than it should, and what would be done; change nothing; exit 1 if there is any."""
    broker = Environment().read(BrokerSettings)
    found, told = run(_look(broker))
    if as_json:
        print_json(_document(found))
    else:
        _print(found, _commands(broker, found, told))
    sys.exit(NOT_FINE if found.drifts else FINE)


@topology.command(name="apply")
@json_option
def apply_(*, as_json: bool) -> None:
    """Bring about what should stand, losing nothing; broken off, run it again; exit 1 if something is left."""
    broker = Environment().read(BrokerSettings)
    left = run(_apply(broker))
    if as_json:
        print_json(_document(left))
    else:
        _print(left, [])
    sys.exit(NOT_FINE if left.drifts else FINE)


async def _look(broker: BrokerSettings) -> tuple[Plan, Told]:
    told = await ask(make_management(broker))
    async with await connect(broker.amqp_url, "payscore-worker topology") as connection:
        return await look(connection, make_topology(broker), told), told


async def _apply(broker: BrokerSettings) -> Plan:
    try:
        return await apply(
            broker.amqp_url, make_topology(broker), make_management(broker), lambda line: click.echo(line, err=True)
        )
    except ManagementUnavailable as error:
        raise Rejected(
            f"PAYSCORE_MANAGEMENT_URL: {error}; to set policies, its user needs the tag policymaker"
        ) from error


# --- Told ---


def _document(found: Plan) -> dict[str, Any]:
    drifts = [
        {"subject": drift.subject, "remedy": drift.remedy.value, "detail": drift.detail, "loses": drift.loses}
        for drift in found.drifts
    ]
    return {"ok": not drifts, "drifts": drifts, "unseen": list(found.unseen)}


def _print(found: Plan, commands: Sequence[str]) -> None:
    if found.drifts:
        rows = [[drift.subject, drift.detail, drift.remedy.value] for drift in found.drifts]
        print_table(["queue or exchange", "what is not as it should be", "apply does"], rows)
    else:
        click.echo("nothing is to be done")
    for line in found.unseen:
        click.echo(f"? {line}")
    if commands:
        click.echo("policies can be set by `payscore-worker topology apply`, or by an administrator of RabbitMQ:")
        for command in commands:
            click.echo(f"  {command}")
    if any(drift.remedy is Remedy.BY_HAND for drift in found.drifts):
        click.echo("by hand: rabbitmqctl list_operator_policies tells them, clear_operator_policy ends one")


def _commands(broker: BrokerSettings, found: Plan, told: Told) -> list[str]:
    virtual_host = vhost(broker_urls(broker.amqp_url)[0])
    return [
        _command(policy, above(policy, told.policies or (), queues), virtual_host)
        for policy, queues in wanted_policies(make_topology(broker), found.drifts)
    ]


def _command(policy: PolicySeen, priority: int, virtual_host: str) -> str:
    words = [policy.name, policy.pattern, msgspec.json.encode(policy.definition).decode()]
    options = f"-p {shlex.quote(virtual_host)} --apply-to queues --priority {priority}"
    return f"rabbitmqctl set_policy {options} {shlex.join(words)}"
