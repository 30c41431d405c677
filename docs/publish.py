"""Publishes one event to ride.events, as the ride service would: `python docs/publish.py trip.started '{…}'`."""

import asyncio
import sys

import aio_pika

from payscore_worker.messaging.topology import RIDE_EVENTS
from payscore_worker.settings import BrokerSettings, Environment


async def publish(routing_key: str, body: str) -> None:
    """Publish a plain JSON body, confirmed."""
    broker = Environment().read(BrokerSettings)
    async with await aio_pika.connect(broker.amqp_url) as connection, connection.channel() as channel:
        exchange = await channel.get_exchange(broker.amqp_prefix + RIDE_EVENTS)
        message = aio_pika.Message(
            body.encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await exchange.publish(message, routing_key)


if __name__ == "__main__":
    _, key, text = sys.argv
    asyncio.run(publish(key, text))
