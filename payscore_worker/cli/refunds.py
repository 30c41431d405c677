"""`refund`: money that goes back; who asks for it is shown what will be sent, and asked once more."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

import click
import msgspec

from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.settlement import make_refunds
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.desk import RECORDED, as_option, ask_once_more, one_line, who, yes_option
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.domain.refund import Refund, RefundRequested, RefundState
from payscore_worker.events import MAX_FEN
from payscore_worker.settings import DatabaseSettings, Environment, OrderSettings
from payscore_worker.settlement.deciding import MAX_REASON
from payscore_worker.settlement.refund_sight import RefundSight
from payscore_worker.settlement.refunding import (
    Refunding,
    RefundOutlook,
    giving_up,
    money_of,
    new_refund_id,
    outlook,
    sent,
)
from payscore_worker.settlement.refunds import Foreseen
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.refunds import LISTED, RefundFilter, RefundReports
from payscore_worker.storage.reports import Reports, Row
from payscore_worker.wechatpay import CallKind

MAX_ID: Final = 64
"""Of a refund's id, which is printable ASCII, as the ride service's are."""

NAMED: Final = 10
"""Refunds that a preview names."""

CALLS: Final = (CallKind.REFUND.value, CallKind.REFUND_QUERY.value)
"""Their generation is the place of the refund."""


class RefundGroup(click.Group):
    """Takes a trip's id where a subcommand could stand: `refund TRIP_ID` is `refund request TRIP_ID`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the word in that was left out."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [request.name or "", *args]
        return super().parse_args(ctx, args)


@click.group(cls=RefundGroup, subcommand_metavar="TRIP_ID [OPTIONS] | COMMAND [ARGS]...")
def refund() -> None:
    """Send money back, and look at what goes back. `refund TRIP_ID` is `refund request TRIP_ID`."""


# --- Asking for a refund ---


def _refund_id(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (1 <= len(value) <= MAX_ID and value.isascii() and value.isprintable()):
        raise click.BadParameter(f"a refund's id is 1 to {MAX_ID} printable ASCII characters")
    return value


@refund.command()
@click.argument("trip_id", type=Text())
@click.option("--amount-fen", required=True, type=click.IntRange(1, MAX_FEN), metavar="N", help="In whole fen.")
@click.option(
    "--reason",
    required=True,
    type=Text(),
    metavar="TEXT",
    callback=one_line(MAX_REASON),
    help=f"{RECORDED}, and the passenger sees it.",
)
@click.option(
    "--refund-id",
    type=Text(),
    metavar="ID",
    callback=_refund_id,
    help="The same id is the same refund, however often it is asked for; without it, each time is another one.",
)
@as_option
@yes_option
@json_option
def request(
    trip_id: str, *, amount_fen: int, reason: str, refund_id: str | None, by: str | None, yes: bool, as_json: bool
) -> None:
    """Ask for a refund of a paid trip. Shows its money and what will be sent, and asks once more."""
    asked = RefundRequested(
        trip_id=trip_id, refund_id=refund_id or new_refund_id(now()), amount_fen=amount_fen, reason=reason
    )
    after = run(_request(Environment(), asked, by=by or who(), yes=yes, as_json=as_json))
    sys.exit(FINE if _is_fine(after) else NOT_FINE)


async def _request(environment: Environment, asked: RefundRequested, *, by: str, yes: bool, as_json: bool) -> Refund:
    async with _refunding(environment) as refunding:
        foreseen = await refunding.foresee(asked)
        prospect = outlook(foreseen, asked, now())
        if not as_json:
            print_table(["refund", asked.refund_id], list(_shown(foreseen, asked, prospect).items()))
        if foreseen.refund is None:
            if as_json:
                print_json(_document(foreseen, asked, prospect) | {"done": False})
            click.echo(f"error: {foreseen.why_not}", err=True)
            raise click.exceptions.Exit(NOT_FINE)
        if foreseen.stands:
            if as_json:
                print_json(_document(foreseen, asked, prospect) | {"done": False} | _standing(foreseen.refund))
            return foreseen.refund
        if not yes:
            ask_once_more(f"refund: {prospect.text}. Do it?", as_json=as_json)
        after, waits = await refunding.request(asked, by=by, mark=foreseen.mark)
    stands = _standing(after) | {"waits": waits or None}
    if as_json:
        print_json(_document(foreseen, asked, prospect) | {"done": True} | stands)
    else:
        print_table(["now", after.refund_id], list(stands.items()))
    return after


def _shown(foreseen: Foreseen, asked: RefundRequested, prospect: RefundOutlook) -> dict[str, Any]:
    money, body = money_of(foreseen.trip), sent(foreseen)
    return {
        "trip": asked.trip_id,
        "state": foreseen.trip.state.value,
        "paid_fen": money.paid_fen,
        "reserved_fen": money.reserved_fen,
        "refunded_fen": money.refunded_fen,
        "left_fen": money.left_fen,
        "refunds before": money.refunds,
        **{f"will be sent: {name}": _written(value) for name, value in body.items() if name != "notify_url"},
        "what will happen": prospect.text,
    }


def _written(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value)


def _document(foreseen: Foreseen, asked: RefundRequested, prospect: RefundOutlook) -> dict[str, Any]:
    return {
        "refund_id": asked.refund_id,
        "trip_id": asked.trip_id,
        "amount_fen": asked.amount_fen,
        "was": {"state": foreseen.trip.state.value, **asdict(money_of(foreseen.trip))},
        "will_be_sent": sent(foreseen) or None,
        "outlook": {"key": prospect.key, "allowed": prospect.allowed, "text": prospect.text},
    }


def _standing(after: Refund) -> dict[str, Any]:
    problem = None if after.problem is None else {"code": after.problem.code, "message": after.problem.message}
    return {
        "state": after.state.value,
        "out_refund_no": after.out_refund_no,
        "send_after": after.send_after,
        "refunded_at": after.refunded_at,
        "problem": problem,
    }


def _is_fine(after: Refund) -> bool:
    return after.problem is None and after.state is not RefundState.FAILED


# --- Looking ---


@refund.command("list")
@click.option("--trip", "trip_id", type=Text(), metavar="TRIP_ID", help="Only those of this trip.")
@click.option("--state", type=click.Choice([state.value for state in RefundState]), help="Only refunds in this state.")
@click.option("--problem", is_flag=True, help="Only refunds that wait for a person.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@json_option
def list_refunds(*, trip_id: str | None, state: str | None, problem: bool, limit: int, as_json: bool) -> None:
    """List refunds, the newest first."""
    wanted = RefundFilter(trip_id=trip_id, state=state, with_problem=problem, limit=limit)
    rows = [_summary(row) for row in run(_list(Environment(), wanted))]
    if as_json:
        print_json({"refunds": rows})
        return
    columns = ["refund_id", "trip_id", "state", "amount_fen", "requested_at", "due_at"]
    told = [[row[name] for name in columns] + [_code(row["problem"])] for row in rows]
    print_table([*columns, "problem"], told)


async def _list(environment: Environment, wanted: RefundFilter) -> list[Row]:
    async with _reports(environment) as reports:
        return await RefundReports(reports).refunds(wanted)


@refund.command()
@click.argument("refund_id", type=Text())
@json_option
def show(refund_id: str, *, as_json: bool) -> None:
    """Tell what is known of a refund, its calls, and who did what. Takes the refund's id, or its out_refund_no."""
    story = run(_story(Environment(), refund_id))
    if story is None:
        click.echo(f"error: no refund {refund_id!r}", err=True)
        sys.exit(NOT_FINE)
    if as_json:
        print_json(story)
        return
    facts = {name: story[name] for name in story if name not in ("calls", "actions")}
    print_table(["refund", refund_id], list((facts | {"problem": _told(story["problem"])}).items()))
    _print_rows(story["calls"], ["kind", "attempts", "status", "code", "request_id", "outcome"])
    if story["actions"]:
        _print_rows(story["actions"], ["at", "who", "action", "outcome", "reason"])


def _print_rows(rows: Sequence[dict[str, Any]], columns: list[str]) -> None:
    print_table(columns, [[row[name] for name in columns] for row in rows])


async def _story(environment: Environment, name: str) -> dict[str, Any] | None:
    async with _reports(environment) as reports:
        row = await RefundReports(reports).refund(name)
        if row is None:
            return None
        calls = await reports.calls(row["trip_id"])
        actions = await RefundReports(reports).actions_on(row["trip_id"], [row["refund_id"]])
    refused, given_up = _decoded(row["refused"]), _decoded(row["given_up"])
    return {
        **_summary(row),
        "refused": None if refused is None else _told(refused),
        "unanswered": row["unanswered"],
        "ask_after": row["ask_after"],
        "wechatpay_refund_id": row["wechatpay_refund_id"] or None,
        "given_up": None if given_up is None else f"by {given_up['by']}: {given_up['reason']}",
        "calls": [
            {name: call[name] for name in ("kind", "attempts", "status", "code", "request_id", "outcome")}
            | {"begun": call["begun"], "definite": call["definite"]}
            | {"prepared_at": call["prepared_at"], "answered_at": call["answered_at"]}
            for call in calls
            if call["kind"] in CALLS and call["generation"] == row["generation"]
        ],
        "actions": [
            {name: action[name] for name in ("at", "who", "action", "reason", "outcome", "ended_at")}
            for action in actions
        ],
    }


def _summary(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in LISTED} | {"problem": _decoded(row["problem"])}


def _decoded(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])


def _code(problem: dict[str, Any] | None) -> str:
    return "" if problem is None else str(problem.get("code", ""))


def _told(trouble: dict[str, Any] | None) -> str:
    """Say in a line what stands in the way."""
    if trouble is None:
        return ""
    return " ".join(str(trouble[name]) for name in ("step", "code", "message", "request_id") if trouble.get(name))


# --- Taking it up again ---


@refund.command("clear-problem")
@click.argument("refund_id", required=False, type=Text())
@click.option("--code", type=Text(), metavar="CODE", help="Only refunds with this problem.")
@click.option("--all", "everything", is_flag=True, help="All refunds with the problem that --code names.")
@click.option(
    "--reason", required=True, type=Text(), metavar="TEXT", callback=one_line(MAX_REASON), help=f"{RECORDED}."
)
@as_option
@yes_option
@json_option
def clear_problem(
    refund_id: str | None,
    *,
    code: str | None,
    everything: bool,
    reason: str,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Say that a person has looked, and take a refund up again; with --code and --all, every one with one problem.

    The same is asked, or sent: it never refunds twice.
    """
    if refund_id is None and not (code and everything):
        raise click.UsageError("say which: a REFUND_ID, or --code CODE --all")
    if refund_id is not None and (code is not None or everything):
        raise click.UsageError("a REFUND_ID goes with neither --code nor --all")
    if refund_id is None:
        run(_clear_all(Environment(), str(code), by=by or who(), reason=reason, yes=yes, as_json=as_json))
        return
    after = run(_clear(Environment(), refund_id, by=by or who(), reason=reason))
    stands = {"refund_id": after.refund_id, "trip_id": after.trip_id} | _standing(after)
    if as_json:
        print_json(stands)
    else:
        print_table(["refund", refund_id], list(stands.items()))
    sys.exit(FINE if _is_fine(after) else NOT_FINE)


async def _clear(environment: Environment, refund_id: str, *, by: str, reason: str) -> Refund:
    async with _refunding(environment) as refunding:
        return await refunding.clear_problem(refund_id, by=by, reason=reason)


async def _clear_all(environment: Environment, code: str, *, by: str, reason: str, yes: bool, as_json: bool) -> None:
    async with _reports(environment) as every_report, _refunding(environment) as refunding:
        reports = RefundReports(every_report)
        by_state = await reports.problems_by_state(code)
        first = [row["refund_id"] for row in await reports.problems(code, after="", limit=NAMED)]
        count = sum(by_state.values())
        if not as_json:
            click.echo(f"{count} refunds with the problem {code}")
            if count:
                print_table(["state", "refunds"], list(by_state.items()))
                click.echo(f"the first: {', '.join(first)}")
        if count and not yes:
            ask_once_more(f"clear-problem: {count} refunds are taken up again. Do it?", as_json=as_json)
        cleared = sum([1 async for _ in refunding.clear_all(reports, code, by=by, reason=reason)])
    if as_json:
        print_json({"code": code, "refunds": count, "by_state": by_state, "first": first, "cleared": cleared})
    elif count:
        click.echo(f"{cleared} refunds cleared; the workers take them up within a minute")


# --- Giving it up ---


@refund.command("give-up")
@click.argument("refund_id", type=Text())
@click.option(
    "--reason",
    required=True,
    type=Text(),
    metavar="TEXT",
    callback=one_line(MAX_REASON),
    help=f"{RECORDED}, and the ride service is told.",
)
@as_option
@yes_option
@json_option
def give_up(refund_id: str, *, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
    """End a refund that WeChat Pay refuses for good, and free its money. Shows what WeChat Pay says, asks once more."""
    run(_give_up(Environment(), refund_id, by=by or who(), reason=reason, yes=yes, as_json=as_json))


async def _give_up(environment: Environment, refund_id: str, *, by: str, reason: str, yes: bool, as_json: bool) -> None:
    async with _refunding(environment) as refunding:
        sight = await refunding.see(refund_id)
        prospect = giving_up(sight)
        if not as_json:
            print_table(["refund", refund_id], list(_seen(sight, prospect).items()))
        if not prospect.allowed:
            if as_json:
                print_json(_seen_document(sight, prospect) | {"done": False})
            click.echo(f"error: {prospect.text.removeprefix('refused: ')}", err=True)
            raise click.exceptions.Exit(NOT_FINE)
        if not yes:
            ask_once_more(f"give-up: {prospect.text}. Do it?", as_json=as_json)
        after = await refunding.give_up(refund_id, by=by, reason=reason, mark=sight.mark)
    stands = _standing(after)
    if as_json:
        print_json(_seen_document(sight, prospect) | {"done": True} | stands)
    else:
        print_table(["now", refund_id], list(stands.items()))


def _seen(sight: RefundSight, prospect: RefundOutlook) -> dict[str, Any]:
    refund = sight.refund
    return {
        "trip": refund.trip_id,
        "state": refund.state.value,
        "amount_fen": refund.amount_fen,
        "problem": "" if refund.problem is None else f"{refund.problem.code}: {refund.problem.message}",
        "WeChat Pay now": sight.text,
        "what will happen": prospect.text,
    }


def _seen_document(sight: RefundSight, prospect: RefundOutlook) -> dict[str, Any]:
    refund, known = sight.refund, sight.known
    seen = None if known is None else known.seen
    return {
        "refund_id": refund.refund_id,
        "trip_id": refund.trip_id,
        "amount_fen": refund.amount_fen,
        "was": {"state": refund.state.value, "problem": _standing(refund)["problem"]},
        "wechatpay": {
            "asked": known is not None,
            "why": sight.unknown or None,
            "refund": None if seen is None else seen.phase.value,
        },
        "outlook": {"key": prospect.key, "allowed": prospect.allowed, "text": prospect.text},
    }


@asynccontextmanager
async def _refunding(environment: Environment) -> AsyncIterator[Refunding]:
    wechatpay = make_wechatpays(environment)
    orders, url = environment.read(OrderSettings), environment.read(DatabaseSettings).database_url
    async with database(environment) as storage, aclosing(wechatpay), engine_for(url) as engine:
        refunds = make_refunds(
            storage=storage,
            payscores=wechatpay.payscores,
            refunds=wechatpay.refunds,
            orders=orders,
            accounts=wechatpay.accounts,
        )
        yield Refunding(refunds=refunds, actions=Actions(engine), clock=now)


@asynccontextmanager
async def _reports(environment: Environment) -> AsyncIterator[Reports]:
    async with engine_for(environment.read(DatabaseSettings).database_url) as engine:
        yield Reports(engine)
