"""What an authorisation needs, and what becomes of it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any, Final

import pytest

from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import (
    GOOD_FOR,
    LOOKS,
    MAX_AUTHORIZATION_CODE,
    PAUSES,
    TRIP_LOOKS,
    TRIPS_APART,
    UNFINISHED_PAUSES,
    AskAuthorisation,
    AskService,
    Authorisation,
    AuthorisationState,
    EndService,
    GiveParameters,
    TakeUpTrips,
    authorization_code_for,
    due_at,
    next_step,
    number_of_passenger,
)
from payscore_worker.domain.next_step import (
    IN_HAND,
    Rest,
)
from payscore_worker.domain.outcomes import APART
from payscore_worker.domain.trip import Problem, out_order_no_for
from payscore_worker.errors import ConflictingFact, Refusal
from tests.builders import (
    AUTHORISATIONS,
    NOW,
    a_request_to_sign,
    an_authorisation,
    an_authorisation_refused,
    an_ending,
    some_terms,
)

MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)

Change = Callable[[Authorisation], Authorisation]


# --- Numbers ---


@pytest.mark.parametrize("number_of", [authorization_code_for, number_of_passenger])
@pytest.mark.parametrize("prefix", ["", "staging-one-"])
def test_a_number_follows_from_what_it_is_of_and_fits_wechat(number_of: Callable[..., str], prefix: str) -> None:
    one, other = number_of("q1", prefix), number_of("q2", prefix)

    assert one == number_of("q1", prefix) != other
    assert one.startswith(prefix)
    assert len(one) == MAX_AUTHORIZATION_CODE
    assert set(one) <= set("0123456789abcdefghijklmnopqrstuvwxyz-")


def test_numbers_of_different_things_of_one_name_are_different() -> None:
    name = "x" * 40
    assert len({authorization_code_for(name), number_of_passenger(name), out_order_no_for(name)}) == 3


# --- Requested ---


def test_whether_the_service_is_on_already_is_asked_before_anything_is_given() -> None:
    new = an_authorisation()

    assert next_step(new, NOW) == AskService()
    assert next_step(outcomes.not_signed(new, NOW), NOW) == GiveParameters()


def test_parameters_that_were_given_are_looked_after_for_the_life_of_a_token_and_then_left() -> None:
    now, given = NOW, outcomes.given(outcomes.not_signed(an_authorisation(), NOW), "token", NOW)

    for delay in LOOKS:
        assert next_step(given, now) == Rest(now + delay)
        now += delay
        assert next_step(given, now) == AskAuthorisation()
        given = outcomes.not_signed(given, now)

    assert now - NOW > timedelta(hours=1)
    assert next_step(given, now + timedelta(days=999)) == Rest()
    assert due_at(given, now) is None


def test_a_request_that_is_made_again_gives_anew_what_is_too_old_to_be_good() -> None:
    given = AUTHORISATIONS["given"]()

    assert outcomes.requested_again(given, a_request_to_sign(), NOW + GOOD_FOR - SECOND) is given
    again = outcomes.requested_again(given, a_request_to_sign(), NOW + GOOD_FOR)
    assert next_step(again, NOW + GOOD_FOR) == GiveParameters()
    assert (again.is_prepared, again.bodies) == (given.is_prepared, given.bodies)


@pytest.mark.parametrize("member", ["openid", "client"])
@pytest.mark.parametrize("situation", AUTHORISATIONS)
def test_a_request_that_says_otherwise_than_before_names_where(situation: str, member: str) -> None:
    other = replace(a_request_to_sign(), **{member: "another"})

    with pytest.raises(ConflictingFact, match=rf"^{member}: "):
        outcomes.requested_again(AUTHORISATIONS[situation](), other, NOW)


@pytest.mark.parametrize("situation", ["open", "open, trips to be looked at", "open, to end", "closed"])
def test_a_request_that_is_made_again_changes_nothing_once_it_was_answered(situation: str) -> None:
    authorisation = AUTHORISATIONS[situation]()

    assert outcomes.requested_again(authorisation, a_request_to_sign(), NOW + timedelta(days=1)) is authorisation


def test_a_request_that_is_made_again_clears_what_stands_still() -> None:
    again = outcomes.requested_again(AUTHORISATIONS["with a problem, requested"](), a_request_to_sign(), NOW)

    assert again.problem is None
    assert next_step(again, NOW) == GiveParameters()


def test_a_refused_token_is_asked_about_before_it_is_asked_for_again() -> None:
    authorisation, why = outcomes.not_signed(an_authorisation(), NOW), an_authorisation_refused()

    for pause in PAUSES:
        authorisation = outcomes.refused(authorisation, why, NOW)
        assert next_step(authorisation, NOW) == Rest(NOW + pause)
        assert next_step(authorisation, NOW + pause) == AskAuthorisation()
        authorisation = outcomes.not_signed(authorisation, NOW)
        assert next_step(authorisation, NOW) == GiveParameters()

    authorisation = outcomes.refused(authorisation, why, NOW)
    assert authorisation.problem is not None
    assert authorisation.problem.code == why.code
    assert next_step(authorisation, NOW) == Rest()


def test_a_question_without_an_answer_is_asked_again_with_growing_pauses_and_then_it_is_for_a_person() -> None:
    authorisation, why = an_authorisation(), an_authorisation_refused(step="AskService")

    for pause in PAUSES:
        authorisation = outcomes.no_answer(authorisation, why, NOW)
        assert next_step(authorisation, NOW) == Rest(NOW + pause)

    assert outcomes.no_answer(authorisation, why, NOW).problem is not None
    assert outcomes.not_signed(authorisation, NOW).unanswered == 0


def test_parameters_that_come_too_late_are_not_given() -> None:
    opened = AUTHORISATIONS["open"]()

    assert outcomes.given(opened, "token", NOW) is opened


# --- Opened and closed, in whatever order that is heard ---


def test_an_authorisation_that_is_opened_has_the_trips_looked_at_twice() -> None:
    now, opened = NOW, outcomes.opened(AUTHORISATIONS["given"](), NOW, NOW)

    assert (opened.state, opened.opened_at, opened.trip_looks) == (AuthorisationState.OPEN, NOW, TRIP_LOOKS)
    for _ in range(TRIP_LOOKS):
        assert next_step(opened, now) == TakeUpTrips()
        assert due_at(opened, now) == now + IN_HAND
        opened = outcomes.trips_taken_up(opened, opened.trip_looks, now)
        now += TRIPS_APART
    assert next_step(opened, now) == Rest()
    assert opened.ask_after is None


def test_a_look_at_the_trips_that_two_workers_make_at_once_counts_once() -> None:
    opened = AUTHORISATIONS["open, trips to be looked at"]()
    once = outcomes.trips_taken_up(opened, opened.trip_looks, NOW)
    twice = outcomes.trips_taken_up(once, opened.trip_looks, NOW)

    assert (twice.trip_looks, next_step(twice, NOW)) == (TRIP_LOOKS - 1, Rest(NOW + TRIPS_APART))


def test_no_look_at_the_trips_follows_the_last() -> None:
    """Two workers made the last one at once, in a release that counted it twice."""
    over = replace(AUTHORISATIONS["open"](), trip_looks=-1)

    assert next_step(over, NOW) == Rest()


@pytest.mark.parametrize("seconds", [-1, 0])
def test_an_opening_that_is_not_newer_than_the_end_changes_nothing(seconds: int) -> None:
    closed = AUTHORISATIONS["closed"]()

    assert outcomes.opened(closed, NOW + seconds * SECOND, NOW) is closed


def test_a_passenger_may_come_back() -> None:
    again = outcomes.opened(AUTHORISATIONS["closed"](), NOW + SECOND, NOW)

    assert (again.state, again.opened_at, again.closed_at) == (AuthorisationState.OPEN, NOW + SECOND, None)


def test_an_end_from_before_the_opening_changes_nothing() -> None:
    opened = outcomes.opened(an_authorisation(), NOW, NOW)

    assert outcomes.closed(opened, NOW - SECOND, NOW) is opened
    assert outcomes.closed(opened, NOW, NOW).state is AuthorisationState.CLOSED


HISTORIES: Final = {
    "comes back": (True, False, True),
    "goes for good": (True, False, True, False),
    "goes within the second": (True, False),
}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("seconds", [0, 1])
def test_in_whatever_order_words_arrive_the_newest_is_believed(history: str, seconds: int) -> None:
    """Of one second, the end is the newest: then a passenger who comes back within it is found by asking."""
    words = [(is_open, NOW + seconds * number * SECOND) for number, is_open in enumerate(HISTORIES[history])]
    newest_is_open = words[-1][0] if seconds else False

    for order in permutations(words):
        authorisation = an_authorisation()
        for is_open, at in (word for word in order for _ in range(2)):  # each comes twice
            see = outcomes.opened if is_open else outcomes.closed
            authorisation = see(authorisation, at, NOW)
        assert (authorisation.state is AuthorisationState.OPEN) == newest_is_open, order


@pytest.mark.parametrize("state", AuthorisationState)
def test_a_word_without_a_time_is_as_old_as_its_arrival(state: AuthorisationState) -> None:
    if state is AuthorisationState.REQUESTED:
        pytest.skip("nothing of ours is told so")
    see = outcomes.opened if state is AuthorisationState.OPEN else outcomes.closed

    assert see(an_authorisation(), None, NOW).changed_at == NOW


# --- Ended ---


def test_what_is_to_end_is_ended_whatever_else_there_is_to_do() -> None:
    for authorisation in (AUTHORISATIONS["open, trips to be looked at"](), AUTHORISATIONS["open"]()):
        assert next_step(outcomes.to_end(authorisation, an_ending()), NOW) == EndService()


def test_an_end_that_is_said_twice_is_one() -> None:
    to_end = outcomes.to_end(AUTHORISATIONS["open"](), an_ending())
    assert outcomes.to_end(to_end, an_ending()) is to_end
    assert outcomes.to_end(to_end, an_ending(word="m2", reason="another")) is to_end

    ended = outcomes.ended(to_end, NOW)
    assert outcomes.to_end(ended, an_ending()) is ended
    assert next_step(outcomes.to_end(ended, an_ending(word="m2")), NOW) == EndService()


def test_an_end_is_the_end() -> None:
    ended = outcomes.ended(AUTHORISATIONS["open, to end"](), NOW + SECOND)

    assert (ended.state, ended.closed_at, ended.ending) == (AuthorisationState.CLOSED, NOW + SECOND, None)
    assert ended.ended == an_ending()
    assert next_step(ended, NOW) == Rest()
    assert outcomes.ended(AUTHORISATIONS["open"](), NOW) == AUTHORISATIONS["open"]()


@pytest.mark.parametrize(("refusal", "pauses"), [(Refusal.WRONG_STATE, UNFINISHED_PAUSES), (Refusal.UNCLEAR, PAUSES)])
def test_a_refused_end_is_asked_about_and_tried_again_and_unfinished_orders_are_given_days(
    refusal: Refusal, pauses: tuple[timedelta, ...]
) -> None:
    authorisation, now = AUTHORISATIONS["open, to end"](), NOW

    for pause in pauses:
        authorisation = outcomes.refused(authorisation, an_authorisation_refused(refusal, step="EndService"), now)
        assert next_step(authorisation, now) == Rest(now + pause)
        now += pause
        assert next_step(authorisation, now) == AskService()
        authorisation = outcomes.service_on(authorisation, None, now)
        assert next_step(authorisation, now) == EndService()

    last = outcomes.refused(authorisation, an_authorisation_refused(refusal, step="EndService"), now)
    assert last.problem is not None
    assert next_step(outcomes.to_end(last, an_ending(word="m2")), now) == EndService()


def test_an_end_that_was_refused_is_done_where_the_service_is_off() -> None:
    refused = AUTHORISATIONS["open, to end, refused"]()

    assert outcomes.service_off(refused, NOW).state is AuthorisationState.CLOSED


def test_that_there_is_nothing_to_end_takes_two_answers_some_time_apart() -> None:
    once = outcomes.never_authorised(AUTHORISATIONS["open, to end, refused"](), NOW)
    assert once.state is AuthorisationState.OPEN
    assert next_step(once, NOW) == Rest(NOW + APART)

    assert outcomes.never_authorised(once, NOW + APART - SECOND).state is AuthorisationState.OPEN
    assert outcomes.never_authorised(once, NOW + APART).state is AuthorisationState.CLOSED


def test_that_a_passenger_never_authorised_anything_is_an_answer_where_nothing_hangs_on_it() -> None:
    assert next_step(outcomes.never_authorised(an_authorisation(), NOW), NOW) == GiveParameters()


def test_an_end_that_wechat_tells_of_is_the_end_that_was_wanted() -> None:
    closed = outcomes.closed(AUTHORISATIONS["open, to end"](), NOW + MINUTE, NOW)

    assert (closed.state, closed.ended) == (AuthorisationState.CLOSED, an_ending())
    assert (closed.closed_at, closed.changed_at) == (NOW + MINUTE, NOW + MINUTE)


# --- Laws of every situation ---

FACTS: Final[dict[str, Change]] = {
    "opened": lambda one: outcomes.opened(one, NOW + MINUTE, NOW),
    "opened, an old word": lambda one: outcomes.opened(one, NOW - timedelta(days=9), NOW),
    "closed": lambda one: outcomes.closed(one, NOW + MINUTE, NOW),
    "closed, an old word": lambda one: outcomes.closed(one, NOW - timedelta(days=9), NOW),
}


@pytest.mark.parametrize("situation", AUTHORISATIONS)
@pytest.mark.parametrize("fact", FACTS)
def test_a_word_that_is_heard_twice_changes_once(situation: str, fact: str) -> None:
    once = FACTS[fact](AUTHORISATIONS[situation]())

    assert FACTS[fact](once) == once


@pytest.mark.parametrize("situation", AUTHORISATIONS)
def test_what_stands_still_rests_and_everything_else_is_due_where_it_does_not(situation: str) -> None:
    authorisation = AUTHORISATIONS[situation]()

    step = next_step(authorisation, NOW)
    assert due_at(authorisation, NOW) == (step.until if isinstance(step, Rest) else NOW + IN_HAND)
    if authorisation.problem is not None:
        assert step == Rest()


@pytest.mark.parametrize("situation", AUTHORISATIONS)
@pytest.mark.parametrize("name", ["openid", "token"])
def test_neither_passenger_nor_token_is_shown(situation: str, name: str) -> None:
    secret: dict[str, Any] = {name: "a-secret-that-nobody-may-see"}

    assert "a-secret" not in repr(replace(AUTHORISATIONS[situation](), **secret))


def test_pauses_grow() -> None:
    assert sorted(UNFINISHED_PAUSES) == list(UNFINISHED_PAUSES)
    assert sorted(PAUSES) == list(PAUSES)


# --- What a row says afterwards ---

COUNTED: Final[dict[str, Any]] = {
    "refused": an_authorisation_refused(),
    "refusals": 3,
    "unanswered": 2,
    "missed_at": NOW - MINUTE,
    "ask_after": NOW - MINUTE,
    "problem_told": "X AskService",
}
"""What was counted of the calls and questions before."""

NOTHING_COUNTED: Final[dict[str, Any]] = {
    "refused": None,
    "refusals": 0,
    "unanswered": 0,
    "missed_at": None,
    "ask_after": None,
    "problem_told": "",
}


def test_a_number_is_the_digest_of_what_it_is_of_and_of_its_name_for_ever() -> None:
    """Else a release would make second numbers for what the one before has numbered."""
    request = hashlib.sha256(b"authorisation.requested\nq1").hexdigest()
    passenger = hashlib.sha256(b"passenger\noPassenger").hexdigest()

    assert authorization_code_for("q1") == request[:32]
    assert authorization_code_for("q1", "fleet-") == "fleet-" + request[:26]
    assert number_of_passenger("oPassenger") == passenger[:32]
    assert number_of_passenger("oPassenger", "fleet-") == "fleet-" + passenger[:26]


def test_a_request_begins_an_authorisation_with_all_that_it_says() -> None:
    begun = outcomes.requested(a_request_to_sign(), some_terms(), NOW, prefix="fleet-")

    assert begun == Authorisation(
        authorization_code=authorization_code_for("q1", "fleet-"),
        openid="oPassenger",
        request_id="q1",
        client="miniprogram",
        terms=some_terms(),
        state=AuthorisationState.REQUESTED,
        noted_at=NOW,
    )
    assert outcomes.requested(a_request_to_sign(), some_terms(), NOW).authorization_code == authorization_code_for("q1")


def test_an_authorisation_that_nobody_requested_begins_with_the_word_of_it() -> None:
    begun = Authorisation(
        authorization_code="n1",
        openid="oPassenger",
        terms=some_terms(),
        state=AuthorisationState.REQUESTED,
        noted_at=NOW,
    )

    assert outcomes.unasked("n1", "oPassenger", some_terms(), NOW) == begun
    assert outcomes.end_of_unknown("n1", "oPassenger", some_terms(), NOW) == replace(
        begun, state=AuthorisationState.OPEN
    )


def test_a_request_that_says_otherwise_says_so_by_the_first_name() -> None:
    other = a_request_to_sign(openid="oOther", client="app")

    with pytest.raises(
        ConflictingFact, match=r"^openid: authorisation\.requested says otherwise than before for this request_id$"
    ):
        outcomes.requested_again(an_authorisation(), other, NOW)


def test_what_is_given_anew_is_looked_after_from_the_beginning() -> None:
    given = replace(AUTHORISATIONS["given"](), looks=3)

    assert outcomes.requested_again(given, a_request_to_sign(), NOW + GOOD_FOR) == replace(
        given, given_at=None, looks=0
    )


def test_a_request_that_is_made_again_before_anything_was_given_changes_nothing() -> None:
    new = an_authorisation()

    assert outcomes.requested_again(new, a_request_to_sign(), NOW + timedelta(days=1)) is new


def test_each_body_that_is_made_is_counted() -> None:
    before = an_authorisation(bodies=2)

    assert outcomes.preparing(before) == replace(before, is_prepared=True, bodies=3)
    assert outcomes.preparing_end(before) == replace(before, end_prepared=True, bodies=3)


def test_what_is_given_is_noted_with_its_time_and_ends_every_count() -> None:
    before = an_authorisation(looks=4, **COUNTED)

    assert outcomes.given(before, "token", NOW) == replace(
        before, given_at=NOW, asked_at=NOW, looks=0, token="token", **NOTHING_COUNTED
    )


def test_a_look_comes_after_what_was_given_and_after_the_last_answer() -> None:
    given = replace(AUTHORISATIONS["given"](), given_at=NOW + MINUTE, asked_at=NOW)
    asked = replace(given, given_at=NOW, asked_at=NOW + MINUTE)

    for authorisation in (given, asked):
        assert next_step(authorisation, NOW) == Rest(NOW + MINUTE + LOOKS[0])


def test_what_is_to_end_is_noted_and_begins_every_count_anew() -> None:
    before = replace(AUTHORISATIONS["open"](), **COUNTED)

    assert outcomes.to_end(before, an_ending()) == replace(before, ending=an_ending(), **NOTHING_COUNTED)


def test_the_word_that_stood_still_ends_it_for_the_reason_that_was_named_first() -> None:
    stopped = AUTHORISATIONS["with a problem, to end"]()

    for again in (an_ending(), an_ending(word="m2", reason="another")):
        taken_up = outcomes.to_end(stopped, again)
        assert (taken_up.ending, taken_up.problem) == (an_ending(), None)
        assert next_step(taken_up, NOW) == EndService()


def test_a_word_that_was_done_is_to_be_done_again_where_something_stands_still() -> None:
    stopped = AUTHORISATIONS["with a problem, to end"]()
    once = replace(outcomes.ended(stopped, NOW), problem=stopped.problem)

    assert next_step(outcomes.to_end(once, an_ending()), NOW) == EndService()


def test_an_end_that_is_done_keeps_what_is_known_of_its_time() -> None:
    to_end = replace(AUTHORISATIONS["open, trips to be looked at"](), ending=an_ending(), end_prepared=True, **COUNTED)
    done = replace(
        to_end,
        state=AuthorisationState.CLOSED,
        ending=None,
        ended=an_ending(),
        end_prepared=False,
        trip_looks=0,
        **NOTHING_COUNTED,
    )
    later = NOW + MINUTE

    assert outcomes.ended(to_end, later) == replace(done, closed_at=later)
    told_before = replace(to_end, state=AuthorisationState.CLOSED, closed_at=NOW)
    assert outcomes.ended(told_before, later) == replace(done, closed_at=NOW)
    assert outcomes.ended(replace(to_end, closed_at=NOW), later) == replace(done, closed_at=later)  # he came back since
    untold = replace(to_end, changed_at=None)
    assert outcomes.ended(untold, later) == replace(done, closed_at=later, changed_at=later)
    assert outcomes.ended(replace(told_before, changed_at=None), later) == replace(done, closed_at=NOW, changed_at=NOW)


def test_trips_are_looked_at_for_another_time_some_time_later_and_then_no_more() -> None:
    opened = AUTHORISATIONS["open, trips to be looked at"]()

    once = outcomes.trips_taken_up(opened, opened.trip_looks, NOW)
    assert once == replace(opened, trip_looks=1, ask_after=NOW + TRIPS_APART)
    assert outcomes.trips_taken_up(once, once.trip_looks, NOW) == replace(opened, trip_looks=0, ask_after=None)


def test_a_refused_call_is_kept_and_counted() -> None:
    before, why = an_authorisation(refusals=2), an_authorisation_refused()

    assert outcomes.refused(before, why, NOW) == replace(before, refused=why, refusals=3, ask_after=NOW + PAUSES[2])


def test_a_state_that_does_not_fit_waits_for_days_only_where_it_keeps_from_ending() -> None:
    why = an_authorisation_refused(Refusal.WRONG_STATE)

    assert outcomes.refused(an_authorisation(), why, NOW).ask_after == NOW + PAUSES[0]


def test_a_question_without_an_answer_is_counted() -> None:
    before = an_authorisation(unanswered=1)

    assert outcomes.no_answer(before, an_authorisation_refused(step="AskService"), NOW) == replace(
        before, unanswered=2, ask_after=NOW + PAUSES[1]
    )


@pytest.mark.parametrize("given_at", [None, NOW])
def test_that_a_passenger_has_not_signed_is_one_look_more_once_he_was_given_what_he_signs_with(
    given_at: datetime | None,
) -> None:
    before = an_authorisation(given_at=given_at, looks=2, **COUNTED)

    assert outcomes.not_signed(before, NOW + MINUTE) == replace(
        before,
        refused=None,
        ask_after=None,
        unanswered=0,
        asked_at=NOW + MINUTE,
        looks=2 if given_at is None else 3,
    )


def test_a_service_that_is_on_opens_and_is_closed_still_where_it_is_to_end() -> None:
    to_end = replace(AUTHORISATIONS["open, to end"](), **COUNTED)

    assert outcomes.service_on(an_authorisation(), NOW - MINUTE, NOW).opened_at == NOW - MINUTE
    assert outcomes.service_on(an_authorisation(), None, NOW).opened_at == NOW
    assert outcomes.service_on(to_end, NOW - MINUTE, NOW) == replace(
        to_end, refused=None, missed_at=None, ask_after=None, unanswered=0
    )


def test_a_service_that_is_off_is_an_answer_like_no_signature_where_nothing_is_to_end() -> None:
    given = AUTHORISATIONS["given"]()

    assert outcomes.service_off(given, NOW + MINUTE) == outcomes.not_signed(given, NOW + MINUTE)
    assert outcomes.never_authorised(given, NOW + MINUTE) == outcomes.not_signed(given, NOW + MINUTE)
    assert outcomes.service_off(AUTHORISATIONS["open, to end"](), NOW + MINUTE).closed_at == NOW + MINUTE


def test_a_first_answer_that_nothing_is_to_end_is_kept_with_its_time() -> None:
    before = replace(AUTHORISATIONS["open, to end"](), unanswered=2)

    once = outcomes.never_authorised(before, NOW)
    assert once == replace(before, missed_at=NOW, ask_after=NOW + APART, unanswered=0)
    assert outcomes.never_authorised(once, NOW + SECOND) == once
    assert outcomes.never_authorised(once, NOW + APART).closed_at == NOW + APART


def test_what_is_opened_begins_every_count_anew() -> None:
    before = replace(AUTHORISATIONS["closed"](), **COUNTED)

    assert outcomes.opened(before, NOW + SECOND, NOW) == replace(
        before,
        state=AuthorisationState.OPEN,
        opened_at=NOW + SECOND,
        changed_at=NOW + SECOND,
        closed_at=None,
        trip_looks=TRIP_LOOKS,
        **NOTHING_COUNTED,
    )


def test_a_newer_word_of_what_is_known_is_only_newer() -> None:
    opened, closed = AUTHORISATIONS["open"](), AUTHORISATIONS["closed"]()

    assert outcomes.opened(opened, NOW + SECOND, NOW) == replace(opened, changed_at=NOW + SECOND)
    assert outcomes.closed(closed, NOW + SECOND, NOW) == replace(closed, changed_at=NOW + SECOND)
    assert outcomes.closed(closed, NOW, NOW) is closed


def test_an_end_of_which_the_ride_service_spoke_first_is_open_only_once_wechat_says_so() -> None:
    begun = outcomes.end_of_unknown("n1", "oPassenger", some_terms(), NOW)

    opened = outcomes.opened(begun, NOW, NOW)

    assert (opened.opened_at, opened.trip_looks) == (NOW, TRIP_LOOKS)


def test_what_is_closed_begins_every_count_anew_and_looks_at_no_trips() -> None:
    before = replace(AUTHORISATIONS["open, trips to be looked at"](), **COUNTED)

    assert outcomes.closed(before, NOW, NOW) == replace(
        before, state=AuthorisationState.CLOSED, closed_at=NOW, changed_at=NOW, trip_looks=0, **NOTHING_COUNTED
    )


def test_what_is_for_a_person_says_all_that_wechat_said() -> None:
    why = an_authorisation_refused(step="EndService")
    before = replace(AUTHORISATIONS["open, to end"](), refusals=len(PAUSES), refused=why, ask_after=NOW)

    problem = Problem(
        code="INVALID_REQUEST", message="授权协议号已被使用", request_id="08F1-0", step="EndService", since=NOW
    )
    assert outcomes.refused(before, why, NOW) == replace(
        before, problem=problem, problem_told="INVALID_REQUEST EndService", refused=None, ask_after=None
    )


def test_what_has_no_code_is_for_a_person_by_the_name_of_the_refusal() -> None:
    why = an_authorisation_refused(Refusal.UNCLEAR, code="", step="AskService")

    stopped = outcomes.no_answer(an_authorisation(unanswered=len(PAUSES)), why, NOW)

    assert stopped.problem is not None
    assert (stopped.problem.code, stopped.problem.since) == ("unclear", NOW)
