"""`authorisation`: what a passenger has authorised, and the end of it."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import click
import msgspec

from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.settlement import make_authorisations, make_settlement
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.desk import RECORDED, as_option, ask_once_more, one_line, see_that_there_is, who, yes_option
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.domain.authorisation import Authorisation, AuthorisationState, number_of_passenger
from payscore_worker.settings import DatabaseSettings, Environment, OrderSettings
from payscore_worker.settlement.authorising import Authorising
from payscore_worker.settlement.deciding import MAX_REASON
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.authorisations import LISTED, AuthorisationReports
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports, Row

ACTED: Final = ("at", "who", "reason", "outcome")
"""What is said of an action."""


@click.group()
def authorisation() -> None:
    """Look at what a passenger has authorised, and end it."""


@authorisation.command()
@click.argument("openid", type=Text())
@json_option
def show(openid: str, *, as_json: bool) -> None:
    """Show the authorisations of a passenger, the newest first, and what people did about them."""
    sys.exit(run(_show(Environment(), openid, as_json=as_json)))


async def _show(environment: Environment, openid: str, *, as_json: bool) -> int:
    url = environment.read(DatabaseSettings).database_url
    see_that_there_is(url)
    number = number_of_passenger(openid, environment.read(OrderSettings).out_order_no_prefix)
    async with engine_for(url) as engine:
        reports = AuthorisationReports(Reports(engine))
        known, actions = await reports.of(openid), await reports.actions_on(number)
    if as_json:
        print_json({"authorisations": [_document(row) for row in known], "actions": [_acted(row) for row in actions]})
    else:
        _print(known, actions)
    return FINE if known else NOT_FINE


def _print(known: list[Row], actions: list[Row]) -> None:
    if not known:
        click.echo("nothing is known of this passenger's authorisations")
    for row in known:
        said = _document(row)
        print_table(["authorization_code", said.pop("authorization_code")], list(said.items()))
    if actions:
        print_table(list(ACTED), [list(_acted(row).values()) for row in actions], title="what people did")


def _document(row: Row) -> dict[str, Any]:
    problem = None if row["problem"] is None else msgspec.json.decode(row["problem"])
    said = "" if problem is None else f"{problem['code']}: {problem['message']}"
    return {name: row[name] for name in LISTED} | {"problem": said}


def _acted(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ACTED}


@authorisation.command()
@click.argument("openid", type=Text())
@click.option(
    "--reason", required=True, type=Text(), metavar="TEXT", callback=one_line(MAX_REASON), help=f"{RECORDED}."
)
@as_option
@yes_option
@json_option
def end(openid: str, *, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
    """Close a passenger's PayScore service at WeChat Pay. Orders that stand are collected all the same."""
    sys.exit(run(_end(Environment(), openid, by=by or who(), reason=reason, yes=yes, as_json=as_json)))


async def _end(environment: Environment, openid: str, *, by: str, reason: str, yes: bool, as_json: bool) -> int:
    if not yes:
        ask_once_more("the passenger's service is closed: no order is opened for him any more. Do it?", as_json=as_json)
    async with _authorising(environment) as authorising:
        ended = await authorising.end(openid, by=by, reason=reason)
    if as_json:
        print_json({"authorisations": [_standing(one) for one in ended]})
    else:
        for one in ended:
            said = _standing(one)
            print_table(["authorization_code", said.pop("authorization_code")], list(said.items()))
    return FINE if all(one.state is AuthorisationState.CLOSED for one in ended) else NOT_FINE


def _standing(one: Authorisation) -> dict[str, Any]:
    why = one.refused or one.problem
    return {
        "authorization_code": one.authorization_code,
        "state": one.state.value,
        "ends": one.ending is not None,
        "refused": "" if why is None else f"{why.code}: {why.message}",
    }


@asynccontextmanager
async def _authorising(environment: Environment) -> AsyncIterator[Authorising]:
    wechatpay = make_wechatpays(environment)
    orders, url = environment.read(OrderSettings), environment.read(DatabaseSettings).database_url
    async with database(environment) as storage, aclosing(wechatpay), engine_for(url) as engine:
        settlement = make_settlement(
            storage=storage, payscores=wechatpay.payscores, orders=orders, accounts=wechatpay.accounts
        )
        accounts = wechatpay.accounts
        authorisations = make_authorisations(
            storage=storage, payscores=wechatpay.payscores, settlement=settlement, orders=orders, accounts=accounts
        )
        yield Authorising(
            authorisations=authorisations,
            actions=Actions(engine),
            clock=now,
            prefix=accounts[0].out_order_no_prefix,
        )
