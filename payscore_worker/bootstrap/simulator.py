"""The simulator as a role: it serves, is measured, and stops when told."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog

from payscore_worker import metrics
from payscore_worker.bootstrap.wiring import stop_on_signals
from payscore_worker.ops.health import metrics_route
from payscore_worker.serving import Server
from payscore_worker.simulator import PASSENGER_PAGE, Simulator, SimulatorConfig, create_app, uvicorn_config

log = structlog.stdlib.get_logger(__name__)


async def run_simulator(configs: Sequence[SimulatorConfig], *, host: str, port: int) -> None:
    """Be WeChat Pay, to one merchant or several, until SIGTERM or SIGINT."""
    async with AsyncExitStack() as stack:
        simulators = [await stack.enter_async_context(Simulator(config)) for config in configs]
        application = create_app(*simulators)
        metrics.show_build("simulator")
        shown = metrics_route(metrics.registry(metrics.SIMULATOR))
        application.router.routes.insert(0, shown)  # before the route that takes everything
        server = Server(uvicorn_config(application, host=host, port=port))
        told = stop_on_signals()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve())
            log.info("simulator_started", host=host, port=port, passenger_page=f"http://{host}:{port}{PASSENGER_PAGE}")
            await told.wait()
            server.stop()
            await serving
