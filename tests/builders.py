"""Builders of test data: a trip in any situation, facts, events."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain import fares, outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.authorisation import Authorisation, Ending, Requested
from payscore_worker.domain.next_step import (
    SYNC_MARGIN,
    Rules,
)
from payscore_worker.domain.refund import Pair, Refund, RefundPhase, RefundRequested, RefundSeen, Refused
from payscore_worker.domain.second_try import first_over, first_refused, first_seen, second_try_of
from payscore_worker.domain.trip import (
    Asking,
    Cancelled,
    Debit,
    DeclineReason,
    Discount,
    Doubt,
    Ended,
    Fee,
    Lowered,
    Opening,
    OrderPhase,
    OrderSeen,
    OrderTerms,
    PaidElsewhere,
    Problem,
    Started,
    Sync,
    Trip,
    Waived,
    note_cancelled,
    note_ended,
    note_started,
)
from payscore_worker.errors import Refusal
from payscore_worker.events import ClientJump

NOW: Final = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)

PAYAFTER: Final = Rules(
    family="payafter",
    ticketed=frozenset({"payafter"}),
    capped=frozenset({"payafter"}),
    lowering=frozenset({"serviceorder"}),
    paying=frozenset({"serviceorder"}),
    risk_amount_fen=20_000,
    poll_delays=(timedelta(seconds=5), timedelta(seconds=30), timedelta(days=1)),
    stale_after=timedelta(days=1),
    overdue_after=(timedelta(days=3), timedelta(days=7)),
)
SERVICEORDER: Final = replace(PAYAFTER, family="serviceorder")


def a_start(**changes: Any) -> Started:
    return replace(Started(openid="oPassenger", started_at=NOW - HOUR, start_location="静安寺"), **changes)


def an_end(**changes: Any) -> Ended:
    fees = (Fee(name="里程费", amount_fen=3_500),)
    end = Ended(ended_at=NOW - 2 * timedelta(minutes=1), fees=fees, discounts=(_coupon(),), total_fen=3_200)
    return replace(end, **changes)


def _coupon() -> Discount:
    return Discount(name="优惠券", amount_fen=300)


def a_cancellation(**changes: Any) -> Cancelled:
    return replace(Cancelled(cancelled_at=NOW - HOUR / 2, reason="乘客取消"), **changes)


def an_order(phase: OrderPhase = OrderPhase.RUNNING, **changes: Any) -> OrderSeen:
    """What WeChat shows; a completed one shows what an_end() owes."""
    order = OrderSeen(phase=phase, order_id="1000000000202605010001")
    if phase in (OrderPhase.COLLECTING, OrderPhase.DONE):
        order = replace(order, total_fen=3_200)
    if phase is OrderPhase.DONE:
        order = replace(order, paid_fen=3_200, paid_at=NOW, debits=debits("4200001"))
    return replace(order, **changes)


def debits(*transaction_ids: str) -> tuple[Debit, ...]:
    """Debits of which WeChat did not say how much they collected."""
    return tuple(Debit(transaction_id=id) for id in transaction_ids)


def a_doubt(refusal: Refusal = Refusal.WRONG_STATE, **changes: Any) -> Doubt:
    doubt = Doubt(
        step="CompleteOrder",
        refusal=refusal,
        code="INVALID_REQUEST",
        message="单据状态不合法",
        request_id="08F1-271302262",
        uncertain=False,
    )
    return replace(doubt, **changes)


def a_trip(trip_id: str = "t1") -> Trip:
    return Trip(trip_id=trip_id, out_order_no=trip_id, noted_at=NOW - HOUR)


def a_jump(trip: Trip) -> ClientJump:
    """What a client opens a page with, about this trip."""
    return ClientJump(
        business_type="wxpayScoreEnable", extra_data={"of": trip.trip_id}, query_string=f"of={trip.trip_id}"
    )


def _creating() -> Trip:
    return outcomes.opening(note_started(a_trip(), a_start()), Opening(risk_amount_fen=20_000, start_time=None))


def _open() -> Trip:
    return outcomes.opened(_creating(), an_order(), NOW - HOUR)


def _completing() -> Trip:
    return outcomes.completing(note_ended(_open(), an_end()), NOW - timedelta(minutes=2))


def _completed() -> Trip:
    return outcomes.completed(_completing(), NOW)


def _waived(**changes: Any) -> Trip:
    return replace(_completed(), waived=replace(Waived(total_fen=3_200, by="wang", reason="客诉"), **changes))


def _stopped(trip: Trip) -> Trip:
    problem = Problem(code="PARAM_ERROR", message="参数错误", request_id="r1", step="AskOrder", since=NOW)
    return outcomes.with_problem(trip, problem)


def _refused(trip: Trip, step: str, refusal: Refusal = Refusal.UNCLEAR) -> Trip:
    return outcomes.refused(trip, a_doubt(refusal, step=step), NOW)


def _absent(trip: Trip) -> Trip:
    return outcomes.not_found(trip, a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder"), NOW, certain=True)


def _creating_anew() -> Trip:
    """Have a trip whose first body was dropped: every send of it was refused, and no order was there, twice."""
    once = _absent(_refused(_creating(), "OpenOrder", Refusal.INVALID_PARAMETER))
    return outcomes.not_found(
        once, a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder"), NOW + outcomes.APART, certain=True
    )


def _over(trip: Trip) -> Trip:
    """Have a trip that is over because no order was there, twice; its create was sent."""
    absent = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder")
    return outcomes.not_found(_absent(trip), absent, NOW + outcomes.APART, certain=True)


def _declined_unsure() -> Trip:
    return _over(_refused(_creating(), "OpenOrder", Refusal.RISK_REFUSED))


def _cancelled_unsure() -> Trip:
    return _over(note_cancelled(_creating(), a_cancellation()))


def _runs(over: Trip) -> Trip:
    return outcomes.see(over, an_order(), NOW)


SITUATIONS: Final[Mapping[str, Callable[[], Trip]]] = {
    "nothing noted": a_trip,
    "started": lambda: note_started(a_trip(), a_start()),
    "ended, not started": lambda: note_ended(a_trip(), an_end()),
    "cancelled, not started": lambda: note_cancelled(a_trip(), a_cancellation()),
    "started and ended": lambda: note_ended(note_started(a_trip(), a_start()), an_end()),
    "started, ended above the limit": lambda: note_ended(note_started(a_trip(), a_start()), an_end(total_fen=20_001)),
    "creating": _creating,
    "creating, ended": lambda: note_ended(_creating(), an_end()),
    "creating, cancelled": lambda: note_cancelled(_creating(), a_cancellation()),
    "accepted": lambda: outcomes.see(_creating(), an_order(OrderPhase.ACCEPTED), NOW),
    "open": _open,
    "open, ended": lambda: note_ended(_open(), an_end()),
    "open, ended above the limit": lambda: note_ended(_open(), an_end(total_fen=20_001)),
    "completing": _completing,
    "cancelling": lambda: note_cancelled(_open(), a_cancellation()),
    "declining": lambda: outcomes.declined(_completing(), DeclineReason.AMOUNT_OVER_LIMIT, "总金额超过", now=NOW),
    "completed": _completed,
    "paid": lambda: outcomes.see(_completed(), an_order(OrderPhase.DONE), NOW),
    "declined": lambda: outcomes.declined(
        note_started(a_trip(), a_start()), DeclineReason.RISK_REFUSED, "综合评估未通过", now=NOW
    ),
    "cancelled": lambda: outcomes.order_cancelled(note_cancelled(_open(), a_cancellation()), NOW),
    # A body was dropped; the next one is not built yet.
    "creating anew": _creating_anew,
    "creating anew, ended above the limit": lambda: note_ended(_creating_anew(), an_end(total_fen=20_001)),
    # A call was refused, or a question; what follows is asked for.
    "in doubt: create refused": lambda: _refused(_creating(), "OpenOrder", Refusal.RISK_REFUSED),
    "in doubt: create refused, absent once": lambda: _absent(_refused(_creating(), "OpenOrder", Refusal.RISK_REFUSED)),
    "in doubt: cancelled, absent once": lambda: _absent(note_cancelled(_creating(), a_cancellation())),
    "in doubt: complete refused": lambda: _refused(_completing(), "CompleteOrder"),
    "in doubt: cancel refused": lambda: _refused(note_cancelled(_open(), a_cancellation()), "CancelOrder"),
    "in doubt: question refused": lambda: outcomes.question_refused(_completed(), a_doubt(step="AskOrder"), NOW),
    # A person has waived the fare.
    "waived": _waived,
    "waived, cancel refused": lambda: _refused(_waived(), "CancelOrder", Refusal.WRONG_STATE),
    "waived, cancel refused again": lambda: _refused(
        outcomes.asked(
            _refused(_waived(), "CancelOrder", Refusal.WRONG_STATE), an_order(OrderPhase.COLLECTING), NOW, certain=True
        ),
        "CancelOrder",
        Refusal.WRONG_STATE,
    ),
    "waived, not to be cancelled": lambda: _waived(lowers=True),
    "waived, lowered to nothing": lambda: _waived(lowers=True, lowered=True),
    # Over, and no signed word of the order stands behind it.
    "declined, order may run": _declined_unsure,
    "declined, order runs": lambda: _runs(_declined_unsure()),
    "declined, order runs, cancel refused": lambda: _refused(_runs(_declined_unsure()), "CancelOrder"),
    "cancelled, order may run": _cancelled_unsure,
    "cancelled, order runs": lambda: _runs(_cancelled_unsure()),
    # A person must look.
    "with a problem, creating": lambda: _stopped(_creating()),
    "with a problem, creating and ended": lambda: _stopped(note_ended(_creating(), an_end())),
    "with a problem, open": lambda: _stopped(_open()),
    "with a problem, completed elsewhere": lambda: outcomes.see(_open(), an_order(OrderPhase.COLLECTING), NOW),
    "with a problem, ended and completing": lambda: _stopped(_completing()),
    "with a problem": lambda: _stopped(_completed()),
    "with a problem, declined": lambda: _stopped(_declined_unsure()),
    "with a problem, charged though over": lambda: outcomes.see(_declined_unsure(), an_order(OrderPhase.DONE), NOW),
}
"""Every situation that the state table decides about."""


# --- Refunds ---

MCHID: Final = "1230000109"
MINUTE: Final = timedelta(minutes=1)


def a_paid_trip(*collected_fen: int | None, paid_at: datetime = NOW) -> Trip:
    """Have a trip of 3,200 fen that is paid, in a debit for each amount; None: WeChat did not say how much."""
    trip = SITUATIONS["paid"]()
    assert trip.payment is not None
    told = tuple(
        Debit(transaction_id=f"420000{number}", amount_fen=amount_fen)
        for number, amount_fen in enumerate(collected_fen or (None,), start=1)
    )
    return replace(trip, payment=replace(trip.payment, paid_at=paid_at, debits=told))


def a_request(**changes: Any) -> RefundRequested:
    return replace(RefundRequested(trip_id="t1", refund_id="r1", amount_fen=1_000, reason="绕路"), **changes)


def a_refused(refusal: Refusal = Refusal.NOT_ENOUGH, **changes: Any) -> Refused:
    """Have a send refused; or, of another step, a question."""
    why = Refused(step="SendRefund", refusal=refusal, code="CODE", message="基本账户余额不足", request_id="08F1-1")
    return replace(why, **changes)


def a_word(phase: RefundPhase = RefundPhase.SUCCESS, **changes: Any) -> RefundSeen:
    """What WeChat shows of a_refund()."""
    word = RefundSeen(
        phase=phase,
        wechatpay_refund_id="50300000012026050100000001",
        transaction_id="4200001",
        amount_fen=1_000,
        total_fen=3_200,
    )
    if phase is RefundPhase.SUCCESS:
        word = replace(word, payer_refund_fen=900, refunded_at=NOW - MINUTE)
    return replace(word, **changes)


def requested(trip: Trip | None = None, now: datetime = NOW, **changes: Any) -> Pair:
    """Have a refund asked for; `changes` are to the request."""
    return refunds.request(trip or a_paid_trip(), a_request(**changes), now, mchid=MCHID)


def a_refund(**changes: Any) -> Refund:
    return replace(requested()[1], **changes)


def _after(change: Callable[[Refund], Refund], pair: Pair | None = None) -> Pair:
    trip, refund = pair or requested()
    return trip, change(refund)


def _sent() -> Pair:
    return _after(refunds.prepared)


def _refused_send(pair: Pair | None = None, refusal: Refusal = Refusal.NOT_ENOUGH) -> Pair:
    return _after(lambda refund: refunds.refused(refund, a_refused(refusal), NOW), pair or _sent())


def _unanswered(pair: Pair) -> Pair:
    return _after(lambda refund: refunds.no_answer(refund, a_refused(step="AskRefund"), NOW), pair)


def _shown(*words: RefundSeen) -> Pair:
    pair = _sent()
    for word in words:
        pair = refunds.see(*pair, word, NOW)
    return pair


def _accepted(*more: RefundSeen) -> Pair:
    return _shown(a_word(RefundPhase.PROCESSING), *more)


REFUND_SITUATIONS: Final[Mapping[str, Callable[[], Pair]]] = {
    "requested": requested,
    "requested, to be sent later": lambda: requested(requested(refund_id="r0")[0]),
    "sent": _sent,
    "sent, refused": _refused_send,
    "sent, refused, question unanswered": lambda: _unanswered(_refused_send()),
    "sent, refused, absent": lambda: _after(
        lambda refund: refunds.not_found(refund, a_refused(Refusal.RESOURCE_NOT_FOUND, step="AskRefund"), NOW),
        _refused_send(),
    ),
    "accepted": _accepted,
    "accepted, asked": lambda: _after(lambda refund: refunds.asked(refund, NOW), _accepted()),
    "accepted, question unanswered": lambda: _unanswered(_accepted()),
    "refunded": lambda: _accepted(a_word()),
    "failed": lambda: _accepted(a_word(RefundPhase.CLOSED)),
    # A person must look.
    "with a problem, refused": lambda: _refused_send(
        _refused_send(refusal=Refusal.ACCOUNT_ABNORMAL), Refusal.ACCOUNT_ABNORMAL
    ),
    "with a problem, sent, amount differs": lambda: _shown(a_word(RefundPhase.PROCESSING, amount_fen=999)),
    "with a problem, amount differs": lambda: _accepted(a_word(amount_fen=999)),
    "with a problem, abnormal": lambda: _accepted(a_word(RefundPhase.ABNORMAL)),
    "with a problem, slow": lambda: _after(lambda refund: refunds.waited_too_long(refund, NOW), _accepted()),
    "with a problem, refunded": lambda: _accepted(a_word(), a_word(amount_fen=999)),
    "with a problem, failed": lambda: _accepted(a_word(RefundPhase.CLOSED), a_word(amount_fen=999)),
}
"""Every situation of a refund that the state table decides about."""


# --- Authorisations ---


def a_request_to_sign(**changes: Any) -> Requested:
    return replace(Requested(request_id="q1", openid="oPassenger", client="miniprogram"), **changes)


def an_ending(**changes: Any) -> Ending:
    return replace(Ending(reason="注销账户", by="ride service", word="m1"), **changes)


def an_authorisation_refused(refusal: Refusal = Refusal.UNCLEAR, **changes: Any) -> authorisations.Refused:
    why = authorisations.Refused(
        step="GiveParameters",
        refusal=refusal,
        code="INVALID_REQUEST",
        message="授权协议号已被使用",
        request_id="08F1-0",
    )
    return replace(why, **changes)


def some_terms(**changes: Any) -> OrderTerms:
    terms = OrderTerms(
        family="serviceorder", mchid=MCHID, appid="wx1", service_id="500001", notify_url="https://pay.example.com/n"
    )
    return replace(terms, **changes)


def an_authorisation(**changes: Any) -> Authorisation:
    return replace(authorisations.requested(a_request_to_sign(), some_terms(), NOW), **changes)


def _unsigned() -> Authorisation:
    return authorisations.not_signed(an_authorisation(), NOW)


def _given() -> Authorisation:
    return authorisations.given(authorisations.preparing(_unsigned()), "token", NOW)


def _opened() -> Authorisation:
    return authorisations.opened(_given(), NOW, NOW)


def _looked_at() -> Authorisation:
    once = authorisations.trips_taken_up(_opened(), authorisations.TRIP_LOOKS, NOW)
    return authorisations.trips_taken_up(once, once.trip_looks, NOW)


def _refused_token() -> Authorisation:
    return authorisations.refused(authorisations.preparing(_unsigned()), an_authorisation_refused(), NOW)


def _to_end() -> Authorisation:
    return authorisations.to_end(_looked_at(), an_ending())


def _refused_end() -> Authorisation:
    return authorisations.refused(
        authorisations.preparing_end(_to_end()), an_authorisation_refused(step="EndService"), NOW
    )


def _with_a_problem(authorisation: Authorisation, step: str) -> Authorisation:
    problem = Problem(code="malformed_call", message="", request_id="", step=step, since=NOW)
    return authorisations.with_problem(authorisation, problem)


AUTHORISATIONS: Final[Mapping[str, Callable[[], Authorisation]]] = {
    "requested": an_authorisation,
    "requested, not signed": _unsigned,
    "requested, refused": _refused_token,
    "given": _given,
    "open, trips to be looked at": _opened,
    "open": _looked_at,
    "open, to end": _to_end,
    "open, to end, refused": _refused_end,
    "closed": lambda: authorisations.closed(_looked_at(), NOW, NOW),
    "with a problem, requested": lambda: _with_a_problem(_refused_token(), "GiveParameters"),
    "with a problem, to end": lambda: _with_a_problem(_refused_end(), "EndService"),
}
"""Every situation of an authorisation that the state table decides about."""


# --- Fares after the end ---

LOWERED_FEN: Final = 2_000


def a_lowered_fare(total_fen: int = LOWERED_FEN, **changes: Any) -> Lowered:
    fees = (Fee(name="里程费", amount_fen=total_fen),)
    return replace(Lowered(lowered_at=NOW, fees=fees, total_fen=total_fen, reason="绕路退费"), **changes)


def a_payment_elsewhere(**changes: Any) -> PaidElsewhere:
    return replace(PaidElsewhere(paid_at=NOW, amount_fen=3_200, channel="cash"), **changes)


def _lowered(trip: Trip | None = None, total_fen: int = LOWERED_FEN) -> Trip:
    return fares.note_lowered(trip or _completed(), a_lowered_fare(total_fen))


def _lowering() -> Trip:
    return outcomes.lowering(_lowered())


def _taken() -> Trip:
    return outcomes.lowered(_lowering(), an_order(OrderPhase.COLLECTING, total_fen=LOWERED_FEN), NOW)


def _not_lowered() -> Trip:
    """Have a fare that WeChat has refused to lower, twice, and has shown as it was after each."""
    trip = _lowering()
    for _ in range(2):
        trip = outcomes.asked(_refused(trip, "LowerOrder", Refusal.WRONG_STATE), an_order(OrderPhase.COLLECTING), NOW)
    return trip


def _paid_above() -> Trip:
    return outcomes.see(_lowering(), an_order(OrderPhase.DONE), NOW)


def _elsewhere(trip: Trip) -> Trip:
    return fares.note_paid_elsewhere(trip, a_payment_elsewhere(), NOW)


def _syncing() -> Trip:
    return outcomes.syncing(_elsewhere(_completed()), Sync(paid_time=NOW + SYNC_MARGIN))


def _synced() -> Trip:
    return outcomes.synced(_syncing(), None, NOW)


def _asking() -> Trip:
    return replace(_completed(), asking=Asking(due=True))


FARE_SITUATIONS: Final[Mapping[str, Callable[[], Trip]]] = {
    # Told before WeChat was asked for the fare, or while it may have been.
    "open, lowered": lambda: _lowered(note_ended(_open(), an_end())),
    "completing, lowered": lambda: _lowered(_completing()),
    "open, paid elsewhere": lambda: _elsewhere(note_ended(_open(), an_end())),
    "creating, paid elsewhere": lambda: _elsewhere(note_ended(_creating(), an_end())),
    "completing, paid elsewhere": lambda: _elsewhere(_completing()),
    # WeChat collects.
    "lowered": _lowered,
    "lowered, sent": _lowering,
    "lowered, sent, and lowered again": lambda: _lowered(_lowering(), 1_500),
    "lowered, taken": _taken,
    "lowered, taken, and lowered again": lambda: _lowered(_taken(), 1_500),
    "lowered, refused": _not_lowered,
    "asked for": _asking,
    "asked for, sent": lambda: outcomes.asking(_asking(), 0),
    "to be synced": lambda: _elsewhere(_completed()),
    "to be synced, sent": _syncing,
    "synced": _synced,
    # The money is in.
    "paid above the fare": _paid_above,
    "paid above the fare, sent back": lambda: fares.send_back(_paid_above(), NOW, mchid=MCHID)[0],
    "paid elsewhere": lambda: outcomes.see(_synced(), an_order(OrderPhase.DONE, debits=()), NOW),
    "paid elsewhere, order runs": lambda: _runs(_elsewhere(note_ended(_declined_unsure(), an_end()))),
    "paid twice": lambda: outcomes.see(_synced(), an_order(OrderPhase.DONE), NOW),
}
"""Every situation of a fare after the end that the state table decides about."""


# --- Orders that the passenger confirms ---

CONFIRMING: Final = replace(PAYAFTER, need_user_confirm=True)
CONFIRM_BY: Final = NOW + CONFIRMING.confirm_expires


def _to_be_confirmed() -> Trip:
    terms = some_terms(family="payafter", need_user_confirm=True)
    asked_for = Opening(risk_amount_fen=20_000, start_time=None, terms=terms)
    return outcomes.opening(note_started(a_trip(), a_start()), asked_for)


def _without_page() -> Trip:
    return outcomes.see(_to_be_confirmed(), an_order(OrderPhase.CREATED), NOW)


def asked_to_confirm(confirm_by: datetime = CONFIRM_BY) -> Trip:
    """Have a trip whose passenger is asked to confirm its order."""
    return outcomes.created(
        _to_be_confirmed(), an_order(OrderPhase.CREATED), NOW, package="package", confirm_by=confirm_by
    )


def _time_is_up() -> Trip:
    return outcomes.asked(asked_to_confirm(NOW), an_order(OrderPhase.CREATED), NOW)


def _not_confirmed() -> Trip:
    return outcomes.declined(_time_is_up(), DeclineReason.NOT_CONFIRMED, "not confirmed", now=NOW)


def _confirmed() -> Trip:
    return outcomes.see(asked_to_confirm(), an_order(), NOW)


CONFIRM_SITUATIONS: Final[Mapping[str, Callable[[], Trip]]] = {
    "creating": _to_be_confirmed,
    "creating, ended": lambda: note_ended(_to_be_confirmed(), an_end()),
    "creating, cancelled": lambda: note_cancelled(_to_be_confirmed(), a_cancellation()),
    "accepted, no page": _without_page,
    "accepted, no page, create refused": lambda: _refused(_without_page(), "OpenOrder", Refusal.RISK_REFUSED),
    "asked": asked_to_confirm,
    "asked, ended": lambda: note_ended(asked_to_confirm(), an_end()),
    "asked, ended above the limit": lambda: note_ended(asked_to_confirm(), an_end(total_fen=20_001)),
    "asked, cancelled": lambda: note_cancelled(asked_to_confirm(), a_cancellation()),
    "asked, paid elsewhere": lambda: _elsewhere(note_ended(asked_to_confirm(), an_end())),
    "asked, question refused": lambda: outcomes.question_refused(asked_to_confirm(), a_doubt(step="AskOrder"), NOW),
    "asked, the time is up": _time_is_up,
    "not confirmed": _not_confirmed,
    "not confirmed, ended": lambda: note_ended(_not_confirmed(), an_end()),
    "not confirmed, paid elsewhere": lambda: _elsewhere(note_ended(_not_confirmed(), an_end())),
    "not confirmed, cancel refused": lambda: _refused(_not_confirmed(), "CancelOrder"),
    "declined as not confirmed": lambda: outcomes.order_cancelled(_not_confirmed(), NOW),
    "confirmed": _confirmed,
    "confirmed, ended": lambda: note_ended(_confirmed(), an_end()),
    "with a problem, no page": lambda: _stopped(_without_page()),
    "with a problem, asked": lambda: _stopped(asked_to_confirm()),
}
"""Every situation of an order that the passenger confirms that the state table decides about."""


# --- Trips that are tried again ---

TRYING_AGAIN: Final = replace(PAYAFTER, second_risk_amount_fen=10_000)


def tried_again(before: Trip | None = None) -> Trip:
    """Have a trip that was refused for risk, whose order was not there, twice."""
    refused_trip = _refused(before or _creating(), "OpenOrder", Refusal.RISK_REFUSED)
    absent, now = a_doubt(Refusal.ORDER_NOT_FOUND, step="AskOrder"), NOW + outcomes.APART
    second = second_try_of(refused_trip, TRYING_AGAIN, now, prefix="")
    return outcomes.not_found(_absent(refused_trip), absent, now, certain=True, second=second)


def _second_asked_for() -> Trip:
    return outcomes.opening(tried_again(), Opening(risk_amount_fen=10_000, start_time=None))


def _second_open() -> Trip:
    return outcomes.opened(_second_asked_for(), an_order(), NOW - HOUR)


def _second_completed() -> Trip:
    return outcomes.completed(outcomes.completing(note_ended(_second_open(), an_end()), NOW), NOW)


def _second_paid() -> Trip:
    return outcomes.see(_second_completed(), an_order(OrderPhase.DONE), NOW)


def _first_runs(trip: Trip) -> Trip:
    return first_seen(trip, an_order(), NOW)


def _first_refused(trip: Trip) -> Trip:
    return first_refused(trip, "INVALID_REQUEST", "不能取消", NOW)


SECOND_SITUATIONS: Final[Mapping[str, Callable[[], Trip]]] = {
    "tried again": tried_again,
    "tried again, ended": lambda: note_ended(tried_again(), an_end()),
    "tried again, cancelled": lambda: note_cancelled(tried_again(), a_cancellation()),
    "second asked for": _second_asked_for,
    "second refused": lambda: _refused(_second_asked_for(), "OpenOrder", Refusal.RISK_REFUSED),
    "second open": _second_open,
    "second open, first runs": lambda: _first_runs(_second_open()),
    "second open, first runs, cancel refused": lambda: _first_refused(_first_runs(_second_open())),
    "second open, first seen to": lambda: first_over(_second_open()),
    "second completed": _second_completed,
    "second paid": _second_paid,
    "second paid, first runs": lambda: _first_runs(_second_paid()),
    "second paid, first seen to": lambda: first_over(_second_paid()),
    "second declined": lambda: _over(_refused(_second_asked_for(), "OpenOrder", Refusal.RISK_REFUSED)),
    "with a problem": lambda: _stopped(_second_open()),
}
"""Every situation of a trip with a second order that the state table decides about."""
