"""WeChat Pay's self-test: a call that moves no money, and has every key of both sides used (payscore-api E.10)."""

from typing import Final

import msgspec

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.calls import Answer, Call, CallKind
from payscore_worker.wechatpay.client import WechatPayClient
from payscore_worker.wechatpay.reading import member_of, text
from payscore_worker.wechatpay.sealing import Unsealable, seal, unseal

PATH: Final = "/v3/security/echo"

ECHOED: Final = "SECURITY_ECHO.SUCCESS"
"""What the callback is called."""


class WrongEcho(Exception):
    """WeChat Pay did not give back what it was sent."""


async def send_echo(client: WechatPayClient, message: str, *, callback: bool) -> None:
    """Have WeChat Pay say a message back, open and sealed; and call our notify URL with it, if a callback is wanted.

    Raises:
        WechatPayError: there was no answer, or a refusal.
        WrongEcho: what came back is not what was sent, or our private key does not open it.

    """
    _compare(await client.send(_echo_call(client, message, callback=callback)), message, client)


def is_echo_of(message: str, event: bytes) -> bool:
    """Tell whether a callback, as the webhook publishes it, says our message back."""
    try:
        return text(member_of(msgspec.json.decode(event, type=dict), "data"), "echo_message") == message
    except (ValueError, RecursionError, MalformedMessage):
        return False


def _echo_call(client: WechatPayClient, message: str, *, callback: bool) -> Call:
    key, body = client.keys.wanted_key, {"echo_message": message}
    if key is not None:
        body["encrypted_echo_message"] = seal(message, key)
    if callback:
        body["notify_url"] = client.merchant.notify_url
    return Call(CallKind.SECURITY_ECHO, "POST", PATH, msgspec.json.encode(body))


def _compare(answer: Answer, message: str, client: WechatPayClient) -> None:
    try:
        echoed, sealed = text(answer.data, "echo_message"), text(answer.data, "encrypted_echo_message")
        if echoed != message:
            raise WrongEcho("WeChat Pay answered with another message than ours")
        if sealed and unseal(sealed, client.merchant.private_key) != message:
            raise WrongEcho("WeChat Pay sealed another message than ours")
    except MalformedMessage as error:
        raise WrongEcho(str(error)) from error
    except Unsealable as error:
        raise WrongEcho(f"what WeChat Pay sealed for us: {error}") from error
