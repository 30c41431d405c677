"""The keys that prove what WeChat Pay says: its public key and its platform certificates, held side by side."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from payscore_worker.errors import Rejected, SettlementError
from payscore_worker.wechatpay.decryption import Decryptor, Undecryptable
from payscore_worker.wechatpay.reading import Json, member_of, members_of, text
from payscore_worker.wechatpay.signatures import Proof

PUBLIC_KEY_PREFIX: Final = "PUB_KEY_ID_"

FRESH_FOR: Final = timedelta(hours=1)
"""How long a download of certificates is good; the official Java client asks as often (reference payscore-api E.5)."""

DOWNLOAD_PAUSE: Final = timedelta(minutes=1)
"""No second download within this time, so that made-up serials cannot make us hammer WeChat Pay."""

MAX_CERTIFICATES: Final = 16
"""WeChat Pay lists one, or two while it changes them; more than a handful is not its list."""

MAX_WAITING: Final = 300
"""How many wait while we ask for a serial: all calls of ours at once, and yet not all that a webhook can serve."""

Download = Callable[[], Awaitable[tuple[Mapping[str, str], bytes]]]
"""Gets headers and raw body of `GET /v3/certificates`, unverified."""


class UnusableCertificates(Rejected):
    """The certificates cannot be decrypted with our APIv3 key, or the answer is not signed by one of them."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A platform certificate."""

    key: RSAPublicKey
    starts: datetime
    expires: datetime


class VerificationKeys:
    """Finds the key that a serial names; learns new certificates by itself (reference payscore-api E.5, E.6)."""

    def __init__(
        self,
        *,
        apiv3_keys: Sequence[bytes],
        clock: Callable[[], datetime],
        public_keys: Mapping[str, RSAPublicKey] | None = None,
    ) -> None:
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
        return {serial: held.expires for serial, held in self._certificates.items() if held.expires > now}

    @property
    def wanted_serial(self) -> str | None:
        """The key to ask WeChat Pay to sign with: our public key, or else the newest certificate (E.6)."""
        if self._public_keys:
            return next(iter(self._public_keys))
        usable = self.certificate_expiry
        return max(usable, key=lambda serial: self._certificates[serial].starts, default=None)

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
        return held.key if held is not None and held.expires > self._clock() else None

    def _keep_fresh(self) -> None:
        """Look for new certificates now and then, without making anybody wait."""
        if self._certificates and not self._asked_within(FRESH_FOR):
            self._latest_download()

    def _latest_download(self) -> asyncio.Task[None]:
        """Join the download under way, or the last one with its result or failure, or start another."""
        if self._download is None or (self._download.done() and not self._asked_within(DOWNLOAD_PAUSE)):
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
        key = listed[proof.serial].key if proof.serial in listed else self._known(proof.serial)
        if key is None or not proof.holds(body, key):
            raise UnusableCertificates("the answer is not signed by one of them")

    def _decrypt(self, body: bytes) -> dict[str, Certificate]:
        """Read the certificates that have not expired; those that last longest, should there be too many."""
        try:
            entries = members_of(msgspec.json.decode(body, type=dict), "data")
            opened = {
                text(entry, "serial_no"): self._open(member_of(entry, "encrypt_certificate")) for entry in entries
            }
        except (Undecryptable, Rejected, ValueError, RecursionError) as error:
            raise UnusableCertificates(f"cannot be opened: {type(error).__name__}") from error
        now = self._clock()
        valid = [(serial, certificate) for serial, certificate in opened.items() if certificate.expires > now]
        valid.sort(key=lambda entry: entry[1].expires, reverse=True)
        if not valid:
            raise UnusableCertificates("none is valid now")
        return dict(valid[:MAX_CERTIFICATES])

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
            starts=certificate.not_valid_before_utc,
            expires=certificate.not_valid_after_utc,
        )


def _retrieve_failure(download: asyncio.Task[None]) -> None:
    """Keep asyncio from complaining about a failure nobody waited for; the client has logged it."""
    if not download.cancelled():
        download.exception()
