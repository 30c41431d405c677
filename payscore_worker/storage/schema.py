"""Which code may run on which schema: migrations only add, so that the release before runs on the next schema."""

from dataclasses import dataclass
from typing import Final

from payscore_worker.errors import SchemaOutdated

SCHEMA_REVISION: Final = "0012"
"""The migration that this code is written for. Revisions are four digits, so that the later one is the greater text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a database says of its schema."""

    revision: str | None
    """None where it was never migrated."""
    runs_from: str | None = None
    """The oldest code, by its revision, that may run on it; None where nobody has said so of this revision."""
    migrated_by: str = ""
    """The release that brought it there."""

    @property
    def is_behind(self) -> bool:
        """Whether this code needs more than there is."""
        return self.revision is None or self.revision < SCHEMA_REVISION

    @property
    def is_ahead(self) -> bool:
        """Whether a newer release has been here."""
        return self.revision is not None and self.revision > SCHEMA_REVISION


def see_that_it_fits(schema: Schema) -> None:
    """Let this code run on the schema it is written for, and on newer ones that allow it.

    Raises:
        SchemaOutdated: it must not; says what to do.

    """
    if schema.is_behind:
        found = f"the database is at revision {schema.revision or 'none'}, and this release needs {SCHEMA_REVISION}"
        raise SchemaOutdated(found, "payscore-worker migrate")
    if not schema.is_ahead:
        return
    if schema.runs_from is None or schema.runs_from > SCHEMA_REVISION:
        oldest = (
            "does not say from which code on it can be used"
            if schema.runs_from is None
            else (f"wants code of revision {schema.runs_from} or later")
        )
        found = f"the database is at revision {schema.revision} and {oldest}; this release is of {SCHEMA_REVISION}"
        release = (
            f"release {schema.migrated_by}, which migrated it," if schema.migrated_by else "the one that migrated it"
        )
        raise SchemaOutdated(found, f"start {release} or a newer one")
