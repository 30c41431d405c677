"""What the world is told of a change: each thing once, in order, and with the amounts that are right."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from msgspec import UNSET

from payscore_worker.domain import outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.authorisation import Authorisation
from payscore_worker.domain.fares import note_lowered
from payscore_worker.domain.refund import GivenUp, Pair, RefundPhase, RefundState
from payscore_worker.domain.trip import (
    Declined,
    DeclineReason,
    Opening,
    OrderPhase,
    Payment,
    Problem,
    Trip,
    TripState,
    WrittenOff,
    note_cancelled,
    note_ended,
    note_started,
)
from payscore_worker.events import (
    Announcement,
    AuthorisationClosed,
    AuthorisationOpened,
    AuthorisationParameters,
    CaseAnnouncement,
    ClientJump,
    SettlementCancelled,
    SettlementCompleted,
    SettlementConfirmationRequested,
    SettlementDeclined,
    SettlementLowered,
    SettlementOpened,
    SettlementOverdue,
    SettlementPaid,
    SettlementProblem,
    SettlementRefunded,
    SettlementRefundProblem,
    SettlementStale,
    SettlementWrittenOff,
)
from payscore_worker.settlement.announcements import announcements, authorisation_announcements, refund_announcements
from tests.builders import (
    AUTHORISATIONS,
    CONFIRM_BY,
    CONFIRM_SITUATIONS,
    FARE_SITUATIONS,
    HOUR,
    MINUTE,
    NOW,
    REFUND_SITUATIONS,
    SITUATIONS,
    a_cancellation,
    a_jump,
    a_lowered_fare,
    a_paid_trip,
    a_refused,
    a_start,
    a_trip,
    a_word,
    an_end,
    an_ending,
    an_order,
    asked_to_confirm,
    debits,
    requested,
)

NAMED: Final[dict[str, Any]] = {"trip_id": "t1", "out_order_no": "n1"}


def told(before: Trip, after: Trip) -> list[Announcement]:
    """List what is announced of a trip whose order has another number than its id."""
    before, after = replace(before, out_order_no="n1"), replace(after, out_order_no="n1")
    return list(announcements(before, after, a_jump))


def test_an_order_that_runs_is_announced_with_what_it_may_take() -> None:
    before = outcomes.opening(note_started(a_trip(), a_start()), Opening(risk_amount_fen=12_300, start_time=None))
    after = outcomes.opened(before, an_order(), NOW)

    assert told(before, after) == [
        SettlementOpened(**NAMED, state="OPEN", order_id=an_order().order_id, risk_amount_fen=12_300)
    ]


def test_an_order_that_a_person_found_without_a_create_of_ours_is_announced_with_nothing_it_may_take() -> None:
    before = SITUATIONS["open"]()

    (opened,) = told(replace(before, opened_at=None), replace(before, opening=None))

    assert isinstance(opened, SettlementOpened)
    assert opened.risk_amount_fen == 0


@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_is_announced_of_a_trip_that_did_not_change(situation: str) -> None:
    trip = SITUATIONS[situation]()

    assert told(trip, trip) == []


def test_nothing_is_said_twice_of_a_trip_that_is_paid_when_another_transaction_is_noted() -> None:
    paid = replace(SITUATIONS["paid"](), stale_since=NOW, overdue_since=NOW, overdue_step=1, overdue_told_at=NOW)
    more = outcomes.see(paid, an_order(OrderPhase.DONE, debits=debits("4200001", "4200002")), NOW)

    assert more != paid
    assert told(paid, more) == []


def test_an_accepted_fare_is_announced() -> None:
    before = SITUATIONS["completing"]()

    assert told(before, outcomes.completed(before, NOW)) == [
        SettlementCompleted(**NAMED, state="COMPLETED", total_fen=3_200, completed_at=NOW)
    ]


def test_a_fare_that_a_person_took_for_what_was_owed_is_the_one_that_is_announced() -> None:
    before = replace(SITUATIONS["completing"](), accepted_fen=3_000)

    for trip in (before, replace(before, ended=None)):
        (completed,) = told(trip, outcomes.completed(trip, NOW))
        assert isinstance(completed, SettlementCompleted)
        assert completed.total_fen == 3_000


def test_a_completion_of_a_trip_that_has_not_ended_is_announced_with_no_fare() -> None:
    before = SITUATIONS["open"]()

    (completed,) = told(before, replace(before, state=TripState.COMPLETED, completed_at=NOW))

    assert isinstance(completed, SettlementCompleted)
    assert completed.total_fen == 0


def test_a_payment_is_announced_with_what_is_owed_what_came_and_every_transaction() -> None:
    before = SITUATIONS["completed"]()
    order = an_order(OrderPhase.DONE, paid_at=NOW - HOUR, debits=debits("4200001", "4200002"))

    assert told(before, outcomes.see(before, order, NOW)) == [
        SettlementPaid(
            **NAMED,
            state="PAID",
            total_fen=3_200,
            paid_fen=3_200,
            paid_at=NOW - HOUR,
            transaction_id="4200002",
            transaction_ids=("4200001", "4200002"),
            way="payscore",
        )
    ]


def test_what_is_owed_and_what_was_paid_are_not_taken_for_each_other() -> None:
    before = replace(SITUATIONS["completed"](), accepted_fen=3_000)
    after = replace(before, state=TripState.PAID, payment=Payment(paid_fen=2_900, paid_at=NOW))

    (paid,) = told(before, after)

    assert isinstance(paid, SettlementPaid)
    assert (paid.total_fen, paid.paid_fen, paid.transaction_id, paid.transaction_ids) == (3_000, 2_900, "", ())


def test_a_trip_that_opens_completes_and_is_paid_in_one_go_says_so_in_that_order() -> None:
    before = SITUATIONS["creating, ended"]()
    after = outcomes.see(before, an_order(OrderPhase.DONE), NOW)

    said = told(before, after)

    assert [type(one) for one in said] == [SettlementOpened, SettlementCompleted, SettlementPaid]
    assert {one.state for one in said} == {"PAID"}


@pytest.mark.parametrize("reason", DeclineReason)
def test_a_trip_that_is_declined_says_why_and_how_to_enable_the_service_where_that_is_why(
    reason: DeclineReason,
) -> None:
    before = SITUATIONS["started"]()

    (declined,) = told(before, outcomes.declined(before, reason, "综合评估未通过", now=NOW))

    enable = a_jump(a_trip("t1")) if reason is DeclineReason.SERVICE_NOT_ENABLED else UNSET
    assert declined == SettlementDeclined(
        **NAMED, state="DECLINED", reason=reason.value, message="综合评估未通过", enable=enable
    )


def test_a_decline_of_which_no_page_is_made_tells_of_none() -> None:
    before = note_started(a_trip(), a_start())
    after = outcomes.service_answered(before, enabled=False)

    (declined,) = announcements(before, after, lambda _: None)

    assert isinstance(declined, SettlementDeclined)
    assert declined.enable is UNSET


def test_a_passenger_is_asked_to_confirm_once_with_what_the_page_opens_with_and_until_when() -> None:
    before, after = CONFIRM_SITUATIONS["creating"](), asked_to_confirm()

    assert told(before, after) == [
        SettlementConfirmationRequested(**NAMED, state="OPEN", confirm=a_jump(a_trip("t1")), expires_at=CONFIRM_BY)
    ]
    assert told(after, replace(after, polls=1, asked_at=NOW)) == []


@pytest.mark.parametrize(("row", "types"), [("confirmed", ["settlement.opened"]), ("not confirmed", [])])
def test_once_a_passenger_is_asked_only_what_became_of_it_is_told(row: str, types: list[str]) -> None:
    assert [one.TYPE for one in told(asked_to_confirm(), CONFIRM_SITUATIONS[row]())] == types


def test_an_order_that_was_not_confirmed_declines_its_trip_once_it_is_cancelled() -> None:
    (declined,) = told(CONFIRM_SITUATIONS["not confirmed"](), CONFIRM_SITUATIONS["declined as not confirmed"]())

    assert isinstance(declined, SettlementDeclined)
    assert (declined.reason, declined.enable) == ("not_confirmed", UNSET)


def test_a_decision_to_decline_is_announced_once_the_order_is_cancelled_and_not_before() -> None:
    before = SITUATIONS["open"]()
    decided = outcomes.declined(before, DeclineReason.AMOUNT_OVER_LIMIT, "总金额超过", now=NOW)

    assert told(before, decided) == []
    (declined,) = told(decided, outcomes.order_cancelled(decided, NOW))
    assert isinstance(declined, SettlementDeclined)


def test_a_cancelled_trip_says_why() -> None:
    before = SITUATIONS["started"]()

    assert told(before, note_cancelled(before, a_cancellation())) == [
        SettlementCancelled(**NAMED, state="CANCELLED", reason="乘客取消")
    ]


def test_a_fare_that_was_written_off_says_how_much_by_whom_and_why_and_not_that_the_ride_was_cancelled() -> None:
    before = replace(SITUATIONS["open"](), cancelled=a_cancellation())
    written_off = WrittenOff(total_fen=3_100, by="wang", reason="客诉")

    assert told(before, replace(before, state=TripState.CANCELLED, written_off=written_off)) == [
        SettlementWrittenOff(**NAMED, state="CANCELLED", total_fen=3_100, by="wang", reason="客诉")
    ]
    assert told(before, replace(before, written_off=written_off)) == []


def test_a_trip_without_an_end_is_said_to_be_stale_since_its_order_was_opened() -> None:
    before = replace(SITUATIONS["open"](), opened_at=NOW - 2 * HOUR)

    assert told(before, outcomes.stale(before, NOW)) == [
        SettlementStale(**NAMED, state="OPEN", since=NOW - 2 * HOUR, age_seconds=7_200)
    ]


def test_a_trip_without_a_start_is_said_to_be_stale_since_it_was_noted() -> None:
    before = note_ended(replace(a_trip(), noted_at=NOW - 3 * HOUR), an_end())

    assert told(before, outcomes.stale(before, NOW)) == [
        SettlementStale(**NAMED, state="NOTED", since=NOW - 3 * HOUR, age_seconds=10_800)
    ]


def test_money_that_is_out_is_said_to_be_overdue_since_the_completion_in_whole_seconds() -> None:
    before = replace(SITUATIONS["completed"](), completed_at=NOW - HOUR - timedelta(milliseconds=900))

    since = NOW - HOUR - timedelta(milliseconds=900)
    once = outcomes.overdue(before, 1, NOW)
    assert told(before, once) == [SettlementOverdue(**NAMED, state="COMPLETED", since=since, age_seconds=3_600, step=1)]
    assert told(once, outcomes.overdue(once, 3, NOW + HOUR)) == [
        SettlementOverdue(**NAMED, state="COMPLETED", since=since, age_seconds=7_200, step=3)
    ]
    assert told(once, once) == []


def test_nothing_is_overdue_that_was_not_completed() -> None:
    before = SITUATIONS["open"]()

    assert told(before, outcomes.overdue(before, 1, NOW)) == []


def test_a_problem_is_told_in_full_and_the_same_one_again_is_not() -> None:
    before = SITUATIONS["open"]()
    problem = Problem(code="PARAM_ERROR", message="参数错误", request_id="r1", step="AskOrder", since=NOW)
    stopped = outcomes.with_problem(before, problem)
    cleared = outcomes.without_problem(stopped)

    assert told(before, stopped) == [
        SettlementProblem(
            **NAMED, state="OPEN", code="PARAM_ERROR", message="参数错误", request_id="r1", step="AskOrder"
        )
    ]
    assert told(stopped, cleared) == []
    assert told(cleared, outcomes.with_problem(cleared, problem)) == []
    assert told(cleared, outcomes.with_problem(cleared, replace(problem, code="SIGN_ERROR"))) != []


@pytest.mark.parametrize(
    ("state", "written_off", "kind"),
    [
        (TripState.PAID, True, SettlementPaid),
        (TripState.DECLINED, True, SettlementDeclined),
        (TripState.CANCELLED, True, SettlementWrittenOff),
        (TripState.CANCELLED, False, SettlementCancelled),
    ],
)
def test_an_end_is_announced_as_what_it_is_whatever_else_was_noted_on_the_way(
    state: TripState, kind: type[Announcement], *, written_off: bool
) -> None:
    before = SITUATIONS["completed"]()
    after = replace(
        before,
        state=state,
        payment=Payment(paid_fen=3_200, paid_at=NOW),
        declined=Declined(reason=DeclineReason.ARREARS, message="欠费"),
        cancelled=a_cancellation(),
        written_off=WrittenOff(total_fen=3_100, by="wang", reason="客诉") if written_off else None,
    )

    assert [type(one) for one in told(before, after)] == [kind]


@pytest.mark.parametrize("state", [TripState.PAID, TripState.DECLINED, TripState.CANCELLED])
def test_of_an_end_of_which_the_row_says_no_more_nothing_is_announced(state: TripState) -> None:
    before = SITUATIONS["open"]()

    assert told(before, replace(before, state=state)) == []


# --- Refunds ---

OF_THE_REFUND: Final[dict[str, Any]] = {"refund_id": "r1", "out_refund_no": "n-r1", "amount_fen": 1_000}


def told_of(before: Pair, after: Pair) -> list[Announcement]:
    """List what is announced of a refund whose trip and itself have other numbers than their ids."""

    def numbered(pair: Pair) -> Pair:
        return replace(pair[0], out_order_no="n1"), replace(pair[1], out_refund_no="n-r1")

    return list(refund_announcements(numbered(before), numbered(after)))


@pytest.mark.parametrize("situation", REFUND_SITUATIONS)
def test_nothing_is_announced_of_a_refund_that_did_not_change(situation: str) -> None:
    pair = REFUND_SITUATIONS[situation]()

    assert told_of(pair, pair) == []


@pytest.mark.parametrize(
    "word", [RefundPhase.PROCESSING, RefundPhase.SUCCESS, RefundPhase.CLOSED, RefundPhase.ABNORMAL]
)
@pytest.mark.parametrize("situation", ["refunded", "failed"])
def test_nothing_more_is_announced_of_a_refund_that_is_over(situation: str, word: RefundPhase) -> None:
    trip, refund = REFUND_SITUATIONS[situation]()

    assert (
        told_of((trip, refund), (trip, replace(refund, polls=refund.polls + 1, wechatpay_refund_id=word.value))) == []
    )


def test_what_is_only_under_way_is_not_announced() -> None:
    pair = requested()
    trip, refund = pair
    accepted = refunds.see(trip, refund, a_word(RefundPhase.PROCESSING), NOW)

    assert told_of(pair, (trip, refunds.prepared(refund))) == []
    assert told_of(pair, (trip, refunds.refused(refund, a_refused(), NOW))) == []
    assert told_of(pair, accepted) == []


def test_money_that_went_back_is_announced_with_how_much_of_the_trip_went_back_so_far() -> None:
    trip, _ = refunds.see(*requested(refund_id="r0", amount_fen=700), a_word(amount_fen=700), NOW)
    before = requested(trip)

    assert told_of(before, refunds.see(*before, a_word(), NOW)) == [
        SettlementRefunded(**NAMED, **OF_THE_REFUND, state="PAID", refunded_fen=1_700, refunded_at=NOW - MINUTE)
    ]


def test_what_went_back_of_every_debit_is_added_up() -> None:
    trip, _ = refunds.see(
        *requested(a_paid_trip(1_500, 1_700), refund_id="r0", amount_fen=1_600),
        a_word(amount_fen=1_600, total_fen=1_700),
        NOW,
    )
    before = requested(trip)

    (refunded,) = told_of(before, refunds.see(*before, a_word(total_fen=1_500), NOW))

    assert isinstance(refunded, SettlementRefunded)
    assert refunded.refunded_fen == 2_600


def test_a_trip_of_which_the_payment_is_not_known_is_told_to_have_sent_back_nothing() -> None:
    before, after = REFUND_SITUATIONS["accepted"](), REFUND_SITUATIONS["refunded"]()

    (refunded,) = told_of(before, (replace(after[0], payment=None), after[1]))

    assert isinstance(refunded, SettlementRefunded)
    assert refunded.refunded_fen == 0


def test_of_money_that_went_back_without_a_time_nothing_is_announced() -> None:
    before, (trip, refund) = REFUND_SITUATIONS["accepted"](), REFUND_SITUATIONS["refunded"]()

    assert told_of(before, (trip, replace(refund, refunded_at=None))) == []


def test_a_refund_that_was_closed_says_that_nothing_went_back() -> None:
    before = REFUND_SITUATIONS["accepted"]()

    assert told_of(before, refunds.see(*before, a_word(RefundPhase.CLOSED), NOW)) == [
        SettlementRefundProblem(
            **NAMED,
            **OF_THE_REFUND,
            state="PAID",
            code="refund_closed",
            message="WeChat Pay has closed the refund, and nothing went back",
        )
    ]


def test_a_problem_of_a_refund_is_told_in_full_and_the_same_one_again_is_not() -> None:
    trip, before = REFUND_SITUATIONS["sent"]()
    problem = Problem(code="USER_ACCOUNT_ABNORMAL", message="用户已注销", request_id="r1", step="SendRefund", since=NOW)
    stopped = refunds.with_problem(before, problem)
    cleared = refunds.without_problem(stopped, NOW)

    assert told_of((trip, before), (trip, stopped)) == [
        SettlementRefundProblem(
            **NAMED, **OF_THE_REFUND, state="PAID", code="USER_ACCOUNT_ABNORMAL", message="用户已注销"
        )
    ]
    assert told_of((trip, stopped), (trip, cleared)) == []
    assert told_of((trip, cleared), (trip, refunds.with_problem(cleared, problem))) == []
    other = replace(problem, code="PARAM_ERROR")
    assert told_of((trip, cleared), (trip, refunds.with_problem(cleared, other))) != []


def test_a_problem_that_a_word_has_ended_is_not_told_with_the_end() -> None:
    before = REFUND_SITUATIONS["with a problem, abnormal"]()

    for phase, kind in ((RefundPhase.SUCCESS, SettlementRefunded), (RefundPhase.CLOSED, SettlementRefundProblem)):
        assert [type(one) for one in told_of(before, refunds.see(*before, a_word(phase), NOW))] == [kind]


def test_a_refund_that_a_person_gave_up_says_why_once_and_not_that_it_was_closed() -> None:
    trip, before = REFUND_SITUATIONS["with a problem, refused"]()
    by_li = GivenUp(by="li", reason="乘客已收现金")
    over = replace(before, state=RefundState.FAILED, problem=None, given_up=by_li)

    assert told_of((trip, before), (trip, over)) == [
        SettlementRefundProblem(**NAMED, **OF_THE_REFUND, state="PAID", code="refund_given_up", message="乘客已收现金")
    ]
    assert told_of((trip, over), (trip, replace(over, asked_at=NOW))) == []


# --- Fares after the end ---


@pytest.mark.parametrize("situation", FARE_SITUATIONS)
def test_nothing_is_announced_of_a_fare_that_did_not_change(situation: str) -> None:
    trip = FARE_SITUATIONS[situation]()

    assert told(trip, trip) == []


@pytest.mark.parametrize("before", [SITUATIONS["open, ended"](), a_paid_trip()])
def test_a_fare_that_is_charged_lower_says_how_much_it_is_and_was(before: Trip) -> None:
    after = note_lowered(before, a_lowered_fare(2_000))

    assert told(before, after) == [SettlementLowered(**NAMED, state=before.state.value, total_fen=2_000, was_fen=3_200)]


def test_a_fare_that_wechat_still_collects_is_lower_once_wechat_has_taken_it() -> None:
    before = FARE_SITUATIONS["lowered, sent"]()

    assert told(SITUATIONS["completed"](), FARE_SITUATIONS["lowered"]()) == []
    assert told(before, FARE_SITUATIONS["lowered, taken"]()) == [
        SettlementLowered(**NAMED, state="COMPLETED", total_fen=2_000, was_fen=3_200)
    ]


def test_a_fare_that_is_paid_while_it_is_lowered_is_told_in_that_order() -> None:
    before, after = FARE_SITUATIONS["lowered, sent"](), FARE_SITUATIONS["paid above the fare"]()

    assert [type(one) for one in told(before, after)] == [SettlementPaid, SettlementLowered]


def test_no_fare_is_said_to_be_lowered_that_was_not_or_that_nobody_is_charged() -> None:
    ended, lowered = SITUATIONS["open, ended"](), FARE_SITUATIONS["open, lowered"]()
    less = replace(ended, ended=an_end(total_fen=3_000))

    assert told(ended, less) == []
    assert told(replace(lowered, ended=None), lowered) == []
    assert told(replace(lowered, lowered=()), replace(lowered, accepted_fen=1_000)) == []
    assert told(replace(lowered, accepted_fen=9_000), lowered) == []
    for state in (TripState.DECLINED, TripState.CANCELLED):
        over = replace(ended, state=state)
        assert told(over, replace(over, lowered=lowered.lowered)) == []


def test_a_payment_elsewhere_says_which_way_it_came() -> None:
    before, after = FARE_SITUATIONS["synced"](), FARE_SITUATIONS["paid elsewhere"]()

    (paid,) = told(before, after)

    assert isinstance(paid, SettlementPaid)
    assert (paid.way, paid.paid_fen, paid.transaction_ids) == ("cash", 3_200, ())


# --- Authorisations ---

OF_THE_PASSENGER: Final[dict[str, Any]] = {"openid": "oPassenger", "authorization_code": "a1"}
PAGE: Final = ClientJump(business_type="wxpayScoreEnable", extra_data={"token": "token"}, query_string="token=token")


def an_authorisation_in(situation: str, **changes: Any) -> Authorisation:
    return replace(AUTHORISATIONS[situation](), authorization_code="a1", **changes)


def told_of_authorisation(before: Authorisation, after: Authorisation) -> list[CaseAnnouncement]:
    def enabling(authorisation: Authorisation) -> ClientJump | None:
        return PAGE if authorisation is after and authorisation.token else None

    return list(authorisation_announcements(before, after, enabling))


@pytest.mark.parametrize("situation", AUTHORISATIONS)
def test_nothing_is_announced_of_an_authorisation_that_did_not_change(situation: str) -> None:
    authorisation = an_authorisation_in(situation)

    assert told_of_authorisation(authorisation, authorisation) == []


def test_what_a_passenger_signs_with_is_told_whenever_it_is_given() -> None:
    given = an_authorisation_in("given", token="token")
    anew = replace(given, given_at=NOW + HOUR)
    parameters = AuthorisationParameters(**OF_THE_PASSENGER, request_id="q1", enable=PAGE)

    assert told_of_authorisation(an_authorisation_in("requested, not signed"), given) == [parameters]
    assert told_of_authorisation(given, anew) == [parameters]
    assert told_of_authorisation(given, replace(given, looks=1)) == []
    assert told_of_authorisation(given, replace(given, given_at=None)) == []


def test_of_parameters_of_which_no_page_is_made_nothing_is_told() -> None:
    assert told_of_authorisation(an_authorisation_in("requested"), an_authorisation_in("given", token="")) == []


def test_an_authorisation_that_is_opened_says_since_when_and_once() -> None:
    requested_, opened = an_authorisation_in("given"), an_authorisation_in("open", opened_at=NOW - HOUR)

    assert told_of_authorisation(requested_, opened) == [AuthorisationOpened(**OF_THE_PASSENGER, at=NOW - HOUR)]
    assert told_of_authorisation(opened, replace(opened, changed_at=NOW + HOUR)) == []
    assert told_of_authorisation(requested_, replace(opened, opened_at=None)) == []


def test_an_authorisation_that_is_closed_says_since_when_and_once() -> None:
    opened, closed = an_authorisation_in("open"), an_authorisation_in("closed", closed_at=NOW + HOUR)

    assert told_of_authorisation(opened, closed) == [AuthorisationClosed(**OF_THE_PASSENGER, at=NOW + HOUR)]
    assert told_of_authorisation(closed, replace(closed, changed_at=NOW + 2 * HOUR)) == []
    assert told_of_authorisation(opened, replace(closed, closed_at=None)) == []


def test_an_end_that_was_asked_for_is_told_though_it_was_over_before() -> None:
    closed = an_authorisation_in("closed")

    assert told_of_authorisation(closed, replace(closed, ended=an_ending())) == [
        AuthorisationClosed(**OF_THE_PASSENGER, at=NOW)
    ]


def test_an_end_of_before_is_not_told_of_a_passenger_who_has_come_back() -> None:
    closed = an_authorisation_in("closed", ended=an_ending())
    back = an_authorisation_in("open", ended=an_ending(word="m2"), closed_at=NOW)

    assert [type(one) for one in told_of_authorisation(closed, back)] == [AuthorisationOpened]
