"""What people did to dead letters, and the indexes by which they look for trips.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op

from payscore_worker.migrations.alter import create_index, create_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_table(
        "operator_action",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("moved", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="operator_action_pkey"),
    )
    create_index("trip_problem", "trip", ["noted_at"], where="problem IS NOT NULL")
    create_index("trip_transaction", "trip", ["transaction_id"], where="transaction_id IS NOT NULL")


def downgrade() -> None:
    op.drop_index("trip_transaction", "trip")
    op.drop_index("trip_problem", "trip")
    op.drop_table("operator_action")
