"""Authorisations, and the trips that wait for one.

Revision 0010.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from payscore_worker.migrations.alter import create_index, create_table

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds a table and an index. Older code has no queue for requests, and takes no trip up again."""

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.Text().with_variant(JSONB(), "postgresql")

NOT_ENABLED = "declined_reason = 'service_not_enabled' AND ended IS NULL AND cancelled IS NULL"


def upgrade() -> None:
    create_table(
        "authorisation",
        sa.Column("authorization_code", sa.Text, nullable=False),
        sa.Column("openid", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("terms", JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.Column("bodies", sa.Integer, nullable=False),
        sa.Column("is_prepared", sa.Boolean, nullable=False),
        sa.Column("given_at", MOMENT),
        sa.Column("asked_at", MOMENT),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("opened_at", MOMENT),
        sa.Column("closed_at", MOMENT),
        sa.Column("changed_at", MOMENT),
        sa.Column("trip_looks", sa.Integer, nullable=False),
        sa.Column("ending", JSON),
        sa.Column("ended", JSON),
        sa.Column("end_prepared", sa.Boolean, nullable=False),
        sa.Column("refused", JSON),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("unanswered", sa.Integer, nullable=False),
        sa.Column("missed_at", MOMENT),
        sa.Column("ask_after", MOMENT),
        sa.Column("problem", JSON),
        sa.Column("problem_told", sa.Text, nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("claimed_until", MOMENT),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("authorization_code", name="authorisation_pkey"),
    )
    create_index("authorisation_due", "authorisation", ["due_at"], where="due_at IS NOT NULL")
    create_index("authorisation_openid", "authorisation", ["openid"])
    create_index("authorisation_problem", "authorisation", ["noted_at"], where="problem IS NOT NULL")
    create_index("trip_not_enabled", "trip", ["openid"], where=NOT_ENABLED)


def downgrade() -> None:
    op.drop_index("trip_not_enabled", "trip")
    op.drop_table("authorisation")
