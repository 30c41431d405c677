"""`make answer-certificate`: everything, and the page; or one case again: `--case 'sqlite payafter settle; …'`."""

import argparse
import asyncio
import logging
import os
import sys
from typing import Final

from payscore_worker import logs
from tests.answers.cases import DATABASES, Case, Result, parse
from tests.answers.certificate import Certificate, Size, certify, look_around, tally
from tests.answers.flows import FLOWS
from tests.answers.laws import Breach
from tests.answers.pages import write_pages
from tests.answers.pool import play_here

POSTGRESQL_URL: Final = "PAYSCORE_TEST_DATABASE_URL"


def main() -> int:
    arguments = _parser().parse_args()
    try:
        cases = [parse(name) for name in arguments.case]
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.set_up(as_json=False, level=logging.CRITICAL)  # what the workers say of wrong answers is no news
    try:
        return _replay(cases) if cases else _certify(arguments)
    except KeyboardInterrupt:
        return 130


def _certify(arguments: argparse.Namespace) -> int:
    postgresql_url = os.environ.get(POSTGRESQL_URL)
    if not postgresql_url:
        sys.stderr.write(f"{POSTGRESQL_URL} names no PostgreSQL; `make answer-certificate` finds or starts one\n")
        return 2
    size = Size(whole=arguments.whole, sampled=arguments.sampled, seed=arguments.seed, processes=arguments.processes)
    certificate = certify(asyncio.run(look_around(postgresql_url)), size, arguments.flow or tuple(FLOWS))
    if not arguments.no_page and not arguments.flow:
        write_pages(certificate)
    for flow in arguments.flow:
        _tell_of(flow, certificate)
    _sum_up(certificate)
    return 0 if certificate.ok else 1


def _tell_of(flow: str, certificate: Certificate) -> None:
    counted = tally(result for result in certificate.sound if result.case.flow == flow)
    breaches = ", ".join(f"{counted.of(breach)} {breach}" for breach in Breach if counted.of(breach))
    sys.stdout.write(f"{flow}: {counted.cases} cases, {breaches or 'no law broken'}; not asked {counted.unreached}\n")


def _sum_up(certificate: Certificate) -> None:
    verdict = "holds" if certificate.ok else "DOES NOT HOLD"
    sys.stdout.write(f"the certificate {verdict}: {len(certificate.sound)} cases, {len(certificate.broken)} broken, ")
    sys.stdout.write(f"bugs not caught: {', '.join(certificate.uncaught) or 'none'}; {certificate.seconds:.0f} s\n")


def _replay(cases: list[Case]) -> int:
    results = [result for case in cases for result in play_here([case], briefly=False)]
    for result in results:
        _tell(result)
    return 1 if any(result.violations for result in results) else 0


def _tell(result: Result) -> None:
    """Tell the story of a case."""
    sys.stdout.write(f"{result.case.name}\n")
    for line in (*result.story, *map(str, result.violations)):
        sys.stdout.write(f"  {line}\n")
    if result.case.strike is not None and not result.struck:
        sys.stdout.write("  the call was not made\n")
    sys.stdout.write("  broken\n" if result.violations else "  every law holds\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make answer-certificate", description=__doc__)
    parser.add_argument(
        "--case", action="append", default=[], metavar="CASE", help="play this case, and tell its story"
    )
    parser.add_argument(
        "--flow", action="append", default=[], choices=FLOWS, metavar="FLOW", help="play this flow; writes no page"
    )
    parser.add_argument("--whole", choices=DATABASES, default="sqlite", help="the database to play every case on")
    parser.add_argument("--sampled", type=int, default=2_000, help="cases to draw for the other database")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: 1)")
    parser.add_argument("-n", "--processes", type=int, default=os.cpu_count() or 1, help="cases at once")
    parser.add_argument("--no-page", action="store_true", help="leave docs/answer-certificate.md alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
