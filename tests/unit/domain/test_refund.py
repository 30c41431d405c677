"""Refunds in every situation: what may be asked for, what each needs, and what becomes of it."""

import hashlib
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from payscore_worker.domain import refund as refunds
from payscore_worker.domain.next_step import (
    IN_HAND,
    Rest,
)
from payscore_worker.domain.refund import (
    GAP,
    HOPELESS,
    LONGEST_PROCESSING,
    MAX_REFUNDS,
    OVER,
    PAUSES,
    POLL_DELAYS,
    REFUNDABLE_FOR,
    AskRefund,
    GivenUp,
    Known,
    Pair,
    Refund,
    RefundPhase,
    RefundSeen,
    RefundState,
    RefundStep,
    SendRefund,
    StopWaiting,
    due_at,
    give_up,
    giving_up_of,
    largest_left_fen,
    next_step,
    out_refund_no_for,
    request,
    see,
    see_that_it_is_the_same,
    total_left_fen,
)
from payscore_worker.domain.trip import (
    Debit,
    Payment,
    Problem,
    Trip,
    TripState,
)
from payscore_worker.errors import ConflictingFact, IllegalTransition, Refusal
from tests.builders import (
    HOUR,
    MCHID,
    MINUTE,
    NOW,
    REFUND_SITUATIONS,
    SITUATIONS,
    a_paid_trip,
    a_refund,
    a_refused,
    a_request,
    a_word,
    debits,
    requested,
)

SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)
LATER: Final = NOW + 3 * HOUR

PROCESSING, SUCCESS, ABNORMAL, CLOSED, UNKNOWN = RefundPhase
REQUESTED, ACCEPTED, REFUNDED, FAILED = RefundState

NOT_OVER: Final = [name for name in REFUND_SITUATIONS if "refunded" not in name and "failed" not in name]
STOPPED: Final = [name for name in REFUND_SITUATIONS if name.startswith("with")]

WORDS_FOR_A_PERSON: Final = {
    "refund_abnormal": "WeChat Pay cannot deliver the money: say in the merchant platform where it should go",
    "refund_slow": "WeChat Pay has not sent the money back within 15 days",
}


def situation(name: str) -> Pair:
    return REFUND_SITUATIONS[name]()


def the_debit(trip: Trip, transaction_id: str = "4200001") -> Debit:
    assert trip.payment is not None
    (debit,) = (one for one in trip.payment.debits if one.transaction_id == transaction_id)
    return debit


def test_of_what_wechat_has_not_collected_nothing_can_go_back() -> None:
    uncollected = Payment(paid_fen=3_200, paid_at=NOW)

    assert (total_left_fen(uncollected), largest_left_fen(uncollected)) == (0, 0)


def money(trip: Trip) -> tuple[int, int]:
    """What refunds under way will send back, and what went back."""
    assert trip.payment is not None
    return trip.payment.reserved_fen, trip.payment.refunded_fen


def a_problem(code: str, message: str, *, since: datetime, **changes: Any) -> Problem:
    return replace(Problem(code=code, message=message, request_id="", step="AskRefund", since=since), **changes)


def changed(before: Refund, after: Refund) -> dict[str, object]:
    """What a transition has changed, by name."""
    names = (field.name for field in fields(Refund))
    return {name: getattr(after, name) for name in names if getattr(before, name) != getattr(after, name)}


# --- Numbers ---


@pytest.mark.parametrize("refund_id", ["r1", "R-2026_05", "a" * 64])
def test_a_refund_id_that_fits_is_the_number(refund_id: str) -> None:
    assert out_refund_no_for(refund_id) == refund_id


@pytest.mark.parametrize("refund_id", ["a" * 65, "r 1", "r|1", "r*1", "r@1", "退款", "r1\n", "r/1", ""])
def test_a_refund_id_that_does_not_fit_is_hashed_to_one_that_does_and_always_to_the_same(refund_id: str) -> None:
    number = out_refund_no_for(refund_id)

    assert len(number) == 64
    assert number.isalnum()
    assert number == out_refund_no_for(refund_id)


def test_two_ids_that_do_not_fit_have_two_numbers() -> None:
    assert out_refund_no_for("a" * 65) != out_refund_no_for("a" * 66)


def test_the_number_of_an_id_that_does_not_fit_never_changes() -> None:
    assert out_refund_no_for("r 1") == "bdb7cfb21ed7b2b29f744965d0a48fff49d1a26e8b29f006dadb3f3ddf02700a"


def test_a_prefix_stands_before_the_number_and_what_is_too_long_with_it_is_hashed_behind_it() -> None:
    assert out_refund_no_for("a" * 62, "x-") == "x-" + "a" * 62

    hashed = out_refund_no_for("a" * 63, "x-")

    assert hashed.startswith("x-")
    assert len(hashed) == 64
    assert hashed[2:] == hashlib.sha256(b"a" * 63).hexdigest()[:62]


# --- Requested ---


def test_a_request_makes_a_refund_of_the_debit_and_reserves_its_amount() -> None:
    before = replace(a_paid_trip(), bodies=7)

    trip, refund = request(before, a_request(), NOW, mchid=MCHID)

    assert refund == Refund(
        refund_id="r1",
        trip_id="t1",
        out_refund_no="r1",
        mchid=MCHID,
        transaction_id="4200001",
        total_fen=3_200,
        amount_fen=1_000,
        reason="绕路",
        generation=8,
        requested_at=NOW,
        send_after=NOW,
    )
    assert before.payment is not None
    reserved = Debit(transaction_id="4200001", refunds=1, reserved_fen=1_000, next_refund_at=NOW + GAP)
    assert trip == replace(before, bodies=8, payment=replace(before.payment, debits=(reserved,)))


def test_the_number_of_a_refund_has_the_prefix() -> None:
    _, refund = request(a_paid_trip(), a_request(), NOW, mchid=MCHID, prefix="x-")

    assert refund.out_refund_no == "x-r1"


def test_all_that_is_left_can_be_refunded_and_not_one_fen_more() -> None:
    trip, refund = requested(amount_fen=3_200)
    assert (refund.amount_fen, refund.total_fen, money(trip)) == (3_200, 3_200, (3_200, 0))

    with pytest.raises(IllegalTransition, match=r"^amount_fen: 3201 is more than the 3200 fen left of 3200 fen paid$"):
        requested(amount_fen=3_201)


def test_what_is_under_way_and_what_went_back_are_not_left() -> None:
    trip, _ = see(*requested(amount_fen=1_000), a_word(), NOW)
    trip, _ = requested(trip, refund_id="r2", amount_fen=700)
    assert money(trip) == (700, 1_000)

    with pytest.raises(IllegalTransition, match=r"^amount_fen: 1501 is more than the 1500 fen left of 3200 fen paid$"):
        requested(trip, refund_id="r3", amount_fen=1_501)

    trip, refund = requested(trip, refund_id="r3", amount_fen=1_500)
    assert (money(trip), refund.total_fen) == ((2_200, 1_000), 3_200)
    with pytest.raises(IllegalTransition, match=r"^amount_fen: 1 is more than the 0 fen left of 3200 fen paid$"):
        requested(trip, refund_id="r4", amount_fen=1)


def test_what_a_closed_refund_had_reserved_can_be_refunded_by_another() -> None:
    trip, _ = see(*requested(amount_fen=3_200), a_word(CLOSED, amount_fen=3_200), NOW)

    trip, _ = requested(trip, refund_id="r2", amount_fen=3_200)

    assert money(trip) == (3_200, 0)


def test_requests_in_a_row_are_sent_with_a_gap_between_them_each_with_a_place_of_its_own() -> None:
    first_trip, first = requested(refund_id="r1")
    second_trip, second = requested(first_trip, NOW + SECOND, refund_id="r2")
    third_trip, third = requested(second_trip, NOW + 2 * SECOND, refund_id="r3")

    assert [one.send_after - NOW for one in (first, second, third)] == [timedelta(0), GAP, 2 * GAP]
    assert [one.generation for one in (first, second, third)] == [3, 4, 5]
    assert the_debit(third_trip).refunds == 3
    assert the_debit(third_trip).next_refund_at == NOW + 3 * GAP
    assert timedelta(seconds=70) == GAP


@pytest.mark.parametrize(("after", "waits"), [(GAP - SECOND, SECOND), (GAP, timedelta(0)), (HOUR, timedelta(0))])
def test_a_request_after_the_gap_waits_for_nothing(after: timedelta, waits: timedelta) -> None:
    trip, _ = requested()

    later, refund = requested(trip, NOW + after, refund_id="r2")

    assert refund.requested_at == NOW + after
    assert refund.send_after == NOW + after + waits
    assert the_debit(later).next_refund_at == NOW + after + waits + GAP


def test_a_payment_is_refunded_fifty_times_and_no_more() -> None:
    trip = a_paid_trip()
    for number in range(MAX_REFUNDS):
        trip, _ = requested(trip, refund_id=f"r{number}", amount_fen=1)
    assert (MAX_REFUNDS, the_debit(trip).refunds, money(trip)) == (50, 50, (50, 0))

    with pytest.raises(IllegalTransition, match=r"^trip_id: WeChat Pay refunds a payment at most 50 times$"):
        requested(trip, refund_id="r50", amount_fen=1)


def test_refunds_that_came_to_nothing_count_among_the_fifty() -> None:
    trip = a_paid_trip()
    for number in range(MAX_REFUNDS):
        trip, _ = see(*requested(trip, refund_id=f"r{number}"), a_word(CLOSED), NOW)

    with pytest.raises(IllegalTransition, match="at most 50 times"):
        requested(trip, refund_id="r50")


def test_of_a_debit_that_was_refunded_fifty_times_too_much_is_too_much_all_the_same() -> None:
    trip = a_paid_trip()
    for number in range(MAX_REFUNDS):
        trip, _ = requested(trip, refund_id=f"r{number}", amount_fen=1)

    with pytest.raises(IllegalTransition, match=r"^amount_fen: 3151 is more than the 3150 fen left of 3200 fen paid$"):
        requested(trip, refund_id="r50", amount_fen=3_151)


def test_a_payment_can_be_refunded_for_a_year_to_the_second() -> None:
    trip, end = a_paid_trip(paid_at=NOW), NOW + REFUNDABLE_FOR

    _, refund = requested(trip, end)
    assert (refund.send_after, REFUNDABLE_FOR) == (end, 365 * DAY)

    with pytest.raises(IllegalTransition, match=r"^trip_id: WeChat Pay refunds for 365 days after the payment$"):
        requested(trip, end + SECOND)


@pytest.mark.parametrize("name", [name for name in SITUATIONS if SITUATIONS[name]().state is not TripState.PAID])
def test_only_what_is_paid_can_be_refunded(name: str) -> None:
    trip = SITUATIONS[name]()

    with pytest.raises(
        IllegalTransition, match=f"^trip_id: the trip is {trip.state}, and only what is paid can be refunded$"
    ):
        requested(trip)


def test_a_row_that_says_paid_and_not_how_is_not_refunded() -> None:
    with pytest.raises(IllegalTransition, match=r"^trip_id: the trip is PAID, and only what is paid can be refunded$"):
        requested(replace(a_paid_trip(), payment=None))


def test_where_nothing_was_collected_nothing_can_go_back() -> None:
    trip = a_paid_trip()
    assert trip.payment is not None

    with pytest.raises(IllegalTransition, match=r"^trip_id: WeChat Pay has collected nothing for this trip$"):
        requested(replace(trip, payment=replace(trip.payment, debits=())))


# --- Several debits ---


@pytest.mark.parametrize(
    ("amount_fen", "chosen"),
    [(1, "4200002"), (700, "4200002"), (701, "4200003"), (1_000, "4200003"), (1_001, "4200001"), (1_500, "4200001")],
)
def test_a_refund_is_of_the_debit_that_has_least_left_of_those_that_have_enough(amount_fen: int, chosen: str) -> None:
    trip, refund = requested(a_paid_trip(1_500, 700, 1_000), amount_fen=amount_fen)

    assert refund.transaction_id == chosen
    assert refund.total_fen == the_debit(trip, chosen).amount_fen
    assert the_debit(trip, chosen).reserved_fen == amount_fen
    assert money(trip) == (amount_fen, 0)


def test_what_is_reserved_of_a_debit_counts_when_the_next_is_chosen_and_the_gap_is_each_debits_own() -> None:
    trip, _ = requested(a_paid_trip(1_500, 1_700), amount_fen=1_400)

    trip, refund = requested(trip, refund_id="r2", amount_fen=101)

    assert (refund.transaction_id, refund.send_after) == ("4200002", NOW)
    assert the_debit(trip).reserved_fen == 1_400


def test_no_refund_is_spread_over_two_debits() -> None:
    with pytest.raises(
        IllegalTransition, match=r"^amount_fen: 1701 is more than the 1700 fen left in one of 2 debits$"
    ):
        requested(a_paid_trip(1_500, 1_700), amount_fen=1_701)


def test_a_debit_that_was_refunded_fifty_times_is_passed_over() -> None:
    trip = a_paid_trip(1_500, 1_700)
    for number in range(MAX_REFUNDS):
        trip, _ = requested(trip, refund_id=f"r{number}", amount_fen=1)
    assert the_debit(trip).refunds == MAX_REFUNDS

    _, refund = requested(trip, refund_id="r50", amount_fen=1)

    assert refund.transaction_id == "4200002"


def test_a_single_debit_has_collected_all_that_was_paid_where_its_amount_was_not_told() -> None:
    trip, refund = requested(a_paid_trip(None), amount_fen=3_200)

    assert refund.total_fen == 3_200
    assert the_debit(trip).amount_fen is None


def test_what_a_single_debit_is_told_to_have_collected_is_what_it_has_collected() -> None:
    _, refund = requested(a_paid_trip(3_100), amount_fen=3_100)
    assert refund.total_fen == 3_100

    with pytest.raises(IllegalTransition, match=r"^amount_fen: 3101 is more than the 3100 fen left of 3200 fen paid$"):
        requested(a_paid_trip(3_100), amount_fen=3_101)


def test_of_several_debits_whose_amounts_were_not_told_nothing_is_refunded() -> None:
    with pytest.raises(
        IllegalTransition, match=r"^trip_id: WeChat Pay has not said how much each of its debits collected$"
    ):
        requested(a_paid_trip(None, None), amount_fen=1)


def test_of_several_debits_one_whose_amount_was_told_is_refunded() -> None:
    _, refund = requested(a_paid_trip(None, 1_700), amount_fen=1_700)
    assert (refund.transaction_id, refund.total_fen) == ("4200002", 1_700)

    with pytest.raises(IllegalTransition, match="has not said how much each of its debits collected"):
        requested(a_paid_trip(None, 1_700), amount_fen=1_701)


# --- Said again ---


@pytest.mark.parametrize("name", REFUND_SITUATIONS)
def test_the_same_request_again_is_no_other(name: str) -> None:
    see_that_it_is_the_same(situation(name)[1], a_request())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trip_id": "t2"}, "trip_id"),
        ({"amount_fen": 999}, "amount_fen"),
        ({"reason": "堵车"}, "reason"),
        ({"reason": "", "amount_fen": 1, "trip_id": "t2"}, "trip_id, amount_fen, reason"),
    ],
)
def test_a_request_that_says_otherwise_than_before_is_refused_by_what_differs(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConflictingFact, match=f"^refund.requested says otherwise than before in {named}$"):
        see_that_it_is_the_same(a_refund(), a_request(**changes))


# --- What a refund needs, and when ---

WAIT: Final = timedelta(minutes=5)

NEEDS: Final[list[tuple[str, dict[str, Any], timedelta, RefundStep]]] = [
    ("requested", {}, timedelta(0), SendRefund()),
    ("requested", {"send_after": NOW + WAIT}, WAIT - SECOND, Rest(NOW + WAIT)),
    ("requested", {"send_after": NOW + WAIT}, WAIT, SendRefund()),
    ("sent", {"send_after": NOW + WAIT}, timedelta(0), SendRefund()),  # it may be on its way already
    ("sent, refused", {}, MINUTE - SECOND, Rest(NOW + MINUTE)),
    ("sent, refused", {}, MINUTE, AskRefund()),
    ("sent, refused", {"ask_after": None}, timedelta(0), AskRefund()),
    ("sent, refused, absent", {}, timedelta(0), SendRefund()),
    ("accepted", {}, MINUTE - SECOND, Rest(NOW + MINUTE)),
    ("accepted", {}, MINUTE, AskRefund()),
    ("accepted", {"asked_at": NOW + WAIT}, WAIT + MINUTE - SECOND, Rest(NOW + WAIT + MINUTE)),
    ("accepted", {"asked_at": None, "patient_since": NOW + WAIT}, WAIT, Rest(NOW + WAIT + MINUTE)),
    ("accepted", {"asked_at": None, "patient_since": None}, SECOND, Rest(NOW + MINUTE)),
    ("accepted, question unanswered", {}, MINUTE - SECOND, Rest(NOW + MINUTE)),
    ("accepted, question unanswered", {}, MINUTE, AskRefund()),
    ("refunded", {}, 1_000 * DAY, Rest()),
    ("failed", {}, 1_000 * DAY, Rest()),
]


@pytest.mark.parametrize(("name", "changes", "after", "step"), NEEDS)
def test_what_a_refund_needs_follows_from_its_row_and_the_time(
    name: str, changes: dict[str, Any], after: timedelta, step: RefundStep
) -> None:
    refund = replace(situation(name)[1], **changes)

    assert next_step(refund, NOW + after) == step


@pytest.mark.parametrize(("name", "changes", "after", "step"), NEEDS)
def test_a_refund_is_due_when_its_next_step_is_or_when_whoever_has_it_in_hand_must_have_failed(
    name: str, changes: dict[str, Any], after: timedelta, step: RefundStep
) -> None:
    refund, now = replace(situation(name)[1], **changes), NOW + after

    assert due_at(refund, now) == (step.until if isinstance(step, Rest) else now + IN_HAND)


@pytest.mark.parametrize("name", STOPPED)
def test_a_refund_with_a_problem_rests_until_a_person_has_looked(name: str) -> None:
    _, refund = situation(name)

    assert refund.problem is not None
    assert next_step(refund, NOW + 1_000 * DAY) == Rest()
    assert due_at(refund, NOW) is None


def test_an_accepted_refund_is_asked_about_as_wechat_wants_it_and_in_the_end_every_six_hours() -> None:
    refund, now, waited = situation("accepted")[1], NOW, []
    for _ in range(14):
        step = next_step(refund, now)
        assert isinstance(step, Rest)
        assert step.until is not None
        assert next_step(refund, step.until - SECOND) == step
        assert next_step(refund, step.until) == AskRefund()
        waited.append((step.until - now) // MINUTE)
        now = step.until
        refund = refunds.asked(refund, now)

    assert waited == [1, 1, 1, 1, 1, 5, 10, 20, 30, 120, 360, 360, 360, 360]
    assert (len(POLL_DELAYS), refund.polls) == (11, 14)


# --- Sent, and refused ---


def test_a_refund_whose_body_is_stored_may_be_on_its_way() -> None:
    before = a_refund()

    assert changed(before, refunds.prepared(before)) == {"is_prepared": True}


def test_a_refused_send_is_asked_about_after_a_pause() -> None:
    _, before = situation("sent")
    why = a_refused(Refusal.NOT_ENOUGH)

    assert changed(before, refunds.refused(before, why, LATER)) == {
        "refused": why,
        "refusals": 1,
        "refused_as": "not_enough",
        "ask_after": LATER + MINUTE,
    }


@pytest.mark.parametrize("refusal", [one for one in Refusal if one not in HOPELESS])
def test_a_send_that_is_refused_again_and_again_is_for_a_person_after_hours(refusal: Refusal) -> None:
    (_, refund), now, waited = situation("sent"), NOW, []
    for _ in PAUSES:
        refund = refunds.refused(refund, a_refused(refusal), now)
        assert refund.problem is None
        assert refund.ask_after is not None
        waited.append((refund.ask_after - now) // MINUTE)
        now = refund.ask_after
        refund = refunds.not_found(refund, a_refused(Refusal.RESOURCE_NOT_FOUND, step="AskRefund"), now)
        assert next_step(refund, now) == SendRefund()

    stopped = refunds.refused(refund, a_refused(refusal), now)

    assert waited == [1, 2, 5, 15, 60, 120]
    assert stopped.problem == Problem(
        code="CODE", message="基本账户余额不足", request_id="08F1-1", step="SendRefund", since=now
    )
    assert (stopped.state, stopped.refused, stopped.ask_after) == (REQUESTED, None, None)


@pytest.mark.parametrize("refusal", sorted(HOPELESS))
def test_a_refusal_that_no_waiting_changes_is_for_a_person_the_second_time(refusal: Refusal) -> None:
    once = refunds.refused(situation("sent")[1], a_refused(refusal), NOW)
    assert once.problem is None

    twice = refunds.refused(once, a_refused(refusal), LATER)

    assert twice.problem is not None
    assert (twice.problem.code, twice.problem.since, twice.problem_told) == ("CODE", LATER, "CODE SendRefund")


@pytest.mark.parametrize("refusal", sorted(HOPELESS))
@pytest.mark.parametrize("before", [Refusal.NOT_ENOUGH, *sorted(HOPELESS)])
def test_one_such_refusal_after_another_is_no_second_one(before: Refusal, refusal: Refusal) -> None:
    once = refunds.refused(situation("sent")[1], a_refused(before), NOW)

    twice = refunds.refused(once, a_refused(refusal), LATER)

    assert (twice.problem is not None) is (before is refusal)
    if before is not refusal:
        assert (twice.refusals, twice.refused_as, twice.ask_after) == (2, refusal.value, LATER + 2 * MINUTE)


def test_waiting_helps_where_the_balance_is_low_however_often_that_is_said() -> None:
    assert Refusal.NOT_ENOUGH not in HOPELESS
    assert {Refusal.ACCOUNT_ABNORMAL, Refusal.INVALID_PARAMETER, Refusal.REENTRY_MISMATCH} == HOPELESS


def test_a_refusal_without_a_code_is_told_by_what_it_means() -> None:
    refund = situation("sent")[1]
    for _ in range(2):
        refund = refunds.refused(refund, a_refused(Refusal.ACCOUNT_ABNORMAL, code=""), NOW)

    assert refund.problem is not None
    assert refund.problem.code == "account_abnormal"


# --- Asked about ---

ABSENT: Final = a_refused(Refusal.RESOURCE_NOT_FOUND, step="AskRefund")


def test_a_refund_that_wechat_does_not_know_is_sent_again_and_its_refusals_stay_counted() -> None:
    _, before = situation("sent, refused, question unanswered")

    after = refunds.not_found(before, ABSENT, LATER)

    assert changed(before, after) == {"refused": None, "ask_after": None, "unanswered": 0}
    assert (after.refusals, after.refused_as) == (1, "not_enough")


def test_that_wechat_knows_no_such_refund_is_no_answer_once_it_was_accepted() -> None:
    _, before = situation("accepted")

    after = refunds.not_found(before, ABSENT, LATER)

    assert after == refunds.no_answer(before, ABSENT, LATER)
    assert changed(before, after) == {"unanswered": 1, "ask_after": LATER + MINUTE}
    stopped = refunds.not_found(replace(before, unanswered=len(PAUSES)), ABSENT, LATER)
    assert stopped.problem is not None
    assert (stopped.problem.code, stopped.problem.step) == ("CODE", "AskRefund")


@pytest.mark.parametrize("name", ["sent, refused", "accepted"])
def test_a_question_that_is_refused_again_and_again_is_for_a_person_after_hours(name: str) -> None:
    (_, refund), now, waited = situation(name), NOW, []
    why = a_refused(Refusal.UNCLEAR, step="AskRefund")
    for count, _ in enumerate(PAUSES, start=1):
        refund = refunds.no_answer(refund, why, now)
        assert (refund.problem, refund.unanswered) == (None, count)
        assert refund.ask_after is not None
        assert next_step(refund, refund.ask_after - SECOND) == Rest(refund.ask_after)
        assert next_step(refund, refund.ask_after) == AskRefund()
        waited.append((refund.ask_after - now) // MINUTE)
        now = refund.ask_after

    stopped = refunds.no_answer(refund, why, now)

    assert waited == [1, 2, 5, 15, 60, 120]
    assert stopped.problem == a_problem("CODE", "基本账户余额不足", since=now, request_id="08F1-1")
    assert stopped.state is refund.state


@pytest.mark.parametrize("name", ["refunded", "failed"])
def test_a_question_about_a_refund_that_is_over_changes_nothing_whatever_is_answered(name: str) -> None:
    _, refund = situation(name)
    refund = replace(refund, unanswered=len(PAUSES))

    assert refunds.no_answer(refund, a_refused(step="AskRefund"), LATER) is refund
    assert refunds.not_found(refund, ABSENT, LATER) is refund


def test_a_question_that_was_answered_is_counted_and_what_was_unanswered_before_is_forgotten() -> None:
    _, before = situation("accepted, question unanswered")

    assert changed(before, refunds.asked(before, LATER)) == {
        "polls": 1,
        "asked_at": LATER,
        "unanswered": 0,
        "ask_after": None,
    }


# --- Slow ---


def test_a_refund_that_wechat_has_in_hand_for_fifteen_days_is_given_up() -> None:
    _, refund = situation("accepted")
    refund = replace(refund, polls=99, asked_at=NOW + LONGEST_PROCESSING - 6 * HOUR)

    assert next_step(refund, NOW + LONGEST_PROCESSING - SECOND) == Rest(NOW + LONGEST_PROCESSING)
    asked = refunds.asked(refund, NOW + LONGEST_PROCESSING)
    assert next_step(asked, NOW + LONGEST_PROCESSING) == StopWaiting()
    assert timedelta(days=15) == LONGEST_PROCESSING


def test_a_refund_is_not_given_up_before_it_was_asked_about_once_more() -> None:
    _, refund = situation("accepted, asked")

    assert next_step(refund, NOW + 2 * LONGEST_PROCESSING) == AskRefund()


def test_a_refund_that_is_given_up_is_told_as_slow() -> None:
    _, before = situation("accepted")

    after = refunds.waited_too_long(before, LATER)

    assert changed(before, after) == {
        "problem": a_problem("refund_slow", WORDS_FOR_A_PERSON["refund_slow"], since=LATER),
        "problem_told": "refund_slow AskRefund",
    }


def test_a_slow_refund_at_which_a_person_has_looked_is_asked_about_at_once_and_given_up_after_as_long_again() -> None:
    looked_at = NOW + LONGEST_PROCESSING + HOUR
    refund = refunds.without_problem(situation("with a problem, slow")[1], looked_at)
    assert next_step(refund, looked_at) == AskRefund()

    refund = refunds.asked(refund, looked_at)
    assert next_step(refund, looked_at) == Rest(looked_at + MINUTE)
    refund = refunds.asked(refund, looked_at + LONGEST_PROCESSING - SECOND)
    assert next_step(refund, looked_at + LONGEST_PROCESSING) != StopWaiting()
    refund = refunds.asked(refund, looked_at + LONGEST_PROCESSING)
    assert next_step(refund, looked_at + LONGEST_PROCESSING) == StopWaiting()


# --- What WeChat shows ---


@pytest.mark.parametrize("name", REFUND_SITUATIONS)
@pytest.mark.parametrize("word", [a_word(UNKNOWN), a_word(SUCCESS, amount_fen=None), a_word(UNKNOWN, amount_fen=1)])
def test_a_word_that_is_not_clear_decides_nothing(name: str, word: RefundSeen) -> None:
    trip, refund = situation(name)

    assert not word.is_clear
    assert see(trip, refund, word, LATER) == (trip, refund)


@pytest.mark.parametrize("phase", [PROCESSING, ABNORMAL, CLOSED])
def test_of_money_that_did_not_go_back_no_amount_need_be_told(phase: RefundPhase) -> None:
    assert a_word(phase, amount_fen=None, total_fen=None).is_clear


def test_a_refund_is_accepted_by_wechats_signed_word() -> None:
    trip, before = situation("sent, refused, question unanswered")

    same, after = see(trip, before, a_word(PROCESSING), LATER)

    assert same is trip
    assert changed(before, after) == {
        "state": ACCEPTED,
        "wechatpay_refund_id": "50300000012026050100000001",
        "accepted_at": LATER,
        "patient_since": LATER,
        "asked_at": LATER,
        "refused": None,
        "refusals": 0,
        "refused_as": "",
        "unanswered": 0,
        "ask_after": None,
    }


def test_an_acceptance_leads_a_refund_out_of_its_problem_and_forgets_what_was_told() -> None:
    trip, before = situation("with a problem, refused")
    before = replace(before, polls=3)

    _, after = see(trip, before, a_word(PROCESSING), LATER)

    assert (after.state, after.problem, after.problem_told, after.polls) == (ACCEPTED, None, "", 0)


def test_the_number_that_wechat_gave_a_refund_stays_where_a_later_word_names_none() -> None:
    trip, refund = situation("accepted")

    for phase in (SUCCESS, ABNORMAL):
        _, after = see(trip, refund, a_word(phase, wechatpay_refund_id=""), NOW)
        assert after.wechatpay_refund_id == "50300000012026050100000001"
        _, after = see(trip, refund, a_word(phase, wechatpay_refund_id="5031"), NOW)
        assert after.wechatpay_refund_id == "5031"


@pytest.mark.parametrize("name", [name for name in NOT_OVER if situation(name)[1].state is ACCEPTED])
def test_that_an_accepted_refund_is_processed_changes_nothing(name: str) -> None:
    trip, refund = situation(name)

    again = see(trip, refund, a_word(PROCESSING), LATER)

    assert again[0] is trip
    assert again[1] is refund


@pytest.mark.parametrize("name", NOT_OVER)
def test_money_that_went_back_is_booked_wherever_the_refund_stood(name: str) -> None:
    trip, before = situation(name)
    reserved, refunded = money(trip)

    booked, after = see(trip, before, a_word(), LATER)

    assert (after.state, after.refunded_at, after.payer_refund_fen) == (REFUNDED, NOW - MINUTE, 900)
    assert (after.problem, after.problem_told, after.refused, after.ask_after) == (None, "", None, None)
    assert (after.refusals, after.refused_as, after.unanswered) == (0, "", 0)
    assert after.accepted_at == (before.accepted_at or LATER)
    assert money(booked) == (reserved - 1_000, refunded + 1_000)
    assert (the_debit(booked).refunds, booked.version) == (the_debit(trip).refunds, trip.version)


def test_without_a_time_the_money_went_back_when_we_heard_of_it() -> None:
    _, refund = see(*situation("accepted"), a_word(refunded_at=None, payer_refund_fen=None), LATER)

    assert (refund.refunded_at, refund.payer_refund_fen) == (LATER, None)


@pytest.mark.parametrize("name", NOT_OVER)
def test_a_closed_refund_has_failed_and_frees_what_it_had_reserved(name: str) -> None:
    trip, before = situation(name)
    reserved, refunded = money(trip)

    freed, after = see(trip, before, a_word(CLOSED), LATER)

    assert (after.state, after.problem, after.problem_told, after.refunded_at) == (FAILED, None, "", None)
    assert (after.refused, after.refusals, after.refused_as, after.unanswered) == (None, 0, "", 0)
    assert money(freed) == (reserved - 1_000, refunded)
    assert the_debit(freed).refunds == the_debit(trip).refunds


def test_only_the_debit_that_a_refund_is_of_is_changed() -> None:
    trip, refund = requested(a_paid_trip(1_500, 1_700), amount_fen=1_000)
    assert refund.transaction_id == "4200001"

    booked, _ = see(trip, refund, a_word(total_fen=1_500), NOW)

    assert (the_debit(booked).refunded_fen, the_debit(booked, "4200002")) == (1_000, the_debit(trip, "4200002"))


@pytest.mark.parametrize("phase", [SUCCESS, CLOSED])
@pytest.mark.parametrize("payment", ["none", "another debit"])
def test_a_refund_of_which_the_trip_knows_no_debit_contradicts_it(phase: RefundPhase, payment: str) -> None:
    trip, refund = situation("accepted")
    assert trip.payment is not None
    other = None if payment == "none" else replace(trip.payment, debits=debits("4200009"))

    with pytest.raises(ConflictingFact, match=r"^trip 't1' has no debit that refund 'r1' is of$"):
        see(replace(trip, payment=other), refund, a_word(phase), NOW)


@pytest.mark.parametrize(
    "name", [name for name in NOT_OVER if name != "with a problem, abnormal" and situation(name)[1].state is ACCEPTED]
)
def test_money_that_cannot_be_delivered_is_for_a_person_and_stays_reserved(name: str) -> None:
    trip, before = situation(name)

    same, after = see(trip, before, a_word(ABNORMAL), LATER)

    assert same is trip
    assert after.problem == a_problem("refund_abnormal", WORDS_FOR_A_PERSON["refund_abnormal"], since=LATER)
    assert (after.state, after.problem_told, after.accepted_at) == (ACCEPTED, "refund_abnormal AskRefund", NOW)


def test_money_that_cannot_be_delivered_was_accepted_on_the_way() -> None:
    _, after = see(*situation("sent, refused"), a_word(ABNORMAL), LATER)

    assert (after.state, after.accepted_at, after.patient_since, after.refused) == (ACCEPTED, LATER, LATER, None)


def test_that_money_cannot_be_delivered_is_told_once() -> None:
    trip, refund = situation("with a problem, abnormal")

    again = see(trip, refund, a_word(ABNORMAL), LATER)

    assert again[1] is refund
    looked = refunds.without_problem(refund, LATER)
    _, stands_again = see(trip, looked, a_word(ABNORMAL), LATER)
    assert stands_again.problem is not None
    assert stands_again.problem_told == refund.problem_told


# --- Over ---


@pytest.mark.parametrize("name", ["refunded", "failed", "with a problem, refunded", "with a problem, failed"])
def test_a_refund_that_is_over_hears_late_words_and_nothing_changes(name: str) -> None:
    trip, refund = situation(name)
    same = SUCCESS if refund.state is REFUNDED else CLOSED

    for phase in (PROCESSING, ABNORMAL, UNKNOWN, same):
        again = see(trip, refund, a_word(phase), LATER)
        assert again[0] is trip
        assert again[1] is refund


@pytest.mark.parametrize(
    ("name", "phase", "said"),
    [
        ("failed", SUCCESS, "WeChat Pay shows a refund as sent that it had closed"),
        ("refunded", CLOSED, "WeChat Pay shows a refund as closed that it had sent"),
    ],
)
def test_a_word_that_contradicts_how_a_refund_ended_is_refused(name: str, phase: RefundPhase, said: str) -> None:
    for stopped in (name, f"with a problem, {name}"):
        with pytest.raises(ConflictingFact, match=f"^{said}$"):
            see(*situation(stopped), a_word(phase), NOW)


def test_a_refund_is_over_when_the_money_went_back_or_never_will() -> None:
    assert {REFUNDED, FAILED} == OVER


# --- Given up by a person ---

BY_LI: Final = GivenUp(by="li", reason="账户已注销，改为现金")
NOT_THERE: Final = Known(seen=None, certain=True)
REFUSED: Final = "with a problem, refused"


def given_up() -> Pair:
    return give_up(*situation(REFUSED), BY_LI, NOT_THERE)


def test_a_refund_that_wechat_does_not_have_and_refuses_for_good_is_given_up_and_its_money_free() -> None:
    trip, before = situation(REFUSED)

    freed, after = give_up(trip, before, BY_LI, NOT_THERE)

    assert changed(before, after) == {
        "state": FAILED,
        "given_up": BY_LI,
        "problem": None,
        "problem_told": "",
        "refusals": 0,
        "refused_as": "",
    }
    assert (money(trip), money(freed)) == ((1_000, 0), (0, 0))
    assert next_step(after, LATER) == Rest()


def test_what_was_given_up_can_be_refunded_by_another() -> None:
    trip, _ = given_up()

    assert requested(trip, refund_id="r2", amount_fen=3_200)[1].amount_fen == 3_200


@pytest.mark.parametrize("name", [name for name in REFUND_SITUATIONS if name != REFUSED])
def test_no_other_refund_is_given_up(name: str) -> None:
    with pytest.raises(IllegalTransition):
        give_up(*situation(name), BY_LI, NOT_THERE)


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("refunded", NOT_THERE, "the refund is REFUNDED: there is nothing to give up"),
        ("with a problem, failed", NOT_THERE, "the refund is FAILED: there is nothing to give up"),
        *(
            (name, Known(seen=a_word(phase), certain=True), f"WeChat Pay has the refund as {phase}: its word decides")
            for name in (REFUSED, "accepted")
            for phase in (PROCESSING, SUCCESS, ABNORMAL, CLOSED)
        ),
        ("with a problem, slow", NOT_THERE, "WeChat Pay has accepted the refund, and its word alone ends it"),
        ("sent, refused", NOT_THERE, "the refund has no problem, and goes on by itself"),
        ("with a problem, sent, amount differs", NOT_THERE, "WeChat Pay has shown a refund under this number"),
        (REFUSED, Known(seen=None), "a send of it may have been accepted, so it may still be sent back"),
    ],
)
def test_whoever_may_not_give_a_refund_up_is_told_why(name: str, known: Known, said: str) -> None:
    with pytest.raises(IllegalTransition, match=f"^{said}"):
        give_up(*situation(name), BY_LI, known)


def test_a_giving_up_rests_on_state_problem_version_and_what_wechat_says() -> None:
    _, refund = situation(REFUSED)
    other = replace(refund, problem=a_problem("NOT_ENOUGH", "", since=NOW))
    marks = {
        giving_up_of(refund, NOT_THERE),
        giving_up_of(refund, Known(seen=a_word(SUCCESS))),
        giving_up_of(other, NOT_THERE),
        giving_up_of(replace(refund, version=9), NOT_THERE),
        giving_up_of(replace(refund, problem=None), NOT_THERE),
        giving_up_of(given_up()[1], NOT_THERE),
    }

    assert len(marks) == 6
    assert giving_up_of(refund, Known(seen=None)) == giving_up_of(refund, NOT_THERE)


@pytest.mark.parametrize("phase", [PROCESSING, SUCCESS, ABNORMAL])
def test_whatever_wechat_has_of_a_refund_that_was_given_up_contradicts_that(phase: RefundPhase) -> None:
    for word in (a_word(phase), a_word(phase, amount_fen=999)):
        with pytest.raises(ConflictingFact, match=f"^WeChat Pay shows a refund as {phase} that was given up here$"):
            see(*given_up(), word, LATER)


def test_that_a_refund_that_was_given_up_is_closed_changes_nothing() -> None:
    trip, refund = given_up()

    assert see(trip, refund, a_word(CLOSED), LATER) == (trip, refund)
    assert see(trip, refund, a_word(UNKNOWN), LATER) == (trip, refund)


# --- Other amounts ---


@pytest.mark.parametrize("phase", [PROCESSING, SUCCESS, ABNORMAL, CLOSED])
@pytest.mark.parametrize("name", ["sent", "accepted", "refunded", "failed", "with a problem, abnormal"])
@pytest.mark.parametrize(
    ("changes", "shown"),
    [({"amount_fen": 999}, "999 of 3200"), ({"total_fen": 3_199}, "1000 of 3199"), ({"amount_fen": 1_001}, "1001 of")],
)
def test_a_word_of_another_amount_is_for_a_person_and_moves_neither_refund_nor_money(
    name: str, phase: RefundPhase, changes: dict[str, int], shown: str
) -> None:
    trip, before = situation(name)

    same, after = see(trip, before, a_word(phase, **changes), LATER)

    assert same is trip
    assert after.state is before.state
    assert after.problem is not None
    assert (after.problem.code, after.problem.since) == ("refund_amount_differs", LATER)
    assert after.problem.message.startswith(f"asked for 1000 of 3200 fen; WeChat Pay shows {shown}")


def test_that_the_amount_differs_is_told_once() -> None:
    trip, refund = situation("with a problem, amount differs")

    assert see(trip, refund, a_word(amount_fen=998), LATER)[1] is refund


@pytest.mark.parametrize("phase", [PROCESSING, ABNORMAL, CLOSED])
def test_an_amount_that_is_not_told_contradicts_nothing(phase: RefundPhase) -> None:
    told = see(*situation("sent"), a_word(phase), NOW)

    assert see(*situation("sent"), a_word(phase, amount_fen=None, total_fen=None), NOW) == told


def test_money_that_went_back_is_believed_where_only_the_total_is_not_told() -> None:
    _, refund = see(*situation("accepted"), a_word(total_fen=None), NOW)

    assert refund.state is REFUNDED


def test_nothing_is_no_other_amount_where_nothing_is_what_is_shown() -> None:
    _, refund = see(*situation("accepted"), a_word(PROCESSING, amount_fen=0), NOW)

    assert refund.problem is not None
    assert refund.problem.code == "refund_amount_differs"


# --- In trouble, taken up again ---


def test_a_problem_stops_a_refund_and_is_remembered_as_told() -> None:
    _, before = situation("sent, refused")
    problem = a_problem("malformed_call", "reason: too long", since=NOW, step="SendRefund")

    assert changed(before, refunds.with_problem(before, problem)) == {
        "problem": problem,
        "problem_told": "malformed_call SendRefund",
        "refused": None,
        "ask_after": None,
    }


def test_a_refund_that_was_not_accepted_is_sent_once_a_person_has_looked() -> None:
    _, before = situation("with a problem, refused")

    after = refunds.without_problem(before, LATER)

    assert changed(before, after) == {"problem": None, "refusals": 0, "refused_as": ""}
    assert next_step(after, LATER) == SendRefund()
    once = refunds.refused(after, a_refused(Refusal.ACCOUNT_ABNORMAL), LATER)
    assert once.problem is None


@pytest.mark.parametrize("name", ["with a problem, amount differs", "with a problem, abnormal", "with a problem, slow"])
def test_a_refund_that_was_accepted_is_asked_about_at_once_when_a_person_has_looked(name: str) -> None:
    before = replace(situation(name)[1], polls=20, unanswered=6)

    after = refunds.without_problem(before, LATER)

    assert changed(before, after) == {
        "problem": None,
        "patient_since": LATER,
        "asked_at": LATER - MINUTE,
        "polls": 0,
        "unanswered": 0,
    }
    assert next_step(after, LATER) == AskRefund()


def test_when_a_person_has_looked_no_pause_is_waited_for() -> None:
    refund = refunds.without_problem(replace(situation("with a problem, slow")[1], ask_after=LATER + DAY), LATER)

    assert next_step(refund, LATER) == AskRefund()


def test_a_refund_of_whose_amount_another_was_shown_goes_on_when_ours_is_shown() -> None:
    for name in ("with a problem, sent, amount differs", "with a problem, amount differs"):
        trip, refund = see(*situation(name), a_word(), NOW)
        assert (refund.state, refund.problem, money(trip)) == (REFUNDED, None, (0, 1_000))


@pytest.mark.parametrize("name", REFUND_SITUATIONS)
def test_what_is_noted_with_the_request_never_changes(name: str) -> None:
    stays = ("refund_id", "trip_id", "out_refund_no", "mchid", "transaction_id", "total_fen", "amount_fen", "reason")
    first, (_, refund) = a_refund(), situation(name)

    assert [getattr(refund, one) for one in stays] == [getattr(first, one) for one in stays]
