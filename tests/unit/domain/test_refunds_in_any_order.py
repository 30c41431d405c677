"""Whatever happens in whatever order, no more goes back than was collected, and what WeChat Pay sent back is booked.

A state machine over the pure core and a model of WeChat Pay, which believes nobody but its own books.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payscore_worker.domain import refund as refunds
from payscore_worker.domain.next_step import Rest
from payscore_worker.domain.refund import (
    OVER,
    AskRefund,
    GivenUp,
    Known,
    Pair,
    Refund,
    RefundPhase,
    RefundRequested,
    RefundSeen,
    RefundState,
    SendRefund,
    StopWaiting,
    give_up,
    next_step,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from payscore_worker.settlement.announcements import refund_announcements
from tests.builders import MCHID, NOW, a_paid_trip, a_refused

pytestmark = pytest.mark.timeout(600)  # some tens of seconds of nothing but thinking, on a machine that is busy

PAYMENTS = ((None,), (3_200,), (1_500, 1_700), (1_000, 1_000, 1_200), (None, 1_700))
"""What WeChat says that each debit collected."""

AMOUNTS = (1, 500, 999, 1_000, 1_500, 3_200, 3_201)
IDS = ("r1", "r2", "r3", "r4", "an id that does not fit")

FATES = ("answered", "lost before", "lost after", "refused", "refused after", "delayed", "throttled")
"""What may become of a send. A refusal is unsigned: it may come from anybody, before WeChat Pay has read the call, or
instead of its answer."""

ANSWERS = ("answered", "lost", "refused", "absent")
"""What may become of a question; that there is no such refund may be said of one that there is."""

REFUSALS = (Refusal.NOT_ENOUGH, Refusal.ACCOUNT_ABNORMAL, Refusal.INVALID_PARAMETER, Refusal.RESOURCE_NOT_FOUND)

MOST_STEPS = 200
"""No refund may need as many once WeChat is itself again."""

MOST_LOOKS = 3
"""How often a person must look once WeChat is itself again: for what went wrong before, and what has changed since."""

A_MINUTE = timedelta(minutes=1)

LONGEST_DELAY = timedelta(seconds=90)
"""A send that was given up may still arrive: for as long as a call with all its tries can take."""


@dataclass
class Taken:
    """A refund in WeChat's books."""

    transaction_id: str
    amount_fen: int
    total_fen: int
    phase: RefundPhase = RefundPhase.PROCESSING


class WechatModel:
    """The debits, and the refunds that WeChat Pay has accepted of them."""

    def __init__(self, collected_fen: dict[str, int]) -> None:
        self.collected_fen = collected_fen
        self.taken: dict[str, Taken] = {}
        self.by_hand_fen: Counter[str] = Counter()
        self.last_at: dict[str, datetime] = {}

    def left_fen(self, transaction_id: str) -> int:
        ours = [one for one in self.taken.values() if one.transaction_id == transaction_id]
        out = sum(one.amount_fen for one in ours if one.phase is not RefundPhase.CLOSED)
        return self.collected_fen[transaction_id] - out - self.by_hand_fen[transaction_id]

    def refund(self, out_refund_no: str, new: Taken, now: datetime) -> Refusal | str | None:
        """Take a refund once for each number; returns the refusal, if there is one."""
        known = self.taken.get(out_refund_no)
        if known is not None:
            same = replace(known, phase=new.phase) == new
            assert same, "another body under the same number"
            return None
        assert new.total_fen == self.collected_fen[new.transaction_id], "another total than was collected"
        if new.amount_fen > self.left_fen(new.transaction_id):
            assert self.by_hand_fen[new.transaction_id], "more was asked for than was left"
            return Refusal.UNCLEAR
        last_at = self.last_at.get(new.transaction_id)
        if last_at is not None and now < last_at + A_MINUTE:
            return "throttled"
        self.taken[out_refund_no], self.last_at[new.transaction_id] = new, now
        return None

    def shown(self, out_refund_no: str) -> RefundSeen | None:
        one = self.taken.get(out_refund_no)
        if one is None:
            return None
        return RefundSeen(
            phase=one.phase,
            wechatpay_refund_id=f"503{out_refund_no}",
            transaction_id=one.transaction_id,
            amount_fen=one.amount_fen,
            total_fen=one.total_fen,
        )

    def sent_back_fen(self, transaction_id: str) -> int:
        ours = [one for one in self.taken.values() if one.transaction_id == transaction_id]
        return sum(one.amount_fen for one in ours if one.phase is RefundPhase.SUCCESS)


@dataclass(frozen=True)
class Delayed:
    """A send that is still on its way."""

    sent_at: datetime
    call: Callable[[], object]


class RefundsInAnyOrder(RuleBasedStateMachine):
    """Requests, answers, lies, silence, notifications and people, in any order and number."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.trip = a_paid_trip()
        self.wechat = WechatModel({})
        self.refunds: dict[str, Refund] = {}
        self.told: Counter[tuple[str, str]] = Counter()
        self.ended: dict[str, RefundState] = {}
        self.delayed: list[Delayed] = []
        self.callbacks: list[tuple[str, RefundSeen]] = []
        self.doubtful: set[str] = set()
        """Of which some send may have been accepted, for all that its answers say."""
        self.given_up: set[str] = set()

    @initialize(payment=st.sampled_from(PAYMENTS))
    def begin(self, payment: tuple[int | None, ...]) -> None:
        self.trip = a_paid_trip(*payment)
        assert self.trip.payment is not None
        untold = 3_200 - sum(amount_fen or 0 for amount_fen in payment)
        debits = self.trip.payment.debits
        self.wechat = WechatModel(
            {one.transaction_id: untold if one.amount_fen is None else one.amount_fen for one in debits}
        )

    # --- What is heard ---

    @rule(refund_id=st.sampled_from(IDS), amount_fen=st.sampled_from(AMOUNTS))
    def is_asked_for(self, refund_id: str, amount_fen: int) -> None:
        asked = RefundRequested(trip_id="t1", refund_id=refund_id, amount_fen=amount_fen, reason="绕路")
        known = self.refunds.get(refund_id)
        try:
            if known is not None:
                refunds.see_that_it_is_the_same(known, asked)
                assert known.amount_fen == amount_fen
                return
            self.trip, self.refunds[refund_id] = refunds.request(self.trip, asked, self.now, mchid=MCHID)
        except (ConflictingFact, IllegalTransition):
            assert known is None or known.amount_fen != amount_fen

    @precondition(lambda self: self.callbacks)
    @rule(data=st.data(), again=st.booleans())
    def is_notified(self, data: st.DataObject, again: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """Hear a notification: an old one as well as the newest, and perhaps once more later."""
        place = data.draw(st.integers(0, len(self.callbacks) - 1))
        refund_id, word = self.callbacks[place] if again else self.callbacks.pop(place)
        self.hears(refund_id, word)

    @rule(refund_id=st.sampled_from(IDS), amount_fen=st.sampled_from(AMOUNTS))
    def is_told_of_another_amount(self, refund_id: str, amount_fen: int) -> None:
        """Hear of an amount that WeChat did not send back: it must never be booked."""
        refund = self.refunds.get(refund_id)
        if refund is not None and refund.amount_fen != amount_fen and refund_id not in self.given_up:
            self.hears(refund_id, RefundSeen(phase=RefundPhase.SUCCESS, amount_fen=amount_fen))

    def hears(self, refund_id: str, word: RefundSeen) -> None:
        self.write(refund_id, refunds.see(self.trip, self.refunds[refund_id], word, self.now))

    def write(self, refund_id: str, after: Pair) -> None:
        for announcement in refund_announcements((self.trip, self.refunds[refund_id]), after):
            self.told[refund_id, announcement.TYPE] += 1
        self.trip, self.refunds[refund_id] = after

    def moves(self, refund_id: str, change: Callable[[Refund], Refund]) -> None:
        self.write(refund_id, (self.trip, change(self.refunds[refund_id])))

    # --- What is done ---

    @rule(refund_id=st.sampled_from(IDS))
    def takes_a_step_without_trouble(self, refund_id: str) -> None:
        self.takes_a_step(refund_id, "answered", "answered", Refusal.UNCLEAR)

    @rule(
        refund_id=st.sampled_from(IDS),
        fate=st.sampled_from(FATES),
        answer=st.sampled_from(ANSWERS),
        refusal=st.sampled_from(REFUSALS),
    )
    def takes_a_step(self, refund_id: str, fate: str, answer: str, refusal: Refusal) -> None:
        refund = self.refunds.get(refund_id)
        if refund is None:
            return
        match next_step(refund, self.now):
            case SendRefund():
                self.sends(refund_id, fate, refusal)
            case AskRefund():
                self.asks(refund_id, answer, refusal)
            case StopWaiting():
                self.moves(refund_id, lambda one: refunds.waited_too_long(one, self.now))
            case Rest():
                return

    def sends(self, refund_id: str, fate: str, refusal: Refusal) -> None:
        self.moves(refund_id, refunds.prepared)
        if fate in ("lost before", "lost after", "delayed"):
            self.doubtful.add(refund_id)
        if fate in ("throttled", "lost before"):
            return
        call = self.a_send(refund_id)
        if fate == "delayed":
            self.delayed.append(Delayed(self.now, call))
            return
        answer = refusal if fate == "refused" else call()
        if fate == "lost after" or answer == "throttled":
            return
        if fate == "refused after":
            answer = refusal
        if isinstance(answer, Refusal):
            why = a_refused(answer)
            self.moves(refund_id, lambda one: refunds.refused(one, why, self.now))
            return
        self.hears_what_is_shown(refund_id)

    def a_send(self, refund_id: str) -> Callable[[], object]:
        refund = self.refunds[refund_id]
        body = Taken(refund.transaction_id, refund.amount_fen, refund.total_fen)
        return lambda: self.wechat.refund(refund.out_refund_no, replace(body), self.now)

    def asks(self, refund_id: str, answer: str, refusal: Refusal) -> None:
        is_known = self.refunds[refund_id].out_refund_no in self.wechat.taken
        if answer == "lost":
            return
        if answer == "refused" and refusal is not Refusal.RESOURCE_NOT_FOUND:
            why = a_refused(refusal, step="AskRefund")
            self.moves(refund_id, lambda one: refunds.no_answer(one, why, self.now))
        elif answer == "answered" and is_known:
            self.hears_what_is_shown(refund_id)
        else:
            why = a_refused(Refusal.RESOURCE_NOT_FOUND, step="AskRefund")
            self.moves(refund_id, lambda one: refunds.not_found(one, why, self.now))

    def hears_what_is_shown(self, refund_id: str) -> None:
        """Take WeChat's answer; a question that moved nothing is counted."""
        before = self.refunds[refund_id]
        shown = self.wechat.shown(before.out_refund_no)
        assert shown is not None
        self.hears(refund_id, shown)
        if self.refunds[refund_id] is before:
            self.moves(refund_id, lambda one: refunds.asked(one, self.now))

    # --- What happens elsewhere ---

    @rule(
        refund_id=st.sampled_from(IDS),
        phase=st.sampled_from([RefundPhase.SUCCESS, RefundPhase.CLOSED, RefundPhase.ABNORMAL]),
    )
    def wechat_goes_on_with_it(self, refund_id: str, phase: RefundPhase) -> None:
        refund = self.refunds.get(refund_id)
        one = None if refund is None else self.wechat.taken.get(refund.out_refund_no)
        if refund is None or one is None or one.phase in (RefundPhase.SUCCESS, RefundPhase.CLOSED):
            return
        one.phase = RefundPhase.SUCCESS if one.phase is RefundPhase.ABNORMAL else phase
        shown = self.wechat.shown(refund.out_refund_no)
        assert shown is not None
        self.callbacks.append((refund_id, shown))

    @rule(amount_fen=st.sampled_from([1, 1_000]), data=st.data())
    def somebody_refunds_in_the_merchant_platform(self, amount_fen: int, data: st.DataObject) -> None:
        transaction_id = data.draw(st.sampled_from(sorted(self.wechat.collected_fen)))
        if amount_fen <= self.wechat.left_fen(transaction_id):
            self.wechat.by_hand_fen[transaction_id] += amount_fen

    @precondition(lambda self: self.delayed)
    @rule()
    def a_send_arrives_that_was_given_up(self) -> None:
        self.delayed.pop(0).call()

    @rule(seconds=st.sampled_from([1, 60, 70, 600, 7_200, 86_400, 16 * 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.delayed = [one for one in self.delayed if self.now - one.sent_at <= LONGEST_DELAY]

    @rule(refund_id=st.sampled_from(IDS))
    def a_person_has_looked(self, refund_id: str) -> None:
        refund = self.refunds.get(refund_id)
        if refund is not None and refund.problem is not None:
            self.moves(refund_id, lambda one: refunds.without_problem(one, self.now))

    @rule(refund_id=st.sampled_from(IDS))
    def a_person_gives_it_up(self, refund_id: str) -> None:
        """Do as settlement does: WeChat's word first; then only where no send of the body can have been accepted."""
        refund = self.refunds.get(refund_id)
        if refund is None or refund.state in OVER:
            return
        shown = self.wechat.shown(refund.out_refund_no)
        if shown is not None:
            self.hears(refund_id, shown)
            return
        known = Known(seen=None, certain=refund_id not in self.doubtful)
        try:
            self.write(refund_id, give_up(self.trip, refund, GivenUp(by="li", reason="现金"), known))
        except IllegalTransition:
            return
        self.given_up.add(refund_id)

    # --- The laws ---

    @invariant()
    def no_more_is_reserved_and_sent_back_than_was_collected(self) -> None:
        assert self.trip.payment is not None
        for debit in self.trip.payment.debits:
            assert debit.reserved_fen >= 0
            assert debit.reserved_fen + debit.refunded_fen <= self.wechat.collected_fen[debit.transaction_id]

    @invariant()
    def what_the_trip_says_is_what_its_refunds_say(self) -> None:
        assert self.trip.payment is not None
        for debit in self.trip.payment.debits:
            ours = [one for one in self.refunds.values() if one.transaction_id == debit.transaction_id]
            assert debit.refunds == len(ours)
            assert debit.reserved_fen == sum(one.amount_fen for one in ours if one.state not in OVER)
            assert debit.refunded_fen == sum(one.amount_fen for one in ours if one.state is RefundState.REFUNDED)

    @invariant()
    def wechat_never_sends_back_more_than_it_collected(self) -> None:
        for transaction_id in self.wechat.collected_fen:
            assert self.wechat.left_fen(transaction_id) >= 0

    @invariant()
    def a_refund_is_over_only_as_wechat_says_and_stays_so(self) -> None:
        for refund_id, refund in self.refunds.items():
            if refund.state not in OVER:
                continue
            if refund_id in self.given_up:
                assert refund.state is RefundState.FAILED
                assert refund.out_refund_no not in self.wechat.taken, "what was given up is never sent back"
                assert self.ended.setdefault(refund_id, refund.state) is refund.state
                continue
            phase = RefundPhase.SUCCESS if refund.state is RefundState.REFUNDED else RefundPhase.CLOSED
            assert self.wechat.taken[refund.out_refund_no].phase is phase
            assert self.ended.setdefault(refund_id, refund.state) is refund.state
        assert {refund_id for refund_id, one in self.refunds.items() if one.state in OVER} == set(self.ended)

    @invariant()
    def wechat_knows_each_refund_under_one_number(self) -> None:
        numbers = {one.out_refund_no for one in self.refunds.values()}
        assert len(numbers) == len(self.refunds)
        assert set(self.wechat.taken) <= numbers

    @invariant()
    def each_end_is_told_once(self) -> None:
        for refund_id, refund in self.refunds.items():
            assert self.told[refund_id, "settlement.refunded"] == (refund.state is RefundState.REFUNDED)

    def teardown(self) -> None:
        """WeChat is itself again, and people look: what it sent back is booked, and all that it took is over."""
        for refund_id in self.refunds:
            self.comes_to_rest(refund_id)
        assert self.trip.payment is not None
        for debit in self.trip.payment.debits:
            assert debit.refunded_fen == self.wechat.sent_back_fen(debit.transaction_id)
        for refund in self.refunds.values():
            refused = refund.out_refund_no not in self.wechat.taken  # somebody was faster, in the merchant platform
            assert refund.state in OVER or (refused and refund.problem is not None)
            assert refund.state in OVER or self.wechat.by_hand_fen[refund.transaction_id]
        self.what_the_trip_says_is_what_its_refunds_say()
        self.each_end_is_told_once()

    def comes_to_rest(self, refund_id: str) -> None:
        looks = 0
        for _ in range(MOST_STEPS):
            refund = self.refunds[refund_id]
            step = next_step(refund, self.now)
            if isinstance(step, Rest) and step.until is not None:
                self.now = max(self.now, step.until)
                self.wechat_goes_on_with_it(refund_id, RefundPhase.SUCCESS)
            elif refund.problem is not None and looks < MOST_LOOKS:
                looks += 1
                self.wechat_goes_on_with_it(refund_id, RefundPhase.SUCCESS)  # what is abnormal, they say where to
                self.a_person_has_looked(refund_id)
            elif isinstance(step, Rest):
                return
            else:
                self.now += A_MINUTE  # a payment is refunded once a minute
                self.takes_a_step_without_trouble(refund_id)
        raise AssertionError("a refund does not come to rest")


TestRefundsInAnyOrder = RefundsInAnyOrder.TestCase
TestRefundsInAnyOrder.settings = settings(
    max_examples=max(300, settings().max_examples),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
