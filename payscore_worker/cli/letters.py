"""Dead letters as people and programs read them: as tables, and as JSON."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import click

from payscore_worker.cli.output import print_table
from payscore_worker.domain.trip import (
    Trip,
    fare_fen,
)
from payscore_worker.logs import short_openid
from payscore_worker.messaging.deadletters import Group, Look, Progress, Summary, grouped
from payscore_worker.oversight.replay import Prospect, Word

GROUP_COLUMNS: Final = ("group", "count", "oldest", "newest", "reason")
LETTER_COLUMNS: Final = ("id", "trip_id", "attempts", "first_failed_at", "reason")


def listing(
    queues: Sequence[str], looks: Sequence[Look], letters: Sequence[Summary], busy: dict[str, str]
) -> dict[str, Any]:
    document: dict[str, Any] = {"queue": queues[0]} if len(queues) == 1 else {}
    return document | {
        "queues": [{"queue": look.queue, "waiting": look.waiting, "staged": look.staged} for look in looks],
        "busy": busy,
        "groups": [_group(group) for group in grouped(letters)],
        "messages": [letter_document(letter) for letter in letters],
    }


def print_listing(queues: Sequence[str], looks: Sequence[Look], letters: Sequence[Summary]) -> None:
    groups = [_group(group) for group in grouped(letters)]
    for queue in dict.fromkeys(group["queue"] for group in groups):
        rows = [[_moment(group[name]) for name in GROUP_COLUMNS] for group in groups if group["queue"] == queue]
        print_table(GROUP_COLUMNS, rows, title=queue)
    if len(queues) == 1 and letters:
        rows = [[_moment(letter_document(letter)[name]) for name in LETTER_COLUMNS] for letter in letters]
        print_table(LETTER_COLUMNS, rows)
    if not letters:
        click.echo("no dead letters")
    for look in looks:
        if look.waiting > len(look.letters):
            click.echo(f"{look.queue}: the oldest {len(look.letters)} of {look.waiting}")
        if look.staged:
            click.echo(f"{look.queue}: a replay was broken off; the next replay or drop puts it right")
        if look.staged is None:
            click.echo(f"{look.queue}: RabbitMQ cannot tell now whether a replay was broken off")


def _moment(value: object) -> object:
    """Read a time, so that it is shown as times are; anything else is shown as it is."""
    try:
        return datetime.fromisoformat(str(value)) if isinstance(value, str) and _TIME.match(value) else value
    except ValueError:
        return value


_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT")


def _group(group: Group) -> dict[str, Any]:
    return {
        "queue": group.queue,
        "group": group.id,
        "reason": group.reason,
        "error": group.error,
        "count": group.count,
        "oldest": group.oldest,
        "newest": group.newest,
    }


def letter_document(letter: Summary) -> dict[str, Any]:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason,
        "error": letter.error,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "trip_id": letter.trip_id,
    }


def step_document(step: Progress) -> dict[str, Any]:
    return {"id": step.letter.id, "trip_id": step.letter.trip_id, "fate": step.fate.value, "why": step.why}


def prospect_document(prospect: Prospect) -> dict[str, Any]:
    return {
        "trip": _trip(prospect.trip),
        "wechatpay": _word(prospect.word),
        "replay": asdict(prospect.decision),
    }


def _trip(trip: Trip | None) -> dict[str, Any]:
    if trip is None:
        return {"known": False}
    return {
        "known": True,
        "trip_id": trip.trip_id,
        "out_order_no": trip.out_order_no,
        "state": trip.state.value,
        "openid": short_openid(trip.started.openid) if trip.started else None,
        "total_fen": fare_fen(trip) if trip.ended else None,
        "paid_fen": trip.payment.paid_fen if trip.payment else None,
        "problem": f"{trip.problem.code}: {trip.problem.message}" if trip.problem else None,
    }


def _word(word: Word | None) -> dict[str, Any]:
    if word is None:
        return {"asked": False, "why": "the message names no order"}
    if word.unknown:
        return {"asked": False, "why": word.unknown}
    if word.order is None:
        return {"asked": True, "order": "none"}
    order = word.order
    return {
        "asked": True,
        "order": order.phase.value,
        "order_id": order.order_id,
        "total_fen": order.total_fen,
        "paid_fen": order.paid_fen,
        "paid_at": order.paid_at,
        "transaction_ids": list(order.transaction_ids),
    }
