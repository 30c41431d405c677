"""Opens what WeChat Pay sends to our notify URL: verified on its raw bytes, then decrypted."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, assert_never

import msgspec

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.decryption import Decryptor, Undecryptable
from payscore_worker.wechatpay.keys import VerificationKeys
from payscore_worker.wechatpay.reading import Json, member_of, moment, text
from payscore_worker.wechatpay.verification import Doubt, Verifier

ALGORITHM: Final = "AEAD_AES_256_GCM"

_LABEL: Final = re.compile(r"[\x21-\x7e]{1,128}")
"""An id or a type, of which WeChat Pay's are 36 at most: what any broker takes as a message id or a routing key."""


class NotificationError(Exception):
    """Why a notification is not accepted.

    NotificationError
      BadSignature, StaleTimestamp, UnknownSerial      nothing proves that WeChat Pay sent it: answer 401
      MalformedNotification, UndecryptableNotification  it did, and we cannot read it: answer 400
    """


class BadSignature(NotificationError):
    """The signature is wrong, undecodable or absent; perhaps a probe (reference payscore-api D.7)."""


class StaleTimestamp(NotificationError):
    """Signed too long ago, or ahead of our clock."""


class UnknownSerial(NotificationError):
    """Signed with a key that we do not have."""


class MalformedNotification(NotificationError):
    """Verified, but not of the documented form; the text names the member."""


class UndecryptableNotification(NotificationError):
    """Verified, but no APIv3 key of ours opens it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What WeChat Pay told us."""

    id: str
    event_type: str
    create_time: datetime
    resource: bytes = field(repr=False)
    """A JSON object, as decrypted to the byte."""
    summary: str


class Notifications:
    """Opens notifications, in the order of reference payscore-api D.4."""

    def __init__(
        self,
        *,
        keys: VerificationKeys,
        apiv3_keys: Sequence[bytes],
        clock: Callable[[], datetime],
    ) -> None:
        self._verifier = Verifier(keys, clock)
        self._decryptor = Decryptor(apiv3_keys)

    async def open(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Verify, then decrypt.

        Raises:
            NotificationError: one of its kinds.

        """
        doubt = await self._verifier.doubt(headers, body)
        if doubt is not None:
            raise _refusal(doubt)
        envelope = _json_object(body, "the body")
        try:
            return self._read(envelope)
        except MalformedMessage as error:
            raise MalformedNotification(str(error)) from None
        except Undecryptable as error:
            raise UndecryptableNotification(str(error)) from None

    def _read(self, envelope: Json) -> Notification:
        create_time = moment(envelope, "create_time")
        if create_time is None:
            raise MalformedNotification("create_time: missing")
        return Notification(
            id=_label(envelope, "id"),
            event_type=_label(envelope, "event_type"),
            create_time=create_time,
            resource=self._decrypt(member_of(envelope, "resource")),
            summary=text(envelope, "summary"),
        )

    def _decrypt(self, resource: Json) -> bytes:
        if text(resource, "algorithm") != ALGORITHM:
            raise UndecryptableNotification(f"resource.algorithm: is not {ALGORITHM}")
        opened = self._decryptor.decrypt(
            ciphertext=text(resource, "ciphertext"),
            nonce=text(resource, "nonce"),
            associated_data=text(resource, "associated_data"),
        )
        _json_object(opened, "resource")
        return opened


def _refusal(doubt: Doubt) -> NotificationError:
    match doubt:
        case Doubt.BAD_SIGNATURE:
            return BadSignature("the signature does not hold")
        case Doubt.STALE_TIMESTAMP:
            return StaleTimestamp("the timestamp is too far from now")
        case Doubt.UNKNOWN_SERIAL:
            return UnknownSerial("the serial names no key of ours")
        case _:
            assert_never(doubt)


def _json_object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise MalformedNotification(f"{what}: is not a JSON object") from None


def _label(data: Json, member: str) -> str:
    value = text(data, member)
    if not value:
        raise MalformedNotification(f"{member}: missing")
    if not _LABEL.fullmatch(value):
        raise MalformedNotification(f"{member}: too long, or not ASCII")
    return value
