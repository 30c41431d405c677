"""Whatever is heard of an authorisation in whatever order, it ends as WeChat Pay has it, and is asked for once.

A state machine over the pure core and a model of WeChat Pay, which believes nobody but its own books.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from payscore_worker.domain import authorisation as outcomes
from payscore_worker.domain.authorisation import (
    GOOD_FOR,
    AskAuthorisation,
    AskService,
    Authorisation,
    AuthorisationState,
    EndService,
    GiveParameters,
    TakeUpTrips,
    next_step,
)
from payscore_worker.domain.next_step import Rest
from payscore_worker.errors import Refusal
from payscore_worker.settlement.announcements import authorisation_announcements
from tests.builders import NOW, a_jump, a_request_to_sign, a_trip, an_authorisation, an_authorisation_refused, an_ending

pytestmark = pytest.mark.timeout(600)  # some tens of seconds of nothing but thinking, on a machine that is busy

FATES = ("answered", "refused", "lost")
"""What may become of a call; a refusal is unsigned, and may come from anybody."""

MOST_STEPS = 100
"""No authorisation may need as many once WeChat is itself again."""


@dataclass
class Word:
    """A callback, on its way."""

    is_open: bool
    at: datetime


class WechatModel:
    """One passenger's service, and the number he signed, if any."""

    def __init__(self) -> None:
        self.is_asked_for = False
        self.is_signed = False
        self.is_on = False
        self.changed_at: datetime | None = None
        self.words: list[Word] = []

    def switch(self, now: datetime, *, is_on: bool) -> None:
        self.is_on, self.changed_at = is_on, now
        self.words.append(Word(is_on, now))


class Passenger(RuleBasedStateMachine):
    """Has an authorisation requested, signs or not, and leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.wechat = WechatModel()
        self.now = NOW
        self.row: Authorisation = an_authorisation(version=1)
        self.told: list[str] = []
        self.ends = 0

    def write(self, after: Authorisation) -> None:
        said = authorisation_announcements(self.row, after, lambda _: a_jump(a_trip()))
        self.told += [one.TYPE.removeprefix("authorisation.") for one in said]
        self.row = after

    # --- The world ---

    @rule(seconds=st.sampled_from([1, 15, 90, 700, 4_000, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.row.given_at is not None and not self.wechat.is_signed)
    @rule()
    def signs(self) -> None:
        self.now += timedelta(seconds=1)
        self.wechat.is_signed = True
        self.wechat.switch(self.now, is_on=True)

    @precondition(lambda self: self.wechat.is_on)
    @rule()
    def closes_it_himself(self) -> None:
        self.now += timedelta(seconds=1)
        self.wechat.switch(self.now, is_on=False)

    @precondition(lambda self: self.wechat.is_signed and not self.wechat.is_on)
    @rule()
    def comes_back(self) -> None:
        self.now += timedelta(seconds=1)
        self.wechat.switch(self.now, is_on=True)

    @precondition(lambda self: self.wechat.words)
    @rule(data=st.data(), again=st.booleans())
    def a_callback_arrives(self, data: st.DataObject, *, again: bool) -> None:
        number = data.draw(st.integers(0, len(self.wechat.words) - 1))
        word = self.wechat.words[number] if again else self.wechat.words.pop(number)
        self.hear(word)

    def hear(self, word: Word) -> None:
        see = outcomes.opened if word.is_open else outcomes.closed
        self.write(see(self.row, word.at, self.now))

    @rule()
    def is_requested_again(self) -> None:
        self.write(outcomes.requested_again(self.row, a_request_to_sign(), self.now))

    @precondition(lambda self: self.row.state is AuthorisationState.OPEN)
    @rule()
    def is_to_end(self) -> None:
        self.ends += 1
        self.write(outcomes.to_end(self.row, an_ending(word=f"m{self.ends}")))

    # --- We ---

    @rule(fate=st.sampled_from(FATES))
    def a_worker_takes_a_step(self, fate: str) -> None:
        self.step(fate)

    def step(self, fate: str) -> None:
        step = next_step(self.row, self.now)
        if isinstance(step, Rest):
            return
        takes: dict[type, Callable[[str], None]] = {
            AskService: self.ask_service,
            AskAuthorisation: self.ask_authorisation,
            GiveParameters: self.give_parameters,
            EndService: self.end_service,
        }
        if isinstance(step, TakeUpTrips):
            self.write(outcomes.trips_taken_up(self.row, self.row.trip_looks, self.now))
        elif fate == "refused":
            self.refused(type(step))
        elif fate == "answered":
            takes[type(step)](fate)

    def refused(self, step: type) -> None:
        asks = step in (AskService, AskAuthorisation)
        why = an_authorisation_refused(Refusal.UNCLEAR, step=step.__name__)
        self.write((outcomes.no_answer if asks else outcomes.refused)(self.row, why, self.now))

    def ask_service(self, _fate: str) -> None:
        if self.wechat.is_on:
            self.write(outcomes.service_on(self.row, self.wechat.changed_at, self.now))
        elif self.wechat.is_signed:
            self.write(outcomes.service_off(self.row, self.now))
        else:
            self.write(outcomes.never_authorised(self.row, self.now))

    def ask_authorisation(self, _fate: str) -> None:
        if not self.wechat.is_signed:
            self.write(outcomes.not_signed(self.row, self.now))
            return
        see = outcomes.opened if self.wechat.is_on else outcomes.closed
        self.write(see(self.row, self.wechat.changed_at, self.now))

    def give_parameters(self, _fate: str) -> None:
        if not self.row.is_prepared:
            self.write(outcomes.preparing(self.row))
        if self.wechat.is_signed:  # a number is signed once
            self.refused(GiveParameters)
            return
        self.wechat.is_asked_for = True
        self.write(outcomes.given(self.row, "token", self.now))

    def end_service(self, _fate: str) -> None:
        if not self.row.end_prepared:
            self.write(outcomes.preparing_end(self.row))
        self.now += timedelta(seconds=1)
        if self.wechat.is_on:
            self.wechat.switch(self.now, is_on=False)
        self.write(outcomes.ended(self.row, self.now))

    # --- What must hold ---

    @invariant()
    def one_body_asks_for_it_however_often(self) -> None:
        assert self.row.bodies <= self.row.is_prepared + self.ends

    @invariant()
    def nothing_is_told_of_a_service_that_nobody_signed(self) -> None:
        assert self.wechat.is_signed or "opened" not in self.told

    @invariant()
    def opened_and_closed_are_told_in_turns(self) -> None:
        turns = [word for word in self.told if word != "parameters"]
        assert all(one != other or one == "closed" for one, other in pairwise(turns))

    def teardown(self) -> None:
        """Let WeChat be itself again, and tell all it has to tell: then the row is what it says."""
        for word in [*self.wechat.words]:
            self.hear(word)
        self.write(outcomes.requested_again(self.row, a_request_to_sign(), self.now))
        if self.row.problem is not None and self.row.state is AuthorisationState.OPEN:
            self.ends += 1
            self.write(outcomes.to_end(self.row, an_ending(word=f"m{self.ends}")))
        for _ in range(MOST_STEPS):
            step = next_step(self.row, self.now)
            if isinstance(step, Rest):
                if step.until is None:
                    break
                self.now = max(self.now, step.until)
            self.step("answered")
            for word in [*self.wechat.words]:
                self.hear(word)
        assert next_step(self.row, self.now) == Rest()
        assert self.row.problem is None
        assert self.row.ending is None
        assert (self.row.state is AuthorisationState.OPEN) == self.wechat.is_on
        if not self.wechat.is_signed:
            assert self.row.given_at is not None
            assert self.row.state is not AuthorisationState.OPEN


TestPassenger = Passenger.TestCase
TestPassenger.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_parameters_are_good_for_less_than_a_token_is() -> None:
    assert timedelta(hours=1) > GOOD_FOR
