"""Makes cases another account's, behind everybody's back: what several accounts leave in one database."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, cast, literal, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from payscore_worker.storage.tables import refund, trip


def as_json(said: Mapping[str, str]) -> ColumnElement[Any]:
    return cast(literal(json.dumps(said)), trip.c.terms.type)


async def says(engine: AsyncEngine, column: Column[Any], key: str, **said: str) -> None:
    """Have a case say otherwise in what is kept of it as JSON."""
    table = column.table
    (its_key,) = table.primary_key.columns
    async with engine.begin() as connection:
        kept = json.loads(await connection.scalar(select(column).where(its_key == key)) or "")
        await connection.execute(update(table).where(its_key == key).values({column: as_json(kept | said)}))


async def has_mchid(engine: AsyncEngine, mchid: str, *trip_ids: str) -> None:
    """Make orders, and what is sent back of them, another merchant's."""
    for trip_id in trip_ids:
        await says(engine, trip.c.terms, trip_id, mchid=mchid)
    async with engine.begin() as connection:
        await connection.execute(update(refund).where(refund.c.trip_id.in_(trip_ids)).values(mchid=mchid))
