"""Replays that somebody started from the console: one at a time, told of while they run, recorded for good."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import uuid4

import structlog

from payscore_worker.console.opening import REPLAY_END_SECONDS
from payscore_worker.errors import Rejected, SettlementError, StorageUnavailable
from payscore_worker.messaging.deadletters import Choice, DeadLetters, Fate, Progress
from payscore_worker.messaging.link import BROKEN
from payscore_worker.oversight.replay import Judge
from payscore_worker.storage.actions import Action, Actions, Outcome

KEPT: Final = 20
"""Replays that are remembered here; the record remembers all."""

LEFT_SHOWN: Final = 50
"""Letters that had to stay, and why; the dead-letter queue itself has all of them."""

log = structlog.stdlib.get_logger(__name__)


class OneAtATime(Rejected):
    """A replay is under way already."""


class Stage(StrEnum):
    """How far a replay is."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True, kw_only=True)
class Replay:
    """One replay, as far as it has come."""

    id: str
    who: str
    queue: str
    choice: Choice
    number: int
    """Its row in the record."""
    stage: Stage = Stage.RUNNING
    looked_at: int = 0
    of: int = 0
    replayed: int = 0
    refused: int = 0
    left: deque[Progress] = field(default_factory=lambda: deque(maxlen=LEFT_SHOWN))
    error: str = ""

    def take(self, progress: Progress) -> None:
        """Note one letter."""
        self.looked_at, self.of = progress.looked_at, progress.of
        if progress.fate is Fate.REPLAYED:
            self.replayed += 1
        else:
            self.refused += 1
            self.left.append(progress)


class Replays:
    """Runs replays beside the settlement, and ends them between two messages."""

    def __init__(
        self,
        *,
        letters: DeadLetters,
        make_judge: Callable[[], Judge],
        actions: Actions,
        clock: Callable[[], datetime],
    ) -> None:
        self._letters = letters
        self._make_judge = make_judge
        self._actions = actions
        self._clock = clock
        self._known: OrderedDict[str, Replay] = OrderedDict()
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> Replay | None:
        """The one that is under way."""
        return next((one for one in self._known.values() if one.stage is Stage.RUNNING), None)

    def get(self, id: str) -> Replay | None:
        """Find one of the last."""
        return self._known.get(id)

    async def start(self, *, who: str, queue: str, choice: Choice) -> Replay:
        """Begin a replay, once that stands in the record.

        Raises:
            OneAtATime: another is under way.
            StorageUnavailable: it could not be recorded, and was not begun.

        """
        async with self._starting:
            if self.running is not None:
                raise OneAtATime("a replay is under way")
            target = choice.id or choice.group or "*"
            action = Action(who=who, action="replay", queue=queue, target=target)
            number = await self._actions.begin(action, self._clock())
            replay = Replay(id=uuid4().hex[:12], who=who, queue=queue, choice=choice, number=number)
            self._known[replay.id] = replay
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
            self._task = asyncio.create_task(self._run(replay))
            return replay

    async def stop(self) -> None:
        """End what is under way, between two messages; what went back stays back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, replay: Replay) -> None:
        log.warning("replay_begun", queue=replay.queue, by=replay.who, number=replay.number)
        stage = await self._replay(replay)
        await self._record_the_end(replay, stage)
        replay.stage = stage  # last: whoever sees it over finds the record complete

    async def _replay(self, replay: Replay) -> Stage:
        try:
            told = self._letters.replay(replay.queue, replay.choice, self._make_judge().decide)
            async with aclosing(told) as steps:
                async for progress in steps:
                    replay.take(progress)
        except asyncio.CancelledError:
            return Stage.STOPPED
        except (SettlementError, *BROKEN) as error:
            replay.error = str(error) or repr(error)
            return Stage.FAILED
        except Exception as error:
            log.exception("replay_failed", number=replay.number)
            replay.error = type(error).__name__
            return Stage.FAILED
        return Stage.DONE

    async def _record_the_end(self, replay: Replay, stage: Stage) -> None:
        try:
            async with asyncio.timeout(REPLAY_END_SECONDS):
                await self._actions.end(
                    replay.number,
                    Outcome(stage.value),
                    moved=replay.replayed,
                    refused=replay.refused,
                    now=self._clock(),
                )
        except (StorageUnavailable, TimeoutError) as error:
            log.warning("replay_end_not_recorded", number=replay.number, reason=str(error))
        log.warning(
            "replay_ended",
            queue=replay.queue,
            by=replay.who,
            number=replay.number,
            stage=stage.value,
            replayed=replay.replayed,
            refused=replay.refused,
        )
