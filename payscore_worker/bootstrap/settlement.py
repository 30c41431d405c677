"""The settlement, under the terms of the settings."""

from collections.abc import Callable, Sequence
from datetime import datetime

from payscore_worker.bootstrap.wiring import now
from payscore_worker.domain.account import DEFAULT, Account
from payscore_worker.domain.next_step import Rules
from payscore_worker.settings import OrderSettings, duration, durations
from payscore_worker.settlement.authorisations import Authorisations
from payscore_worker.settlement.refunds import Refunds
from payscore_worker.settlement.trip_steps import Terms
from payscore_worker.settlement.trips import Settlement
from payscore_worker.storage import Storage
from payscore_worker.wechatpay.payscore import CAPPED, LOWERING, PAYING, TICKETED, PayScores
from payscore_worker.wechatpay.transactions import Refunds as WechatPayRefunds


def make_settlement(
    *,
    storage: Storage,
    payscores: PayScores,
    orders: OrderSettings,
    accounts: Sequence[Account] = (),
    on_announced: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = now,
) -> Settlement:
    """Make the settlement under the terms of the settings; `accounts`: the default one first, where they are named."""
    default = accounts[0] if accounts else None
    terms = Terms(
        introduction=default.introduction if default else orders.service_introduction,
        start_at_event=orders.start_time == "event",
        service_state_ttl=duration(orders.service_state_ttl),
        out_order_no_prefix=default.out_order_no_prefix if default else orders.out_order_no_prefix,
    )
    rules = make_rules(payscores, orders, accounts)
    return Settlement(
        storage=storage, payscores=payscores, rules=rules, terms=terms, clock=clock, on_announced=on_announced
    )


def make_refunds(
    *,
    storage: Storage,
    payscores: PayScores,
    refunds: WechatPayRefunds,
    orders: OrderSettings,
    accounts: Sequence[Account] = (),
    on_announced: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = now,
) -> Refunds:
    """Make the refunds of what is settled so."""
    return Refunds(
        storage=storage,
        refunds=refunds,
        rules=make_rules(payscores, orders, accounts),
        prefix=accounts[0].out_order_no_prefix if accounts else orders.out_order_no_prefix,
        clock=clock,
        on_announced=on_announced,
    )


def make_authorisations(
    *,
    storage: Storage,
    payscores: PayScores,
    settlement: Settlement,
    orders: OrderSettings,
    accounts: Sequence[Account] = (),
    on_announced: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = now,
) -> Authorisations:
    """Make the authorisations of the passengers whose trips are settled so."""
    return Authorisations(
        storage=storage,
        payscores=payscores,
        settlement=settlement,
        prefix=accounts[0].out_order_no_prefix if accounts else orders.out_order_no_prefix,
        clock=clock,
        on_announced=on_announced,
    )


def make_rules(payscores: PayScores, orders: OrderSettings, accounts: Sequence[Account] = ()) -> Rules:
    """Say what families and settings decide for every trip."""
    return Rules(
        account=accounts[0].name if accounts else DEFAULT,
        others=tuple(accounts[1:]),
        family=payscores.current.family,
        ticketed=TICKETED,
        capped=CAPPED,
        lowering=LOWERING,
        risk_amount_fen=accounts[0].risk_amount_fen if accounts else orders.risk_amount_fen,
        second_risk_amount_fen=(accounts[0] if accounts else orders).second_risk_amount_fen,
        paying=PAYING,
        poll_delays=durations(orders.poll_delays),
        stale_after=duration(orders.stale_after),
        overdue_after=tuple(sorted(durations(orders.overdue_after))),
        need_user_confirm=payscores.current.terms.need_user_confirm,
        confirm_expires=duration(orders.confirm_expires),
        pay_after=tuple(sorted(durations(orders.pay_after))) if orders.pay_after else (),
        refunds_paid_twice=orders.paid_twice == "refund",
    )
