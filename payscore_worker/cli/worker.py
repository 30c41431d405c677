"""`payscore-worker worker`."""

from functools import partial

import click

from payscore_worker.bootstrap.worker import run_worker
from payscore_worker.cli.serving import serve


@click.command()
@click.option("--with-console", is_flag=True, hidden=True, help="Show the console too; for the demo.")
def worker(*, with_console: bool) -> None:
    """Run consumers, relay and reconciler until SIGTERM."""
    serve(partial(run_worker, with_console=with_console), "payscore-worker")
