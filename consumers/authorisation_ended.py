"""What a passenger has authorised is to end: note it, and end it; while WeChat Pay is out, the reconciler will."""

from contextlib import suppress

from payscore_worker.errors import HeldBack
from payscore_worker.events import AuthorisationEnded
from payscore_worker.settlement.authorisations import Authorisations


async def handle(event: AuthorisationEnded, authorisations: Authorisations) -> None:
    for authorization_code in await authorisations.note_ended(event):
        with suppress(HeldBack):
            await authorisations.advance(authorization_code)
