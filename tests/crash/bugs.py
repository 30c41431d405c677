"""The control group: defects such as others had, put into the product on purpose. The laws must catch every one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from payscore_worker.domain import authorisation, fares, next_step, outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.next_step import AskOrder, OpenOrder, Rest, Rules, Step
from payscore_worker.domain.refund import Pair, Refund
from payscore_worker.domain.trip import (
    DeclineReason,
    Trip,
)
from payscore_worker.errors import OutcomeUnknown
from payscore_worker.messaging import relay
from payscore_worker.messaging.handling import Handling, Held
from payscore_worker.messaging.relay import Relay
from payscore_worker.settlement.refund_steps import RefundSteps
from payscore_worker.settlement.trip_calls import Run
from payscore_worker.settlement.trip_steps import Steps
from payscore_worker.storage import CallOutcome, CallRecord, Direction, EventRecord, postgres, sqlite
from payscore_worker.storage.postgres import PostgresStorage
from payscore_worker.storage.sqlite import SqliteStorage
from payscore_worker.wechatpay import CallKind
from payscore_worker.wechatpay.payscore import AccountPayScores, PayScore
from payscore_worker.wechatpay.payscore.family import Family
from payscore_worker.wechatpay.verification import Verifier
from tests.crash.seams import STORAGES, as_, committing

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A defect, and where to look for it."""

    install: Callable[[], None]
    flows: tuple[str, ...]
    """The flows it is tried on."""


# --- Acks early ---


def _ack_early() -> None:
    """Take the message off RabbitMQ's hands before anything has been done about it."""
    dispose, ack = Handling._dispose, Held.ack

    async def dispose_acked(self: Handling, held: Held, attempt: int) -> str:
        await held.ack("done")
        return await dispose(self, held, attempt)

    async def ack_once(self: Held, outcome: str) -> str:
        return outcome if self.message.processed else await ack(self, outcome)

    _replace(Handling, "_dispose", dispose_acked)
    _replace(Held, "ack", ack_once)


def _replace(owner: type | ModuleType, name: str, method: object) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name} any more: this bug is none now")
    setattr(owner, name, method)


# --- Sends something else on a retry ---


def _new_order_number() -> None:
    """Take no answer for a failure, and start over with another order."""

    def changed(body: dict[str, Any]) -> dict[str, Any]:
        return body | {"out_order_no": f"{body['out_order_no'][:20]}-{datetime.now(UTC):%H%M%S%f}"[:32]}

    _change_on_retry(CallKind.CREATE, changed)


def _body_rebuilt() -> None:
    """Write the complete anew: its members in another order, and the end of the trip as it looks now."""

    def changed(body: dict[str, Any]) -> dict[str, Any]:
        body = dict(sorted(body.items(), reverse=True))
        now = f"{datetime.now(_SHANGHAI):%Y%m%d%H%M%S}"
        if "time_range" in body:
            return body | {"time_range": body["time_range"] | {"end_time": now}}
        return body | {"real_service_end_time": now}

    _change_on_retry(CallKind.COMPLETE, changed)


def _change_on_retry(which: CallKind, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    begin = Steps._begin

    async def changed(self: Steps, run: Run, kind: CallKind) -> CallRecord:
        record = await begin(self, run, kind)
        if kind is not which:
            return record
        return replace(record, body=msgspec.json.encode(change(msgspec.json.decode(record.body))))

    _replace(Steps, "_begin", changed)


# --- Announces in a transaction of its own ---


def _outbox_after_commit() -> None:
    """Commit the change first, and write what is to be said of it afterwards."""
    for storage in STORAGES:
        _split_save(storage)


def _split_save(storage: type[PostgresStorage] | type[SqliteStorage]) -> None:
    save: Callable[..., Any] = storage.save
    announce = committing("announce")(_insert_events)

    async def save_then_announce(self: Any, trip: Trip, *, events: Sequence[EventRecord] = (), **rest: Any) -> bool:
        told = [event for event in events if event.direction is Direction.OUT]
        noted = [event for event in events if event.direction is not Direction.OUT]
        written: bool = await save(self, trip, events=noted, **rest)
        if written and told:
            await announce(self, trip, told)
        return written

    _replace(storage, "save", save_then_announce)


async def _insert_events(storage: PostgresStorage | SqliteStorage, trip: Trip, events: list[EventRecord]) -> None:
    if isinstance(storage, SqliteStorage):
        rows = [sqlite._event_row(trip, event) for event in events]
        await storage._do(lambda db: db.executemany(sqlite._INSERT_EVENT, rows).rowcount)
        return
    insert = postgres._INSERT_EVENTS.format(arrays=postgres._arrays(postgres._EVENT_COLUMNS, 2))
    statement = f"WITH saved AS (SELECT $1::text AS trip_id) {insert}"
    await storage._pool.execute(statement, trip.trip_id, *postgres._event_columns(events))


# --- Takes unknown for failed ---


def _timeout_is_failure() -> None:
    """Give a trip up because WeChat Pay did not answer."""
    send = Steps._send

    async def send_once(self: Steps, run: Run, record: CallRecord, step: type) -> Any:
        try:
            return await send(self, run, record, step)
        except OutcomeUnknown as error:
            given_up = replace(record, outcome=CallOutcome.REFUSED, attempts=error.attempts)
            reason, message = DeclineReason.RISK_REFUSED, "no answer"
            await self._move(
                run, lambda trip: outcomes.declined(trip, reason, message, now=self._clock()), answered=given_up
            )
            return None

    _replace(Steps, "_send", send_once)


# --- Believes what nobody signed, or what is not ours ---


def _forged_believed() -> None:
    """Skip the signature."""

    async def no_doubt(self: Verifier, headers: Mapping[str, str], body: bytes) -> None:
        del self, headers, body

    _replace(Verifier, "doubt", no_doubt)


def _foreign_believed() -> None:
    """Skip the question whose order it is."""
    _replace(Family, "is_ours", lambda _self, _order: True)


# --- Marks before it has published ---


def _marked_before_confirm() -> None:
    """Take announcements off the outbox, then publish them."""

    async def run_once(self: Relay) -> int:
        rows = await self._outbox.claim_outbox(now=self._clock(), lease=relay.LEASE, limit=relay.BATCH)
        if rows:
            await self._outbox.mark_published([row.id for row in rows], now=self._clock())
        for row in rows:
            await self._publish(row)
        return len(rows)

    _replace(Relay, "run_once", as_("relay")(run_once))


# --- Sends more back than it may ---


def _new_refund_number() -> None:
    """Take no answer for a failure, and start over with another refund."""
    begin = RefundSteps._begin

    async def changed(self: RefundSteps, refund: Refund) -> CallRecord:
        record = await begin(self, refund)
        body = msgspec.json.decode(record.body)
        again = body | {"out_refund_no": f"{body['out_refund_no'][:40]}-{datetime.now(UTC):%H%M%S%f}"}
        return replace(record, body=msgspec.json.encode(again))

    _replace(RefundSteps, "_begin", changed)


def _nothing_reserved() -> None:
    """Make a refund, and forget on the trip that it is under way."""
    request = refunds.request

    def forgotten(trip: Trip, *args: Any, **kwargs: Any) -> Pair:
        after, refund = request(trip, *args, **kwargs)
        return replace(after, payment=trip.payment), refund

    _replace(refunds, "request", forgotten)


def _forgets_what_went_back() -> None:
    """Send back what is too much, and forget on the trip that it was asked for."""
    send_back = fares.send_back

    def forgotten(trip: Trip, now: datetime, **more: Any) -> Pair:
        after, refund = send_back(trip, now, **more)
        number = f"{refund.refund_id}-{now:%H%M%S%f}"
        return replace(after, returned_fen=0), replace(refund, refund_id=number, out_refund_no=number)

    _replace(fares, "send_back", forgotten)


# --- Loses what a passenger was to be given ---


def _lost_page_not_asked_for() -> None:
    """Ask whether an order came about whose create nobody heard the answer of, and not for its page."""
    when_noted, when_unconfirmed = next_step._next_when_noted, next_step._next_when_unconfirmed

    def asking(trip: Trip, now: datetime, rules: Rules) -> Step:
        step = when_noted(trip, now, rules)
        return AskOrder() if isinstance(step, OpenOrder) and trip.opening is not None else step

    def waiting(trip: Trip, now: datetime, rules: Rules) -> Step:
        step = when_unconfirmed(trip, now, rules)
        return Rest(now + rules.confirm_expires) if isinstance(step, OpenOrder) else step

    _replace(next_step, "_next_when_noted", asking)
    _replace(next_step, "_next_when_unconfirmed", waiting)


def _new_authorisation_code() -> None:
    """Make the number of an authorisation anew whenever it is asked for."""
    made = authorisation.authorization_code_for

    def anew(request_id: str, prefix: str = "") -> str:
        return made(f"{request_id} {datetime.now(UTC):%H%M%S%f}", prefix)

    _replace(authorisation, "authorization_code_for", anew)


# --- Takes one company for another ---


def _default_account_for_all() -> None:
    """Open every order as the default account."""

    def default(self: AccountPayScores, account: str, appid: str) -> PayScore:
        del account
        return self._default.present("", appid)

    _replace(AccountPayScores, "present", default)


BUGS: Final[Mapping[str, Bug]] = {
    "acks early": Bug(install=_ack_early, flows=("happy",)),
    "new order number on retry": Bug(install=_new_order_number, flows=("happy", "lost create")),
    "body rebuilt on retry": Bug(install=_body_rebuilt, flows=("happy", "lost complete")),
    "outbox row after commit": Bug(install=_outbox_after_commit, flows=("happy",)),
    "time-out treated as failure": Bug(install=_timeout_is_failure, flows=("lost create",)),
    "forged notification believed": Bug(install=_forged_believed, flows=("lies",)),
    "foreign notification believed": Bug(install=_foreign_believed, flows=("lies",)),
    "relay marks before the confirm": Bug(install=_marked_before_confirm, flows=("happy",)),
    "new refund number on retry": Bug(install=_new_refund_number, flows=("lost refund",)),
    "a lowered fare goes back twice": Bug(install=_forgets_what_went_back, flows=("lowered once paid",)),
    "refund without a reservation": Bug(install=_nothing_reserved, flows=("refunded",)),
    "a lost page is not asked for again": Bug(install=_lost_page_not_asked_for, flows=("confirmed",)),
    "new authorisation code on retry": Bug(install=_new_authorisation_code, flows=("authorised",)),
    "orders of all accounts as the default one's": Bug(install=_default_account_for_all, flows=("second account",)),
}
