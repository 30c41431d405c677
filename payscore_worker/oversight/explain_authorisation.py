"""The story of one authorisation: what was said of it, asked of WeChat Pay and announced, and what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from payscore_worker.domain.authorisation import AuthorisationState
from payscore_worker.logs import short_openid
from payscore_worker.oversight.explain import Happening, Moved, Troubled, called, decided_by, in_order, told_of
from payscore_worker.storage.authorisations import AuthorisationReports
from payscore_worker.storage.belonging import Belonging, belonging_of_order
from payscore_worker.storage.reports import Reports, Row

BY_CALLBACK: Final = "callback"
BY_QUESTION: Final = "question"
"""How we learnt that the service is open, or closed."""

TOLD_BY: Final = {
    AuthorisationState.OPEN: "payscore.user_open_service",
    AuthorisationState.CLOSED: "payscore.user_close_service",
}

ANNOUNCED_AS: Final = {
    AuthorisationState.OPEN: "authorisation.opened",
    AuthorisationState.CLOSED: "authorisation.closed",
}
"""Written in the transaction by which the state moves; the row's own times are in part WeChat Pay's, to the second."""

_T = TypeVar("_T", bound=msgspec.Struct)

SAME_WRITE: Final = timedelta(seconds=5)
"""A notification is noted in the write by which the state moves; its time is read a moment before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorisationStory:
    """One authorisation, and all that happened about it; the passenger is shortened as in the logs."""

    authorization_code: str
    openid: str
    whose: Belonging
    state: str
    request_id: str
    client: str
    noted_at: datetime
    given_at: datetime | None
    due_at: datetime | None
    ending: str
    """Who wants it ended, and why, where that is not done yet."""
    happenings: Sequence[Happening]


async def explain_authorisation(reports: Reports, row: Row, *, own_number: str) -> AuthorisationStory:
    """Tell the story of an authorisation; `own_number`: under which the record has what people did about it."""
    code = row["authorization_code"]
    events, calls = await reports.events(code), await reports.calls(code)
    actions = await AuthorisationReports(reports).actions_on(own_number)
    happenings = [
        *(told_of(event) for event in events),
        *(called(call) for call in calls),
        *(decided_by(action) for action in actions),
        *_moves(row, events),
        *_troubles(row),
    ]
    return AuthorisationStory(
        authorization_code=code,
        openid=short_openid(row["openid"]),
        whose=belonging_of_order(row["terms"]),
        state=row["state"],
        request_id=row["request_id"],
        client=row["client"],
        noted_at=row["noted_at"],
        given_at=row["given_at"],
        due_at=row["due_at"],
        ending=_ending(row, "ending"),
        happenings=in_order(happenings),
    )


def _moves(row: Row, events: Sequence[Row]) -> Iterator[Moved]:
    yield Moved(at=row["noted_at"], state=AuthorisationState.REQUESTED.value, why="")
    last = {event["type"]: event["at"] for event in events}
    for state, since in ((AuthorisationState.OPEN, row["opened_at"]), (AuthorisationState.CLOSED, row["closed_at"])):
        if since is not None:
            at = last.get(ANNOUNCED_AS[state]) or since
            by = BY_CALLBACK if _is_told(TOLD_BY[state], at, events) else BY_QUESTION
            ended = _ending(row, "ended") if state is AuthorisationState.CLOSED else ""
            yield Moved(at=at, state=state.value, why=ended or by)


def _is_told(type_: str, at: datetime, events: Sequence[Row]) -> bool:
    return any(event["type"] == type_ and abs(event["at"] - at) <= SAME_WRITE for event in events)


def _troubles(row: Row) -> Iterator[Troubled]:
    problem = _read(row["problem"], _Problem)
    if problem is not None:
        yield Troubled(
            at=problem.since, what="problem", code=problem.code, why=problem.message, request_id=problem.request_id
        )


def _ending(row: Row, name: str) -> str:
    ending = _read(row[name], _Ending)
    return "" if ending is None else f"{ending.by}: {ending.reason}"


class _Problem(msgspec.Struct):
    code: str
    message: str
    request_id: str
    since: datetime


class _Ending(msgspec.Struct):
    by: str
    reason: str


def _read(text: str | None, kind: type[_T]) -> _T | None:
    """Read what is kept as JSON; of a newer release's, nothing is known."""
    try:
        return None if text is None else msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return None
