"""At how many ages it was said that the money of a trip is out.

Revision 0008.
"""

import sqlalchemy as sa
from alembic import op

from payscore_worker.migrations.alter import add_columns

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds columns that may be empty. Older code says it once."""

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

ADDED = {"overdue_step": sa.Integer(), "overdue_told_at": MOMENT}


def upgrade() -> None:
    add_columns("trip", ADDED)


def downgrade() -> None:
    with op.batch_alter_table("trip") as altered:
        for name in reversed(ADDED):
            altered.drop_column(name)
