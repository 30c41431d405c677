"""Dead letters in the hands of a person: grouped, looked at, put back unchanged, or dropped."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog
from aio_pika.abc import AbstractIncomingMessage, HeadersType

from payscore_worker.messaging.connection import UNREADABLE
from payscore_worker.messaging.envelope import (
    ATTEMPTS,
    ERROR,
    FIRST_FAILED_AT,
    LAST_FAILED_AT,
    REASON,
)
from payscore_worker.messaging.moving import (
    TURN_SECONDS,
    Mover,
    Turn,
    identity,
    key_of,
    moving,
    put_right,
    staged_count,
    taking_turns,
)
from payscore_worker.messaging.topology import Topology

MAX_MESSAGES: Final = 1000
"""Looked at in one go, and left behind by one replay: each is held until it is over."""

MAX_REPLAYED: Final = 1_000_000
"""More than a dead-letter queue will hold that people look after."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that a person should look at; texts are empty where nothing is known."""

    queue: str
    """Where it came from, and goes back to."""
    id: str
    reason: str
    error: str
    attempts: int
    first_failed_at: str
    last_failed_at: str
    trip_id: str
    """The trip it is about, or its out_order_no."""
    message_id: str
    content_type: str
    body: bytes = field(repr=False)

    @property
    def group(self) -> str:
        """What it has in common with others that failed for the same reason."""
        return group_of(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Dead letters of one queue that are there for the same reason."""

    queue: str
    id: str
    """Short, to name the group in a command."""
    reason: str
    """`#` stands for whatever number or id differs."""
    error: str
    count: int
    oldest: str
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one dead-letter queue holds."""

    queue: str
    letters: Sequence[DeadLetter]
    """The oldest first."""
    waiting: int
    """How many there are in all."""
    staged: int
    """Copies that a broken-off replay left; the next replay or drop puts that right."""

    @property
    def groups(self) -> list[Group]:
        """The letters by reason, the most frequent first."""
        return grouped(self.letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which dead letters of a queue to replay, the oldest first; all of them where nothing is said."""

    id: str | None = None
    group: str | None = None
    """A group's id, its reason, or the reason of one letter."""
    limit: int = MAX_REPLAYED
    """How many may go back."""

    def takes(self, letter: DeadLetter) -> bool:
        """Tell whether a letter is meant."""
        if self.id is not None and letter.id != self.id:
            return False
        return self.group is None or self.group in (group_id(letter), letter.group, letter.reason)


class Fate(StrEnum):
    """What became of a letter in a replay, or would."""

    REPLAYED = "replayed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a letter may go back, and why, or what will come of it."""

    allowed: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One letter of a replay, and how far the replay is."""

    letter: DeadLetter
    fate: Fate
    why: str
    looked_at: int
    of: int
    """How many dead letters there are to look at, as far as is known."""


Decide = Callable[[DeadLetter], Awaitable[Decision]]
"""Decides about one letter at the moment at which it would go back."""


class DeadLetters:
    """The dead-letter queues of one broker. Every call has a connection and a turn of its own (see `moving`).

    Every method raises Busy where somebody else has the letters in hand, and BrokerUnavailable where RabbitMQ is lost.
    """

    def __init__(self, url: str, topology: Topology, *, wait_seconds: float = TURN_SECONDS) -> None:
        self._url = url
        self._topology = topology
        self._wait_seconds = wait_seconds

    async def look(self, queue: str, *, limit: int = MAX_MESSAGES) -> Look:
        """Look at the oldest ones; they stay where they are."""
        async with self._turn(queue) as turn:
            waiting = await turn.count()
            letters = [_read(message, queue) async for message in turn.messages(min(limit, MAX_MESSAGES))]
            staged = await staged_count(turn.connection, self._topology, queue)
            return Look(queue=queue, letters=letters, waiting=max(waiting, len(letters)), staged=staged)

    async def find(self, queue: str, id: str) -> DeadLetter | None:
        """Look at one."""
        look = await self.look(queue)
        return next((letter for letter in look.letters if letter.id == id), None)

    async def replay(
        self, queue: str, choice: Choice, decide: Decide, *, dry_run: bool = False
    ) -> AsyncGenerator[Progress, None]:
        """Put the original messages back, unchanged, and tell of each; close it to stop (`contextlib.aclosing`).

        What is refused stays in its place. A replay ends early when it has left MAX_MESSAGES behind.
        """
        async with self._turn(queue) as turn:
            if dry_run:
                async for progress in _replay(turn, choice, decide, None):
                    yield progress
                return
            async with moving(turn) as mover:
                async for progress in _replay(turn, choice, decide, mover):
                    yield progress

    async def drop(self, queue: str, id: str, *, by: str, reason: str) -> bool:
        """Drop one for good, and log who did and why; tells whether it was there."""
        async with self._turn(queue) as turn:
            await put_right(turn)
            async for message in turn.messages(MAX_MESSAGES):
                if identity(message, queue) == id:
                    await turn.drop(message)
                    letter = _read(message, queue)
                    log.warning(
                        "dead_letter_dropped",
                        queue=queue,
                        id=id,
                        trip_id=letter.trip_id,
                        failed_for=letter.reason,
                        dropped_by=by,
                        dropped_for=reason,
                    )
                    return True
        return False

    def _turn(self, queue: str) -> AbstractAsyncContextManager[Turn]:
        return taking_turns(self._url, self._topology, queue, wait_seconds=self._wait_seconds)


async def _replay(turn: Turn, choice: Choice, decide: Decide, mover: Mover | None) -> AsyncIterator[Progress]:
    of, looked_at, replayed, left = await turn.count(), 0, 0, 0
    moved: set[str] = set()
    async for message in turn.messages(MAX_REPLAYED):
        looked_at += 1
        of = max(of, looked_at)
        letter, key = _read(message, turn.queue), key_of(message, turn.queue)
        if choice.takes(letter) and key not in moved:  # what has come back meanwhile is for another replay
            decision = await _decided(message, letter, decide)
            if decision.allowed and mover is not None:
                await mover.move(message)
                moved.add(key)
            replayed += decision.allowed
            fate = Fate.REPLAYED if decision.allowed else Fate.REFUSED
            yield Progress(letter=letter, fate=fate, why=decision.why, looked_at=looked_at, of=of)
            left += not decision.allowed
            if replayed == choice.limit or choice.id is not None:
                return
        else:
            left += 1
        if left == MAX_MESSAGES:
            log.warning("replay_ended_early", queue=turn.queue, left=left)
            return


async def _decided(message: AbstractIncomingMessage, letter: DeadLetter, decide: Decide) -> Decision:
    if UNREADABLE in message.headers:
        return Decision(allowed=False, why="its properties cannot be read, so it could only be put back changed")
    return await decide(letter)


# --- Groups ---


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """Group letters by queue and reason, the largest group first."""
    found: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        found.setdefault(group_id(letter), []).append(letter)
    groups = [_group(id, members) for id, members in found.items()]
    return sorted(groups, key=lambda group: (-group.count, group.queue, group.reason))


def _group(id: str, members: Sequence[DeadLetter]) -> Group:
    first = members[0]
    times = sorted(letter.last_failed_at for letter in members if letter.last_failed_at)
    return Group(
        queue=first.queue,
        id=id,
        reason=first.group,
        error=first.error,
        count=len(members),
        oldest=times[0] if times else "",
        newest=times[-1] if times else "",
    )


def group_id(letter: DeadLetter) -> str:
    """Name the group of a letter in eight characters."""
    return sha256(f"{letter.queue}\n{letter.error}\n{letter.group}".encode()).hexdigest()[:8]


def group_of(reason: str) -> str:
    """Take out of a reason what differs from message to message: numbers, ids, quoted words."""
    return _SERIES.sub("#", _NUMBERED.sub("#", _QUOTED.sub(r"\1#\1", reason)))


_QUOTED: Final = re.compile(r"(['\"])[^'\"\s]+\1")
_NUMBERED: Final = re.compile(r"[\w-]*\d[\w-]*", re.ASCII)
_SERIES: Final = re.compile(r"#(?:[.:+/]#)+")
"""A time, a decimal, an address."""


# --- Reading ---


def _read(message: AbstractIncomingMessage, queue: str) -> DeadLetter:
    headers = message.headers
    return DeadLetter(
        queue=queue,
        id=identity(message, queue),
        reason=str(headers.get(REASON) or _brokers_reason(headers)),
        error=str(headers.get(ERROR) or ""),
        attempts=_number(headers.get(ATTEMPTS)),
        first_failed_at=str(headers.get(FIRST_FAILED_AT) or _died_at(headers)),
        last_failed_at=str(headers.get(LAST_FAILED_AT) or _died_at(headers)),
        trip_id=_subject(message.body),
        message_id=message.message_id or "",
        content_type=message.content_type or "",
        body=message.body,
    )


def _brokers_reason(headers: HeadersType) -> str:
    """Say why RabbitMQ itself put it here: nobody could read it, or its worker died too often with it in hand."""
    if UNREADABLE in headers:
        return f"its properties cannot be read: {headers[UNREADABLE]!s}"
    reason = str(_last_death(headers).get("reason", "unknown"))
    return (
        f"RabbitMQ: {reason}; suspect it, it may be innocent" if reason == "delivery_limit" else f"RabbitMQ: {reason}"
    )


def _died_at(headers: HeadersType) -> str:
    moment = _last_death(headers).get("time")
    return moment.isoformat() if isinstance(moment, datetime) else ""


def _last_death(headers: HeadersType) -> dict[str, Any]:
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _subject(body: bytes) -> str:
    """Find which trip it is about, as far as the body can be read."""
    try:
        event = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        return ""
    data = event.get("data")
    members = data if isinstance(data, dict) else event
    found = members.get("trip_id") or members.get("out_order_no") or ""
    return str(found)
