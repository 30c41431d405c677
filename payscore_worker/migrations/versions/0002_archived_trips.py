"""What is remembered of trips that were archived.

Revision 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "archived_trip",
        sa.Column("trip_id", sa.Text, nullable=False),
        sa.Column("out_order_no", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.Column("paid_fen", sa.BigInteger),
        sa.Column("paid_at", MOMENT),
        sa.Column("transaction_id", sa.Text),
        sa.Column("facts", sa.LargeBinary, nullable=False),
        sa.Column("archive", sa.Text, nullable=False),
        sa.Column("archived_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("trip_id", name="archived_trip_pkey"),
        sa.UniqueConstraint("out_order_no", name="archived_trip_out_order_no_key"),
    )


def downgrade() -> None:
    op.drop_table("archived_trip")
