"""Under which terms an order was opened, what an answer left undecided, and what people decided about trips.

Revision 0004. Only adds, and every column may be empty: the release before this one runs on it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from payscore_worker.migrations.alter import add_columns, create_index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.Text().with_variant(JSONB(), "postgresql")

ADDED: dict[str, dict[str, Any]] = {
    "trip": {
        "opened_plainly": sa.Boolean(),
        "refused_as": sa.Text(),
        "finish_ticket": sa.Text(),
        "terms": JSON,
        "missed_at": MOMENT,
        "unanswered": JSON,
        "rebuilds": sa.Integer(),
        "look_at": MOMENT,
        "order_alive": sa.Boolean(),
        "accepted_fen": sa.BigInteger(),
        "transaction_ids": JSON,
        "written_off": JSON,
        "problem_told": sa.Text(),
    },
    "wechatpay_call": {"begun": sa.Integer(), "definite": sa.Integer()},
    "trip_event": {"unrouted_at": MOMENT},
}


def upgrade() -> None:
    for table, columns in ADDED.items():
        add_columns(table, columns)
    create_index("trip_event_unrouted", "trip_event", ["id"], where="unrouted_at IS NOT NULL")
    create_index("operator_action_target", "operator_action", ["target"])


def downgrade() -> None:
    op.drop_index("operator_action_target", "operator_action")
    op.drop_index("trip_event_unrouted", "trip_event")
    for table, columns in reversed(ADDED.items()):
        with op.batch_alter_table(table) as altered:
            for name in reversed(columns):
                altered.drop_column(name)
