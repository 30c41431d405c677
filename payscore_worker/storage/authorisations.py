"""What people ask about authorisations: rare reads, the same on both databases, as bounded as those about trips."""

from typing import Final

from sqlalchemy import select

from payscore_worker.storage.reports import MAX_ACTIONS, MAX_ROWS, Reports, Row
from payscore_worker.storage.tables import authorisation, operator_action
from payscore_worker.storage.values import is_keepable

END: Final = "authorisation end"
"""How the record names what people do about authorisations; its target is the passenger's own number, and no openid."""


class AuthorisationReports:
    """Answers questions about authorisations as other reports do, also about rows of a newer release.

    Every method raises StorageUnavailable where the database cannot be reached.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def of(self, openid: str) -> list[Row]:
        """List the authorisations of a passenger, the newest first."""
        if not is_keepable(openid):
            return []
        his = select(authorisation).where(authorisation.c.openid == openid)
        newest = authorisation.c.noted_at.desc(), authorisation.c.authorization_code
        return await self._reports.rows(his.order_by(*newest).limit(MAX_ROWS))

    async def find(self, authorization_code: str) -> Row | None:
        """Find an authorisation by its number."""
        if not is_keepable(authorization_code):
            return None
        this = authorisation.c.authorization_code == authorization_code
        rows = await self._reports.rows(select(authorisation).where(this))
        return rows[0] if rows else None

    async def standing_still(self, limit: int) -> list[Row]:
        """List those that stand still until a person has looked, the newest first; there is an index of them alone."""
        still = select(authorisation).where(authorisation.c.problem.is_not(None))
        return await self._reports.rows(still.order_by(authorisation.c.noted_at.desc()).limit(limit))

    async def under_way(self, limit: int) -> list[Row]:
        """List those that are looked at again by themselves, the first due first; there is an index of them alone."""
        due = select(authorisation).where(authorisation.c.due_at.is_not(None))
        return await self._reports.rows(due.order_by(authorisation.c.due_at).limit(limit))

    async def actions_on(self, *numbers: str) -> list[Row]:
        """List what people did about a passenger's authorisations, the earliest first."""
        about = operator_action.c.target.in_(numbers), operator_action.c.action == END
        statement = select(operator_action).where(*about).order_by(operator_action.c.id).limit(MAX_ACTIONS)
        return await self._reports.rows(statement)


LISTED: Final = (
    "authorization_code",
    "request_id",
    "client",
    "state",
    "noted_at",
    "given_at",
    "opened_at",
    "closed_at",
    "due_at",
)
"""What reports say of an authorisation; the passenger is who was asked about."""
