"""What RabbitMQ's management API tells, and what is said where it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from payscore_worker.messaging import management
from payscore_worker.messaging.management import MAX_ANSWER_BYTES, Management, ManagementUnavailable
from payscore_worker.serving import make_server
from tests.acceptance.commands import Done, payscore_worker
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk
from tests.integration.messaging.waiting import eventually

AMQP_URL = "amqp://guest:guest@rabbit/"


@asynccontextmanager
async def a_management_api(answer: Response, asked: list[str]) -> AsyncIterator[str]:
    async def queues(request: Request) -> Response:
        asked.append(request.scope["raw_path"].decode())
        return answer

    server = make_server(Starlette(routes=[Route("/api/queues/{vhost:path}", queues)]), host="127.0.0.1", port=0)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    yield f"http://127.0.0.1:{server.port}/"
    server.stop()
    await serving


@pytest.mark.parametrize(
    ("amqp_url", "path"),
    [
        ("amqp://guest:guest@rabbit/", "/api/queues/%2F"),
        ("amqp://guest:guest@rabbit", "/api/queues/%2F"),
        ("amqp://guest:guest@rabbit/%2F", "/api/queues/%2F"),
        ("amqp://guest:guest@rabbit/rides", "/api/queues/rides"),
        ("amqp://guest:guest@rabbit/rides%2Fcn", "/api/queues/rides%2Fcn"),
    ],
)
async def test_the_virtual_host_of_the_broker_is_asked_about(amqp_url: str, path: str) -> None:
    asked: list[str] = []
    async with a_management_api(JSONResponse([]), asked) as url:
        await Management(url, amqp_url).queues()

    assert asked == [path]


async def test_what_it_has_no_statistics_of_is_unknown_and_not_none_at_all() -> None:
    answer = JSONResponse(
        [
            {"name": "q1", "messages_unacknowledged": 7, "effective_policy_definition": {"max-length": 9}},
            {"name": "q2", "arguments": {"x-queue-type": "quorum"}},
            {"name": "q3", "messages_unacknowledged": 0, "effective_policy_definition": []},
        ]
    )
    async with a_management_api(answer, []) as url:
        found = await Management(url, AMQP_URL).queues()

    assert [found[name].messages_unacknowledged for name in ("q1", "q2", "q3")] == [7, None, 0]
    assert [found[name].effective for name in ("q1", "q2", "q3")] == [{"max-length": 9}, None, {}]


ANSWERS = [
    (
        Response(status_code=401),
        "it answers 401: its user or password is wrong, or the user lacks a tag such as monitoring",
    ),
    (Response(status_code=403), "it answers 403: its user may not look at this virtual host"),
    (Response(status_code=500), "it answers 500"),
    (Response(status_code=302, headers={"Location": "/login"}), "it answers 302"),
    (Response("<!DOCTYPE html><html>"), "it answers HTML: is it RabbitMQ's management API?"),
    (Response(b"\xff\xfe"), "its answer is no list of queues"),
    (JSONResponse({"error": "not_found"}), "its answer is no list of queues"),
    (JSONResponse([{"name": "q1", "messages_unacknowledged": "many"}]), "its answer is no list of queues"),
    (Response(b"[" + b" " * MAX_ANSWER_BYTES), f"its answer is longer than {MAX_ANSWER_BYTES} bytes"),
]


@pytest.mark.parametrize(("answer", "why"), ANSWERS, ids=[why for _, why in ANSWERS])
async def test_what_a_management_api_says_instead_is_told_without_the_password(answer: Response, why: str) -> None:
    async with a_management_api(answer, []) as url:
        with pytest.raises(ManagementUnavailable) as raised:
            await Management(url.replace("//", "//guest:hunter2@"), AMQP_URL).queues()

    assert str(raised.value) == why


async def test_a_management_api_that_is_away_is_told_without_the_password() -> None:
    with pytest.raises(ManagementUnavailable) as raised:
        await Management("http://guest:hunter2@127.0.0.1:1", AMQP_URL).queues()

    assert str(raised.value) == "it cannot be asked (ConnectError)"


async def test_a_management_api_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "ANSWER_SECONDS", 0.3)
    silent = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[")
        await silent.wait()
        writer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ManagementUnavailable, match="does not answer within"):
            await Management(f"http://127.0.0.1:{port}", AMQP_URL).queues()
        silent.set()


async def queues_with(answer: Response, desk: Desk, directory: Path) -> Done:
    async with a_management_api(answer, []) as url:
        settings = {
            "PAYSCORE_MANAGEMENT_URL": url.replace("//", "//guest:hunter2@"),
            "PAYSCORE_AMQP_PREFIX": desk.topology.prefix,
            "PAYSCORE_RETRY_DELAYS": "50ms,120ms",
        }
        return await payscore_worker("queues", "--json", directory=directory, settings=settings)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            Response(status_code=401),
            "it answers 401: its user or password is wrong, or the user lacks a tag such as monitoring",
        ),
        (Response("<html>not here</html>"), "it answers HTML: is it RabbitMQ's management API?"),
    ],
)
async def test_queues_says_in_one_line_why_what_is_unacked_is_unknown(
    tmp_path: Path, answer: Response, why: str, desk: Desk
) -> None:
    done = await queues_with(answer, desk, tmp_path)

    assert done.err == f"warning: PAYSCORE_MANAGEMENT_URL does not tell what is unacked: {why}\n"
    assert {queue["unacked"] for queue in msgspec.json.decode(done.out)["queues"]} == {None}
    assert done.code == 0


async def test_queues_says_of_which_queues_there_are_no_statistics_yet(tmp_path: Path, desk: Desk) -> None:
    name = desk.topology.name(TRIP_CANCELLED)
    told = [{"name": one, "messages_unacknowledged": 0} for one in desk.topology.queues if one != name]

    done = await queues_with(JSONResponse([*told, {"name": name}]), desk, tmp_path)

    assert done.err == f"warning: PAYSCORE_MANAGEMENT_URL has no statistics yet of {name}: try again in 10 seconds\n"
    unacked = {queue["queue"]: queue["unacked"] for queue in msgspec.json.decode(done.out)["queues"]}
    assert unacked.pop(name) is None
    assert set(unacked.values()) == {0}
