"""A merchant of the tests' own: it signs, verifies and decrypts with nothing but `cryptography`."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from payscore_worker.simulator import SimulatorKeys

Json = dict[str, Any]

BASES = {"payafter": "/v3/payscore/payafter-orders", "serviceorder": "/v3/payscore/serviceorder"}
REFUNDS = "/v3/refund/domestic/refunds"
NONCE = "593BEC0C930BF1AFEB40B4A08C8FB242"


def signature_of(key: RSAPrivateKey, *lines: bytes) -> str:
    text = b"".join(line + b"\n" for line in lines)
    return base64.b64encode(key.sign(text, PKCS1v15(), SHA256())).decode()


def check_signature(key: RSAPublicKey, headers: Mapping[str, str], body: bytes) -> None:
    """Raises InvalidSignature."""
    text = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + body + b"\n"
    key.verify(base64.b64decode(headers["Wechatpay-Signature"], validate=True), text, PKCS1v15(), SHA256())


def opened(resource: Json, apiv3_key: str) -> Json:
    """The decrypted resource of a notification."""
    plain: Json = json.loads(decrypted(resource, apiv3_key))
    return plain


def decrypted(resource: Json, apiv3_key: str) -> bytes:
    cipher = AESGCM(apiv3_key.encode())
    ciphertext = base64.b64decode(resource["ciphertext"], validate=True)
    return cipher.decrypt(resource["nonce"].encode(), ciphertext, resource["associated_data"].encode())


@dataclass
class Merchant:
    http: httpx.AsyncClient
    keys: SimulatorKeys
    clock: Callable[[], datetime]

    def authorization(self, method: str, target: str, body: bytes, **instead: str) -> str:
        timestamp = instead.get("timestamp", str(int(self.clock().timestamp())))
        nonce = instead.get("nonce_str", NONCE)
        parts = {
            "mchid": self.keys.mchid,
            "nonce_str": nonce,
            "signature": signature_of(
                self.keys.merchant.key,
                method.encode(),
                target.encode(),
                timestamp.encode(),
                nonce.encode(),
                body,
            ),
            "timestamp": timestamp,
            "serial_no": self.keys.merchant.serial_no,
        } | instead
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{name}="{value}"' for name, value in parts.items())

    async def send(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        usual = {
            "Authorization": self.authorization(method, target, body),
            "Accept": "application/json",
            "User-Agent": "tests",
            **({"Content-Type": "application/json"} if body else {}),
        }
        return await self.http.request(method, target, content=body, headers=usual | dict(headers or {}))

    async def post(self, path: str, body: Json) -> httpx.Response:
        return await self.send("POST", path, json.dumps(body, ensure_ascii=False).encode())

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self.send("GET", f"{path}?{urlencode(query)}" if query else path)

    async def user_service_state(self, openid: str, **instead: str) -> httpx.Response:
        return await self.get("/v3/payscore/user-service-state", **(self.ours() | {"openid": openid} | instead))

    async def create(self, family: str, body: Json) -> httpx.Response:
        return await self.post(BASES[family], self.ours() | body)

    async def query(self, family: str, out_order_no: str) -> httpx.Response:
        return await self.get(BASES[family], out_order_no=out_order_no, **self.ours())

    async def complete(self, family: str, out_order_no: str, body: Json) -> httpx.Response:
        """With a fresh finish_ticket where the family has one and the body none."""
        if family == "payafter" and "finish_ticket" not in body:
            body = body | {"finish_ticket": await self.finish_ticket(out_order_no)}
        return await self.post(f"{BASES[family]}/{out_order_no}/complete", self.ours() | body)

    async def cancel(self, family: str, out_order_no: str, reason: str = "行程取消") -> httpx.Response:
        return await self.post(f"{BASES[family]}/{out_order_no}/cancel", self.ours() | {"reason": reason})

    async def sync(self, family: str, out_order_no: str, paid_at: datetime) -> httpx.Response:
        detail = {"paid_time": paid_at.strftime("%Y%m%d%H%M%S")}
        body = self.ours() | {"type": "Order_Paid", "detail": detail}
        return await self.post(f"{BASES[family]}/{out_order_no}/sync", body)

    async def refund(self, body: Json) -> httpx.Response:
        return await self.post(REFUNDS, body)

    async def query_refund(self, out_refund_no: str) -> httpx.Response:
        return await self.get(f"{REFUNDS}/{out_refund_no}")

    async def finish_ticket(self, out_order_no: str) -> str:
        """Empty where the order has none to give."""
        ticket: str = (await self.query("payafter", out_order_no)).json().get("finish_ticket", "")
        return ticket

    def ours(self) -> dict[str, str]:
        return {"appid": self.keys.appid, "service_id": self.keys.service_id}
