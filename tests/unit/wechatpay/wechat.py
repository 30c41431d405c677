"""WeChat Pay as these tests need it: says what it is told, signs it, and remembers what it heard."""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from payscore_worker.wechatpay import Merchant, VerificationKeys, WechatPayClient, load_private_key
from tests.unit.wechatpay.vectors import APIV3_KEY, CERTIFICATE_SERIAL, MERCHANT_KEY

PRIMARY: Final = "https://api.mch.weixin.qq.com"
BACKUP: Final = "https://api2.mch.weixin.qq.com"
PUBLIC_KEY_ID: Final = "PUB_KEY_ID_0116"
NOW: Final = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, step: timedelta) -> None:
        self.now += step


@cache
def a_key(name: str) -> RSAPrivateKey:
    """Make a key once; it takes a tenth of a second."""
    assert name
    return generate_private_key(public_exponent=65537, key_size=2048)


@cache
def merchant_key() -> RSAPrivateKey:
    return load_private_key(MERCHANT_KEY)


def signature_headers(
    body: bytes,
    *,
    at: datetime = NOW,
    serial: str = PUBLIC_KEY_ID,
    key: RSAPrivateKey | None = None,
    nonce: str = "c5ac7061fccab6bf3e254dcf98995b8c",
) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    signed = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signature = (key or a_key("wechat")).sign(signed, PKCS1v15(), SHA256())
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": b64encode(signature).decode(),
        "Wechatpay-Serial": serial,
        "Request-ID": "08F1-1",
    }


def a_success(
    data: object = None,
    *,
    status: int = 200,
    content: bytes | None = None,
    at: datetime = NOW,
    serial: str = PUBLIC_KEY_ID,
    key: RSAPrivateKey | None = None,
) -> httpx.Response:
    """Answer with a body, signed."""
    body = content if content is not None else msgspec.json.encode({"order_id": "1"} if data is None else data)
    return httpx.Response(status, content=body, headers=signature_headers(body, at=at, serial=serial, key=key))


def an_error(status: int, code: str = "", message: str = "", *, request_id: str = "08F1-1") -> httpx.Response:
    """Answer with an error, unsigned."""
    body = msgspec.json.encode({"code": code, "message": message})
    return httpx.Response(status, content=body, headers={"Request-ID": request_id})


@dataclass
class Wechat:
    """Answers with the replies in turn, then with a success for ever."""

    replies: list[Reply] = field(default_factory=list)
    certificates: list[Reply] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.requests]

    def asked_for(self, path: str) -> int:
        return sum(request.url.path == path for request in self.requests)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        replies = self.certificates if request.url.path == "/v3/certificates" else self.replies
        reply = replies.pop(0) if replies else a_success()
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else reply(request)


class Pauses:
    """Remembers how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def a_merchant(*, apiv2_key: str | None = None, service_id: str = "500001") -> Merchant:
    return Merchant(
        mchid="1230000109",
        appid="wxd678efh567hg6787",
        service_id=service_id,
        serial_no=CERTIFICATE_SERIAL,
        private_key=merchant_key(),
        apiv3_keys=(APIV3_KEY,),
        notify_url="https://pay.example.com/notify/payscore",
        apiv2_key=apiv2_key,
    )


def public_key_mode(clock: Clock) -> VerificationKeys:
    public_keys = {PUBLIC_KEY_ID: a_key("wechat").public_key()}
    return VerificationKeys(apiv3_keys=[APIV3_KEY], clock=clock, public_keys=public_keys)


def certificate_mode(clock: Clock, *apiv3_keys: bytes) -> VerificationKeys:
    return VerificationKeys(apiv3_keys=apiv3_keys or [APIV3_KEY], clock=clock)


def a_client(
    wechat: Wechat,
    *,
    clock: Clock,
    keys: VerificationKeys | None = None,
    merchant: Merchant | None = None,
    base_urls: tuple[str, ...] = (PRIMARY, BACKUP),
    sleep: Callable[[float], Awaitable[None]] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> WechatPayClient:
    return WechatPayClient(
        merchant=merchant or a_merchant(),
        keys=keys or public_key_mode(clock),
        base_urls=base_urls,
        transport=transport or httpx.MockTransport(wechat),
        clock=clock,
        sleep=sleep or Pauses(),
    )


def a_certificate(
    key: RSAPrivateKey | EllipticCurvePrivateKey,
    *,
    starts: datetime = NOW - timedelta(days=1),
    expires: datetime = NOW + timedelta(days=1825),
) -> bytes:
    """Make a platform certificate, as PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com sign")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=starts,
        not_valid_after=expires,
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def certificates_body(certificates: Mapping[str, bytes], *, apiv3_key: bytes = APIV3_KEY) -> bytes:
    """List certificates, encrypted as `GET /v3/certificates` does."""
    nonce = b"14b16c03dc1b"
    entries = [
        {
            "serial_no": serial,
            "encrypt_certificate": {
                "algorithm": "AEAD_AES_256_GCM",
                "nonce": nonce.decode(),
                "associated_data": "certificate",
                "ciphertext": b64encode(AESGCM(apiv3_key).encrypt(nonce, pem, b"certificate")).decode(),
            },
        }
        for serial, pem in certificates.items()
    ]
    return msgspec.json.encode({"data": entries})
