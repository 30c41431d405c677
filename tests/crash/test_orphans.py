"""A run that was killed is cleared up after; one that runs is left alone."""

import os
from pathlib import Path

import msgspec
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from sqlalchemy import text

from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.messaging.link import connect
from payscore_worker.storage.engine import engine_for
from tests.crash.lane import own_schema
from tests.crash.orphans import Names, clear_up, names_taken
from tests.integration.databases import postgresql_url

NOBODY = 2**22 + 1
"""No process of Linux has a greater number than 2**22."""


def taken(amqp_url: str, notes: Path) -> Names:
    """Take names, and never give them back."""
    taking = names_taken("crash", amqp_url=amqp_url, retry_delays="1s", postgresql_url=postgresql_url(), notes=notes)
    return taking.__enter__()


async def test_the_names_of_the_dead_are_given_back_and_those_of_the_living_kept(amqp_url: str, tmp_path: Path) -> None:
    names = taken(amqp_url, tmp_path)
    note = tmp_path / f"{names.id}.json"
    topology = make_topology(names.broker)
    async with own_schema(postgresql_url(), names.schema), await connect(amqp_url, "test") as connection:
        await topology.declare_on(connection)
        assert await clear_up(tmp_path) == 0

        note.write_bytes(msgspec.json.encode(msgspec.structs.replace(names, pid=NOBODY)))
        assert await clear_up(tmp_path) == 1
        assert not note.exists()
        with pytest.raises(ChannelNotFoundEntity):
            await (await connection.channel()).get_queue(topology.queues[0])
        async with engine_for(postgresql_url()) as engine, engine.begin() as database:
            query = text("SELECT count(*) FROM pg_namespace WHERE nspname = :name")
            assert (await database.execute(query, {"name": names.schema})).scalar_one() == 0
            await database.execute(text(f"CREATE SCHEMA {names.schema}"))  # own_schema drops it at its end


def test_what_is_noted_is_for_our_eyes_only(amqp_url: str, tmp_path: Path) -> None:
    names = taken(amqp_url, tmp_path)

    note = tmp_path / f"{names.id}.json"
    assert note.stat().st_mode & 0o777 == 0o600
    assert msgspec.json.decode(note.read_bytes(), type=Names).pid == os.getpid()
