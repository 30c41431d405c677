"""The self-test: what we send must come back, open and sealed, and nothing else will do."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from payscore_worker.errors import MerchantRefused, WechatPayRejected
from payscore_worker.wechatpay.echo import WrongEcho, is_echo_of, send_echo
from payscore_worker.wechatpay.sealing import seal, unseal
from tests.unit.wechatpay.wechat import Clock, Reply, Wechat, a_client, a_key, a_success, an_error, merchant_key

MESSAGE = "doctor-1"


def echoing(**changes: Any) -> Callable[[httpx.Request], httpx.Response]:
    """Answer as WeChat Pay does, but for these members; None leaves one out."""

    def reply(request: httpx.Request) -> httpx.Response:
        message = msgspec.json.decode(request.content)["echo_message"]
        sealed = seal(message, merchant_key().public_key())
        answer = {"echo_message": message, "encrypted_echo_message": sealed} | changes
        return a_success({name: value for name, value in answer.items() if value is not None})

    return reply


async def echo(reply: Reply, *, callback: bool = True) -> httpx.Request:
    wechat = Wechat(replies=[reply])
    await send_echo(a_client(wechat, clock=Clock()), MESSAGE, callback=callback)
    return wechat.requests[-1]


async def test_a_message_goes_out_open_and_sealed_for_wechat_pay_and_names_where_to_call() -> None:
    request = await echo(echoing())
    body = msgspec.json.decode(request.content)

    assert (request.method, request.url.path) == ("POST", "/v3/security/echo")
    assert body["echo_message"] == MESSAGE
    assert unseal(body["encrypted_echo_message"], a_key("wechat")) == MESSAGE
    assert body["notify_url"] == "https://pay.example.com/notify/payscore"


async def test_no_callback_is_asked_for_where_none_is_wanted() -> None:
    assert "notify_url" not in msgspec.json.decode((await echo(echoing(), callback=False)).content)


async def test_an_answer_without_the_sealed_message_will_do() -> None:
    """Only the open one is documented as always there (reference payscore-api E.10)."""
    await echo(echoing(encrypted_echo_message=None))


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"echo_message": "doctor-2"}, "WeChat Pay answered with another message than ours"),
        ({"echo_message": None}, "WeChat Pay answered with another message than ours"),
        ({"echo_message": 1}, "echo_message: expected a string, not int"),
        ({"encrypted_echo_message": "MTIzNA=="}, "what WeChat Pay sealed for us: our private key does not open it"),
        ({"encrypted_echo_message": ["a"]}, "encrypted_echo_message: expected a string, not list"),
    ],
)
async def test_another_answer_is_a_wrong_echo(answer: dict[str, Any], complaint: str) -> None:
    with pytest.raises(WrongEcho, match=f"^{complaint}$"):
        await echo(echoing(**answer))


async def test_another_message_sealed_is_a_wrong_echo() -> None:
    with pytest.raises(WrongEcho, match=r"^WeChat Pay sealed another message than ours$"):
        await echo(echoing(encrypted_echo_message=seal("doctor-2", merchant_key().public_key())))


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (an_error(404, "RESOURCE_NOT_EXISTS", "接口不存在"), WechatPayRejected),
        (an_error(400, "PARAM_ERROR", "平台证书序列号Wechatpay-Serial错误"), MerchantRefused),
    ],
)
async def test_a_refusal_is_told_as_that(refusal: httpx.Response, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await echo(refusal)


@pytest.mark.parametrize(
    ("event", "is_it"),
    [
        (b'{"data":{"echo_message":"doctor-1","encrypt_echo_message":"x"}}', True),
        (b'{"data":{"echo_message":"doctor-2"}}', False),
        (b'{"data":{"echo_message":1}}', False),
        (b'{"data":[]}', False),
        (b"{}", False),
        (b"[]", False),
        (b"\xff", False),
    ],
)
def test_a_callback_is_known_by_its_message(event: bytes, *, is_it: bool) -> None:
    assert is_echo_of(MESSAGE, event) is is_it
