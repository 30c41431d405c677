"""Requests that no browser sends, over a socket: each gets an answer in a line, and none of them a traceback."""

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from payscore_worker import metrics
from payscore_worker.console.app import console
from payscore_worker.ops.health import health_routes
from payscore_worker.serving import Server, make_server
from tests.integration.console.site import Site
from tests.integration.databases import make_tables
from tests.integration.messaging.waiting import eventually

PATHS = [b"/console/", b"/console", b"/console/trips", b"/console/login", b"/healthz", b"/healthz/", b"/nowhere"]
HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture
async def database_url(tmp_path: Path) -> str:
    """One database will do: what is told here is told before any is asked."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    return url


@pytest.fixture(params=["open", "guarded"])
async def server(
    request: pytest.FixtureRequest, site: Site, guarded_site: Site, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Server]:
    """The ops port as a role serves it; whatever a library complains of in a log fails the test."""
    plan = (site if request.param == "open" else guarded_site).plan
    async with console(plan) as pages:
        routes = [*health_routes({}, metrics.registry(metrics.CONSOLE)), Mount("/console", pages)]
        server = make_server(Starlette(routes=routes), host="127.0.0.1", port=0)
        serving = asyncio.create_task(server.serve())
        await eventually(lambda: server.started)
        with caplog.at_level(logging.ERROR):
            yield server
        server.stop()
        await serving
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def answer(server: Server, request: bytes) -> tuple[int, str]:
    """Send the bytes of a request; its status and its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    async with asyncio.timeout(20):
        told = await reader.read()
    writer.close()
    head, _, body = told.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body.decode(errors="replace")


async def got(server: Server, path: bytes, headers: bytes = HOST) -> tuple[int, str]:
    return await answer(server, b"GET " + path + b" HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n")


HOSTS = [
    *(b"[", b"]", b"[::1", b"::1", b"a:b", b"a:123456", b"127.0.0.1:-1", b"a b", b"a/b", b"a?b", b"a@b", b"%5b"),
    *(b"\xff", b"\xed\xa0\x80", b"a,b", b"[\xc2\xb2]", b"x" * 10_000 + b"/", b"x/console/login?"),
]
QUERIES = [
    b"q=%ed%a0%80&id=%ed%a0%80&queue=%ed%a0%80&group=%ff&next=%ff&to=%ff",
    b"q=%zz&id=%&queue=%e&group=%&next=%&to=%",
    b"at=0001-01-01T00:00:00%2B14:00&after=t&state=x&show=x&age=x",
    b"at=9999-12-31T23:59:59-14:00&after=t",
    b"at=2026-05-01T00:00:00&after=t",
    b"at=99999999999999999999&after=%F0%9F%9A%95",
    b"q=" + b"9" * 5000 + b"&id=" + b"9" * 5000,
    b"&" * 5000,
    b"a=b&" * 5000,
    b"id=1&id=2&q=%1b[2J",
]
HEADERS = [
    *(b"Cookie: payscore_console=\xff\xfe", b"Cookie: payscore_console=..", b"Cookie: payscore_console=" + b"a" * 9000),
    *(b"Cookie: payscore_console=%00; payscore_language=\xff", b"Cookie: =;=;;;", b'Cookie: a="\\377\\400"'),
    *(b"Accept-Language: " + b"zh;q=" + b"9" * 5000, b"Accept-Language: \xff;q=\xff", b"Accept-Language: zh;q=nan"),
    *(b"Accept-Language: " + b",;" * 5000, b"HX-Request: \xff", b"Content-Length: x", b"Content-Length: " + b"9" * 20),
    *(b"X-Forwarded-For: [", b"X-Forwarded-For: \xff", b"X-Forwarded-For: " + b",[" * 2000, b"X-Forwarded-Proto: ["),
    *(b"X-Forwarded-For: 1.2.3.4:99999999", b"If-None-Match: \xff", b"Range: bytes=9-1", b"Transfer-Encoding: \xff"),
]
ORIGINS = [b"http://[", b"[", b"\xff", b"http://a:b", b"http://127.0.0.1:99999", b"//", b"null", b"", b"http://[::1"]
FORMS = [
    *(b"\xff", b"token=\xff", b"token=%ed%a0%80&name=%ed%a0%80", b"token=%00&name=%00", b"name=%", b"&&&&", b"=", b"a"),
    *(b"token=x&name=a%00b&next=%00", b"next=%5b&token=[", b"a=b&" * 30, b"token=" + b"x" * 15_000, b"form_word=%ff"),
]
TARGETS = [
    *(b"/\xff", b"/console/\xff", b"/%ed%a0%80", b"/console/%00", b"/console/static/%2e%2e", b"/console/static/\xff"),
    *(b"http://[/console/", b"http://a:b/console/", b"//[/console/", b"*", b"a:b", b"/console/?", b"/console//", b"/%"),
    *(b"/console/%5b", b"/console/static/" + b"x" * 20_000),
]


async def test_a_host_that_is_none_is_a_line(server: Server) -> None:
    for path, host in product(PATHS, HOSTS):
        told = await got(server, path, b"Host: " + host + b"\r\n")
        assert told == (400, "the Host header names no host\n"), (path, host)
    assert await got(server, b"/healthz", HOST + HOST) == (400, "the Host header names no host\n")


async def test_a_host_that_is_one_is_served(server: Server) -> None:
    for host in (b"", b"127.0.0.1", b"[::1]:9180", b"ops_1.example:9180", b"localhost", b"localhost:"):
        assert await got(server, b"/healthz", b"Host: " + host + b"\r\n") == (200, "ok")


async def test_a_query_that_none_can_have_is_a_line(server: Server) -> None:
    for path, query in product(PATHS, (b"q=%00", b"id=a%00b")):
        told = await got(server, path + b"?" + query)
        assert told == (400, "the query has a character that none can have\n"), (path, query)
    for path, query in product(PATHS, (b"q=\xff", b"q=\xed\xa0\x80", b"at=\xe8\xa1\x8c")):
        status, body = await got(server, path + b"?" + query)
        assert (status, body.count("\n")) in [(400, 0), (400, 1)], (path, query)


async def test_no_query_surprises_a_page(server: Server) -> None:
    pages = (b"trips", b"trip", b"trip.json", b"dead/letter", b"dead/prospect", b"dead/replay", b"language", b"login")
    for page, query in product(pages, QUERIES):
        status, _ = await got(server, b"/console/" + page + b"?" + query)
        assert status < 500, (page, query[:40])


async def test_no_header_surprises_a_page(server: Server) -> None:
    paths = (b"/console/trips", b"/console/login", b"/console/static/console.css", b"/readyz")
    for path, header in product(paths, HEADERS):
        status, _ = await got(server, path, HOST + header + b"\r\n")
        assert status < 500, (path, header[:40])


async def test_an_origin_that_is_none_is_not_ours(server: Server) -> None:
    for path, origin in product((b"login", b"dead/replay", b"dead/drop"), ORIGINS):
        head = b"POST /console/" + path + b" HTTP/1.1\r\n" + HOST + b"Origin: " + origin + b"\r\n"
        told = await answer(server, head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        assert told == (403, "not from a page of this console\n"), (path, origin)


async def test_no_form_surprises_a_page(server: Server) -> None:
    for path, form in product((b"login", b"dead/replay", b"dead/drop", b"dead/stop", b"logout"), FORMS):
        head = b"POST /console/" + path + b" HTTP/1.1\r\n" + HOST + b"Origin: http://127.0.0.1\r\nConnection: close\r\n"
        status, _ = await answer(server, head + b"Content-Length: %d\r\n\r\n" % len(form) + form)
        assert status < 500, (path, form[:40])


async def test_no_target_surprises_the_port(server: Server) -> None:
    for method, target in product((b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"FOO"), TARGETS):
        status, _ = await answer(
            server, method + b" " + target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        )
        assert status < 500, (method, target[:40])


async def test_a_form_with_nul_is_refused_before_a_database_is_asked(guarded_site: Site) -> None:
    await guarded_site.post("/login", token="correct-horse-battery", name="wang", next="")
    letter = {"queue": "payscore.trip-ended", "id": "m\x00"}

    assert (await guarded_site.send("/trips", "/dead/drop", reason="sent twice", **letter)).status_code == 400
    assert (await guarded_site.send("/trips", "/dead/replay", **letter)).status_code == 400
