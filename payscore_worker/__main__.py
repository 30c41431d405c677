"""Runs the commands: `payscore-worker`, or `python -m payscore_worker`."""

import sys

from payscore_worker import stopping


def main() -> None:
    """Heed signals, and only then load what a command needs: that takes seconds on a busy machine."""
    stopping.heed(sys.argv[1:])
    from payscore_worker.cli import main as run_command  # noqa: PLC0415 - see above

    run_command()


if __name__ == "__main__":
    main()
