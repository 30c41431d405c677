"""Messages in and out: bytes <-> typed, frozen values (contract 1 to 3)."""

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from payscore_worker.errors import MalformedMessage

_T = TypeVar("_T")

MAX_BODY_BYTES: Final = 256 * 1024
"""A trip with a hundred fees is a tenth of this; more is not a trip."""

MAX_FEN: Final = 100_000_000
"""A million yuan: a fare above it is a slip of the pen."""

MAX_ID_BYTES: Final = 255
"""What AMQP takes as a message id, to be counted in UTF-8; under an id we may have to publish the message again."""

CLOUD_EVENT: Final = "application/cloudevents+json"

_NO_TRACE: Final[Mapping[str, str]] = {}

FIRST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
END_OF_TIME: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""A ride of another century is a slip of the pen, and near the ends of the calendar no time can be reckoned with."""

# In Python `$` also matches before a line feed at the end. The look-ahead forbids it, and is harmless in JSON Schema.
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\x20-\x7e]+$(?!\n)", description="printable ASCII")]
Fen = Annotated[int, Meta(ge=0, le=MAX_FEN, description="money in whole fen")]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset, from 2000 to 2099")]
Storable = Annotated[
    str, Meta(pattern=r"^[^\x00]*$", description="any characters but NUL, which PostgreSQL cannot keep")
]
Text = Annotated[Storable, Meta(max_length=500, description="shortened to what WeChat Pay shows")]
Openid = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_-]{1,128}$(?!\n)", description="as WeChat gave it to the app")]


AccountName = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z_-]{1,32}$(?!\n)",
        description="the name of a merchant account; without it, the default one",
    ),
]

Appid = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z]{1,32}$(?!\n)",
        description="the app that gave the openid, one of the account's; without it, its default one",
    ),
]

# --- In: what the ride service says -----------------------------------------------------------------------------


class EventIn(Struct, frozen=True, kw_only=True):
    """Something that happened, as its publisher tells it."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the data of an event.

        Raises:
            MalformedMessage: names the member that is missing or wrong.

        """
        event = _decode(data, cls)
        for member, value in msgspec.structs.asdict(event).items():
            if isinstance(value, datetime) and not FIRST_MOMENT <= value < END_OF_TIME:
                raise MalformedMessage(f"{member}: not between 2000 and 2099")
        return event


class TripStarted(EventIn, frozen=True, kw_only=True):
    """A ride began."""

    trip_id: Id
    openid: Openid
    started_at: Moment
    start_location: Text = ""
    end_location: Text = ""
    estimated_fare_fen: Fen | None = None
    risk_amount_fen: Annotated[int, Meta(ge=1, le=MAX_FEN, description="money in whole fen")] | None = None
    introduction: Text = ""
    attach: Text = ""
    account: AccountName | UnsetType = UNSET
    appid: Appid | UnsetType = UNSET


class FeeItem(Struct, frozen=True, kw_only=True):
    """One item of the fare; the amount is that of the whole item."""

    name: Annotated[Storable, Meta(min_length=1, max_length=500)]
    amount_fen: Fen
    description: Text = ""
    count: Annotated[int, Meta(ge=1, le=100)] = 1


class DiscountItem(Struct, frozen=True, kw_only=True):
    """One deduction from the fare."""

    name: Annotated[Storable, Meta(min_length=1, max_length=500)]
    amount_fen: Fen
    description: Text = ""


class TripEnded(EventIn, frozen=True, kw_only=True):
    """A ride ended, and this is its fare."""

    trip_id: Id
    ended_at: Moment
    end_location: Text = ""
    fees: Annotated[tuple[FeeItem, ...], Meta(min_length=1, max_length=100)]
    discounts: Annotated[tuple[DiscountItem, ...], Meta(max_length=100)] = ()
    total_fen: Fen
    start_location: Text = ""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read it, and check that the total is the sum (design 3.5)."""
        ended = super().read(data)
        _check_total(ended)
        return ended


class TripCancelled(EventIn, frozen=True, kw_only=True):
    """A ride will not be charged."""

    trip_id: Id
    cancelled_at: Moment
    reason: Text


class AuthorisationRequested(EventIn, frozen=True, kw_only=True):
    """A passenger wants to authorise PayScore; `request_id` makes the request one, however often it is said."""

    request_id: Id
    openid: Openid
    client: Annotated[
        Literal["miniprogram", "h5", "app"], Meta(description="what opens the page; all take the same parameters")
    ] = "miniprogram"
    account: AccountName | UnsetType = UNSET
    appid: Appid | UnsetType = UNSET

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read it, and say what becomes of a login code."""
        try:
            return super().read(data)
        except MalformedMessage as error:
            if str(error) == "openid: missing" and "code" in _decode(data, dict[str, Any]):
                raise MalformedMessage("code: a login code is not exchanged yet; openid is expected") from error
            raise


class AuthorisationEnded(EventIn, frozen=True, kw_only=True):
    """What a passenger has authorised is to end: he leaves the platform, for one."""

    openid: Openid
    reason: Annotated[Text, Meta(min_length=1)]
    account: AccountName | UnsetType = UNSET


class TripFareLowered(EventIn, frozen=True, kw_only=True):
    """The fare of a trip that has ended is less than was told before."""

    trip_id: Id
    lowered_at: Moment
    fees: Annotated[tuple[FeeItem, ...], Meta(min_length=1, max_length=100)]
    discounts: Annotated[tuple[DiscountItem, ...], Meta(max_length=100)] = ()
    total_fen: Annotated[Fen, Meta(description="below the present total, in whole fen")]
    reason: Annotated[Text, Meta(min_length=1)]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read it, and check that the total is the sum (design 3.5)."""
        lowered = super().read(data)
        _check_total(lowered)
        return lowered


class TripPaidElsewhere(EventIn, frozen=True, kw_only=True):
    """The passenger has paid the fare to the platform itself: WeChat Pay is to collect no more."""

    trip_id: Id
    paid_at: Moment
    amount_fen: Annotated[int, Meta(ge=1, le=MAX_FEN, description="the whole fare, in whole fen")]
    channel: Annotated[Storable, Meta(min_length=1, max_length=64, description="in which way, for example `cash`")]


def _check_total(fare: TripEnded | TripFareLowered) -> None:
    owed = sum(fee.amount_fen for fee in fare.fees) - sum(item.amount_fen for item in fare.discounts)
    if fare.total_fen != owed:
        raise MalformedMessage(f"total_fen: {fare.total_fen} is not fees minus discounts, which is {owed}")


class RefundRequested(EventIn, frozen=True, kw_only=True):
    """Money of a paid trip is to go back; `refund_id` makes the request one, however often it is said."""

    trip_id: Id
    refund_id: Id
    amount_fen: Annotated[int, Meta(ge=1, le=MAX_FEN, description="money in whole fen")]
    reason: Annotated[Text, Meta(min_length=1)]


# --- In: what WeChat Pay says, verified and decrypted by the webhook ----------------------------------------------


class Notification(EventIn, frozen=True, kw_only=True):
    """What a callback said: WeChat's own words, unchanged."""

    resource: dict[str, Any]
    account: str | UnsetType = UNSET
    """Whose keys opened it; not named by a webhook that knew the default account alone."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read any JSON object."""
        return cls(resource=_decode(data, dict[str, Any]))


class OrderPaid(Notification, frozen=True, kw_only=True):
    """WeChat Pay tells of the collection of an order."""


class OrderConfirmed(Notification, frozen=True, kw_only=True):
    """The passenger has confirmed an order."""


class ServiceChanged(Notification, frozen=True, kw_only=True):
    """A passenger opened or closed the PayScore service."""


class RefundChanged(Notification, frozen=True, kw_only=True):
    """WeChat Pay tells how a refund ended, or that it cannot be delivered."""


def account_of(event: Notification) -> str:
    """Name the account whose keys opened a notification; empty: the default one."""
    return event.account if isinstance(event.account, str) else ""


class CloudEvent(Struct, frozen=True, kw_only=True):
    """A CloudEvents 1.0 envelope, structured mode."""

    specversion: Annotated[str, Meta(pattern=r"^1\.0$(?!\n)")]
    id: Annotated[Storable, Meta(min_length=1, max_length=MAX_ID_BYTES, description="at most 255 bytes in UTF-8")]
    source: Annotated[str, Meta(min_length=1)]
    type: Annotated[str, Meta(min_length=1)]
    time: Moment | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    datacontenttype: str | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET
    """In which trace it came about (CloudEvents' extension for distributed tracing)."""
    tracestate: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    """Which merchant account WeChat Pay told it to (an extension of ours)."""
    data: msgspec.Raw


class CloudEventOut(CloudEvent, frozen=True, kw_only=True):
    """An envelope of ours. What others' envelopes say of a sequence is not read: it need not be of our form."""

    sequence: str | UnsetType = UNSET
    """Which of two announcements of a trip is newer (CloudEvents' extension of this name)."""


SEQUENCE_DIGITS: Final = 10
"""A trip's version has one digit or two; padded, sequences sort as texts."""

message_in_hand: Final[ContextVar[str]] = ContextVar("message_in_hand", default="")
"""The id of the message that is being handled; it is noted beside the fact that it told."""


class Received(Struct, frozen=True):
    """An event with its identity."""

    id: str
    type: str
    event: EventIn


def read_event(
    body: bytes, *, content_type: str | None, message_id: str | None, expected: Mapping[str, type[EventIn]]
) -> Received:
    """Read one message of a queue that carries the `expected` types.

    A plain body is the data of the queue's one type; its id is the message id, or derived from type and body.

    Raises:
        MalformedMessage: names the member that is missing or wrong, or what else is.

    """
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"body: {len(body)} bytes, more than the {MAX_BODY_BYTES} allowed")
    if (content_type or "").partition(";")[0].strip().lower() == CLOUD_EVENT:
        return _read_cloud_event(body, expected)
    if message_id and "\0" in message_id:
        raise MalformedMessage("message_id: holds a NUL, which PostgreSQL cannot keep")
    _check_id("message_id", message_id or "")
    type_, kind = next(iter(expected.items()))
    identity = message_id or hashlib.sha256(type_.encode() + b"\n" + body).hexdigest()
    return Received(identity, type_, kind.read(body))


def _read_cloud_event(body: bytes, expected: Mapping[str, type[EventIn]]) -> Received:
    envelope = _decode(body, CloudEvent)
    _check_id("id", envelope.id)
    if envelope.type not in expected:
        raise MalformedMessage(f"type: {envelope.type!r} is none of {', '.join(expected)}")
    try:
        event = expected[envelope.type].read(bytes(envelope.data))
    except MalformedMessage as error:
        raise MalformedMessage(f"data.{error}") from error
    if isinstance(event, Notification):
        event = msgspec.structs.replace(event, account=envelope.account)
    return Received(envelope.id, envelope.type, event)


def _check_id(member: str, identity: str) -> None:
    """Bound an id as AMQP does, which counts bytes; a half character has none."""
    try:
        size = len(identity.encode())
    except UnicodeEncodeError:
        raise MalformedMessage(f"{member}: is not UTF-8") from None
    if size > MAX_ID_BYTES:
        raise MalformedMessage(f"{member}: {size} bytes in UTF-8, more than the {MAX_ID_BYTES} allowed")


def _decode(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise MalformedMessage(_member_first(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"body: not JSON: {error}") from error


def _member_first(complaint: str) -> str:
    """Turn msgspec's "Expected `int`, got `float` - at `$.fees[0].amount_fen`" round: the member leads."""
    what, at, path = complaint.partition(" - at `$")
    if missing := _MISSING.match(what):
        return f"{path.rstrip('`').lstrip('.')}.{missing[1]}: missing".lstrip(".")
    return f"{path.rstrip('`').lstrip('.') if at else 'body'}: {what}"


_MISSING: Final = re.compile(r"Object missing required field `(.+)`")


# --- Out: what the settlement announces -----------------------------------------------------------------------------


class ClientJump(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a client opens a page of WeChat's with, in WeChat's own names (reference payscore-api C.3).

    Mini programs take `extraData`; H5 and apps `queryString`. It may hold a token, so it is shown to nobody.
    """

    business_type: str
    extra_data: dict[str, str]
    query_string: str

    def __repr__(self) -> str:
        """Leave out what opens the page."""
        return f"ClientJump(business_type={self.business_type!r})"


class CaseAnnouncement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a case."""

    TYPE: ClassVar[str]
    KEY: ClassVar[str]
    """The member that is the key of the case."""

    @property
    def subject(self) -> str:
        """The key of the case, for the envelope."""
        key: str = getattr(self, self.KEY)
        return key


class AuthorisationAnnouncement(CaseAnnouncement, frozen=True, kw_only=True):
    """What became of a passenger's authorisation."""

    KEY: ClassVar[str] = "authorization_code"
    """An openid is nobody else's business."""

    openid: str
    authorization_code: Annotated[str, Meta(description="under which WeChat Pay knows it; the subject of the event")]


class AuthorisationParameters(AuthorisationAnnouncement, frozen=True, kw_only=True):
    """What the passenger's client opens the page with on which he authorises PayScore; a token is good for an hour."""

    TYPE: ClassVar[str] = "authorisation.parameters"

    request_id: str
    enable: ClientJump


class AuthorisationOpened(AuthorisationAnnouncement, frozen=True, kw_only=True):
    """The passenger has authorised PayScore, by WeChat Pay's signed word."""

    TYPE: ClassVar[str] = "authorisation.opened"

    at: datetime


class AuthorisationClosed(AuthorisationAnnouncement, frozen=True, kw_only=True):
    """The passenger's authorisation is over, by whomever it was ended; or there was none to end."""

    TYPE: ClassVar[str] = "authorisation.closed"

    at: datetime


class Announcement(CaseAnnouncement, frozen=True, kw_only=True):
    """What became of a trip, or of a refund of it."""

    KEY: ClassVar[str] = "trip_id"

    trip_id: str
    out_order_no: str
    state: Annotated[str, Meta(description="the trip's state after the change; a refund leaves it PAID")]


class SettlementOpened(Announcement, frozen=True, kw_only=True):
    """WeChat Pay accepted the order; the passenger rides."""

    TYPE: ClassVar[str] = "settlement.opened"

    order_id: str
    risk_amount_fen: int


class SettlementConfirmationRequested(Announcement, frozen=True, kw_only=True):
    """The passenger has to confirm the order before the ride is on it: `confirm` opens the page for that, once."""

    TYPE: ClassVar[str] = "settlement.confirmation_requested"

    confirm: ClientJump
    expires_at: Annotated[datetime, Meta(description="then the order is cancelled, and the trip is declined")]


class SettlementDeclined(Announcement, frozen=True, kw_only=True):
    """PayScore will not serve this passenger or this trip; ask for the fare another way."""

    TYPE: ClassVar[str] = "settlement.declined"

    reason: str
    message: str
    enable: ClientJump | UnsetType = UNSET
    """For `service_not_enabled`: what the client opens the enable page with. Absent where WeChat Pay gave no token."""


class SettlementCompleted(Announcement, frozen=True, kw_only=True):
    """WeChat Pay accepted the fare; it is not yet paid."""

    TYPE: ClassVar[str] = "settlement.completed"

    total_fen: int
    completed_at: datetime


class SettlementLowered(Announcement, frozen=True, kw_only=True):
    """The fare is less: WeChat Pay collects only this, or what is too much goes back as a refund."""

    TYPE: ClassVar[str] = "settlement.lowered"

    total_fen: int
    was_fen: int


class SettlementPaid(Announcement, frozen=True, kw_only=True):
    """The money is in; `transaction_ids` has one for each debit, and none where WeChat Pay collected nothing."""

    TYPE: ClassVar[str] = "settlement.paid"

    total_fen: int
    paid_fen: int
    paid_at: datetime
    transaction_id: str
    """The last of them; empty without any."""
    transaction_ids: tuple[str, ...]
    way: Annotated[str, Meta(description="`payscore`, or the `channel` in which the fare was paid elsewhere")]


class SettlementCancelled(Announcement, frozen=True, kw_only=True):
    """The trip was cancelled; nothing is owed."""

    TYPE: ClassVar[str] = "settlement.cancelled"

    reason: str


class SettlementWrittenOff(Announcement, frozen=True, kw_only=True):
    """A person decided that the money of this trip will not come; WeChat Pay collects nothing more."""

    TYPE: ClassVar[str] = "settlement.written_off"

    total_fen: int
    by: str
    reason: str


class SettlementProblem(Announcement, frozen=True, kw_only=True):
    """A person must look; nothing moves until they have."""

    TYPE: ClassVar[str] = "settlement.problem"

    code: str
    message: str
    request_id: str
    step: str


class SettlementStale(Announcement, frozen=True, kw_only=True):
    """The start or the end of the trip is missing for too long."""

    TYPE: ClassVar[str] = "settlement.stale"

    since: datetime
    age_seconds: int


class SettlementOverdue(Announcement, frozen=True, kw_only=True):
    """The passenger has not paid for too long; WeChat Pay keeps trying. Said at every age that the settings name."""

    TYPE: ClassVar[str] = "settlement.overdue"

    since: datetime
    age_seconds: int
    step: Annotated[int, Meta(description="which of the ages of PAYSCORE_OVERDUE_AFTER was reached: 1 is the first")]


class SettlementRefunded(Announcement, frozen=True, kw_only=True):
    """Money went back to the passenger, by WeChat Pay's signed word."""

    TYPE: ClassVar[str] = "settlement.refunded"

    refund_id: str
    out_refund_no: Annotated[str, Meta(description="under which WeChat Pay knows the refund")]
    amount_fen: Annotated[int, Meta(description="of this refund")]
    refunded_fen: Annotated[int, Meta(description="of all refunds of the trip so far, this one included")]
    refunded_at: datetime


class SettlementRefundProblem(Announcement, frozen=True, kw_only=True):
    """A refund did not come off, or not yet.

    `refund_closed`, by WeChat Pay's word, and `refund_given_up`, by a person's after WeChat Pay refused it for good:
    nothing went back, and a new attempt takes a new `refund_id`. With any other code a person must look, and the refund
    goes on then.
    """

    TYPE: ClassVar[str] = "settlement.refund_problem"

    refund_id: str
    out_refund_no: Annotated[str, Meta(description="under which WeChat Pay knows the refund")]
    amount_fen: Annotated[int, Meta(description="of this refund")]
    code: Annotated[
        str,
        Meta(
            description="`refund_closed`, `refund_given_up`, `refund_abnormal`, `refund_slow`, `refund_amount_differs` "
            "or another word of ours, or the code of WeChat Pay's refusal"
        ),
    ]
    message: str


ANNOUNCEMENTS: Final[tuple[type[CaseAnnouncement], ...]] = (
    SettlementConfirmationRequested,
    SettlementOpened,
    SettlementDeclined,
    SettlementCompleted,
    SettlementLowered,
    SettlementPaid,
    SettlementCancelled,
    SettlementWrittenOff,
    SettlementProblem,
    SettlementStale,
    SettlementOverdue,
    SettlementRefunded,
    SettlementRefundProblem,
    AuthorisationParameters,
    AuthorisationOpened,
    AuthorisationClosed,
)


def write_cloud_event(  # noqa: PLR0913 - one for each attribute of an envelope
    *,
    id: str,
    source: str,
    type: str,
    time: datetime,
    data: Struct | msgspec.Raw,
    subject: str | None = None,
    sequence: int | None = None,
    account: str | None = None,
    trace: Mapping[str, str] = _NO_TRACE,
) -> bytes:
    """Write a CloudEvents 1.0 envelope, structured mode; `trace` may hold `traceparent` and `tracestate`.

    `sequence` is the version of the row that the event tells of, `account` whose keys opened a notification.
    """
    envelope = CloudEventOut(
        specversion="1.0",
        id=id,
        source=source,
        type=type,
        time=time,
        subject=UNSET if subject is None else subject,
        datacontenttype="application/json",
        sequence=UNSET if sequence is None else f"{sequence:0{SEQUENCE_DIGITS}}",
        traceparent=trace.get("traceparent", UNSET),
        tracestate=trace.get("tracestate", UNSET),
        account=UNSET if account is None else account,
        data=data if isinstance(data, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(data)),
    )
    return msgspec.json.encode(envelope)


class _Traced(Struct):
    traceparent: str | UnsetType = UNSET
    tracestate: str | UnsetType = UNSET


def trace_of(body: bytes) -> dict[str, str]:
    """Read the trace from an envelope of our own."""
    traced = msgspec.json.decode(body, type=_Traced)
    words = {"traceparent": traced.traceparent, "tracestate": traced.tracestate}
    return {name: word for name, word in words.items() if isinstance(word, str)}
