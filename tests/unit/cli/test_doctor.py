"""The doctor names what helps, and takes the time from whoever knows our signature."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from payscore_worker.bootstrap.wechatpay import WechatPay, make_wechatpay
from payscore_worker.cli import doctor, wechatpay_checks
from payscore_worker.cli.checks import Check, print_check
from payscore_worker.cli.wechatpay_checks import TimeListener
from payscore_worker.messaging.drift import Drift, Plan, Remedy
from payscore_worker.settings import BrokerSettings, MerchantSettings
from payscore_worker.wechatpay import Notifications, VerificationKeys
from payscore_worker.wechatpay.payscore import MerchantPayScores
from payscore_worker.wechatpay.transactions import MerchantRefunds
from tests.unit.wechatpay.test_echo import echoing
from tests.unit.wechatpay.vectors import APIV3_KEY, MERCHANT_KEY
from tests.unit.wechatpay.wechat import Clock, Reply, Wechat, a_client, an_error, certificate_mode, public_key_mode

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wechatpay_checks, "now", lambda: NOW)


def wechatpay(wechat: Wechat, keys: VerificationKeys, listener: TimeListener | None = None) -> WechatPay:
    client = a_client(wechat, clock=Clock(), keys=keys, transport=listener or httpx.MockTransport(wechat))
    notifications = Notifications(keys=keys, apiv3_keys=[APIV3_KEY], clock=Clock())
    payscores = MerchantPayScores("serviceorder", client)
    return WechatPay(client, keys, payscores, MerchantRefunds(client), notifications)


async def check_of_keys(*certificates: Reply) -> Check:
    keys = certificate_mode(Clock())
    return await wechatpay_checks.verification_keys(wechatpay(Wechat(certificates=list(certificates)), keys))


@pytest.mark.parametrize(
    "refusal",
    [
        an_error(404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥"),
        an_error(404, "RESOURCE_NOT_EXISTS", "证书不存在"),
        an_error(404, "NOT_FOUND", "证书不存在"),
        an_error(403, "NOT_ENOUGH", "平台证书已过期失效，请联系微信支付技术支持。"),
    ],
)
async def test_a_merchant_without_platform_certificates_is_told_to_set_the_public_key(refusal: httpx.Response) -> None:
    check = await check_of_keys(refusal)

    assert not check.ok
    assert "PAYSCORE_WECHATPAY_PUBLIC_KEY_ID" in check.repair
    assert "PRIVATE_KEY" not in check.repair


async def test_a_signature_that_is_refused_is_told_as_that() -> None:
    assert "PAYSCORE_MERCHANT_PRIVATE_KEY" in (await check_of_keys(an_error(401, "SIGN_ERROR", "签名错误"))).repair


@pytest.mark.parametrize("reply", [httpx.Response(404, content=b"<html>"), httpx.Response(502), httpx.ReadTimeout("")])
async def test_what_wechat_pay_did_not_say_is_the_networks(reply: Reply) -> None:
    assert "PAYSCORE_API_BASE_URLS" in (await check_of_keys(*[reply] * 3)).repair


async def test_a_signed_call_that_is_not_sent_for_lack_of_a_key_sends_to_the_keys() -> None:
    wechat = Wechat(certificates=[an_error(404, "RESOURCE_NOT_EXISTS", "证书不存在")])

    check = await wechatpay_checks.signed_call(wechatpay(wechat, certificate_mode(Clock())))

    assert (check.ok, check.repair) == (False, "mend the verification keys first")


def listener_to(headers: dict[str, str], *, status: int = 404) -> tuple[Wechat, TimeListener]:
    wechat = Wechat(replies=[httpx.Response(status, json={"code": "ORDER_NOT_EXIST"}, headers=headers)])
    return wechat, TimeListener(httpx.MockTransport(wechat))


@pytest.mark.parametrize(
    ("headers", "ok", "said"),
    [
        ({"Date": "Sat, 21 Nov 2026 07:59:58 GMT"}, True, "2.0 s ahead of"),
        ({"Date": "Sat, 21 Nov 2026 08:10:00 GMT"}, False, "600.0 s behind"),
        ({"Date": "Sat, 21 Nov 2026 08:00:00 GMT", "Wechatpay-Timestamp": "1795248010"}, False, "10.0 s behind"),
        ({"Date": "Sat, 21 Nov 2026 08:00:00 GMT", "Wechatpay-Timestamp": "1795248010000"}, True, "0.0 s"),
        ({"Date": "Sat, 21 Nov 2026 08:00:00 GMT", "Wechatpay-Timestamp": "1e9"}, True, "0.0 s"),
        ({"Date": "Sat, 21 Nov 2026 08:00:00 -0000"}, False, "no answer to a signed call"),
        ({"Date": "soon"}, False, "no answer to a signed call"),
        ({}, False, "no answer to a signed call"),
    ],
)
async def test_the_clock_is_compared_with_what_a_signed_call_brings(
    headers: dict[str, str], said: str, *, ok: bool
) -> None:
    wechat, listener = listener_to(headers)

    signed = await wechatpay_checks.signed_call(wechatpay(wechat, public_key_mode(Clock()), listener))
    check = wechatpay_checks.clock(listener)

    assert signed.ok
    assert check.ok is ok
    assert said in check.detail
    assert check.repair


async def test_the_time_that_an_unsigned_call_brings_is_nobodys() -> None:
    _, listener = listener_to({"Date": "Sat, 21 Nov 2026 08:00:00 GMT"})

    await listener.handle_async_request(httpx.Request("GET", "https://api.mch.weixin.qq.com/v3/certificates"))

    assert listener.skew is None


async def test_a_clock_that_makes_wechat_pay_refuse_us_is_found_by_its_refusal() -> None:
    wechat, listener = listener_to(
        {"Date": (NOW + timedelta(minutes=6)).strftime("%a, %d %b %Y %H:%M:%S GMT")}, status=401
    )

    await wechatpay_checks.signed_call(wechatpay(wechat, public_key_mode(Clock()), listener))

    assert not wechatpay_checks.clock(listener).ok
    assert "360.0 s behind" in wechatpay_checks.clock(listener).detail


async def test_the_doctor_speaks_through_the_transport_of_the_roles() -> None:
    wechat = Wechat()
    settings = MerchantSettings(
        mchid="1230000109",
        appid="wxd678efh567hg6787",
        service_id="500001",
        merchant_serial_no="7D0AB5B5D9E2C4A1",
        merchant_private_key=MERCHANT_KEY,
        apiv3_key=APIV3_KEY.decode(),
        notify_url="https://pay.example.com/notify/payscore",
    )

    await wechatpay_checks.verification_keys(make_wechatpay(settings, TimeListener(httpx.MockTransport(wechat))))

    assert {request.url.path for request in wechat.requests} == {"/v3/certificates"}


# --- The echo ---


@pytest.mark.parametrize(
    ("reply", "ok", "helps"),
    [
        (echoing(), True, ""),
        (echoing(echo_message="another"), False, "PAYSCORE_MERCHANT_PRIVATE_KEY"),
        (an_error(400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误"), False, "PAYSCORE_WECHATPAY_PUBLIC_KEY"),
        (an_error(404, "RESOURCE_NOT_EXISTS", "接口不存在"), None, "nothing else depends on it"),
        (httpx.Response(502), False, "PAYSCORE_API_BASE_URLS"),
    ],
)
async def test_an_echo_that_does_not_come_back_is_told_with_what_helps(
    reply: Reply,
    ok: bool | None,  # noqa: FBT001 - three of them
    helps: str,
) -> None:
    check = await wechatpay_checks.echo(wechatpay(Wechat(replies=[reply] * 3), public_key_mode(Clock())))

    assert check.ok is ok
    assert helps in check.repair


class Silence:
    """Nothing comes by."""

    async def until(self, _is_it: Callable[[bytes], bool]) -> None:
        await asyncio.Event().wait()


class Voice:
    """What comes by is said once."""

    def __init__(self, event: bytes) -> None:
        self._event = event

    async def until(self, is_it: Callable[[bytes], bool]) -> None:
        if not is_it(self._event):
            await asyncio.Event().wait()


async def test_a_callback_that_does_not_come_through_the_webhook_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wechatpay_checks, "CALLBACK_SECONDS", 0.01)

    check = await wechatpay_checks._callback(Silence(), "doctor-1")

    assert check.ok is False
    assert "PAYSCORE_NOTIFY_URL" in check.repair
    assert "--no-callback" in check.repair


async def test_another_ones_callback_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wechatpay_checks, "CALLBACK_SECONDS", 0.01)

    assert not (await wechatpay_checks._callback(Voice(b'{"data":{"echo_message":"doctor-2"}}'), "doctor-1")).ok


async def test_our_callback_proves_the_way() -> None:
    assert (await wechatpay_checks._callback(Voice(b'{"data":{"echo_message":"doctor-1"}}'), "doctor-1")).ok


async def test_without_a_broker_the_echo_is_sent_all_the_same_and_its_callback_is_unknown() -> None:
    broker = BrokerSettings(amqp_url="amqp://guest:guest@127.0.0.1:1/")
    wechat = Wechat(replies=[echoing()])

    checks = [
        check async for check in wechatpay_checks.echo_and_callback(wechatpay(wechat, public_key_mode(Clock())), broker)
    ]

    assert [(check.name, check.ok) for check in checks] == [("echo", True), ("callback", None)]
    assert "mend the broker first" in checks[-1].repair
    assert b"notify_url" not in wechat.requests[-1].content, "nobody could hear it"


# --- The broker ---

MISSING = Drift(subject="q", remedy=Remedy.DECLARE, detail="the queue does not stand")
UNBOUND = Drift(subject="q", remedy=Remedy.BIND, detail="is not bound to ride.events by 'trip.ended'")
EMPTIED = Drift(subject="q.dead", remedy=Remedy.POLICY, detail="policy 'ttl' sets message-ttl 1", is_of_policies=True)


def test_queues_that_are_missing_are_declared() -> None:
    check = doctor._standing(Plan(drifts=[MISSING, EMPTIED]), 18)

    assert (check.ok, check.detail, check.repair) == (False, "missing: q", "payscore-worker topology")


def test_what_stands_otherwise_is_a_matter_for_the_plan() -> None:
    check = doctor._standing(Plan(drifts=[MISSING, UNBOUND]), 18)

    assert not check.ok
    assert check.detail == "missing: q; q: is not bound to ride.events by 'trip.ended'"
    assert check.repair.startswith("payscore-worker topology plan")


def test_a_policy_that_loses_messages_is_not_well() -> None:
    check = doctor._policies(Plan(drifts=[MISSING, EMPTIED]))

    assert (check.ok, check.detail) == (False, "q.dead: policy 'ttl' sets message-ttl 1")
    assert check.repair.startswith("payscore-worker topology plan")


def test_policies_that_could_not_be_looked_at_are_not_called_well() -> None:
    check = doctor._policies(Plan(unseen=["policies could not be looked at: PAYSCORE_MANAGEMENT_URL is not set"]))

    assert check.ok is None
    assert "PAYSCORE_MANAGEMENT_URL" in check.repair


def test_policies_that_were_looked_at_and_lose_nothing_are_well() -> None:
    assert doctor._policies(Plan()).ok is True


@pytest.mark.parametrize(("ok", "mark"), [(True, "✔"), (False, "✘"), (None, "?")])
def test_what_is_not_known_has_a_mark_of_its_own(
    ok: bool | None,  # noqa: FBT001 - three of them
    mark: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_check(Check(name="policies", ok=ok, detail="as found", repair="do this"))

    out = capsys.readouterr().out
    assert out.startswith(f"{mark} policies: as found")
    assert ("do this" in out) is (ok is not True)
