"""A newcomer's first hour: the roles in three terminals, two messages by hand, and every command that tells of them."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aio_pika
import httpx
import msgspec
import pytest
from dotenv import dotenv_values

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.settings import BrokerSettings, Environment
from tests.acceptance.commands import HTTP_SECONDS, Done, payscore_worker, plain_environment, start
from tests.integration.messaging.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
POLL_SECONDS: Final = 0.1
"""What is waited for happens in other processes, which need the processor more than the question."""

STARTED: Final = {"trip_id": "t1", "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "started_at": "2026-05-01T12:00:00+08:00"}
ENDED: Final = {
    "trip_id": "t1",
    "ended_at": "2026-05-01T12:30:00+08:00",
    "fees": [{"name": "里程费", "amount_fen": 3500}],
    "discounts": [{"name": "优惠券", "amount_fen": 300}],
    "total_fen": 3200,
}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    await eventually(holds, every_seconds=POLL_SECONDS)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Desk:
    """Three terminals in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = {role: free_port() for role in ("simulator", "webhook", "worker", "console")}
        self.settings = {
            "PAYSCORE_AMQP_PREFIX": f"test-{uuid4().hex[:8]}.",
            "PAYSCORE_WEBHOOK_PORT": str(self.ports["webhook"]),
            "PAYSCORE_OPS_PORT": str(self.ports["worker"]),
            "PAYSCORE_RETRY_DELAYS": "1s",
        }
        notify_url = f"http://127.0.0.1:{self.ports['webhook']}/notify/payscore"
        self.simulator = ("simulator", "--port", str(self.ports["simulator"]), "--notify-url", notify_url)

    async def run(self, *arguments: str) -> Done:
        return await payscore_worker(*arguments, directory=self.directory, settings=self.settings)

    async def publish(self, routing_key: str, data: object) -> None:
        """Publish as the README says for those without an AMQP client."""
        body = data if isinstance(data, str) else msgspec.json.encode(data).decode()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "docs" / "publish.py"), routing_key, body),
            cwd=self.directory,
            env=plain_environment(self.settings),
        )
        assert await process.wait() == 0

    @asynccontextmanager
    async def role(self, name: str, *arguments: str, until_ready: bool = True) -> AsyncIterator[None]:
        settings = dict(self.settings)
        if name == "console":
            settings["PAYSCORE_OPS_PORT"] = str(self.ports["console"])
        process = await start(*arguments, directory=self.directory, settings=settings)
        try:

            async def is_there() -> bool:
                assert process.returncode is None, f"{name} ended"
                return await self.answers(name, "/readyz" if until_ready else "/healthz")

            await until(is_there)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = await process.communicate()
            assert process.returncode == 0, f"{name} did not stop as it was told:\n{said.decode()[-5000:]}"

    async def answers(self, name: str, path: str) -> bool:
        async with httpx.AsyncClient(timeout=HTTP_SECONDS) as http:
            try:
                return (await http.get(f"http://127.0.0.1:{self.ports[name]}{path}")).is_success
            except httpx.HTTPError:
                return False


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    broker = Environment(plain_environment(desk.settings)).read(BrokerSettings)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        await make_topology(broker).delete(channel)


async def test_three_terminals_and_two_messages_settle_a_trip_and_every_command_tells_of_it(desk: Desk) -> None:
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    async with AsyncExitStack() as roles:
        await roles.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "0.5"))
        await roles.enter_async_context(desk.role("webhook", "webhook"))
        await roles.enter_async_context(desk.role("worker", "worker"))

        await desk.publish("trip.started", STARTED)
        await desk.publish("trip.ended", ENDED)
        await desk.publish("trip.ended", ENDED | {"trip_id": "t2", "total_fen": 32.0})

        async def is_paid() -> bool:
            shown = await desk.run("trip", "show", "t1", "--json")
            return shown.code == 0 and shown.document["state"] == "PAID"

        await until(is_paid)
        await tells_the_story(desk)
        await tells_of_the_queues(desk)
        await tells_of_the_dead_letter(desk)
        await is_well(desk)


async def test_roles_that_start_while_wechat_pay_is_away_become_ready_by_themselves(desk: Desk) -> None:
    """Who is not ready is sent no callback, and so nothing that would fetch the keys that it waits for."""
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    async with desk.role("webhook", "webhook", until_ready=False), desk.role("worker", "worker", until_ready=False):
        assert not await desk.answers("webhook", "/readyz")
        assert not await desk.answers("worker", "/readyz")

        async with desk.role("simulator", *desk.simulator):
            await until(lambda: desk.answers("webhook", "/readyz"))
            await until(lambda: desk.answers("worker", "/readyz"))


async def test_a_fare_that_was_lowered_in_the_merchant_console_is_accepted_by_a_person(desk: Desk) -> None:
    desk.settings["PAYSCORE_POLL_DELAYS"] = "1s"
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    orders = f"http://127.0.0.1:{desk.ports['simulator']}/admin/orders/t1"

    async def stands(state: str, problem: str | None) -> bool:
        shown = await desk.run("trip", "show", "t1", "--json")
        if shown.code != 0:
            return False
        code = None if shown.document["problem"] is None else shown.document["problem"]["code"]
        return (shown.document["state"], code) == (state, problem)

    async with AsyncExitStack() as roles:
        http = await roles.enter_async_context(httpx.AsyncClient(timeout=HTTP_SECONDS))
        await roles.enter_async_context(desk.role("simulator", *desk.simulator, "--pay-after", "3600"))
        await roles.enter_async_context(desk.role("worker", "worker"))
        await desk.publish("trip.started", STARTED)
        await desk.publish("trip.ended", ENDED)
        await until(lambda: stands("COMPLETED", None))
        (await http.post(f"{orders}/lower", json={"total_fen": 3_000})).raise_for_status()
        await until(lambda: stands("COMPLETED", "amount_differs"))

        unasked = await desk.run("trip", "accept", "t1", "--reason", "lowered for a detour")
        assert unasked.code == 2
        assert "COLLECTING, paid 0 of 3000 fen" in unasked.out
        refused = await desk.run("trip", "write-off", "t1", "--reason", "a slip", "--yes")
        assert (refused.code, "waive has it collect no more" in refused.err) == (1, True)
        accepted = await desk.run("trip", "accept", "t1", "--reason", "lowered for a detour", "--as", "wang", "--yes")
        assert accepted.code == 0, accepted.err

        (await http.post(f"{orders}/pay")).raise_for_status()
        await until(lambda: stands("PAID", None))
        told = (await desk.run("trip", "explain", "t1", "--json")).document
        assert (told["paid_fen"], told["accepted_fen"]) == (3_000, 3_000)
        decided = [one for one in told["happenings"] if one["kind"] == "decided"]
        assert [(one["who"], one["verb"], one["why"], one["outcome"]) for one in decided] == [
            ("wang", "accept", "lowered for a detour", "done")
        ]
        assert (await desk.run("audit", "--wechatpay", "5")).code == 0


async def tells_the_story(desk: Desk) -> None:
    story = (await desk.run("trip", "show", "t1", "--json")).document
    assert {
        "trip_id": "t1",
        "out_order_no": "t1",
        "state": "PAID",
        "openid": "oUpF8u…",
        "total_fen": 3200,
        "paid_fen": 3200,
        "problem": None,
    }.items() <= story.items()
    assert [event["type"] for event in story["events"]] == [
        "trip.started",
        *(
            ["settlement.opened", "trip.ended"]
            if story["events"][1]["direction"] == "out"
            else ["trip.ended", "settlement.opened"]
        ),
        "settlement.completed",
        "payscore.user_paid",
        "settlement.paid",
    ]
    calls = {call["kind"]: call for call in story["calls"]}
    assert set(calls) == {"user_service_state", "create", "query", "complete"}
    for call in calls.values():
        assert (call["status"], call["code"], call["outcome"]) == (200, "", "accepted")
        assert call["request_id"]
        assert call["attempts"] >= 1
    assert "PAID" in (await desk.run("trip", "show", "t1")).out
    listed = (await desk.run("trip", "list", "--state", "PAID", "--json")).document
    assert [trip["trip_id"] for trip in listed["trips"]] == ["t1"]
    assert (await desk.run("trip", "list", "--problem", "--json")).document == {"trips": []}
    assert (await desk.run("trip", "show", "nobody")).code == 1


async def tells_of_the_queues(desk: Desk) -> None:
    async def are_told() -> bool:
        queues = {queue["queue"]: queue for queue in (await desk.run("queues", "--json")).document["queues"]}
        ended = queues[f"{desk.settings['PAYSCORE_AMQP_PREFIX']}payscore.trip-ended"]
        return (ended["ready"], ended["consumers"], ended["dead"], ended["unacked"]) == (0, 1, 1, None)

    await until(are_told)
    assert (await desk.run("queues")).code == 0


async def tells_of_the_dead_letter(desk: Desk) -> None:
    async def is_there() -> list[dict[str, Any]]:
        listed = (await desk.run("dead", "list", "payscore.trip-ended", "--json")).document
        assert listed["queue"] == "payscore.trip-ended"
        return list(listed["messages"])

    (letter,) = await eventually(is_there)  # whoever looked last gives it back a moment after
    assert letter["reason"] == "total_fen: Expected `int`, got `float`"
    assert (letter["attempts"], letter["trip_id"]) == (1, "t2")
    assert letter["first_failed_at"]
    shown = (await desk.run("dead", "show", "payscore.trip-ended", letter["id"], "--json")).document
    assert '"total_fen":32.0' in shown["body"]

    replayed = await desk.run("dead", "replay", "payscore.trip-ended", "--limit", "5", "--json")
    assert replayed.document["replayed"] == 1

    (letter,) = await eventually(is_there)
    assert (await desk.run("dead", "drop", "payscore.trip-ended", letter["id"])).code == 0
    assert (await desk.run("dead", "drop", "payscore.trip-ended", letter["id"])).code == 1


async def is_well(desk: Desk) -> None:
    doctor = await desk.run("doctor", "--json")
    assert doctor.code == 0, doctor.out
    assert doctor.document["ok"] is True
    assert all(check.keys() >= {"name", "ok", "detail", "repair"} for check in doctor.document["checks"])
    audit = await desk.run("audit", "--wechatpay", "10", "--json")
    assert audit.code == 0, audit.out
    conservation = next(one for one in audit.document["findings"] if one["check"] == "conservation")
    assert conservation["detail"].startswith("1 noted = 1 settled")


@pytest.mark.parametrize("command", ["worker", "webhook"])
async def test_a_missing_setting_stops_a_role_with_one_line_that_names_it_and_exit_code_2(
    tmp_path: Path, command: str
) -> None:
    done = await payscore_worker(command, directory=tmp_path)

    assert done.code == 2
    assert done.err == "error: PAYSCORE_MCHID: missing; it should be the merchant number, digits\n"


async def test_a_key_that_cannot_be_loaded_stops_the_worker_with_one_line_and_exit_code_2(desk: Desk) -> None:
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    desk.settings["PAYSCORE_MERCHANT_PRIVATE_KEY"] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"

    done = await desk.run("worker")

    assert done.code == 2
    assert done.err.startswith("error: PAYSCORE_MERCHANT_PRIVATE_KEY: ")
    assert done.err.count("\n") == 1


async def test_doctor_says_how_to_mend_what_is_not_well(desk: Desk) -> None:
    printed = await desk.run(*desk.simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)

    done = await desk.run("doctor", "--json")

    assert done.code == 1
    ill: dict[str, Any] = {check["name"]: check for check in done.document["checks"] if check["ok"] is False}
    assert ill["database"]["repair"] == "payscore-worker migrate"
    assert ill["broker"]["repair"] == "payscore-worker topology"
    assert ill["signed call"]["repair"]

    assert (await desk.run("migrate")).code == 0
    assert (await desk.run("topology", "--json")).code == 0
    again = {check["name"]: check["ok"] for check in (await desk.run("doctor", "--json")).document["checks"]}
    assert again["database"]
    assert again["broker"]
    assert again["policies"] is None  # nobody said where RabbitMQ's management API is


# --- Several accounts ---

CHECKED: Final = ("keys", "verification keys", "signed call", "echo", "callback", "clock")
"""What is checked of each account; with the callback also the path of the webhook that its notify_url names."""


@asynccontextmanager
async def two_merchants(desk: Desk) -> AsyncIterator[None]:
    """Have WeChat Pay and the webhook serve two merchants, each with keys of its own, as the file of accounts says."""
    simulator = (*desk.simulator, "--account", "suzhou:serviceorder")
    printed = await desk.run(*simulator, "--print-env")
    (desk.directory / ".env").write_text(printed.out)
    for command in ("migrate", "topology"):
        assert (await desk.run(command)).code == 0
    async with desk.role("simulator", *simulator), desk.role("webhook", "webhook"):
        yield


def keys_of(desk: Desk) -> Path:
    """Find the file of accounts, and the keys beside it."""
    return Path(dotenv_values(desk.directory / ".env")["PAYSCORE_ACCOUNTS_FILE"] or "").parent


def write_in(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


def of_accounts(done: Done) -> dict[str, dict[str, bool | None]]:
    """Sort the checks of accounts by account."""
    found: dict[str, dict[str, bool | None]] = {"default": {}, "suzhou": {}}
    for check in done.document["checks"]:
        name, of, account = check["name"].rpartition(" of ")
        if of:
            found[account][name] = check["ok"]
    return found


async def test_doctor_proves_keys_echo_and_callback_path_of_each_account(desk: Desk) -> None:
    async with two_merchants(desk):
        done = await desk.run("doctor", "--json")

    assert of_accounts(done) == {account: dict.fromkeys(CHECKED, True) for account in ("default", "suzhou")}
    assert done.code == 0


@pytest.mark.parametrize(
    ("key", "ill"),
    [
        ("apiv3_key", {"verification keys", "signed call"}),
        ("merchant_private_key", {"verification keys", "signed call"}),
    ],
)
async def test_a_wrong_key_of_one_account_is_told_with_its_name_and_the_other_is_well(
    desk: Desk, key: str, ill: set[str]
) -> None:
    async with two_merchants(desk):
        keys = keys_of(desk)
        (keys / f"suzhou.{key}").write_bytes((keys / f"default.{key}").read_bytes())

        done = await desk.run("doctor", "--json")

    found = of_accounts(done)
    assert done.code == 1
    assert found["default"] == dict.fromkeys(CHECKED, True)
    assert {name for name, ok in found["suzhou"].items() if ok is False} == ill
    assert found["suzhou"]["echo"] is None  # not sent: it would only say the same


async def test_a_callback_that_comes_to_another_accounts_path_is_refused_and_the_account_is_named(desk: Desk) -> None:
    async with two_merchants(desk):
        write_in(keys_of(desk) / "accounts.toml", "/notify/suzhou", "/notify/payscore")

        done = await desk.run("doctor", "--json")

    found = of_accounts(done)
    assert done.code == 1
    assert found["default"] == dict.fromkeys(CHECKED, True)
    assert found["suzhou"] == dict.fromkeys(CHECKED, True) | {"callback": False}
