"""What can go wrong, and what follows from it.

SettlementError
  SchemaOutdated            the database's schema and this code do not go together; says what to do
  Retryable                 the message is fine; try it again later
    WechatPayUnavailable    WeChat Pay did not process the call: not reached, or throttled
      HeldBack              not even tried: WeChat Pay throttles us and enough calls wait
        AccountOut          not even tried: WeChat Pay is out for this account; the trip is taken up once it is back
    MerchantRefused         WeChat Pay refuses us, whatever we ask: keys, clock, ids or permissions are wrong
    OutcomeUnknown          it may have happened: the same bytes again, or ask
    StorageUnavailable      the database cannot be reached; what was asked of it may have happened
    UnreadableRow           a row says what this release does not know; the release that wrote it does
    BrokerUnavailable       RabbitMQ cannot be reached, or did not confirm; what was published may have arrived
    Unroutable              RabbitMQ has no queue for the message
    TripBusy                another worker moved this trip at every turn
    TooEarly                it is about something that we were not told yet, and messages may overtake each other
      NotHeardOf            no trip of that name is known, and soon none will be
  Rejected                  no retry will help; a person should look
    NotOurs                 the notification is about another app or service of our merchant: for somebody else
    MalformedMessage        the message does not say what its type promises
    Unpublishable           RabbitMQ will never take the message, and says so: it is too large, or not well-formed
    Unstorable              it holds what no database keeps: a NUL, half a character, a time before all times
    ConflictingFact         it contradicts what is already noted
      TripArchived          the trip is over and archived, and this was never said of it
    IllegalTransition       the trip is past the point where this could happen
    WechatPayRejected       WeChat Pay refused; carries refusal, code, message, request id
"""

from enum import StrEnum
from typing import Final


class Refusal(StrEnum):
    """Why WeChat Pay refused, by what follows from it (reference payscore-api F.1, F.2, G.2)."""

    RISK_REFUSED = "risk_refused"
    ARREARS = "arrears"
    TOO_MANY_ORDERS = "too_many_orders"
    MINOR_PROTECTED = "minor_protected"
    AMOUNT_OVER_LIMIT = "amount_over_limit"
    NOT_ENABLED = "not_enabled"
    """This passenger has not authorised the service, says an unsigned answer."""
    NOT_PERMITTED = "not_permitted"
    """NO_AUTH: the passenger has not enabled the service, or our configuration is wrong. Ask which."""
    ORDER_NOT_FOUND = "order_not_found"
    WRONG_STATE = "wrong_state"
    """The order is not where the call needs it; or, to close a service, one is not over. Ask where it is."""
    REENTRY_MISMATCH = "reentry_mismatch"
    """Sent before with other parameters. Ask, and compare."""
    DEBIT_IN_FLIGHT = "debit_in_flight"
    """WeChat Pay is collecting at this moment. Wait minutes, then ask."""
    BAD_TIME = "bad_time"
    """A service time was refused. The body may be rebuilt under B.10."""
    INVALID_PARAMETER = "invalid_parameter"
    MISCONFIGURED = "misconfigured"
    """Opened under settings that have changed since. What WeChat Pay refuses so is a MerchantRefused."""
    RESOURCE_NOT_FOUND = "resource_not_found"
    """No such refund, or no such transaction: also for a while after it was paid. Ask, or send the same again later."""
    NOT_ENOUGH = "not_enough"
    """The merchant's balance is too low for the refund. The same again once it is topped up."""
    ACCOUNT_ABNORMAL = "account_abnormal"
    """The passenger's account is closed: nothing can be sent there, now or later. A person pays in another way."""
    UNCLEAR = "unclear"
    """A code that no table knows. Ask first; park if it is still unclear."""


class FailureClass(StrEnum):
    """How WeChat Pay can be out (reference payscore-api F.1, F.5)."""

    UNREACHABLE = "unreachable"
    """No answer at all."""
    TROUBLE = "trouble"
    """It says so itself: 5xx, or "try again later"."""
    UNVERIFIED = "unverified"
    """Successes that cannot be believed."""
    FOREIGN = "foreign"
    """Answers that are not WeChat Pay's: a proxy's, a firewall's."""
    THROTTLED = "throttled"
    """Too many calls, and slowing down has not helped."""
    MISCONFIGURED = "misconfigured"
    """It refuses us, whatever we ask: keys, clock, ids or permissions are wrong."""
    CLOCK = "clock"
    """Our own clock is wrong, as the database or WeChat Pay tell the time: no call is made by it."""


class SettlementError(Exception):
    """Everything this package raises on purpose."""


class SchemaOutdated(SettlementError):
    """The database's schema and this code do not go together."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}: {remedy}")
        self.found: Final = found
        self.remedy: Final = remedy


class Retryable(SettlementError):
    """The message is fine; try it again later."""


class Rejected(SettlementError):
    """No retry will help; a person should look."""


class WechatPayError(SettlementError):
    """An answer of WeChat Pay, or the lack of one, as the journal and the logs need it."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        request_id: str = "",
        attempts: int = 1,
        unsure: bool = False,
        failure: FailureClass = FailureClass.UNREACHABLE,
    ) -> None:
        super().__init__(message)
        self.message: Final = message
        self.status: Final = status
        self.code: Final = code
        self.request_id: Final = request_id
        self.attempts: Final = attempts
        self.unsure: Final = unsure
        """An attempt may have been processed, whatever the last one brought."""
        self.failure: Final = failure
        """How WeChat Pay is out, where this is no refusal of this one call."""


class WechatPayUnavailable(WechatPayError, Retryable):
    """WeChat Pay did not process the call: it was not reached, or it throttled us."""


class HeldBack(WechatPayUnavailable):
    """The call was not even tried: WeChat Pay is out, or throttles us and enough calls wait for their turn."""

    def __init__(self, message: str) -> None:
        super().__init__(message, attempts=0)


class AccountOut(HeldBack):
    """Not even tried: WeChat Pay is out for this account, or our clock is wrong; other accounts may be served."""


class MerchantRefused(WechatPayError, Retryable):
    """WeChat Pay refuses us, whatever we ask: what is wrong is our keys, clock, ids or permissions, not the trip."""


class OutcomeUnknown(WechatPayError, Retryable):
    """The call may have been processed. Send the same bytes again, or ask; never assume (design 3.3)."""


class WechatPayRejected(WechatPayError, Rejected):
    """WeChat Pay refused the call."""

    def __init__(
        self,
        message: str,
        *,
        refusal: Refusal,
        status: int,
        code: str,
        request_id: str = "",
        attempts: int = 1,
        unsure: bool = False,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id, attempts=attempts, unsure=unsure)
        self.refusal: Final = refusal

    def __str__(self) -> str:
        return f"WeChat Pay refused ({self.refusal}): {self.status} {self.code} {self.message}"


class StorageUnavailable(Retryable):
    """The database cannot be reached; what was asked of it may have happened."""


class UnreadableRow(Retryable):
    """A row says what this release does not know; the release that wrote it does. What it says is not repeated here."""

    def __init__(self, table: str, key: str, column: str) -> None:
        super().__init__(
            f"this release cannot read {table}.{column} of {key}: run the release that wrote it, or a newer one"
        )
        self.table: Final = table
        self.key: Final = key
        self.column: Final = column


class BrokerUnavailable(Retryable):
    """RabbitMQ cannot be reached, or did not confirm; what was published may have arrived."""


class Unroutable(Retryable):
    """RabbitMQ has no queue for the message."""


class TripBusy(Retryable):
    """Another worker moved this trip at every turn."""


class TooEarly(Retryable):
    """It is about something that we were not told yet; messages may overtake each other."""


class NotHeardOf(TooEarly):
    """No trip of that name is known: it was overtaken a moment ago, or the name is wrong."""


class MalformedMessage(Rejected):
    """The message does not say what its type promises; the text names the member."""


class NotOurs(Rejected):
    """The notification is about another app or service of our merchant: for somebody else, and no error."""


class Unpublishable(Rejected):
    """RabbitMQ will never take the message, and says so; the text is its reason."""


class Unstorable(Rejected):
    """It holds what no database keeps; the text names the column, and not what is in it."""


class ConflictingFact(Rejected):
    """It contradicts what is already noted."""


class TripArchived(ConflictingFact):
    """The trip is over and archived, and this was never said of it."""


class IllegalTransition(Rejected):
    """The trip is past the point where this could happen."""
