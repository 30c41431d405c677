"""`make fuzz`: hostile inputs to the webhook, the event parsers and the settings, and the page; or one input again."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Final

from tests.hostile.campaign import Tally, chance_of, kind_of, play, run
from tests.hostile.pages import Findings, write_pages

TELL_EVERY_SECONDS: Final = 10.0
INPUTS: Final = 1_000_000


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.only:
        return _again(*arguments.only)
    began = time.monotonic()
    try:
        tally = run(arguments.seed, arguments.inputs, arguments.processes, _progress(arguments.inputs))
    except KeyboardInterrupt:
        return 130
    seconds = time.monotonic() - began
    findings = Findings(tally=tally, seed=arguments.seed, processes=arguments.processes, seconds=seconds)
    if not arguments.no_page:
        write_pages(findings)
    _sum_up(tally, seconds)
    return 1 if tally.broken else 0


def _again(seed: int, number: int) -> int:
    """Play one input again, with what the product logs of it."""
    chance = chance_of(seed, number)
    kind = kind_of(chance)
    sys.stdout.write(f"{kind.target}, {kind.name}: {kind.make(chance)}\n")  # the first, if several were drawn
    tally = asyncio.run(play(seed, range(number, number + 1)))
    _sum_up(tally, 0)
    return 1 if tally.broken else 0


def _progress(inputs: int) -> Callable[[int, float], None]:
    told_at = 0.0

    def tell(done: int, seconds: float) -> None:
        nonlocal told_at
        if seconds - told_at > TELL_EVERY_SECONDS:
            told_at = seconds
            sys.stderr.write(f"  {done:,} of {inputs:,}, {done / seconds:,.0f} a second\n")
            sys.stderr.flush()

    return tell


def _sum_up(tally: Tally, seconds: float) -> None:
    width = max(len(kind) for kind, _ in tally.outcomes)
    for kind in dict.fromkeys(kind for kind, _ in sorted(tally.outcomes)):
        counted = ", ".join(f"{outcome} {count:,}" for outcome, count in sorted(tally.of(kind).items()))
        sys.stdout.write(f"{kind:{width}}  {counted}\n")
    for example in tally.examples:
        sys.stdout.write(f"BROKEN {example}\n")
    broken = (
        ", ".join(f"{count} {breach}" for breach, count in tally.broken.items())
        or "nothing published, nothing unhandled"
    )
    sys.stdout.write(f"{tally.hostile:,} hostile inputs in {seconds:.0f} s: {broken}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help=f"how many (default: {INPUTS:,})")
    parser.add_argument("--seed", type=int, default=1, help="of all inputs (default: 1)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    parser.add_argument("--only", type=_name, metavar="SEED:NUMBER", help="play this input again, and show it")
    parser.add_argument("--no-page", action="store_true", help="leave docs/hostile-input.md alone")
    return parser


def _name(text: str) -> tuple[int, int]:
    seed, _, number = text.partition(":")
    return int(seed), int(number)


if __name__ == "__main__":
    sys.exit(main())
