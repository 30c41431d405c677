"""The desk for keys, whatever is bought: certificates, and the self-test (reference payscore-api E.5, E.10)."""

from base64 import b64decode, b64encode
from typing import Annotated, Final

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from msgspec import Meta, Struct

from payscore_worker.simulator.addresses import check_notify_url
from payscore_worker.simulator.calls import Call, CallKind
from payscore_worker.simulator.desk import Subject
from payscore_worker.simulator.faults import Fault, FaultKind
from payscore_worker.simulator.members import Entity, read_body, shaped
from payscore_worker.simulator.refusals import ORDER_NOT_EXIST, WRONG_PLATFORM_SERIAL, Refused, bad_parameter
from payscore_worker.simulator.world import World

MAX_MESSAGE: Final = 190
"""Bytes: what OAEP with SHA-1 leaves of an RSA-2048 block, and a little less; the documents name no bound."""

_PADDING: Final = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303 - as documented (E.7)
_SHOWING: Final = frozenset({FaultKind.STALE, FaultKind.NOT_YET, FaultKind.AMOUNT_DIFFERS, FaultKind.DETAILS})
"""Faults that need an order to be false about."""


class Echo(Struct, frozen=True, kw_only=True):
    echo_message: Annotated[str, Meta(min_length=1)]
    encrypted_echo_message: str | None = None
    notify_url: str | None = None


class SecurityDesk:
    kinds: Final = frozenset({CallKind.CERTIFICATES, CallKind.SECURITY_ECHO})
    unknown: Final = ORDER_NOT_EXIST

    def __init__(self, world: World) -> None:
        self._world = world

    def subject_of(self, call: Call) -> Subject:  # noqa: ARG002 - it is about nobody
        return Subject()

    def can_play(self, call: Call, fault: Fault) -> bool:  # noqa: ARG002 - what has no numbers shows none
        return fault.fault not in _SHOWING | {FaultKind.ANOTHER_ORDER}

    def answer(self, call: Call) -> Entity:
        return self._world.platform.certificates() if call.kind is CallKind.CERTIFICATES else self._echo(call)

    def earlier(self, call: Call) -> Entity | None:  # noqa: ARG002 - nothing of it changes
        return None

    def _echo(self, call: Call) -> Entity:
        """Says a message back, open and sealed for the merchant, and calls back with both."""
        key = self._world.platform.key_named(call.headers.get("wechatpay-serial", ""))
        if key is None:
            raise Refused(WRONG_PLATFORM_SERIAL)
        echo = shaped(read_body(call), Echo)
        if len(echo.echo_message.encode()) > MAX_MESSAGE:
            raise bad_parameter("/echo_message", f"longer than {MAX_MESSAGE} bytes")
        if echo.encrypted_echo_message is not None:
            _check_sealed(echo.encrypted_echo_message, key.key)
        sealed = self._sealed(echo.echo_message)
        if echo.notify_url is not None:
            check_notify_url(echo.notify_url)
            self._call_back(echo.echo_message, sealed, echo.notify_url)
        return {"echo_message": echo.echo_message, "encrypted_echo_message": sealed}

    def _sealed(self, message: str) -> str:
        merchant = self._world.config.keys.merchant.key.public_key()
        return b64encode(merchant.encrypt(message.encode(), _PADDING)).decode()

    def _call_back(self, message: str, sealed: str, url: str) -> None:
        self._world.callbacks.announce(
            "SECURITY_ECHO.SUCCESS",
            {"echo_message": message, "encrypt_echo_message": sealed},
            original_type="security",
            summary="安全回显成功",
            url=url,
            openid="",
        )


def _check_sealed(sealed: str, key: RSAPrivateKey) -> None:
    try:
        key.decrypt(b64decode(sealed, validate=True), _PADDING)
    except ValueError:
        issue = "cannot be opened with the key that Wechatpay-Serial names"
        raise bad_parameter("/encrypted_echo_message", issue) from None
