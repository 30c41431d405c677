"""While WeChat Pay is out nobody calls but the probe; a 429 slows everybody down, and success speeds up again."""

import asyncio
from itertools import pairwise

import pytest

from payscore_worker.errors import (
    HeldBack,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay import breaker as breaker_module
from payscore_worker.wechatpay.breaker import OPENS_AFTER, Breaker, FailureClass, failure_class
from payscore_worker.wechatpay.guarded import GuardedPayScore
from payscore_worker.wechatpay.pace import FIRST_GAP_SECONDS, LONGEST_GAP_SECONDS, MAX_WAITING, Pace


def a_failure(kind: FailureClass) -> WechatPayError:
    status = {
        FailureClass.UNREACHABLE: None,
        FailureClass.TROUBLE: 503,
        FailureClass.UNVERIFIED: 200,
        FailureClass.THROTTLED: 429,
    }[kind]
    cls = WechatPayUnavailable if kind is FailureClass.THROTTLED else OutcomeUnknown
    return cls("out", status=status, attempts=3)


@pytest.mark.parametrize("kind", FailureClass)
def test_failures_are_told_apart_by_what_came_back(kind: FailureClass) -> None:
    assert failure_class(a_failure(kind)) is kind


@pytest.mark.parametrize("kind", FailureClass)
async def test_it_opens_after_as_many_like_failures_in_a_row_as_the_class_allows(kind: FailureClass) -> None:
    breaker = Breaker()
    for _ in range(OPENS_AFTER[kind] - 1):
        breaker.failed(a_failure(kind))
    breaker.admit()

    breaker.failed(a_failure(kind))

    assert breaker.is_open
    assert breaker.reason is kind
    with pytest.raises(HeldBack):
        breaker.admit()


async def test_one_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.failed(a_failure(FailureClass.TROUBLE))
        breaker.succeeded()

    assert not breaker.is_open


async def test_failures_of_different_classes_are_counted_apart() -> None:
    breaker = Breaker()
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE] - 1):
        breaker.failed(a_failure(FailureClass.TROUBLE))
        breaker.failed(a_failure(FailureClass.UNREACHABLE))

    assert not breaker.is_open


@pytest.fixture
async def open_breaker(monkeypatch: pytest.MonkeyPatch) -> Breaker:
    monkeypatch.setattr(breaker_module, "FIRST_PROBE_SECONDS", 0.01)
    monkeypatch.setattr(breaker_module, "LONGEST_PROBE_SECONDS", 0.02)
    breaker = Breaker()
    for _ in range(OPENS_AFTER[FailureClass.UNREACHABLE]):
        breaker.failed(a_failure(FailureClass.UNREACHABLE))
    return breaker


async def test_it_closes_when_a_probe_is_answered_and_probes_one_at_a_time_until_then(open_breaker: Breaker) -> None:
    probing, most, answers = 0, 0, iter([False, False, False, True])

    async def probe() -> bool:
        nonlocal probing, most
        probing += 1
        most = max(most, probing)
        await asyncio.sleep(0)
        probing -= 1
        return next(answers)

    running = asyncio.create_task(open_breaker.run(probe))
    async with asyncio.timeout(60):  # its probes pause for seconds; a busy machine adds its own
        await open_breaker.closed()

    assert most == 1
    assert next(answers, None) is None
    open_breaker.admit()
    running.cancel()


async def test_it_can_open_again_after_it_was_closed(open_breaker: Breaker) -> None:
    async def probe() -> bool:
        return True

    running = asyncio.create_task(open_breaker.run(probe))
    async with asyncio.timeout(60):  # its probes pause for seconds; a busy machine adds its own
        await open_breaker.closed()
        for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
            open_breaker.failed(a_failure(FailureClass.TROUBLE))
        assert open_breaker.is_open
        await open_breaker.closed()
    running.cancel()


class OneCall:
    """A PayScore of which only the query is used."""

    def __init__(self, error: WechatPayError | None) -> None:
        self.error = error
        self.calls = 0

    async def query(self, _out_order_no: str) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "order"


def guarded(error: WechatPayError | None) -> tuple[GuardedPayScore, OneCall, Breaker]:
    one, breaker = OneCall(error), Breaker()
    return GuardedPayScore(one, breaker), one, breaker  # type: ignore[arg-type]


async def test_while_it_is_open_no_call_reaches_wechat() -> None:
    payscore, one, breaker = guarded(a_failure(FailureClass.TROUBLE))
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        with pytest.raises(OutcomeUnknown):
            await payscore.query("t1")

    with pytest.raises(HeldBack) as held:
        await payscore.query("t1")

    assert one.calls == OPENS_AFTER[FailureClass.TROUBLE]
    assert held.value.attempts == 0
    assert breaker.is_open


async def test_a_refusal_is_an_answer_wechat_is_there() -> None:
    refusal = WechatPayRejected("no", refusal=Refusal.UNCLEAR, status=400, code="X")
    payscore, _, breaker = guarded(refusal)
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE] - 1):
        breaker.failed(a_failure(FailureClass.TROUBLE))

    with pytest.raises(WechatPayRejected):
        await payscore.query("t1")
    breaker.failed(a_failure(FailureClass.TROUBLE))

    assert not breaker.is_open


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (None, True),
        (WechatPayRejected("no", refusal=Refusal.ORDER_NOT_FOUND, status=404, code="ORDER_NOT_EXIST"), True),
        (a_failure(FailureClass.TROUBLE), False),
        (a_failure(FailureClass.UNREACHABLE), False),
        (a_failure(FailureClass.THROTTLED), False),
    ],
)
async def test_a_probe_is_answered_by_anything_that_wechat_itself_says(
    error: WechatPayError | None,
    answered: bool,  # noqa: FBT001 - a column of the table
) -> None:
    payscore, one, breaker = guarded(error)
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        breaker.failed(a_failure(FailureClass.TROUBLE))

    assert await payscore.probe() is answered
    assert one.calls == 1


class Sleeps:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_an_unthrottled_pace_costs_no_wait() -> None:
    sleeps = Sleeps()
    pace = Pace(sleep=sleeps)

    for _ in range(100):
        await pace.turn()
        pace.passed()

    assert sleeps.seconds == []


async def test_each_429_doubles_the_gap_up_to_a_bound() -> None:
    pace = Pace(sleep=Sleeps())
    gaps = []
    for _ in range(12):
        pace.throttled(await pace.turn())
        gaps.append(pace.gap_seconds)

    assert gaps[0] == FIRST_GAP_SECONDS
    assert gaps[1] == 2 * FIRST_GAP_SECONDS
    assert gaps[-1] == LONGEST_GAP_SECONDS


async def test_calls_that_were_on_their_way_together_slow_everybody_down_once() -> None:
    pace = Pace(sleep=Sleeps())
    on_their_way = [await pace.turn() for _ in range(50)]

    for began in on_their_way:
        pace.throttled(began)

    assert pace.gap_seconds == FIRST_GAP_SECONDS


async def test_calls_at_a_slower_pace_go_one_after_the_other() -> None:
    pace = Pace()
    pace.throttled(await pace.turn())

    turns = await asyncio.gather(*(pace.turn() for _ in range(4)))

    gaps = [later - earlier for earlier, later in pairwise(turns)]
    assert all(gap >= FIRST_GAP_SECONDS * 0.9 for gap in gaps)


async def test_those_who_wait_profit_from_a_pace_that_becomes_faster() -> None:
    sleeps = Sleeps()
    pace = Pace(sleep=sleeps)
    for _ in range(12):
        pace.throttled(await pace.turn())
    sleeps.seconds.clear()

    async def call() -> None:
        await pace.turn()
        pace.passed()

    await asyncio.gather(*(call() for _ in range(MAX_WAITING)))

    assert sleeps.seconds[0] <= LONGEST_GAP_SECONDS
    assert sleeps.seconds[-1] < sleeps.seconds[0] / 10


async def test_enough_waiting_calls_hold_further_ones_back_before_they_are_tried() -> None:
    pace = Pace()
    for _ in range(12):
        pace.throttled(asyncio.get_running_loop().time())
    waiting = [asyncio.create_task(pace.turn()) for _ in range(MAX_WAITING + 1)]  # the first need not wait
    await asyncio.sleep(0)

    with pytest.raises(HeldBack, match=rf"^WeChat Pay throttles us, and {MAX_WAITING} calls wait") as held:
        pace.admit()

    assert held.value.attempts == 0
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    pace.admit()


async def test_as_many_may_wait_as_before_once_others_have_had_their_turn() -> None:
    pace = Pace()
    for _ in range(12):
        pace.throttled(asyncio.get_running_loop().time())
    await pace.turn()  # the first need not wait, the next must

    for _ in range(2):
        waiting = [asyncio.create_task(pace.turn()) for _ in range(MAX_WAITING - 1)]
        await asyncio.sleep(0)
        pace.admit()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_success_speeds_up_until_no_gap_is_left() -> None:
    pace = Pace(sleep=Sleeps())
    for _ in range(5):
        pace.throttled(await pace.turn())

    for _ in range(200):
        pace.passed()

    assert pace.gap_seconds == 0
