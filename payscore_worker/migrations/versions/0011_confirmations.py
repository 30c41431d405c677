"""Until when a passenger may confirm the order of a trip.

Revision 0011.
"""

import sqlalchemy as sa
from alembic import op

from payscore_worker.migrations.alter import add_columns

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds a column that may be empty. Older code cancels an order that waits for a confirmation."""

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    add_columns("trip", {"confirm_by": MOMENT})


def downgrade() -> None:
    with op.batch_alter_table("trip") as altered:
        altered.drop_column("confirm_by")
