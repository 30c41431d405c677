"""Rows <-> cases: one column for each thing that is asked for by SQL, JSON for what is only read back."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec

from payscore_worker.domain import authorisation as authorisations
from payscore_worker.domain.authorisation import Authorisation, AuthorisationState, Ending
from payscore_worker.domain.refund import GivenUp, Refund, RefundState, Refused
from payscore_worker.domain.trip import (
    Asking,
    Cancelled,
    Debit,
    Declined,
    DeclineReason,
    Doubt,
    Ended,
    Look,
    Lowered,
    Lowering,
    Opening,
    OrderTerms,
    PaidElsewhere,
    Payment,
    Problem,
    SecondTry,
    Started,
    Sync,
    Trip,
    TripState,
    Unanswered,
    Waived,
    WrittenOff,
    owed_fen,
)

_T = TypeVar("_T")


class Row(Protocol):
    """A row of either driver."""

    def __getitem__(self, name: str, /) -> Any: ...  # noqa: ANN401 - a column has the type that its table gives it


TRIP_COLUMNS: Final = (
    "trip_id",
    "out_order_no",
    "state",
    "noted_at",
    "openid",
    "started",
    "ended",
    "cancelled",
    "risk_amount_fen",
    "start_time",
    "order_id",
    "opened_at",
    "end_time",
    "total_fen",
    "completed_at",
    "paid_fen",
    "paid_at",
    "transaction_id",
    "declined_reason",
    "declined_message",
    "doubt",
    "refusals",
    "bodies",
    "problem",
    "problem_told",
    "opened_plainly",
    "refused_as",
    "finish_ticket",
    "terms",
    "missed_at",
    "unanswered",
    "rebuilds",
    "look_at",
    "order_alive",
    "accepted_fen",
    "transaction_ids",
    "debits",
    "reserved_fen",
    "refunded_fen",
    "waived",
    "written_off",
    "lowered",
    "paid_elsewhere",
    "lowering",
    "returned_fen",
    "sync",
    "asking",
    "confirm_by",
    "second_try",
    "polls",
    "asked_at",
    "stale_since",
    "overdue_since",
    "overdue_step",
    "overdue_told_at",
    "due_at",
    "version",
    "updated_at",
)
"""In the order of `trip_row`."""


def trip_row(trip: Trip, *, due_at: datetime | None, now: datetime) -> tuple[Any, ...]:
    """Write a trip as the values of TRIP_COLUMNS, under its next version."""
    return (
        trip.trip_id,
        trip.out_order_no,
        trip.state.value,
        trip.noted_at,
        trip.started.openid if trip.started else None,
        _json(trip.started),
        _json(trip.ended),
        _json(trip.cancelled),
        trip.opening.risk_amount_fen if trip.opening else None,
        trip.opening.start_time if trip.opening else None,
        trip.order_id,
        trip.opened_at,
        trip.end_time,
        _total_fen(trip),
        trip.completed_at,
        trip.payment.paid_fen if trip.payment else None,
        trip.payment.paid_at if trip.payment else None,
        trip.payment.transaction_id if trip.payment else None,
        trip.declined.reason.value if trip.declined else None,
        trip.declined.message if trip.declined else None,
        _json(trip.doubt),
        trip.refusals,
        trip.bodies,
        _json(trip.problem),
        trip.problem_told or None,
        trip.opening.is_plain or None if trip.opening else None,
        trip.refused_as or None,
        trip.finish_ticket or None,
        _json(trip.opening.terms) if trip.opening else None,
        trip.missed_at,
        _json(trip.unanswered),
        trip.rebuilds or None,
        trip.look.at if trip.look else None,
        trip.look.alive if trip.look else None,
        trip.accepted_fen,
        None,  # the ids are in the debits
        _debits_json(trip.payment.debits) if trip.payment else None,
        trip.payment.reserved_fen or None if trip.payment else None,
        trip.payment.refunded_fen or None if trip.payment else None,
        _json(trip.waived),
        _json(trip.written_off),
        _json(trip.lowered) if trip.lowered else None,
        _json(trip.paid_elsewhere),
        _json(trip.lowering),
        trip.returned_fen or None,
        _json(trip.sync),
        _json(trip.asking),
        trip.confirm_by,
        _json(trip.second),
        trip.polls,
        trip.asked_at,
        trip.stale_since,
        trip.overdue_since,
        trip.overdue_step or None,
        trip.overdue_told_at,
        due_at,
        trip.version + 1,
        now,
    )


def trip_from_row(row: Row) -> Trip:
    """Read a trip back; instants must be datetimes already."""
    return Trip(
        trip_id=row["trip_id"],
        out_order_no=row["out_order_no"],
        state=TripState(row["state"]),
        noted_at=row["noted_at"],
        started=_from_json(row["started"], _started),
        ended=_from_json(row["ended"], _ended),
        cancelled=_from_json(row["cancelled"], _cancelled),
        opening=_opening(row),
        order_id=row["order_id"],
        opened_at=row["opened_at"],
        end_time=row["end_time"],
        completed_at=row["completed_at"],
        payment=_payment(row),
        declined=_declined(row),
        doubt=_from_json(row["doubt"], _doubt),
        refusals=row["refusals"],
        bodies=row["bodies"],
        problem=_from_json(row["problem"], _problem),
        problem_told=row["problem_told"] or "",
        refused_as=row["refused_as"] or "",
        finish_ticket=row["finish_ticket"] or "",
        missed_at=row["missed_at"],
        unanswered=_from_json(row["unanswered"], _unanswered),
        rebuilds=row["rebuilds"] or 0,
        look=_look(row),
        accepted_fen=row["accepted_fen"],
        waived=_from_json(row["waived"], _waived),
        written_off=_from_json(row["written_off"], _written_off),
        lowered=_from_json(row["lowered"], _lowered) or (),
        paid_elsewhere=_from_json(row["paid_elsewhere"], _paid_elsewhere),
        lowering=_from_json(row["lowering"], _lowering),
        returned_fen=row["returned_fen"] or 0,
        sync=_from_json(row["sync"], _sync),
        asking=_from_json(row["asking"], _asking),
        confirm_by=row["confirm_by"],
        second=_from_json(row["second_try"], _second_try),
        polls=row["polls"],
        asked_at=row["asked_at"],
        stale_since=row["stale_since"],
        overdue_since=row["overdue_since"],
        overdue_step=row["overdue_step"]
        or (0 if row["overdue_since"] is None else 1),  # one, of a release without steps
        overdue_told_at=row["overdue_told_at"] or row["overdue_since"],
        version=row["version"],
    )


REFUND_COLUMNS: Final = (
    "refund_id",
    "trip_id",
    "out_refund_no",
    "mchid",
    "transaction_id",
    "total_fen",
    "amount_fen",
    "reason",
    "generation",
    "requested_at",
    "send_after",
    "state",
    "is_prepared",
    "wechatpay_refund_id",
    "accepted_at",
    "patient_since",
    "payer_refund_fen",
    "refunded_at",
    "refused",
    "refusals",
    "refused_as",
    "unanswered",
    "ask_after",
    "polls",
    "asked_at",
    "problem",
    "problem_told",
    "given_up",
    "due_at",
    "version",
    "updated_at",
)
"""In the order of `refund_row`."""


def refund_row(refund: Refund, *, due_at: datetime | None, now: datetime) -> tuple[Any, ...]:
    """Write a refund as the values of REFUND_COLUMNS, under its next version."""
    written = {
        "state": refund.state.value,
        "refused": _json(refund.refused),
        "problem": _json(refund.problem),
        "given_up": _json(refund.given_up),
        "due_at": due_at,
        "version": refund.version + 1,
        "updated_at": now,
    }
    return tuple(written[name] if name in written else getattr(refund, name) for name in REFUND_COLUMNS)


def refund_from_row(row: Row) -> Refund:
    """Read a refund back; instants must be datetimes already."""
    members: dict[str, Any] = {name: row[name] for name in REFUND_COLUMNS if name not in ("due_at", "updated_at")}
    members |= {
        "state": RefundState(row["state"]),
        "is_prepared": bool(row["is_prepared"]),
        "refused": _from_json(row["refused"], _refused),
        "given_up": _from_json(row["given_up"], _given_up),
        "problem": _from_json(row["problem"], _problem),
    }
    return Refund(**members)


AUTHORISATION_COLUMNS: Final = (
    "authorization_code",
    "openid",
    "request_id",
    "client",
    "terms",
    "state",
    "noted_at",
    "bodies",
    "is_prepared",
    "given_at",
    "asked_at",
    "looks",
    "opened_at",
    "closed_at",
    "changed_at",
    "trip_looks",
    "ending",
    "ended",
    "end_prepared",
    "refused",
    "refusals",
    "unanswered",
    "missed_at",
    "ask_after",
    "problem",
    "problem_told",
    "due_at",
    "version",
    "updated_at",
)
"""In the order of `authorisation_row`."""


def authorisation_row(authorisation: Authorisation, *, due_at: datetime | None, now: datetime) -> tuple[Any, ...]:
    """Write an authorisation as the values of AUTHORISATION_COLUMNS, under its next version; a token is never kept."""
    written = {
        "terms": _json(authorisation.terms),
        "state": authorisation.state.value,
        "ending": _json(authorisation.ending),
        "ended": _json(authorisation.ended),
        "refused": _json(authorisation.refused),
        "problem": _json(authorisation.problem),
        "due_at": due_at,
        "version": authorisation.version + 1,
        "updated_at": now,
    }
    return tuple(written[name] if name in written else getattr(authorisation, name) for name in AUTHORISATION_COLUMNS)


def authorisation_from_row(row: Row) -> Authorisation:
    """Read an authorisation back; instants must be datetimes already."""
    members: dict[str, Any] = {
        name: row[name] for name in AUTHORISATION_COLUMNS if name not in ("due_at", "updated_at")
    }
    members |= {
        "terms": _terms.decode(row["terms"]),
        "state": AuthorisationState(row["state"]),
        "is_prepared": bool(row["is_prepared"]),
        "end_prepared": bool(row["end_prepared"]),
        "ending": _from_json(row["ending"], _ending),
        "ended": _from_json(row["ended"], _ending),
        "refused": _from_json(row["refused"], _authorisation_refused),
        "problem": _from_json(row["problem"], _problem),
    }
    return Authorisation(**members)


def terms_from_json(text: str | None) -> OrderTerms | None:
    """Read under which terms an order was opened."""
    return _from_json(text, _terms)


def lowering_from_json(text: str | None) -> Lowering | None:
    """Read what became of a fare that was to be lowered."""
    return _from_json(text, _lowering)


def _opening(row: Row) -> Opening | None:
    if row["risk_amount_fen"] is None:
        return None
    return Opening(
        risk_amount_fen=row["risk_amount_fen"],
        start_time=row["start_time"],
        is_plain=bool(row["opened_plainly"]),
        terms=terms_from_json(row["terms"]),
    )


def _total_fen(trip: Trip) -> int | None:
    """What WeChat Pay has to collect, where nobody took another amount for it; reports add these up."""
    return None if trip.ended is None else owed_fen(replace(trip, accepted_fen=None))


def _look(row: Row) -> Look | None:
    return None if row["look_at"] is None else Look(at=row["look_at"], alive=bool(row["order_alive"]))


def _payment(row: Row) -> Payment | None:
    if row["paid_at"] is None:
        return None
    debits = _from_json(row["debits"], _debits) or ()
    ids = _from_json(row["transaction_ids"], _transaction_ids) or (row["transaction_id"],)  # of a release that kept ids
    known = {debit.transaction_id for debit in debits}
    more = tuple(Debit(transaction_id=id) for id in ids if id and id not in known)
    return Payment(paid_fen=row["paid_fen"], paid_at=row["paid_at"], debits=debits + more)


def _declined(row: Row) -> Declined | None:
    if row["declined_reason"] is None:
        return None
    return Declined(reason=DeclineReason(row["declined_reason"]), message=row["declined_message"])


def _debits_json(debits: tuple[Debit, ...]) -> str | None:
    """Write what each debit says; most say two things, and every paid trip has one."""
    said = [{name: value for name, value in msgspec.to_builtins(debit).items() if value} for debit in debits]
    return _json(said) if debits else None


def _json(value: object | None) -> str | None:
    return None if value is None else _encoder.encode(value).decode()


def _from_json(text: str | None, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    return None if text is None else decoder.decode(text)


_encoder: Final = msgspec.json.Encoder()
_started: Final = msgspec.json.Decoder(Started)
_ended: Final = msgspec.json.Decoder(Ended)
_cancelled: Final = msgspec.json.Decoder(Cancelled)
_doubt: Final = msgspec.json.Decoder(Doubt)
_problem: Final = msgspec.json.Decoder(Problem)
_terms: Final = msgspec.json.Decoder(OrderTerms)
_unanswered: Final = msgspec.json.Decoder(Unanswered)
_waived: Final = msgspec.json.Decoder(Waived)
_written_off: Final = msgspec.json.Decoder(WrittenOff)
_lowered: Final = msgspec.json.Decoder(tuple[Lowered, ...])
_paid_elsewhere: Final = msgspec.json.Decoder(PaidElsewhere)
_lowering: Final = msgspec.json.Decoder(Lowering)
_sync: Final = msgspec.json.Decoder(Sync)
_asking: Final = msgspec.json.Decoder(Asking)
_second_try: Final = msgspec.json.Decoder(SecondTry)
_debits: Final = msgspec.json.Decoder(tuple[Debit, ...])
_given_up: Final = msgspec.json.Decoder(GivenUp)
_ending: Final = msgspec.json.Decoder(Ending)
_authorisation_refused: Final = msgspec.json.Decoder(authorisations.Refused)
_refused: Final = msgspec.json.Decoder(Refused)
_transaction_ids: Final = msgspec.json.Decoder(tuple[str, ...])
