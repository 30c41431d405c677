"""The commands of contract 7."""

import logging
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final, NoReturn

import click

from payscore_worker import logs
from payscore_worker.cli.output import NOT_FINE, WRONG_USE
from payscore_worker.errors import SettlementError
from payscore_worker.messaging.link import BROKEN, reason_of
from payscore_worker.settings import SettingsError
from payscore_worker.stopping import WITH_PARENT

COMMANDS: Final[Mapping[str, str]] = {
    "demo": "demo",
    "load": "demo",
    "worker": "worker",
    "webhook": "webhook",
    "console": "console",
    "simulator": "simulator",
    "migrate": "migrate",
    "topology": "topology",
    "queues": "queues",
    "trip": "trips",
    "refund": "refunds",
    "authorisation": "authorisations",
    "dead": "dead",
    "outbox": "outbox",
    "account": "accounts",
    "audit": "audit",
    "archive": "archive",
    "doctor": "doctor",
}
"""Each command and the module it is in."""


class LazyGroup(click.Group):
    """Imports a command when it is asked for: a worker starts in half the time without the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{COMMANDS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="payscore-worker")
@click.option(WITH_PARENT, is_flag=True, hidden=True, expose_value=False)  # heeded before this is read (stopping.py)
def cli() -> None:
    """Settle ride-hailing trips through WeChat PayScore."""
    logs.set_up(as_json=False, level=logging.WARNING)  # the roles, which are read through their logs, say more


def main() -> None:
    """Run a command; what a person can mend is one line, without a traceback."""
    try:
        cli()
    except SettingsError as error:
        _fail(error, WRONG_USE)
    except SettlementError as error:
        _fail(error, NOT_FINE)
    except BROKEN as error:
        _fail(f"RabbitMQ: {reason_of(error)}", NOT_FINE)


def _fail(error: Exception | str, code: int) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(code)
