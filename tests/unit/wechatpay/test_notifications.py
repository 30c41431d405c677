import asyncio
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from payscore_worker.wechatpay import (
    BadSignature,
    MalformedNotification,
    NotificationError,
    Notifications,
    StaleTimestamp,
    UndecryptableNotification,
    UnknownSerial,
    VerificationKeys,
)
from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.wechat import (
    Clock,
    Wechat,
    a_client,
    a_success,
    certificates_body,
    merchant_key,
    public_key_mode,
    signature_headers,
)

SENT_AT = datetime.fromtimestamp(vectors.NOTIFICATION_TIMESTAMP, UTC)
KEYS = [vectors.APIV3_KEY]


def notifications(clock: Clock, apiv3_keys: list[bytes] = KEYS) -> Notifications:
    """Receive what the owner of the published certificate signs."""
    certificate = load_pem_x509_certificate(vectors.CERTIFICATE.encode())
    keys = VerificationKeys(
        apiv3_keys=apiv3_keys,
        clock=clock,
        public_keys={vectors.CERTIFICATE_SERIAL: certificate.public_key()},  # type: ignore[dict-item]  # it is RSA
    )
    return Notifications(keys=keys, apiv3_keys=apiv3_keys, clock=clock)


def headers(signature: str = vectors.USER_PAID_SIGNATURE, **changes: str) -> dict[str, str]:
    return {
        "Wechatpay-Timestamp": str(vectors.NOTIFICATION_TIMESTAMP),
        "Wechatpay-Nonce": vectors.NOTIFICATION_NONCE,
        "Wechatpay-Serial": vectors.CERTIFICATE_SERIAL,
        "Wechatpay-Signature": signature,
    } | {f"Wechatpay-{name.title()}": value for name, value in changes.items()}


async def open_at(moment: datetime, signed: dict[str, str], body: bytes, apiv3_keys: list[bytes] = KEYS) -> bytes:
    notification = await notifications(Clock(moment), apiv3_keys).open(signed, body)
    return notification.resource


# --- The vectors ---


async def test_v3_the_published_notification_opens() -> None:
    keys = [vectors.OPEN_SERVICE_KEY]

    notification = await notifications(Clock(SENT_AT), keys).open(
        headers(vectors.OPEN_SERVICE_SIGNATURE), vectors.OPEN_SERVICE_BODY
    )

    assert notification.id == "3119dfba-e649-5eec-ab1e-3412bc4d2e17"
    assert notification.event_type == "PAYSCORE.USER_OPEN_SERVICE"
    assert notification.create_time == SENT_AT
    assert notification.summary == "签约成功"
    assert notification.resource == vectors.OPEN_SERVICE_RESOURCE


async def test_v6_a_paid_notification_of_the_current_family_opens() -> None:
    assert await open_at(SENT_AT, headers(), vectors.USER_PAID_BODY) == vectors.USER_PAID_RESOURCE


async def test_v7_a_paid_notification_of_the_legacy_family_opens() -> None:
    signed = headers(vectors.LEGACY_PAID_SIGNATURE)

    assert await open_at(SENT_AT, signed, vectors.LEGACY_PAID_BODY) == vectors.LEGACY_PAID_RESOURCE


@pytest.mark.parametrize(
    ("changed", "body", "late_by", "error"),
    [
        ({"signature": "WECHATPAY/SIGNTEST/" + vectors.USER_PAID_SIGNATURE}, vectors.USER_PAID_BODY, 0, BadSignature),
        ({}, vectors.USER_PAID_BODY.replace(b"0001", b"0002"), 0, BadSignature),
        ({"timestamp": str(vectors.NOTIFICATION_TIMESTAMP + 1)}, vectors.USER_PAID_BODY, 0, BadSignature),
        ({"serial": "0000"}, vectors.USER_PAID_BODY, 0, UnknownSerial),
        ({}, vectors.USER_PAID_BODY, 301, StaleTimestamp),
        ({}, vectors.USER_PAID_BODY, 300, StaleTimestamp),
        ({}, vectors.USER_PAID_BODY, -300, StaleTimestamp),
        ({}, vectors.USER_PAID_BODY.replace(b'":', b'": ').replace(b',"', b', "'), 0, BadSignature),
    ],
    ids=["probe", "one byte", "timestamp", "serial", "301 s late", "300 s late", "300 s early", "re-serialised"],
)
async def test_v8_what_must_fail_fails(
    changed: dict[str, str], body: bytes, late_by: int, error: type[NotificationError]
) -> None:
    with pytest.raises(error):
        await open_at(SENT_AT + timedelta(seconds=late_by), headers(**changed), body)


@pytest.mark.parametrize(
    "damaged",
    [
        vectors.USER_PAID_BODY.replace(b'"associated_data":"payscore"', b'"associated_data":"transaction"'),
        vectors.USER_PAID_BODY.replace(b'5EHw="', b'5EHA="'),
    ],
    ids=["associated data", "last character of the ciphertext"],
)
async def test_v8_what_was_sealed_otherwise_does_not_open(damaged: bytes) -> None:
    signed = signature_headers(damaged, at=SENT_AT, serial=vectors.CERTIFICATE_SERIAL, key=merchant_key())
    assert damaged != vectors.USER_PAID_BODY

    with pytest.raises(UndecryptableNotification):
        await open_at(SENT_AT, signed, damaged)


async def test_just_within_the_window_it_opens() -> None:
    for seconds in (-299, 299):
        await open_at(SENT_AT + timedelta(seconds=seconds), headers(), vectors.USER_PAID_BODY)


# --- What else may come ---


def signed_now(body: bytes) -> dict[str, str]:
    return signature_headers(body, at=SENT_AT, serial=vectors.CERTIFICATE_SERIAL, key=merchant_key())


def an_envelope(content: bytes = b"{}", /, **changes: object) -> bytes:
    """Seal a resource as WeChat Pay does."""
    nonce = b"nonce1234567"
    sealed = b64encode(AESGCM(vectors.APIV3_KEY).encrypt(nonce, content, b"")).decode()
    envelope: dict[str, Any] = {
        "id": "EV-1",
        "create_time": "2021-06-24T16:37:26+08:00",
        "event_type": "PAYSCORE.USER_PAID",
        "resource": {"algorithm": "AEAD_AES_256_GCM", "ciphertext": sealed, "nonce": nonce.decode()},
    }
    return msgspec.json.encode(envelope | changes)


async def test_absent_associated_data_is_empty() -> None:
    body = an_envelope(b'{"a":1}')

    assert await open_at(SENT_AT, signed_now(body), body) == b'{"a":1}'


async def test_the_previous_apiv3_key_still_opens() -> None:
    assert await open_at(SENT_AT, headers(), vectors.USER_PAID_BODY, [b"n" * 32, *KEYS]) == vectors.USER_PAID_RESOURCE


async def test_headers_are_found_in_any_case() -> None:
    lower = {name.lower(): value for name, value in headers().items()}

    assert await open_at(SENT_AT, lower, vectors.USER_PAID_BODY)


@pytest.mark.parametrize("missing", ["Timestamp", "Nonce", "Serial", "Signature"])
async def test_without_one_of_its_headers_it_is_unsigned(missing: str) -> None:
    signed = headers()
    del signed[f"Wechatpay-{missing}"]

    with pytest.raises(BadSignature):
        await open_at(SENT_AT, signed, vectors.USER_PAID_BODY)


@pytest.mark.parametrize("timestamp", ["", "now", "1624523846.0", " 1624523846", "٣", "9" * 5000])
async def test_a_timestamp_that_is_none_is_stale(timestamp: str) -> None:
    with pytest.raises(StaleTimestamp):
        await open_at(SENT_AT, headers(timestamp=timestamp), vectors.USER_PAID_BODY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"id":"\xff"}',
        b'{"id":',
        b"[" * 60_000,
        b'{"a":' * 60_000,
        an_envelope(id=""),
        an_envelope(event_type=None),
        an_envelope(create_time="yesterday"),
        an_envelope(create_time=""),
        an_envelope(create_time="0001-01-01T00:00:00+08:00"),
        an_envelope(create_time="99991231235959"),
        an_envelope(resource=[]),
        an_envelope(b"[1]"),
        an_envelope(b"not json"),
    ],
    ids=lambda body: repr(body[:12]).replace("\\", ""),  # no test is found by a name with a backslash
)
async def test_signed_nonsense_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedNotification):
        await open_at(SENT_AT, signed_now(body), body)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"signature": "AAAA"}, BadSignature, "the signature does not hold"),
        ({"timestamp": "1"}, StaleTimestamp, "the timestamp is too far from now"),
        ({"serial": "0000"}, UnknownSerial, "the serial names no key of ours"),
    ],
)
async def test_a_refusal_says_why(changed: dict[str, str], error: type[NotificationError], said: str) -> None:
    with pytest.raises(error, match=f"^{said}$"):
        await open_at(SENT_AT, headers(**changed), vectors.USER_PAID_BODY)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "the body: is not a JSON object"),
        (an_envelope(id=None), "id: missing"),
        (an_envelope(event_type=""), "event_type: missing"),
        (an_envelope(create_time="yesterday"), "create_time: is not a time between 2000 and 2099"),
        (an_envelope(create_time=None), "create_time: missing"),
        (an_envelope(resource=[]), "resource: expected an object, not list"),
        (an_envelope(b"[1]"), "resource: is not a JSON object"),
    ],
    ids=["body", "id", "event type", "time", "no time", "resource", "what the resource holds"],
)
async def test_what_is_malformed_is_named(body: bytes, said: str) -> None:
    with pytest.raises(MalformedNotification, match=f"^{said}$"):
        await open_at(SENT_AT, signed_now(body), body)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({}, "resource.algorithm: is not AEAD_AES_256_GCM"),
        ({"algorithm": "AEAD_AES_256_GCM", "ciphertext": "", "nonce": "nonce1234567"}, "no APIv3 key opens it"),
        (
            {"algorithm": "AEAD_AES_256_GCM", "ciphertext": "汉", "nonce": "nonce1234567"},
            "the ciphertext is not base64",
        ),
        ({"algorithm": "AEAD_AES_256_GCM", "ciphertext": "AAAA", "nonce": ""}, "no APIv3 key opens it"),
    ],
)
async def test_a_resource_that_cannot_be_opened_is_said_to_be_so(resource: dict[str, Any], said: str) -> None:
    body = an_envelope(resource=resource)

    with pytest.raises(UndecryptableNotification, match=f"^{said}$"):
        await open_at(SENT_AT, signed_now(body), body)


async def test_an_algorithm_we_do_not_know_is_not_tried() -> None:
    resource = msgspec.json.decode(an_envelope())["resource"] | {"algorithm": "AEAD_SM4_GCM"}
    body = an_envelope(resource=resource)

    with pytest.raises(UndecryptableNotification, match="algorithm"):
        await open_at(SENT_AT, signed_now(body), body)


@given(body=st.binary(max_size=300))
async def test_no_signed_bytes_break_the_reader(body: bytes) -> None:
    with pytest.raises(NotificationError):
        await open_at(SENT_AT, signed_now(body), body)


@given(
    signed=st.fixed_dictionaries(
        {f"Wechatpay-{name}": st.text(max_size=40) for name in ("Timestamp", "Nonce", "Serial", "Signature")}
    ),
    body=st.binary(max_size=100),
)
async def test_no_headers_break_the_reader(signed: dict[str, str], body: bytes) -> None:
    with pytest.raises(NotificationError):
        await open_at(SENT_AT, signed, body)


@given(signature=st.text(max_size=400))
async def test_no_signature_but_the_right_one_is_taken(signature: str) -> None:
    with pytest.raises(BadSignature):
        await open_at(SENT_AT, headers(signature), vectors.USER_PAID_BODY)


@pytest.mark.parametrize("spelling", ["{} ", " {}", "{}!", "{}=", "{}\n"])
async def test_a_signature_has_one_spelling(spelling: str) -> None:
    with pytest.raises(BadSignature):
        await open_at(SENT_AT, headers(spelling.format(vectors.USER_PAID_SIGNATURE)), vectors.USER_PAID_BODY)


async def test_the_bits_of_a_signature_that_mean_nothing_are_zero() -> None:
    assert vectors.USER_PAID_SIGNATURE.endswith("w==")

    with pytest.raises(BadSignature):
        await open_at(SENT_AT, headers(f"{vectors.USER_PAID_SIGNATURE[:-3]}x=="), vectors.USER_PAID_BODY)


@pytest.mark.parametrize("name", ["Timestamp", "Nonce", "Serial", "Signature"])
async def test_a_header_that_comes_twice_proves_nothing(name: str) -> None:
    twice = headers() | {f"wechatpay-{name.lower()}": headers()[f"Wechatpay-{name}"]}

    with pytest.raises(BadSignature):
        await open_at(SENT_AT, twice, vectors.USER_PAID_BODY)


@pytest.mark.parametrize("label", ["x" * 129, "支付", "a b", "a\n"])
@pytest.mark.parametrize("member", ["id", "event_type"])
async def test_what_no_broker_takes_for_an_id_or_a_routing_key_is_malformed(member: str, label: str) -> None:
    body = an_envelope(**{member: label})

    with pytest.raises(MalformedNotification, match=f"{member}: too long, or not ASCII"):
        await open_at(SENT_AT, signed_now(body), body)


async def test_what_a_stranger_says_cannot_steer_a_terminal() -> None:
    with capture_logs() as logs, pytest.raises(StaleTimestamp):
        await open_at(SENT_AT, headers(timestamp="\x9b2J", nonce="\x1b[2J"), vectors.USER_PAID_BODY)

    assert (logs[0]["timestamp"], logs[0]["nonce"]) == (r"\x9b2J", r"\x1b[2J")


async def test_of_what_a_stranger_says_a_log_line_shows_the_beginning() -> None:
    with capture_logs() as logs, pytest.raises(StaleTimestamp):
        await open_at(SENT_AT, headers("s" * 99, serial="1" * 99, timestamp="2" * 99, nonce="3" * 99), b"")

    shown = {name: logs[0][name] for name in ("serial", "timestamp", "nonce", "signature")}
    assert shown == {"serial": "1" * 64, "timestamp": "2" * 32, "nonce": "3" * 32, "signature": "s" * 32}


async def test_errors_and_notifications_show_neither_key_nor_content() -> None:
    notification = await notifications(Clock(SENT_AT)).open(headers(), vectors.USER_PAID_BODY)
    with pytest.raises(UndecryptableNotification) as refused:
        await open_at(SENT_AT, headers(), vectors.USER_PAID_BODY, [b"wrong-key-wrong-key-wrong-key-00"])

    assert "oUpF8" not in repr(notification)
    assert "wrong-key" not in repr(refused.value)


async def test_a_failure_logs_what_shows_its_cause_and_no_more() -> None:
    probe = "WECHATPAY/SIGNTEST/" + vectors.USER_PAID_SIGNATURE
    with capture_logs() as logs, pytest.raises(BadSignature):
        await open_at(SENT_AT, headers(probe), vectors.USER_PAID_BODY)

    (line,) = logs
    assert line["event"] == "wechatpay_unverified"
    assert line["doubt"] == "bad_signature"
    assert line["serial"] == vectors.CERTIFICATE_SERIAL
    assert line["signature"] == probe[:32]
    assert len(line["body_sha256"]) == 64


# --- Keys not yet known ---


async def test_a_new_certificate_is_fetched_when_a_notification_names_it(clock: Clock, wechat: Wechat) -> None:
    certificate = {vectors.CERTIFICATE_SERIAL: vectors.CERTIFICATE.encode()}
    body = certificates_body(certificate)
    wechat.certificates = [a_success(content=body, at=SENT_AT)]
    clock.now = SENT_AT
    keys = public_key_mode(clock)
    a_client(wechat, clock=clock, keys=keys)
    received = await Notifications(keys=keys, apiv3_keys=KEYS, clock=clock).open(headers(), vectors.USER_PAID_BODY)

    assert received.resource == vectors.USER_PAID_RESOURCE
    assert wechat.asked_for("/v3/certificates") == 1


async def test_forged_serials_make_us_ask_wechat_pay_once_a_minute(clock: Clock, wechat: Wechat) -> None:
    clock.now = SENT_AT
    keys = public_key_mode(clock)
    a_client(wechat, clock=clock, keys=keys)
    receiver = Notifications(keys=keys, apiv3_keys=KEYS, clock=clock)
    wechat.certificates = [httpx.Response(403) for _ in range(10)]

    forged = [receiver.open(headers(serial=f"{n:X}"), vectors.USER_PAID_BODY) for n in range(50)]
    refused = await asyncio.gather(*forged, return_exceptions=True)

    assert all(isinstance(error, UnknownSerial) for error in refused)
    assert wechat.asked_for("/v3/certificates") == 1
    clock.advance(timedelta(seconds=61))
    with pytest.raises(UnknownSerial):
        await receiver.open(headers(serial="FF"), vectors.USER_PAID_BODY)
    assert wechat.asked_for("/v3/certificates") == 2
