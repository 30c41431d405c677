"""Is money stuck: what is said in which situation, the worst first."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from payscore_worker.console.depths import Look
from payscore_worker.console.verdict import Severity, Situation, findings, worst
from payscore_worker.console.words import WORDS, Language, say
from payscore_worker.messaging.drift import Drift, Remedy
from payscore_worker.messaging.inspect import Depth
from payscore_worker.messaging.policies import Loss
from payscore_worker.ops.policies import PolicyStanding
from payscore_worker.storage.standing import Some, Standing

NOW: Final = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
NONE: Final = Some(count=0, oldest=timedelta())

CALM: Final = Standing(
    states=dict.fromkeys(("NOTED", "OPEN", "COMPLETED"), NONE),
    with_problem=NONE,
    stale=0,
    overdue=0,
    due_lag=timedelta(),
    calls_out={"create": NONE, "complete": NONE},
    outstanding_fen=0,
    outbox=NONE,
)


def a_depth(**changes: Any) -> Depth:
    return replace(Depth(queue="q", ready=0, unacked=None, consumers=1, dead=0), **changes)


def a_situation(*depths: Depth, standing: Standing | None = CALM, **changes: Any) -> Situation:
    situation = Situation(
        now=NOW,
        standing=standing,
        look=Look(NOW, depths or (a_depth(),)),
        breaker="",
        watching_since=NOW,
        is_linked=True,
        beside_worker=False,
    )
    return replace(situation, **changes)


def said(situation: Situation) -> list[tuple[str, Severity]]:
    found = findings(situation)
    assert all(finding.key in WORDS for finding in found)
    assert [finding.severity for finding in found] == sorted((one.severity for one in found), reverse=True)
    return [(finding.key, finding.severity) for finding in found]


def test_where_nothing_is_wrong_nothing_is_said() -> None:
    assert said(a_situation()) == []
    assert worst([]) is Severity.FINE


@pytest.mark.parametrize(
    ("situation", "key"),
    [
        (a_situation(breaker="unreachable", beside_worker=True), "finding_breaker"),
        (a_situation(a_depth(consumers=0), a_depth(queue="q2", consumers=0)), "finding_deaf"),
        (a_situation(standing=None), "finding_database"),
        (a_situation(a_depth(ready=None, consumers=None, dead=None, stands=False)), "finding_queue_missing"),
        (a_situation(a_depth(ready=1, consumers=0), a_depth(queue="q2")), "finding_no_consumer"),
        (a_situation(standing=replace(CALM, due_lag=6 * MINUTE)), "finding_due"),
    ],
)
def test_what_stands_in_everybody_s_way_means_that_money_is_stuck(situation: Situation, key: str) -> None:
    assert said(situation) == [(key, Severity.STUCK)]


@pytest.mark.parametrize(
    ("situation", "key"),
    [
        (a_situation(a_depth(dead=2)), "finding_dead"),
        (a_situation(a_depth(queue="q.replay", ready=1, dead=None, is_consumed=False)), "finding_staged"),
        (a_situation(standing=replace(CALM, with_problem=Some(count=1, oldest=MINUTE))), "finding_problems"),
        (a_situation(refunds_with_problem=Some(count=1, oldest=MINUTE)), "finding_refunds"),
        (a_situation(standing=replace(CALM, outbox=Some(count=1, oldest=6 * MINUTE))), "finding_outbox"),
        (a_situation(standing=replace(CALM, overdue=1)), "finding_overdue"),
        (a_situation(standing=replace(CALM, stale=1)), "finding_stale"),
        (
            a_situation(standing=replace(CALM, calls_out={"complete": Some(count=1, oldest=11 * MINUTE)})),
            "finding_unanswered",
        ),
    ],
)
def test_what_is_about_some_trips_needs_a_person(situation: Situation, key: str) -> None:
    assert said(situation) == [(key, Severity.LOOK)]


@pytest.mark.parametrize(
    ("situation", "key"),
    [
        (a_situation(breaker="unreachable"), "finding_no_answer"),
        (a_situation(is_linked=False), "finding_broker"),
        (a_situation(now=NOW + 2 * MINUTE), "finding_unseen"),
        (a_situation(now=NOW + 2 * MINUTE, look=None), "finding_unseen"),
        (a_situation(a_depth(ready=None, consumers=None, dead=None)), "finding_uncounted"),
        (a_situation(a_depth(dead=None)), "finding_uncounted"),
        (a_situation(a_depth(queue="q.replay", ready=None, dead=None, is_consumed=False)), "finding_uncounted"),
        (a_situation(a_depth(consumers=0), a_depth(ready=None, consumers=None, dead=None)), "finding_uncounted"),
    ],
)
def test_what_cannot_be_seen_from_here_is_not_guessed(situation: Situation, key: str) -> None:
    assert said(situation) == [(key, Severity.BLIND)]


@pytest.mark.parametrize(
    "situation",
    [
        a_situation(standing=replace(CALM, due_lag=4 * MINUTE)),
        a_situation(standing=replace(CALM, outbox=Some(count=9, oldest=4 * MINUTE))),
        a_situation(standing=replace(CALM, calls_out={"create": Some(count=9, oldest=9 * MINUTE)})),
        a_situation(a_depth(ready=900)),
        a_situation(a_depth(ready=0, consumers=0), a_depth(queue="q2")),
        a_situation(a_depth(queue="payscore.retry.5s", ready=9, consumers=0, dead=None, is_consumed=False)),
        a_situation(now=NOW + MINUTE),
        a_situation(look=None),
    ],
)
def test_what_passes_by_itself_is_not_worth_a_word(situation: Situation) -> None:
    assert said(situation) == []


def test_queues_that_are_left_alone_while_wechat_pay_is_out_are_no_news() -> None:
    depths = a_depth(ready=9, consumers=0), a_depth(queue="q2")

    beside = a_situation(*depths, breaker="trouble", beside_worker=True)
    alone = a_situation(*depths, breaker="trouble")
    assert said(beside) == [("finding_breaker", Severity.STUCK)]
    assert said(alone) == [("finding_no_consumer", Severity.STUCK), ("finding_no_answer", Severity.BLIND)]


def test_an_old_look_accuses_nobody() -> None:
    old = a_situation(a_depth(ready=9, consumers=0), now=NOW + 2 * MINUTE)

    assert said(old) == [("finding_unseen", Severity.BLIND)]


def test_the_worst_stands_first() -> None:
    both = a_situation(a_depth(dead=1, consumers=0), standing=replace(CALM, stale=1))

    assert [key for key, _ in said(both)] == ["finding_deaf", "finding_dead", "finding_stale"]
    assert worst(findings(both)) is Severity.STUCK


# --- Policies of others ---


def a_loss(queue: str, key: str = "message-ttl") -> Drift:
    loss = Loss(queue=queue, key=key, value=60_000, consequence="drops", policy="ttl", operator_policy=None)
    return Drift(subject=queue, remedy=Remedy.POLICY, detail=loss.text, loses=True, is_of_policies=True, loss=loss)


def test_a_policy_that_loses_messages_is_said_once_with_all_its_queues() -> None:
    losing = (a_loss("a.dead"), a_loss("b.dead"), a_loss("b.dead", "expires"))

    found = findings(a_situation(policies=PolicyStanding(losing=losing)))

    assert [(one.key, one.severity) for one in found] == [("finding_policy", Severity.LOOK)] * 2
    assert found[0].values == {"queues": "a.dead, b.dead", "policy": "ttl", "word": "message-ttl 60000"}
    assert say("finding_policy", Language.CHINESE, found[1].values).startswith("b.dead 会丢失消息：策略 ttl")


def test_that_policies_could_not_be_looked_at_is_no_finding() -> None:
    assert said(a_situation(policies=PolicyStanding(unseen="PAYSCORE_MANAGEMENT_URL is not set"))) == []
