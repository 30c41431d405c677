"""`make faults`: every fault, and the page; or some of them again: `--only 'broker: frozen'`."""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from deploy.local.errors import SetupFailed
from deploy.local.rabbitmq import DEFAULT_URL
from payscore_worker import logs
from tests.crash.certificate import look_around
from tests.faults.cases import Result
from tests.faults.faults import FAULTS, Fault
from tests.faults.matrix import a_matrix
from tests.faults.pages import Findings, write_pages
from tests.faults.site import Servers
from tests.tasks import end_in_order

AMQP_URL: Final = "PAYSCORE_AMQP_URL"
POSTGRESQL_URL: Final = "PAYSCORE_TEST_DATABASE_URL"


def main() -> int:
    arguments = _parser().parse_args()
    unknown = [name for name in arguments.only if name not in FAULTS]
    if unknown:
        sys.stderr.write(f"no fault {unknown[0]!r}; there are:\n  " + "\n  ".join(FAULTS) + "\n")
        return 2
    if not os.environ.get(POSTGRESQL_URL):
        sys.stderr.write(f"{POSTGRESQL_URL} names no PostgreSQL; `make faults` finds or starts one\n")
        return 2
    logs.set_up(as_json=False, level=logging.CRITICAL)  # what our own desk suffers is no news
    try:
        return asyncio.run(_play(arguments, [FAULTS[name] for name in arguments.only or FAULTS]))
    except SetupFailed as error:  # restarts need servers of our own
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


async def _play(arguments: argparse.Namespace, faults: list[Fault]) -> int:
    end_in_order()
    servers = Servers(amqp_url=os.environ.get(AMQP_URL, DEFAULT_URL), postgresql_url=os.environ[POSTGRESQL_URL])
    surroundings = await look_around(servers.amqp_url, servers.postgresql_url)
    began = time.monotonic()
    with ExitStack() as stack:
        directory = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="payscore-faults-")))
        directory.mkdir(parents=True, exist_ok=True)
        async with a_matrix(
            servers=servers,
            lanes=min(arguments.lanes, sum(not fault.private for fault in faults)),
            private=any(fault.private for fault in faults),
            directory=directory,
            settings={},
        ) as matrix:
            results = await matrix.play(faults, _tell, family=arguments.family)
    findings = Findings(
        results=results, surroundings=surroundings, family=arguments.family, seconds=time.monotonic() - began
    )
    if not arguments.only and not arguments.no_page:
        write_pages(findings)
    verdict = "every law holds" if findings.ok else "NOT EVERY LAW HOLDS"
    sys.stdout.write(f"{verdict}: {len(results)} faults, {len(findings.broken)} broken; {findings.seconds:.0f} s\n")
    return 0 if findings.ok else 1


def _tell(result: Result) -> None:
    opens = "NOT IN TIME" if result.opens_seconds is None else f"{result.opens_seconds:.1f} s"
    sys.stdout.write(
        f"{result.fault.name}: stood {result.stood_seconds:.0f} s, {result.trips} trips, {result.cuts} cuts, "
        f"{result.restarts} restarts; works again after {opens}, all settled after {result.rest_seconds:.0f} s\n"
    )
    for violation in result.violations:
        sys.stdout.write(f"  BROKEN {violation}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="stage this one; writes no page")
    parser.add_argument("--family", default="payafter", choices=("payafter", "serviceorder"))
    parser.add_argument("--lanes", type=int, default=2 * (os.cpu_count() or 1), help="faults at once")
    parser.add_argument("--keep", type=Path, help="keep logs here")
    parser.add_argument("--no-page", action="store_true", help="leave docs/faults.md alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
