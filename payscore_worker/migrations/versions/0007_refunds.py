"""Refunds, and what of each debit goes back.

Revision 0007.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from payscore_worker.migrations.alter import add_columns, create_index, create_table

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds a table, and columns that may be empty. Older code dead-letters no refund: it has no queue for one."""

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.Text().with_variant(JSONB(), "postgresql")

ON_TRIPS = {"debits": JSON, "reserved_fen": sa.BigInteger(), "refunded_fen": sa.BigInteger()}


def upgrade() -> None:
    add_columns("trip", ON_TRIPS)
    create_table(
        "refund",
        sa.Column("refund_id", sa.Text, nullable=False),
        sa.Column("trip_id", sa.Text, nullable=False),
        sa.Column("out_refund_no", sa.Text, nullable=False),
        sa.Column("mchid", sa.Text, nullable=False),
        sa.Column("transaction_id", sa.Text, nullable=False),
        sa.Column("total_fen", sa.BigInteger, nullable=False),
        sa.Column("amount_fen", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("send_after", MOMENT, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("is_prepared", sa.Boolean, nullable=False),
        sa.Column("wechatpay_refund_id", sa.Text, nullable=False),
        sa.Column("accepted_at", MOMENT),
        sa.Column("patient_since", MOMENT),
        sa.Column("payer_refund_fen", sa.BigInteger),
        sa.Column("refunded_at", MOMENT),
        sa.Column("refused", JSON),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("refused_as", sa.Text, nullable=False),
        sa.Column("unanswered", sa.Integer, nullable=False),
        sa.Column("ask_after", MOMENT),
        sa.Column("polls", sa.Integer, nullable=False),
        sa.Column("asked_at", MOMENT),
        sa.Column("problem", JSON),
        sa.Column("problem_told", sa.Text, nullable=False),
        sa.Column("given_up", JSON),
        sa.Column("due_at", MOMENT),
        sa.Column("claimed_until", MOMENT),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("refund_id", name="refund_pkey"),
        sa.UniqueConstraint("out_refund_no", name="refund_out_refund_no_key"),
    )
    create_index("refund_due", "refund", ["due_at"], where="due_at IS NOT NULL")
    create_index("refund_trip", "refund", ["trip_id"])
    create_index("refund_problem", "refund", ["requested_at"], where="problem IS NOT NULL")
    create_index("refund_under_way", "refund", ["state"], where="state IN ('REQUESTED', 'ACCEPTED')")


def downgrade() -> None:
    op.drop_table("refund")
    with op.batch_alter_table("trip") as altered:
        for name in reversed(ON_TRIPS):
            altered.drop_column(name)
