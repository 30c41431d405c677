"""The webhook as a function: headers and body in, an answer out, and whatever it published."""

import json
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aio_pika import Message
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate
from pamqp.commands import Basic
from starlette.applications import Starlette
from starlette.types import Message as AsgiMessage

from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.messaging.topology import Topology
from payscore_worker.webhook import PATH, Webhook
from payscore_worker.wechatpay import Notifications, VerificationKeys
from tests.hostile.genuine import APIV3_KEYS, NOW, SIGNED_HEADERS, may_pass
from tests.unit.wechatpay import vectors
from tests.unit.wechatpay.wechat import PUBLIC_KEY_ID, a_key

SECRETS: Final = (*(key.decode() for key in APIV3_KEYS), "Traceback", "PRIVATE KEY", ".py")
OUR_FAULT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a stranger sends."""

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    is_signed: bool = False
    """WeChat Pay itself has signed this, whatever it is."""
    must_pass: bool = False


@dataclass(slots=True)
class Recorder:
    """Stands for the broker, as far as a message can be written to it at all."""

    published: list[Outgoing] = field(default_factory=list)

    async def publish(self, outgoing: Outgoing) -> None:
        Basic.Publish(exchange=outgoing.exchange, routing_key=outgoing.routing_key).marshal()
        Message(outgoing.body, message_id=outgoing.message_id, content_type=outgoing.content_type).properties.marshal()
        self.published.append(outgoing)


class Gate:
    """The real webhook, with WeChat Pay's keys, before a recorder."""

    def __init__(self) -> None:
        certificate = load_pem_x509_certificate(vectors.CERTIFICATE.encode())
        keys = VerificationKeys(
            apiv3_keys=APIV3_KEYS,
            clock=lambda: NOW,
            public_keys={
                vectors.CERTIFICATE_SERIAL: certificate.public_key(),  # type: ignore[dict-item]  # it is RSA
                PUBLIC_KEY_ID: a_key("wechat").public_key(),
            },
        )
        self.recorder = Recorder()
        webhook = Webhook(
            notifications={"default": Notifications(keys=keys, apiv3_keys=APIV3_KEYS, clock=lambda: NOW)},
            publisher=self.recorder,  # type: ignore[arg-type]  # it publishes
            topology=Topology(retry_delays=()),
        )
        self._application = Starlette(routes=webhook.routes())

    async def receive(self, call: Call) -> tuple[int, bytes]:
        """Hand in a call; returns status and body of the answer."""
        self.recorder.published.clear()
        answer: list[AsgiMessage] = []

        async def receive() -> AsgiMessage:
            return {"type": "http.request", "body": call.body, "more_body": False}

        async def send(message: AsgiMessage) -> None:
            answer.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": list(call.headers),
        }
        await self._application(scope, receive, send)
        return answer[0]["status"], b"".join(part.get("body", b"") for part in answer[1:])

    async def judge(self, call: Call) -> tuple[str, list[str]]:
        """Hand in a call; returns what became of it, and what laws were broken."""
        try:
            status, answer = await self.receive(call)
        except Exception as error:  # noqa: BLE001 - whatever escapes is what is looked for
            return "unhandled", [f"unhandled: {error!r}"]
        return str(status), [*self._answer_breaches(status, answer), *self._published_breaches(call, status)]

    def _answer_breaches(self, status: int, answer: bytes) -> list[str]:
        breaches = [f"unhandled: answered {status}"] if status >= OUR_FAULT else []
        said = json.loads(answer)
        if said.keys() != {"code", "message"} or said["code"] != ("SUCCESS" if status == 200 else "FAIL"):
            breaches.append(f"answered {answer!r}")
        return breaches + [f"told {secret}" for secret in SECRETS if secret in answer.decode()]

    def _published_breaches(self, call: Call, status: int) -> list[str]:
        published = self.recorder.published
        if call.must_pass and (status, len(published)) != (200, 1):
            return [f"refused: a genuine notification was answered {status}"]
        if not published:
            return ["lost: answered 200 and published nothing"] if status == 200 else []
        if not call.is_signed and not is_genuine(call):
            return ["published: nothing proves that WeChat Pay sent it"]
        return [] if _is_word_for_word(call.body, published) else ["altered: published otherwise than signed"]


def is_genuine(call: Call) -> bool:
    """Tell whether WeChat Pay has signed just this, byte for byte, and nothing stands beside it."""
    proving = [(name.lower(), value) for name, value in call.headers if name.lower() in SIGNED_HEADERS]
    proving.sort(key=lambda header: SIGNED_HEADERS.index(header[0]))
    return (tuple(proving), call.body) in may_pass()


def _is_word_for_word(body: bytes, published: list[Outgoing]) -> bool:
    """Tell whether just this was published, and once."""
    try:
        return [_said(one) for one in published] == [_as_published(body)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, InvalidTag):
        return False


def _said(outgoing: Outgoing) -> tuple[str, str, Any]:
    event = json.loads(outgoing.body)
    return event["id"], event["type"], event["data"]


def _as_published(body: bytes) -> tuple[str, str, Any]:
    """Read a notification by other means than the product's."""
    envelope = json.loads(body)
    return envelope["id"], envelope["event_type"].lower(), json.loads(_opened(envelope["resource"]))


def _opened(resource: dict[str, str]) -> bytes:
    sealed, nonce = b64decode(resource["ciphertext"]), resource["nonce"].encode()
    for key in APIV3_KEYS:
        with suppress(InvalidTag):
            return AESGCM(key).decrypt(nonce, sealed, (resource.get("associated_data") or "").encode())
    raise InvalidTag
