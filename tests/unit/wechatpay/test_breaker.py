"""While WeChat Pay is out nobody calls but the probe; a 429 slows everybody down, and success speeds up again."""

import asyncio
import inspect
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from payscore_worker import metrics
from payscore_worker.domain.trip import OrderTerms
from payscore_worker.errors import (
    AccountOut,
    FailureClass,
    HeldBack,
    MalformedMessage,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
    WechatPayUnavailable,
)
from payscore_worker.wechatpay.breaker import OPENS_AFTER, REMEDIES, Breaker, Breakers, Probe
from payscore_worker.wechatpay.pace import FIRST_GAP_SECONDS, LONGEST_GAP_SECONDS, MAX_WAITING, Pace
from payscore_worker.wechatpay.payscore.guarded import GuardedPayScore, GuardedPayScores

MISCONFIGURED = OPENS_AFTER[FailureClass.MISCONFIGURED]


def a_failure(kind: FailureClass) -> WechatPayError:
    """Fail as the client does: only what throttles, or refuses us, is known not to have been processed."""
    known: dict[FailureClass, type[WechatPayError]] = {
        FailureClass.THROTTLED: WechatPayUnavailable,
        FailureClass.MISCONFIGURED: MerchantRefused,
    }
    return known.get(kind, OutcomeUnknown)("out", code="SIGN_ERROR", attempts=3, failure=kind)


@pytest.mark.parametrize("kind", OPENS_AFTER)
async def test_it_opens_after_as_many_like_failures_in_a_row_as_the_class_allows(kind: FailureClass) -> None:
    breaker = Breaker()
    for _ in range(OPENS_AFTER[kind] - 1):
        breaker.failed(a_failure(kind))
    breaker.admit()

    breaker.failed(a_failure(kind))

    assert breaker.is_open
    assert breaker.reason is kind
    with pytest.raises(HeldBack, match=rf"^no calls to WeChat Pay now \({kind}\); this one was not made$"):
        breaker.admit()


async def test_one_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.failed(a_failure(FailureClass.TROUBLE))
        breaker.succeeded()

    assert not breaker.is_open


async def test_failures_of_different_classes_are_counted_apart() -> None:
    breaker = Breaker()
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE] - 1):
        breaker.failed(a_failure(FailureClass.TROUBLE))
        breaker.failed(a_failure(FailureClass.UNREACHABLE))

    assert not breaker.is_open


class Sleeps:
    """Stands in for the pauses, and remembers them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def out(breaker: Breaker, kind: FailureClass = FailureClass.UNREACHABLE) -> Breaker:
    for _ in range(OPENS_AFTER[kind]):
        breaker.failed(a_failure(kind))
    return breaker


async def run_until_closed(breaker: Breaker, probe: Probe) -> None:
    """Run its probes until one of them closes it, or breaks the run."""
    running, closed = asyncio.create_task(breaker.run(probe)), asyncio.create_task(breaker.closed())
    async with asyncio.timeout(5):
        await asyncio.wait([running, closed], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    running.cancel()


async def probed(breaker: Breaker, answers: Iterable[bool]) -> None:
    """Answer its probes until one of them closes it; all answers must have been asked for by then."""
    left = iter(answers)

    async def probe() -> bool:
        return next(left)

    await run_until_closed(breaker, probe)
    assert next(left, None) is None


async def test_it_closes_when_a_probe_is_answered_and_probes_one_at_a_time_until_then() -> None:
    breaker, probing, most, answers = out(Breaker(sleep=Sleeps())), 0, 0, iter([False, False, False, True])

    async def probe() -> bool:
        nonlocal probing, most
        probing += 1
        most = max(most, probing)
        await asyncio.sleep(0)
        probing -= 1
        return next(answers)

    await run_until_closed(breaker, probe)

    assert most == 1
    assert next(answers, None) is None
    breaker.admit()


async def test_it_can_open_again_after_it_was_closed() -> None:
    breaker = Breaker(sleep=Sleeps())
    for kind in (FailureClass.UNREACHABLE, FailureClass.TROUBLE):
        out(breaker, kind)
        assert breaker.reason is kind

        await probed(breaker, [True])

        assert not breaker.is_open
        assert breaker.reason is None


async def test_probes_come_at_growing_pauses_from_a_second_to_half_a_minute() -> None:
    sleeps = Sleeps()

    await probed(out(Breaker(sleep=sleeps)), [*[False] * 12, True])

    first, *pauses = sleeps.seconds
    assert first == 1.0
    for number, pause in enumerate(pauses):  # each with up to a second more, lest all workers probe at once
        assert min(2**number, 30) <= pause <= min(2**number + 1, 30)
    assert len(pauses) == 12


async def test_nobody_is_out_at_first() -> None:
    breaker = Breaker()

    assert breaker.reason is None
    assert not breaker.is_open


async def test_each_time_it_opens_is_counted_by_its_class() -> None:
    counter = metrics.of(metrics.BREAKER_OPENED, "default", "foreign")
    before = counter._value.get()

    breaker = out(Breaker(), FailureClass.FOREIGN)
    out(breaker, FailureClass.FOREIGN)  # it is open already

    assert counter._value.get() == before + 1


async def test_that_it_closed_is_told_with_what_it_was_open_for() -> None:
    breaker = out(Breaker(), FailureClass.THROTTLED)

    with capture_logs() as logs:
        breaker.close()
        breaker.close()

    assert [(line["event"], line["reason"], line["log_level"]) for line in logs] == [
        ("breaker_closed", "throttled", "warning"),
        ("breaker_closed", "", "warning"),
    ]


@pytest.mark.parametrize("kind", sorted(set(FailureClass) - set(REMEDIES)))
async def test_what_passes_by_itself_is_told_without_a_remedy(kind: FailureClass) -> None:
    with capture_logs() as logs:
        out(Breaker(), kind)

    assert [line["remedy"] for line in logs] == [""]


async def test_refusals_of_the_merchant_open_it_sooner_for_each_is_about_every_call() -> None:
    assert min(OPENS_AFTER, key=lambda kind: OPENS_AFTER[kind]) is FailureClass.MISCONFIGURED


@pytest.mark.parametrize("kind", [FailureClass.MISCONFIGURED, FailureClass.FOREIGN, FailureClass.UNVERIFIED])
async def test_what_does_not_pass_by_itself_is_told_once_with_its_cause_and_its_remedy(kind: FailureClass) -> None:
    breaker = Breaker()

    with capture_logs() as logs:
        for _ in range(2 * OPENS_AFTER[kind]):
            breaker.failed(a_failure(kind))

    (line,) = logs
    assert (line["event"], line["reason"], line["why"]) == ("breaker_opened", kind.value, "SIGN_ERROR")
    assert line["remedy"] == REMEDIES[kind] != ""


# --- Our own clock ---


class OurClock:
    """Says what is wrong with it."""

    def __init__(self) -> None:
        self.trouble = ""

    def __call__(self) -> str:
        return self.trouble


async def test_no_call_is_made_by_a_wrong_clock() -> None:
    clock = OurClock()
    breaker = Breaker(clock_trouble=clock)
    breaker.admit()
    clock.trouble = "our clock is 86400.0 s ahead of the database's"

    with (
        capture_logs() as logs,
        pytest.raises(HeldBack, match=r"^no calls to WeChat Pay now \(clock\); this one was not made$"),
    ):
        breaker.admit()

    assert breaker.reason is FailureClass.CLOCK
    (line,) = logs
    assert (line["reason"], line["why"]) == ("clock", clock.trouble)
    assert line["remedy"] == REMEDIES[FailureClass.CLOCK]


async def test_calls_are_made_again_when_the_clock_is_right_and_a_probe_is_answered() -> None:
    clock, probes = OurClock(), 0
    clock.trouble = "our clock is 9.0 s behind WeChat Pay's"
    breaker = Breaker(clock_trouble=clock, sleep=Sleeps())
    with pytest.raises(HeldBack):
        breaker.admit()

    async def probe() -> bool:
        nonlocal probes
        probes += 1
        if probes == 3:
            clock.trouble = ""
        return probes != 3

    await run_until_closed(breaker, probe)

    assert probes == 4
    breaker.admit()


# --- Not permitted, though the passenger has enabled the service ---


async def test_trips_in_a_row_that_are_not_permitted_open_it_as_misconfigured() -> None:
    breaker = Breaker()
    for _ in range(MISCONFIGURED - 1):
        breaker.not_permitted("NO_AUTH")
    assert not breaker.is_open

    breaker.not_permitted("NO_AUTH")

    assert breaker.reason is FailureClass.MISCONFIGURED


async def test_that_we_are_not_permitted_is_told_with_the_code_that_said_so() -> None:
    breaker = Breaker()

    with capture_logs() as logs:
        for _ in range(MISCONFIGURED):
            breaker.not_permitted("NO_AUTH")

    (line,) = logs
    assert (line["reason"], line["why"]) == ("misconfigured", "NO_AUTH")


async def test_an_accepted_order_starts_the_count_of_what_is_not_permitted_from_nothing() -> None:
    breaker = Breaker()
    for _ in range(2):
        for _ in range(MISCONFIGURED - 1):
            breaker.not_permitted("NO_AUTH")
        breaker.permitted()

    assert not breaker.is_open


async def test_an_accepted_order_between_shows_that_only_some_trips_are_not_permitted() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.not_permitted("NO_AUTH")
        breaker.permitted()

    assert not breaker.is_open


async def test_answers_to_other_calls_say_nothing_of_the_permission_to_open_orders() -> None:
    breaker = Breaker()
    for _ in range(MISCONFIGURED):
        breaker.succeeded()
        breaker.not_permitted("NO_AUTH")

    assert breaker.is_open


async def test_closing_starts_the_count_of_what_is_not_permitted_anew() -> None:
    breaker = Breaker()
    for _ in range(MISCONFIGURED):
        breaker.not_permitted("NO_AUTH")
    breaker.close()

    for _ in range(MISCONFIGURED - 1):
        breaker.not_permitted("NO_AUTH")
    assert not breaker.is_open

    breaker.not_permitted("NO_AUTH")

    assert breaker.is_open


# --- Guarded ---

TERMS = OrderTerms(family="payafter", mchid="m", appid="a", service_id="s", notify_url="n")


class OneCall:
    """PayScore under every set of terms, of which only the query is used."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.calls = 0
        self.current = self

    def of(self, terms: OrderTerms | None) -> object:
        return self if terms is None else OneCall(self.error)

    async def query(self, _out_order_no: str) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "order"


def guarded(error: Exception | None) -> tuple[GuardedPayScores, OneCall, Breaker]:
    one, breaker = OneCall(error), Breaker()
    return GuardedPayScores(one, breaker), one, breaker  # type: ignore[arg-type]


async def test_while_it_is_open_no_call_reaches_wechat() -> None:
    payscores, one, breaker = guarded(a_failure(FailureClass.TROUBLE))
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        with pytest.raises(OutcomeUnknown):
            await payscores.current.query("t1")

    with pytest.raises(HeldBack) as held:
        await payscores.current.query("t1")

    assert one.calls == OPENS_AFTER[FailureClass.TROUBLE]
    assert held.value.attempts == 0
    assert breaker.is_open


async def test_orders_under_other_terms_stand_behind_the_same_breaker() -> None:
    payscores, _, breaker = guarded(None)
    for _ in range(MISCONFIGURED):
        breaker.failed(a_failure(FailureClass.MISCONFIGURED))

    with pytest.raises(HeldBack):
        await payscores.of(TERMS).query("t1")


def test_what_is_current_stays_one() -> None:
    payscores, _, _ = guarded(None)

    assert payscores.of(None) is payscores.current


@pytest.mark.parametrize(
    "answer",
    [
        WechatPayRejected("no", refusal=Refusal.UNCLEAR, status=400, code="X"),
        MalformedMessage("total_amount: expected an amount in whole fen, not str"),
    ],
    ids=["a refusal", "signed, and not to be read"],
)
async def test_an_answer_that_is_no_success_shows_all_the_same_that_wechat_is_there(answer: Exception) -> None:
    payscores, _, breaker = guarded(answer)
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE] - 1):
        breaker.failed(a_failure(FailureClass.TROUBLE))

    with pytest.raises(type(answer)):
        await payscores.current.query("t1")
    breaker.failed(a_failure(FailureClass.TROUBLE))

    assert not breaker.is_open


async def test_a_call_that_was_held_back_tells_nothing_of_wechat() -> None:
    payscores, _, breaker = guarded(HeldBack("enough calls wait for their turn"))
    for _ in range(100):
        with pytest.raises(HeldBack):
            await payscores.current.query("t1")

    assert not breaker.is_open


async def test_the_counts_of_what_is_permitted_are_the_breakers() -> None:
    payscores, _, breaker = guarded(None)
    for _ in range(MISCONFIGURED - 1):
        payscores.current.not_permitted("NO_AUTH")
    payscores.current.permitted()
    payscores.current.not_permitted("NO_AUTH")
    assert not breaker.is_open

    for _ in range(MISCONFIGURED - 1):
        payscores.current.not_permitted("NO_AUTH")

    assert breaker.is_open


class Listening:
    """PayScore that answers every call with its name and what it was given."""

    def __getattr__(self, name: str) -> Any:
        if name in {"send", "query", "service_enabled", "service_of", "permission"}:

            async def answer(*given: object, **named: object) -> object:
                return name, given, named

            return answer
        return lambda *given, **named: (name, given, named)


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("create", ("order",), {}),
        ("complete", ("completion",), {}),
        ("cancel", (), {"out_order_no": "t1", "reason": "乘客取消"}),
        ("modify", ("modification",), {}),
        ("send", ("call",), {}),
        ("query", ("t1",), {}),
        ("service_enabled", ("oPassenger",), {}),
        ("read_order", ({"state": "DONE"},), {}),
        ("read_created", ({"state": "DOING"},), {}),
        ("is_ours", ("order",), {}),
        ("contradiction", ({"mchid": "1"}, "t1"), {}),
        ("read_service_change", ({"openid": "o"},), {}),
        ("service_of", ("oPassenger",), {}),
        ("permission", ("code-1",), {}),
        ("pre_authorise", ("code-1",), {}),
        ("read_token", ({"apply_permissions_token": "token"},), {}),
        ("terminate", (), {"openid": "oPassenger", "reason": "注销账户"}),
        ("enable_jump", ("t1", "token"), {}),
        ("confirm_jump", ("package",), {}),
        ("detail_jump", ("t1",), {}),
    ],
)
async def test_what_is_said_through_the_breaker_arrives_as_it_was_said(
    name: str, given: tuple[object, ...], named: dict[str, object]
) -> None:
    payscore = GuardedPayScore(Listening(), Breaker())

    said = getattr(payscore, name)(*given, **named)

    assert (await said if inspect.isawaitable(said) else said) == (name, given, named)


class ManyTerms:
    """PayScore under the current terms and others; tells under which it was asked."""

    def __init__(self) -> None:
        self.current = Named("current")

    def of(self, terms: OrderTerms | None) -> object:
        return self.current if terms is None else Named(terms.mchid)

    def terms_in(self, create: object) -> object:
        return "terms of", create


class Named:
    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    async def query(self, out_order_no: str) -> str:
        self.asked.append(out_order_no)
        return self.name


async def test_an_order_is_asked_about_under_its_own_terms() -> None:
    payscores = GuardedPayScores(ManyTerms(), Breaker())  # type: ignore[arg-type]

    assert await payscores.of(TERMS).query("t1") == "m"  # type: ignore[comparison-overlap]
    assert await payscores.of(None).query("t1") == "current"  # type: ignore[comparison-overlap]
    assert payscores.terms_in("create") == ("terms of", "create")  # type: ignore[arg-type, comparison-overlap]


async def test_a_probe_asks_for_an_order_that_nobody_made_and_never_twice_for_the_same() -> None:
    terms = ManyTerms()
    payscores = GuardedPayScores(terms, Breaker())  # type: ignore[arg-type]

    for _ in range(2):
        assert await payscores.probe()

    one, other = terms.current.asked
    assert one != other
    assert all(re.fullmatch(r"probe-[0-9a-f]{16}", asked) for asked in (one, other))


async def test_the_code_that_did_not_permit_us_reaches_the_log() -> None:
    payscores, _, _ = guarded(None)

    with capture_logs() as logs:
        for _ in range(MISCONFIGURED):
            payscores.current.not_permitted("NO_AUTH")

    assert [line["why"] for line in logs] == ["NO_AUTH"]


def a_refusal(refusal: Refusal, code: str) -> WechatPayRejected:
    return WechatPayRejected("no", refusal=refusal, status=400, code=code)


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (None, True),
        (a_refusal(Refusal.ORDER_NOT_FOUND, "ORDER_NOT_EXIST"), True),
        (a_refusal(Refusal.UNCLEAR, "SOMETHING_NEW"), True),
        (MalformedMessage("state: expected a string, not int"), True),
        (a_refusal(Refusal.NOT_PERMITTED, "NO_AUTH"), False),
        *((a_failure(kind), False) for kind in FailureClass),
    ],
    ids=lambda value: getattr(value, "failure", None) or type(value).__name__,
)
async def test_a_probe_is_answered_by_anything_that_wechat_itself_says_and_that_does_not_refuse_us(
    error: Exception | None,
    answered: bool,  # noqa: FBT001 - a column of the table
) -> None:
    payscores, one, breaker = guarded(error)
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        breaker.failed(a_failure(FailureClass.TROUBLE))

    assert await payscores.probe() is answered
    assert one.calls == 1


async def test_an_unthrottled_pace_costs_no_wait() -> None:
    sleeps = Sleeps()
    pace = Pace(sleep=sleeps)

    for _ in range(100):
        await pace.turn()
        pace.passed()

    assert sleeps.seconds == []


async def test_each_429_doubles_the_gap_up_to_a_bound() -> None:
    pace = Pace(sleep=Sleeps())
    gaps = []
    for _ in range(12):
        pace.throttled(await pace.turn())
        gaps.append(pace.gap_seconds)

    assert gaps[0] == FIRST_GAP_SECONDS
    assert gaps[1] == 2 * FIRST_GAP_SECONDS
    assert gaps[-1] == LONGEST_GAP_SECONDS


async def test_calls_that_were_on_their_way_together_slow_everybody_down_once() -> None:
    pace = Pace(sleep=Sleeps())
    on_their_way = [await pace.turn() for _ in range(50)]

    for began in on_their_way:
        pace.throttled(began)

    assert pace.gap_seconds == FIRST_GAP_SECONDS


async def test_calls_at_a_slower_pace_go_one_after_the_other() -> None:
    pace = Pace()
    pace.throttled(await pace.turn())

    async with asyncio.timeout(5):
        turns = await asyncio.gather(*(pace.turn() for _ in range(4)))

    gaps = [later - earlier for earlier, later in pairwise(turns)]
    assert all(gap >= FIRST_GAP_SECONDS * 0.9 for gap in gaps)


async def test_those_who_wait_profit_from_a_pace_that_becomes_faster() -> None:
    sleeps = Sleeps()
    pace = Pace(sleep=sleeps)
    for _ in range(12):
        pace.throttled(await pace.turn())
    sleeps.seconds.clear()

    async def call() -> None:
        await pace.turn()
        pace.passed()

    await asyncio.gather(*(call() for _ in range(MAX_WAITING)))

    assert sleeps.seconds[0] <= LONGEST_GAP_SECONDS
    assert sleeps.seconds[-1] < sleeps.seconds[0] / 10


async def test_enough_waiting_calls_hold_further_ones_back_before_they_are_tried() -> None:
    pace = Pace()
    for _ in range(12):
        pace.throttled(asyncio.get_running_loop().time())
    waiting = [asyncio.create_task(pace.turn()) for _ in range(MAX_WAITING + 1)]  # the first need not wait
    await asyncio.sleep(0)

    with pytest.raises(HeldBack, match=rf"^WeChat Pay throttles us, and {MAX_WAITING} calls wait") as held:
        pace.admit()

    assert held.value.attempts == 0
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    pace.admit()


async def test_as_many_may_wait_as_before_once_others_have_had_their_turn() -> None:
    pace = Pace()
    for _ in range(12):
        pace.throttled(asyncio.get_running_loop().time())
    await pace.turn()  # the first need not wait, the next must

    for _ in range(2):
        waiting = [asyncio.create_task(pace.turn()) for _ in range(MAX_WAITING - 1)]
        await asyncio.sleep(0)
        pace.admit()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_success_speeds_up_until_no_gap_is_left() -> None:
    pace = Pace(sleep=Sleeps())
    for _ in range(5):
        pace.throttled(await pace.turn())

    for _ in range(200):
        pace.passed()

    assert pace.gap_seconds == 0


# --- Several accounts ---


def broken(breaker: Breaker) -> None:
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        breaker.failed(OutcomeUnknown("out", status=503, failure=FailureClass.TROUBLE))


async def test_what_is_held_back_for_an_account_is_told_from_what_the_pace_holds_back() -> None:
    breaker = Breaker(account="suzhou")
    broken(breaker)

    with pytest.raises(AccountOut):
        breaker.admit()


async def test_while_one_account_is_served_what_all_share_goes_on() -> None:
    one, other = Breaker(account="shanghai"), Breaker(account="suzhou")
    breakers = Breakers({"shanghai": one, "suzhou": other})
    broken(other)

    assert not breakers.is_open
    assert breakers.reasons == {"suzhou": FailureClass.TROUBLE}
    one.admit()


async def test_what_all_share_rests_once_every_account_is_out_and_goes_on_with_the_first_that_is_back() -> None:
    one, other = Breaker(account="shanghai"), Breaker(account="suzhou")
    breakers = Breakers({"shanghai": one, "suzhou": other})
    opened = asyncio.create_task(breakers.opened())

    broken(one)
    await asyncio.sleep(0)
    one.close()
    broken(other)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not opened.done()  # the first is back by now

    broken(one)
    await opened
    assert breakers.is_open
    closed = asyncio.create_task(breakers.closed())
    await asyncio.sleep(0)
    assert not closed.done()
    other.close()
    await closed
    assert not breakers.is_open


async def test_a_breaker_says_of_which_account_it_is() -> None:
    breaker = Breaker(account="suzhou")

    with capture_logs() as logs:
        broken(breaker)
        breaker.close()

    assert [(line["event"], line["account"]) for line in logs] == [
        ("breaker_opened", "suzhou"),
        ("breaker_closed", "suzhou"),
    ]
