"""Which code may run on this schema, so that a release can be taken back.

Revision 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RUNS_FROM = "0004"
"""Only adds a table, which code of 0004 does not ask for."""


def upgrade() -> None:
    op.create_table(
        "schema_range",
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("runs_from", sa.Text, nullable=False),
        sa.Column("migrated_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("revision", name="schema_range_pkey"),
    )


def downgrade() -> None:
    op.drop_table("schema_range")
