"""The record of what people did to dead letters and cases, written before it is done, or it is not done."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import insert, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payscore_worker.errors import Rejected, StorageUnavailable
from payscore_worker.storage.tables import operator_action

WRITE_SECONDS: Final = 10.0
"""One row; SQLite may have to wait for another writer."""


class Outcome(StrEnum):
    """What came of an action."""

    BEGUN = "begun"
    """Also of one whose process died: how far it came, the broker knows."""
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Somebody is about to do something to dead letters of a queue, to a trip, or to a refund."""

    who: str
    action: str
    queue: str
    target: str
    """A letter's id, a group's, or `*` for all; a trip's id, also where a refund of it is asked for; a refund's id; the
    number of a passenger."""
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Done:
    """How far an action has come."""

    moved: int = 0
    refused: int = 0
    must_move: bool = False
    """Whether it has failed if nothing was moved: it was about one letter, one trip, or one refund."""


class Actions:
    """Writes the record.

    Every method raises StorageUnavailable where the database cannot be reached.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, action: Action, now: datetime) -> int:
        """Write down what is about to be done; returns its number."""
        values = asdict(action) | {"at": now, "outcome": Outcome.BEGUN.value, "moved": 0, "refused": 0}
        statement = insert(operator_action).values(**values).returning(operator_action.c.id)
        async with self._transaction() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def end(self, number: int, outcome: Outcome, *, moved: int, refused: int, now: datetime) -> None:
        """Write down what came of it."""
        values = {"outcome": outcome.value, "moved": moved, "refused": refused, "ended_at": now}
        statement = update(operator_action).where(operator_action.c.id == number).values(**values)
        async with self._transaction() as connection:
            await connection.execute(statement)

    @asynccontextmanager
    async def recorded(self, action: Action, clock: Callable[[], datetime]) -> AsyncIterator[Done]:
        """Do something that stands in the record before it begins, and again when it ends, however it ends."""
        number = await self.begin(action, clock())
        done, outcome = Done(), Outcome.FAILED
        try:
            yield done
            outcome = Outcome.DONE if done.moved or not done.must_move else Outcome.FAILED
        except asyncio.CancelledError:
            outcome = Outcome.STOPPED
            raise
        finally:
            await self.end(number, outcome, moved=done.moved, refused=done.refused, now=clock())

    @asynccontextmanager
    async def recorded_for_one(self, action: Action, clock: Callable[[], datetime]) -> AsyncIterator[Done]:
        """Do the same to one trip, or one refund: it is done once it has moved, and what is rejected was refused."""
        async with self.recorded(action, clock) as done:
            done.must_move = True
            try:
                yield done
            except Rejected:
                done.refused = 1
                raise

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(WRITE_SECONDS), self._engine.begin() as connection:
                yield connection
        except (DBAPIError, OSError, TimeoutError) as error:
            raise StorageUnavailable(f"the record of actions: {type(error).__name__}") from error
