"""The outbox by the commands, as an operator types them: what nobody listens to is listed, and told again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aio_pika
import pytest
from aio_pika.abc import AbstractQueue
from click.testing import CliRunner
from sqlalchemy import text

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.cli import cli
from payscore_worker.messaging.topology import EVENTS
from payscore_worker.migrations import migrate
from payscore_worker.settings import BrokerSettings, Environment
from payscore_worker.storage import Direction, EventRecord
from payscore_worker.storage.archive import Archive, Plan
from payscore_worker.storage.database import open_storage
from payscore_worker.storage.engine import engine_for
from tests.acceptance.commands import plain_environment
from tests.acceptance.test_commands import Desk, until
from tests.builders import SITUATIONS

NOW: Final = datetime.now(UTC)
HOUR: Final = timedelta(hours=1)

pytestmark = pytest.mark.timeout(300)  # a dozen commands, each of which starts a process, on a busy machine


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    desk.settings["PAYSCORE_DATABASE_URL"] = database_of(desk)
    await migrate(database_of(desk))
    yield desk
    async with await aio_pika.connect(broker_of(desk).amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker_of(desk)).delete(channel)


def database_of(desk: Desk) -> str:
    return f"sqlite+aiosqlite:///{desk.directory / 'payscore.db'}"


def broker_of(desk: Desk) -> BrokerSettings:
    return Environment(plain_environment(desk.settings)).read(BrokerSettings)


async def a_paid_trip(desk: Desk) -> None:
    """Write a trip that is over; that it was opened was heard, that it was paid by nobody."""
    storage = await open_storage(database_of(desk))
    events = [
        EventRecord(event_id=id, direction=Direction.OUT, type=f"settlement.{id}", at=NOW - 2 * HOUR, body=b'{"a": 1}')
        for id in ("opened", "paid")
    ]
    assert await storage.save(SITUATIONS["paid"](), due_at=None, now=NOW - 2 * HOUR, events=events)
    opened, paid = await storage.claim_outbox(now=NOW - 2 * HOUR, lease=HOUR, limit=10)
    await storage.mark_published([opened.id], now=NOW - 2 * HOUR)
    await storage.mark_unrouted([paid.id], now=NOW - HOUR)
    await storage.aclose()


async def listed(desk: Desk, *options: str) -> list[tuple[str, str]]:
    done = await desk.run("outbox", "list", *options, "--json")
    assert done.code == 0, done.err
    return [(row["type"], row["standing"]) for row in done.document["announcements"]]


async def actions(desk: Desk) -> Sequence[Any]:
    async with engine_for(database_of(desk)) as engine, engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT action, queue, target, reason, outcome, moved FROM operator_action")
        )
        return [tuple(row) for row in rows]


@asynccontextmanager
async def a_listener(desk: Desk) -> AsyncIterator[AbstractQueue]:
    broker = broker_of(desk)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).declare_on(connection)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(make_topology(broker).name(EVENTS), "settlement.#")
        yield queue


async def test_what_nobody_listens_to_is_listed_and_told_again_under_its_id(desk: Desk) -> None:
    await a_paid_trip(desk)
    trip_id = SITUATIONS["paid"]().trip_id

    shown = await desk.run("outbox", "list")
    assert (shown.code, "nobody listens to settlement.paid: 1 announcements" in shown.out) == (0, True)
    assert await listed(desk) == await listed(desk, "--unrouted") == [("settlement.paid", "unrouted")]
    assert await listed(desk, "--pending") == []

    asked = await desk.run("outbox", "replay", "--trip", trip_id)
    assert (asked.code, await actions(desk)) == (1, []), "nobody said yes"
    assert "settlement.paid" in asked.err

    done = await desk.run("outbox", "replay", "--since", "6h", "--unrouted", "--yes", "--json")
    assert (done.code, done.document["replayed"], done.document["by_type"]) == (0, 1, {"settlement.paid": 1})
    assert await listed(desk) == [("settlement.paid", "pending")]
    [(action, queue, target, reason, outcome, moved)] = await actions(desk)
    assert (action, queue, reason, outcome, moved) == ("outbox replay", "", "unrouted", "done", 1)
    assert len(target.split("/")) == 2

    done = await desk.run("outbox", "replay", "--trip", trip_id, "--yes")
    assert (done.code, (await actions(desk))[-1][2]) == (0, trip_id)

    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    async with a_listener(desk) as heard, desk.role("simulator", *desk.simulator), desk.role("worker", "worker"):

        async def all_told() -> bool:
            return await listed(desk) == []

        await until(all_told)
        messages = [await heard.get(no_ack=True) for _ in range(2)]
    assert [(message.message_id, message.body) for message in messages] == [
        ("opened", b'{"a": 1}'),
        ("paid", b'{"a": 1}'),
    ]


async def test_of_an_archived_trip_it_is_said_where_its_story_is(desk: Desk) -> None:
    await a_paid_trip(desk)
    trip_id = SITUATIONS["paid"]().trip_id
    async with Archive.of(database_of(desk)) as archive:
        plan = Plan(before=NOW + HOUR, directory=desk.directory / "archive")
        [moved] = [moved async for moved in archive.run(plan, NOW)]
    [file] = moved.files

    of_trip = await desk.run("outbox", "replay", "--trip", trip_id, "--yes")
    of_span = await desk.run("outbox", "replay", "--since", "1d", "--yes")

    assert of_trip.code == 1
    assert f"trip {trip_id!r} ended as PAID and is archived" in of_trip.err
    assert file in of_trip.err
    assert (of_span.code, "archived trips are not among them" in of_span.err) == (0, True)
    assert await actions(desk) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "either --trip or --since"),
        (("--trip", "t1", "--since", "1h"), "either --trip or --since"),
        (("--trip", "t1", "--until", "1h"), "--until goes with --since"),
        (("--since", "1h", "--until", "2h"), "--since is not before --until"),
        (("--since", "yesterday"), "'yesterday' is neither"),
        (("--since", "2026-01-31T18:00:00"), "is neither"),
        (("--since", "9999-12-31T23:59:59Z"), "not between 2000 and 2099"),
        (("--since", "99999d"), "not between 2000 and 2099"),
        (("--since", "1h", "--type", "settlement.payed"), "settlement.payed"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(options: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(cli, ["outbox", "replay", *options])

    assert (done.exit_code, said in done.output) == (2, True), done.output


async def test_a_trip_that_nobody_knows_and_one_of_which_nothing_was_told_are_not_fine(desk: Desk) -> None:
    await a_paid_trip(desk)

    unknown = await desk.run("outbox", "replay", "--trip", "nobody", "--yes")
    untold = await desk.run(
        "outbox", "replay", "--trip", SITUATIONS["paid"]().trip_id, "--type", "settlement.stale", "--yes"
    )

    assert (unknown.code, "no trip 'nobody'" in unknown.err) == (1, True)
    assert (untold.code, "nothing" in untold.err) == (1, True)
    assert await actions(desk) == []


async def test_without_a_database_none_is_made(desk: Desk) -> None:
    desk.settings["PAYSCORE_DATABASE_URL"] = f"sqlite+aiosqlite:///{desk.directory / 'none.db'}"

    done = await desk.run("outbox", "list", "--json")

    assert (done.code, "there is no database" in done.err) == (1, True)
    assert not (desk.directory / "none.db").exists()
