"""`queues`: how full they are, once or live."""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

import click
from aio_pika.abc import AbstractConnection
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from payscore_worker.bootstrap.wiring import make_topology, until_stopped
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.messaging.inspect import Depth, depths
from payscore_worker.messaging.link import BROKEN, connect, end_if_told, reason_of
from payscore_worker.messaging.management import Management, ManagementUnavailable
from payscore_worker.settings import BrokerSettings, Environment

LOOK_SECONDS: Final = 20.0
"""A look takes a tenth of a second; a broker that needs longer than this is not there."""

LOOKS_COMPARED: Final = 6
"""What grows or shrinks is told from a look to the one so many before it: one alone would flicker."""


@click.command()
@click.option("--watch", is_flag=True, help="Go on showing them, with what changes, until Ctrl-C.")
@click.option(
    "--every", default=2.0, show_default=True, type=click.FloatRange(0.5, 3600), help="Seconds between two looks."
)
@json_option
def queues(*, watch: bool, every: float, as_json: bool) -> None:
    """Show how full the queues are; exit 1 if one does not stand."""
    if watch:
        if as_json:
            raise click.UsageError("--watch is for people; take --json again and again")
        run(until_stopped(_watch(Environment().read(BrokerSettings), every)))
        return
    found = run(_depths(Environment().read(BrokerSettings)))
    if as_json:
        print_json({"queues": [asdict(depth) for depth in found]})
    else:
        rows = [[depth.queue, depth.ready, depth.unacked, depth.consumers, depth.dead] for depth in found]
        print_table(["queue", "ready", "unacked", "consumers", "dead"], rows)
        for note in _notes(found):
            click.echo(note, err=True)
    sys.exit(FINE if all(depth.stands for depth in found) else NOT_FINE)


def _notes(found: Sequence[Depth]) -> list[str]:
    """Say why there are dashes."""
    missing = [depth.queue for depth in found if not depth.stands]
    uncounted = [depth.queue for depth in found if depth.is_uncounted]
    notes = [f"warning: {', '.join(missing)}: no such queue; run `payscore-worker topology`"] if missing else []
    if uncounted:
        notes.append(f"warning: {', '.join(uncounted)}: RabbitMQ cannot ask the leader, so this is unknown, and not 0")
    return notes


async def _depths(broker: BrokerSettings) -> list[Depth]:
    unacked = await _unacked(broker, warn=lambda text: click.echo(text, err=True))
    async with await connect(broker.amqp_url, "payscore-worker queues") as connection:
        return await depths(connection, make_topology(broker), unacked=unacked)


async def _unacked(broker: BrokerSettings, warn: Callable[[str], None]) -> dict[str, int] | None:
    """Ask for what is unacked; what is not told is not in the answer, and a warning says why."""
    if broker.management_url is None:
        return None
    try:
        seen = await Management(broker.management_url, broker.amqp_url).queues()
    except ManagementUnavailable as error:
        warn(f"warning: PAYSCORE_MANAGEMENT_URL does not tell what is unacked: {error}")
        return None
    found = {name: seen[name].messages_unacknowledged for name in make_topology(broker).queues if name in seen}
    if silent := [name for name, count in found.items() if count is None]:
        warn(f"warning: PAYSCORE_MANAGEMENT_URL has no statistics yet of {', '.join(silent)}: try again in 10 seconds")
    return {name: count for name, count in found.items() if count is not None}


# --- Live ---


async def _watch(broker: BrokerSettings, every: float) -> None:
    """Show the queues again and again; while RabbitMQ is away, say so and try again."""
    topology, console = make_topology(broker), Console()
    looks: deque[tuple[float, list[Depth]]] = deque(maxlen=LOOKS_COMPARED)
    connection: AbstractConnection | None = None
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            notes: list[str] = []
            try:
                if connection is None:
                    connection = await connect(broker.amqp_url, "payscore-worker queues")
                unacked = await _unacked(broker, notes.append)
                async with asyncio.timeout(LOOK_SECONDS):
                    looks.append((time.monotonic(), await depths(connection, topology, unacked=unacked)))
            except BROKEN as error:
                end_if_told()
                notes.append(f"RabbitMQ: {reason_of(error)}; what you see is old")
                if connection is not None:
                    await connection.close()
                connection = None
            if looks:
                notes += _notes(looks[-1][1])
            shown = Group(_live_table(looks), *(Text(note, style="red") for note in notes))
            if console.is_terminal:
                live.update(shown, refresh=True)
            else:  # a file, or a pipe: one table after the other
                console.print(shown)
            await asyncio.sleep(every)


def _live_table(looks: Sequence[tuple[float, list[Depth]]]) -> Table:
    """Show the newest look beside what has become of the queues since the oldest one that is kept."""
    table = Table(title=f"{datetime.now().astimezone():%H:%M:%S}", title_justify="left", header_style="bold")
    table.add_column("queue", overflow="fold")
    for column in ("ready", "a second", "unacked", "consumers", "dead"):
        table.add_column(column, justify="right")
    if not looks:
        return table
    (began, oldest), (at, newest) = looks[0], looks[-1]
    before = {depth.queue: depth.ready for depth in oldest}
    for depth in newest:
        change, style = _change(before.get(depth.queue), depth.ready, at - began), ""
        if not depth.stands or depth.dead or (depth.is_consumed and depth.ready and not depth.consumers):
            style = "red"
        counts = ("–" if count is None else str(count) for count in (depth.unacked, depth.consumers, depth.dead))
        ready = "–" if depth.ready is None else str(depth.ready)
        table.add_row(Text(depth.queue), ready, change, *counts, style=style)
    return table


def _change(before: int | None, now: int | None, seconds: float) -> str:
    if before is None or now is None or not seconds or before == now:
        return ""
    return f"{(now - before) / seconds:+.1f}"
