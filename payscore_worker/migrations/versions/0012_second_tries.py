"""A second order, for less, of a trip that was refused for risk.

Revision 0012.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from payscore_worker.migrations.alter import add_columns

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds a column that may be empty. Older code settles the second order, and does not look at the first again."""

JSON = sa.Text().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    add_columns("trip", {"second_try": JSON})


def downgrade() -> None:
    with op.batch_alter_table("trip") as altered:
        altered.drop_column("second_try")
