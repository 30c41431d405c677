"""A console for one test, and a browser without a screen that uses it."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from consumers import CONSUMERS
from payscore_worker.console.app import console
from payscore_worker.console.depths import DepthRing
from payscore_worker.console.opening import Plan
from payscore_worker.messaging.topology import Topology
from payscore_worker.ops.policies import PolicyLook
from payscore_worker.serving import Entrance
from payscore_worker.storage.url import Told
from payscore_worker.wechatpay import Breaker, Breakers
from tests.integration.settlement.town import Town, no_sleep

HOST: Final = "http://127.0.0.1:9180"


@dataclass
class Site:
    """The console, and what it looks at."""

    browser: httpx.AsyncClient
    plan: Plan
    town: Town

    async def page(self, path: str, status: int = 200, headers: Mapping[str, str] | None = None) -> str:
        """Open a page; its text as a person reads it."""
        response = await self.browser.get(f"/console{path}", headers=headers)
        assert response.status_code == status, response.text
        return text_of(response.text)

    async def html(self, path: str) -> str:
        return (await self.browser.get(f"/console{path}")).text

    async def send(self, page: str, path: str, **fields: str) -> httpx.Response:
        """Send a form as a browser does from that page."""
        return await self.post(path, form_word=await self.form_word(page), **fields)

    async def form_word(self, page: str) -> str:
        word = re.search(r'name="form_word" value="([0-9a-f]*)"', await self.html(page))
        assert word is not None
        return word[1]

    async def post(self, path: str, **fields: str) -> httpx.Response:
        return await self.browser.post(f"/console{path}", data=fields, headers={"Origin": HOST})


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@asynccontextmanager
async def a_site(
    town: Town,
    database_url: str | Told,
    amqp_url: str,
    topology: Topology,
    *,
    token: str | None = None,
    beside_worker: bool = False,
) -> AsyncIterator[Site]:
    plan = Plan(
        host="127.0.0.1",
        token=token,
        amqp_url=amqp_url,
        database_url=database_url,
        topology=topology,
        queues={one.queue: one.events for one in CONSUMERS},
        out_order_no_prefix="",
        storage=town.storage,
        settlement=town.settlement,
        refunds=town.refunds,
        payscores=town.payscores,
        breakers=Breakers({"default": Breaker()}),
        is_linked=lambda: True,
        beside_worker=beside_worker,
        ring=DepthRing(),
        policies=PolicyLook(None, topology),
        clock=town.clock,
        pause=no_sleep,
        names={town.payscore.terms.mchid: "north"},
    )
    async with console(plan) as pages:
        served = Entrance(Starlette(routes=[Mount("/console", pages)]))
        transport = httpx.ASGITransport(served, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as browser:
            yield Site(browser, plan, town)
