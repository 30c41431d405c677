"""`make crash-certificate`: everything, and the page; or one case again: `--only 'postgresql payafter happy: …'`."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from deploy.local.rabbitmq import DEFAULT_URL
from tests.crash.cases import Case, Result, parse
from tests.crash.certificate import Certificate, Size, certify, look_around, tally
from tests.crash.fleet import a_fleet
from tests.crash.flows import FLOWS
from tests.crash.laws import Breach
from tests.crash.orphans import clear_up
from tests.crash.pages import write_pages

LANES_A_CORE: Final = 5
"""Most of a case is waiting, a second of it for the ride."""

AMQP_URL: Final = "PAYSCORE_AMQP_URL"
POSTGRESQL_URL: Final = "PAYSCORE_TEST_DATABASE_URL"


def main() -> int:
    arguments = _parser().parse_args()
    try:
        cases = [parse(name) for name in arguments.only]
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    work = _clean() if arguments.clean else _replay(arguments, cases) if cases else _certify(arguments)
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        return 130


async def _clean() -> int:
    sys.stdout.write(f"lanes of killed runs cleared up: {await clear_up()}\n")
    return 0


async def _certify(arguments: argparse.Namespace) -> int:
    amqp_url, postgresql_url = _urls()
    if postgresql_url is None:
        sys.stderr.write(f"{POSTGRESQL_URL} names no PostgreSQL; `make crash-certificate` finds or starts one\n")
        return 2
    size = Size(seed=arguments.seed, pairs=arguments.pairs, recoveries=arguments.recoveries)
    surroundings = await look_around(amqp_url, postgresql_url)
    async with a_fleet(
        amqp_url=amqp_url, postgresql_url=postgresql_url, lanes=arguments.lanes, keep=arguments.keep
    ) as fleet:
        certificate = await certify(fleet, surroundings, size, arguments.flow or tuple(FLOWS))
    if not arguments.no_page and not arguments.flow:
        write_pages(certificate)
    for flow in arguments.flow:
        _tell_of(flow, certificate)
    _sum_up(certificate)
    return 0 if certificate.ok else 1


def _tell_of(flow: str, certificate: Certificate) -> None:
    counted = tally(result for result in certificate.sound if result.case.flow == flow)
    breaches = ", ".join(f"{counted.of(breach)} {breach}" for breach in Breach)
    sys.stdout.write(f"{flow}: {counted.cases} cases, {breaches}; not reached {counted.unreached}\n")


def _sum_up(certificate: Certificate) -> None:
    verdict = "holds" if certificate.ok else "DOES NOT HOLD"
    sys.stdout.write(f"the certificate {verdict}: {len(certificate.sound)} cases, {len(certificate.broken)} broken, ")
    sys.stdout.write(f"bugs not caught: {', '.join(certificate.uncaught) or 'none'}; {certificate.seconds:.0f} s\n")


async def _replay(arguments: argparse.Namespace, cases: list[Case]) -> int:
    amqp_url, postgresql_url = _urls()
    async with a_fleet(amqp_url=amqp_url, postgresql_url=postgresql_url, lanes=1, keep=arguments.keep) as fleet:
        results = await fleet.play(cases, _tell)
    return 1 if any(result.violations for result in results) else 0


def _tell(result: Result) -> None:
    """Tell the story of a case."""
    sys.stdout.write(f"{result.case.name}\n")
    began = result.passed[0].at_ns if result.passed else 0
    for passed in result.passed:
        sys.stdout.write(f"  {(passed.at_ns - began) / 1e9:7.3f} s  {passed.point}\n")
    for line in (*(f"died at: {point}" for point in result.struck), *result.notes, *map(str, result.violations)):
        sys.stdout.write(f"  {line}\n")
    sys.stdout.write("  broken\n" if result.violations else "  every law holds\n")


def _urls() -> tuple[str, str | None]:
    return os.environ.get(AMQP_URL, DEFAULT_URL), os.environ.get(POSTGRESQL_URL) or None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make crash-certificate", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help="play this case, and tell its story"
    )
    parser.add_argument(
        "--flow", action="append", default=[], choices=FLOWS, metavar="FLOW", help="play this flow; writes no page"
    )
    parser.add_argument("--clean", action="store_true", help="only clear up after runs that were killed")
    parser.add_argument("--seed", type=int, default=1, help="of the samples (default: 1)")
    parser.add_argument("--pairs", type=int, default=160, help="pairs of crashes to draw")
    parser.add_argument("--recoveries", type=int, default=160, help="crashes of a recovery to draw")
    parser.add_argument("--lanes", type=int, default=LANES_A_CORE * (os.cpu_count() or 1), help="cases at once")
    parser.add_argument("--keep", type=Path, help="keep logs, traces and databases here")
    parser.add_argument("--no-page", action="store_true", help="leave docs/crash-certificate.md alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
