"""Who the simulator is: a merchant's keys and WeChat Pay's own, made once and kept in a file."""

import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import NameOID

KEYS_FILE: Final = "keys.json"
CERTIFICATE_LIFE: Final = timedelta(days=5 * 365)
CERTIFICATE_START: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""Long ago, so that it holds by whatever clock the simulator is played to."""
"""WeChat Pay's certificates are valid five years (reference payscore-api E.5)."""


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    key: RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def generate(cls, owner: str) -> Self:
        key = _generate_key()
        return cls(key, _self_signed(key, owner))

    @property
    def serial_no(self) -> str:
        """Upper-case hex, as WeChat Pay writes it."""
        return f"{self.certificate.serial_number:040X}"

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorKeys:
    mchid: str
    appid: str
    service_id: str
    merchant: CertifiedKey
    platform: CertifiedKey
    public_key_id: str
    public_key_pair: RSAPrivateKey
    """Its public half is the WeChat Pay public key; this half signs (reference payscore-api E.6)."""
    apiv3_key: str = field(repr=False)
    apiv2_key: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(
            mchid=f"1{_digits(9)}",
            appid=f"wx{secrets.token_hex(8)}",
            service_id=f"2002{_digits(27)}",
            merchant=CertifiedKey.generate("Simulated merchant"),
            platform=CertifiedKey.generate("Simulated WeChat Pay"),
            public_key_id=f"PUB_KEY_ID_01{_digits(30)}",
            public_key_pair=_generate_key(),
            apiv3_key=secrets.token_hex(16),
            apiv2_key=secrets.token_hex(16),
        )

    @classmethod
    def load_or_create(cls, directory: Path) -> Self:
        """The keys kept in that directory; made, and readable by their owner only, at the first start."""
        file = directory / KEYS_FILE
        if not file.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_once(file, msgspec.json.encode(_to_file(cls.generate())))
        return cls._from_file(_read_file(file))

    @classmethod
    def _from_file(cls, kept: "_KeysFile") -> Self:
        return cls(
            mchid=kept.mchid,
            appid=kept.appid,
            service_id=kept.service_id,
            merchant=_certified(kept.merchant_key, kept.merchant_certificate),
            platform=_certified(kept.platform_key, kept.platform_certificate),
            public_key_id=kept.public_key_id,
            public_key_pair=_private_key(kept.public_key_pair),
            apiv3_key=kept.apiv3_key,
            apiv2_key=kept.apiv2_key,
        )

    @property
    def merchant_private_key_pem(self) -> str:
        return _private_pem(self.merchant.key)

    @property
    def public_key_pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.public_key_pair.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


class _KeysFile(msgspec.Struct, kw_only=True):
    mchid: str
    appid: str
    service_id: str
    merchant_key: str
    merchant_certificate: str
    platform_key: str
    platform_certificate: str
    public_key_id: str
    public_key_pair: str
    apiv3_key: str
    apiv2_key: str


def _to_file(keys: SimulatorKeys) -> _KeysFile:
    return _KeysFile(
        mchid=keys.mchid,
        appid=keys.appid,
        service_id=keys.service_id,
        merchant_key=_private_pem(keys.merchant.key),
        merchant_certificate=keys.merchant.certificate_pem,
        platform_key=_private_pem(keys.platform.key),
        platform_certificate=keys.platform.certificate_pem,
        public_key_id=keys.public_key_id,
        public_key_pair=_private_pem(keys.public_key_pair),
        apiv3_key=keys.apiv3_key,
        apiv2_key=keys.apiv2_key,
    )


def _read_file(file: Path) -> _KeysFile:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_KeysFile)
    except msgspec.DecodeError as error:
        raise ValueError(f"{file} does not hold a simulator's keys ({error}); delete it to have new ones") from error


def _write_once(file: Path, content: bytes) -> None:
    """Whole or not at all; where two processes start at once, both then read what the first one wrote."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _generate_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def _self_signed(key: RSAPrivateKey, owner: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(CERTIFICATE_START)
        .not_valid_after(datetime.now(UTC) + CERTIFICATE_LIFE)
        .sign(key, hashes.SHA256())
    )


def _certified(key_pem: str, certificate_pem: str) -> CertifiedKey:
    return CertifiedKey(_private_key(key_pem), x509.load_pem_x509_certificate(certificate_pem.encode()))


def _private_key(pem: str) -> RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("expected an RSA private key")
    return key


def _private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _digits(count: int) -> str:
    return "".join(secrets.choice("0123456789") for _ in range(count))
