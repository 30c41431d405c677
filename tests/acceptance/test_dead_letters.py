"""Dead letters by the commands, as an operator types them: grouped, shown beside WeChat Pay's word, put back once."""

import asyncio
import getpass
import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final

import aio_pika
import msgspec
import pytest
from click.testing import CliRunner

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.cli import cli
from payscore_worker.settings import BrokerSettings, Environment
from tests.acceptance.commands import plain_environment, start
from tests.acceptance.test_commands import ENDED, STARTED, Desk, until

STARTS: Final = "payscore.trip-started"
ENDS: Final = "payscore.trip-ended"
MANY: Final = 40


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    yield desk
    broker = broker_of(desk)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).delete(channel)


def broker_of(desk: Desk) -> BrokerSettings:
    return Environment(plain_environment(desk.settings)).read(BrokerSettings)


async def document(desk: Desk, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = await desk.run("dead", *arguments, "--json")
    assert done.code == code, done.err
    return done.document


async def waits(desk: Desk, **counts: int) -> None:
    """Wait until so many are dead: of starts, of ends."""
    queues = {"starts": STARTS, "ends": ENDS}

    async def are_there() -> bool:
        found = {name: len(await in_queue(desk, f"{queues[name]}.dead")) for name in counts}
        return found == counts

    await until(are_there)


async def hold(desk: Desk, **ids: list[str]) -> None:
    """Wait until these queues hold just these messages: what is moved or given back shows a moment later."""

    async def do() -> bool:
        return {queue: sorted(await in_queue(desk, queue)) for queue in ids} == {
            queue: sorted(wanted) for queue, wanted in ids.items()
        }

    await until(do)


async def test_an_operator_finds_out_what_is_wrong_and_puts_back_what_may_go_back(desk: Desk) -> None:
    async with AsyncExitStack() as roles:
        simulator = await roles.enter_async_context(AsyncExitStack())
        await simulator.enter_async_context(desk.role("simulator", *desk.simulator))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await desk.publish("trip.started", STARTED)
        await desk.publish("trip.started", STARTED | {"started_at": "2026-05-01T12:00:01+08:00"})
        await desk.publish("trip.ended", ENDED | {"trip_id": "t2", "total_fen": 32.0})
        await desk.publish("trip.ended", ENDED | {"trip_id": "t3", "total_fen": 45.0})
        await waits(desk, starts=1, ends=2)

        await finds_two_groups(desk)
        conflict = await is_shown_what_speaks_against_it(desk)
        await is_told_beforehand(desk)
        await cannot_put_back_what_conflicts(desk, conflict)
        group = await puts_the_group_back(desk)

        await simulator.aclose()
        shown = await document(desk, "show", STARTS, conflict)
        assert shown["wechatpay"]["asked"] is False
        assert shown["wechatpay"]["why"]
        assert shown["trip"]["state"] == "OPEN"

        dropped = await desk.run("dead", "drop", STARTS, conflict, "--reason", "sent twice by the ride service")
        assert dropped.code == 0
        gone = await desk.run("dead", "drop", STARTS, conflict)
        assert (gone.code, gone.out) == (1, f"{conflict} was not there\n")
        assert recorded(desk) == [
            ("replay", STARTS, conflict, "", "done", 0, 1),
            ("replay", ENDS, group, "", "done", 2, 0),
            ("drop", STARTS, conflict, "sent twice by the ride service", "done", 1, 0),
            ("drop", STARTS, conflict, "", "failed", 0, 0),
        ]
        assert "dead_letter_dropped" in dropped.err
        assert "sent twice by the ride service" in dropped.err


async def finds_two_groups(desk: Desk) -> None:
    groups = (await document(desk, "list"))["groups"]
    assert [(group["queue"], group["count"], group["error"], group["reason"]) for group in groups] == [
        (ENDS, 2, "MalformedMessage", "total_fen: Expected `int`, got `float`"),
        (STARTS, 1, "ConflictingFact", "trip.started says otherwise than before in started_at"),
    ]
    assert groups[0]["oldest"] < groups[0]["newest"]
    printed = (await desk.run("dead", "list")).out
    assert "total_fen" in printed
    filtered = await document(desk, "list", "--reason", groups[1]["group"])
    assert [letter["trip_id"] for letter in filtered["messages"]] == ["t1"]


async def is_shown_what_speaks_against_it(desk: Desk) -> str:
    (letter,) = (await document(desk, "list", STARTS))["messages"]
    shown = await document(desk, "show", STARTS, letter["id"])
    assert (shown["trip"]["state"], shown["trip"]["openid"], shown["trip"]["problem"]) == ("OPEN", "oUpF8u…", None)
    assert (shown["wechatpay"]["asked"], shown["wechatpay"]["order"]) == (True, "RUNNING")
    assert shown["replay"] == {"allowed": False, "why": letter["reason"]}
    assert '"started_at":"2026-05-01T12:00:01+08:00"' in shown["body"]
    for printed in (json.dumps(shown), (await desk.run("dead", "show", STARTS, letter["id"])).out):
        assert STARTED["openid"] not in printed
    return str(letter["id"])


async def is_told_beforehand(desk: Desk) -> None:
    told = await document(desk, "replay", ENDS, "--all", "--dry-run")
    assert (told["dry_run"], told["replayed"], told["refused"]) == (True, 2, 0)
    assert [message["why"] for message in told["messages"]] == [
        "will be dead-lettered again: total_fen: Expected `int`, got `float`"
    ] * 2
    assert len((await document(desk, "list", ENDS))["messages"]) == 2


async def cannot_put_back_what_conflicts(desk: Desk, conflict: str) -> None:
    refused = await document(desk, "replay", STARTS, "--id", conflict, code=1)
    assert (refused["replayed"], refused["refused"]) == (0, 1)
    assert refused["messages"][0]["fate"] == "refused"
    assert len((await document(desk, "list", STARTS))["messages"]) == 1


async def puts_the_group_back(desk: Desk) -> str:
    (group,) = (await document(desk, "list", ENDS))["groups"]
    done = await desk.run("dead", "replay", ENDS, "--reason", group["group"])
    assert done.code == 0
    *lines, last = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["replayed", "replayed"]
    assert last == f"2 put back into {ENDS}, 0 left where they are"
    await waits(desk, ends=2)  # a fare with a point in it is no better the second time
    return str(group["group"])


def recorded(desk: Desk) -> list[tuple[object, ...]]:
    """What stands in the record, which the console shows."""
    (file,) = desk.directory.glob("*.db")
    with closing(sqlite3.connect(file)) as connection:
        what = "SELECT action, queue, target, reason, outcome, moved, refused, who, ended_at FROM operator_action"
        rows = connection.execute(f"{what} ORDER BY id").fetchall()
    assert all(who == getpass.getuser() and ended_at is not None for *_, who, ended_at in rows)
    return [tuple(row[:-2]) for row in rows]


@pytest.mark.parametrize("arguments", [[], ["--all", "--limit", "3"], ["--all", "--id", "m1"], ["--limit", "0"]])
def test_a_replay_must_be_told_which(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["dead", "replay", ENDS, *arguments]).exit_code == 2


async def test_without_a_database_nothing_goes_back_and_none_is_made(desk: Desk) -> None:
    await bury(desk, ["m1"])

    done = await desk.run("dead", "replay", ENDS, "--all")
    shown = await document(desk, "show", ENDS, "m1")

    assert done.code == 1
    assert done.err.startswith("error: there is no database ")
    assert shown["trip"]["asked"] is False
    assert not list(desk.directory.glob("*.db"))
    await hold(desk, **{f"{ENDS}.dead": ["m1"]})


async def test_commands_killed_in_the_middle_put_everything_back_once(desk: Desk) -> None:
    ids = [f"m{number}" for number in range(MANY)]
    await bury(desk, ids)
    assert (await desk.run("migrate")).code == 0

    for lines in (1, 5, 9):
        process = await start("dead", "replay", ENDS, "--all", directory=desk.directory, settings=desk.settings)
        assert process.stdout is not None
        for _ in range(lines):
            assert (await process.stdout.readline()).startswith(b"replayed")
        process.kill()
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert (await desk.run("dead", "replay", ENDS, "--all")).code == 0

    await hold(desk, **{ENDS: ids, f"{ENDS}.dead": [], f"{ENDS}.replay": []})


async def test_two_commands_at_once_put_everything_back_once(desk: Desk) -> None:
    ids = [f"m{number}" for number in range(MANY)]
    await bury(desk, ids)
    assert (await desk.run("migrate")).code == 0

    both = await asyncio.gather(*(desk.run("dead", "replay", ENDS, "--all", "--json") for _ in range(2)))

    assert sum(done.document["replayed"] for done in both) == MANY
    await hold(desk, **{ENDS: ids})


async def bury(desk: Desk, ids: list[str]) -> None:
    """Put dead letters where no worker is."""
    assert (await desk.run("topology")).code == 0
    broker = broker_of(desk)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        for id in ids:
            message = aio_pika.Message(
                msgspec.json.encode(ENDED | {"trip_id": id}),
                message_id=id,
                headers={"x-reason": "gave up after 9 attempts: TripBusy()"},
                delivery_mode=2,
            )
            await channel.default_exchange.publish(message, f"{broker.amqp_prefix}{ENDS}.dead")


async def in_queue(desk: Desk, queue: str) -> list[str]:
    """Take everything out, in order, and let it go back when the channel closes."""
    broker, ids = broker_of(desk), []
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        there = await channel.get_queue(f"{broker.amqp_prefix}{queue}", ensure=False)
        while (message := await there.get(fail=False)) is not None:
            ids.append(message.message_id or "")
    return ids
