"""A queue made anew under its name, with other arguments, and nothing of what it holds lost (ADR 20).

Arguments cannot be changed, and a quorum queue cannot be deleted on condition that it is empty. So:

1. A holding queue `<queue>.moving` is bound to what the queue is bound to, and the queue is unbound: what is published
   from now on waits in the holding queue.
2. A policy, the gate, limits the length of the queue to nothing and has it refuse what comes: who publishes into it
   gets no confirm, and keeps the message. As RabbitMQ refuses only while there is something in the queue, plugs were
   put into it, messages of ours that mean nothing. All else is moved to the holding queue. Once RabbitMQ has said for
   long enough that it holds the plugs and nothing else, in nobody's hands either, nothing is lost by deleting it. (A
   classic queue would drop what it holds when such a policy comes; it can be deleted on condition that it is empty and
   nobody consumes it, and needs no gate.)
3. The queue is deleted, the gate goes, the queue is declared and bound, and the holding queue unbound.
4. What waited in the holding queue is moved into the queue, and the holding queue is deleted.

The holding queue stands from the first step to the last. Whoever finds it, goes on: by the arguments with which the
queue stands, if it stands, they know where. A move copies, has the copy confirmed, and acks: killed in between, a
message is there twice, as after any redelivery; so it may be when it is published in the moment between two bindings.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError

from payscore_worker.errors import Rejected
from payscore_worker.messaging.connection import UNREADABLE
from payscore_worker.messaging.drift import difference_from, stands
from payscore_worker.messaging.envelope import moved_message
from payscore_worker.messaging.link import scratch_channel
from payscore_worker.messaging.management import Management, PolicySeen
from payscore_worker.messaging.moving import (
    MOVE_SECONDS,
    confirming,
    identity,
    publish,
    see_that_it_can_be_written,
)
from payscore_worker.messaging.policies import REFUSING, above
from payscore_worker.messaging.publisher import Outgoing
from payscore_worker.messaging.topology import (
    DEFAULT_EXCHANGE,
    NO_DELIVERY_LIMIT,
    Kind,
    Place,
    Topology,
    TopologyRefused,
    declare_place,
)

EMPTY_SECONDS: Final = 900.0
"""What a worker has in hand takes 300 s at most, and a hundred thousand messages are moved in some minutes."""

SETTLED_SECONDS: Final = 15.0
"""RabbitMQ counts every five seconds, and its management API gathers every five: so old can its word be."""

TOLD_SECONDS: Final = 60.0
"""What is in the queue is told by then, also by a busy broker; what differs still, differs."""

PLUGS: Final = 3
"""One would keep it shut; more than one is told from a message of somebody else that was counted twice or not yet."""

PLUG: Final = "x-payscore-plug"
"""The header by which a plug is known."""

POLL_SECONDS: Final = 1.0
"""Between two looks: others need the broker more."""

MOST_ROUNDS: Final = 20
"""Of emptying a queue into which somebody has put something again meanwhile."""

MOST_MOVED: Final = 100_000
"""In one go; then the bindings are looked at again."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Replacement:
    """One queue that is made anew."""

    connection: AbstractConnection
    topology: Topology
    management: Management
    place: Place
    say: Callable[[str], None]

    async def run(self) -> None:
        """Make the queue anew, or go on where somebody was broken off.

        Raises:
            Rejected: messages stay in somebody's hands, or somebody declares the queue otherwise; run it again.
            ManagementUnavailable: the gate cannot be set, or it cannot be told whether the queue is empty.

        """
        if await stands(self.connection, self.place.name) and await difference_from(self.connection, self.place):
            await self._hold()
            await self._unbind(
                self.place.name
            )  # before the gate: a refusal by one of two makes publishers repeat to both
            if await self._is_quorum():
                await self._clear_out_by_plugs()
            else:
                await self._clear_out_on_condition()
            self.say(f"{self.place.name}: deleted")
        await self.management.clear_policy(self._gate)
        await self._make()
        if await stands(self.connection, self._holding):
            await self._unbind(self._holding)
            await self._move_all(self._holding, self.place.name)
            async with scratch_channel(self.connection) as channel:
                await channel.queue_delete(self._holding)
            self.say(f"{self._holding}: deleted")

    @property
    def _holding(self) -> str:
        return self.topology.moving(self.place.name)

    @property
    def _gate(self) -> str:
        return self.topology.name("payscore-gate")

    # --- Steps ---

    async def _hold(self) -> None:
        async with scratch_channel(self.connection) as channel:
            await declare_place(channel, replace(self.place, name=self._holding, arguments=self._holding_arguments()))
        self.say(f"{self.place.name}: what comes now is held in {self._holding}")

    def _holding_arguments(self) -> dict[str, str | int]:
        """Hold what comes; what only RabbitMQ itself can move goes back to the queue when it is rejected."""
        back = {"x-dead-letter-exchange": DEFAULT_EXCHANGE, "x-dead-letter-routing-key": self.place.name}
        if self.place.kind is Kind.RUNG:  # where a message's own routing key says whose it is
            back = {"x-dead-letter-exchange": self.place.name}
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": NO_DELIVERY_LIMIT,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": REFUSING,
            **back,
        }

    async def _is_quorum(self) -> bool:
        seen = (await self.management.queues()).get(self.place.name)
        if seen is None or seen.type == "stream":
            raise Rejected(
                f"{self.place.name}: the management API does not know it, or it is a stream: move it by hand"
            )
        return seen.type == "quorum"

    async def _clear_out_on_condition(self) -> None:
        """Move all that is in an old classic queue, and delete that where nobody has come in between."""
        for _ in range(MOST_ROUNDS):
            await self._move_all(self.place.name, self._holding)
            try:
                async with scratch_channel(self.connection) as channel:
                    await channel.queue_delete(self.place.name, if_empty=True, if_unused=True)
            except ChannelPreconditionFailed:
                continue
            return
        raise self._others_go_on()

    async def _clear_out_by_plugs(self) -> None:
        """Move all that is in an old quorum queue, and delete that while it holds plugs and nothing else."""
        await self._see_that_nobody_consumes()
        await self.management.clear_policy(self._gate)  # of a run that was broken off: plugs have to get in
        await self._plug()
        await self._close_gate()
        for _ in range(MOST_ROUNDS):
            await self._unbind(self.place.name)
            await self._see_that_nobody_consumes()
            moved, plugs = await self._sweep()
            self.say(f"{self.place.name}: {moved} messages moved to {self._holding}")
            if await self._holds_only(plugs):
                async with scratch_channel(self.connection) as channel:
                    await channel.queue_delete(self.place.name)
                return
        raise self._others_go_on()

    async def _sweep(self) -> tuple[int, int]:
        """Move what is ready, and leave the plugs; tells how many of both there were.

        With the last message in hand the queue is empty, and open. So the plugs are given back at once, and it is open
        for no longer than RabbitMQ takes to read that.
        """
        moved, plugs = 0, list[AbstractIncomingMessage]()
        async with scratch_channel(self.connection) as channel, confirming(self.connection) as out:
            queue = await channel.get_queue(self.place.name, ensure=False)
            for _ in range(MOST_MOVED):
                message = await queue.get(fail=False)
                if message is None:
                    break
                is_plug = PLUG in message.headers
                if is_plug:
                    plugs.append(message)
                is_last = not message.message_count
                if is_last:
                    for plug in plugs:
                        await plug.nack(requeue=True)
                if not is_plug:
                    await self._move_one(message, self._holding, out)
                    moved += 1
                if is_last:
                    break
        return moved, len(plugs)

    async def _see_that_nobody_consumes(self) -> None:
        async with scratch_channel(self.connection) as channel:
            declared = await channel.declare_queue(self.place.name, passive=True)
        if declared.declaration_result.consumer_count:
            raise self._others_go_on()

    def _others_go_on(self) -> Rejected:
        return Rejected(
            f"{self.place.name}: others go on consuming it, have messages of it in hand, or put more into it: "
            "end them, and run `payscore-worker topology apply` again; until then it may refuse messages, "
            "which wait where they are"
        )

    async def _plug(self) -> None:
        async with confirming(self.connection) as out:
            for number in range(PLUGS):
                plug = Outgoing(
                    exchange=DEFAULT_EXCHANGE,
                    routing_key=self.place.name,
                    body=b"`payscore-worker topology apply` was broken off: run it again",
                    message_id=f"plug-{number}",
                    headers={PLUG: True},
                )
                async with asyncio.timeout(MOVE_SECONDS):
                    await publish(self.connection, out, plug)

    async def _holds_only(self, plugs: int) -> bool:
        """Watch for long enough whether the plugs, and only they, are in it; without any it is open."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TOLD_SECONDS
        since: float | None = None
        while plugs and loop.time() < deadline + SETTLED_SECONDS:
            async with scratch_channel(self.connection) as channel:
                declared = await channel.declare_queue(self.place.name, passive=True)
            ready = declared.declaration_result.message_count or 0
            if ready > plugs:
                return False
            seen = (await self.management.queues()).get(self.place.name)
            is_told = seen is not None and seen.messages == plugs and (seen.effective or {}).get("max-length") == 0
            if ready != plugs or not is_told:
                since = None
            elif since is None:
                since = loop.time()
            elif loop.time() - since >= SETTLED_SECONDS:
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _close_gate(self) -> None:
        gate = PolicySeen(
            name=self._gate,
            pattern=f"^{re.escape(self.place.name)}$",
            definition={
                "max-length": 0,
                "overflow": REFUSING,
                "dead-letter-exchange": DEFAULT_EXCHANGE,  # for what we cannot copy; an argument goes before it
                "dead-letter-routing-key": self._holding,
            },
        )
        priority = above(gate, await self.management.policies(), [self.place.name])
        await self.management.set_policy(msgspec.structs.replace(gate, priority=priority))
        self.say(f"{self.place.name}: nothing is let in any more")

    async def _make(self) -> None:
        try:
            async with scratch_channel(self.connection) as channel:
                await declare_place(channel, self.place)
        except TopologyRefused as error:
            raise Rejected(
                f"{self.place.name}: somebody has made it anew as it was: end the workers of the older release, "
                "and run `payscore-worker topology apply` again"
            ) from error
        self.say(f"{self.place.name}: stands as it should")

    async def _unbind(self, queue: str) -> None:
        """Unbind a queue from everything; a worker that comes back may have bound it again."""
        for binding in await self.management.bindings():
            if binding.destination == queue and binding.source != DEFAULT_EXCHANGE:
                async with scratch_channel(self.connection) as channel:
                    bound = await channel.get_queue(queue, ensure=False)
                    await bound.unbind(binding.source, binding.routing_key, arguments=binding.arguments)

    # --- Moving ---

    async def _move_all(self, source: str, target: str) -> None:
        """Move all, until RabbitMQ has said for long enough that there is nothing more, in nobody's hands either."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + EMPTY_SECONDS
        empty_since: float | None = None
        moved = 0
        while empty_since is None or loop.time() - empty_since < SETTLED_SECONDS:
            if loop.time() > deadline:
                raise Rejected(
                    f"{source}: some of its messages stay in somebody's hands, or find no room in {target}: "
                    "run `payscore-worker topology apply` again when that is over; until then messages wait"
                )
            if source == self.place.name:
                await self._unbind(source)
            now_moved = await self._move(source, target)
            moved += now_moved
            if now_moved or not await self._is_told_to_be_empty(source):
                empty_since = None
            elif empty_since is None:
                empty_since = loop.time()
            await asyncio.sleep(POLL_SECONDS)
        self.say(f"{source}: {moved} messages moved to {target}, and it is empty")

    async def _is_told_to_be_empty(self, queue: str) -> bool:
        """Ask for all its messages, those in hand too."""
        seen = (await self.management.queues()).get(queue)
        return seen is not None and seen.messages == 0

    async def _move(self, source: str, target: str) -> int:
        """Move what is ready, one after the other: copy, confirm, ack."""
        async with scratch_channel(self.connection) as channel, confirming(self.connection) as out:
            queue = await channel.get_queue(source, ensure=False)
            for moved in range(MOST_MOVED):
                message = await queue.get(fail=False)
                if message is None:
                    return moved
                try:
                    await self._move_one(message, target, out)
                except DeliveryError:  # the target is full, or the old queue was bound again and its gate refuses
                    await message.nack(requeue=True)
                    return moved
        return MOST_MOVED

    async def _move_one(self, message: AbstractIncomingMessage, target: str, out: AbstractChannel) -> None:
        if PLUG in message.headers:
            await message.ack()
            return
        try:
            copy = self._copy(message, target)
        except Rejected as error:
            log.warning("message_not_copied", queue=self.place.name, reason=str(error))
            await message.reject(requeue=False)  # RabbitMQ can move what we cannot copy
            return
        async with asyncio.timeout(MOVE_SECONDS):
            await publish(self.connection, out, copy)
        await message.ack()

    def _copy(self, message: AbstractIncomingMessage, target: str) -> Outgoing:
        if UNREADABLE in message.headers:
            raise Rejected("its properties cannot be read")
        exchange, routing_key = DEFAULT_EXCHANGE, target
        if self.place.kind is Kind.RUNG:  # its exchange leads to the one of the two that is bound
            exchange, routing_key = self.place.name, message.routing_key or ""
        copy = moved_message(message, exchange=exchange, routing_key=routing_key)
        if self.place.queue is not None:
            copy = replace(copy, message_id=identity(message, self.place.queue))
        see_that_it_can_be_written(copy)
        return copy
