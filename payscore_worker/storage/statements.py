"""The SQL that both databases understand, with PostgreSQL's places; `for_sqlite` writes it with SQLite's."""

from typing import Final

from payscore_worker.storage.rows import TRIP_COLUMNS

_PLACES: Final = {name: f"${number}" for number, name in enumerate(TRIP_COLUMNS, 1)}

SELECT_TRIP: Final = f"SELECT {', '.join(TRIP_COLUMNS)} FROM trip WHERE trip_id = $1"

SELECT_TRIP_BY_ORDER: Final = f"SELECT {', '.join(TRIP_COLUMNS)} FROM trip WHERE out_order_no = $1"

INSERT_TRIP: Final = f"""
    INSERT INTO trip ({", ".join(TRIP_COLUMNS)}, claims) SELECT {", ".join(_PLACES.values())}, 0
    WHERE NOT EXISTS (SELECT 1 FROM archived_trip WHERE trip_id = {_PLACES["trip_id"]})
        AND NOT EXISTS (SELECT 1 FROM archived_trip WHERE out_order_no = {_PLACES["out_order_no"]})
    ON CONFLICT DO NOTHING
"""
"""Nothing is written, and nobody is asked beforehand, where the trip is archived: it must not begin anew."""

ARCHIVED: Final = "SELECT * FROM archived_trip WHERE trip_id = $1"

ARCHIVED_BY_ORDER: Final = "SELECT * FROM archived_trip WHERE out_order_no = $1"

UPDATE_TRIP: Final = f"""
    UPDATE trip SET {", ".join(f"{name} = {place}" for name, place in _PLACES.items() if name != "trip_id")},
        claimed_until = NULL, claims = 0
    WHERE trip_id = {_PLACES["trip_id"]} AND version = {_PLACES["version"]} - 1
"""

RESCHEDULE: Final = """
    UPDATE trip SET due_at = $1, claimed_until = NULL, claims = 0 WHERE trip_id = $2 AND version = $3
"""

TAKE_THE_ANSWER: Final = """
    ON CONFLICT (trip_id, kind, generation) DO UPDATE SET
        attempts = stored.attempts + excluded.attempts, status = excluded.status, code = excluded.code,
        request_id = excluded.request_id, outcome = excluded.outcome,
        uncertain = stored.uncertain OR excluded.uncertain, answered_at = excluded.answered_at
"""
"""What a journaled call learns when it is written again; its bytes stay what they were."""

LAST_CALL: Final = """
    SELECT kind, generation, method, path, body, attempts, status, code, request_id, outcome, uncertain,
        prepared_at AS at
    FROM wechatpay_call WHERE trip_id = $1 AND kind = $2 ORDER BY generation DESC LIMIT 1
"""

SCHEMA: Final = {
    "schema_range": """
        SELECT version_num AS revision, runs_from, coalesce(migrated_by, '') AS migrated_by
        FROM alembic_version LEFT JOIN schema_range ON revision = version_num
    """,
    "alembic_version": "SELECT version_num AS revision FROM alembic_version",
}
"""What the schema says of itself, by the table that must be there to ask so."""

SERVICE_OF: Final = "SELECT service_enabled, as_of FROM passenger WHERE openid = $1"

NOTE_SERVICE: Final = """
    INSERT INTO passenger AS known (openid, service_enabled, as_of) VALUES ($1, $2, $3)
    ON CONFLICT (openid) DO UPDATE SET service_enabled = excluded.service_enabled, as_of = excluded.as_of
    WHERE known.as_of <= excluded.as_of
"""


def for_sqlite(statement: str) -> str:
    """Write a shared statement with SQLite's numbered places."""
    return statement.replace("$", "?")
