"""Runs the commands: `python -m payscore_worker`."""

from payscore_worker.cli import main

main()
