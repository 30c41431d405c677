"""Where callbacks arrive: it keeps what it was sent and answers as it is told."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from payscore_worker.simulator import SimulatorKeys

from .merchant import Json, opened


@dataclass
class Arrival:
    url: str
    headers: dict[str, str]
    body: bytes
    keys: SimulatorKeys

    @property
    def envelope(self) -> Json:
        envelope: Json = json.loads(self.body)
        return envelope

    @property
    def resource(self) -> Json:
        return opened(self.envelope["resource"], self.keys.apiv3_key)


@dataclass
class Receiver:
    keys: SimulatorKeys
    arrivals: list[Arrival] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    """For the next callbacks: a status, an exception to raise, or an event to wait for; after them 200."""

    _queue: asyncio.Queue[Arrival] = field(default_factory=asyncio.Queue)

    async def next_arrival(self) -> Arrival:
        return await self._queue.get()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        arrival = Arrival(str(request.url), dict(request.headers.items()), await request.body(), self.keys)
        self.arrivals.append(arrival)
        self._queue.put_nowait(arrival)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        await Response(status_code=answer)(scope, receive, send)
