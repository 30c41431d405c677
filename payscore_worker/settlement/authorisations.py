"""Note that a passenger is to authorise PayScore, or has; advance an authorisation, step by step, until it rests."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec
import structlog

from payscore_worker import metrics
from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import Authorisation, AuthorisationState, Ending, next_step
from payscore_worker.domain.next_step import Rest
from payscore_worker.errors import MalformedMessage, NotOurs, Rejected
from payscore_worker.events import (
    AuthorisationEnded,
    AuthorisationRequested,
    ClientJump,
    EventIn,
    ServiceChanged,
    account_of,
    message_in_hand,
)
from payscore_worker.settlement.authorisation_steps import AuthorisationRun, AuthorisationSteps
from payscore_worker.settlement.books import AuthorisationBooks
from payscore_worker.settlement.translation import authorisation_requested
from payscore_worker.settlement.trip_calls import passenger
from payscore_worker.settlement.trips import Settlement
from payscore_worker.settlement.turns import Turns
from payscore_worker.storage import Direction, EventRecord, Storage
from payscore_worker.wechatpay.payscore import PayScore, PayScores, ServiceChange

RIDE_SERVICE: Final = "ride service"
"""Who wants an authorisation ended, where it is not a person."""

_NUMBER: Final = re.compile(r"[\x21-\x7e]{1,64}")
"""A number that we take for a key: WeChat Pay gives back what a merchant has made (reference payscore-api C.1, C.3)."""

MAX_STEPS: Final = 8
"""An authorisation needs at most four steps at a time; more is a bug."""

MAX_OF_PASSENGER: Final = 50
"""Authorisations of one passenger that are looked at, the newest first; he signs a few in his life."""

log = structlog.stdlib.get_logger(__name__)


class Authorisations:
    """Notes facts and advances authorisations; safe to be called for one many times over, here and elsewhere."""

    kind: Final = Authorisation
    taken_up: Final = metrics.AUTHORISATIONS_TAKEN_UP

    def __init__(
        self,
        *,
        storage: Storage,
        payscores: PayScores,
        settlement: Settlement,
        prefix: str,
        clock: Callable[[], datetime],
        on_announced: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage = storage
        self._payscores = payscores
        self._settlement = settlement
        self._prefix = prefix
        self._clock = clock
        self._turns = Turns()
        self._books = AuthorisationBooks(
            storage=storage, clock=clock, on_announced=on_announced, enabling=self._enabling
        )
        self._steps = AuthorisationSteps(
            storage=storage,
            books=self._books,
            payscores=payscores,
            take_up=settlement.service_opened,
            clock=clock,
        )

    # --- Facts ---

    async def note_requested(self, event: AuthorisationRequested) -> Authorisation:
        """Note that a passenger is to authorise PayScore; the same again gives him what he signs with, once it is old.

        Raises:
            ConflictingFact: the request was made otherwise before.
            Rejected: it names an account or an app that is not ours.

        """
        asked, now = authorisation_requested(event), self._clock()
        terms = self._payscores.present(event.account or "", event.appid or "").terms
        new = outcomes.requested(asked, terms, now, prefix=self._prefix)
        before = await self._storage.load_authorisation(new.authorization_code) or new

        def request(newest: Authorisation) -> Authorisation:
            return outcomes.requested_again(newest, asked, now) if newest.version else newest

        return await self._books.change(before, request, events=[self._heard("authorisation.requested", event)])

    async def note_ended(self, event: AuthorisationEnded) -> list[str]:
        """Note that what a passenger has authorised is to end; returns the numbers of what that is.

        The same message again changes nothing.
        """
        ending = Ending(reason=event.reason, by=RIDE_SERVICE, word=message_in_hand.get())
        payscore = self._payscores.present(event.account or "", "")
        return await self._end(event.openid, ending, payscore, [self._heard("authorisation.ended", event)])

    async def end_by_hand(self, openid: str, ending: Ending, *, account: str = "") -> list[str]:
        """Do as `note_ended` on a person's word, which stands in the record of actions: nobody told us of it.

        Raises:
            Rejected: there is no such account; names those that there are.

        """
        return await self._end(openid, ending, self._payscores.present(account, ""), [])

    def own_number(self, openid: str, *, account: str = "") -> str:
        """Make the number of what a passenger has authorised an account without a word of ours.

        Raises:
            Rejected: there is no such account; names those that there are.

        """
        return self._own_number(openid, self._payscores.present(account, ""))

    async def _end(self, openid: str, ending: Ending, payscore: PayScore, events: list[EventRecord]) -> list[str]:
        ends = await self._to_end(openid, ending, payscore)
        for one in ends:
            await self._books.change(one, lambda newest: outcomes.to_end(newest, ending), events=events)
        return [one.authorization_code for one in ends]

    async def _to_end(self, openid: str, ending: Ending, payscore: PayScore) -> list[Authorisation]:
        """Find what is to end with a merchant: all that is open; else WeChat Pay is asked, as it may know more."""
        known = await self._of_merchant(openid, payscore.terms.mchid)
        if told := [one for one in known if ending.word in _words(one)]:
            return told
        if open_ := [one for one in known if one.state is AuthorisationState.OPEN]:
            return open_
        own, now = self._own_number(openid, payscore), self._clock()
        unknown = outcomes.end_of_unknown(own, openid, payscore.terms, now)
        return [await self._storage.load_authorisation(own) or unknown]

    async def note_changed(self, event: ServiceChanged) -> list[str]:
        """Note what a verified notification says of a passenger's service; returns the numbers of what it is about.

        An end is the end of all that the passenger has authorised: he has the service, or he has not.

        Raises:
            MalformedMessage: a member is missing or of another type than documented.
            Rejected: it is another merchant's.

        """
        payscore = self._hearing(event)
        try:
            change = payscore.read_service_change(event.resource)
        except NotOurs as error:
            metrics.of(metrics.NOT_OURS, "service").inc()
            log.info("notification_not_ours", reason=str(error))
            return []
        await self._settlement.note_service(change, payscore)
        now = self._clock()
        before, see = await self._meant_by(change, payscore), outcomes.opened if change.enabled else outcomes.closed
        type_ = "payscore.user_open_service" if change.enabled else "payscore.user_close_service"
        noted, codes = self._heard(type_, event), [before.authorization_code]
        await self._books.change(before, lambda newest: see(newest, change.changed_at, now), events=[noted])
        if not change.enabled:
            codes += await self._close_others(change, besides=before.authorization_code)
        return codes

    def _hearing(self, event: ServiceChanged) -> PayScore:
        """Hear of a passenger as the app that the notification names, if it is one of the account's."""
        account, appid = account_of(event), event.resource.get("appid")
        if isinstance(appid, str):
            with suppress(Rejected):
                return self._payscores.present(account, appid)
        return self._payscores.present(account, "")

    async def _meant_by(self, change: ServiceChange, payscore: PayScore) -> Authorisation:
        """Find the authorisation that a notification is about, or begin one that nobody has requested of us."""
        now, terms = self._clock(), payscore.terms
        if _NUMBER.fullmatch(change.number):
            known = await self._storage.load_authorisation(change.number)
            if known is None:
                return outcomes.unasked(change.number, change.openid, terms, now)
            if known.openid == change.openid and known.terms.mchid == change.mchid:
                return known  # else another passenger has signed what was meant for this one
        own = self._own_number(change.openid, payscore)
        return await self._storage.load_authorisation(own) or outcomes.unasked(own, change.openid, terms, now)

    async def _close_others(self, change: ServiceChange, *, besides: str) -> list[str]:
        now, codes = self._clock(), []
        for other in await self._of_merchant(change.openid, change.mchid):
            if other.state is AuthorisationState.OPEN and other.authorization_code != besides:
                await self._books.change(other, lambda newest: outcomes.closed(newest, change.changed_at, now))
                codes.append(other.authorization_code)
        return codes

    async def of(self, openid: str) -> list[Authorisation]:
        """See what is known of a passenger's authorisations, the newest first."""
        return await self._storage.authorisations_of(openid, limit=MAX_OF_PASSENGER)

    async def _of_merchant(self, openid: str, mchid: str) -> list[Authorisation]:
        return [one for one in await self.of(openid) if one.terms.mchid == mchid]

    def _own_number(self, openid: str, payscore: PayScore) -> str:
        """Make the number of what a passenger has authorised a merchant without a word of ours."""
        return outcomes.number_of_passenger(passenger(openid, payscore, self._payscores), self._prefix)

    def _heard(self, type_: str, event: EventIn) -> EventRecord:
        return EventRecord(
            event_id=message_in_hand.get(),
            direction=Direction.IN,
            type=type_,
            at=self._clock(),
            body=msgspec.json.encode(event),
        )

    # --- Advancing ---

    async def advance(self, authorization_code: str) -> None:
        """Take an authorisation as far as it will go now.

        Raises:
            Retryable: something is out of reach; it is where it was, and the same call heals it.

        """
        async with self._turns.of(authorization_code):
            authorisation = await self._storage.load_authorisation(authorization_code)
            if authorisation is not None:
                await self._advance(authorisation)

    async def take_up(self, case: Authorisation) -> None:
        """Advance an authorisation that the reconciler has claimed and loaded."""
        async with self._turns.of(case.authorization_code):
            authorisation = await self._advance(case)
            if authorisation.version == case.version:
                await self._storage.reschedule(case, due_at=outcomes.due_at(authorisation, self._clock()))

    async def _advance(self, authorisation: Authorisation) -> Authorisation:
        run = AuthorisationRun(authorisation)
        for _ in range(MAX_STEPS):
            step = next_step(run.authorisation, self._clock())
            if isinstance(step, Rest):
                return run.authorisation
            try:
                await self._steps.take(step, run)
            except MalformedMessage as error:
                await self._steps.stop(run, "malformed_call", str(error), step=type(step).__name__)
        raise RuntimeError(f"authorisation {authorisation.authorization_code} took more than {MAX_STEPS} steps")

    def _enabling(self, authorisation: Authorisation) -> ClientJump | None:
        payscore = self._payscores.of(authorisation.terms)
        return payscore.enable_jump(authorisation.authorization_code, authorisation.token)


def _words(authorisation: Authorisation) -> set[str]:
    """Name the messages that have said that it is to end."""
    return {ending.word for ending in (authorisation.ending, authorisation.ended) if ending is not None}
