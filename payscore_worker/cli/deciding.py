"""`trip accept|waive|pay|…|clear-problem`: what a person decides, shown and asked once more."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from typing import Any, Final, NoReturn

import click
import msgspec

from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.settlement import make_settlement
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.desk import RECORDED, as_option, ask_once_more, one_line, who, yes_option
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.domain.decisions import Decision, Verb, verbs_for
from payscore_worker.domain.trip import (
    Trip,
    fare_fen,
)
from payscore_worker.settings import DatabaseSettings, Environment, OrderSettings
from payscore_worker.settlement.deciding import MAX_REASON, Deciding, Outlook, outlook
from payscore_worker.settlement.sight import Sight
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports

HELP: Final = {
    Verb.ACCEPT: "Take the amount that WeChat Pay shows for what was owed.",
    Verb.WAIVE: "Have WeChat Pay collect no more: the order is cancelled, or the fare lowered to nothing.",
    Verb.PAY: "Ask WeChat Pay to collect now, and not only when it tries again.",
    Verb.WRITE_OFF: "Give up money that WeChat Pay cannot collect: the order is gone.",
    Verb.REBUILD: "Drop a request that was refused, and build a new one.",
    Verb.DECLINE: "Give PayScore up for this trip: the fare may be asked for another way.",
    Verb.CANCEL: "Charge nothing for this trip.",
}
"""What each verb does; WeChat Pay is asked first, and nothing is done that its word forbids."""

REASON_HELP: Final = {
    verb: f"{RECORDED}, and the passenger sees it." if verb in (Verb.CANCEL, Verb.WAIVE) else f"{RECORDED}."
    for verb in Verb
}

NAMED: Final = 10
"""Trips that a preview names."""


def add_verbs(trip: click.Group) -> None:
    """Add a command for each verb."""
    for verb, text in HELP.items():
        trip.add_command(_command(verb, text))
    trip.add_command(clear_problem)


def _command(verb: Verb, text: str) -> click.Command:
    @click.command(verb.value, help=f"{text} Shows what WeChat Pay says now, and asks once more.")
    @click.argument("trip_id", type=Text())
    @click.option(
        "--reason", required=True, type=Text(), metavar="TEXT", callback=one_line(MAX_REASON), help=REASON_HELP[verb]
    )
    @as_option
    @yes_option
    @json_option
    def command(trip_id: str, *, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
        decision = Decision(verb=verb, by=by or who(), reason=reason)
        after = run(_decide(Environment(), trip_id, decision, yes=yes, as_json=as_json))
        sys.exit(FINE if after is None or after.problem is None else NOT_FINE)

    return command


async def _decide(
    environment: Environment, trip_id: str, decision: Decision, *, yes: bool, as_json: bool
) -> Trip | None:
    async with _deciding(environment) as (deciding, _):
        sight = await deciding.look(trip_id)
        prospect = outlook(sight, decision, now())
        if not as_json:
            print_table(["trip", trip_id], list(_shown(sight, prospect).items()))
        if not prospect.allowed:
            _refuse(prospect.text.removeprefix("refused: "), NOT_FINE, sight, prospect, as_json=as_json)
        if not yes:
            ask_once_more(f"{decision.verb}: {prospect.text}. Do it?", as_json=as_json)
        after = await deciding.decide(trip_id, decision, mark=sight.mark)
    if after is not None:
        _tell(after, sight, prospect, as_json=as_json)
    return after


@click.command("clear-problem")
@click.argument("trip_id", required=False, type=Text())
@click.option("--code", type=Text(), metavar="CODE", help="Only trips with this problem.")
@click.option("--all", "everything", is_flag=True, help="All trips with the problem that --code names.")
@click.option(
    "--reason", default=None, type=Text(), metavar="TEXT", callback=one_line(MAX_REASON), help="Why; it is recorded."
)
@as_option
@yes_option
@json_option
def clear_problem(
    trip_id: str | None,
    *,
    code: str | None,
    everything: bool,
    reason: str | None,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Say that a person has looked, and take a trip up again; with --code and --all, every trip with one problem."""
    if trip_id is None and not (code and everything):
        raise click.UsageError("say which: a TRIP_ID, or --code CODE --all")
    if trip_id is not None and (code is not None or everything):
        raise click.UsageError("a TRIP_ID goes with neither --code nor --all")
    decision = Decision(verb=Verb.CLEAR, by=by or who(), reason=reason or "")
    if trip_id is not None:
        row = run(_clear_one(Environment(), trip_id, decision))
        problem = None if row["problem"] is None else msgspec.json.decode(row["problem"])
        summary = {"trip_id": trip_id, "state": row["state"], "due_at": row["due_at"], "problem": problem}
        if as_json:
            print_json(summary)
        else:
            print_table(["trip", trip_id], list(summary.items()))
        sys.exit(FINE if problem is None else NOT_FINE)
    run(_clear_all(Environment(), str(code), decision, yes=yes, as_json=as_json))


async def _clear_one(environment: Environment, trip_id: str, decision: Decision) -> Any:  # noqa: ANN401 - a row
    async with _deciding(environment) as (deciding, reports):
        await deciding.decide(trip_id, decision, mark="")
        return await reports.trip(trip_id)


async def _clear_all(environment: Environment, code: str, decision: Decision, *, yes: bool, as_json: bool) -> None:
    async with _deciding(environment) as (deciding, reports):
        by_state = await reports.problems_by_state(code)
        first = [row["trip_id"] for row in await reports.problems(code, after="", limit=NAMED)]
        count = sum(by_state.values())
        if not as_json:
            click.echo(f"{count} trips with the problem {code}")
            if count:
                print_table(["state", "trips"], list(by_state.items()))
                click.echo(f"the first: {', '.join(first)}")
        if count and not yes:
            ask_once_more(f"clear-problem: {count} trips are taken up again. Do it?", as_json=as_json)
        clearing = deciding.clear_all(reports, code, by=decision.by, reason=decision.reason)
        cleared = sum([1 async for _ in clearing])
    if as_json:
        print_json({"code": code, "trips": count, "by_state": by_state, "first": first, "cleared": cleared})
    elif count:
        click.echo(f"{cleared} trips cleared; the workers take them up within a minute")


# --- Showing and asking ---


def _shown(sight: Sight, prospect: Outlook) -> dict[str, Any]:
    trip = sight.trip
    problem = trip.problem
    return {
        "state": trip.state.value,
        "fare_fen": fare_fen(trip) if trip.ended else None,
        "problem": "" if problem is None else f"{problem.code}: {problem.message}",
        "what ends it": ", ".join(verbs_for("" if problem is None else problem.code, sight.trip.state)),
        "WeChat Pay now": sight.text,
        "what will happen": prospect.text,
    }


def _document(sight: Sight, prospect: Outlook) -> dict[str, Any]:
    trip, known = sight.trip, sight.known
    order = None if known is None else known.order
    return {
        "trip_id": trip.trip_id,
        "was": {
            "state": trip.state.value,
            "total_fen": fare_fen(trip) if trip.ended else None,
            "problem": None if trip.problem is None else {"code": trip.problem.code, "message": trip.problem.message},
        },
        "wechatpay": {
            "asked": known is not None,
            "why": sight.unknown or None,
            "order": None if order is None else order.phase.value,
            "total_fen": None if order is None else order.total_fen,
            "paid_fen": None if order is None else order.paid_fen,
        },
        "outlook": asdict(prospect) | {"allowed": prospect.allowed, "text": prospect.text},
    }


def _tell(after: Trip, sight: Sight, prospect: Outlook, *, as_json: bool) -> None:
    problem = None if after.problem is None else {"code": after.problem.code, "message": after.problem.message}
    stands = {
        "state": after.state.value,
        "accepted_fen": after.accepted_fen,
        "paid_fen": None if after.payment is None else after.payment.paid_fen,
        "problem": problem,
    }
    if as_json:
        print_json(_document(sight, prospect) | {"done": True} | stands)
    else:
        print_table(["now", after.trip_id], list(stands.items()))


def _refuse(why: str, code: int, sight: Sight, prospect: Outlook, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(_document(sight, prospect) | {"done": False})
    click.echo(f"error: {why}", err=True)
    raise click.exceptions.Exit(code)


@asynccontextmanager
async def _deciding(environment: Environment) -> AsyncIterator[tuple[Deciding, Reports]]:
    wechatpay = make_wechatpays(environment)
    orders, url = environment.read(OrderSettings), environment.read(DatabaseSettings).database_url
    async with database(environment) as storage, aclosing(wechatpay), engine_for(url) as engine:
        settlement = make_settlement(
            storage=storage, payscores=wechatpay.payscores, orders=orders, accounts=wechatpay.accounts
        )
        yield Deciding(settlement=settlement, actions=Actions(engine), clock=now), Reports(engine)
