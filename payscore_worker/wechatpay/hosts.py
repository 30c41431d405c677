"""The primary host and its backup: the same signed request goes to the other one when a connection fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import aiohttp
import httpx

STAY: Final = timedelta(minutes=1)
"""How long to stay with a backup that answers: not every call of an outage should wait for a connection to time out,
and the nearer host should have its calls back within a minute of its recovery."""

CONNECTION_FAILURES: Final = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError)
"""Refused, unreachable, unresolved, timed out while connecting, reset: but no HTTP error, nor a slow answer (F.4)."""

NEVER_CONNECTED: Final = (httpx.ConnectError, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""What proves that a request was not sent. The aiohttp transport makes ConnectTimeout of the last two, but also of a
server that hung up on a request it had read: there the cause behind httpx's error decides."""

TALLY: Final = "payscore_worker.settlement.tally"
"""The request extension that carries the tally."""


@dataclass(slots=True)
class Tally:
    """What became of a call so far."""

    sends: int = 0
    unsure: bool = False
    """An attempt may have been processed, although it brought no answer to believe."""
    response: httpx.Response | None = None
    """What the last attempt brought, believed or not."""


class Hosts(httpx.AsyncBaseTransport):
    """Sends to a host that can be reached; the host is not part of what is signed (reference payscore-api E.1, F.4)."""

    def __init__(
        self,
        base_urls: Sequence[str],
        transport: httpx.AsyncBaseTransport,
        clock: Callable[[], datetime],
    ) -> None:
        self._hosts = [_host(base_url) for base_url in base_urls]
        self._transport = transport
        self._clock = clock
        self._preferred = 0
        self._stay_until: datetime | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = self._choose()
        try:
            return await self._send(request, host)
        except CONNECTION_FAILURES as error:
            if len(self._hosts) == 1:
                raise
            request.extensions[TALLY].unsure |= may_be_processed(error)
        other = (host + 1) % len(self._hosts)
        response = await self._send(request, other)
        self._prefer(other)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _choose(self) -> int:
        if self._stay_until is not None and self._clock() >= self._stay_until:
            self._prefer(0)
        return self._preferred

    def _prefer(self, host: int) -> None:
        self._preferred = host
        self._stay_until = None if host == 0 else self._clock() + STAY

    async def _send(self, request: httpx.Request, host: int) -> httpx.Response:
        tally: Tally = request.extensions[TALLY]
        tally.sends += 1
        tally.response = None
        tally.response = await self._transport.handle_async_request(self._addressed(request, host))
        return tally.response

    def _addressed(self, request: httpx.Request, host: int) -> httpx.Request:
        """Address the same request, signature and all, to a host; it is written for the first one."""
        if host == 0:
            return request
        url = self._hosts[host]
        headers = request.headers.copy()
        headers["Host"] = url.netloc.decode()
        return httpx.Request(
            request.method,
            request.url.copy_with(scheme=url.scheme, netloc=url.netloc),
            headers=headers,
            content=request.content,
            extensions=request.extensions,
        )


def may_be_processed(error: Exception) -> bool:
    """Tell whether a request may have been read before this happened."""
    return not isinstance(error, NEVER_CONNECTED) and not isinstance(cause_of(error), NEVER_CONNECTED)


def cause_of(error: Exception) -> BaseException:
    """Look behind an error of httpx at what the transport met."""
    return error.__cause__ or error if isinstance(error, httpx.HTTPError) else error


def _host(base_url: str) -> httpx.URL:
    """Read a base URL; a wrong one is not repeated, for it may hold a password."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError("a base URL is a scheme and a host, nothing more") from error
    if (
        url.scheme not in ("http", "https")
        or not url.host
        or url.userinfo
        or url.path != "/"  # httpx reads none as this one
        or url.query
        or url.fragment
    ):
        raise ValueError("a base URL is a scheme and a host, nothing more")
    return url
