"""Dead letters in the hands of a person: grouped, looked at, put back unchanged, or dropped."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog
from aio_pika.abc import AbstractIncomingMessage, HeadersType

from payscore_worker.errors import Rejected, Retryable
from payscore_worker.events import MAX_BODY_BYTES
from payscore_worker.messaging.connection import UNREADABLE
from payscore_worker.messaging.envelope import (
    ATTEMPTS,
    ERROR,
    FIRST_FAILED_AT,
    LAST_FAILED_AT,
    MAX_REASON,
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

MAX_LOOKED_BYTES: Final = 64 * 1024 * 1024
"""Read in one look: a thousand messages of ours are one megabyte; where strangers wrote more, the look ends early."""

MAX_READ_BYTES: Final = 1024 * 1024
"""A larger body is no message of ours: nothing in it is read, and nobody judges it."""

MAX_NAME: Final = 255
"""What a message id can have; names of trips and orders are shorter."""

MAX_RAW_NAME: Final = 6 * MAX_NAME
"""The same, with every character written as an escape of JSON."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is told of a message that a person should look at; texts are empty where nothing is known.

    Whoever can publish can write anything: each text is cut when it is read, and has no control characters.
    """

    queue: str
    """Where it came from, and goes back to."""
    id: str
    """Its id, or a digest that stands for it; always something that can be typed."""
    reason: str
    error: str
    attempts: int
    first_failed_at: str
    last_failed_at: str
    trip_id: str
    """The trip it is about, or its out_order_no."""
    size: int = 0
    """Of its body, in bytes."""

    @property
    def group(self) -> str:
        """What it has in common with others that failed for the same reason."""
        return group_of(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(Summary):
    """The whole of one: to judge it, or to show it. Nobody keeps more than one of them."""

    message_id: str
    content_type: str
    body: bytes = field(repr=False)


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
    letters: Sequence[Summary]
    """The oldest first; as many as the limits of a look allow."""
    waiting: int
    """How many there are in all, at least."""
    staged: int | None
    """Copies that a broken-off replay left; the next replay or drop puts that right. None: RabbitMQ cannot tell."""

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

    def takes(self, letter: Summary) -> bool:
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

    letter: Summary
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
        letters, size = [], 0
        async with self._turn(queue) as turn:
            waiting = await turn.count()
            async for message in turn.messages(min(limit, MAX_MESSAGES)):
                letters.append(_summary(message, queue))
                size += len(message.body)
                if size > MAX_LOOKED_BYTES:
                    break
            staged = await staged_count(turn.connection, self._topology, queue)
            return Look(queue=queue, letters=letters, waiting=max(waiting, len(letters)), staged=staged)

    async def find(self, queue: str, id: str) -> DeadLetter | None:
        """Look at the whole of one, among the oldest."""
        async with self._turn(queue) as turn:
            async for message in turn.messages(MAX_MESSAGES):
                if _name(message, queue) == id:
                    return _whole(message, queue)
        return None

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
                if _name(message, queue) == id:
                    await turn.drop(message)
                    letter = _summary(message, queue)
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
        letter, key = _summary(message, turn.queue), key_of(message, turn.queue)
        if choice.takes(letter) and key not in moved:  # what has come back meanwhile is for another replay
            decision = await _decided(message, turn.queue, decide)
            if decision.allowed and mover is not None:
                decision = await _moved(message, decision, mover)
                moved.update([key] if decision.allowed else [])
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


async def _decided(message: AbstractIncomingMessage, queue: str, decide: Decide) -> Decision:
    """Have one letter judged. Whatever is wrong with it is its own affair: it stays, and the others are judged.

    Raises:
        Retryable: whoever should judge cannot ask anybody now; that is no fault of the letter.

    """
    if UNREADABLE in message.headers:
        return Decision(allowed=False, why="its properties cannot be read, so it could only be put back changed")
    if len(message.body) > MAX_READ_BYTES:
        return Decision(allowed=False, why=f"it has {len(message.body)} bytes: larger than any message of ours")
    try:
        decision = await decide(_whole(message, queue))
    except Retryable:
        raise
    except Exception as error:
        log.exception("letter_not_judged", queue=queue, id=_name(message, queue))
        return Decision(allowed=False, why=f"it cannot be judged: {type(error).__name__}")
    return replace(decision, why=_text(decision.why))


async def _moved(message: AbstractIncomingMessage, decision: Decision, mover: Mover) -> Decision:
    """Put one back; what cannot be put back unchanged stays."""
    try:
        await mover.move(message)
    except Rejected as error:
        return Decision(allowed=False, why=_text(str(error)))
    return decision


# --- Groups ---


def grouped(letters: Iterable[Summary]) -> list[Group]:
    """Group letters by queue and reason, the largest group first."""
    found: dict[str, list[Summary]] = {}
    for letter in letters:
        found.setdefault(group_id(letter), []).append(letter)
    groups = [_group(id, members) for id, members in found.items()]
    return sorted(groups, key=lambda group: (-group.count, group.queue, group.reason))


def _group(id: str, members: Sequence[Summary]) -> Group:
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


def group_id(letter: Summary) -> str:
    """Name the group of a letter in eight characters."""
    return sha256(f"{letter.queue}\n{letter.error}\n{letter.group}".encode()).hexdigest()[:8]


def group_of(reason: str) -> str:
    """Take out of a reason what differs from message to message: numbers, ids, quoted words."""
    return _SERIES.sub("#", _NUMBERED.sub("#", _QUOTED.sub(r"\1#\1", reason)))


_QUOTED: Final = re.compile(r"(['\"])[^'\"\s]+\1")
_NUMBERED: Final = re.compile(r"(?<![\w-])[\w-]*\d[\w-]*", re.ASCII)
"""From the start of a word on: tried from within each word too, a long one without a number would take its square."""
_SERIES: Final = re.compile(r"#(?:[.:+/]#)+")
"""A time, a decimal, an address."""


# --- Reading ---


def _whole(message: AbstractIncomingMessage, queue: str) -> DeadLetter:
    summary = _summary(message, queue)
    told = {one.name: getattr(summary, one.name) for one in fields(summary)}
    return DeadLetter(
        **told, message_id=message.message_id or "", content_type=message.content_type or "", body=message.body
    )


def _summary(message: AbstractIncomingMessage, queue: str) -> Summary:
    headers = message.headers
    return Summary(
        queue=queue,
        id=_name(message, queue),
        reason=_text(headers.get(REASON) or _brokers_reason(headers, len(message.body))),
        error=_text(headers.get(ERROR)),
        attempts=_number(headers.get(ATTEMPTS)),
        first_failed_at=_text(headers.get(FIRST_FAILED_AT) or _died_at(headers)),
        last_failed_at=_text(headers.get(LAST_FAILED_AT) or _died_at(headers)),
        trip_id=_subject(message.body),
        size=len(message.body),
    )


def _name(message: AbstractIncomingMessage, queue: str) -> str:
    """Name a letter: by its id, or by a digest where no person could type that, and no database keep it."""
    id_ = identity(message, queue)
    return id_ if id_ == _text(id_, MAX_NAME).strip() else sha256(id_.encode()).hexdigest()


def _text(value: object, most: int = MAX_REASON) -> str:
    """Read what somebody else wrote as a line: short, and with control characters written out."""
    if isinstance(value, bytes | bytearray):  # how text that is not UTF-8 is read
        value = bytes(value[: 4 * most]).decode(errors="replace")
    return _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], str(value or "")[:most])


_UNSHOWN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, turns a line around, or is no character at all."""


def _brokers_reason(headers: HeadersType, size: int) -> str:
    """Say why RabbitMQ itself put it here: nobody could read or copy it, or its worker died too often with it."""
    if UNREADABLE in headers:
        return f"its properties cannot be read: {headers[UNREADABLE]!s}"
    reason = str(_last_death(headers).get("reason", "unknown"))
    if reason == "rejected" and size > MAX_BODY_BYTES:
        return f"body: {size} bytes, more than the {MAX_BODY_BYTES} allowed"
    return f"RabbitMQ: {reason}{_SUSPECTS.get(reason, '')}"


_SUSPECTS: Final = {
    "delivery_limit": "; suspect it, it may be innocent",
    "rejected": "; it could not be copied, and the worker's log says why: message_not_copied",
}
"""What to think of a letter that came without our headers."""


def _died_at(headers: HeadersType) -> str:
    moment = _last_death(headers).get("time")
    return moment.isoformat() if isinstance(moment, datetime) else ""


def _last_death(headers: HeadersType) -> dict[str, Any]:
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


class _Names(msgspec.Struct):
    """Where a message says what it is about; the rest of it is passed over, and nothing is made of it."""

    trip_id: msgspec.Raw = msgspec.Raw()
    out_order_no: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


def _subject(body: bytes) -> str:
    """Find which trip it is about, as far as the body can be read."""
    if len(body) > MAX_READ_BYTES:
        return ""
    try:
        names = msgspec.json.decode(body, type=_Names)
        if bytes(memoryview(names.data)[:1]) == b"{":
            names = msgspec.json.decode(names.data, type=_Names)
        return _text(_said(names.trip_id) or _said(names.out_order_no), MAX_NAME)
    except (ValueError, RecursionError):
        return ""


def _said(name: msgspec.Raw) -> object:
    return msgspec.json.decode(name) if 0 < memoryview(name).nbytes <= MAX_RAW_NAME else None
