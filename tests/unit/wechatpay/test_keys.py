import asyncio
import gc
from base64 import encodebytes
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from structlog.testing import capture_logs

from payscore_worker import metrics
from payscore_worker.errors import WechatPayRejected, WechatPayUnavailable
from payscore_worker.wechatpay import UnusableCertificates, VerificationKeys
from payscore_worker.wechatpay.keys import DOWNLOAD_PAUSE, FRESH_FOR, MAX_CERTIFICATES, MAX_WAITING, PAUSE_WITHOUT_KEY
from payscore_worker.wechatpay.times import END_OF_TIME
from tests.integration.messaging.waiting import eventually
from tests.unit.wechatpay.vectors import APIV3_KEY
from tests.unit.wechatpay.wechat import (
    NOW,
    PUBLIC_KEY_ID,
    Clock,
    Wechat,
    a_certificate,
    a_client,
    a_key,
    a_success,
    an_error,
    certificate_mode,
    certificates_body,
    merchant_key,
    public_key_mode,
    signature_headers,
)

OLD, NEW = "5DEA10EF55877E3C", "7F00AA11BB22CC33"


@cache
def elliptic_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def an_sm2_certificate() -> bytes:
    """Make a certificate whose key lies on SM2's curve, which OpenSSL reads for nobody here."""
    p256, sm2 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a811ccf5501822d")
    encoded = load_pem_x509_certificate(a_certificate(elliptic_key())).public_bytes(Encoding.DER)
    assert p256 in encoded
    return b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % encodebytes(encoded.replace(p256, sm2))


class Source:
    """Plays `GET /v3/certificates`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.listed: dict[str, bytes] = {OLD: a_certificate(a_key("old"))}
        self.signed_by = OLD
        self.apiv3_key = APIV3_KEY
        self.failure: Exception | None = None
        self.downloads = 0

    async def __call__(self) -> tuple[Mapping[str, str], bytes]:
        self.downloads += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        body = certificates_body(self.listed, apiv3_key=self.apiv3_key)
        key = a_key("old" if self.signed_by == OLD else "new")
        return signature_headers(body, at=self.clock(), serial=self.signed_by, key=key), body


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


def keys_from(source: Source, *apiv3_keys: bytes) -> VerificationKeys:
    keys = certificate_mode(source.clock, *apiv3_keys)
    keys.download_from(source)
    return keys


async def settled() -> None:
    """Let what runs in the background come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


# --- Public key ---


async def test_a_public_key_is_found_by_its_id_and_needs_no_download(clock: Clock, source: Source) -> None:
    keys = public_key_mode(clock)
    keys.download_from(source)

    await keys.refresh()

    assert keys.ready
    assert keys.wanted_serial == PUBLIC_KEY_ID
    assert await keys.find(PUBLIC_KEY_ID) == a_key("wechat").public_key()
    assert source.downloads == 0


async def test_another_public_key_id_is_unknown_and_not_asked_for(clock: Clock, source: Source) -> None:
    keys = public_key_mode(clock)
    keys.download_from(source)

    assert await keys.find("PUB_KEY_ID_9999") is None
    assert source.downloads == 0


async def test_both_kinds_of_key_are_held_side_by_side(clock: Clock, source: Source) -> None:
    keys = public_key_mode(clock)
    keys.download_from(source)

    assert await keys.find(OLD) == a_key("old").public_key()
    assert await keys.find(PUBLIC_KEY_ID) == a_key("wechat").public_key()
    assert keys.wanted_serial == PUBLIC_KEY_ID


async def test_only_so_many_wait_for_a_serial_to_be_looked_up_and_as_many_the_next_time(clock: Clock) -> None:
    keys, allowed = certificate_mode(clock), asyncio.Event()

    async def slow() -> tuple[Mapping[str, str], bytes]:
        await allowed.wait()
        return {}, b""

    keys.download_from(slow)
    for _ in range(2):
        waiting = [asyncio.create_task(keys.find(f"{number:X}")) for number in range(MAX_WAITING)]
        await settled()
        one_more = asyncio.create_task(keys.find("FF"))
        await settled()

        assert one_more.done()
        assert not any(task.done() for task in waiting)

        allowed.set()
        assert set(await asyncio.gather(*waiting, one_more)) == {None}
        allowed.clear()
        clock.advance(DOWNLOAD_PAUSE)


# --- Certificates ---


async def test_nothing_is_ready_before_the_first_download(source: Source) -> None:
    keys = keys_from(source)
    before = (keys.ready, keys.wanted_serial)

    await keys.refresh()

    assert before == (False, None)
    assert keys.ready
    assert await keys.find(OLD) == a_key("old").public_key()
    assert keys.certificate_expiry == {OLD: NOW + timedelta(days=1825)}


async def test_certificates_open_with_the_previous_apiv3_key(source: Source) -> None:
    keys = keys_from(source, b"n" * 32, APIV3_KEY)

    await keys.refresh()

    assert keys.ready


async def test_the_newest_certificate_is_the_one_to_ask_for(source: Source) -> None:
    source.listed[NEW] = a_certificate(a_key("new"), starts=NOW - timedelta(hours=1))
    keys = keys_from(source)

    await keys.refresh()

    assert keys.wanted_serial == NEW


async def test_a_list_not_signed_by_one_of_its_own_is_refused(source: Source) -> None:
    source.signed_by = NEW
    keys = keys_from(source)

    with pytest.raises(UnusableCertificates, match=r"^the answer is not signed by one of them$"):
        await keys.refresh()
    assert not keys.ready


async def test_a_list_signed_by_a_key_already_held_is_taken(source: Source) -> None:
    keys = keys_from(source)
    await keys.refresh()
    source.listed = {NEW: a_certificate(a_key("new"))}
    source.clock.advance(DOWNLOAD_PAUSE)

    await keys.refresh()

    assert set(keys.certificate_expiry) == {NEW}


async def test_a_list_with_a_wrong_signature_under_a_right_serial_is_refused(source: Source) -> None:
    source.listed[NEW] = a_certificate(a_key("old"))
    source.signed_by = NEW  # signed with NEW's key, which is not the one in the certificate
    keys = keys_from(source)

    with pytest.raises(UnusableCertificates, match=r"^the answer is not signed by one of them$"):
        await keys.refresh()


async def test_a_stale_list_is_refused(source: Source) -> None:
    keys = keys_from(source)
    source.clock = Clock(NOW - timedelta(seconds=300))

    with pytest.raises(UnusableCertificates, match=r"^the answer is unsigned, or its timestamp is off$"):
        await keys.refresh()


async def test_a_wrong_apiv3_key_is_told_and_not_shown(source: Source) -> None:
    source.apiv3_key = b"another-key-another-key-another!"
    keys = keys_from(source)

    with pytest.raises(UnusableCertificates, match=r"^cannot be opened: no APIv3 key opens it$") as refused:
        await keys.refresh()
    assert APIV3_KEY.decode() not in repr(refused.value)


async def test_an_expired_certificate_is_dropped(source: Source) -> None:
    source.listed = {
        OLD: a_certificate(a_key("old"), expires=NOW + timedelta(hours=1)),
        NEW: a_certificate(a_key("new")),
    }
    source.signed_by = NEW
    keys = keys_from(source)
    await keys.refresh()

    source.clock.advance(timedelta(hours=1))

    assert await keys.find(OLD) is None
    assert set(keys.certificate_expiry) == {NEW}
    assert keys.ready


async def test_nothing_is_ready_when_all_have_expired(source: Source) -> None:
    source.listed = {OLD: a_certificate(a_key("old"), expires=NOW + timedelta(hours=1))}
    keys = keys_from(source)
    await keys.refresh()

    source.clock.advance(timedelta(hours=1))

    assert not keys.ready


async def test_a_list_of_expired_certificates_is_refused(source: Source) -> None:
    source.listed = {OLD: a_certificate(a_key("old"), expires=NOW)}
    keys = keys_from(source)

    with pytest.raises(UnusableCertificates, match=r"^none is valid now$"):
        await keys.refresh()


async def test_a_certificate_that_has_expired_is_not_even_held(source: Source) -> None:
    source.listed[NEW] = a_certificate(a_key("new"), expires=NOW)
    keys = keys_from(source)

    await keys.refresh()

    assert keys.serial_of(a_key("new").public_key()) is None


async def test_no_more_certificates_are_held_than_make_sense(source: Source) -> None:
    pem = a_certificate(a_key("old"))
    source.listed = {OLD: pem} | {f"{n:X}": pem for n in range(1, 100)}
    keys = keys_from(source)

    await keys.refresh()

    assert len(keys.certificate_expiry) == MAX_CERTIFICATES


# --- What cannot be read, and what does not hold yet ---

ELLIPTIC, SM2, DAMAGED, FUTURE = "0EC", "052", "0BAD", "0F07"


def passed_over() -> float:
    return float(metrics.CERTIFICATES_UNREAD._value.get())


async def test_one_certificate_that_cannot_be_read_does_not_discard_the_others(source: Source) -> None:
    source.listed = {
        ELLIPTIC: a_certificate(elliptic_key()),
        SM2: an_sm2_certificate(),
        OLD: source.listed[OLD],
        DAMAGED: b"no PEM",
    }
    keys, before = keys_from(source), passed_over()

    with capture_logs() as logs:
        await keys.refresh()

    assert set(keys.certificate_expiry) == {OLD}
    assert await keys.find(OLD) == a_key("old").public_key()
    (line,) = [line for line in logs if line["event"] == "certificates_passed_over"]
    assert line["count"] == passed_over() - before == 3
    assert [entry.partition(":")[0] for entry in line["certificates"]] == [ELLIPTIC, SM2, DAMAGED]
    assert line["certificates"][0] == f"{ELLIPTIC}: not an RSA certificate"


async def test_a_damaged_certificate_is_named_by_the_beginning_of_what_it_is_called(source: Source) -> None:
    source.listed["A" * 65] = b"no PEM"

    with capture_logs() as logs:
        await keys_from(source).refresh()

    assert logs[0]["certificates"] == [f"{'A' * 64}: ValueError"]


@pytest.mark.parametrize(
    ("odd", "called"),
    [
        (5, "no serial"),
        (None, "no serial"),
        ({}, "no serial"),
        ({"serial_no": "\x1b[2J"}, r"\x1b[2J"),
        ({"serial_no": 5}, "no serial"),
        ({"serial_no": "A" * 65}, "A" * 64),
        ({"serial_no": "A", "encrypt_certificate": []}, "A"),
    ],
    ids=["a number", "null", "empty", "a terminal's words", "a serial that is a number", "too long", "not sealed"],
)
async def test_an_entry_of_another_form_does_not_discard_the_others(clock: Clock, odd: object, called: str) -> None:
    entry = msgspec.json.decode(certificates_body({OLD: a_certificate(a_key("old"))}))["data"][0]
    body = msgspec.json.encode({"data": [odd, entry]})

    async def download() -> tuple[Mapping[str, str], bytes]:
        return signature_headers(body, at=clock(), serial=OLD, key=a_key("old")), body

    keys = certificate_mode(clock)
    keys.download_from(download)

    with capture_logs() as logs:
        await keys.refresh()

    assert set(keys.certificate_expiry) == {OLD}
    (shown,) = logs[0]["certificates"]
    assert shown.partition(":")[0] == called


async def test_a_certificate_that_does_not_hold_yet_is_not_asked_for_and_proves_nothing(source: Source) -> None:
    starts = NOW + timedelta(hours=2)
    source.listed[NEW] = a_certificate(a_key("new"), starts=starts)
    keys = keys_from(source)

    await keys.refresh()

    assert keys.wanted_serial == OLD
    assert await keys.find(NEW) is None
    assert set(keys.certificate_expiry) == {OLD}

    source.clock.advance(timedelta(hours=2))

    assert keys.wanted_serial == NEW
    assert await keys.find(NEW) == a_key("new").public_key()


async def test_an_expired_certificate_is_not_asked_for(source: Source) -> None:
    source.listed[NEW] = a_certificate(a_key("new"), starts=NOW - timedelta(hours=1), expires=NOW + timedelta(hours=1))
    keys = keys_from(source)
    await keys.refresh()

    source.clock.advance(timedelta(hours=1))

    assert keys.wanted_serial == OLD


async def test_a_list_signed_by_a_certificate_that_does_not_hold_yet_is_refused(source: Source) -> None:
    source.listed[NEW] = a_certificate(a_key("new"), starts=NOW + timedelta(hours=1))
    source.signed_by = NEW
    keys = keys_from(source)

    with pytest.raises(UnusableCertificates, match="not signed"):
        await keys.refresh()


async def test_certificates_of_the_future_do_not_push_those_of_today_out(source: Source) -> None:
    later = a_certificate(a_key("new"), starts=NOW + timedelta(days=1), expires=NOW + timedelta(days=3650))
    source.listed |= {f"{FUTURE}{number}": later for number in range(MAX_CERTIFICATES)}
    keys = keys_from(source)

    await keys.refresh()

    assert set(keys.certificate_expiry) == {OLD}


async def test_a_certificate_without_end_ends_where_our_times_do(source: Source) -> None:
    source.listed = {OLD: a_certificate(a_key("old"), expires=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))}
    keys = keys_from(source)

    await keys.refresh()

    assert keys.certificate_expiry == {OLD: END_OF_TIME}


@pytest.mark.parametrize("key_id", ["", "PUB_KEY_ID_1\nX: y", "PUB_KEY_ID_1 ", "PUB_KEY_ID_号", "P" * 129])
def test_an_id_that_would_break_a_header_is_refused(clock: Clock, key_id: str) -> None:
    with pytest.raises(ValueError, match=r"^the id of a public key: letters, digits, _ and - are expected$"):
        VerificationKeys(apiv3_keys=[APIV3_KEY], clock=clock, public_keys={key_id: merchant_key().public_key()})


# --- Unknown serials, and time ---


async def test_an_unknown_serial_is_asked_for_once_by_all_who_wait(source: Source) -> None:
    keys = keys_from(source)

    found = await asyncio.gather(*(keys.find(OLD) for _ in range(20)))

    assert found == [a_key("old").public_key()] * 20
    assert source.downloads == 1


async def test_an_unknown_serial_is_not_asked_for_again_within_a_minute(source: Source) -> None:
    keys = keys_from(source)
    for serial in ("AA", "BB", "CC"):
        assert await keys.find(serial) is None
        source.clock.advance(PAUSE_WITHOUT_KEY)  # there is one
    assert source.downloads == 1

    source.clock.advance(DOWNLOAD_PAUSE)
    source.listed[NEW] = a_certificate(a_key("new"))

    assert await keys.find(NEW) == a_key("new").public_key()
    assert source.downloads == 2


async def test_a_failed_download_is_remembered_and_does_no_harm(source: Source) -> None:
    source.failure = WechatPayRejected("no", refusal="misconfigured", status=403, code="NO_AUTH")  # type: ignore[arg-type]
    keys = keys_from(source)

    assert await keys.find("AA") is None
    assert await keys.find("AA") is None
    assert source.downloads == 1
    with pytest.raises(WechatPayRejected):
        await keys.refresh()
    assert source.downloads == 1

    source.failure = None
    source.clock.advance(DOWNLOAD_PAUSE)
    assert await keys.find(OLD) is not None


async def test_without_any_key_it_is_asked_for_again_after_seconds(source: Source) -> None:
    source.failure = WechatPayUnavailable("no answer")
    keys = keys_from(source)
    assert await keys.find(OLD) is None

    source.failure = None
    source.clock.advance(PAUSE_WITHOUT_KEY - timedelta(milliseconds=1))
    assert await keys.find(OLD) is None
    source.clock.advance(timedelta(milliseconds=1))
    assert await keys.find(OLD) is not None
    assert source.downloads == 2


async def test_a_role_that_started_without_a_key_gets_one_though_nobody_asks_it_for_anything(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payscore_worker.wechatpay.keys.PAUSE_WITHOUT_KEY", timedelta(0))
    source.failure = WechatPayUnavailable("no answer")
    keys = keys_from(source)

    async def asked_again() -> None:
        before = source.downloads
        await eventually(lambda: source.downloads >= before + 3, every_seconds=0)

    with capture_logs() as lines:
        keeping = asyncio.create_task(keys.run())
        await asked_again()
        assert not keys.ready
        source.failure = UnusableCertificates("another reason")
        await asked_again()

        source.failure = None
        await eventually(lambda: keys.ready, every_seconds=0)
        asked = source.downloads
        await settled()
        assert (source.downloads, keeping.done()) == (asked, False)

    keeping.cancel()
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("keys_not_fetched", "no answer"),
        ("keys_not_fetched", "another reason"),
    ]


async def test_certificates_are_refreshed_within_the_hour_without_a_wait(source: Source) -> None:
    keys = keys_from(source)
    await keys.refresh()
    source.listed[NEW] = a_certificate(a_key("new"))

    source.clock.advance(FRESH_FOR - timedelta(seconds=1))
    await keys.find(OLD)
    await settled()
    assert source.downloads == 1

    source.clock.advance(timedelta(seconds=1))
    assert await keys.find(OLD) is not None
    await settled()
    assert source.downloads == 2
    assert set(keys.certificate_expiry) == {OLD, NEW}


async def test_a_refresh_that_fails_in_the_background_leaves_the_keys_as_they_are(source: Source) -> None:
    keys = keys_from(source)
    await keys.refresh()
    source.failure = UnusableCertificates("no")

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))

    source.clock.advance(FRESH_FOR)
    await keys.find(OLD)
    await settled()
    still_there = await keys.find(OLD)
    source.clock.advance(FRESH_FOR)
    await keys.find(OLD)  # the failed download is let go for another
    await settled()
    gc.collect()

    assert still_there is not None
    assert complaints == []


async def test_one_who_stops_waiting_does_not_stop_the_download(source: Source) -> None:
    keys = keys_from(source)
    impatient = [asyncio.create_task(keys.find(OLD)), asyncio.create_task(keys.refresh())]
    await asyncio.sleep(0)
    for waiting in impatient:
        waiting.cancel()

    assert await keys.find(OLD) is not None
    assert source.downloads == 1


async def test_closing_gives_up_a_download_under_way(source: Source) -> None:
    keys = keys_from(source)
    waiting = asyncio.create_task(keys.find(OLD))
    await asyncio.sleep(0)

    await keys.aclose()

    with pytest.raises(asyncio.CancelledError):
        await waiting


# --- Through the client ---


async def test_the_client_downloads_and_signs_for_it(clock: Clock, wechat: Wechat) -> None:
    body = certificates_body({OLD: a_certificate(a_key("old"))})
    wechat.certificates = [a_success(content=body, serial=OLD, key=a_key("old"))]
    keys = certificate_mode(clock)
    a_client(wechat, clock=clock, keys=keys)

    await keys.refresh()

    (request,) = wechat.requests
    assert request.url.path == "/v3/certificates"
    assert request.headers["Authorization"].startswith("WECHATPAY2-SHA256-RSA2048 ")
    assert "Wechatpay-Serial" not in request.headers
    assert keys.ready


async def test_a_merchant_of_the_public_key_mode_cannot_download_and_goes_on(clock: Clock, wechat: Wechat) -> None:
    wechat.certificates = [an_error(403, "NO_AUTH")]
    keys = public_key_mode(clock)
    a_client(wechat, clock=clock, keys=keys)

    assert await keys.find("AA") is None
    assert keys.ready


async def test_an_unreachable_wechat_pay_is_told_at_start(clock: Clock, wechat: Wechat) -> None:
    wechat.certificates = [httpx.Response(500)] * 3
    keys = certificate_mode(clock)
    a_client(wechat, clock=clock, keys=keys)

    with pytest.raises(Exception, match="HTTP 500"):
        await keys.refresh()


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        (b"", "cannot be opened: DecodeError"),
        (b"[]", "cannot be opened: ValidationError"),
        (b'{"data":' + b"[" * 60_000, "cannot be opened: RecursionError"),
        (b"{}", "none is valid now"),
        (b'{"data":5}', "cannot be opened: no APIv3 key opens it"),
        (
            b'{"data":[{},{"serial_no":"A","encrypt_certificate":5}]}',
            "cannot be opened: encrypt_certificate: expected an object, not int, no APIv3 key opens it",
        ),
    ],
    ids=["nothing", "a list", "deep", "no data", "a number", "no certificate"],
)
async def test_garbage_in_place_of_certificates_is_refused(
    clock: Clock, wechat: Wechat, garbage: bytes, said: str
) -> None:
    keys = certificate_mode(clock)
    wechat.certificates = [a_success(content=garbage)]
    a_client(wechat, clock=clock, keys=keys)

    with pytest.raises(UnusableCertificates) as refused:
        await keys.refresh()

    assert str(refused.value) == said


async def test_a_list_of_which_no_certificate_can_be_opened_says_each_reason_once(source: Source) -> None:
    source.listed = {"1": b"no PEM", "2": a_certificate(elliptic_key()), "3": a_certificate(elliptic_key())}
    keys = keys_from(source)

    with pytest.raises(UnusableCertificates, match=r"^cannot be opened: ValueError, not an RSA certificate$"):
        await keys.refresh()


async def test_without_anybody_to_download_them_there_are_no_certificates(clock: Clock) -> None:
    with pytest.raises(UnusableCertificates, match=r"^no client to download them with$"):
        await certificate_mode(clock).refresh()


def test_a_key_is_recognised_whatever_its_serial(clock: Clock) -> None:
    keys = public_key_mode(clock)

    assert keys.serial_of(a_key("wechat").public_key()) == PUBLIC_KEY_ID
    assert keys.serial_of(a_key("old").public_key()) is None
