"""`account`: the merchant numbers that trips are settled under, without a key or another secret."""

from typing import Final

import click

from payscore_worker.accounts import AccountSettings, read_accounts
from payscore_worker.cli.output import json_option, print_json, print_table
from payscore_worker.settings import Environment

COLUMNS: Final = ("name", "default", "mchid", "family", "service_id", "appids", "notify_url")


@click.group()
def account() -> None:
    """Show the merchant accounts."""


@account.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List every account, the default one first."""
    rows = [_shown(one, is_default=not number) for number, one in enumerate(read_accounts(Environment()))]
    if as_json:
        print_json({"accounts": rows})
        return
    print_table(COLUMNS, [[_written(row[column]) for column in COLUMNS] for row in rows])


def _written(value: object) -> object:
    """Write a member for a person."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return ", ".join(value) if isinstance(value, list) else value


def _shown(one: AccountSettings, *, is_default: bool) -> dict[str, object]:
    merchant = one.merchant
    return {
        "name": one.name,
        "default": is_default,
        "mchid": merchant.mchid,
        "family": merchant.api_family,
        "service_id": merchant.service_id,
        "appids": list(merchant.appids),
        "notify_url": merchant.notify_url,
    }
