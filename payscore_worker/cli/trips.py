"""`trip`: what we know of a trip, and how to take it up again."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, assert_never

import click
import msgspec

from payscore_worker.accounts import names_of_accounts
from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.settlement import make_settlement
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.deciding import add_verbs
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.domain.trip import TripState
from payscore_worker.errors import MerchantRefused
from payscore_worker.events import ClientJump
from payscore_worker.logs import short_openid
from payscore_worker.oversight.explain import (
    Announced,
    Called,
    Decided,
    Happening,
    Heard,
    Moved,
    Notified,
    RefundMoved,
    Story,
    Troubled,
    explain,
)
from payscore_worker.settings import DatabaseSettings, Environment, OrderSettings
from payscore_worker.settlement.trips import Settlement
from payscore_worker.storage.belonging import belonging
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.refunds import LISTED, RefundReports
from payscore_worker.storage.reports import Reports, Row, TripFilter
from payscore_worker.storage.rows import terms_from_json

SUMMARY: Final = ("trip_id", "out_order_no", "state", "total_fen", "accepted_fen", "paid_fen", "noted_at", "due_at")
FACTS: Final = (
    "out_order_no",
    "state",
    "openid",
    "order_id",
    "account",
    "mchid",
    "appid",
    "family",
    "transaction_id",
    "total_fen",
    "accepted_fen",
    "paid_fen",
    "reserved_fen",
    "refunded_fen",
    "fare_fen",
    "lowering",
    "paid_elsewhere",
    "asking",
    "confirming",
    "second",
    "waived",
    "written_off",
    "due_at",
    "doubt",
    "unanswered",
    "look",
)
STORED: Final = ("lowered", "lowering", "paid_elsewhere", "sync", "asking")
"""What the row keeps of a fare after the trip has ended."""


@click.group()
def trip() -> None:
    """Look at trips, take them up again, and decide what no rule may."""


add_verbs(trip)


@trip.command()
@click.argument("trip_id", type=Text())
@json_option
def show(trip_id: str, *, as_json: bool) -> None:
    """Tell a trip's story: facts, state, WeChat Pay calls, refunds. Takes the trip's id, or its out_order_no."""
    story = run(_story(Environment(), trip_id))
    if story is None:
        click.echo(f"error: {run(_absence(Environment(), trip_id))}", err=True)
        sys.exit(NOT_FINE)
    if as_json:
        print_json(story)
        return
    print_table(
        ["trip", trip_id], [[name, story[name]] for name in story if name not in ("events", "calls", "refunds")]
    )
    print_table(["at", "way", "event", "id"], [[e["at"], e["direction"], e["type"], e["id"]] for e in story["events"]])
    columns = ["kind", "generation", "attempts", "status", "code", "request_id", "outcome"]
    print_table(columns, [[call[name] for name in columns] for call in story["calls"]])
    if story["refunds"]:
        columns = ["refund_id", "generation", "amount_fen", "state", "requested_at", "due_at", "problem"]
        print_table(columns, [[one[name] for name in columns] for one in story["refunds"]])


@trip.command("explain")
@click.argument("trip_id", type=Text())
@json_option
def explain_trip(trip_id: str, *, as_json: bool) -> None:
    """Tell what happened to a trip, and who decided what, in time order. Takes the trip's id, or its out_order_no."""
    story = run(_explained(Environment(), trip_id))
    if story is None:
        click.echo(f"error: no trip {trip_id!r}", err=True)
        sys.exit(NOT_FINE)
    if as_json:
        print_json(story.document())
        return
    facts = {name: getattr(story, name) for name in FACTS}
    print_table(["trip", story.trip_id], list(facts.items()))
    if story.refunds:
        columns = ["refund_id", "amount_fen", "state", "since", "problem", "why"]
        print_table(columns, [[getattr(one, name) for name in columns] for one in story.refunds])
    if story.lowered:
        columns = ["lowered_at", "was_fen", "total_fen", "reason"]
        print_table(columns, [[getattr(one, name) for name in columns] for one in story.lowered])
    if story.archive is not None:
        click.echo(f"archived in {story.archive}, which holds the whole story")
    print_table(["at", "", "what", "more"], [[one.at, one.KIND, *_told(one)] for one in story.happenings])


async def _explained(environment: Environment, trip_id: str) -> Story | None:
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        return await explain(Reports(engine), trip_id)


def _told(happening: Happening) -> tuple[str, str]:
    """Say what happened, and what else is known of it."""
    match happening:
        case Heard():
            return f"{happening.type}{_of(happening.refund_id)}", " ".join(filter(None, (happening.id, happening.why)))
        case Notified():
            return f"{happening.type}{_of(happening.refund_id)}", happening.id
        case Called():
            return f"{happening.call} {happening.outcome}{_of(happening.refund_id)}", _about_call(happening)
        case Decided():
            return (
                f"{happening.verb} {happening.outcome}{_of(happening.refund_id)}",
                f"{happening.who}: {happening.why}",
            )
        case Moved():
            return happening.state, happening.why
        case RefundMoved():
            return f"{happening.state}{_of(happening.refund_id)}", _about_refund(happening)
        case Troubled():
            return f"{happening.what}{_of(happening.refund_id)}", " ".join(
                filter(None, (happening.code, happening.why, happening.request_id))
            )
        case Announced():
            published = "not published yet" if happening.published_at is None else f"published {happening.id}"
            nobody = f", {happening.unroutable} times nobody to give it to" if happening.unroutable else ""
            kept = ", kept for `outbox replay`" if happening.unrouted_at else ""
            return f"{happening.type}{_of(happening.refund_id)}", published + nobody + kept
        case _:
            assert_never(happening)


def _of(refund_id: str) -> str:
    return f" of {refund_id}" if refund_id else ""


def _about_refund(moved: RefundMoved) -> str:
    return ": ".join(filter(None, (f"{moved.amount_fen} fen", moved.why)))


def _about_call(call: Called) -> str:
    attempts = f"{call.attempts} attempts" if call.attempts != 1 else ""
    uncertain = "an attempt has an unknown outcome" if call.uncertain else ""
    certainty = "" if call.begun is None else f"{call.definite} of {call.begun} sends surely not accepted"
    status = str(call.status) if call.status is not None else ""
    return ", ".join(filter(None, (f"{status} {call.code}".strip(), attempts, uncertain, certainty, call.request_id)))


@trip.command("detail-jump")
@click.argument("trip_id", type=Text())
def detail_jump(trip_id: str) -> None:
    """Print, as JSON, what a client opens WeChat Pay's page of a trip's order with. It is signed, and for this moment.

    Takes the trip's id, or its out_order_no; the page shows the order to its passenger, and to nobody else.
    """
    jump = run(_detail_jump(Environment(), trip_id))
    if isinstance(jump, str):
        click.echo(f"error: {jump}", err=True)
        sys.exit(NOT_FINE)
    print_json(msgspec.to_builtins(jump))


async def _detail_jump(environment: Environment, trip_id: str) -> ClientJump | str:
    """Sign it under the terms of the order; or say why there is none to show."""
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        row = await Reports(engine).trip(trip_id)
    if row is None:
        return await _absence(environment, trip_id)
    if not row["order_id"]:
        return f"trip {row['trip_id']!r} has no order at WeChat Pay"
    wechatpay = make_wechatpays(environment)
    async with aclosing(wechatpay):
        try:
            return wechatpay.payscores.of(terms_from_json(row["terms"])).detail_jump(row["out_order_no"])
        except MerchantRefused as error:
            return str(error)


@trip.command("list")
@click.option("--state", type=click.Choice([state.value for state in TripState]), help="Only trips in this state.")
@click.option("--problem", is_flag=True, help="Only trips that wait for a person.")
@click.option("--stuck", is_flag=True, help="Only trips that nobody gets anywhere.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@json_option
def list_trips(*, state: str | None, problem: bool, stuck: bool, limit: int, as_json: bool) -> None:
    """List trips, the newest first."""
    wanted, environment = TripFilter(state=state, with_problem=problem, stuck=stuck, limit=limit), Environment()
    names = names_of_accounts(environment)
    rows = [_summary(row, names) for row in run(_list(environment, wanted))]
    if as_json:
        print_json({"trips": rows})
        return
    columns = ["trip_id", "account", "state", "total_fen", "paid_fen", "noted_at", "due_at", "problem"]
    print_table(columns, [[row[name] for name in columns] for row in rows])


@trip.command()
@click.argument("trip_id", type=Text())
@json_option
def advance(trip_id: str, *, as_json: bool) -> None:
    """Take a trip as far as it will go now."""
    _act(trip_id, lambda settlement: settlement.advance(trip_id), as_json=as_json)


def _act(trip_id: str, action: Callable[[Settlement], Awaitable[None]], *, as_json: bool) -> None:
    """Do something to a trip, and show where it stands then; exit 1 if a person must look at it."""
    environment = Environment()
    row = run(_acted(environment, trip_id, action))
    if row is None:
        click.echo(f"error: no trip {trip_id!r}", err=True)
        sys.exit(NOT_FINE)
    summary = _summary(row, names_of_accounts(environment))
    if as_json:
        print_json(summary)
    else:
        print_table(["trip", trip_id], list(summary.items()))
    sys.exit(FINE if row["problem"] is None else NOT_FINE)


async def _acted(environment: Environment, trip_id: str, action: Callable[[Settlement], Awaitable[None]]) -> Row | None:
    wechatpay = make_wechatpays(environment)
    orders = environment.read(OrderSettings)
    async with database(environment) as storage, aclosing(wechatpay):
        settlement = make_settlement(
            storage=storage, payscores=wechatpay.payscores, orders=orders, accounts=wechatpay.accounts
        )
        if await storage.load(trip_id) is None:
            return None
        await action(settlement)
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        return await Reports(engine).trip(trip_id)


async def _list(environment: Environment, wanted: TripFilter) -> list[Row]:
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        return await Reports(engine).trips(wanted, now())


async def _absence(environment: Environment, trip_id: str) -> str:
    """Say why there is nothing to show."""
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        archived = await Reports(engine).archived(trip_id)
    if archived is None:
        return f"no trip {trip_id!r}"
    return f"trip {archived['trip_id']!r} ended as {archived['state']}; its story is in {archived['archive']}"


async def _story(environment: Environment, trip_id: str) -> dict[str, Any] | None:
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        reports = Reports(engine)
        row = await reports.trip(trip_id)
        if row is None:
            return None
        events, calls = await reports.events(row["trip_id"]), await reports.calls(row["trip_id"])
        refunds = await RefundReports(reports).of_trip(row["trip_id"])
    return {
        **_summary(row, names_of_accounts(environment)),
        "openid": short_openid(row["openid"]) if row["openid"] else None,
        "order_id": row["order_id"] or None,
        "transaction_id": row["transaction_id"],
        "declined": row["declined_reason"],
        "confirm_by": row["confirm_by"],
        "opened_at": row["opened_at"],
        "completed_at": row["completed_at"],
        "paid_at": row["paid_at"],
        "reserved_fen": row["reserved_fen"] or 0,
        "refunded_fen": row["refunded_fen"] or 0,
        "returned_fen": row["returned_fen"] or 0,
        **{name: _stored(row, name) for name in STORED},
        "events": [
            {
                "at": event["at"],
                "direction": event["direction"],
                "type": event["type"],
                "id": event["event_id"],
                "published_at": event["published_at"],
                "unrouted_at": event["unrouted_at"],
            }
            for event in events
        ],
        "calls": [
            {name: call[name] for name in ("kind", "generation", "attempts", "status", "code", "request_id", "outcome")}
            | {"begun": call["begun"], "definite": call["definite"]}
            | {"prepared_at": call["prepared_at"], "answered_at": call["answered_at"]}
            for call in calls
        ],
        "refunds": [
            {name: refund[name] for name in (*LISTED, "generation")} | {"problem": _problem(refund)}
            for refund in refunds
        ],
    }


def _summary(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    whose = belonging(row)
    return {
        **{name: row[name] for name in SUMMARY},
        "account": whose.name(names) or None,
        "mchid": whose.mchid or None,
        "appid": whose.appid or None,
        "problem": _problem(row),
    }


def _problem(row: Row) -> Any:  # noqa: ANN401 - whatever a newer release has written
    return _stored(row, "problem")


def _stored(row: Row, name: str) -> Any:  # noqa: ANN401 - whatever a newer release has written
    return None if row[name] is None else msgspec.json.decode(row[name])
