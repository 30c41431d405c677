"""Everything that a simulator remembers; a reset begins a new one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from payscore_worker.simulator.agenda import Agenda
from payscore_worker.simulator.book import Book
from payscore_worker.simulator.callbacks import Callbacks
from payscore_worker.simulator.config import SimulatorConfig
from payscore_worker.simulator.family import Family
from payscore_worker.simulator.numbering import Numbers
from payscore_worker.simulator.passengers import Passengers
from payscore_worker.simulator.payafter import PayAfter
from payscore_worker.simulator.platform import Platform
from payscore_worker.simulator.script import Faults
from payscore_worker.simulator.serviceorder import ServiceOrder


@dataclass(frozen=True, kw_only=True)
class World:
    config: SimulatorConfig
    clock: Callable[[], datetime]
    platform: Platform
    payafter: PayAfter
    serviceorder: ServiceOrder
    book: Book
    passengers: Passengers
    faults: Faults
    agenda: Agenda
    callbacks: Callbacks
    numbers: Numbers

    @classmethod
    def begin(cls, config: SimulatorConfig, clock: Callable[[], datetime]) -> Self:
        platform = Platform(config)
        agenda = Agenda(clock, speed=config.speed)
        faults = Faults(seed=config.seed, now=agenda.now)
        return cls(
            config=config,
            clock=clock,
            platform=platform,
            payafter=PayAfter(mchid=config.keys.mchid, service_cap_fen=config.service_cap_fen),
            serviceorder=ServiceOrder(mchid=config.keys.mchid, service_cap_fen=config.service_cap_fen),
            book=Book(max_orders=config.max_orders),
            passengers=Passengers(),
            faults=faults,
            agenda=agenda,
            callbacks=Callbacks(platform=platform, faults=faults, agenda=agenda, clock=clock),
            numbers=Numbers(clock),
        )

    def family(self, name: str) -> Family:
        families: dict[str, Family] = {"payafter": self.payafter, "serviceorder": self.serviceorder}
        return families[name]
