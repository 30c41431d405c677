"""`make cluster`: every failure, and the page; or some of them again: `--only 'PostgreSQL: primary killed'`."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.cluster import SETTINGS
from deploy.local.errors import SetupFailed
from payscore_worker import logs
from tests.clusters.cases import Result, play
from tests.clusters.failures import FAILURES, Failure
from tests.clusters.ground import a_ground
from tests.clusters.pages import Findings, write_pages
from tests.clusters.pair import DATABASE
from tests.crash.certificate import look_around
from tests.integration.storage.servers import pgbouncer, version_of
from tests.tasks import end_in_order


def main() -> int:
    arguments = _parser().parse_args()
    unknown = [name for name in arguments.only if name not in FAILURES]
    if unknown:
        sys.stderr.write(f"no failure {unknown[0]!r}; there are:\n  " + "\n  ".join(FAILURES) + "\n")
        return 2
    logs.set_up(as_json=False, level=logging.CRITICAL)  # what our own desk suffers is no news
    try:
        return asyncio.run(_play(arguments, [FAILURES[name] for name in arguments.only or FAILURES]))
    except (SetupFailed, pytest.skip.Exception) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def _play(arguments: argparse.Namespace, failures: list[Failure]) -> int:
    end_in_order()
    settings = arguments.set or SETTINGS
    began, results = time.monotonic(), []
    with ExitStack() as stack:
        directory = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="payscore-cluster-")))
        directory.mkdir(parents=True, exist_ok=True)
        async with a_ground(directory, settings=settings) as ground:
            surroundings = await look_around(ground.cluster.nodes[0].url, ground.pair.primary.server.url(DATABASE))
            for failure in failures:
                result = await play(ground, failure, family=arguments.family, last=failure is failures[-1])
                results.append(result)
                _tell(result)
    findings = Findings(
        results=results,
        surroundings=surroundings,
        pgbouncer=version_of(pgbouncer()),
        settings=settings,
        family=arguments.family,
        seconds=time.monotonic() - began,
    )
    if not arguments.only and not arguments.no_page:
        write_pages(findings)
    verdict = "every law holds, every pause is within its goal" if findings.ok else "NOT EVERYTHING HOLDS"
    sys.stdout.write(f"{verdict}: {len(results)} failures; {findings.seconds:.0f} s\n")
    return 0 if findings.ok else 1


def _tell(result: Result) -> None:
    """Tell how it went."""
    sys.stdout.write(
        f"{result.failure.name}: {result.settled} of {result.trips} trips settled; longest pause "
        f"{result.pause_seconds:.1f} s (goal {result.failure.goal_seconds:.0f} s), "
        f"nothing heard for {result.silence_seconds:.1f} s, "
        f"all at rest {result.rest_seconds:.0f} s after the last trip began\n"
    )
    for violation in result.violations:
        sys.stdout.write(f"  BROKEN {violation}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="FAILURE", help="stage this one; no page")
    parser.add_argument("--family", default="payafter", choices=("payafter", "serviceorder"))
    parser.add_argument("--set", action="append", default=[], metavar="LINE", help="of rabbitmq.conf, instead of ours")
    parser.add_argument("--keep", type=Path, help="keep logs here")
    parser.add_argument("--no-page", action="store_true", help="leave docs/cluster.md alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
