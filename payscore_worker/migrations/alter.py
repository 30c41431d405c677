"""How migrations change tables that are in use: each change may be run again after it broke off anywhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def add_columns(table: str, columns: Mapping[str, Any]) -> None:
    """Add columns that may be empty: no row is written, and the release before does not miss them."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
    for name, kind in columns.items():
        if name not in there:
            op.add_column(table, sa.Column(name, kind))


def create_index(name: str, table: str, columns: Sequence[str], *, where: str | None = None) -> None:
    """Index a table that may hold a city's history, while everybody goes on writing to it.

    PostgreSQL builds it between two transactions: what the migration did before is committed by then, so it must be of
    a kind that can be run again.
    """
    condition = None if where is None else sa.text(where)
    options: dict[str, Any] = {"postgresql_where": condition, "sqlite_where": condition}
    if op.get_bind().dialect.name == "sqlite" or _is_empty(table):
        op.create_index(name, table, list(columns), if_not_exists=True, **options)
        return
    with op.get_context().autocommit_block():
        if _is_invalid(name):
            op.drop_index(name, table, postgresql_concurrently=True)
        with _without_limits():
            op.create_index(name, table, list(columns), if_not_exists=True, postgresql_concurrently=True, **options)


@contextmanager
def _without_limits() -> Iterator[None]:
    """Let it take its time: it waits for transactions that were there before it, and nobody waits for it.

    Behind a pooler a session is nobody's own, and what we set would stay with whoever has it next: there, the limits of
    the role hold.
    """
    config = op.get_context().config
    limits = () if config is None or config.attributes.get("is_pooled") else ("lock_timeout", "statement_timeout")
    for limit in limits:
        op.execute(f"SET {limit} = 0")
    yield
    for limit in limits:
        op.execute(f"RESET {limit}")


def create_table(name: str, *parts: Any) -> None:  # noqa: ANN401 - columns and constraints, as alembic takes them
    """Make a table, unless a run that broke off later has made it."""
    op.create_table(name, *parts, if_not_exists=True)


def _is_empty(table: str) -> bool:
    return op.get_bind().execute(sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)).first() is None


def _is_invalid(index: str) -> bool:
    """Tell whether a run that broke off has left an index that nobody may use."""
    found = op.get_bind().execute(
        sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)"), {"index": index}
    )
    return found.scalar() is False
