"""A passenger is to authorise PayScore: note it, and tell what he signs with; in an outage, the reconciler will."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import AuthorisationRequested
from payscore_worker.settlement.authorisations import Authorisations


async def handle(event: AuthorisationRequested, authorisations: Authorisations) -> None:
    authorisation = await authorisations.note_requested(event)
    with suppress(HeldBack):
        await authorisations.advance(authorisation.authorization_code)
