"""A passenger's consent to PayScore: its states, what it needs now, and what becomes of it (payscore-api C, D.3).

It is a case of its own: it may be asked for without a trip, and serves all the trips of its passenger.
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from payscore_worker.domain.next_step import (
    IN_HAND,
    Rest,
)
from payscore_worker.domain.outcomes import APART
from payscore_worker.domain.trip import (
    OrderTerms,
    Problem,
)
from payscore_worker.errors import ConflictingFact, Refusal

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

MAX_AUTHORIZATION_CODE: Final = 32
"""What WeChat allows (reference payscore-api C.1)."""

GOOD_FOR: Final = 50 * MINUTE
"""How long parameters are taken for good: a token is valid for an hour by WeChat's clock (reference payscore-api C.1),
and takes its time to the passenger."""

LOOKS: Final = (2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE)
"""Between questions whether the passenger has signed, from when he was given the parameters: a little longer than the
token is valid. Then only his callback tells, or the next request."""

PAUSES: Final = (MINUTE, 2 * MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 2 * HOUR)
"""After each refused call, and each refused question; one more than these is for a person."""

TRIP_LOOKS: Final = 2
"""At the trips of a passenger who has just opened the service: at once, and when none can be on its way any more to be
declined by an answer from before."""

TRIPS_APART: Final = 5 * MINUTE
"""Between them: longer than a question, and asking for a token, can take with all their tries."""

UNFINISHED_PAUSES: Final = (5 * MINUTE, 30 * MINUTE, 3 * HOUR, 12 * HOUR, DAY, 2 * DAY, 3 * DAY)
"""Before the service of a passenger with unfinished orders is tried to be closed again: he rides, or is yet to pay."""


class AuthorisationState(StrEnum):
    """Where an authorisation stands (design 10)."""

    REQUESTED = "REQUESTED"
    OPEN = "OPEN"
    """The passenger has authorised the service: by WeChat's word, or, where its end is the first that we hear of it,
    the ride service's."""
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """The ride service wants a passenger to authorise PayScore."""

    request_id: str
    openid: str = field(repr=False)
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What was authorised is to end: why, by whose word, and in which message or action that was said."""

    reason: str
    by: str
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A call or a question that brought no word of WeChat's."""

    step: str
    refusal: Refusal
    code: str
    message: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorisation:
    """One authorisation of one passenger."""

    authorization_code: str
    """WeChat's name for our number; `out_request_no` in the older flow."""
    openid: str = field(repr=False)
    request_id: str = ""
    """Empty: nobody has requested it of us."""
    client: str = ""
    terms: OrderTerms
    state: AuthorisationState
    noted_at: datetime

    bodies: int = 0
    """How many request bodies were built for it; the newest is that generation in the journal."""
    is_prepared: bool = False
    """The body that asks for a token is stored, and may be on its way."""
    given_at: datetime | None = None
    """When the passenger was given what he signs with."""
    asked_at: datetime | None = None
    """When WeChat last answered, and that has moved nothing."""
    looks: int = 0

    opened_at: datetime | None = None
    closed_at: datetime | None = None
    changed_at: datetime | None = None
    """By WeChat's clock, of the newest word that was believed; an older one changes nothing."""
    trip_looks: int = 0
    """Looks that are left at the passenger's trips that were declined for want of it."""

    ending: Ending | None = None
    """To be done."""
    ended: Ending | None = None
    """Done: the last one."""
    end_prepared: bool = False
    """The body that ends it is stored, and may be on its way."""

    refused: Refused | None = None
    """A call was refused; where the authorisation stands is to be asked."""
    refusals: int = 0
    unanswered: int = 0
    """Questions in a row that brought no word."""
    missed_at: datetime | None = None
    """When WeChat first knew nothing that could be ended; one such answer alone proves nothing (F.5 c)."""
    ask_after: datetime | None = None
    problem: Problem | None = None
    problem_told: str = ""
    version: int = 0

    token: str = field(default="", repr=False)
    """For this run only: it is told, and kept nowhere."""


def authorization_code_for(request_id: str, prefix: str = "") -> str:
    """Make our number from the request's id alone, so that no crash can make a second one (design rule 12)."""
    return _number("authorisation.requested", request_id, prefix)


def number_of_passenger(openid: str, prefix: str = "") -> str:
    """Make the key of an authorisation that came about without a number of ours."""
    return _number("passenger", openid, prefix)


def _number(of_what: str, name: str, prefix: str) -> str:
    """Hash a name with what it is the name of: neither a trip's number nor another kind's is ever the same."""
    digest = hashlib.sha256(f"{of_what}\n{name}".encode()).hexdigest()
    return prefix + digest[: MAX_AUTHORIZATION_CODE - len(prefix)]


# --- Facts are noted -------------------------------------------------------------------------------------------------


def requested(asked: Requested, terms: OrderTerms, now: datetime, *, prefix: str = "") -> Authorisation:
    """Begin an authorisation with the request for it."""
    return Authorisation(
        authorization_code=authorization_code_for(asked.request_id, prefix),
        openid=asked.openid,
        request_id=asked.request_id,
        client=asked.client,
        terms=terms,
        state=AuthorisationState.REQUESTED,
        noted_at=now,
    )


def requested_again(authorisation: Authorisation, asked: Requested, now: datetime) -> Authorisation:
    """Take the request for another time: what may be good still is not given again; a person need not clear it.

    Raises:
        ConflictingFact: it says otherwise than before.

    """
    names = [name for name in ("openid", "client") if getattr(authorisation, name) != getattr(asked, name)]
    if names:
        raise ConflictingFact(f"{names[0]}: authorisation.requested says otherwise than before for this request_id")
    if authorisation.state is not AuthorisationState.REQUESTED:
        return authorisation
    if authorisation.problem is not None:
        return without_problem(authorisation)
    if authorisation.given_at is None or now < authorisation.given_at + GOOD_FOR:
        return authorisation
    return replace(authorisation, given_at=None, looks=0)


def unasked(number: str, openid: str, terms: OrderTerms, now: datetime) -> Authorisation:
    """Begin an authorisation that nobody has requested of us, with the word of it that is to be taken next."""
    return Authorisation(
        authorization_code=number, openid=openid, terms=terms, state=AuthorisationState.REQUESTED, noted_at=now
    )


def end_of_unknown(number: str, openid: str, terms: OrderTerms, now: datetime) -> Authorisation:
    """Begin an authorisation with its end: that there is one, the ride service says."""
    return replace(unasked(number, openid, terms, now), state=AuthorisationState.OPEN)


def to_end(authorisation: Authorisation, ending: Ending) -> Authorisation:
    """Note that it is to end; the same word again changes nothing, and a person need not clear it."""
    for noted in (authorisation.ending, authorisation.ended):
        if noted is not None and noted.word == ending.word and authorisation.problem is None:
            return authorisation
    if authorisation.ending is not None and authorisation.problem is None:
        return authorisation  # it is under way for a reason that was named first
    return replace(_calm(authorisation), ending=authorisation.ending or ending)


# --- What an authorisation needs now ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskService:
    """Ask what the passenger has authorised, whoever requested it."""


@dataclass(frozen=True, slots=True)
class GiveParameters:
    """Tell what the passenger signs with: asked of WeChat, or signed by us."""


@dataclass(frozen=True, slots=True)
class AskAuthorisation:
    """Ask whether the passenger has signed."""


@dataclass(frozen=True, slots=True)
class TakeUpTrips:
    """Have the passenger's trips opened that were declined for want of it."""


@dataclass(frozen=True, slots=True)
class EndService:
    """Close the passenger's service at WeChat."""


AuthorisationStep = Rest | AskService | GiveParameters | AskAuthorisation | TakeUpTrips | EndService


def next_step(authorisation: Authorisation, now: datetime) -> AuthorisationStep:
    """What this authorisation needs now, decided from its row alone."""
    if authorisation.problem is not None:
        return Rest()
    if authorisation.ask_after is not None and now < authorisation.ask_after:
        return Rest(authorisation.ask_after)
    if authorisation.ending is not None:
        return EndService() if authorisation.refused is None else AskService()
    match authorisation.state:
        case AuthorisationState.REQUESTED:
            return _next_when_requested(authorisation, now)
        case AuthorisationState.OPEN if authorisation.trip_looks > 0:
            return TakeUpTrips()
        case AuthorisationState.OPEN | AuthorisationState.CLOSED:
            return Rest()
        case _:
            assert_never(authorisation.state)


def _next_when_requested(authorisation: Authorisation, now: datetime) -> AuthorisationStep:
    if authorisation.refused is not None:
        return AskAuthorisation()
    if authorisation.asked_at is None:
        return AskService()
    if authorisation.given_at is None:
        return GiveParameters()
    if authorisation.looks >= len(LOOKS):
        return Rest()
    look_at = max(authorisation.given_at, authorisation.asked_at) + LOOKS[authorisation.looks]
    return AskAuthorisation() if now >= look_at else Rest(look_at)


def due_at(authorisation: Authorisation, now: datetime) -> datetime | None:
    """When the reconciler must look at it: in time for its next step, or if whoever has it in hand fails."""
    step = next_step(authorisation, now)
    return step.until if isinstance(step, Rest) else now + IN_HAND


# --- What became of a step -------------------------------------------------------------------------------------------


def preparing(authorisation: Authorisation) -> Authorisation:
    """Mark that the body that asks for a token is about to be sent for the first time."""
    return replace(authorisation, is_prepared=True, bodies=authorisation.bodies + 1)


def given(authorisation: Authorisation, token: str, now: datetime) -> Authorisation:
    """Tell what the passenger signs with, and begin to look whether he does."""
    if authorisation.state is not AuthorisationState.REQUESTED:
        return authorisation
    return replace(_calm(authorisation), given_at=now, asked_at=now, looks=0, token=token)


def preparing_end(authorisation: Authorisation) -> Authorisation:
    """Mark that the body that ends it is about to be sent for the first time."""
    return replace(authorisation, end_prepared=True, bodies=authorisation.bodies + 1)


def ended(authorisation: Authorisation, now: datetime) -> Authorisation:
    """WeChat has closed the passenger's service, or there was none to close."""
    if authorisation.ending is None:
        return authorisation
    closed_at = authorisation.closed_at if authorisation.state is AuthorisationState.CLOSED else None
    return replace(
        _calm(authorisation),
        state=AuthorisationState.CLOSED,
        closed_at=closed_at or now,
        changed_at=authorisation.changed_at or closed_at or now,
        trip_looks=0,
        ending=None,
        ended=authorisation.ending,
        end_prepared=False,
    )


def trips_taken_up(authorisation: Authorisation, looks: int, now: datetime) -> Authorisation:
    """The passenger's trips were looked at; once more, for one that was being declined at that moment.

    `looks` were left before. Where another worker has made this one meanwhile, it counts once: the next has its time.
    """
    if authorisation.trip_looks != looks:
        return authorisation
    left = looks - 1
    return replace(authorisation, trip_looks=left, ask_after=now + TRIPS_APART if left else None)


def refused(authorisation: Authorisation, why: Refused, now: datetime) -> Authorisation:
    """WeChat refused a call: ask where it stands, after a pause that grows; then a person must look."""
    pauses = UNFINISHED_PAUSES if why.refusal is Refusal.WRONG_STATE and authorisation.ending else PAUSES
    if authorisation.refusals >= len(pauses):
        return _troubled_by(authorisation, why, now)
    pause = pauses[authorisation.refusals]
    return replace(authorisation, refused=why, refusals=authorisation.refusals + 1, ask_after=now + pause)


def no_answer(authorisation: Authorisation, why: Refused, now: datetime) -> Authorisation:
    """A question was refused, or answered with what cannot be: ask again, with pauses that grow."""
    if authorisation.unanswered >= len(PAUSES):
        return _troubled_by(authorisation, why, now)
    pause = PAUSES[authorisation.unanswered]
    return replace(authorisation, unanswered=authorisation.unanswered + 1, ask_after=now + pause)


def not_signed(authorisation: Authorisation, now: datetime) -> Authorisation:
    """The passenger has not signed, by WeChat's word or, where nothing hangs on it, by its silence."""
    answered = replace(authorisation, refused=None, ask_after=None, unanswered=0, asked_at=now)
    looked = authorisation.given_at is not None
    return replace(answered, looks=authorisation.looks + 1) if looked else answered


def service_on(authorisation: Authorisation, authorised_at: datetime | None, now: datetime) -> Authorisation:
    """WeChat says, asked by the passenger, that he has authorised the service; it may be by another number."""
    if authorisation.ending is not None:  # so it is to be closed still
        return replace(authorisation, refused=None, missed_at=None, ask_after=None, unanswered=0)
    return opened(authorisation, authorised_at, now)


def service_off(authorisation: Authorisation, now: datetime) -> Authorisation:
    """WeChat says, asked by the passenger, that he has closed the service: to an end, that is all that was wanted."""
    if authorisation.ending is not None:
        return ended(authorisation, now)
    return not_signed(authorisation, now)


def never_authorised(authorisation: Authorisation, now: datetime) -> Authorisation:
    """WeChat says, unsigned, that the passenger never authorised anything.

    Two such answers, some time apart, stand for its word that there is nothing to end (reference payscore-api F.5 c).
    """
    if authorisation.ending is None:
        return not_signed(authorisation, now)
    if authorisation.missed_at is not None and now - authorisation.missed_at >= APART:
        return ended(authorisation, now)
    missed_at = authorisation.missed_at or now
    return replace(authorisation, missed_at=missed_at, ask_after=missed_at + APART, unanswered=0)


# --- Seen: callbacks, and questions by our number -------------------------------------------------------------------


def opened(authorisation: Authorisation, at: datetime | None, now: datetime) -> Authorisation:
    """The passenger has authorised it, by WeChat's signed word; an older word than the newest changes nothing."""
    at = at or now
    known = authorisation.changed_at
    if known is not None and at <= known:  # of one second, the end is the later word
        return authorisation
    if authorisation.state is AuthorisationState.OPEN and known is not None:
        return replace(authorisation, changed_at=at)
    return replace(
        _calm(authorisation),
        state=AuthorisationState.OPEN,
        opened_at=at,
        changed_at=at,
        closed_at=None,
        trip_looks=TRIP_LOOKS,
    )


def closed(authorisation: Authorisation, at: datetime | None, now: datetime) -> Authorisation:
    """The passenger's authorisation is over, by WeChat's signed word, whoever ended it."""
    at, known = at or now, authorisation.changed_at
    if known is not None and at < known:
        return authorisation
    if authorisation.ending is not None:
        return replace(ended(authorisation, at), changed_at=at)
    if authorisation.state is AuthorisationState.CLOSED:
        return authorisation if at == known else replace(authorisation, changed_at=at)
    return replace(_calm(authorisation), state=AuthorisationState.CLOSED, closed_at=at, changed_at=at, trip_looks=0)


# --- In trouble, taken up again --------------------------------------------------------------------------------------


def with_problem(authorisation: Authorisation, problem: Problem) -> Authorisation:
    """Stop: a person must look."""
    told = f"{problem.code} {problem.step}"
    return replace(authorisation, problem=problem, problem_told=told, refused=None, ask_after=None)


def without_problem(authorisation: Authorisation) -> Authorisation:
    """Take it up again: somebody asks for it anew."""
    return _calm(authorisation)


def _troubled_by(authorisation: Authorisation, why: Refused, now: datetime) -> Authorisation:
    problem = Problem(
        code=why.code or why.refusal, message=why.message, request_id=why.request_id, step=why.step, since=now
    )
    return with_problem(authorisation, problem)


def _calm(authorisation: Authorisation) -> Authorisation:
    calm = replace(authorisation, refused=None, refusals=0, unanswered=0, missed_at=None, ask_after=None)
    return replace(calm, problem=None, problem_told="")
