"""The tables, once, for both databases; migrations and reports read them here."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine


class Moment(TypeDecorator[datetime]):
    """An instant: timestamptz on PostgreSQL, ISO 8601 text in UTC of one fixed length (so that it sorts) on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        return moment_to_text(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:
        del dialect
        return moment_from_text(value) if isinstance(value, str) else value


def moment_to_text(moment: datetime) -> str:
    """Write an instant as SQLite keeps it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment_from_text(text: str) -> datetime:
    """Read an instant as SQLite keeps it."""
    return datetime.fromisoformat(text)


Json: Final = Text().with_variant(JSONB(), "postgresql")
Serial: Final = BigInteger().with_variant(Integer(), "sqlite")

metadata: Final = MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "uq": "%(table_name)s_%(column_0_name)s_key"},
)

NOT_ENABLED: Final = "declined_reason = 'service_not_enabled' AND ended IS NULL AND cancelled IS NULL"
"""A trip that would be opened if its passenger enabled the service now; there is an index of these alone."""

trip: Final = Table(
    "trip",
    metadata,
    Column("trip_id", Text, primary_key=True),
    Column("out_order_no", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("noted_at", Moment, nullable=False),
    # what the ride service told us
    Column("openid", Text),
    Column("started", Json),
    Column("ended", Json),
    Column("cancelled", Json),
    Column("lowered", Json),
    Column("paid_elsewhere", Json),
    # how far its settlement has come
    Column("risk_amount_fen", BigInteger),
    Column("start_time", Moment),
    Column("order_id", Text, nullable=False),
    Column("opened_at", Moment),
    Column("confirm_by", Moment),
    Column("second_try", Json),
    Column("end_time", Moment),
    Column("total_fen", BigInteger),
    Column("completed_at", Moment),
    Column("paid_fen", BigInteger),
    Column("paid_at", Moment),
    Column("transaction_id", Text),
    Column("declined_reason", Text),
    Column("declined_message", Text),
    # what stands in its way
    Column("doubt", Json),
    Column("refusals", Integer, nullable=False),
    Column("bodies", Integer, nullable=False),
    Column("problem", Json),
    Column("problem_told", Text),
    Column("opened_plainly", Boolean),
    Column("refused_as", Text),
    Column("finish_ticket", Text),
    Column("terms", Json),
    Column("missed_at", Moment),
    Column("unanswered", Json),
    Column("rebuilds", Integer),
    Column("look_at", Moment),
    Column("order_alive", Boolean),
    Column("accepted_fen", BigInteger),
    Column("transaction_ids", Json),
    Column("debits", Json),
    Column("reserved_fen", BigInteger),
    Column("refunded_fen", BigInteger),
    Column("waived", Json),
    Column("written_off", Json),
    Column("lowering", Json),
    Column("returned_fen", BigInteger),
    Column("sync", Json),
    Column("asking", Json),
    Column("polls", Integer, nullable=False),
    Column("asked_at", Moment),
    Column("stale_since", Moment),
    Column("overdue_since", Moment),
    Column("overdue_step", Integer),
    Column("overdue_told_at", Moment),
    # who looks at it when
    Column("due_at", Moment),
    Column("claimed_until", Moment),
    Column("claims", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("trip_due", "due_at", postgresql_where=text("due_at IS NOT NULL"), sqlite_where=text("due_at IS NOT NULL")),
    Index("trip_state", "state", "noted_at"),
    Index(
        "trip_problem",
        "noted_at",
        postgresql_where=text("problem IS NOT NULL"),
        sqlite_where=text("problem IS NOT NULL"),
    ),
    Index(
        "trip_transaction",
        "transaction_id",
        postgresql_where=text("transaction_id IS NOT NULL"),
        sqlite_where=text("transaction_id IS NOT NULL"),
    ),
    Index(
        "trip_not_enabled",
        "openid",
        postgresql_where=text(NOT_ENABLED),
        sqlite_where=text(NOT_ENABLED),
    ),
)

refund: Final = Table(
    "refund",
    metadata,
    Column("refund_id", Text, primary_key=True),
    Column("trip_id", Text, nullable=False),
    Column("out_refund_no", Text, nullable=False, unique=True),
    # what was asked for
    Column("mchid", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("total_fen", BigInteger, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("requested_at", Moment, nullable=False),
    Column("send_after", Moment, nullable=False),
    # how far it has come
    Column("state", Text, nullable=False),
    Column("is_prepared", Boolean, nullable=False),
    Column("wechatpay_refund_id", Text, nullable=False),
    Column("accepted_at", Moment),
    Column("patient_since", Moment),
    Column("payer_refund_fen", BigInteger),
    Column("refunded_at", Moment),
    # what stands in its way
    Column("refused", Json),
    Column("refusals", Integer, nullable=False),
    Column("refused_as", Text, nullable=False),
    Column("unanswered", Integer, nullable=False),
    Column("ask_after", Moment),
    Column("polls", Integer, nullable=False),
    Column("asked_at", Moment),
    Column("problem", Json),
    Column("problem_told", Text, nullable=False),
    Column("given_up", Json),
    # who looks at it when
    Column("due_at", Moment),
    Column("claimed_until", Moment),
    Column("claims", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("refund_due", "due_at", postgresql_where=text("due_at IS NOT NULL"), sqlite_where=text("due_at IS NOT NULL")),
    Index("refund_trip", "trip_id"),
    Index(
        "refund_problem",
        "requested_at",
        postgresql_where=text("problem IS NOT NULL"),
        sqlite_where=text("problem IS NOT NULL"),
    ),
    Index(
        "refund_under_way",
        "state",
        postgresql_where=text("state IN ('REQUESTED', 'ACCEPTED')"),
        sqlite_where=text("state IN ('REQUESTED', 'ACCEPTED')"),
    ),
)

authorisation: Final = Table(
    "authorisation",
    metadata,
    Column("authorization_code", Text, primary_key=True),
    # who, and what was asked for
    Column("openid", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("terms", Json, nullable=False),
    # how far it has come
    Column("state", Text, nullable=False),
    Column("noted_at", Moment, nullable=False),
    Column("bodies", Integer, nullable=False),
    Column("is_prepared", Boolean, nullable=False),
    Column("given_at", Moment),
    Column("asked_at", Moment),
    Column("looks", Integer, nullable=False),
    Column("opened_at", Moment),
    Column("closed_at", Moment),
    Column("changed_at", Moment),
    Column("trip_looks", Integer, nullable=False),
    Column("ending", Json),
    Column("ended", Json),
    Column("end_prepared", Boolean, nullable=False),
    # what stands in its way
    Column("refused", Json),
    Column("refusals", Integer, nullable=False),
    Column("unanswered", Integer, nullable=False),
    Column("missed_at", Moment),
    Column("ask_after", Moment),
    Column("problem", Json),
    Column("problem_told", Text, nullable=False),
    # who looks at it when
    Column("due_at", Moment),
    Column("claimed_until", Moment),
    Column("claims", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index(
        "authorisation_due",
        "due_at",
        postgresql_where=text("due_at IS NOT NULL"),
        sqlite_where=text("due_at IS NOT NULL"),
    ),
    Index("authorisation_openid", "openid"),
    Index(
        "authorisation_problem",
        "noted_at",
        postgresql_where=text("problem IS NOT NULL"),
        sqlite_where=text("problem IS NOT NULL"),
    ),
)

wechatpay_call: Final = Table(
    "wechatpay_call",
    metadata,
    Column("trip_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("begun", Integer),
    Column("definite", Integer),
    Column("attempts", Integer, nullable=False),
    Column("status", Integer),
    Column("code", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("uncertain", Boolean, nullable=False),
    Column("prepared_at", Moment, nullable=False),
    Column("answered_at", Moment),
)
"""The call journal: the exact bytes, stored before their first send (design 3.1)."""

trip_event: Final = Table(
    "trip_event",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False),
    Column("trip_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("pending", Boolean, nullable=False),
    Column("claimed_until", Moment),
    Column("attempts", Integer, nullable=False),
    Column("published_at", Moment),
    Column("unrouted_at", Moment),
    Index("trip_event_pending", "id", postgresql_where=text("pending"), sqlite_where=text("pending")),
    Index("trip_event_trip", "trip_id"),
    Index(
        "trip_event_unrouted",
        "id",
        postgresql_where=text("unrouted_at IS NOT NULL"),
        sqlite_where=text("unrouted_at IS NOT NULL"),
    ),
)
"""What was noted (in) and what was announced (out) of each trip; the outbox is what is still pending."""

archived_trip: Final = Table(
    "archived_trip",
    metadata,
    Column("trip_id", Text, primary_key=True),
    Column("out_order_no", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("noted_at", Moment, nullable=False),
    Column("paid_fen", BigInteger),
    Column("paid_at", Moment),
    Column("transaction_id", Text),
    Column("facts", LargeBinary, nullable=False),
    Column("archive", Text, nullable=False),
    Column("archived_at", Moment, nullable=False),
)
"""What is remembered of trips that were archived, so that a late fact never begins one of them anew (ADR 11)."""

passenger: Final = Table(
    "passenger",
    metadata,
    Column("openid", Text, primary_key=True),
    Column("service_enabled", Boolean, nullable=False),
    Column("as_of", Moment, nullable=False),
)
"""What WeChat last said of each passenger's PayScore service."""

operator_action: Final = Table(
    "operator_action",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("moved", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("ended_at", Moment),
    Index("operator_action_target", "target"),
)
"""What people did to dead letters and cases, written before it is done; nothing of ours ever deletes a row."""

schema_range: Final = Table(
    "schema_range",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("runs_from", Text, nullable=False),
    Column("migrated_by", Text, nullable=False),
)
"""From which code on a revision of this schema can be used: one row, of the revision that the database is at."""
