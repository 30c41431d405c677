"""Alive, ready, measured: the three routes that every role answers (contract 5)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from payscore_worker.errors import SettlementError

CHECK_TIMEOUT_SECONDS: Final = 5.0
"""A dependency that takes longer to answer is not there."""

Check = Callable[[], Awaitable[bool]]


def health_routes(checks: Mapping[str, Check], registry: CollectorRegistry) -> list[Route]:
    """Make the routes; ready means that every check holds."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_request: Request) -> Response:
        names = list(checks)
        answers = await asyncio.gather(*(_holds(checks[name]) for name in names))
        status = HTTPStatus.OK if all(answers) else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(dict(zip(names, answers, strict=True)), status_code=status)

    return [Route("/healthz", healthz), Route("/readyz", readyz), metrics_route(registry)]


def metrics_route(registry: CollectorRegistry) -> Route:
    """Make the route alone, for a role that answers for its own health."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", metrics)


async def _holds(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await check()
    except (TimeoutError, SettlementError):
        return False
