"""RabbitMQ's management API, as far as we need it: what AMQP does not tell, and the policies, which only it can set."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from payscore_worker.messaging.addresses import broker_urls, vhost

TIMEOUT_SECONDS: Final = 5.0
"""For each connect, read and write; it answers in hundredths of a second."""

ANSWER_SECONDS: Final = 15.0
"""For a whole answer, however slowly it trickles."""

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""RabbitMQ tells two kilobytes of each queue; a virtual host of four thousand queues is not ours."""

_WHY: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "its user or password is wrong, or the user lacks a tag such as monitoring",
    HTTPStatus.FORBIDDEN: "its user may not look at this virtual host",
    HTTPStatus.NOT_FOUND: "there is no such virtual host, or this is not RabbitMQ's management API",
}

_T = TypeVar("_T")


class ManagementUnavailable(Exception):
    """The management API does not tell; the text names neither its address nor who asked: a password is in them."""


class QueueSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One queue as the management API tells of it; None is what it has no statistics of yet."""

    name: str
    type: str = "classic"
    arguments: dict[str, Any] = {}
    policy: str | None = None
    operator_policy: str | None = None
    effective_policy_definition: dict[str, Any] | list[Any] | None = None
    messages: int | None = None
    messages_unacknowledged: int | None = None

    @property
    def effective(self) -> Mapping[str, Any] | None:
        """What all policies together say of it; None: not told yet. An empty one comes as a list, by some versions."""
        definition = self.effective_policy_definition
        return {} if isinstance(definition, list) else definition


class BindingSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What leads to a queue or an exchange."""

    source: str
    destination: str
    destination_type: str
    routing_key: str
    arguments: dict[str, Any] = {}


class PolicySeen(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of users."""

    name: str
    pattern: str
    definition: dict[str, Any] = {}
    priority: int = 0
    apply_to: str = msgspec.field(default="all", name="apply-to")

    def is_for(self, queue: str) -> bool:
        """Whether it is meant for a queue of this name. RabbitMQ's patterns are Perl's; ours and most are Python's."""
        try:
            found = re.search(self.pattern, queue)
        except re.error:
            return True  # it may be: to go before it is safe, to overlook it is not
        return self.apply_to != "exchanges" and found is not None


class Management:
    """Asks the management API about one virtual host."""

    def __init__(self, url: str, amqp_url: str) -> None:
        self._url = url.rstrip("/")
        self._vhost = quote(vhost(broker_urls(amqp_url)[0]), safe="")

    async def queues(self) -> Mapping[str, QueueSeen]:
        """Tell of every queue.

        Raises:
            ManagementUnavailable: it cannot be reached, refuses, or says something else.

        """
        found = await self._read("queues", list[QueueSeen])
        return {queue.name: queue for queue in found}

    async def bindings(self) -> Sequence[BindingSeen]:
        """Tell of every binding; raises as `queues` does."""
        return await self._read("bindings", list[BindingSeen])

    async def policies(self) -> Sequence[PolicySeen]:
        """Tell of every policy of users, which takes the tag policymaker; raises as `queues` does."""
        return await self._read("policies", list[PolicySeen])

    async def set_policy(self, policy: PolicySeen) -> None:
        """Set a policy for queues, in place of what has its name; raises as `queues` does."""
        body = {
            "pattern": policy.pattern,
            "definition": policy.definition,
            "priority": policy.priority,
            "apply-to": "queues",
        }
        await self._ask("PUT", f"policies/{self._vhost}/{quote(policy.name, safe='')}", msgspec.json.encode(body))

    async def clear_policy(self, name: str) -> None:
        """Delete a policy, if it is there; raises as `queues` does."""
        await self._ask("DELETE", f"policies/{self._vhost}/{quote(name, safe='')}", missing_is_fine=True)

    async def _read(self, kind: str, type_: type[_T]) -> _T:
        answer = await self._ask("GET", f"{kind}/{self._vhost}")
        try:
            return msgspec.json.decode(answer, type=type_)
        except ValueError as error:
            is_page = answer.lstrip().startswith(b"<")
            what = (
                "it answers HTML: is it RabbitMQ's management API?" if is_page else f"its answer is no list of {kind}"
            )
            raise ManagementUnavailable(what) from error

    async def _ask(self, method: str, path: str, body: bytes | None = None, *, missing_is_fine: bool = False) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await _answer(method, f"{self._url}/api/{path}", body, missing_is_fine=missing_is_fine)
        except TimeoutError:
            raise ManagementUnavailable(f"it does not answer within {ANSWER_SECONDS:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ManagementUnavailable(f"it cannot be asked ({type(error).__name__})") from None


async def _answer(method: str, url: str, body: bytes | None, *, missing_is_fine: bool) -> bytes:
    """Read the answer, as far as it can be one; uncompressed, so that its size on the way is its size here."""
    answer = bytearray()
    async with (
        httpx.AsyncClient(timeout=TIMEOUT_SECONDS, headers={"Accept-Encoding": "identity"}) as http,
        http.stream(method, url, content=body) as response,
    ):
        missing = response.status_code == HTTPStatus.NOT_FOUND and missing_is_fine
        if not response.is_success and not missing:
            raise ManagementUnavailable(_refusal(response.status_code))
        async for chunk in response.aiter_raw():
            answer += chunk
            if len(answer) > MAX_ANSWER_BYTES:
                raise ManagementUnavailable(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(answer)


def _refusal(status: int) -> str:
    why = _WHY.get(status)
    return f"it answers {status}" + (f": {why}" if why else "")
