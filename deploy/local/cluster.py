"""A private RabbitMQ cluster on loopback, whose nodes can be killed, frozen and cut off from each other."""

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import SetupFailed
from deploy.local.processes import free_ports, wait_until
from deploy.local.rabbitmq import START_SECONDS, Epmd, PrivateRabbitMQ, find_scripts

NODES = 3  # the fewest that go on without one of them
MOVE_ATTEMPTS = 5  # a member that has just come back must catch up before it may lead

# What a cluster of three should say: a node that sees none of the others waits for them, as 4.3 does by itself. One
# that is frozen for longer than net_ticktime, by default a minute, is parted from the others all the same (seen on
# 3.10.8): thaw it before that, or start the cluster anew.
SETTINGS = ("cluster_partition_handling = pause_minority",)
WRONG_COOKIE = "cut"


def start_cluster(directory: Path, settings: Sequence[str] = SETTINGS) -> "PrivateCluster":
    """A new cluster in this directory, running; `settings` are lines of rabbitmq.conf."""
    scripts = find_scripts()
    if scripts is None:
        raise SetupFailed("RabbitMQ is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    epmd_port, *ports = free_ports(1 + 2 * NODES)
    names = [f"payscore{number}" for number in range(1, NODES + 1)]
    nodes = tuple(
        PrivateRabbitMQ(
            directory=(directory / name).resolve(),
            scripts=scripts,
            amqp_port=ports.pop(),
            distribution_port=ports.pop(),
            epmd_port=epmd_port,
            name=name,
            shares_epmd=True,
            settings=(*settings, *_meeting(names[0], name)),
        )
        for name in names
    )
    cluster = PrivateCluster(directory.resolve(), epmd_port, secrets.token_hex(32), nodes)
    try:
        cluster.start()
    except BaseException:
        cluster.kill()
        raise
    return cluster


def _meeting(first: str, name: str) -> Sequence[str]:
    """Where a node finds the others when it starts for the first time; the first one has nobody to look for."""
    if name == first:
        return ()
    nodes = [
        f"cluster_formation.classic_config.nodes.{place} = {one}@localhost" for place, one in ((1, first), (2, name))
    ]
    return ("cluster_formation.peer_discovery_backend = classic_config", *nodes)


@dataclass(frozen=True)
class PrivateCluster:
    """Brokers that share one epmd and one cookie; each keeps its data between a kill and the next start."""

    directory: Path
    epmd_port: int
    cookie: str
    nodes: tuple[PrivateRabbitMQ, ...]

    def start(self) -> None:
        """Start every node, the first one first, and wait until each knows all others."""
        self._epmd.start()
        first, *others = self.nodes
        for node in self.nodes:
            node.save()
            node.write_configuration(self.cookie)
        first.start()
        for node in others:
            node.spawn()
        for node in others:
            node.await_start()
        if not wait_until(lambda: len(self.running(first)) == len(self.nodes), seconds=START_SECONDS):
            raise SetupFailed(f"the nodes did not find each other; their logs are in {self.directory}")

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def running(self, seen_by: PrivateRabbitMQ) -> list[str]:
        """The nodes that run, and are not parted from it, as one of them sees it."""
        status = json.loads(seen_by.ctl("--quiet", "cluster_status", "--formatter", "json"))
        parted = {other for others in status["partitions"].values() for other in others}
        return sorted(set(status["running_nodes"]) - parted)

    def whole(self) -> bool:
        """Whether every node sees every other; one that has just come back may not answer yet."""
        with suppress(SetupFailed):
            return all(len(self.running(node)) == len(self.nodes) for node in self.nodes)
        return False

    # --- What befalls a node; `heal` undoes the last two ---

    def cut(self, node: PrivateRabbitMQ) -> None:
        """Part a node from the others: their connections end, and new ones are refused. Clients still reach it."""
        self._set_cookies(node, WRONG_COOKIE)

    def heal(self, node: PrivateRabbitMQ) -> None:
        """Let a node go on that was frozen, and let one that was cut off find the others again."""
        node.thaw()
        self._set_cookies(node, self.cookie)

    def _set_cookies(self, node: PrivateRabbitMQ, cookie: str) -> None:
        others = ", ".join(f"'{other.node}'" for other in self.nodes if other is not node)
        change = f"erlang:set_cookie(Node, '{cookie}'), erlang:disconnect_node(Node)"
        if cookie == self.cookie:
            change = f"erlang:set_cookie(Node, '{cookie}'), net_kernel:connect_node(Node)"
        node.ctl("eval", f"[begin {change} end || Node <- [{others}]].")

    # --- Leaders ---

    def leaders(self, seen_by: PrivateRabbitMQ, prefix: str = "") -> Mapping[str, str]:
        """The node that leads each queue whose name begins so."""
        listed = json.loads(seen_by.ctl("--quiet", "list_queues", "name", "leader", "--formatter", "json"))
        return {queue["name"]: queue["leader"] for queue in listed if queue["name"].startswith(prefix)}

    def lead(self, node: PrivateRabbitMQ, prefix: str = "") -> None:
        """Have this node lead every quorum queue whose name begins so."""
        move = (
            f"[rabbit_quorum_queue:transfer_leadership(Queue, '{node.node}') || Queue <- rabbit_amqqueue:list(), "
            "rabbit_quorum_queue =:= amqqueue:get_type(Queue), "
            f'nomatch =/= string:prefix(element(4, amqqueue:get_name(Queue)), <<"{prefix}">>)].'
        )
        for _ in range(MOVE_ATTEMPTS):
            node.ctl("eval", move)
            if set(self.leaders(node, prefix).values()) <= {node.node}:
                return
        raise SetupFailed(f"{node.node} does not come to lead every queue: {self.leaders(node, prefix)}")

    # --- The end ---

    def kill(self) -> None:
        """End every node as a power cut would."""
        for node in self.nodes:
            node.kill()
        self._epmd.kill()

    def remove(self) -> None:
        """End it, and delete all it had."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _epmd(self) -> Epmd:
        return Epmd(self.directory, self.epmd_port, self.nodes[0].path)
