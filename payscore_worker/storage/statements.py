"""The SQL that both databases understand, with PostgreSQL's places; `for_sqlite` writes it with SQLite's."""

from typing import Final

from payscore_worker.storage import tables

ARCHIVED: Final = "SELECT * FROM archived_trip WHERE trip_id = $1"

ARCHIVED_BY_ORDER: Final = "SELECT * FROM archived_trip WHERE out_order_no = $1"

CALL_COLUMNS: Final = (
    "kind",
    "generation",
    "method",
    "path",
    "body",
    "attempts",
    "status",
    "code",
    "request_id",
    "outcome",
    "uncertain",
    "begun",
    "definite",
)

_STAYS_ACCEPTED: Final = "stored.outcome = 'accepted' AND excluded.outcome <> 'accepted' AND stored.kind NOT IN ({})"
_QUESTIONS: Final = "'query', 'user_service_state', 'query_permission', 'refund_query'"
_ACCEPTED: Final = _STAYS_ACCEPTED.format(_QUESTIONS)

TAKE_THE_ANSWER: Final = f"""
    ON CONFLICT (trip_id, kind, generation) DO UPDATE SET
        attempts = stored.attempts + excluded.attempts,
        begun = stored.begun + excluded.begun,
        definite = stored.definite + excluded.definite,
        uncertain = stored.uncertain OR excluded.uncertain,
        status = CASE WHEN {_ACCEPTED} THEN stored.status ELSE excluded.status END,
        code = CASE WHEN {_ACCEPTED} THEN stored.code ELSE excluded.code END,
        request_id = CASE WHEN {_ACCEPTED} THEN stored.request_id ELSE excluded.request_id END,
        outcome = CASE WHEN {_ACCEPTED} THEN stored.outcome ELSE excluded.outcome END,
        answered_at = CASE WHEN {_ACCEPTED} THEN stored.answered_at ELSE excluded.answered_at END
"""
"""What a journaled call learns when it is written again; its bytes stay what they were, and so does an acceptance. What
a question was answered is nothing to keep. On rows of a release that did not count sends, they stay uncounted."""

_CALL: Final = f"""{", ".join(CALL_COLUMNS[:-2])}, coalesce(begun, -1) AS begun, coalesce(definite, 0) AS definite,
        prepared_at AS at"""

LAST_CALL: Final = f"""
    SELECT {_CALL} FROM wechatpay_call WHERE trip_id = $1 AND kind = $2 AND generation = coalesce($3, generation)
    ORDER BY generation DESC LIMIT 1
"""
"""Of one generation, or of the newest where none is named."""

BEGIN_SEND: Final = f"""
    UPDATE wechatpay_call SET
        definite = coalesce(definite, 0),
        begun = 1 + coalesce(begun, CASE WHEN outcome = 'refused' AND NOT uncertain THEN 0 ELSE 1 END)
    WHERE trip_id = $1 AND kind = $2 AND generation = coalesce(
        $3, (SELECT max(generation) FROM wechatpay_call WHERE trip_id = $1 AND kind = $2)
    )
    RETURNING {_CALL}
"""
"""What was sent by a release that did not count sends is one send whose outcome is unknown, unless it was refused."""

NOTE_EVENT: Final = """
    INSERT INTO trip_event (trip_id, event_id, direction, type, at, body, pending, attempts)
    SELECT $1, $2, $3, $4, $5, $6, false, 0
    WHERE NOT EXISTS (SELECT 1 FROM trip_event WHERE trip_id = $1 AND event_id = $2 AND direction = $3)
"""
"""In two transactions at once it may be noted twice, which is no harm; nothing acts on it."""

SCHEMA: Final = {
    "schema_range": """
        SELECT version_num AS revision, runs_from, coalesce(migrated_by, '') AS migrated_by
        FROM alembic_version LEFT JOIN schema_range ON revision = version_num
    """,
    "alembic_version": "SELECT version_num AS revision FROM alembic_version",
}
"""What the schema says of itself, by the table that must be there to ask so."""

AUTHORISATIONS_OF: Final = "SELECT * FROM authorisation WHERE openid = $1 ORDER BY noted_at DESC LIMIT $2"
"""Of a passenger, the newest first."""

NOT_ENABLED: Final = f"SELECT * FROM trip WHERE openid = $1 AND {tables.NOT_ENABLED} ORDER BY noted_at DESC LIMIT $2"
"""The trips of a passenger that were declined for want of an authorisation, and may be ridden still."""

SERVICE_OF: Final = "SELECT service_enabled, as_of FROM passenger WHERE openid = $1"

NOTE_SERVICE: Final = """
    INSERT INTO passenger AS known (openid, service_enabled, as_of) VALUES ($1, $2, $3)
    ON CONFLICT (openid) DO UPDATE SET service_enabled = excluded.service_enabled, as_of = excluded.as_of
    WHERE known.as_of <= excluded.as_of
"""

WINDOW: Final = 4
"""Batches to look at for one: a trip has hardly more announcements, so that those which stand behind the batch of a
relay that died do not fill it."""

WAITS: Final = "pending AND (claimed_until IS NULL OR claimed_until <= $1)"
"""An announcement that nobody has in hand; `$1` is now."""

HAS_ITS_PLACE: Final = "pending AND attempts = 0"
"""An announcement that later ones of its trip wait for; one that nobody took has lost its place (ADR 6)."""

MARK_PUBLISHED: Final = "UPDATE trip_event SET pending = false, claimed_until = NULL, published_at = $2 WHERE id = $1"

MARK_UNROUTED: Final = """
    UPDATE trip_event SET pending = false, claimed_until = NULL, unrouted_at = $2, attempts = attempts + 1
    WHERE id = $1
"""

POSTPONE_OUTBOX: Final = "UPDATE trip_event SET claimed_until = $2, attempts = attempts + 1 WHERE id = $1"

RELEASE_OUTBOX: Final = "UPDATE trip_event SET claimed_until = NULL WHERE id = $1 AND pending AND claimed_until = $2"
"""`$2` is until when the claim holds: one that has run out may be another relay's by now."""


def for_many(statement: str) -> str:
    """Write a statement about one id so that PostgreSQL takes many."""
    return statement.replace("id = $1", "id = ANY($1::bigint[])")


def for_sqlite(statement: str) -> str:
    """Write a shared statement with SQLite's numbered places."""
    return statement.replace("$", "?")
