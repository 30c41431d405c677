"""Fares that a person has waived, and that WeChat Pay is to collect no more.

Revision 0006.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from payscore_worker.migrations.alter import add_columns

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds a column that may be empty. Older code goes on collecting what was waived, until newer code runs."""

JSON = sa.Text().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    add_columns("trip", {"waived": JSON})


def downgrade() -> None:
    with op.batch_alter_table("trip") as altered:
        altered.drop_column("waived")
