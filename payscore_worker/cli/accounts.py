"""`account`: the merchant numbers that trips are settled under, without a key or another secret."""

import click

from payscore_worker.accounts import AccountSettings, read_accounts
from payscore_worker.cli.output import json_option, print_json, print_table
from payscore_worker.settings import Environment

COLUMNS = ("name", "default", "mchid", "family", "service_id", "appids", "notify_url")


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
    lines = [
        {**row, "default": "yes" if row["default"] else "", "appids": ", ".join(one.merchant.appids)}
        for one, row in zip(read_accounts(Environment()), rows, strict=True)
    ]
    print_table(COLUMNS, [[line[column] for column in COLUMNS] for line in lines])


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
