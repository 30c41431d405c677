"""Whatever happens in whatever order, the laws hold: a state machine over the pure core and a model of WeChat Pay."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payscore_worker.domain import outcomes
from payscore_worker.domain.next_step import (
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    Decline,
    OpenOrder,
    Rest,
    SayOverdue,
    SayStale,
    Stop,
    end_time_for,
    next_step,
    risk_amount_fen,
)
from payscore_worker.domain.trip import (
    TERMINAL,
    Doubt,
    Opening,
    OrderPhase,
    OrderSeen,
    Trip,
    TripState,
    note_cancelled,
    note_ended,
    note_started,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from tests.builders import NOW, PAYAFTER, SERVICEORDER, a_cancellation, a_start, a_trip, an_end, debits

pytestmark = pytest.mark.timeout(600)  # some tens of seconds of nothing but thinking, on a machine that is busy

FARES = (0, 3_200, 20_000, 20_001, 60_000)
CAP_FEN = 50_000

FATES = ("answered", "lost before", "lost after", "refused", "refused after", "delayed", "throttled", "lags")
"""What may become of a send. A refusal is unsigned: it may come from anybody, before WeChat Pay has read the call, or
instead of its answer."""

MOST_STEPS = 200
"""Nothing may need as many once WeChat is itself again; daily polls are among them."""

REFUSALS = (
    Refusal.RISK_REFUSED,
    Refusal.AMOUNT_OVER_LIMIT,
    Refusal.NOT_PERMITTED,
    Refusal.NOT_ENABLED,
    Refusal.WRONG_STATE,
    Refusal.DEBIT_IN_FLIGHT,
    Refusal.BAD_TIME,
)
"""One of each kind that is treated alike."""

LAG = timedelta(seconds=5)
"""For so long a replica may not know an order yet."""

LONGEST_DELAY = timedelta(seconds=90)
"""A send that was given up may still arrive: for as long as a call with all its tries can take."""


class WechatModel:
    """What WeChat Pay itself knows of the one order; it believes nobody but its own books."""

    def __init__(self) -> None:
        self.phase: OrderPhase | None = None
        self.total_fen: int | None = None
        self.charged_fen = 0
        self.charges = 0
        self.completions: set[datetime] = set()

    def create(self) -> Refusal | None:
        if self.phase is None:
            self.phase = OrderPhase.RUNNING
        return None

    def complete(self, total_fen: int, end_time: datetime) -> Refusal | None:
        if self.phase is OrderPhase.RUNNING:
            if total_fen > CAP_FEN:
                return Refusal.AMOUNT_OVER_LIMIT
            self.phase, self.total_fen = OrderPhase.COLLECTING, total_fen
            self.completions.add(end_time)
            if not total_fen:
                self.phase = OrderPhase.DONE
            return None
        if self.phase in (OrderPhase.COLLECTING, OrderPhase.DONE):
            same = self.total_fen == total_fen and end_time in self.completions
            return None if same else Refusal.REENTRY_MISMATCH
        return Refusal.WRONG_STATE

    def cancel(self) -> Refusal | None:
        if self.phase in (OrderPhase.RUNNING, OrderPhase.REVOKED):
            self.phase = OrderPhase.REVOKED
            return None
        return Refusal.WRONG_STATE

    def debit(self) -> None:
        if self.phase is OrderPhase.COLLECTING and self.total_fen is not None:
            self.phase = OrderPhase.DONE
            self.charged_fen += self.total_fen
            self.charges += 1

    def shown(self) -> OrderSeen | None:
        if self.phase is None:
            return None
        done = self.phase is OrderPhase.DONE
        return OrderSeen(
            phase=self.phase,
            order_id="1000",
            total_fen=self.total_fen,
            paid_fen=self.total_fen if done else None,
            debits=debits("4200") if done and self.total_fen else (),
            finish_ticket="ticket" if self.phase is OrderPhase.RUNNING else "",
        )


@dataclass(frozen=True)
class Delayed:
    """A send that is still on its way."""

    sent_at: datetime
    call: Callable[[], Refusal | None]


class AnyOrder(RuleBasedStateMachine):
    """Facts, answers, lies, silence, crashes, notifications and operators, in any order and number."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.trip: Trip = a_trip()
        self.wechat = WechatModel()
        self.enabled = True
        self.begun: Counter[str] = Counter()
        self.definite: Counter[str] = Counter()
        self.delayed: list[Delayed] = []
        self.accepted_at = NOW

    @initialize(legacy=st.booleans(), enabled=st.sampled_from([True, True, False]), started=st.booleans())
    def begin(self, legacy: bool, enabled: bool, started: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        self.family = PAYAFTER if legacy else SERVICEORDER
        self.enabled = enabled
        if started:
            self.starts("oPassenger")

    # --- What is heard ---

    @rule(openid=st.sampled_from(["oPassenger", "oOther"]))
    def starts(self, openid: str) -> None:
        self.hear(lambda trip: note_started(trip, a_start(openid=openid)))

    @rule(total_fen=st.sampled_from(FARES))
    def ends(self, total_fen: int) -> None:
        self.hear(lambda trip: note_ended(trip, an_end(total_fen=total_fen)))

    @rule()
    def cancels(self) -> None:
        self.hear(lambda trip: note_cancelled(trip, a_cancellation()))

    @rule()
    def is_notified(self) -> None:
        shown = self.wechat.shown()
        if shown is not None:
            self.hear(lambda trip: outcomes.see(trip, shown, self.now))

    @rule(phase=st.sampled_from([OrderPhase.COLLECTING, OrderPhase.DONE]), total_fen=st.sampled_from(FARES))
    def is_told_of_another_amount(self, phase: OrderPhase, total_fen: int) -> None:
        """Hear of an amount that WeChat did not collect: it must never make the trip paid for less."""
        if self.trip.ended is None or total_fen == self.trip.ended.total_fen:
            return
        told = OrderSeen(phase=phase, order_id="1000", total_fen=total_fen, paid_fen=total_fen, debits=debits("9"))
        self.hear(lambda trip: outcomes.see(trip, told, self.now))

    def hear(self, fact: Any) -> None:
        before = self.trip
        try:
            self.trip = fact(self.trip)
        except (ConflictingFact, IllegalTransition):
            self.trip = before

    # --- What is done ---

    @rule()
    def takes_a_step_without_trouble(self) -> None:
        self.takes_a_step("answered", Refusal.UNCLEAR, crash=False)

    @rule(refusal=st.sampled_from(REFUSALS))
    def takes_a_step_and_asks(self, refusal: Refusal) -> None:
        """Have a call processed and refused all the same, and the question after it answered by a replica that lags."""
        self.takes_a_step("refused after", refusal, crash=False)
        self.takes_a_step("lags", refusal, crash=False)

    @rule(fate=st.sampled_from(FATES), refusal=st.sampled_from(REFUSALS), crash=st.booleans())
    def takes_a_step(self, fate: str, refusal: Refusal, crash: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        state = self.trip.state
        self.steps(fate, refusal)
        if self.trip.state is not state and self.trip.state in (TripState.DECLINED, TripState.CANCELLED):
            assert self.wechat.phase not in (OrderPhase.RUNNING, OrderPhase.COLLECTING), "ended over an order that runs"
        if crash:
            self.trip = replace(self.trip, service_enabled=False, finish_ticket="")

    def steps(self, fate: str = "answered", refusal: Refusal = Refusal.UNCLEAR) -> None:
        match next_step(self.trip, self.now, self.family):
            case Rest():
                return
            case AskServiceState() | AskOrder() as question:
                self.asks(question, fate, refusal)
            case OpenOrder():
                self.opens(fate, refusal)
            case CompleteOrder():
                self.completes(fate, refusal)
            case CancelOrder():
                self.cancels_the_order(fate, refusal)
            case step:
                self.concludes(step)

    def concludes(self, step: object) -> None:
        match step:
            case Decline():
                self.trip = outcomes.declined(self.trip, step.reason, step.message, now=self.now)
            case SayStale():
                self.trip = outcomes.stale(self.trip, self.now)
            case SayOverdue():
                self.trip = outcomes.overdue(self.trip, step.step, self.now)
            case Stop():
                raise AssertionError("no start lies in the future here")

    def asks(self, question: AskServiceState | AskOrder, fate: str, refusal: Refusal) -> None:
        certain, shown = self.is_certain("OpenOrder"), self.wechat.shown()
        if fate.startswith("refused") and refusal is not Refusal.NOT_ENABLED:
            doubt = self.doubt(type(question).__name__, refusal)
            self.trip = outcomes.question_refused(self.trip, doubt, self.now)
        elif fate not in ("answered", "lags"):
            return
        elif isinstance(question, AskServiceState):
            self.trip = outcomes.service_answered(self.trip, enabled=self.enabled)
        elif shown is None or (fate == "lags" and self.now - self.accepted_at < LAG):
            absent = self.doubt("AskOrder", Refusal.ORDER_NOT_FOUND)
            self.trip = outcomes.not_found(self.trip, absent, self.now, certain=certain)
        else:
            in_doubt = self.trip.doubt is not None and self.is_certain(self.trip.doubt.step)
            self.trip = outcomes.asked(self.trip, shown, self.now, certain=in_doubt)

    def opens(self, fate: str, refusal: Refusal) -> None:
        if self.trip.opening is None:
            what = Opening(risk_amount_fen=risk_amount_fen(self.trip, self.family), start_time=None)
            self.trip = outcomes.opening(self.trip, what)
        if self.sends("OpenOrder", fate, refusal, self.wechat.create):
            shown = self.wechat.shown()
            assert shown is not None
            self.trip = outcomes.see(self.trip, shown, self.now)

    def completes(self, fate: str, refusal: Refusal) -> None:
        if self.trip.end_time is None:
            self.trip = outcomes.completing(self.trip, end_time_for(self.trip, self.now))
            assert self.is_certain("CompleteOrder"), "another body while a send of the first may have been accepted"
            self.begun["CompleteOrder"] = self.definite["CompleteOrder"] = 0
        assert self.trip.ended is not None
        total_fen, end_time = self.trip.ended.total_fen, self.trip.end_time
        assert end_time is not None
        if self.sends("CompleteOrder", fate, refusal, lambda: self.wechat.complete(total_fen, end_time)):
            accepted = OrderSeen(phase=OrderPhase.COLLECTING, total_fen=total_fen)
            self.trip = outcomes.see(self.trip, accepted, self.now)

    def cancels_the_order(self, fate: str, refusal: Refusal) -> None:
        if self.sends("CancelOrder", fate, refusal, self.wechat.cancel):
            self.trip = outcomes.order_cancelled(self.trip, self.now)

    def sends(self, step: str, fate: str, refusal: Refusal, call: Callable[[], Refusal | None]) -> bool:
        """Reach WeChat or not, and hear of it or not; tells whether WeChat said yes, and we heard it."""
        self.begun[step] += 1
        if fate == "throttled":
            self.definite[step] += 1
            return False
        if fate == "delayed":
            self.delayed.append(Delayed(self.now, call))
            return False
        if fate == "lost before":
            return False
        phase = self.wechat.phase
        answer = refusal if fate == "refused" else call()
        if phase is None and self.wechat.phase is not None:
            self.accepted_at = self.now
        if fate == "lost after":
            return False
        if fate == "refused after":
            answer = refusal
        if answer is None:
            return True
        self.definite[step] += 1
        self.trip = outcomes.refused(self.trip, self.doubt(step, answer), self.now)
        return False

    def is_certain(self, step: str) -> bool:
        return self.definite[step] >= self.begun[step]

    def doubt(self, step: str, refusal: Refusal) -> Doubt:
        return Doubt(step=step, refusal=refusal, code=refusal.name, message="", request_id="", uncertain=False)

    # --- What happens elsewhere ---

    @rule()
    def wechat_debits(self) -> None:
        self.wechat.debit()

    @precondition(lambda self: self.delayed)
    @rule()
    def a_send_arrives_that_was_given_up(self) -> None:
        self.delayed.pop(0).call()

    @rule()
    def the_passenger_changes_their_mind(self) -> None:
        self.enabled = not self.enabled

    @rule()
    def wechat_revokes(self) -> None:
        if self.wechat.phase is OrderPhase.RUNNING:
            self.wechat.phase = OrderPhase.REVOKED

    @rule(seconds=st.sampled_from([1, 11, 60, 600, 86_400, 4 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.delayed = [one for one in self.delayed if self.now - one.sent_at <= LONGEST_DELAY]

    @precondition(lambda self: self.trip.problem is not None)
    @rule()
    def a_person_has_looked(self) -> None:
        self.trip = outcomes.without_problem(self.trip)

    # --- The laws ---

    @invariant()
    def nobody_is_charged_twice_or_another_amount_than_is_owed(self) -> None:
        assert self.wechat.charges <= 1
        if self.wechat.charges:
            assert self.trip.ended is not None
            assert self.wechat.charged_fen == self.trip.ended.total_fen

    @invariant()
    def paid_means_that_wechat_has_the_money(self) -> None:
        if self.trip.state is TripState.PAID:
            assert self.trip.ended is not None
            assert self.trip.payment is not None
            assert self.trip.payment.paid_fen == self.trip.ended.total_fen
            assert self.wechat.phase is OrderPhase.DONE
            assert self.wechat.charged_fen == self.trip.ended.total_fen

    @invariant()
    def nothing_is_charged_for_a_trip_that_was_given_up(self) -> None:
        if self.trip.state in (TripState.DECLINED, TripState.CANCELLED) and self.trip.problem is None:
            assert self.wechat.charges == 0
            assert self.wechat.phase is not OrderPhase.COLLECTING

    @invariant()
    def a_trip_that_is_over_needs_nothing_but_a_late_look(self) -> None:
        if self.trip.state in TERMINAL and self.trip.look is None and self.trip.doubt is None:
            assert next_step(self.trip, self.now, self.family) == Rest()

    @invariant()
    def no_order_runs_for_a_trip_that_is_over_and_will_not_be_looked_at_again(self) -> None:
        over = self.trip.state in (TripState.DECLINED, TripState.CANCELLED)
        if over and self.trip.look is None and self.trip.problem is None:
            assert self.wechat.phase is not OrderPhase.RUNNING

    @invariant()
    def money_is_never_asked_for_above_the_limit_we_know(self) -> None:
        if self.family is PAYAFTER and self.wechat.total_fen is not None:
            assert self.wechat.total_fen <= PAYAFTER.risk_amount_fen

    def teardown(self) -> None:
        """WeChat is itself again: whatever has happened, the trip ends, or stands with a problem."""
        for _ in range(MOST_STEPS):
            step = next_step(self.trip, self.now, self.family)
            if isinstance(step, Rest):
                if step.until is None:
                    break
                self.now = max(self.now, step.until)
                self.delayed = []
                self.wechat.debit()
            self.steps()
        waits = self.trip.started is None or (self.trip.ended is None and self.trip.cancelled is None)
        assert self.trip.state in TERMINAL or self.trip.problem is not None or waits


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=max(300, settings().max_examples),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
