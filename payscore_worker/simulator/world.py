"""What a simulator remembers whatever is bought and by what product; a reset begins a new one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from payscore_worker.simulator.agenda import Agenda
from payscore_worker.simulator.callbacks import Callbacks
from payscore_worker.simulator.config import SimulatorConfig
from payscore_worker.simulator.numbering import Numbers
from payscore_worker.simulator.passengers import Passengers
from payscore_worker.simulator.platform import Platform
from payscore_worker.simulator.script import Faults
from payscore_worker.simulator.transactions import Transactions


@dataclass(frozen=True, kw_only=True)
class World:
    config: SimulatorConfig
    clock: Callable[[], datetime]
    platform: Platform
    passengers: Passengers
    faults: Faults
    agenda: Agenda
    callbacks: Callbacks
    numbers: Numbers
    transactions: Transactions

    @classmethod
    def begin(cls, config: SimulatorConfig, clock: Callable[[], datetime]) -> Self:
        platform = Platform(config)
        agenda = Agenda(clock, speed=config.speed)
        faults = Faults(seed=config.seed, now=agenda.now)
        return cls(
            config=config,
            clock=clock,
            platform=platform,
            passengers=Passengers(),
            faults=faults,
            agenda=agenda,
            callbacks=Callbacks(platform=platform, faults=faults, agenda=agenda, clock=clock),
            numbers=Numbers(clock),
            transactions=Transactions(),
        )
