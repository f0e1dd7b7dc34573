"""Clients of a Redis Cluster: each command goes to the node that has its key, one pipeline for each node.

What slots are, and who has them, redis-py's functions say, and the nodes' clients are redis-py's, too. Its
client for clusters isn't used: making it asks the first node for all commands there are, also while that one
is silent; what a node leaves unanswered it sends again, command by command, each for a whole timeout; and it
leaves out options of the URL, checks of TLS among them. Here an outage costs one timeout.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_incoming.core.redis_url import ClusterAddress, Node

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

#: A command's words, its name first. All of a command's keys are in one slot.
Command = tuple[Any, ...]

SLOTS = 16384
#: How often a command follows its slot, which has moved or is just moving.
REDIRECTIONS = 5

#: Class and words of a refusal: redis-py's newer releases have classes of their own for these.
_REDIRECTION = re.compile(
    r"(ResponseError )?(?P<kind>MOVED|ASK|MovedError|AskError) (?P<slot>\d+) (?P<host>.*):(?P<port>\d+)"
)
_DOWN = ("ResponseError CLUSTERDOWN", "ClusterDownError")


class Cluster:
    """A client for threads. Connects at first use; raises redis-py's errors.

    The map of slots is asked for at first, and again after a node failed to answer: by then another one may
    have taken its place.
    """

    def __init__(self, address: ClusterAddress, connect: Callable[[Node], Redis]) -> None:
        self._address = address
        self._connect = connect
        self._servers: dict[Node, Redis] = {}
        #: Who is asked for the map, the likeliest to answer first; and the map.
        self._nodes = deque(address.nodes)
        self._owners: list[Node | None] | None = None

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, one round trip for each node; a refused one's is its exception.

        Ends with the first node that doesn't answer.
        """
        answers: dict[int, Any] = {}
        groups: dict[Node, list[int]] = {}
        for number, node in enumerate(self._nodes_of(map(key_of, commands))):
            groups.setdefault(node, []).append(number)
        for node, numbers in groups.items():
            got = self._send(node, [commands[number] for number in numbers])
            for number, answer in zip(numbers, got, strict=True):
                answers[number] = self._followed(node, commands[number], answer)
        return [answers[number] for number in range(len(commands))]

    def node_of(self, key: str) -> Node:
        """Return the node that has a key."""
        return self._nodes_of([key])[0]

    def server_of(self, key: str) -> Redis:
        """Return the client of the node that has a key; the cluster is asked for that anew."""
        self.forget()
        return self._server(self.node_of(key))

    def servers(self) -> list[Redis]:
        """Return the clients of all primaries; the cluster is asked for them anew."""
        self.forget()
        return [self._server(node) for node in dict.fromkeys(self._map()) if node is not None]

    def spread(self, stem: str) -> Sequence[str]:
        """Return keys that begin alike, one on each primary; none on one that has hardly any slots."""
        keys = [f"{stem}:{number}" for number in range(1024)]
        found: dict[Node, str] = {}
        for node, key in zip(self._nodes_of(keys), keys, strict=True):
            found.setdefault(node, key)
        return list(found.values())

    def forget(self, failed: Node | None = None) -> None:
        """Forget the map: it is asked for again, and of others than a node that failed."""
        self._owners = None
        if self._nodes[0] == failed:
            self._nodes.rotate(-1)

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            server.close()

    def _nodes_of(self, keys: Iterable[str]) -> list[Node]:
        from redis.crc import key_slot
        from redis.exceptions import ClusterDownError

        owners = self._map()
        nodes = []
        for key in keys:
            if (node := owners[key_slot(key.encode())]) is None:
                self.forget()
                self._nodes.rotate(-1)  # another one may know better
                raise ClusterDownError(f"no node has the slot of {key}")
            nodes.append(node)
        return nodes

    def _map(self) -> list[Node | None]:
        """Return who has each slot; ask for it where that isn't known.

        Where a node can't be reached, which takes no time, the next one is asked; silence is waited for once.
        """
        from redis.cluster import parse_cluster_slots
        from redis.exceptions import ConnectionError as Broken

        if (known := self._owners) is not None:
            return known
        refusal: Exception = Broken("nobody is there to be asked")
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            self._nodes.rotate(-1)
            try:
                (answer,) = pipelined(self._server(node), [("CLUSTER SLOTS",)])
            except (Broken, ConnectionError) as error:
                refusal = error
                continue
            if isinstance(answer, Exception):
                raise answer
            owners: list[Node | None] = [None] * SLOTS
            nodes = [node]
            for (first, last), told in parse_cluster_slots(answer, current_host=node[0]).items():
                owners[first : last + 1] = [told["primary"]] * (last + 1 - first)
                nodes += (told["primary"], *told["replicas"])
            self._nodes = deque(dict.fromkeys((*nodes, *self._address.nodes)))
            self._owners = owners
            return owners
        raise refusal

    def _followed(self, node: Node, command: Command, answer: Any) -> Any:
        """Return an answer; where that names whom else to ask, that one's."""
        for _ in range(REDIRECTIONS):
            refusal = f"{type(answer).__name__} {answer}" if isinstance(answer, Exception) else ""
            if refusal.startswith(_DOWN):
                self.forget()
            if (found := _REDIRECTION.fullmatch(refusal)) is None:
                break
            node = (found["host"] or node[0], int(found["port"]))
            is_moved = found["kind"].upper().startswith("MOVED")
            if is_moved and (owners := self._owners) is not None:
                owners[int(found["slot"])] = node
            *_, answer = self._send(node, [command] if is_moved else [("ASKING",), command])
        return answer

    def _send(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        try:
            return pipelined(self._server(node), commands)
        except Exception:
            self.forget(node)
            raise

    def _server(self, node: Node) -> Redis:
        if node not in self._servers:
            self._servers.setdefault(node, self._connect(node))
        return self._servers[node]


class AsyncCluster:
    """A client for one event loop, for one command at a time: the one for threads says where its key is."""

    def __init__(self, cluster: Cluster, connect: Callable[[Node], AsyncRedis]) -> None:
        self._cluster = cluster
        self._connect = connect
        self._servers: dict[Node, AsyncRedis] = {}

    async def execute_command(self, *command: Any) -> Any:
        """Send one command to the node that has its key, and return the answer; twice where it is refused."""
        from redis.exceptions import RedisError, ResponseError

        node = await asyncio.to_thread(self._cluster.node_of, key_of(command))
        if node not in self._servers:
            self._servers[node] = self._connect(node)
        try:
            return await self._servers[node].execute_command(*command)
        except ResponseError:  # perhaps because its slot has moved
            (answer,) = await asyncio.to_thread(self._cluster.exchange, [command])
        except (RedisError, OSError):
            self._cluster.forget(node)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.aclose()
        self._cluster.close()


def pipelined(server: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands to one server in one round trip. Raises redis-py's errors where it can't be asked."""
    pipeline = server.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    return answers


def key_of(command: Command) -> str:
    """Return the first key of a command of ours: for most it is the first word after the name."""
    if command[0] == "EVAL":
        return str(command[3])
    if command[0] == "XREAD":
        return str(command[command.index("STREAMS") + 1])
    return str(command[1])
