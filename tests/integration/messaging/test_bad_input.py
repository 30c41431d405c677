"""What must not be: dead at once, with a reason that names the member; nothing is touched, and consuming goes on."""

import struct
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import msgspec
import pytest
from aiormq.abc import ChannelFrame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from structlog.testing import capture_logs

from payscore_worker.events import MAX_BODY_BYTES
from payscore_worker.messaging.deadletters import DeadLetters
from tests.integration.messaging.desk import TRIP_ENDED, Desk
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker

CLOUD = "application/cloudevents+json"


def an_end(trip_id: str = "good", **changes: Any) -> dict[str, Any]:
    end = {
        "trip_id": trip_id,
        "ended_at": "2026-05-01T20:30:00+08:00",
        "fees": [{"name": "里程费", "amount_fen": 3_500}],
        "discounts": [{"name": "优惠券", "amount_fen": 300}],
        "total_fen": 3_200,
    }
    return {name: value for name, value in (end | changes).items() if value is not ...}


def a_fee(**changes: Any) -> dict[str, Any]:
    fee = {"name": "里程费", "amount_fen": 3_500} | changes
    return {"fees": [{name: value for name, value in fee.items() if value is not ...}]}


def a_cloud_event(**changes: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "rides",
        "type": "trip.ended",
        "time": "2026-05-01T20:30:01+08:00",
        "data": an_end(),
    } | changes
    return msgspec.json.encode({name: value for name, value in event.items() if value is not ...})


PLAIN: dict[str, tuple[dict[str, Any], str]] = {
    "no trip id": ({"trip_id": ...}, "trip_id: missing"),
    "no fees": ({"fees": ...}, "fees: missing"),
    "no total": ({"total_fen": ...}, "total_fen: missing"),
    "no end": ({"ended_at": ...}, "ended_at: missing"),
    "an empty list of fees": ({"fees": []}, "fees: Expected `array` of length >= 1"),
    "a fee without a name": (a_fee(name=...), "fees[0].name: missing"),
    "negative money": (a_fee(amount_fen=-1), "fees[0].amount_fen: Expected `int` >= 0"),
    "fractional money": (a_fee(amount_fen=35.01), "fees[0].amount_fen: Expected `int`, got `float`"),
    "money in yuan": ({"total_fen": 32.5}, "total_fen: Expected `int`, got `float`"),
    "money as text": ({"total_fen": "3200"}, "total_fen: Expected `int`, got `str`"),
    "money without end": ({"total_fen": 10**30}, "total_fen: "),
    "a total that is not the sum": (
        {"total_fen": 3_500},
        "total_fen: 3500 is not fees minus discounts, which is 3200",
    ),
    "a negative total": (
        {"discounts": [{"name": "优惠券", "amount_fen": 4_000}], "total_fen": -500},
        "total_fen: Expected `int` >= 0",
    ),
    "a time without a zone": ({"ended_at": "2026-05-01T20:30:00"}, "ended_at: Expected `datetime` with a timezone"),
    "an unknown time zone": ({"ended_at": "2026-05-01T20:30:00 Asia/Shanghai"}, "ended_at: Invalid RFC3339"),
    "a time that does not exist": ({"ended_at": "2026-02-30T20:30:00+08:00"}, "ended_at: Invalid RFC3339"),
    "text over its length": (a_fee(name="费" * 501), "fees[0].name: Expected `str` of length <= 500"),
    "a trip id over its length": ({"trip_id": "t" * 65}, "trip_id: Expected `str` of length <= 64"),
    "a trip id of other letters": ({"trip_id": "行程"}, "trip_id: Expected `str` matching regex"),
    "null": ({"fees": None}, "fees: Expected `array`, got `null`"),
}

WHOLE: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "", "body: not JSON: Input data was truncated"),
    "half a message": (msgspec.json.encode(an_end())[:40], "", "body: not JSON: Input data was truncated"),
    "XML": (b"<trip/>", "", "body: not JSON: JSON is malformed"),
    "a list": (b"[]", "", "body: Expected `object`, got `array`"),
    "brackets without end": (b'{"unknown":' + b"[" * 100_000, "", "body: not JSON: "),
    "another type": (a_cloud_event(type="trip.started"), CLOUD, "type: 'trip.started' is none of trip.ended"),
    "another version": (a_cloud_event(specversion="0.3"), CLOUD, "specversion: Expected `str` matching regex"),
    "no id": (a_cloud_event(id=...), CLOUD, "id: missing"),
    "no data": (a_cloud_event(data=...), CLOUD, "data: missing"),
    "data that lack a member": (a_cloud_event(data=an_end(total_fen=...)), CLOUD, "data.total_fen: missing"),
    "not an envelope": (msgspec.json.encode(an_end()), CLOUD, "specversion: missing"),
}

CASES = {
    name: (msgspec.json.encode(an_end(**changes)), "", reason) for name, (changes, reason) in PLAIN.items()
} | WHOLE


async def still_consumes(desk: Desk, handler: Handler) -> None:
    await desk.put(TRIP_ENDED, msgspec.json.encode(an_end()), message_id="good")
    await eventually(lambda: handler.done)


async def test_messages_that_cannot_be_are_dead_with_the_reason(amqp_url: str, desk: Desk) -> None:
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler, queues=[TRIP_ENDED]):
        for case, (body, content_type, _reason) in CASES.items():
            await desk.put(TRIP_ENDED, body, message_id=case, content_type=content_type or None)
        dead = {message.message_id: message for message in [await desk.take_dead(TRIP_ENDED) for _ in CASES]}
        await still_consumes(desk, handler)

    assert handler.heard == ["good"]
    for case, (body, _content_type, reason) in CASES.items():
        headers = dead[case].headers
        assert str(headers["x-reason"]).startswith(reason), case
        assert (headers["x-error"], headers["x-attempts"]) == ("MalformedMessage", 1), case
        assert dead[case].body == body, case


async def test_text_that_is_not_utf_8_is_dead_at_once(amqp_url: str, desk: Desk) -> None:
    body = msgspec.json.encode(an_end()).replace("里程费".encode(), "里程费".encode("gbk"))
    async with a_worker(amqp_url, desk.topology, Handler(), queues=[TRIP_ENDED]):
        await desk.put(TRIP_ENDED, body, message_id="bad")
        dead = await desk.take_dead(TRIP_ENDED)

    assert dead.headers["x-error"] == "MalformedMessage"


# --- Too large ---


async def test_what_is_larger_than_any_event_is_dead_lettered_as_it_is(amqp_url: str, desk: Desk) -> None:
    body, handler = b'"' + b"x" * 10_000_000 + b'"', Handler()
    async with a_worker(amqp_url, desk.topology, handler, queues=[TRIP_ENDED]):
        await desk.put(TRIP_ENDED, body, message_id="10 MB")
        await desk.holds(f"{TRIP_ENDED}.dead", 1)
        await still_consumes(desk, handler)
    look = await DeadLetters(amqp_url, desk.topology).look(TRIP_ENDED)

    assert [letter.reason for letter in look.letters] == [
        f"body: 10000002 bytes, more than the {MAX_BODY_BYTES} allowed"
    ]
    assert (await desk.take_dead(TRIP_ENDED)).body == body


async def test_a_copy_that_no_frame_holds_is_dead_lettered_by_rabbitmq_and_costs_nobody_the_link(
    amqp_url: str, desk: Desk
) -> None:
    handler, header = Handler(), "h" * 130_900  # six headers more are too much for RabbitMQ's frame of 131,072 bytes
    with capture_logs() as lines:
        async with a_worker(amqp_url, desk.topology, handler, queues=[TRIP_ENDED]):
            for number in range(3):
                await desk.put(TRIP_ENDED, b"<trip/>", message_id=f"m{number}", headers={"x-h": header})
            await desk.holds(f"{TRIP_ENDED}.dead", 3)
            await still_consumes(desk, handler)

    dead = await desk.take_dead(TRIP_ENDED)
    assert dead.headers["x-h"] == header
    assert dead.headers["x-death"][0]["reason"] == "rejected"  # type: ignore[index,call-overload]
    told = [line["refused"] for line in lines if line["event"] == "message_not_copied"]
    assert len(told) == 3
    assert all(text.startswith("RabbitMQ will not take it: FRAME_ERROR") for text in told)
    assert not [line for line in lines if line["event"] == "broker_link_lost"]


# --- Properties that cannot be read ---


def a_header(flags: int, properties: bytes, body: bytes) -> bytes:
    return struct.pack(">HHQH", commands.Basic.frame_id, 0, len(body), flags) + properties


MESSAGE_ID, TIMESTAMP, HEADERS = 0x0080, 0x0040, 0x2000
NOT_UTF_8 = "网约车".encode("gbk")

UNREADABLE: dict[str, tuple[int, bytes]] = {
    "an id that is not UTF-8": (MESSAGE_ID, bytes([len(NOT_UTF_8)]) + NOT_UTF_8),
    "a header name that is not UTF-8": (
        HEADERS,
        struct.pack(">I", len(NOT_UTF_8) + 2) + bytes([len(NOT_UTF_8)]) + NOT_UTF_8 + b"V",
    ),
    "a timestamp in nanoseconds": (TIMESTAMP, struct.pack(">Q", 1_777_600_000_000_000_000)),
}


class RawHeader(ContentHeader):
    """A header that is written as it is told."""

    raw = b""

    def marshal(self) -> bytes:
        return self.raw


def publish_raw(queue: str, raw: bytes, body: bytes) -> Callable[[aio_pika.abc.AbstractChannel], Awaitable[None]]:
    header = RawHeader(body_size=len(body))
    header.raw = raw

    async def publish(channel: aio_pika.abc.AbstractChannel) -> None:
        underlay = await channel.get_underlay_channel()
        frames: list[Any] = [commands.Basic.Publish(routing_key=queue), header, ContentBody(body)]
        marshalled = ChannelFrame.marshall(channel_number=underlay.number, frames=frames)
        await underlay.connection.write_queue.put(marshalled)
        await channel.declare_queue(queue, passive=True)  # answered once RabbitMQ has taken what came before

    return publish


@pytest.mark.parametrize("case", UNREADABLE)
async def test_a_message_whose_properties_cannot_be_read_costs_nobody_the_link(
    amqp_url: str, desk: Desk, case: str
) -> None:
    flags, properties = UNREADABLE[case]
    body = msgspec.json.encode(an_end("unreadable"))
    handler = Handler()
    async with a_worker(amqp_url, desk.topology, handler, queues=[TRIP_ENDED]) as worker:
        queue = desk.topology.name(TRIP_ENDED)
        await desk.do(publish_raw(queue, a_header(flags, properties, body), body))
        await eventually(lambda: desk.ready(f"{TRIP_ENDED}.dead"))
        await still_consumes(desk, handler)
        assert worker.is_ready

    assert handler.heard == ["good"]
    assert (await desk.take_dead(TRIP_ENDED)).body == body


async def test_a_header_that_is_not_text_is_kept_on_the_ladder(amqp_url: str, desk: Desk) -> None:
    body = msgspec.json.encode(an_end("bytes"))
    value = b"S" + struct.pack(">I", len(NOT_UTF_8)) + NOT_UTF_8
    properties = struct.pack(">I", len(value) + 2) + b"\x01k" + value
    errors: list[Exception] = [ZeroDivisionError()]

    async def fail_once(_trip_id: str) -> None:
        if errors:
            raise errors.pop()

    handler = Handler(fail_once)
    async with a_worker(amqp_url, desk.topology, handler, queues=[TRIP_ENDED]):
        queue = desk.topology.name(TRIP_ENDED)
        await desk.do(publish_raw(queue, a_header(HEADERS, properties, body), body))
        await eventually(lambda: handler.done)

    assert handler.heard == ["bytes", "bytes"]
