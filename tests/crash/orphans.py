"""What a run that was killed leaves behind: noted before it is made, so that the next run can clear it up.

AMQP lists no queues, and hundreds of orphaned quorum queues bring a small RabbitMQ node to its knees.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
from sqlalchemy import text

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.messaging.link import BROKEN, connect
from payscore_worker.settings import BrokerSettings
from payscore_worker.storage.engine import engine_for

NOTES: Final = Path(__file__).resolve().parents[2] / ".run" / "names-taken"


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """The names that a lane takes, and where."""

    kind: str
    """`crash` or `faults`."""
    id: str
    pid: int
    """Of the process that will give them back."""
    amqp_url: str
    retry_delays: str
    postgresql_url: str | None

    @property
    def broker(self) -> BrokerSettings:
        return BrokerSettings(
            amqp_url=self.amqp_url, amqp_prefix=f"{self.kind}-{self.id}.", retry_delays=self.retry_delays
        )

    @property
    def schema(self) -> str:
        return f"payscore_{self.kind}_{self.id}"


@contextmanager
def names_taken(
    kind: str, *, amqp_url: str, retry_delays: str, postgresql_url: str | None, notes: Path = NOTES
) -> Iterator[Names]:
    """Choose names, and note them until the block has given them back; a block that fails may not have."""
    names = Names(
        kind=kind,
        id=uuid4().hex[:8],
        pid=os.getpid(),
        amqp_url=amqp_url,
        retry_delays=retry_delays,
        postgresql_url=postgresql_url,
    )
    notes.mkdir(parents=True, exist_ok=True)
    note = notes / f"{names.id}.json"
    note.touch(mode=0o600)  # the URLs may hold passwords
    note.write_bytes(msgspec.json.encode(names))
    yield names
    note.unlink(missing_ok=True)


async def clear_up(notes: Path = NOTES) -> int:
    """Give back the names of those who died, where their servers can be reached; returns how many lanes that was."""
    count = 0
    for note in _all(notes):
        # Another run clears up too, or the note was never written; or their broker is away, and the next run may do it.
        with suppress(FileNotFoundError, msgspec.DecodeError, *BROKEN):
            names = msgspec.json.decode(note.read_bytes(), type=Names)
            if not _is_alive(names.pid):
                await _give_back(names)
                note.unlink(missing_ok=True)
                count += 1
    return count


async def _give_back(names: Names) -> None:
    async with await connect(names.amqp_url, "crash certificate") as connection, connection.channel() as channel:
        await make_topology(names.broker).delete(channel)
    if names.postgresql_url is not None:
        async with engine_for(names.postgresql_url) as engine, engine.begin() as database:
            await database.execute(text(f"DROP SCHEMA IF EXISTS {names.schema} CASCADE"))


def _all(notes: Path) -> list[Path]:
    return sorted(notes.glob("*.json"))


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
