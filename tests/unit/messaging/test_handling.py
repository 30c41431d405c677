"""An answer reaches the broker, or the session ends: nothing stays in hand unanswered."""

import asyncio

import pytest
from aio_pika.exceptions import ChannelInvalidStateError

from payscore_worker.messaging.handling import Held
from payscore_worker.messaging.link import Session
from tests.unit.messaging.incoming import Channel, Connection, a_message


@pytest.fixture
async def session() -> Session:
    return Session(Connection())  # type: ignore[arg-type]


async def test_an_ack_reaches_the_broker(session: Session) -> None:
    channel = Channel()

    assert await Held(a_message(channel=channel), session).ack("done") == "done"

    assert channel.told == ["ack {'delivery_tag': 1, 'multiple': False}"]
    assert session.is_whole


async def test_a_reject_leaves_the_message_to_the_dead_letter_exchange(session: Session) -> None:
    channel = Channel()

    assert await Held(a_message(channel=channel), session).reject("dead-lettered") == "dead-lettered"

    assert channel.told == ["reject {'delivery_tag': 1, 'requeue': False}"]


class Failing(Channel):
    """Cannot be told anything."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self._failure = failure

    async def basic_ack(self, **_options: object) -> None:
        raise self._failure


class Frozen(Channel):
    """Is told, and told, and told."""

    async def basic_ack(self, **_options: object) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "failure",
    [ChannelInvalidStateError("closed"), ConnectionResetError(), asyncio.CancelledError("the connection froze")],
    ids=repr,
)
async def test_an_answer_that_fails_ends_the_session(session: Session, failure: BaseException) -> None:
    held = Held(a_message(channel=Failing(failure)), session)

    assert await held.ack("done") == "done, to be redelivered"
    assert not session.is_whole


async def test_an_answer_that_nobody_reads_ends_the_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payscore_worker.messaging.handling.ANSWER_TIMEOUT_SECONDS", 0.01)

    assert await Held(a_message(channel=Frozen()), session).ack("done") == "done, to be redelivered"
    assert not session.is_whole


async def test_an_answer_that_is_cancelled_is_cancelled(session: Session) -> None:
    answering = asyncio.create_task(Held(a_message(channel=Frozen()), session).ack("done"))
    await asyncio.sleep(0)
    answering.cancel()

    with pytest.raises(asyncio.CancelledError):
        await answering
