"""A passenger has opened or closed the PayScore service: note it, and open the orders that waited for it."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import ServiceChanged
from payscore_worker.settlement.authorisations import Authorisations


async def handle(event: ServiceChanged, authorisations: Authorisations) -> None:
    for authorization_code in await authorisations.note_changed(event):
        with suppress(HeldBack):
            await authorisations.advance(authorization_code)
