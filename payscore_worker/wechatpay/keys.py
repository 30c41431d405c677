"""The keys that prove what WeChat Pay says: its public key and its platform certificates, held side by side."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from payscore_worker import metrics
from payscore_worker.errors import MalformedMessage, Rejected, SettlementError
from payscore_worker.wechatpay.decryption import Decryptor, Undecryptable
from payscore_worker.wechatpay.reading import Json, member_of, printable, text
from payscore_worker.wechatpay.signatures import Proof
from payscore_worker.wechatpay.times import within_our_times

PUBLIC_KEY_PREFIX: Final = "PUB_KEY_ID_"

FRESH_FOR: Final = timedelta(hours=1)
"""How long a download of certificates is good; the official Java client asks as often (reference payscore-api E.5)."""

DOWNLOAD_PAUSE: Final = timedelta(minutes=1)
"""No second download within this time, so that made-up serials cannot make us hammer WeChat Pay."""

PAUSE_WITHOUT_KEY: Final = timedelta(seconds=5)
"""The same while there is no key at all: nothing can be called, and nothing believed, before there is one."""

MAX_CERTIFICATES: Final = 16
"""WeChat Pay lists one, or two while it changes them; more than a handful is not its list."""

MAX_WAITING: Final = 300
"""How many wait while we ask for a serial: all calls of ours at once, and yet not all that a webhook can serve."""

SERIAL_CHARS: Final = 64
"""A serial number has 40; a line names this much of whatever stands in its place."""

_KEY_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
"""It goes into a header of every request."""

Download = Callable[[], Awaitable[tuple[Mapping[str, str], bytes]]]
"""Gets headers and raw body of `GET /v3/certificates`, unverified."""


_log = structlog.get_logger(__name__)


class UnusableCertificates(Rejected):
    """The certificates cannot be decrypted with our APIv3 key, or the answer is not signed by one of them."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A platform certificate."""

    key: RSAPublicKey
    starts: datetime
    expires: datetime

    def holds(self, now: datetime) -> bool:
        """Tell whether it proves anything now: WeChat Pay lists the next one before its time has come."""
        return self.starts <= now < self.expires


class VerificationKeys:
    """Finds the key that a serial names; learns new certificates by itself (reference payscore-api E.5, E.6)."""

    def __init__(
        self,
        *,
        apiv3_keys: Sequence[bytes],
        clock: Callable[[], datetime],
        public_keys: Mapping[str, RSAPublicKey] | None = None,
    ) -> None:
        if not all(_KEY_ID.fullmatch(key_id) for key_id in public_keys or {}):
            raise ValueError("the id of a public key: letters, digits, _ and - are expected")
        self._decryptor = Decryptor(apiv3_keys)
        self._clock = clock
        self._public_keys = dict(public_keys or {})
        self._certificates: dict[str, Certificate] = {}
        self._source: Download | None = None
        self._download: asyncio.Task[None] | None = None
        self._asked_at: datetime | None = None
        self._waiting = 0

    def download_from(self, source: Download) -> None:
        """Say where certificates come from: the client does, which needs these keys itself."""
        self._source = source

    @property
    def ready(self) -> bool:
        """Tell whether anything at all can be verified."""
        return bool(self._public_keys or self.certificate_expiry)

    @property
    def certificate_expiry(self) -> dict[str, datetime]:
        """When each certificate in use expires, by serial."""
        now = self._clock()
        return {serial: held.expires for serial, held in self._certificates.items() if held.holds(now)}

    @property
    def wanted_serial(self) -> str | None:
        """The key to ask WeChat Pay to sign with: our public key, or else the newest certificate (E.6)."""
        if self._public_keys:
            return next(iter(self._public_keys))
        usable = self.certificate_expiry
        return max(usable, key=lambda serial: self._certificates[serial].starts, default=None)

    @property
    def wanted_key(self) -> RSAPublicKey | None:
        """The key of that serial: with it we encrypt what only WeChat Pay may read (reference payscore-api E.7)."""
        serial = self.wanted_serial
        return None if serial is None else self._known(serial)

    def serial_of(self, key: RSAPublicKey) -> str | None:
        """Tell under which serial a key is held; the merchant's own should be under none (payscore-api H-16)."""
        numbers = key.public_numbers()
        held = self._public_keys | {serial: certificate.key for serial, certificate in self._certificates.items()}
        return next((serial for serial, known in held.items() if known.public_numbers() == numbers), None)

    async def refresh(self) -> None:
        """Download the certificates, unless our public key makes them unnecessary.

        Raises:
            WechatPayError: they could not be had.
            UnusableCertificates: they are not WeChat Pay's, or our APIv3 key is wrong.

        """
        if self._public_keys and not self._certificates:
            return
        await asyncio.shield(self._latest_download())

    async def ensure(self) -> None:
        """Have at least one key, so that what WeChat Pay answers can be believed; ask for one where there is none.

        Raises:
            WechatPayError: it could not be had.
            UnusableCertificates: what came proves nothing.

        """
        if not self.ready:
            await self.refresh()

    async def run(self) -> None:
        """Have a key, until cancelled: a role that has none is not ready, and nobody brings it what would fetch one."""
        told = ""
        while True:
            try:
                await self.ensure()
            except SettlementError as error:
                if str(error) != told:
                    _log.warning("keys_not_fetched", reason=str(error))
                told = str(error)
            await asyncio.sleep(PAUSE_WITHOUT_KEY.total_seconds())

    async def find(self, serial: str) -> RSAPublicKey | None:
        """Find the key; for a serial never heard of, ask WeChat Pay once a minute at most."""
        key = self._known(serial)
        if key is not None:
            self._keep_fresh()
            return key
        if not serial.startswith(PUBLIC_KEY_PREFIX) and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                with suppress(SettlementError):  # remembered by the task; the serial stays unknown
                    await asyncio.shield(self._latest_download())
            finally:
                self._waiting -= 1
        return self._known(serial)

    async def aclose(self) -> None:
        """Give up a download under way."""
        if self._download is not None:
            self._download.cancel()
            await asyncio.wait([self._download])

    def _known(self, serial: str) -> RSAPublicKey | None:
        if serial in self._public_keys:
            return self._public_keys[serial]
        held = self._certificates.get(serial)
        return held.key if held is not None and held.holds(self._clock()) else None

    def _keep_fresh(self) -> None:
        """Look for new certificates now and then, without making anybody wait."""
        if self._certificates and not self._asked_within(FRESH_FOR):
            self._latest_download()

    def _latest_download(self) -> asyncio.Task[None]:
        """Join the download under way, or the last one with its result or failure, or start another."""
        pause = DOWNLOAD_PAUSE if self.ready else PAUSE_WITHOUT_KEY
        if self._download is None or (self._download.done() and not self._asked_within(pause)):
            self._asked_at = self._clock()
            self._download = asyncio.create_task(self._download_certificates())
            self._download.add_done_callback(_retrieve_failure)
        return self._download

    def _asked_within(self, period: timedelta) -> bool:
        return self._asked_at is not None and abs(self._clock() - self._asked_at) < period

    async def _download_certificates(self) -> None:
        if self._source is None:
            raise UnusableCertificates("no client to download them with")
        headers, body = await self._source()
        listed = self._decrypt(body)
        self._check_signature(headers, body, listed)
        self._certificates = listed

    def _check_signature(self, headers: Mapping[str, str], body: bytes, listed: Mapping[str, Certificate]) -> None:
        """Trust a list that is signed by a key on it, or by one we hold (reference payscore-api E.5)."""
        proof = Proof.read(headers)
        if proof is None or not proof.is_current(self._clock()):
            raise UnusableCertificates("the answer is unsigned, or its timestamp is off")
        signing = listed.get(proof.serial)
        key = signing.key if signing is not None and signing.holds(self._clock()) else self._known(proof.serial)
        if key is None or not proof.holds(body, key):
            raise UnusableCertificates("the answer is not signed by one of them")

    def _decrypt(self, body: bytes) -> dict[str, Certificate]:
        """Read the certificates that have not expired; those that hold now and last longest, should there be too many.

        One that cannot be read says nothing of the others: WeChat Pay may list kinds that we have no use for.
        """
        opened: dict[str, Certificate] = {}
        unread: dict[str, str] = {}
        for serial, entry in _entries(body):
            try:
                opened[serial] = self._open(member_of(entry, "encrypt_certificate"))
            except (Undecryptable, UnusableCertificates, MalformedMessage) as error:
                unread[printable(serial, SERIAL_CHARS)] = str(error)
            except (ValueError, UnsupportedAlgorithm) as error:  # not ours: its text may quote what it could not read
                unread[printable(serial, SERIAL_CHARS)] = type(error).__name__
        if unread and not opened:
            raise UnusableCertificates(f"cannot be opened: {', '.join(sorted(set(unread.values())))}")
        _tell_of(unread)
        now = self._clock()
        if not any(certificate.holds(now) for certificate in opened.values()):
            raise UnusableCertificates("none is valid now")
        lasting = [(serial, certificate) for serial, certificate in opened.items() if certificate.expires > now]
        lasting.sort(key=lambda one: (one[1].holds(now), one[1].expires), reverse=True)
        return dict(lasting[:MAX_CERTIFICATES])

    def _open(self, sealed: Json) -> Certificate:
        pem = self._decryptor.decrypt(
            ciphertext=text(sealed, "ciphertext"),
            nonce=text(sealed, "nonce"),
            associated_data=text(sealed, "associated_data"),
        )
        certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise UnusableCertificates("not an RSA certificate")
        return Certificate(
            key=key,
            starts=within_our_times(certificate.not_valid_before_utc),
            expires=within_our_times(certificate.not_valid_after_utc),
        )


def _entries(body: bytes) -> Iterator[tuple[str, Json]]:
    """Read the list, as long as its answer may be; some samples print one object where a list is documented."""
    try:
        listed = msgspec.json.decode(body, type=dict).get("data", [])
    except (ValueError, RecursionError) as error:
        raise UnusableCertificates(f"cannot be opened: {type(error).__name__}") from error
    for entry in listed if isinstance(listed, list) else [listed]:
        members = entry if isinstance(entry, dict) else {}
        serial = members.get("serial_no")
        yield (serial if isinstance(serial, str) else ""), members


def _tell_of(unread: Mapping[str, str]) -> None:
    """Name the certificates that were passed over, in one line, and count them."""
    if not unread:
        return
    metrics.CERTIFICATES_UNREAD.inc(len(unread))
    shown = [f"{serial or 'no serial'}: {reason}" for serial, reason in unread.items()]
    _log.warning("certificates_passed_over", count=len(unread), certificates=shown[:MAX_CERTIFICATES])


def _retrieve_failure(download: asyncio.Task[None]) -> None:
    """Keep asyncio from complaining about a failure nobody waited for; the client has logged it."""
    if not download.cancelled():
        download.exception()
