"""Refunds stand behind the breaker as PayScore does: while WeChat Pay is out, none is sent or asked about."""

import inspect
from typing import Any

import pytest

from payscore_worker.errors import (
    FailureClass,
    HeldBack,
    MalformedMessage,
    MerchantRefused,
    OutcomeUnknown,
    Refusal,
    WechatPayError,
    WechatPayRejected,
)
from payscore_worker.wechatpay import Breaker, Call, CallKind
from payscore_worker.wechatpay.breaker import OPENS_AFTER
from payscore_worker.wechatpay.transactions import GuardedRefunds

TROUBLE = OutcomeUnknown("out", attempts=3, failure=FailureClass.TROUBLE)
CALL = Call(CallKind.REFUND, "POST", "/v3/refund/domestic/refunds", b"{}")


class OneAnswer:
    """Refunds to which every call has the same answer."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.calls = 0

    async def send(self, _call: Call) -> str:
        return self._answer()

    async def query(self, _out_refund_no: str) -> str:
        return self._answer()

    def _answer(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "answer"


def guarded(error: Exception | None) -> tuple[GuardedRefunds, OneAnswer, Breaker]:
    one, breaker = OneAnswer(error), Breaker()
    return GuardedRefunds(one, breaker), one, breaker  # type: ignore[arg-type]


def nearly_open(breaker: Breaker) -> None:
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE] - 1):
        breaker.failed(TROUBLE)


async def ask(refunds: GuardedRefunds, name: str) -> None:
    await (refunds.send(CALL) if name == "send" else refunds.query("refund-1"))


both = pytest.mark.parametrize("name", ["send", "query"])


@both
async def test_while_it_is_open_no_call_reaches_wechat(name: str) -> None:
    refunds, one, breaker = guarded(TROUBLE)
    for _ in range(OPENS_AFTER[FailureClass.TROUBLE]):
        with pytest.raises(OutcomeUnknown):
            await ask(refunds, name)

    with pytest.raises(HeldBack):
        await ask(refunds, name)

    assert one.calls == OPENS_AFTER[FailureClass.TROUBLE]
    assert breaker.is_open


@both
async def test_a_merchant_that_is_refused_opens_it_as_misconfigured(name: str) -> None:
    refunds, _, breaker = guarded(MerchantRefused("no", code="SIGN_ERROR", failure=FailureClass.MISCONFIGURED))
    for _ in range(OPENS_AFTER[FailureClass.MISCONFIGURED]):
        with pytest.raises(MerchantRefused):
            await ask(refunds, name)

    assert breaker.reason is FailureClass.MISCONFIGURED


@both
@pytest.mark.parametrize(
    "answer",
    [
        None,
        WechatPayRejected("no", refusal=Refusal.RESOURCE_NOT_FOUND, status=404, code="RESOURCE_NOT_EXISTS"),
        MalformedMessage("refund: expected an amount in whole fen, not str"),
    ],
    ids=["a success", "a refusal", "signed, and not to be read"],
)
async def test_any_word_of_wechats_shows_that_it_is_there(answer: Exception | None, name: str) -> None:
    refunds, one, breaker = guarded(answer)
    nearly_open(breaker)

    if answer is None:
        await ask(refunds, name)
    else:
        with pytest.raises(type(answer)):
            await ask(refunds, name)
    breaker.failed(TROUBLE)

    assert one.calls == 1
    assert not breaker.is_open


@both
async def test_a_call_that_was_held_back_tells_nothing_of_wechat(name: str) -> None:
    refunds, _, breaker = guarded(HeldBack("enough calls wait for their turn"))
    nearly_open(breaker)

    with pytest.raises(HeldBack):
        await ask(refunds, name)
    assert not breaker.is_open
    breaker.failed(TROUBLE)

    assert breaker.is_open


async def test_calls_of_refunds_and_of_others_are_counted_together() -> None:
    refunds, _, breaker = guarded(TROUBLE)
    nearly_open(breaker)

    with pytest.raises(WechatPayError):
        await refunds.query("refund-1")

    assert breaker.is_open


class Listening:
    """Refunds that answer every call with its name and what they were given."""

    mchid = "1230000109"

    def __getattr__(self, name: str) -> Any:
        if name in {"send", "query"}:

            async def answer(*given: object) -> object:
                return name, given

            return answer
        return lambda *given: (name, given)


@pytest.mark.parametrize(
    ("name", "given"),
    [("request", "a refund"), ("send", "a call"), ("query", "refund-1"), ("read", {"status": "SUCCESS"})],
)
async def test_what_is_said_through_the_breaker_arrives_as_it_was_said(name: str, given: object) -> None:
    refunds = GuardedRefunds(Listening(), Breaker())

    said = getattr(refunds, name)(given)

    assert (await said if inspect.isawaitable(said) else said) == (name, (given,))
    assert refunds.mchid == "1230000109"


def test_what_reaches_nobody_is_done_while_it_is_open_too() -> None:
    breaker = Breaker()
    nearly_open(breaker)
    breaker.failed(TROUBLE)
    refunds = GuardedRefunds(Listening(), breaker)

    assert refunds.request("a refund") == ("request", ("a refund",))  # type: ignore[arg-type, comparison-overlap]
    assert refunds.read({"status": "CLOSED"}) == ("read", ({"status": "CLOSED"},))  # type: ignore[comparison-overlap]
