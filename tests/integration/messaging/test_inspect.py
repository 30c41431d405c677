"""How full the queues are, as RabbitMQ tells it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from payscore_worker.messaging.inspect import (
    MAX_ANSWER_BYTES,
    Depth,
    ManagementUnavailable,
    depths,
    unacked_by_management,
)
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.serving import make_server
from tests.acceptance.commands import payscore_worker
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker


async def depth_of(desk: Desk, queue: str) -> Depth:
    found = await depths(desk.connection, desk.topology)
    return next(depth for depth in found if depth.queue == desk.topology.name(queue))


async def test_every_queue_is_shown_with_what_is_ready_and_dead(desk: Desk) -> None:
    await desk.cancel("t1", "t2")
    await desk.put(f"{TRIP_CANCELLED}.dead", b"{}")
    await desk.put("payscore.retry.120ms", b"{}")  # its queue is nobody's: it stays

    name = desk.topology.name

    async def shown() -> dict[str, Depth] | None:
        found = {depth.queue: depth for depth in await depths(desk.connection, desk.topology)}
        counted = found[name(TRIP_CANCELLED)].ready == 2 and found[name(TRIP_CANCELLED)].dead == 1
        return found if counted and not any(depth.is_uncounted for depth in found.values()) else None

    found = await eventually(shown)
    assert list(found) == [*map(name, QUEUES), name("payscore.retry.50ms"), name("payscore.retry.120ms")]
    assert found[name(TRIP_CANCELLED)] == Depth(queue=name(TRIP_CANCELLED), ready=2, unacked=None, consumers=0, dead=1)
    assert found[name(TRIP_ENDED)] == Depth(queue=name(TRIP_ENDED), ready=0, unacked=None, consumers=0, dead=0)
    assert not found[name("payscore.retry.50ms")].is_consumed


async def is_consumed(desk: Desk) -> bool:
    return (await depth_of(desk, TRIP_CANCELLED)).consumers == 1


async def test_consumers_are_counted(amqp_url: str, desk: Desk) -> None:
    async with a_worker(amqp_url, desk.topology, Handler()):
        await eventually(lambda: is_consumed(desk))


async def test_a_queue_that_does_not_stand_is_shown_as_unknown(desk: Desk) -> None:
    await desk.delete_queue(TRIP_ENDED)

    depth = await depth_of(desk, TRIP_ENDED)

    assert (depth.ready, depth.consumers, depth.stands) == (None, None, False)
    assert not desk.connection.is_closed


async def test_a_missing_queue_of_dead_letters_does_not_go_unnoticed(desk: Desk) -> None:
    await desk.delete_queue(f"{TRIP_ENDED}.dead")

    depth = await depth_of(desk, TRIP_ENDED)

    assert (depth.dead, depth.stands, depth.is_uncounted) == (None, False, False)


async def test_nothing_that_took_rabbitmq_as_long_as_to_give_up_its_leader_is_unknown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.put(TRIP_CANCELLED, b"{}")
    await desk.holds(TRIP_CANCELLED, 1)
    monkeypatch.setattr("payscore_worker.messaging.inspect.UNASKED_SECONDS", 0.0)

    empty, full = await depth_of(desk, TRIP_ENDED), await depth_of(desk, TRIP_CANCELLED)

    assert (empty.ready, empty.consumers, empty.dead, empty.is_uncounted) == (None, None, None, True)
    assert (full.ready, full.consumers) == (1, 0)  # what is not nothing was counted


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
async def test_the_management_api_tells_what_is_in_hand(amqp_url: str, path: str) -> None:
    asked: list[str] = []
    answer = JSONResponse([{"name": "q1", "messages_unacknowledged": 7}, {"name": "q2"}])
    async with a_management_api(answer, asked) as url:
        assert await unacked_by_management(url, amqp_url) == {"q1": 7, "q2": 0}

    assert asked == [path]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Response(status_code=401), "it answers 401"),
        (Response("<html>not here</html>"), "its answer is no list of queues"),
        (JSONResponse({"error": "not_found"}), "its answer is no list of queues"),
        (Response(b"[" + b" " * MAX_ANSWER_BYTES), f"its answer is longer than {MAX_ANSWER_BYTES} bytes"),
    ],
)
async def test_what_a_management_api_says_instead_is_told_without_the_password(answer: Response, why: str) -> None:
    async with a_management_api(answer, []) as url:
        with pytest.raises(ManagementUnavailable) as raised:
            await unacked_by_management(url.replace("//", "//guest:hunter2@"), "amqp://guest:guest@rabbit/")

    assert str(raised.value) == why


async def test_a_management_api_that_is_away_is_told_without_the_password() -> None:
    with pytest.raises(ManagementUnavailable) as raised:
        await unacked_by_management("http://guest:hunter2@127.0.0.1:1", "amqp://guest:guest@rabbit/")

    assert str(raised.value) == "ConnectError"


@pytest.mark.parametrize("refusal", [401, 404])
async def test_the_command_tells_no_password(tmp_path: Path, refusal: int, desk: Desk) -> None:
    async with a_management_api(Response(status_code=refusal), []) as url:
        settings = {
            "PAYSCORE_MANAGEMENT_URL": url.replace("//", "//guest:hunter2@"),
            "PAYSCORE_AMQP_PREFIX": desk.topology.prefix,
        }
        done = await payscore_worker("queues", directory=tmp_path, settings=settings)

    told = done.err.splitlines()[0]  # the desk has other rungs, and that these do not stand is told as well
    assert told == f"warning: PAYSCORE_MANAGEMENT_URL does not tell what is unacked: it answers {refusal}"
    assert "hunter2" not in done.out + done.err
