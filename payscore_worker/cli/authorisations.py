"""`authorisation`: what a passenger has authorised, and the end of it."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import click
import msgspec

from payscore_worker.accounts import Accounts, accounts_if_told, read_accounts
from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.settlement import make_authorisations, make_settlement
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import now
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.desk import RECORDED, as_option, ask_once_more, one_line, see_that_there_is, who, yes_option
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.domain.account import DEFAULT, passenger_of
from payscore_worker.domain.authorisation import Authorisation, AuthorisationState, number_of_passenger
from payscore_worker.settings import DatabaseSettings, Environment, OrderSettings
from payscore_worker.settlement.authorising import Authorising
from payscore_worker.settlement.deciding import MAX_REASON
from payscore_worker.storage.actions import Actions
from payscore_worker.storage.authorisations import LISTED, AuthorisationReports
from payscore_worker.storage.belonging import belonging_of_order
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports, Row
from payscore_worker.wechatpay.payscore.families import no_such_account

_Command = TypeVar("_Command", bound=Callable[..., Any])

ACTED: Final = ("at", "who", "reason", "outcome")
"""What is said of an action."""


@click.group()
def authorisation() -> None:
    """Look at what a passenger has authorised, and end it."""


def account_option(meaning: str) -> Callable[[_Command], _Command]:
    """Let an account be named."""
    return click.option("--account", default="", type=Text(), metavar="NAME", help=meaning)


@authorisation.command()
@click.argument("openid", type=Text())
@account_option("Only what was authorised this account.")
@json_option
def show(openid: str, *, account: str, as_json: bool) -> None:
    """Show the authorisations of a passenger, the newest first, and what people did about them."""
    sys.exit(run(_show(Environment(), openid, account=account, as_json=as_json)))


async def _show(environment: Environment, openid: str, *, account: str, as_json: bool) -> int:
    url = environment.read(DatabaseSettings).database_url
    see_that_there_is(url)
    accounts = read_accounts(environment) if account else accounts_if_told(environment)
    numbers = _numbers(environment, openid, accounts)
    if account and account not in numbers:
        raise no_such_account(account, numbers)
    names = {one.merchant.mchid: one.name for one in accounts}
    async with engine_for(url) as engine:
        reports = AuthorisationReports(Reports(engine))
        known = [_document(row, names) for row in await reports.of(openid)]
        acted = [_acted(row, numbers) for row in await reports.actions_on(*numbers.values())]
    if account:
        known, acted = ([said for said in some if said["account"] == account] for some in (known, acted))
    if as_json:
        print_json({"authorisations": known, "actions": acted})
    else:
        _print(known, acted)
    return FINE if known else NOT_FINE


def _numbers(environment: Environment, openid: str, accounts: Accounts) -> dict[str, str]:
    """Make the passenger's own number with each account, by name; with one, where the settings do not tell."""
    if not accounts:
        return {DEFAULT: number_of_passenger(openid, environment.read(OrderSettings).out_order_no_prefix)}
    default, prefix = accounts[0].merchant.mchid, accounts[0].offer.out_order_no_prefix
    of_account = {one.name: passenger_of(openid, one.merchant.mchid, default=default) for one in accounts}
    return {name: number_of_passenger(passenger, prefix) for name, passenger in of_account.items()}


def _print(known: list[dict[str, Any]], acted: list[dict[str, Any]]) -> None:
    if not known:
        click.echo("nothing is known of this passenger's authorisations")
    for said in known:
        print_table(["authorization_code", said.pop("authorization_code")], list(said.items()))
    if acted:
        print_table(["account", *ACTED], [list(said.values()) for said in acted], title="what people did")


def _document(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    problem = None if row["problem"] is None else msgspec.json.decode(row["problem"])
    said = "" if problem is None else f"{problem['code']}: {problem['message']}"
    listed, whose = {name: row[name] for name in LISTED}, belonging_of_order(row["terms"])
    return {
        "authorization_code": listed.pop("authorization_code"),
        "account": whose.name(names),
        **listed,
        "problem": said,
    }


def _acted(row: Row, numbers: Mapping[str, str]) -> dict[str, Any]:
    account = next(name for name, number in numbers.items() if number == row["target"])
    return {"account": account} | {name: row[name] for name in ACTED}


@authorisation.command()
@click.argument("openid", type=Text())
@click.option(
    "--reason", required=True, type=Text(), metavar="TEXT", callback=one_line(MAX_REASON), help=f"{RECORDED}."
)
@account_option("The account whose service is closed; else the default one's.")
@as_option
@yes_option
@json_option
def end(openid: str, *, reason: str, account: str, by: str | None, yes: bool, as_json: bool) -> None:
    """Close a passenger's PayScore service at WeChat Pay. Orders that stand are collected all the same."""
    asked = partial(Authorising.end, openid=openid, by=by or who(), reason=reason, account=account)
    if not yes:
        ask_once_more("the passenger's service is closed: no order is opened for him any more. Do it?", as_json=as_json)
    sys.exit(run(_end(Environment(), asked, as_json=as_json)))


async def _end(
    environment: Environment, asked: Callable[[Authorising], Awaitable[list[Authorisation]]], *, as_json: bool
) -> int:
    async with _authorising(environment) as authorising:
        ended = await asked(authorising)
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
        )
