"""While WeChat Pay is out, messages wait in their own queue, where operators look; none is used up."""

from functools import partial

from payscore_worker.errors import FailureClass, HeldBack, OutcomeUnknown
from payscore_worker.wechatpay import Breaker
from payscore_worker.wechatpay.breaker import OPENS_AFTER
from tests.integration.messaging.desk import TRIP_CANCELLED, Desk
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker


def a_breaker(*, is_open: bool) -> Breaker:
    breaker = Breaker()
    if is_open:
        a_failure_too_many(breaker)
    return breaker


def a_failure_too_many(breaker: Breaker) -> None:
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        breaker.failed(OutcomeUnknown("out", status=503, failure=FailureClass.TROUBLE))


async def has_consumers(desk: Desk, number: int) -> bool:
    return await desk.consumers(TRIP_CANCELLED) == number


async def test_messages_wait_in_their_queue_while_the_breaker_is_open(amqp_url: str, desk: Desk) -> None:
    handler, breaker = Handler(), a_breaker(is_open=False)
    async with a_worker(amqp_url, desk.topology, handler, breaker=breaker) as worker:
        await eventually(partial(has_consumers, desk, 1))
        a_failure_too_many(breaker)
        await eventually(partial(has_consumers, desk, 0))
        await desk.cancel("t1", "t2")
        await desk.holds(TRIP_CANCELLED, 2)

        assert not handler.heard
        assert worker.is_ready
        assert not worker.consumers.hearing.is_deaf


async def test_a_worker_that_starts_during_an_outage_takes_nothing_before_it_is_over(amqp_url: str, desk: Desk) -> None:
    handler, breaker = Handler(), a_breaker(is_open=True)
    await desk.cancel("t1")
    async with a_worker(amqp_url, desk.topology, handler, breaker=breaker):
        await desk.holds(TRIP_CANCELLED, 1)
        await eventually(partial(has_consumers, desk, 0))

        breaker.close()

        await eventually(lambda: handler.done)
    assert await desk.is_empty(TRIP_CANCELLED, f"{TRIP_CANCELLED}.dead")


class OpensUnseen(Breaker):
    """Opens right after it was first asked: as by the first message of a queue, while others are still joined."""

    def __init__(self) -> None:
        super().__init__()
        self._was_asked = False

    @property
    def is_open(self) -> bool:
        was_open = super().is_open
        if not self._was_asked:
            self._was_asked = True
            a_failure_too_many(self)
        return was_open


async def test_a_breaker_that_opens_while_a_link_begins_to_consume_pauses_it_all_the_same(
    amqp_url: str, desk: Desk
) -> None:
    async with a_worker(amqp_url, desk.topology, Handler(), breaker=OpensUnseen()):
        await eventually(partial(has_consumers, desk, 0))


async def test_a_paused_queue_is_consumed_again_however_often_the_breaker_turns(amqp_url: str, desk: Desk) -> None:
    handler, breaker = Handler(), a_breaker(is_open=False)
    async with a_worker(amqp_url, desk.topology, handler, breaker=breaker):
        for turn in range(3):
            a_failure_too_many(breaker)
            await eventually(partial(has_consumers, desk, 0))
            await desk.cancel(f"t{turn}")
            breaker.close()
            await eventually(partial(has_consumers, desk, 1))
        await eventually(lambda: len(handler.done) == 3)

    assert sorted(handler.done) == ["t0", "t1", "t2"]


async def test_a_call_that_was_held_back_does_not_count_as_an_attempt(amqp_url: str, desk: Desk) -> None:
    """The ladder of these tests has two rungs: a third counted attempt would be the last."""
    waiting = [HeldBack("out")] * 5

    async def react(_trip_id: str) -> None:
        if waiting:
            raise waiting.pop()

    handler = Handler(react)
    async with a_worker(amqp_url, desk.topology, handler):
        await desk.cancel("t1")
        await eventually(lambda: handler.done)

    assert handler.heard == ["t1"] * 6
    assert await desk.is_empty(TRIP_CANCELLED, f"{TRIP_CANCELLED}.dead")
