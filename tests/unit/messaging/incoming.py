"""Messages as aio-pika hands them over, without a broker."""

from typing import Any

from aio_pika import IncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader


class Channel:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.is_closed = False
        self.told: list[str] = []

    async def basic_ack(self, **options: object) -> None:
        self.told.append(f"ack {options}")

    async def basic_reject(self, **options: object) -> None:
        self.told.append(f"reject {options}")


class Connection:
    """As much of one as a session looks at."""

    def __init__(self) -> None:
        self.close_callbacks: set[Any] = set()


def a_message(body: bytes = b"{}", *, channel: Channel | None = None, **properties: Any) -> IncomingMessage:
    """Make a message; the keywords are AMQP properties, `type` included."""
    if "type" in properties:
        properties["message_type"] = properties.pop("type")
    delivered = DeliveredMessage(
        delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, exchange="", routing_key="q"),
        header=ContentHeader(body_size=len(body), properties=Basic.Properties(**properties)),
        body=body,
        channel=channel or Channel(),  # type: ignore[arg-type]
    )
    return IncomingMessage(delivered)
