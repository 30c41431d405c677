"""The steps of a refund, with WeChat Pay's answers given: what is sent, what is kept of it, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from payscore_worker.domain import refund as refunds
from payscore_worker.domain.refund import LONGEST_PROCESSING, PAUSES, Pair, Refund, RefundPhase, RefundState
from payscore_worker.domain.trip import (
    Problem,
    Trip,
)
from payscore_worker.errors import (
    FailureClass,
    MalformedMessage,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    Rejected,
    Retryable,
    TripArchived,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.migrations import migrate
from payscore_worker.settlement import journal
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.storage import CallOutcome, CallRecord, Storage
from payscore_worker.storage.archived import ArchivedTrip
from payscore_worker.storage.cases import Entry
from payscore_worker.storage.database import open_storage
from payscore_worker.wechatpay import Answer, Call, CallKind
from payscore_worker.wechatpay.transactions import NewRefund, RefundStatus, RefundTold
from tests.builders import HOUR, MCHID, MINUTE, NOW, PAYAFTER, a_paid_trip, a_refused, a_word, requested

Scripted = RefundTold | Exception | Callable[[], Awaitable[RefundTold]]
"""What WeChat Pay answers; a callable does first what happens while the call is on its way."""


def a_refund_told(status: RefundStatus = RefundStatus.PROCESSING, **changes: Any) -> RefundTold:
    told = RefundTold(
        mchid="",
        out_refund_no="r1",
        refund_id="503",
        transaction_id="4200001",
        status=status,
        amount_fen=1_000,
        total_fen=3_200,
        payer_refund_fen=1_000,
        succeeded_at=NOW if status is RefundStatus.SUCCESS else None,
    )
    return replace(told, **changes)


def a_refusal(refusal: Refusal = Refusal.NOT_ENOUGH, **changes: Any) -> WechatPayRejected:
    told: dict[str, Any] = {"refusal": refusal, "status": 403, "code": "CODE", "request_id": "q1"}
    return WechatPayRejected("余额不足", **told | changes)


@dataclass
class Wechat:
    """The port of refunds, as a script."""

    mchid: str = MCHID
    script: list[Scripted] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    """The kind of each call, and its body; of a question, the number that it names."""
    places: list[str] = field(default_factory=list)
    """Method and path of each send."""
    unreadable: str = ""
    """Why an answer cannot be read."""
    unspeakable: str = ""
    """Why a call cannot be made."""

    def of(self, mchid: str) -> "Wechat":
        if mchid != self.mchid:
            raise MerchantRefused(
                f"the refund is of a payment to mchid {mchid}; its keys are not set",
                attempts=0,
                failure=FailureClass.MISCONFIGURED,
            )
        return self

    def request(self, new: NewRefund) -> Call:
        if self.unspeakable:
            raise MalformedMessage(self.unspeakable)
        return Call(CallKind.REFUND, "POST", "/refunds", f"{new.out_refund_no}: {new.amount_fen}".encode())

    async def send(self, call: Call) -> Answer:
        self.sent.append((call.kind.value, call.body))
        self.places.append(f"{call.method} {call.path}")
        return await self._answer()

    async def query(self, out_refund_no: str) -> tuple[RefundTold, Answer]:
        self.sent.append(("refund_query", out_refund_no.encode()))
        answer = await self._answer()
        return self.read(answer.data), answer

    def read(self, data: Mapping[str, Any]) -> RefundTold:
        if self.unreadable:
            raise MalformedMessage(self.unreadable)
        told: RefundTold = data["told"]
        return told

    async def _answer(self) -> Answer:
        one = self.script.pop(0)
        if isinstance(one, Exception):
            raise one
        told = one if isinstance(one, RefundTold) else await one()
        return Answer(status=200, request_id="q1", attempts=2, data={"told": told})


@dataclass
class Desk:
    """Our refunds on a database, and WeChat Pay by a script."""

    storage: Storage
    wechat: Wechat = field(default_factory=Wechat)
    now: datetime = NOW
    refunds: Refunds = field(init=False)

    def __post_init__(self) -> None:
        self.refunds = Refunds(
            storage=self.storage, refunds=self.wechat, rules=PAYAFTER, prefix="", clock=lambda: self.now
        )

    async def has(self, pair: Pair, *calls: CallRecord) -> None:
        entries = [Entry(case=case, due_at=NOW) for case in pair]
        assert await self.storage.save_together(entries, now=NOW, calls=calls)

    async def advances(self, *script: Scripted, refund_id: str = "r1") -> None:
        """Have the refund advanced, to which WeChat Pay answers so."""
        self.wechat.script.extend(script)
        await self.refunds.advance(refund_id)
        assert not self.wechat.script

    async def refund(self, refund_id: str = "r1") -> Refund:
        refund = await self.storage.load_refund(refund_id)
        assert refund is not None
        return refund

    async def trip(self) -> Trip:
        trip = await self.storage.load("t1")
        assert trip is not None
        return trip

    async def moved(self, change: Callable[[Refund], Refund]) -> None:
        """Have another worker move the refund."""
        assert await self.storage.save(change(await self.refund()), due_at=None, now=self.now)

    async def call(self, kind: CallKind = CallKind.REFUND, generation: int = 3) -> CallRecord:
        call = await self.storage.last_call("t1", kind, generation)
        assert call is not None
        return call


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Make the tables once; each test has a copy."""
    file = tmp_path_factory.mktemp("refunds") / "empty.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{file}"))
    return file.read_bytes()


@pytest.fixture
async def desk(empty_database: bytes, tmp_path: Path) -> AsyncIterator[Desk]:
    file = tmp_path / "test.db"
    file.write_bytes(empty_database)
    storage = await open_storage(f"sqlite+aiosqlite:///{file}")
    yield Desk(storage)
    await storage.aclose()


def body_of(refund: Refund, **changes: Any) -> CallRecord:
    call = Call(CallKind.REFUND, "POST", "/refunds", f"{refund.out_refund_no}: {refund.amount_fen}".encode())
    return replace(journal.prepared(call, generation=refund.generation, at=NOW), **changes)


async def was_sent(desk: Desk, change: Callable[[Refund], Refund] = lambda refund: refund) -> None:
    """Have a refund whose body is stored, and may be on its way."""
    trip, refund = requested()
    await desk.has((trip, change(refunds.prepared(refund))), body_of(refund))


async def is_asked_about(desk: Desk, **changes: Any) -> None:
    """Have a refund whose send was refused, and about which it is asked now."""
    await was_sent(desk, lambda refund: replace(refunds.refused(refund, a_refused(), NOW - MINUTE), **changes))


async def is_accepted(desk: Desk, **changes: Any) -> None:
    """Have a refund that WeChat Pay has accepted, and about which it is asked now."""
    trip, refund = requested()
    _, accepted = refunds.see(trip, refunds.prepared(refund), a_word(RefundPhase.PROCESSING), NOW - MINUTE)
    await desk.has((trip, replace(accepted, **changes)), body_of(refund))


# --- Sending ---


async def test_the_body_is_stored_with_the_mark_and_then_sent_and_the_answer_is_kept(desk: Desk) -> None:
    await desk.has(requested())

    async def looks() -> RefundTold:
        assert (await desk.refund()).is_prepared
        assert await desk.call() == body_of(await desk.refund())
        desk.now += MINUTE / 2
        return a_refund_told()

    await desk.advances(looks)

    refund = await desk.refund()
    assert (desk.wechat.sent, desk.wechat.places) == ([("refund", b"r1: 1000")], ["POST /refunds"])
    assert (refund.state, refund.accepted_at) == (RefundState.ACCEPTED, NOW + MINUTE / 2)
    call = await desk.call()
    assert (call.outcome, call.attempts, call.status, call.request_id) == (CallOutcome.ACCEPTED, 2, 200, "q1")


async def test_each_refund_of_a_trip_is_sent_again_with_its_own_bytes(desk: Desk) -> None:
    await was_sent(desk)
    second = requested(await desk.trip(), refund_id="r2", amount_fen=700)
    await desk.has((second[0], refunds.prepared(second[1])), body_of(second[1]))

    await desk.advances(a_refund_told())

    assert desk.wechat.sent == [("refund", b"r1: 1000")]
    assert ((await desk.call()).begun, (await desk.call(generation=4)).begun) == (2, 1)


async def test_a_row_that_says_sent_without_a_body_in_the_journal_is_said_to_contradict_it(desk: Desk) -> None:
    trip, refund = requested()
    await desk.has((trip, refunds.prepared(refund)))

    with pytest.raises(RuntimeError, match=r"^a refund's row contradicts its journal$"):
        await desk.advances()

    assert desk.wechat.sent == []


async def test_a_refused_send_is_kept_and_asked_about_later(desk: Desk) -> None:
    await was_sent(desk)

    await desk.advances(a_refusal())

    refund, call = await desk.refund(), await desk.call()
    assert refund.refused == a_refused(code="CODE", message="余额不足", request_id="q1")
    assert (refund.refusals, refund.ask_after) == (1, NOW + MINUTE)
    assert (call.outcome, call.code, call.status, call.request_id, call.at) == (
        CallOutcome.REFUSED,
        "CODE",
        403,
        "q1",
        NOW,
    )


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OutcomeUnknown("timed out"), CallOutcome.UNKNOWN),
        (WechatPayUnavailable("throttled", code="FREQUENCY_LIMITED"), CallOutcome.PREPARED),
        (MerchantRefused("no", code="SIGN_ERROR"), CallOutcome.REFUSED),
    ],
)
async def test_a_send_of_which_nothing_was_heard_is_kept_and_the_refund_stays_where_it_was(
    desk: Desk, error: Exception, outcome: CallOutcome
) -> None:
    await was_sent(desk)
    before = await desk.refund()

    with pytest.raises(type(error)):
        await desk.advances(error)

    assert await desk.refund() == before
    call = await desk.call()
    assert (call.outcome, call.at, call.attempts) == (outcome, NOW, 1)


async def test_a_call_that_cannot_be_made_of_what_was_asked_is_for_a_person(desk: Desk) -> None:
    await desk.has(requested())
    desk.wechat.unspeakable = "transaction_id: 1 to 32 printable characters are expected"

    await desk.advances()

    problem = (await desk.refund()).problem
    assert problem == Problem(
        code="malformed_call", message=desk.wechat.unspeakable, request_id="", step="SendRefund", since=NOW
    )
    assert desk.wechat.sent == []
    assert [row.type for row in await desk.storage.claim_outbox(now=NOW, lease=MINUTE, limit=9)] == [
        "settlement.refund_problem"
    ]


async def test_what_another_worker_has_sent_meanwhile_is_not_prepared_a_second_time(desk: Desk) -> None:
    await desk.has(requested())
    stale = await desk.refund()
    await desk.moved(lambda refund: replace(refund, ask_after=NOW + HOUR))

    await desk.refunds.take_up(stale)

    assert desk.wechat.sent == []
    assert await desk.storage.last_call("t1", CallKind.REFUND) is None


# --- Asking ---


async def test_a_question_is_kept_under_its_refund_with_what_was_answered(desk: Desk) -> None:
    await is_accepted(desk)

    await desk.advances(a_refund_told())

    refund, call = await desk.refund(), await desk.call(CallKind.REFUND_QUERY)
    assert desk.wechat.sent == [("refund_query", b"r1")]
    assert (refund.state, refund.polls, refund.asked_at) == (RefundState.ACCEPTED, 1, NOW)
    assert (call.outcome, call.attempts, call.at) == (CallOutcome.ACCEPTED, 2, NOW)


async def test_a_refused_question_is_kept_and_asked_again_later(desk: Desk) -> None:
    await is_asked_about(desk)

    await desk.advances(a_refusal(Refusal.UNCLEAR))

    refund, call = await desk.refund(), await desk.call(CallKind.REFUND_QUERY)
    assert (refund.unanswered, refund.ask_after) == (1, NOW + MINUTE)
    assert refund.refused is not None
    assert (call.outcome, call.code, call.at, call.request_id) == (CallOutcome.REFUSED, "CODE", NOW, "q1")


async def test_a_question_that_is_refused_for_hours_tells_how(desk: Desk) -> None:
    await is_asked_about(desk, unanswered=len(PAUSES))

    await desk.advances(a_refusal(Refusal.UNCLEAR))

    assert (await desk.refund()).problem == Problem(
        code="CODE", message="余额不足", request_id="q1", step="AskRefund", since=NOW
    )


async def test_a_refund_that_wechat_does_not_know_is_sent_again_at_once(desk: Desk) -> None:
    await is_asked_about(desk)

    await desk.advances(a_refusal(Refusal.RESOURCE_NOT_FOUND), a_refund_told())

    assert [kind for kind, _ in desk.wechat.sent] == ["refund_query", "refund"]
    assert (await desk.refund()).state is RefundState.ACCEPTED


async def test_an_accepted_refund_that_wechat_does_not_know_is_asked_about_later(desk: Desk) -> None:
    await is_accepted(desk)

    await desk.advances(a_refusal(Refusal.RESOURCE_NOT_FOUND))

    refund = await desk.refund()
    assert (refund.state, refund.unanswered, refund.ask_after) == (RefundState.ACCEPTED, 1, NOW + MINUTE)


@pytest.mark.parametrize("attempts", [0, 3])
async def test_a_question_of_which_nothing_was_heard_is_kept_if_it_was_asked_at_all(desk: Desk, attempts: int) -> None:
    await is_accepted(desk)
    before = await desk.refund()

    with pytest.raises(WechatPayUnavailable):
        await desk.advances(WechatPayUnavailable("out", attempts=attempts))

    assert await desk.refund() == before
    call = await desk.storage.last_call("t1", CallKind.REFUND_QUERY, 3)
    assert (call is not None) is bool(attempts)
    if call is not None:
        assert (call.attempts, call.at) == (3, NOW)


async def test_a_refund_of_a_merchant_whose_keys_are_not_set_waits(desk: Desk) -> None:
    await is_accepted(desk)
    desk.wechat.mchid = "1999999999"

    said = rf"^the refund is of a payment to mchid {MCHID}; its keys are not set$"
    with pytest.raises(MerchantRefused, match=said) as refused:
        await desk.advances()

    assert (refused.value.attempts, refused.value.failure.value) == (0, "misconfigured")
    assert desk.wechat.sent == []


async def test_a_refund_that_is_still_under_way_after_fifteen_days_is_given_up_on_the_answer(desk: Desk) -> None:
    await is_accepted(desk)
    desk.now = NOW + LONGEST_PROCESSING

    await desk.advances(a_refund_told())

    problem = (await desk.refund()).problem
    assert problem is not None
    assert (problem.code, problem.since) == ("refund_slow", NOW + LONGEST_PROCESSING)


# --- Signed answers that say nothing of our refund ---

ODD: Final[dict[str, tuple[RefundTold, str, str]]] = {
    "another number": (
        a_refund_told(out_refund_no="r9"),
        "not_ours",
        "WeChat Pay answered with another out_refund_no than ours",
    ),
    "another payment": (
        a_refund_told(transaction_id="4200009"),
        "not_ours",
        "WeChat Pay answered with another transaction_id than ours",
    ),
    "another merchant": (
        a_refund_told(mchid="1999999999"),
        "not_ours",
        "WeChat Pay answered with another mchid than ours",
    ),
    "no phase": (
        a_refund_told(RefundStatus.UNKNOWN),
        "unclear_answer",
        "WeChat Pay answered and does not say where the refund stands",
    ),
    "no amount of what went back": (
        a_refund_told(RefundStatus.SUCCESS, amount_fen=None),
        "unclear_answer",
        "WeChat Pay answered and does not say where the refund stands",
    ),
}


@pytest.mark.parametrize("name", ODD)
async def test_a_signed_answer_to_a_send_that_says_nothing_of_our_refund_is_no_word(desk: Desk, name: str) -> None:
    told, code, message = ODD[name]
    await was_sent(desk, lambda refund: replace(refund, unanswered=len(PAUSES)))

    await desk.advances(told)

    refund, call = await desk.refund(), await desk.call()
    assert refund.state is RefundState.REQUESTED
    assert refund.problem == Problem(code=code, message=message, request_id="", step="SendRefund", since=NOW)
    assert (call.outcome, call.uncertain, call.at) == (CallOutcome.UNKNOWN, True, NOW)


@pytest.mark.parametrize("name", ODD)
async def test_a_signed_answer_to_a_question_that_says_nothing_of_our_refund_is_no_word(desk: Desk, name: str) -> None:
    told, code, message = ODD[name]
    await is_accepted(desk, unanswered=len(PAUSES))

    await desk.advances(told)

    refund, call = await desk.refund(), await desk.call(CallKind.REFUND_QUERY)
    assert refund.problem == Problem(code=code, message=message, request_id="", step="AskRefund", since=NOW)
    assert call.outcome is CallOutcome.UNKNOWN


async def test_the_first_such_answer_has_it_asked_again(desk: Desk) -> None:
    await is_accepted(desk)

    await desk.advances(a_refund_told(out_refund_no="r9"))

    refund = await desk.refund()
    assert (refund.problem, refund.unanswered, refund.ask_after) == (None, 1, NOW + MINUTE)


@pytest.mark.parametrize("step", ["SendRefund", "AskRefund"])
async def test_a_signed_answer_that_cannot_be_read_is_no_word(desk: Desk, step: str) -> None:
    if step == "SendRefund":
        await was_sent(desk, lambda refund: replace(refund, unanswered=len(PAUSES)))
    else:
        await is_accepted(desk, unanswered=len(PAUSES))
    desk.wechat.unreadable = "amount: expected an object"

    await desk.advances(a_refund_told())

    refund = await desk.refund()
    assert refund.problem == Problem(
        code="malformed_answer", message="amount: expected an object", request_id="", step=step, since=NOW
    )
    if step == "SendRefund":
        assert (await desk.call()).outcome is CallOutcome.UNKNOWN


# --- Another worker was faster ---


async def test_a_refusal_that_is_heard_late_takes_no_acceptance_back(desk: Desk) -> None:
    await was_sent(desk)

    async def accepted_elsewhere() -> RefundTold:
        trip = await desk.trip()
        await desk.moved(lambda refund: refunds.see(trip, refund, a_word(RefundPhase.PROCESSING), NOW)[1])
        raise a_refusal()

    await desk.advances(accepted_elsewhere)

    refund = await desk.refund()
    assert (refund.state, refund.refused, refund.ask_after) == (RefundState.ACCEPTED, None, None)
    assert (await desk.call()).code == "CODE"


async def test_a_refusal_that_is_heard_late_disturbs_nobody_who_looks_at_a_problem(desk: Desk) -> None:
    await was_sent(desk)
    problem = Problem(code="malformed_call", message="", request_id="", step="SendRefund", since=NOW)

    async def stopped_elsewhere() -> RefundTold:
        await desk.moved(lambda refund: refunds.with_problem(refund, problem))
        raise a_refusal()

    await desk.advances(stopped_elsewhere)

    refund = await desk.refund()
    assert (refund.problem, refund.refused, refund.refusals) == (problem, None, 0)


async def test_a_word_is_taken_wherever_another_worker_has_taken_the_refund(desk: Desk) -> None:
    await was_sent(desk)

    async def refused_elsewhere() -> RefundTold:
        await desk.moved(lambda refund: refunds.refused(refund, a_refused(), NOW))
        return a_refund_told(RefundStatus.SUCCESS)

    await desk.advances(refused_elsewhere)

    refund, trip = await desk.refund(), await desk.trip()
    assert (refund.state, refund.refused) == (RefundState.REFUNDED, None)
    assert trip.payment is not None
    assert (trip.payment.reserved_fen, trip.payment.refunded_fen) == (0, 1_000)


async def test_a_question_that_moved_nothing_is_not_counted_on_a_refund_that_a_person_has_in_hand(desk: Desk) -> None:
    await is_accepted(desk)

    async def stopped_elsewhere() -> RefundTold:
        await desk.moved(lambda refund: refunds.waited_too_long(refund, NOW))
        return a_refund_told()

    await desk.advances(stopped_elsewhere)

    refund = await desk.refund()
    assert refund.problem is not None
    assert refund.polls == 0


# --- A person has looked ---


async def is_stopped(desk: Desk) -> None:
    await is_accepted(desk)
    await desk.moved(lambda refund: refunds.waited_too_long(refund, NOW))


async def test_a_refund_is_taken_up_at_once_when_a_person_has_looked(desk: Desk) -> None:
    await is_stopped(desk)
    desk.now = NOW + HOUR

    await desk.refunds.clear_problem("r1")

    cleared = await desk.refund()
    assert (cleared.state, cleared.problem, cleared.patient_since) == (RefundState.ACCEPTED, None, NOW + HOUR)
    assert desk.wechat.sent == []
    await desk.advances(a_refund_told(RefundStatus.SUCCESS))
    assert (await desk.refund()).state is RefundState.REFUNDED


async def test_only_a_problem_can_be_cleared(desk: Desk) -> None:
    with pytest.raises(Rejected, match=r"^refund 'r1' is not known$"):
        await desk.refunds.clear_problem("r1")

    await is_accepted(desk)
    with pytest.raises(Rejected, match=r"^refund 'r1' has no problem$"):
        await desk.refunds.clear_problem("r1")


# --- A trip that is not there ---


async def test_a_refund_of_a_trip_that_nobody_knows_says_so(desk: Desk) -> None:
    _, refund = requested()
    assert await desk.storage.save(refund, due_at=None, now=NOW)

    with pytest.raises(Rejected, match=r"^trip_id: trip 't1' is not known$"):
        await desk.advances()


async def test_a_refund_of_an_archived_trip_says_where_it_is_and_what_to_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, refund = requested()
    assert await desk.storage.save(refund, due_at=None, now=NOW)
    asked: list[str] = []

    async def archived(trip_id: str) -> ArchivedTrip:
        asked.append(trip_id)
        return ArchivedTrip.of(a_paid_trip(), archive="2026-04.jsonl", archived_at=NOW)

    monkeypatch.setattr(desk.storage, "archived", archived)
    said = (
        r"^trip_id: the trip ended as PAID, and is archived in 2026-04\.jsonl; "
        r"see there whether it was refunded already, else refund it in the merchant platform$"
    )
    with pytest.raises(TripArchived, match=said):
        await desk.advances()

    assert asked == ["t1"]


async def test_advancing_what_is_not_there_is_nothing_to_do(desk: Desk) -> None:
    await desk.advances(refund_id="nobody")


async def test_what_is_out_of_reach_is_tried_again_by_whoever_comes_next(desk: Desk) -> None:
    await was_sent(desk)

    with pytest.raises(Retryable):
        await desk.advances(OutcomeUnknown("timed out"))
    await desk.advances(a_refund_told())

    assert [body for _, body in desk.wechat.sent] == [b"r1: 1000"] * 2
    assert (await desk.call()).begun == 3
