"""Trips, their WeChat Pay calls, their events, and what is known of passengers.

Revision 0001, the first.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.Text().with_variant(JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "trip",
        sa.Column("trip_id", sa.Text, nullable=False),
        sa.Column("out_order_no", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.Column("openid", sa.Text),
        sa.Column("started", JSON),
        sa.Column("ended", JSON),
        sa.Column("cancelled", JSON),
        sa.Column("risk_amount_fen", sa.BigInteger),
        sa.Column("start_time", MOMENT),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("opened_at", MOMENT),
        sa.Column("end_time", MOMENT),
        sa.Column("total_fen", sa.BigInteger),
        sa.Column("completed_at", MOMENT),
        sa.Column("paid_fen", sa.BigInteger),
        sa.Column("paid_at", MOMENT),
        sa.Column("transaction_id", sa.Text),
        sa.Column("declined_reason", sa.Text),
        sa.Column("declined_message", sa.Text),
        sa.Column("doubt", JSON),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("bodies", sa.Integer, nullable=False),
        sa.Column("problem", JSON),
        sa.Column("polls", sa.Integer, nullable=False),
        sa.Column("asked_at", MOMENT),
        sa.Column("stale_since", MOMENT),
        sa.Column("overdue_since", MOMENT),
        sa.Column("due_at", MOMENT),
        sa.Column("claimed_until", MOMENT),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("trip_id", name="trip_pkey"),
        sa.UniqueConstraint("out_order_no", name="trip_out_order_no_key"),
    )
    due = sa.text("due_at IS NOT NULL")
    op.create_index("trip_due", "trip", ["due_at"], postgresql_where=due, sqlite_where=due)
    op.create_index("trip_state", "trip", ["state", "noted_at"])
    op.create_table(
        "wechatpay_call",
        sa.Column("trip_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("uncertain", sa.Boolean, nullable=False),
        sa.Column("prepared_at", MOMENT, nullable=False),
        sa.Column("answered_at", MOMENT),
        sa.PrimaryKeyConstraint("trip_id", "kind", "generation", name="wechatpay_call_pkey"),
    )
    op.create_table(
        "trip_event",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("trip_id", sa.Text, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("pending", sa.Boolean, nullable=False),
        sa.Column("claimed_until", MOMENT),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("published_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="trip_event_pkey"),
    )
    pending = sa.text("pending")
    op.create_index("trip_event_pending", "trip_event", ["id"], postgresql_where=pending, sqlite_where=pending)
    op.create_index("trip_event_trip", "trip_event", ["trip_id"])
    op.create_table(
        "passenger",
        sa.Column("openid", sa.Text, nullable=False),
        sa.Column("service_enabled", sa.Boolean, nullable=False),
        sa.Column("as_of", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("openid", name="passenger_pkey"),
    )


def downgrade() -> None:
    for table in ("passenger", "trip_event", "wechatpay_call", "trip"):
        op.drop_table(table)
