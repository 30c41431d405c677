"""A merchant that speaks through wechatpayv3: a line of JSON in, a line of JSON out; the first names its keys."""

import json
import sys
from typing import Any

from wechatpayv3 import WeChatPay, WeChatPayType  # type: ignore[import-not-found]  # it lives elsewhere: homes.py
from wechatpayv3.core import Core  # type: ignore[import-not-found]  # likewise
from wechatpayv3.type import RequestType  # type: ignore[import-not-found]  # likewise

Json = dict[str, Any]


def main() -> None:
    client = a_client(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(answered(client, asked["verb"], asked["said"])) + "\n")
        sys.stdout.flush()


def a_client(keys: Json) -> WeChatPay:
    # It asks for certificates while it is being made, before anybody could tell it where.
    Core._gate_way = property(lambda _: keys["base_url"], lambda *_: None)
    by_public_key = {"public_key": keys["public_key"], "public_key_id": keys["public_key_id"]}
    return WeChatPay(
        wechatpay_type=WeChatPayType.MINIPROG,
        mchid=keys["mchid"],
        private_key=keys["private_key"],
        cert_serial_no=keys["serial_no"],
        appid=keys["appid"],
        apiv3_key=keys["apiv3_key"],
        notify_url=keys["notify_url"],
        timeout=(5, 10),
        **(by_public_key if keys["sign_with"] == "public_key" else {}),
    )


def answered(client: WeChatPay, verb: str, said: Json) -> Json:
    """What WeChat Pay says; or, where the client does not believe the answer, what the client does."""
    if verb == "callback":
        return {"told": client.callback(headers=said["headers"], body=said["body"])}
    try:
        status, text = asked_by_path(client, **said) if verb == "by_path" else getattr(client, VERBS[verb])(**said)
    except Exception as error:  # noqa: BLE001 - the client raises nothing more special
        return {"error": str(error)}
    return {"status": status, "body": json.loads(text) if text else None}


def asked_by_path(client: WeChatPay, path: str, body: Json | None = None) -> tuple[int, str]:
    """A call that the client has no method for; signed and verified as every other."""
    method = RequestType.POST if body else RequestType.GET
    answer: tuple[int, str] = client._core.request(path, method=method, data=body)
    return answer


VERBS = {
    "pre_authorise": "payscore_permission",
    "query_permission": "payscore_permission_query",
    "terminate_permission": "payscore_permission_terminate",
    "create": "payscore_create",
    "query": "payscore_query",
    "cancel": "payscore_cancel",
    "complete": "payscore_complete",
    "modify": "payscore_modify",
    "pay": "payscore_pay",
    "refund": "payscore_refund",
    "query_refund": "payscore_refund_query",
    "query_transaction": "query",
}

if __name__ == "__main__":
    main()
