"""A case: a flow, a call of it, and how that call is answered. It has a name by which it can be played again."""

import random
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from payscore_worker import metrics
from payscore_worker.simulator import CallKind, LedgerEntry
from tests.answers.answers import ANSWERS
from tests.answers.bugs import BUGS
from tests.answers.city import NUMBERS, TRIP_ID, City, a_city, host_of
from tests.answers.flows import FLOWS
from tests.answers.ground import Ground
from tests.answers.laws import ALIVE, Evidence, Promise, Violation, judge
from tests.answers.strikes import EXTENTS, Strike
from tests.answers.wire import Exchange

HORIZON: Final = timedelta(days=5)
"""Whatever has not come to rest by then never will: the ladder of retries ends within a day."""

EXAMPLE: Final = "'sqlite payafter settle; one worker; create #1; SIGN_ERROR; once'"

MOST_TOLD: Final = 80
"""Lines of a story: what goes on for longer repeats itself."""

DATABASES: Final = ("sqlite", "postgresql")
FAMILIES: Final = ("payafter", "serviceorder")

CREWS: Final = {"one worker": (1, None), "two workers": (2, None), "one of two misled": (2, "beta")}
"""How many there are, and who of them is answered so; None: everybody. Of two, the nearer one is answered first."""

_NAME: Final = re.compile(
    r"(?:\[(?P<bug>.+)\] )?(?P<database>\w+) (?P<family>\w+) (?P<flow>[\w, ]+); (?P<crew>[\w ]+)"
    r"(?:; (?P<call>\w+) #(?P<number>\d+); (?P<answer>[^;]+); (?P<extent>[\w ]+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What to play."""

    database: str
    family: str
    flow: str
    crew: str = "one worker"
    strike: Strike | None = None
    bug: str = ""

    @property
    def name(self) -> str:
        """Write it so that `parse` reads it."""
        bug = f"[{self.bug}] " if self.bug else ""
        strike = self.strike
        struck = "" if strike is None else f"; {strike.call} #{strike.number}; {strike.answer.name}; {strike.extent}"
        return f"{bug}{self.database} {self.family} {self.flow}; {self.crew}{struck}"


def parse(name: str) -> Case:
    """Read the name of a case.

    Raises:
        ValueError: it is none; the text says what one looks like.

    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"no case {name!r}: one is called like {EXAMPLE}")
    known: dict[str, Collection[str]] = {"database": DATABASES, "family": FAMILIES, "flow": FLOWS, "crew": CREWS}
    if found["bug"]:
        known |= {"bug": BUGS}
    if found["call"]:
        known |= {"call": set(CallKind), "answer": ANSWERS, "extent": EXTENTS}
    for part, values in known.items():
        if found[part] not in values:
            raise ValueError(f"no case {name!r}: {part} is one of {', '.join(sorted(values))}")
    strike = None
    if found["call"]:
        call, answer = CallKind(found["call"]), ANSWERS[found["answer"]]
        strike = Strike(call=call, number=int(found["number"]), answer=answer, extent=found["extent"])
    return Case(
        database=found["database"],
        family=found["family"],
        flow=found["flow"],
        crew=found["crew"],
        strike=strike,
        bug=found["bug"] or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went."""

    case: Case
    struck: bool
    """Whether any call was answered so."""
    violations: tuple[Violation, ...]
    seconds: float
    """Of real time."""
    calls: tuple[tuple[CallKind, int], ...] = field(default=(), repr=False)
    """The calls of the trip, in their order: kind, and the how-manieth of it."""
    story: tuple[str, ...] = field(default=(), repr=False)

    def brief(self) -> "Result":
        """Leave out what only one case's reader wants."""
        return replace(self, story=())


class _Script:
    """Adds the faults at the moment the call of the case is made."""

    def __init__(self, city: City, case: Case) -> None:
        self._city = city
        self._strike = case.strike
        victim = CREWS[case.crew][1]
        self._victim = victim
        self._host = host_of(victim) if victim else None
        self._seen = 0
        self.began = False

    def on_call(self, exchange: Exchange) -> None:
        strike = self._strike
        if strike is None or self.began or exchange.kind is not strike.call or is_probe(exchange):
            return
        if self._victim is not None and exchange.worker != self._victim:
            return
        self._seen += 1
        if self._seen < strike.number:
            return
        self.began = True
        for fault in strike.faults(host=self._host):
            self._city.simulator.add_fault(fault)


def is_probe(exchange: Exchange) -> bool:
    """Tell whether a question is about no trip of ours."""
    return exchange.kind is CallKind.QUERY and exchange.out_order_no not in NUMBERS


async def play(ground: Ground, case: Case) -> Result:
    """Play a case until all is at rest, and judge it."""
    random.seed(case.name)
    began = time.perf_counter()
    crew, _ = CREWS[case.crew]
    flow = FLOWS[case.flow]
    stumbled = _stumbles()
    async with a_city(
        ground,
        case.family,
        workers=crew,
        needs_confirm=flow.needs_confirm,
        has_accounts=flow.is_second_accounts,
        second_risk_fen=flow.second_risk_fen,
        **flow.config,
    ) as city:
        script = _Script(city, case)
        city.on_call = script.on_call
        await flow.play(city)
        rested = await city.rests(HORIZON)
        evidence = await _look(city, rested=rested, stumbles=_stumbles() - stumbled)
    promise = Promise(flow=flow, strike=case.strike, family=case.family)
    return Result(
        case=case,
        struck=script.began,
        violations=tuple(judge(promise, evidence)),
        seconds=time.perf_counter() - began,
        calls=_calls(evidence),
        story=tuple(_story(city, evidence)),
    )


def _stumbles() -> int:
    """Count the errors that the reconciler had not foreseen; it tells its log and its metrics of them."""
    return sum(
        int(metrics.of(counter, "error")._value.get()) for counter in (metrics.TAKEN_UP, metrics.REFUNDS_TAKEN_UP)
    )


async def _look(city: City, *, rested: bool, stumbles: int) -> Evidence:
    ledger, row = city.simulator.ledger(), await city.ground.trip(TRIP_ID)
    number = TRIP_ID if row is None else str(row["out_order_no"])
    orders = {known: order for known, order in ledger.orders.items() if order.creates}
    return Evidence(
        row=row,
        refunds=tuple(await city.ground.refunds()),
        journal=await city.ground.calls(),
        order=ledger.orders.get(number),
        orders=len([known for known, order in orders.items() if known == number or not _is_nothing(order)]),
        astray=tuple(city.other.ledger().orders) if city.other is not None else (),
        heard=tuple(city.heard),
        exchanges=tuple(exchange for exchange in city.exchanges if not is_probe(exchange)),
        dead=tuple(city.broker.dead),
        surprises=(*city.broker.surprises, *(["the reconciler stumbled"] * stumbles)),
        called_back=tuple(city.called_back),
        cancelled_at=city.cancelled_at,
        rested=rested,
    )


def _is_nothing(order: LedgerEntry) -> bool:
    """Tell whether an order takes nothing from anybody: it was cancelled, and never charged."""
    return order.stage not in ALIVE and not order.charged_fen


def _calls(evidence: Evidence) -> tuple[tuple[CallKind, int], ...]:
    seen: dict[CallKind, int] = {}
    calls = []
    for exchange in evidence.exchanges:
        seen[exchange.kind] = seen.get(exchange.kind, 0) + 1
        calls.append((exchange.kind, seen[exchange.kind]))
    return tuple(calls)


def _story(city: City, evidence: Evidence) -> list[str]:
    """Tell what happened, in order."""
    began = min((exchange.sent_at for exchange in city.exchanges), default=0.0)
    lines = [(exchange.sent_at, str(exchange)) for exchange in evidence.exchanges]
    lines += [(heard.at, f"announced {heard.type} {heard.data.get('code', '')}".rstrip()) for heard in city.heard]
    if evidence.cancelled_at is not None:
        lines.append((evidence.cancelled_at, "the ride service takes the trip back"))
    probes = len(city.exchanges) - len(evidence.exchanges)
    row = evidence.row or {}
    end = f"at the end: {row.get('state')}, problem {row.get('problem')}, due {row.get('due_at')}"
    for refund in evidence.refunds:
        end += f"; refund: {refund['state']}, problem {refund['problem']}, due {refund['due_at']}"
    order = evidence.order
    books = (
        "no order"
        if order is None
        else f"{order.state}, charged {order.charged_fen} fen, sent back {order.refunded_fen} fen"
    )
    told = [f"{at - began:9.2f} s  {what}" for at, what in sorted(lines, key=lambda line: line[0])]
    return [
        *told[:MOST_TOLD],
        *([f"... and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []),
        *([f"the breakers' probes: {probes}"] if probes else []),
        end,
        f"WeChat Pay's books: {books}",
        *(f"dead letter: {letter}" for letter in evidence.dead),
    ]
