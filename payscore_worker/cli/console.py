"""`payscore-worker console`."""

import click

from payscore_worker.bootstrap.console import run_console
from payscore_worker.cli.serving import serve


@click.command()
def console() -> None:
    """Show the ops console until SIGTERM."""
    serve(run_console, "payscore-console")
