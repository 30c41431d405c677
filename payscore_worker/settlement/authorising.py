"""Carries out what people decide about authorisations: records who does what and why, and does it."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from payscore_worker.domain.authorisation import Authorisation, Ending
from payscore_worker.errors import Retryable
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.storage.actions import Action, Actions
from payscore_worker.storage.authorisations import END


class Authorising:
    """Does what people decided, once it stands in the record."""

    def __init__(self, *, authorisations: Authorisations, actions: Actions, clock: Callable[[], datetime]) -> None:
        self._authorisations = authorisations
        self._actions = actions
        self._clock = clock

    async def end(self, openid: str, *, by: str, reason: str, account: str = "") -> list[Authorisation]:
        """End what a passenger has authorised an account, or else the default one; returns how that stands now.

        Raises:
            Rejected: there is no such account; nothing was recorded.
            StorageUnavailable: it could not be recorded, and was not begun.

        """
        target = self._authorisations.own_number(openid, account=account)
        action = Action(who=by, action=END, queue="", target=target, reason=reason)
        async with self._actions.recorded_for_one(action, self._clock) as done:
            ending = Ending(reason=reason, by=by, word=uuid4().hex)
            codes = await self._authorisations.end_by_hand(openid, ending, account=account)
            done.moved = len(codes)
        for code in codes:
            with suppress(Retryable):  # the reconciler goes on with it
                await self._authorisations.advance(code)
        return [one for one in await self._authorisations.of(openid) if one.authorization_code in codes]
