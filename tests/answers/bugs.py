"""The control group: each fault that answers once caused, put back. The laws must catch every one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pytest

from payscore_worker.domain import fares, next_step, outcomes
from payscore_worker.domain import refund as refunds
from payscore_worker.domain.next_step import (
    Decline,
    OpenOrder,
    Rules,
    Step,
)
from payscore_worker.domain.refund import RefundState
from payscore_worker.domain.trip import (
    DeclineReason,
    Doubt,
    OrderPhase,
    OrderSeen,
    Trip,
    TripState,
)
from payscore_worker.errors import MerchantRefused, OutcomeUnknown, Refusal
from payscore_worker.settlement.trip_calls import Run
from payscore_worker.settlement.trip_steps import Steps
from payscore_worker.storage import CallRecord
from payscore_worker.storage.postgres import PostgresStorage
from payscore_worker.storage.sqlite import SqliteStorage
from payscore_worker.storage.statements import for_sqlite
from payscore_worker.wechatpay import answers
from payscore_worker.wechatpay.payscore import AccountPayScores, PayScore
from payscore_worker.wechatpay.refusals import classify

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A defect, and where to look for it."""

    install: Callable[[Patch], None]
    cases: tuple[str, ...]
    """Names of cases, without the bug, in which it should show."""


# --- A refusal decides ---


def _ends_without_asking(patch: Patch) -> None:
    """Take an unsigned refusal for the end of the trip."""
    refused = outcomes.refused

    def at_once(trip: Trip, doubt: Doubt, now: datetime, **more: Any) -> Trip:
        if doubt.step == OpenOrder.__name__ and doubt.refusal in outcomes.DECLINING:
            return outcomes._gone(trip, outcomes.DECLINING[doubt.refusal], doubt.message)
        return refused(trip, doubt, now, **more)

    patch.setattr(outcomes, "refused", at_once)


def _writes_off_what_is_collected(patch: Patch) -> None:
    """Take a waiver for done once it is asked for, whatever WeChat Pay answers."""
    refused = outcomes.refused

    def done(trip: Trip, doubt: Doubt, now: datetime, **more: Any) -> Trip:
        return refused(trip, doubt, now, **more) if trip.waived is None else outcomes._written_off(trip, trip.waived)

    patch.setattr(outcomes, "refused", done)


def _takes_a_sync_for_done(patch: Patch) -> None:
    """Take it that WeChat Pay collects no more once it was told that the fare was paid elsewhere."""
    refused = outcomes.refused

    def done(trip: Trip, doubt: Doubt, now: datetime, **more: Any) -> Trip:
        return refused(trip, doubt, now, **more) if trip.sync is None else fares.paid_elsewhere(trip)

    patch.setattr(outcomes, "refused", done)


def _keeps_what_is_too_much(patch: Patch) -> None:
    """Lower a fare, and keep what was paid above it."""
    patch.setattr(next_step, "too_much_fen", lambda _trip: 0)


def _fails_a_refund_over_a_refusal(patch: Patch) -> None:
    """Take an unsigned refusal for the end of a refund."""
    patch.setattr(refunds, "refused", lambda refund, _why, _now: replace(refund, state=RefundState.FAILED))


def _ends_over_one_absence(patch: Patch) -> None:
    """Take the first "no such order" for WeChat Pay's word."""
    patch.setattr(outcomes, "_takes_two", lambda _trip, _cause: False)


def _drops_what_was_overtaken(patch: Patch) -> None:
    """Forget an acceptance where another worker has written the trip meanwhile."""
    hear = Steps._hear

    async def hear_if_first(self: Steps, run: Run, *arguments: Any, **options: Any) -> None:
        newest = await self._storage.load(run.trip.trip_id)
        if newest is not None and newest.version != run.trip.version:
            run.trip = newest
            return
        await hear(self, run, *arguments, **options)

    patch.setattr(Steps, "_hear", hear_if_first)


# --- A person is called ---


def _parks_on(patch: Patch, is_bad: Callable[[Doubt], bool]) -> None:
    """Stop a trip at once over refusals of a kind."""
    refused, question_refused = outcomes.refused, outcomes.question_refused

    def parked(trip: Trip, doubt: Doubt, now: datetime, **more: Any) -> Trip:
        return outcomes._troubled_by(trip, doubt, now) if is_bad(doubt) else refused(trip, doubt, now, **more)

    def question_parked(trip: Trip, doubt: Doubt, now: datetime, **more: Any) -> Trip:
        return outcomes._troubled_by(trip, doubt, now) if is_bad(doubt) else question_refused(trip, doubt, now, **more)

    patch.setattr(outcomes, "refused", parked)
    patch.setattr(outcomes, "question_refused", question_parked)


def _parks_on_html(patch: Patch) -> None:
    """Take a proxy's page for a refusal of this trip."""

    def gullible(*, status: int, code: str, **rest: Any) -> Any:
        verdict = classify(status=status, code=code, **rest)
        return Refusal.UNCLEAR if verdict is OutcomeUnknown and 400 <= status < 500 and not code else verdict

    patch.setattr(answers, "classify", gullible)
    _parks_on(patch, lambda doubt: doubt.refusal is Refusal.UNCLEAR and not doubt.code)


def _parks_each_trip_of_the_merchant(patch: Patch) -> None:
    """Take what is wrong with the merchant for a refusal of this trip."""

    def personal(**what: Any) -> Any:
        verdict = classify(**what)
        return Refusal.MISCONFIGURED if verdict is MerchantRefused else verdict

    patch.setattr(answers, "classify", personal)
    _parks_on(patch, lambda doubt: doubt.refusal is Refusal.MISCONFIGURED)


def _parks_on_lag(patch: Patch) -> None:
    """Stop where a replica does not know the accepted order yet."""
    not_found = outcomes.not_found

    def parked(trip: Trip, doubt: Doubt, now: datetime, **more: Any) -> Trip:
        if trip.state is TripState.OPEN:
            return outcomes._troubled_by(trip, doubt, now)
        return not_found(trip, doubt, now, **more)

    patch.setattr(outcomes, "not_found", parked)


def _parks_on_a_stale_answer(patch: Patch) -> None:
    """Stop where a replica shows an order as it was."""

    def parked(trip: Trip, code: str, message: str, now: datetime) -> Trip:
        return outcomes._troubled(trip, code, message, now)

    patch.setattr(outcomes, "_puzzled", parked)


def _adopts_nothing(patch: Patch) -> None:
    """Stop where an order was completed by somebody else, though with exactly the fare."""

    def troubled(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
        del order
        return outcomes._troubled(trip, "completed_elsewhere", "the order was completed, and not by us", now)

    patch.setattr(outcomes, "_completed_elsewhere", troubled)


def _parked_and_deaf(patch: Patch) -> None:
    """Leave a trip with a problem as it is, whatever WeChat Pay signs."""
    see = outcomes.see

    def deaf(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
        return trip if trip.problem is not None else see(trip, order, now)

    patch.setattr(outcomes, "see", deaf)


# --- Bytes and books ---


def _rebuilds_in_doubt(patch: Patch) -> None:
    """Count only the last send."""

    async def certain(self: Steps, *_arguments: Any) -> bool:
        del self
        return True

    patch.setattr(Steps, "_is_certain", certain)


def _never_rebuilds(patch: Patch) -> None:
    """Send bytes that WeChat Pay will never take, again and again."""
    patch.setattr(outcomes, "_rebuilding", lambda trip, _doubt, _now: trip)


def _overwrites_acceptances(patch: Patch) -> None:
    """Have the journal tell the last answer."""
    for storage in (PostgresStorage, SqliteStorage):
        _write_last_outcome(patch, storage)


def _write_last_outcome(patch: Patch, storage: type[Any]) -> None:
    save, journal = storage.save, storage.journal

    async def save_over(self: Any, trip: Trip, *, calls: Any = (), **rest: Any) -> bool:
        written: bool = await save(self, trip, calls=calls, **rest)
        if written:
            await _overwrite(self, trip, *calls)
        return written

    async def journal_over(self: Any, trip: Trip, call: CallRecord) -> None:
        await journal(self, trip, call)
        await _overwrite(self, trip, call)

    patch.setattr(storage, "save", save_over)
    patch.setattr(storage, "journal", journal_over)


async def _overwrite(storage: Any, trip: Trip, *calls: CallRecord) -> None:
    rows = [(call.outcome.value, trip.trip_id, call.kind, call.generation) for call in calls]
    statement = "UPDATE wechatpay_call SET outcome = $1 WHERE trip_id = $2 AND kind = $3 AND generation = $4"
    if isinstance(storage, SqliteStorage):
        await storage._do(lambda db: db.executemany(for_sqlite(statement), rows).rowcount)
    elif isinstance(storage, PostgresStorage):
        await storage._pool.executemany(statement, rows)


# --- Said and done too early, or for nothing ---


def _opens_what_failed(patch: Patch) -> None:
    """Announce an order as opened that waits for a confirmation."""
    see_when_noted = outcomes._see_when_noted

    def opened_first(trip: Trip, order: OrderSeen, now: datetime) -> Trip:
        if order.phase is OrderPhase.CREATED:
            opened = outcomes.opened(trip, order, now)
            return outcomes.declined(opened, DeclineReason.REVOKED, "not confirmed", now=now)
        return see_when_noted(trip, order, now)

    patch.setattr(outcomes, "_see_when_noted", opened_first)


def _opens_for_the_cancelled(patch: Patch) -> None:
    """Open the order after all, to cancel it afterwards."""
    next_when_noted = next_step._next_when_noted

    def opening(noted: Trip, now: datetime, rules: Any) -> Step:
        return next_when_noted(replace(noted, cancelled=None), now, rules)

    patch.setattr(next_step, "_next_when_noted", opening)


# --- Confirmations and accounts ---


def _declines_unasked(patch: Patch) -> None:
    """Give an order up when its time is up, without asking once more whether the passenger has confirmed it."""
    when_unconfirmed = next_step._next_when_unconfirmed

    def on_time(trip: Trip, now: datetime, rules: Rules) -> Step:
        if trip.confirm_by is not None and now >= trip.confirm_by:
            return Decline(DeclineReason.NOT_CONFIRMED, "the passenger has not confirmed the order")
        return when_unconfirmed(trip, now, rules)

    patch.setattr(next_step, "_next_when_unconfirmed", on_time)


def _opens_as_the_default_account(patch: Patch) -> None:
    """Take the terms of the default account for every order."""

    def default(self: AccountPayScores, account: str, appid: str) -> PayScore:
        del account
        return self._default.present("", appid)

    patch.setattr(AccountPayScores, "present", default)


BUGS: Final[Mapping[str, Bug]] = {
    "ends over an unsigned refusal": Bug(
        install=_ends_without_asking,
        cases=(
            "sqlite payafter settle; one worker; create #1; sub-code 271300099, after; once",
            "sqlite serviceorder settle; two workers; create #1; INVALID_REQUEST, too many orders; once",
            "postgresql payafter settle; two workers; create #1; sub-code 271299627; once",
        ),
    ),
    "takes a refused sync for done": Bug(
        install=_takes_a_sync_for_done,
        cases=(
            "sqlite payafter paid elsewhere; one worker; sync #1; PARAM_ERROR; once",
            "postgresql serviceorder paid elsewhere; two workers; sync #1; INVALID_ORDER_STATE; once",
        ),
    ),
    "keeps what was paid above a lowered fare": Bug(
        install=_keeps_what_is_too_much,
        cases=(
            "sqlite payafter lowered; one worker",
            "postgresql serviceorder lowered; one worker; modify #1; INVALID_ORDER_STATE; for an hour",
        ),
    ),
    "ends over one 404": Bug(
        install=_ends_over_one_absence,
        cases=(
            "sqlite payafter settle; one worker; create #1; sub-code 271300099, after, and not there yet; once",
            "postgresql serviceorder settle; one worker; create #1; sub-code 271300099, after, and not there yet; once",
        ),
    ),
    "drops an acceptance that was overtaken": Bug(
        install=_drops_what_was_overtaken,
        cases=(
            "sqlite payafter settle; two workers; create #1; sub-code 271300099; once",
            "postgresql serviceorder settle; two workers; create #1; PARAM_ERROR; once",
        ),
    ),
    "parks on a proxy's page": Bug(
        install=_parks_on_html,
        cases=(
            "sqlite payafter settle; one worker; create #1; html 403; once",
            "postgresql serviceorder late payment; one worker; query #1; html 404; for a minute",
        ),
    ),
    "a parked trip is deaf": Bug(
        install=_parked_and_deaf,
        cases=(
            "sqlite payafter told late; one worker; query #2; about another amount; for an hour",
            "postgresql serviceorder told late; one worker; query #1; about another amount; for an hour",
        ),
    ),
    "the merchant's refusal parks each trip": Bug(
        install=_parks_each_trip_of_the_merchant,
        cases=(
            "sqlite payafter settle; one worker; create #1; SIGN_ERROR; whatever is asked for a minute",
            "postgresql serviceorder settle; one worker; complete #1; APPID_MCHID_NOT_MATCH; once",
        ),
    ),
    "lag after an accepted create parks": Bug(
        install=_parks_on_lag,
        cases=(
            "sqlite payafter settle; one worker; query #1; not there yet; once",
            "postgresql payafter settle; one worker; query #1; not there yet; for a minute",
        ),
    ),
    "rebuilds a body in doubt": Bug(
        install=_rebuilds_in_doubt,
        cases=(
            "sqlite payafter settle; one worker; complete #1; SYSTEM_ERROR, then PARAM_ERROR; once",
            "postgresql serviceorder settle; one worker; complete #1; SYSTEM_ERROR, then PARAM_ERROR; for an hour",
        ),
    ),
    "never rebuilds a body": Bug(
        install=_never_rebuilds,
        cases=("sqlite payafter over the cap; one worker", "postgresql serviceorder over the cap; two workers"),
    ),
    "a refusal overwrites an acceptance": Bug(
        install=_overwrites_acceptances,
        cases=(
            "sqlite serviceorder settle; one of two misled; create #1; PARAM_ERROR, after; once",
            "postgresql payafter settle; one of two misled; complete #1; INVALID_ORDER_STATE, after; once",
        ),
    ),
    "announces a failed create as opened": Bug(
        install=_opens_what_failed,
        cases=("sqlite serviceorder failed create; one worker", "postgresql serviceorder failed create; two workers"),
    ),
    "opens an order for a cancelled trip": Bug(
        install=_opens_for_the_cancelled,
        cases=(
            "sqlite payafter cancel at once; one worker; create #1; MCH_NOT_EXISTS; whatever is asked for an hour",
            "postgresql serviceorder cancel at once; one worker; create #1; FREQUENCY_LIMITED; for a minute",
        ),
    ),
    "a stale answer parks": Bug(
        install=_parks_on_a_stale_answer,
        cases=(
            "sqlite payafter late payment; one worker; query #2; stale; once",
            "postgresql serviceorder late payment; one worker; query #1; stale; once",
        ),
    ),
    "equal amounts are not adopted": Bug(
        install=_adopts_nothing,
        cases=("sqlite payafter by hand; one worker", "postgresql serviceorder by hand; two workers"),
    ),
    "declines what is unconfirmed without asking": Bug(
        install=_declines_unasked,
        cases=(
            "sqlite payafter confirmed, unheard; one worker; query #1; SYSTEM_ERROR; for an hour",
            "postgresql serviceorder confirmed, unheard; one worker; query #1; SYSTEM_ERROR; for an hour",
        ),
    ),
    "opens as the default account": Bug(
        install=_opens_as_the_default_account,
        cases=("sqlite payafter second account; one worker", "postgresql serviceorder second account; two workers"),
    ),
    "fails a refund over a refusal": Bug(
        install=_fails_a_refund_over_a_refusal,
        cases=(
            "sqlite payafter refund, unheard; one worker; refund #1; USER_ACCOUNT_ABNORMAL; once",
            "postgresql serviceorder refund; one worker; refund #1; PARAM_ERROR, after; once",
        ),
    ),
    "writes off what is collected": Bug(
        install=_writes_off_what_is_collected,
        cases=(
            "sqlite serviceorder waived, lowered; one worker",
            "postgresql payafter waived, cancelled; one worker; cancel #1; PARAM_ERROR; once",
        ),
    ),
}
