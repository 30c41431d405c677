"""`payscore-worker webhook`."""

import click

from payscore_worker.bootstrap.webhook import run_webhook
from payscore_worker.cli.serving import serve


@click.command()
def webhook() -> None:
    """Receive WeChat Pay's callbacks until SIGTERM."""
    serve(run_webhook, "payscore-webhook")
