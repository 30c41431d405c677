"""Fares that are lowered, or paid elsewhere, after the trip has ended.

Revision 0009.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from payscore_worker.migrations.alter import add_columns

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds columns that may be empty. Older code collects the fare of the end, until newer code runs."""

JSON = sa.Text().with_variant(JSONB(), "postgresql")

ADDED = {
    "lowered": JSON,
    "paid_elsewhere": JSON,
    "lowering": JSON,
    "returned_fen": sa.BigInteger(),
    "sync": JSON,
    "asking": JSON,
}


def upgrade() -> None:
    add_columns("trip", ADDED)


def downgrade() -> None:
    with op.batch_alter_table("trip") as altered:
        for name in reversed(ADDED):
            altered.drop_column(name)
