"""What the world is told of a change: read from the case before and after it."""

from collections.abc import Callable, Iterator
from datetime import datetime

from msgspec import UNSET, UnsetType

from payscore_worker.domain.authorisation import Authorisation, AuthorisationState
from payscore_worker.domain.refund import CLOSED, GIVEN_UP, Pair, Refund, RefundState
from payscore_worker.domain.trip import (
    DeclineReason,
    Trip,
    TripState,
    fare_fen,
    owed_fen,
    way_of,
)
from payscore_worker.events import (
    Announcement,
    AuthorisationClosed,
    AuthorisationOpened,
    AuthorisationParameters,
    CaseAnnouncement,
    ClientJump,
    SettlementCancelled,
    SettlementCompleted,
    SettlementConfirmationRequested,
    SettlementDeclined,
    SettlementLowered,
    SettlementOpened,
    SettlementOverdue,
    SettlementPaid,
    SettlementProblem,
    SettlementRefunded,
    SettlementRefundProblem,
    SettlementStale,
    SettlementWrittenOff,
)

Jump = Callable[[Trip], ClientJump | None]
"""Makes what the passenger's client opens a page with, to enable PayScore or to confirm the order; None: nothing."""

Enabling = Callable[[Authorisation], ClientJump | None]
"""The same for an authorisation that was requested without a trip."""


def announcements(before: Trip, after: Trip, jump: Jump) -> Iterator[Announcement]:
    """Tell every step that lies between the two, the earlier first: a trip may open, complete and be paid in one go."""
    trip_id, out_order_no, state = after.trip_id, after.out_order_no, after.state.value
    confirm = jump(after) if after.confirm_by is not None is before.confirm_by else None
    if confirm is not None and after.confirm_by is not None:
        yield SettlementConfirmationRequested(
            trip_id=trip_id, out_order_no=out_order_no, state=state, confirm=confirm, expires_at=after.confirm_by
        )
    if before.opened_at is None and after.opened_at is not None:
        yield SettlementOpened(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            order_id=after.order_id,
            risk_amount_fen=after.opening.risk_amount_fen if after.opening is not None else 0,
        )
    if before.completed_at is None and after.completed_at is not None:
        yield SettlementCompleted(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            total_fen=_total_fen(after),
            completed_at=after.completed_at,
        )
    if before.stale_since is None and after.stale_since is not None:
        since = after.opened_at or after.noted_at
        yield SettlementStale(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            since=since,
            age_seconds=_age_seconds(since, after.stale_since),
        )
    if before.overdue_step < after.overdue_step and after.overdue_told_at and after.completed_at:
        yield SettlementOverdue(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            since=after.completed_at,
            age_seconds=_age_seconds(after.completed_at, after.overdue_told_at),
            step=after.overdue_step,
        )
    if after.problem is not None and before.problem_told != after.problem_told:
        yield SettlementProblem(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            code=after.problem.code,
            message=after.problem.message,
            request_id=after.problem.request_id,
            step=after.problem.step,
        )
    if before.state is not after.state:
        yield from _end(after, jump)
    was_fen, total_fen = _stands_at_fen(before), _stands_at_fen(after)
    if after.lowered and was_fen is not None and total_fen is not None and total_fen < was_fen:
        yield SettlementLowered(
            trip_id=trip_id, out_order_no=out_order_no, state=state, total_fen=total_fen, was_fen=was_fen
        )


def _stands_at_fen(trip: Trip) -> int | None:
    """Say what the passenger is charged in the end, as far as it is sure: what is paid above the fare goes back."""
    if trip.ended is None or trip.accepted_fen is not None or trip.state in (TripState.DECLINED, TripState.CANCELLED):
        return None
    return fare_fen(trip) if trip.state is TripState.PAID else owed_fen(trip)


def _end(trip: Trip, jump: Jump) -> Iterator[Announcement]:
    trip_id, out_order_no, state = trip.trip_id, trip.out_order_no, trip.state.value
    if trip.state is TripState.PAID and trip.payment is not None:
        yield SettlementPaid(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            total_fen=owed_fen(trip),
            paid_fen=trip.payment.paid_fen,
            paid_at=trip.payment.paid_at,
            transaction_id=trip.payment.transaction_id,
            transaction_ids=trip.payment.transaction_ids,
            way=way_of(trip),
        )
    if trip.state is TripState.DECLINED and trip.declined is not None:
        yield SettlementDeclined(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            reason=trip.declined.reason.value,
            message=trip.declined.message,
            enable=_enable(trip, jump) if trip.declined.reason is DeclineReason.SERVICE_NOT_ENABLED else UNSET,
        )
    if trip.state is TripState.CANCELLED and trip.written_off is not None:
        yield SettlementWrittenOff(
            trip_id=trip_id,
            out_order_no=out_order_no,
            state=state,
            total_fen=trip.written_off.total_fen,
            by=trip.written_off.by,
            reason=trip.written_off.reason,
        )
    elif trip.state is TripState.CANCELLED and trip.cancelled is not None:
        yield SettlementCancelled(trip_id=trip_id, out_order_no=out_order_no, state=state, reason=trip.cancelled.reason)


def _enable(trip: Trip, jump: Jump) -> ClientJump | UnsetType:
    enable = jump(trip)
    return UNSET if enable is None else enable


def authorisation_announcements(
    before: Authorisation, after: Authorisation, enabling: Enabling
) -> Iterator[CaseAnnouncement]:
    """Tell what the passenger signs with, that he has signed, and that it is over."""
    openid, code = after.openid, after.authorization_code
    if after.given_at is not None and after.given_at != before.given_at:
        enable = enabling(after)
        if enable is not None:
            yield AuthorisationParameters(
                openid=openid, authorization_code=code, request_id=after.request_id, enable=enable
            )
    if after.state is AuthorisationState.OPEN is not before.state and after.opened_at is not None:
        yield AuthorisationOpened(openid=openid, authorization_code=code, at=after.opened_at)
    is_over = after.state is AuthorisationState.CLOSED is not before.state
    has_ended = after.ended is not before.ended and after.state is AuthorisationState.CLOSED
    if (is_over or has_ended) and after.closed_at is not None:
        yield AuthorisationClosed(openid=openid, authorization_code=code, at=after.closed_at)


def refund_announcements(before: Pair, after: Pair) -> Iterator[Announcement]:
    """Tell how a refund has ended, or that a person must look at it."""
    (_, was), (trip, refund) = before, after
    payment = trip.payment
    if refund.state is RefundState.REFUNDED is not was.state and refund.refunded_at is not None:
        yield SettlementRefunded(
            trip_id=trip.trip_id,
            out_order_no=trip.out_order_no,
            state=trip.state.value,
            refund_id=refund.refund_id,
            out_refund_no=refund.out_refund_no,
            amount_fen=refund.amount_fen,
            refunded_fen=0 if payment is None else payment.refunded_fen,
            refunded_at=refund.refunded_at,
        )
    for code, message in _refund_troubles(was, refund):
        yield SettlementRefundProblem(
            trip_id=trip.trip_id,
            out_order_no=trip.out_order_no,
            state=trip.state.value,
            refund_id=refund.refund_id,
            out_refund_no=refund.out_refund_no,
            amount_fen=refund.amount_fen,
            code=code,
            message=message,
        )


def _refund_troubles(was: Refund, refund: Refund) -> Iterator[tuple[str, str]]:
    if refund.given_up is not None is was.given_up:
        yield GIVEN_UP, refund.given_up.reason
    elif refund.state is RefundState.FAILED is not was.state:
        yield CLOSED, "WeChat Pay has closed the refund, and nothing went back"
    if refund.problem is not None and was.problem_told != refund.problem_told:
        yield refund.problem.code, refund.problem.message


def _total_fen(trip: Trip) -> int:
    return 0 if trip.ended is None and trip.accepted_fen is None else owed_fen(trip)


def _age_seconds(since: datetime, now: datetime) -> int:
    return int((now - since).total_seconds())
