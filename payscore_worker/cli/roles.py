"""The long-running roles, and what stands before them: `worker`, `webhook`, `console`, `migrate`."""

from functools import partial

import click

from payscore_worker import bootstrap
from payscore_worker.cli.output import run
from payscore_worker.cli.serving import serve
from payscore_worker.settings import Environment


@click.command()
@click.option("--with-console", is_flag=True, hidden=True, help="Show the console too; for the demo.")
def worker(*, with_console: bool) -> None:
    """Run consumers, relay and reconciler until SIGTERM."""
    serve(partial(bootstrap.run_worker, with_console=with_console), "payscore-worker")


@click.command()
def webhook() -> None:
    """Receive WeChat Pay's callbacks until SIGTERM."""
    serve(bootstrap.run_webhook, "payscore-webhook")


@click.command()
def console() -> None:
    """Show the ops console until SIGTERM."""
    serve(bootstrap.run_console, "payscore-console")


@click.command()
def migrate() -> None:
    """Bring the database to the current schema; one that a newer release has migrated is left as it is."""
    schema = run(bootstrap.run_migrate(Environment()))
    newer = ", of a newer release, on which this one runs; nothing was changed" if schema.is_ahead else ""
    click.echo(f"the database is at revision {schema.revision}{newer}")
