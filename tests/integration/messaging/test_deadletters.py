"""Dead letters in the hands of a person: nothing is lost, changed, or done twice by looking."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from pamqp.common import FieldTable
from pamqp.header import ContentHeader
from structlog.testing import capture_logs

from payscore_worker.errors import BrokerUnavailable, ConflictingFact, Rejected
from payscore_worker.events import TripCancelled, read_event
from payscore_worker.messaging import link, moving
from payscore_worker.messaging.deadletters import (
    Choice,
    DeadLetter,
    DeadLetters,
    Decision,
    Fate,
    Progress,
    Summary,
    group_of,
)
from payscore_worker.messaging.envelope import BROKERS_OWN, HISTORY
from payscore_worker.messaging.inspect import depths
from payscore_worker.messaging.moving import Busy, Mover
from payscore_worker.messaging.topology import DELIVERY_LIMIT, QUEUES
from tests.integration.messaging.desk import TRIP_CANCELLED, TRIP_ENDED, Desk, a_cancellation
from tests.integration.messaging.waiting import eventually
from tests.integration.messaging.worker import Handler, a_worker

ROOT = Path(__file__).parents[3]
DEAD = f"{TRIP_CANCELLED}.dead"
STAGING = f"{TRIP_CANCELLED}.replay"


@pytest.fixture
def letters(amqp_url: str, desk: Desk) -> DeadLetters:
    return DeadLetters(amqp_url, desk.topology)


ALL = Choice()


async def allow(_letter: DeadLetter) -> Decision:
    return Decision(allowed=True, why="")


async def replay(
    letters: DeadLetters,
    choice: Choice = ALL,
    decide: Callable[[DeadLetter], Awaitable[Decision]] = allow,
    *,
    dry_run: bool = False,
) -> list[Progress]:
    async with aclosing(letters.replay(TRIP_CANCELLED, choice, decide, dry_run=dry_run)) as told:
        return [progress async for progress in told]


async def replayed(letters: DeadLetters, choice: Choice = ALL) -> list[str]:
    return [progress.letter.id for progress in await replay(letters, choice)]


async def drop(letters: DeadLetters, id: str) -> bool:
    return await letters.drop(TRIP_CANCELLED, id, by="tester", reason="a test")


async def listed(letters: DeadLetters, *, limit: int = 1000) -> list[Summary]:
    return list((await letters.look(TRIP_CANCELLED, limit=limit)).letters)


async def reject(_trip_id: str) -> None:
    raise ConflictingFact("another fare")


async def buried(amqp_url: str, desk: Desk, *trip_ids: str) -> None:
    """Have these trips rejected by a worker."""
    async with a_worker(amqp_url, desk.topology, Handler(reject)):
        for number, trip_id in enumerate(trip_ids, start=await desk.ready(DEAD) + 1):
            await desk.cancel(trip_id)
            await desk.holds(DEAD, number)


async def are_dead(letters: DeadLetters, ids: list[str]) -> bool:
    return [letter.id for letter in await listed(letters)] == ids


# --- Looking ---


async def test_a_look_tells_what_happened_and_changes_nothing(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    await buried(amqp_url, desk, "t1", "t2", "t3")

    for _ in range(3):
        await desk.holds(DEAD, 3)
        first, *others = await listed(letters)
        assert (first.id, first.trip_id, first.attempts) == ("m-t1", "t1", 1)
        assert (first.reason, first.error) == ("another fare", "ConflictingFact")
        assert first.first_failed_at == first.last_failed_at != ""
        assert first.size == len(a_cancellation("t1"))
        assert [letter.id for letter in others] == ["m-t2", "m-t3"]
    await desk.holds(DEAD, 3)


async def test_a_look_can_be_limited_to_the_oldest(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    await buried(amqp_url, desk, "t1", "t2", "t3")

    assert [letter.id for letter in await listed(letters, limit=2)] == ["m-t1", "m-t2"]
    await desk.holds(DEAD, 3)
    await eventually(partial(are_dead, letters, ["m-t1", "m-t2", "m-t3"]))


async def test_what_rabbitmq_buried_itself_has_a_reason_and_a_name_too(desk: Desk, letters: DeadLetters) -> None:
    await desk.put(TRIP_CANCELLED, a_cancellation("t1"))
    await desk.lose(TRIP_CANCELLED, DELIVERY_LIMIT + 1)
    await eventually(lambda: desk.ready(DEAD))

    (letter,) = await listed(letters)
    assert letter.reason == "RabbitMQ: delivery_limit; suspect it, it may be innocent"
    assert letter.trip_id == "t1"
    assert await drop(letters, letter.id)
    await desk.holds(DEAD, 0)


@pytest.mark.parametrize("body", [b"", b"<xml/>", b"[]", b'{"trip_id":"\xff"}', b'{"data":' + b"[" * 100_000])
async def test_a_body_that_cannot_be_read_can_be_looked_at(desk: Desk, letters: DeadLetters, body: bytes) -> None:
    await desk.put(DEAD, body, message_id="m1")

    (listed_one,) = await listed(letters)
    whole = await letters.find(TRIP_CANCELLED, "m1")
    assert (listed_one.id, listed_one.trip_id, listed_one.size) == ("m1", "", len(body))
    assert whole is not None
    assert whole.body == body


async def test_only_our_queues_have_dead_letters(letters: DeadLetters) -> None:
    with pytest.raises(Rejected, match=r"no queue 'payscore\.retry\.5s'; there are payscore\.trip-started, "):
        await letters.look("payscore.retry.5s")


async def test_a_queue_that_does_not_stand_is_named_with_its_repair(desk: Desk, letters: DeadLetters) -> None:
    await desk.delete_queue(DEAD)

    with pytest.raises(Rejected, match=r"trip-cancelled\.dead does not stand: run `payscore-worker topology`"):
        await listed(letters)


# --- Grouping ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "total_fen: 3200 is not fees minus discounts, which is 3500",
            "total_fen: 1 is not fees minus discounts, which is 99",
        ),
        ("no trip has the out_order_no 'abc'", "no trip has the out_order_no 'x-1'"),
        ("fees[0].amount_fen: missing", "fees[12].amount_fen: missing"),
        ("gave up after 9 attempts: TripBusy()", "gave up after 10 attempts: TripBusy()"),
        ("trip 3f9a-77 is not known", "trip 0c41-12 is not known"),
        ("since 2026-05-01T20:00:00+08:00", "since 2026-05-02T01:10:59.123+00:00"),
    ],
)
def test_reasons_that_differ_in_a_number_or_an_id_are_one_group(one: str, other: str) -> None:
    assert group_of(one) == group_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("trip_id: missing", "openid: missing"),
        ("total_fen: Expected `int`, got `float`", "total_fen: Expected `int`, got `str`"),
        ("WeChat Pay refused (unclear): 400 PARAM_ERROR x", "WeChat Pay refused (unclear): 400 SIGN_ERROR x"),
    ],
)
def test_reasons_that_differ_in_words_are_not(one: str, other: str) -> None:
    assert group_of(one) != group_of(other)


async def test_a_look_groups_by_reason_with_counts_and_times(desk: Desk, letters: DeadLetters) -> None:
    for number, reason in enumerate(["fare 1 differs", "fare 2 differs", "trip_id: missing"]):
        headers = {"x-reason": reason, "x-error": "E", "x-last-failed-at": f"2026-05-0{number + 1}"}
        await desk.put(DEAD, a_cancellation(), message_id=f"m{number}", headers=headers)

    look = await letters.look(TRIP_CANCELLED)

    assert (look.waiting, look.staged) == (3, 0)
    differs, missing = look.groups
    assert (differs.reason, differs.error, differs.count) == ("fare # differs", "E", 2)
    assert (differs.oldest, differs.newest, differs.queue) == ("2026-05-01", "2026-05-02", TRIP_CANCELLED)
    assert (missing.reason, missing.count) == ("trip_id: missing", 1)


# --- Putting back ---


async def test_a_replay_puts_the_original_back_unchanged(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "correlation_id": "c1",
        "reply_to": "answers",
        "timestamp": datetime(2026, 5, 1, 12, tzinfo=UTC),
        "type": "trip.cancelled",
        "app_id": "rides",
        "priority": 3,
    }
    headers = {"traceparent": "00-4bf9", "numbers": [1, -2, 2**40], "nested": {"flag": True, "none": None}}
    async with a_worker(amqp_url, desk.topology, Handler(reject)):
        body = a_cancellation("t1")
        await desk.put(TRIP_CANCELLED, body, message_id="m1", headers=headers, **properties)
        await eventually(lambda: desk.ready(DEAD))

    assert await replayed(letters) == ["m1"]

    back = await desk.take(TRIP_CANCELLED)
    assert (back.body, back.message_id, back.delivery_mode) == (body, "m1", 2)
    assert {name: getattr(back, name) for name in properties} == properties
    assert own_headers(back) == headers
    assert not HISTORY & back.headers.keys()
    await eventually(lambda: desk.is_empty(DEAD, STAGING))


def own_headers(message: AbstractIncomingMessage) -> dict[str, object]:
    return {name: value for name, value in message.headers.items() if name not in BROKERS_OWN}


async def test_a_message_that_came_without_an_id_gets_the_one_its_event_is_known_by(
    desk: Desk, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = a_cancellation("t1")
    known_by = read_event(body, content_type=None, message_id=None, expected={"trip.cancelled": TripCancelled}).id
    marshal = ContentHeader.marshal

    def marshal_without_id(self: ContentHeader) -> bytes:
        self.properties.message_id = None  # aiormq gives every message one
        return marshal(self)

    with monkeypatch.context() as patching:
        patching.setattr(ContentHeader, "marshal", marshal_without_id)
        await desk.put(DEAD, body)

    assert await replayed(letters) == [known_by]
    assert (await desk.take(TRIP_CANCELLED)).message_id == known_by


async def test_a_replayed_message_begins_its_attempts_anew(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    await buried(amqp_url, desk, "t1")
    await replay(letters)

    await eventually(lambda: desk.ready(TRIP_CANCELLED))
    async with a_worker(amqp_url, desk.topology, Handler(reject)):
        await eventually(lambda: desk.ready(DEAD))

    (letter,) = await listed(letters)
    assert letter.attempts == 1


async def test_a_replay_takes_the_oldest_first_and_as_many_as_it_may(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await buried(amqp_url, desk, "t1", "t2", "t3")

    assert await replayed(letters, Choice(limit=2)) == ["m-t1", "m-t2"]

    assert [(await desk.take(TRIP_CANCELLED)).message_id for _ in range(2)] == ["m-t1", "m-t2"]
    await eventually(partial(are_dead, letters, ["m-t3"]))


async def test_a_replay_of_one_leaves_the_others_in_their_order(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await buried(amqp_url, desk, "t1", "t2", "t3")

    assert await replayed(letters, Choice(id="m-t2")) == ["m-t2"]
    assert await replayed(letters, Choice(id="nobody")) == []

    assert (await desk.take(TRIP_CANCELLED)).message_id == "m-t2"
    await eventually(partial(are_dead, letters, ["m-t1", "m-t3"]))


async def test_a_replay_of_a_group_leaves_the_other_groups(desk: Desk, letters: DeadLetters) -> None:
    for number, reason in enumerate(["fare 1 differs", "trip_id: missing", "fare 2 differs"]):
        await desk.put(DEAD, a_cancellation(f"t{number}"), message_id=f"m{number}", headers={"x-reason": reason})
    group = (await letters.look(TRIP_CANCELLED)).groups[0]

    assert await replayed(letters, Choice(group=group.id)) == ["m0", "m2"]
    assert await replayed(letters, Choice(group=group.reason)) == []
    assert await replayed(letters, Choice(group="trip_id: missing")) == ["m1"]


async def test_a_replay_tells_how_far_it_is(desk: Desk, letters: DeadLetters) -> None:
    await bury(desk, "m1", "m2", "m3")

    assert [(step.looked_at, step.of) for step in await replay(letters)] == [(1, 3), (2, 3), (3, 3)]


async def test_a_replay_takes_what_rabbitmq_has_not_counted_yet(
    desk: Desk, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its count lags behind what was returned a moment ago."""
    await bury(desk, *MESSAGES)

    async def none(_turn: moving.Turn) -> int:
        return 0

    monkeypatch.setattr(moving.Turn, "count", none)

    assert [(step.letter.id, step.of) for step in await replay(letters)] == [("m1", 1), ("m2", 2), ("m3", 3)]


async def test_a_replay_may_be_stopped_between_two_messages(desk: Desk, letters: DeadLetters) -> None:
    await bury(desk, "m1", "m2", "m3")

    async with aclosing(letters.replay(TRIP_CANCELLED, ALL, allow)) as told:
        async for _ in told:
            break

    await eventually(partial(are_dead, letters, ["m2", "m3"]))
    assert await arrived(desk, 1) == ["m1"]


async def test_what_is_refused_stays_in_its_place_with_its_history(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await buried(amqp_url, desk, "t1", "t2", "t3")
    before = await listed(letters)

    async def refuse_the_second(letter: DeadLetter) -> Decision:
        return Decision(allowed=letter.trip_id != "t2", why="settled otherwise")

    steps = await replay(letters, decide=refuse_the_second)

    assert [(step.letter.trip_id, step.fate) for step in steps] == [
        ("t1", Fate.REPLAYED),
        ("t2", Fate.REFUSED),
        ("t3", Fate.REPLAYED),
    ]
    assert steps[1].why == "settled otherwise"
    assert await listed(letters) == [before[1]]
    assert await arrived(desk, 2) == ["m-t1", "m-t3"]


async def test_what_is_refused_does_not_count_towards_the_limit(desk: Desk, letters: DeadLetters) -> None:
    await bury(desk, "m1", "m2", "m3")

    async def refuse_the_first(letter: DeadLetter) -> Decision:
        return Decision(allowed=letter.id != "m1", why="")

    await replay(letters, Choice(limit=1), refuse_the_first)

    assert await arrived(desk, 1) == ["m2"]


async def test_a_dry_run_tells_the_same_and_changes_nothing(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    await buried(amqp_url, desk, "t1", "t2")
    before = await listed(letters)

    steps = await replay(letters, dry_run=True)

    assert [(step.letter.id, step.fate) for step in steps] == [("m-t1", Fate.REPLAYED), ("m-t2", Fate.REPLAYED)]
    assert await listed(letters) == before
    assert await desk.is_empty(TRIP_CANCELLED)


async def test_what_cannot_be_read_is_refused_rather_than_changed(desk: Desk, letters: DeadLetters) -> None:
    await desk.put(DEAD, a_cancellation(), message_id="m1", headers={"x-unreadable": "not UTF-8"})

    (step,) = await replay(letters)

    assert (step.fate, step.why) == (
        Fate.REFUSED,
        "its properties cannot be read, so it could only be put back changed",
    )
    assert await arrived(desk, 0) == []


async def test_a_replay_goes_to_its_own_queue_alone(desk: Desk, letters: DeadLetters) -> None:
    other = desk.topology.name(TRIP_ENDED)
    await desk.put(DEAD, a_cancellation("t1"), message_id="m1", headers={"CC": [other]})
    await desk.take(TRIP_ENDED)

    await replay(letters)

    assert (await desk.take(TRIP_CANCELLED)).message_id == "m1"
    assert await desk.is_empty(TRIP_ENDED)


async def test_what_comes_back_during_a_replay_is_left_for_the_next(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await bury(desk, "m1", "m2", "m3")

    async with a_worker(amqp_url, desk.topology, Handler(reject)):
        assert await replayed(letters) == ["m1", "m2", "m3"]

        await desk.holds(DEAD, 3)


# --- Never twice ---


async def bury(desk: Desk, *ids: str) -> None:
    for id in ids:
        await desk.put(DEAD, a_cancellation(id), message_id=id, headers={"x-reason": "another fare"})


async def arrived(desk: Desk, count: int) -> list[str]:
    """Take so many out of the origin queue, and whatever else has come there a moment later."""
    awaited = [await desk.take(TRIP_CANCELLED) for _ in range(count)]
    await asyncio.sleep(ON_ITS_WAY_SECONDS)
    more = await desk.take_what_is_there(TRIP_CANCELLED)
    return [message.message_id or "" for message in [*awaited, *more]]


ON_ITS_WAY_SECONDS = 0.3
"""RabbitMQ moves what the staging queue dead-letters by itself; that nothing more comes has no event to wait for.

On a busy machine a second copy may come later than this and be overlooked; a copy that is due is never missed for it.
"""

MESSAGES = ("m1", "m2", "m3")

POINTS = [
    f"{step} {side}"
    for step in ("publish", "confirm", "get", "ack", "reject", "commit")
    for side in ("before", "after")
]


async def replay_and_die(amqp_url: str, desk: Desk, point: str = "") -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.messaging.replayer"),
        *(amqp_url, desk.topology.prefix, TRIP_CANCELLED, point),
        cwd=ROOT,
    )
    return await process.wait()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("point", POINTS)
async def test_a_replay_killed_at_any_boundary_loses_nothing_and_doubles_nothing(
    amqp_url: str, desk: Desk, letters: DeadLetters, point: str, number: int
) -> None:
    await bury(desk, *MESSAGES)

    assert await replay_and_die(amqp_url, desk, f"{point} {number}") == -signal.SIGKILL
    await replay(letters)

    assert sorted(await arrived(desk, len(MESSAGES))) == sorted(MESSAGES)
    await eventually(lambda: desk.is_empty(DEAD, STAGING))


@pytest.mark.parametrize("second", ["get before 1", "ack before 1", "ack after 1", "publish after 1", "commit after 1"])
async def test_a_replay_killed_while_it_puts_another_right_loses_nothing_and_doubles_nothing(
    amqp_url: str, desk: Desk, letters: DeadLetters, second: str
) -> None:
    await bury(desk, *MESSAGES)

    assert await replay_and_die(amqp_url, desk, "commit before 2") == -signal.SIGKILL
    assert await replay_and_die(amqp_url, desk, second) == -signal.SIGKILL
    await replay(letters)

    assert sorted(await arrived(desk, len(MESSAGES))) == sorted(MESSAGES)
    await eventually(lambda: desk.is_empty(DEAD, STAGING))


async def test_a_look_after_a_killed_replay_says_so(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    await bury(desk, *MESSAGES)
    await replay_and_die(amqp_url, desk, "confirm before 1")

    async def is_told() -> bool:
        look = await letters.look(TRIP_CANCELLED)
        return (look.staged, [letter.id for letter in look.letters]) == (1, list(MESSAGES))

    await eventually(is_told)


async def test_a_letter_dropped_after_a_killed_replay_does_not_come_back(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await bury(desk, *MESSAGES)
    await replay_and_die(amqp_url, desk, "commit before 1")

    assert await drop(letters, "m1")
    await replay(letters)

    assert await arrived(desk, 2) == ["m2", "m3"]


async def test_two_replays_at_once_put_everything_back_once(amqp_url: str, desk: Desk, letters: DeadLetters) -> None:
    ids = [f"m{number}" for number in range(20)]
    await bury(desk, *ids)

    both = await asyncio.gather(replayed(letters), replayed(DeadLetters(amqp_url, desk.topology)))

    assert sorted(both[0] + both[1]) == sorted(ids)
    assert sorted(await arrived(desk, len(ids))) == sorted(ids)


async def test_looks_and_drops_at_once_with_a_replay_double_and_lose_nothing(desk: Desk, letters: DeadLetters) -> None:
    ids = [f"m{number}" for number in range(20)]
    await bury(desk, *ids)

    _, _, dropped, _ = await asyncio.gather(listed(letters), replay(letters), drop(letters, "m19"), listed(letters))

    expected = ids[:-1] if dropped else ids
    assert sorted(await arrived(desk, len(expected))) == sorted(expected)
    await eventually(lambda: desk.is_empty(DEAD, STAGING))


async def test_who_finds_the_letters_in_another_hand_is_told(amqp_url: str, desk: Desk) -> None:
    await bury(desk, *MESSAGES)
    impatient = DeadLetters(amqp_url, desk.topology, wait_seconds=0.2)

    async with aclosing(impatient.replay(TRIP_CANCELLED, ALL, allow)) as told:
        async for _ in told:
            with pytest.raises(Busy, match=r"trip-cancelled are in somebody else's hand"):
                await impatient.look(TRIP_CANCELLED)
            break

    assert await eventually(partial(are_dead, impatient, ["m2", "m3"]))


async def test_a_hand_that_loses_its_turn_moves_nothing_more(
    amqp_url: str, desk: Desk, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(desk, *MESSAGES)

    async def cut_before_the_second(letter: DeadLetter) -> Decision:
        if letter.id == "m2":
            await connections[0].close()
            assert await replayed(DeadLetters(amqp_url, desk.topology)) == ["m2", "m3"]
        return Decision(allowed=True, why="")

    connections: list[aio_pika.abc.AbstractConnection] = []

    async def connect(url: str, name: str) -> aio_pika.abc.AbstractConnection:
        connections.append(await link.connect(url, name))
        return connections[-1]

    monkeypatch.setattr(moving, "connect", connect)
    with pytest.raises(BrokerUnavailable):
        await replay(letters, decide=cut_before_the_second)

    assert await arrived(desk, len(MESSAGES)) == list(MESSAGES)


async def test_a_copy_whose_letter_is_gone_becomes_a_letter_again_and_says_why(
    desk: Desk, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only RabbitMQ's own crash within a commit leaves this behind."""
    monkeypatch.setattr(moving, "RETURN_SECONDS", 0.2)
    await bury(desk, "m1")
    await replay(letters)
    await desk.put(STAGING, a_cancellation("t9"), message_id="m9", headers={"traceparent": "00-1"})

    refused = [step.letter.reason async for step in letters.replay(TRIP_CANCELLED, ALL, refuse)]

    assert refused == [moving.LEFT_BEHIND]
    assert await arrived(desk, 1) == ["m1"]
    assert [letter.id for letter in await listed(letters)] == ["m9"]


async def refuse(_letter: DeadLetter) -> Decision:
    return Decision(allowed=False, why="")


async def test_a_copy_that_comes_to_light_late_is_not_put_back_beside_ours(
    desk: Desk, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead process's copy may come back to the staging queue after the next replay has looked there."""
    await bury(desk, *MESSAGES)
    move = Mover.move

    async def move_with_a_ghost(self: Mover, message: AbstractIncomingMessage) -> None:
        if message.message_id == "m2":
            await desk.put(STAGING, message.body, message_id="m2")
        await move(self, message)

    monkeypatch.setattr(Mover, "move", move_with_a_ghost)
    await replay(letters)

    assert await arrived(desk, len(MESSAGES)) == list(MESSAGES)
    await eventually(lambda: desk.is_empty(DEAD, STAGING))


async def test_the_staging_queue_shows_among_the_queues_once_it_holds_something(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await bury(desk, "m1")
    await replay_and_die(amqp_url, desk, "commit before 1")

    async def shows() -> bool:
        shown = {depth.queue: depth.ready for depth in await depths(desk.connection, desk.topology)}
        return shown.get(desk.topology.name(STAGING)) == 1

    await eventually(shows)
    await replay(letters)


@pytest.mark.parametrize("queue", QUEUES)
async def test_dead_letters_and_their_copies_wait_for_ever(desk: Desk, queue: str) -> None:
    """RabbitMQ refuses to declare again a queue whose limits are others than these."""
    for_ever: FieldTable = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1_000_000_000,
        "x-overflow": "reject-publish",
    }
    await desk.do(lambda channel: channel.declare_queue(desk.topology.dead(queue), durable=True, arguments=for_ever))


# --- Dropping ---


async def test_a_dropped_message_is_gone_and_the_others_are_not(
    amqp_url: str, desk: Desk, letters: DeadLetters
) -> None:
    await buried(amqp_url, desk, "t1", "t2", "t3")

    with capture_logs() as lines:
        assert await drop(letters, "m-t2")
        assert not await drop(letters, "m-t2")

    await eventually(partial(are_dead, letters, ["m-t1", "m-t3"]))
    (line,) = [line for line in lines if line["event"] == "dead_letter_dropped"]
    assert (line["id"], line["trip_id"], line["failed_for"]) == ("m-t2", "t2", "another fare")
    assert (line["dropped_by"], line["dropped_for"]) == ("tester", "a test")
