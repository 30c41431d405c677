"""The webhook as a role: keys of WeChat Pay, a link to RabbitMQ, and nothing that keeps."""

import asyncio
from contextlib import aclosing
from typing import Final

import structlog
from starlette.applications import Starlette

from payscore_worker import metrics, tracing
from payscore_worker.bootstrap import parts
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import make_topology, stop_on_signals
from payscore_worker.messaging.publisher import Publisher
from payscore_worker.ops import showing
from payscore_worker.ops.health import health_routes
from payscore_worker.ops.lag import measure_lag
from payscore_worker.serving import STOP_SECONDS, make_server
from payscore_worker.settings import BrokerSettings, Environment, WebhookSettings
from payscore_worker.webhook import PUBLISH_SECONDS, Webhook

WEBHOOK_STOP_SECONDS: Final = STOP_SECONDS + parts.PARTS_SECONDS + tracing.END_SECONDS + parts.MARGIN_SECONDS
"""A webhook is gone so long after SIGTERM, whatever is frozen. Whoever stops it must leave it longer: deploy/ does."""

MAX_CONNECTIONS: Final = 1000
"""More at once is not WeChat Pay; the rest is told 503 and comes back."""

log = structlog.stdlib.get_logger(__name__)


async def run_webhook(environment: Environment) -> None:
    """Receive WeChat Pay's callbacks until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting is missing or malformed.
        ExceptionGroup: a part has failed that cannot go on; a supervisor should start us again.

    """
    broker, address = environment.read(BrokerSettings), environment.read(WebhookSettings)
    topology, wechatpay = make_topology(broker), make_wechatpays(environment)
    async with aclosing(wechatpay):
        await wechatpay.warm_up()
        publisher = Publisher(
            broker.amqp_url, name="payscore-worker webhook", topology=topology, timeout_seconds=PUBLISH_SECONDS
        )
        accounts = wechatpay.by_name
        notifications = {name: one.notifications for name, one in accounts.items()}
        webhook = Webhook(notifications=notifications, publisher=publisher, topology=topology)
        checks = {
            "publishing": parts.holds(lambda: publisher.is_ready),
            "keys": parts.holds(lambda: wechatpay.ready),
        }
        metrics.show_build("webhook")
        showing.show_calls([one.client for one in accounts.values()])
        showing.show_notifications(accounts)
        server = make_server(
            Starlette(routes=[*webhook.routes(), *health_routes(checks, metrics.registry(metrics.WEBHOOK))]),
            host=address.webhook_host,
            port=address.webhook_port,
            max_connections=MAX_CONNECTIONS,
        )
        told = stop_on_signals(within_seconds=WEBHOOK_STOP_SECONDS)
        async with asyncio.TaskGroup() as group:
            serving = parts.start(group, server.serve())
            fetching = [one.keys.run() for one in accounts.values()]
            others = [parts.start(group, work) for work in (publisher.run(), *fetching, measure_lag())]
            log.info("webhook_started", port=address.webhook_port)
            await told.wait()
            server.stop()
            await serving
            await parts.end(*others)
        log.info("webhook_stopped")
