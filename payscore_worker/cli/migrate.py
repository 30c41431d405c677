"""`payscore-worker migrate`: what stands before the first worker of a release."""

import click

from payscore_worker.bootstrap.database import run_migrate
from payscore_worker.cli.output import run
from payscore_worker.settings import Environment


@click.command()
def migrate() -> None:
    """Bring the database to the current schema; one that a newer release has migrated is left as it is."""
    schema = run(run_migrate(Environment()))
    newer = ", of a newer release, on which this one runs; nothing was changed" if schema.is_ahead else ""
    click.echo(f"the database is at revision {schema.revision}{newer}")
