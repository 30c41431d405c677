"""WeChat Pay to develop against: stateful, strict, signing, and misbehaving on request."""

from payscore_worker.simulator.app import create_app
from payscore_worker.simulator.calls import CallKind
from payscore_worker.simulator.config import Service, SimulatorConfig
from payscore_worker.simulator.environment import Company, environment, render_environment, write_accounts
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.keys import SimulatorKeys
from payscore_worker.simulator.passenger.screen import ROOT as PASSENGER_PAGE
from payscore_worker.simulator.passengers import Behaviour, Passenger, RefundOutcome
from payscore_worker.simulator.payscore.ledger import Ledger, LedgerEntry
from payscore_worker.simulator.payscore.pages import PageRefused
from payscore_worker.simulator.refunds.book import RefundStatus
from payscore_worker.simulator.refunds.ledger import RefundEntry
from payscore_worker.simulator.serving import uvicorn_config
from payscore_worker.simulator.simulator import Simulator

__all__ = [
    "PASSENGER_PAGE",
    "Behaviour",
    "CallKind",
    "Company",
    "Fault",
    "FaultKind",
    "Ledger",
    "LedgerEntry",
    "PageRefused",
    "Passenger",
    "RefundEntry",
    "RefundOutcome",
    "RefundStatus",
    "Service",
    "Simulator",
    "SimulatorConfig",
    "SimulatorKeys",
    "create_app",
    "environment",
    "render_environment",
    "uvicorn_config",
    "write_accounts",
]
