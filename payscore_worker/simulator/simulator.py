"""The simulator as a whole: calls come in, money and callbacks go out, tests script it and ask what happened."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import httpx
from httpx_aiohttp import AiohttpTransport

from payscore_worker.simulator.callbacks import TIMEOUT_SECONDS, Delivery, Notification
from payscore_worker.simulator.calls import Call, CallRecord, Reply
from payscore_worker.simulator.config import SimulatorConfig
from payscore_worker.simulator.desk import Desk
from payscore_worker.simulator.faults import Fault
from payscore_worker.simulator.gateway import Gateway
from payscore_worker.simulator.members import Entity
from payscore_worker.simulator.passengers import Passenger
from payscore_worker.simulator.payscore.answering import PayScore
from payscore_worker.simulator.payscore.desk import PayScoreDesk
from payscore_worker.simulator.payscore.happenings import Happenings, UnknownOrder
from payscore_worker.simulator.payscore.ledger import Ledger, LedgerEntry, read_ledger, read_page
from payscore_worker.simulator.payscore.pages import Pages
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.payscore.switching import Switching
from payscore_worker.simulator.payscore.wallet import Wallet
from payscore_worker.simulator.refunds.answers import refund_entity
from payscore_worker.simulator.refunds.book import RefundBook, RefundStatus
from payscore_worker.simulator.refunds.desk import RefundDesk
from payscore_worker.simulator.refunds.endings import RefundEndings, UnknownRefund
from payscore_worker.simulator.refunds.ledger import RefundEntry, read_refund_page
from payscore_worker.simulator.script import ScriptedFault
from payscore_worker.simulator.security import SecurityDesk
from payscore_worker.simulator.transaction_desk import TransactionDesk
from payscore_worker.simulator.world import World

TICK_SECONDS: Final = 0.05
"""How often the agenda is looked at: fine enough for a payment, and 0.3 % of a core when nothing happens."""
MAX_SENDING: Final = 32
"""Callbacks under way at once; a receiver that hangs holds each for 5 s at most."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Simulator:
    """Enter it to have debits and callbacks happen by themselves; or call `run_once`, and they happen then."""

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        clock: Callable[[], datetime] = utc_now,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.config: Final = config
        self._clock = clock
        self._http = http
        self._own_http: httpx.AsyncClient | None = None
        self._running: asyncio.Task[None] | None = None
        self._begin()

    async def __aenter__(self) -> Self:
        if self._http is None:
            self._http = self._own_http = _http_client()
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
        if self._own_http is not None:
            await self._own_http.aclose()
            self._http = self._own_http = None
        if running is not None and not running.cancelled():
            running.result()  # it ended by itself: raises why

    async def run_once(self) -> None:
        """Does what is due now, and returns when its callbacks have been answered."""
        self._world.agenda.run_due()
        for delivery in self._world.callbacks.take_waiting():
            await self._deliver(delivery)

    def answer(self, call: Call) -> Reply:
        """WeChat Pay's answer to a merchant."""
        return self._gateway.answer(call)

    # What happened

    @property
    def orders_created(self) -> list[str]:
        """The out_order_no of every order, in the order of their acceptance."""
        return [page.out_order_no for page in self._state.book.pages() if page.order]

    def ledger(self) -> Ledger:
        return read_ledger(self._state)

    def ledger_entry(self, out_order_no: str) -> LedgerEntry:
        page = self._state.book.page(out_order_no)
        if page is None:
            raise UnknownOrder(f"no order {out_order_no}")
        return read_page(page, self._state)

    def entity(self, out_order_no: str) -> Entity | None:
        """The order as a query would answer; None where no create was accepted."""
        order = self._state.book.order(out_order_no)
        return self._state.family(order.family).query_response(order) if order else None

    def refund_entry(self, out_refund_no: str) -> RefundEntry:
        """Of an accepted refund."""
        page = self._refunds.page(out_refund_no)
        if page is None or page.refund is None:
            raise UnknownRefund(f"no refund {out_refund_no}")
        return read_refund_page(page)

    def refund_entity(self, out_refund_no: str) -> Entity | None:
        """The refund as a query would answer; None where none was accepted."""
        refund = self._refunds.refund(out_refund_no)
        return refund_entity(refund) if refund else None

    def calls(self, limit: int = 100) -> list[CallRecord]:
        """The newest first."""
        return self._gateway.recent(limit)

    def notifications(self, limit: int = 100) -> list[Notification]:
        """The newest first."""
        return self._world.callbacks.recent(limit)

    # How passengers behave

    def passenger(self, openid: str) -> Passenger:
        return self._world.passengers.of(openid)

    def set_passenger(self, openid: str, passenger: Passenger) -> None:
        self._world.passengers.set(openid, passenger)

    def set_order(self, out_order_no: str, passenger: Passenger) -> None:
        """How the passenger of this one order behaves, before or after it is created."""
        self._world.passengers.set_for_order(out_order_no, passenger)

    def open_service(self, openid: str, *, service_id: str | None = None) -> None:
        """Announced as of that service of the merchant's; None: the first. The passenger has all of them or none."""
        self._switching.open_service(openid, service_id)

    def close_service(self, openid: str, *, service_id: str | None = None) -> None:
        self._switching.close_service(openid, service_id)

    # What passengers do on the pages that a client jump opens

    def enable(self, apply_permissions_token: str, openid: str) -> None:
        self._pages.enable(apply_permissions_token, openid)

    def enable_signed(self, extra_data: Mapping[str, str], openid: str) -> None:
        """By the older jump, whose extraData the merchant has signed with its APIv2 key."""
        self._pages.enable_signed(extra_data, openid)

    def confirm(self, package: str, openid: str) -> None:
        self._pages.confirm(package, openid)

    def leave(self, package: str, openid: str) -> None:
        """Without confirming; the order is then his, and nobody can confirm it any more."""
        self._pages.leave(package, openid)

    @property
    def pages(self) -> Pages:
        """The same by the jump's own members, step by step; a reset puts others in their place."""
        return self._pages

    @property
    def wallet(self) -> Wallet:
        """What passengers do without a jump."""
        return self._wallet

    # What happens behind the merchant's back

    def pay(self, out_order_no: str) -> None:
        self._happenings.pay(out_order_no)

    def revoke(self, out_order_no: str) -> None:
        self._happenings.revoke(out_order_no)

    def expire(self, out_order_no: str) -> None:
        self._happenings.expire(out_order_no)

    def lower(self, out_order_no: str, total_fen: int) -> None:
        self._happenings.lower(out_order_no, total_fen)

    def complete_by_hand(self, out_order_no: str, total_fen: int) -> None:
        self._happenings.complete_by_hand(out_order_no, total_fen)

    def sync(self, out_order_no: str) -> None:
        self._happenings.pay_elsewhere(out_order_no, at=self._clock())

    def end_refund(self, out_refund_no: str, status: RefundStatus) -> None:
        """SUCCESS, ABNORMAL or CLOSED, now; and the merchant is told."""
        self._endings.end(out_refund_no, status)

    @property
    def refund_balance_fen(self) -> int | None:
        return self._refunds.balance_fen

    def set_refund_balance(self, balance_fen: int | None) -> None:
        """What the merchant has to refund from; None: always enough."""
        self._refunds.set_balance(balance_fen)

    def resend(self, notification_id: str) -> None:
        self._world.callbacks.resend(notification_id)

    # What goes wrong

    def add_fault(self, fault: Fault) -> ScriptedFault:
        return self._world.faults.add(fault)

    def faults(self) -> list[ScriptedFault]:
        """Those that wait for their call, and then those that are spent."""
        return [*self._world.faults.waiting(), *self._world.faults.spent()]

    def clear_faults(self) -> None:
        self._world.faults.clear()

    # Time and keys

    def advance(self, seconds: float) -> None:
        """Brings debits and callbacks forward, as if that much time had passed; the clock of the wire stays true."""
        self._world.agenda.advance(seconds)

    @property
    def advanced_seconds(self) -> float:
        return self._world.agenda.advanced_seconds

    def rotate_certificate(self) -> str:
        """The serial of the new platform certificate, which signs from now on."""
        return self._world.platform.rotate()

    def reset(self) -> None:
        """Forgets everything but the keys."""
        self._begin()

    def _begin(self) -> None:
        self._world = World.begin(self.config, self._clock)
        self._refunds = RefundBook(balance_fen=self.config.refund_balance_fen)
        self._endings = RefundEndings(self._world, self._refunds)
        self._state = PayScoreState.begin(self._world, self._refunds)
        self._happenings = Happenings(self._state)
        self._switching = Switching(self._state)
        self._pages = Pages(self._state, self._switching)
        self._wallet = Wallet(self._state, self._happenings, self._switching)
        desks: list[Desk] = [
            PayScoreDesk(self._state, PayScore(self._state, self._happenings, self._switching)),
            RefundDesk(self._world, self._refunds, self._endings),
            TransactionDesk(self._world, self._refunds),
            SecurityDesk(self._world),
        ]
        self._gateway = Gateway(self._world, desks)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            sending: set[asyncio.Task[None]] = set()
            while True:
                self._world.agenda.run_due()
                for delivery in self._world.callbacks.take_waiting(MAX_SENDING - len(sending)):
                    task = group.create_task(self._deliver(delivery))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                await asyncio.sleep(TICK_SECONDS)

    async def _deliver(self, delivery: Delivery) -> None:
        if self._http is None:
            raise RuntimeError("enter the simulator, or give it an http client, before it sends callbacks")
        await self._world.callbacks.deliver(delivery, self._http)


def _http_client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=MAX_SENDING, max_keepalive_connections=MAX_SENDING)
    return httpx.AsyncClient(transport=AiohttpTransport(limits=limits), timeout=TIMEOUT_SECONDS)
