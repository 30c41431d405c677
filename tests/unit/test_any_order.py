"""Whatever happens in whatever order, the laws hold: a state machine over the pure core and a model of WeChat Pay."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payscore_worker import outcomes
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from payscore_worker.trip import (
    TERMINAL,
    AskOrder,
    AskServiceState,
    CancelOrder,
    CompleteOrder,
    Decline,
    Doubt,
    Opening,
    OpenOrder,
    OrderPhase,
    OrderSeen,
    Rest,
    SayOverdue,
    SayStale,
    Trip,
    TripState,
    end_time_for,
    next_step,
    note_cancelled,
    note_ended,
    note_started,
    risk_amount_fen,
)
from tests.builders import NOW, PAYAFTER, SERVICEORDER, a_cancellation, a_start, a_trip, an_end

FARES = (0, 3_200, 20_000, 20_001, 60_000)
CAP_FEN = 50_000


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
            transaction_id="4200" if done and self.total_fen else "",
            finish_ticket="ticket" if self.phase is OrderPhase.RUNNING else "",
        )


class AnyOrder(RuleBasedStateMachine):
    """Facts, answers, silence, crashes, notifications and operators, in any order and number."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.trip: Trip = a_trip()
        self.wechat = WechatModel()
        self.wechat_was_asked = False
        self.enabled = True

    @initialize(legacy=st.booleans(), enabled=st.booleans())
    def begin(self, legacy: bool, enabled: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        self.family = PAYAFTER if legacy else SERVICEORDER
        self.enabled = enabled

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
        told = OrderSeen(phase=phase, order_id="1000", total_fen=total_fen, paid_fen=total_fen, transaction_id="9")
        self.hear(lambda trip: outcomes.see(trip, told, self.now))

    def hear(self, fact: Any) -> None:
        before = self.trip
        try:
            self.trip = fact(self.trip)
        except (ConflictingFact, IllegalTransition):
            self.trip = before

    # --- What is done ---

    @rule(
        fate=st.sampled_from(["answered", "lost before", "lost after", "refused"]),
        refusal=st.sampled_from(list(Refusal)),
        crash=st.booleans(),
    )
    def takes_a_step(self, fate: str, refusal: Refusal, crash: bool) -> None:  # noqa: C901, FBT001 - a case a step
        step = next_step(self.trip, self.now, self.family)
        match step:
            case Rest():
                return
            case AskServiceState():
                self.trip = outcomes.service_answered(self.trip, enabled=self.enabled, now=self.now)
            case Decline():
                self.trip = outcomes.declined(self.trip, step.reason, step.message)
            case SayStale():
                self.trip = outcomes.stale(self.trip, self.now)
            case SayOverdue():
                self.trip = outcomes.overdue(self.trip, self.now)
            case AskOrder():
                self.asks()
            case OpenOrder():
                self.opens(fate, refusal)
            case CompleteOrder():
                self.completes(fate, refusal)
            case CancelOrder():
                self.cancels_the_order(fate, refusal)
        if crash:
            self.trip = replace(self.trip, service_enabled=False, finish_ticket="")

    def asks(self) -> None:
        shown = self.wechat.shown()
        if shown is None:
            self.trip = outcomes.not_found(self.trip, self.doubt("AskOrder", Refusal.ORDER_NOT_FOUND), self.now)
        else:
            self.trip = outcomes.asked(self.trip, shown, self.now)

    def opens(self, fate: str, refusal: Refusal) -> None:
        sent_before = self.trip.opening is not None
        if not sent_before:
            what = Opening(risk_amount_fen=risk_amount_fen(self.trip, self.family), start_time=None)
            self.trip = outcomes.opening(self.trip, what)
        refused = self.sends(fate, refusal, self.wechat.create)
        if fate == "answered" and refused is None:
            shown = self.wechat.shown()
            assert shown is not None
            self.trip = outcomes.see(self.trip, shown, self.now)
        elif refused is not None:
            self.trip = outcomes.refused(self.trip, self.doubt("OpenOrder", refused, uncertain=sent_before), self.now)

    def completes(self, fate: str, refusal: Refusal) -> None:
        sent_before = self.trip.end_time is not None
        if not sent_before:
            self.trip = outcomes.completing(self.trip, end_time_for(self.trip, self.now))
        assert self.trip.ended is not None
        total_fen, end_time = self.trip.ended.total_fen, self.trip.end_time
        assert end_time is not None
        refused = self.sends(fate, refusal, lambda: self.wechat.complete(total_fen, end_time))
        if fate == "answered" and refused is None:
            self.trip = outcomes.completed(self.trip, self.now)
        elif refused is not None:
            doubt = self.doubt("CompleteOrder", refused, uncertain=sent_before)
            self.trip = outcomes.refused(self.trip, doubt, self.now)

    def cancels_the_order(self, fate: str, refusal: Refusal) -> None:
        refused = self.sends(fate, refusal, self.wechat.cancel)
        if fate == "answered" and refused is None:
            self.trip = outcomes.order_cancelled(self.trip)
        elif refused is not None:
            self.trip = outcomes.refused(self.trip, self.doubt("CancelOrder", refused, uncertain=True), self.now)

    def sends(self, fate: str, refusal: Refusal, call: Any) -> Refusal | None:
        """Reach WeChat or not, and hear of it or not; a refusal that WeChat makes up says nothing about its books."""
        self.wechat_was_asked = True
        if fate == "lost before":
            return None
        if fate == "refused":
            return refusal
        answer: Refusal | None = call()
        return None if fate == "lost after" else answer

    def doubt(self, step: str, refusal: Refusal, *, uncertain: bool = False) -> Doubt:
        return Doubt(step=step, refusal=refusal, code=refusal.name, message="", request_id="", uncertain=uncertain)

    # --- What happens elsewhere ---

    @rule()
    def wechat_debits(self) -> None:
        self.wechat.debit()

    @rule()
    def wechat_revokes(self) -> None:
        if self.wechat.phase is OrderPhase.RUNNING:
            self.wechat.phase = OrderPhase.REVOKED

    @rule(seconds=st.sampled_from([1, 11, 60, 600, 86_400, 4 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

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
        if self.trip.state in (TripState.DECLINED, TripState.CANCELLED):
            assert self.wechat.charges == 0
            assert self.wechat.phase is not OrderPhase.COLLECTING

    @invariant()
    def a_trip_that_is_over_needs_nothing(self) -> None:
        if self.trip.state in TERMINAL:
            assert next_step(self.trip, self.now, self.family) == Rest()
            assert self.trip.problem is None

    @invariant()
    def money_is_never_asked_for_above_the_limit_we_know(self) -> None:
        if self.family.capped_by_risk_amount and self.wechat.total_fen is not None:
            assert self.wechat.total_fen <= PAYAFTER.risk_amount_fen


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=max(300, settings().max_examples),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
