"""Clients of a Redis Cluster: each command goes to the node that has its key, one pipeline for each node.

redis-py has such clients, too. They connect when they are made; what one node leaves unanswered they send
again, command by command, each for a whole timeout; and they ask one node where the keys of a command are,
even if that is the one that is down. Here the nodes' clients are redis-py's, and an outage costs one timeout.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_incoming.core.redis_url import ClusterAddress, Node
from airflow_incoming.core.slots import Command, SlotMap, key_of

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis
    from redis.exceptions import ResponseError

#: How often a command follows its slot, which has moved or is just moving.
REDIRECTIONS = 5

_REDIRECTION = re.compile(r"(?P<kind>MOVED|ASK) (?P<slot>\d+) (?P<host>.*):(?P<port>\d+)")

_T = TypeVar("_T")
#: Each step says what to send to a node; it is sent the answers, where a refused command's is its exception.
Steps = Generator[tuple[Node, Sequence[Command]], list[Any], _T]
#: A node, and whether it has to be asked for what is just moving to it.
_Way = tuple[Node, bool]


class Routes:
    """What is known of a cluster, and how commands find their way; the clients below do the sending.

    The map of slots is asked for at first, and again after a node failed to answer: by then another one may
    have taken its place.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._configured = nodes
        #: Who is asked for the map, the likeliest to answer first.
        self._nodes = deque(nodes)
        self._slots: SlotMap | None = None

    def exchange(self, commands: Sequence[Command]) -> Steps[list[Any]]:
        """Return the answers to commands. Ends with the first node that doesn't answer."""
        answers: dict[int, Any] = {}
        ways: dict[int, _Way] = {}
        for number, command in enumerate(commands):
            ways[number] = (yield from self.node_of(key_of(command))), False
        for _ in range(1 + REDIRECTIONS):
            redirected: dict[int, _Way] = {}
            for way, numbers in _grouped(ways).items():
                got = yield from self._send(way, [commands[number] for number in numbers])
                answers.update(zip(numbers, got, strict=True))
                for number, answer in zip(numbers, got, strict=True):
                    if (other := self._follow(answer, way)) is not None:
                        redirected[number] = other
            ways = redirected
            if not ways:
                break
        return [answers[number] for number in range(len(commands))]

    def node_of(self, key: str) -> Steps[Node]:
        """Return the node that has a key."""
        from redis.exceptions import ClusterDownError

        slots = yield from self.slots()
        if (node := slots.owner(key)) is None:
            self.forget()
            self._nodes.rotate(-1)  # another one may know better
            raise ClusterDownError(f"no node has the slot of {key}")
        return node

    def slots(self) -> Steps[SlotMap]:
        """Return the map of slots; ask for it where it isn't known.

        Where one can't be reached, which takes no time, the next one is asked; silence is waited for once.
        """
        from redis.exceptions import ConnectionError as Broken

        if (known := self._slots) is not None:
            return known
        refusal: Exception = Broken("nobody is there to be asked")
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            self._nodes.rotate(-1)
            try:
                (answer,) = yield node, [("CLUSTER SLOTS",)]
            except (Broken, ConnectionError) as error:
                refusal = error
                continue
            if isinstance(answer, Exception):
                raise answer
            self._slots = slots = SlotMap.read(answer, asked=node)
            self._nodes = deque(dict.fromkeys((node, *slots.nodes, *self._configured)))
            return slots
        raise refusal

    def forget(self) -> None:
        """Forget the map: it is asked for again."""
        self._slots = None

    def _send(self, way: _Way, commands: Sequence[Command]) -> Steps[list[Any]]:
        node, is_asked = way
        try:
            if not is_asked:
                return (yield node, commands)
            got = yield node, [part for command in commands for part in (("ASKING",), command)]
            return got[1::2]
        except Exception:
            self.forget()
            raise

    def _follow(self, answer: Any, way: _Way) -> _Way | None:
        """Return where else a command is to be sent; None where it was answered."""
        from redis.exceptions import ResponseError

        if not isinstance(answer, ResponseError):
            return None
        refusal = _refusal(answer)
        if refusal.startswith("CLUSTERDOWN"):
            self.forget()
        if (found := _REDIRECTION.fullmatch(refusal)) is None:
            return None
        node = (found["host"] or way[0][0], int(found["port"]))
        is_moved = found["kind"] == "MOVED"
        if is_moved and (slots := self._slots) is not None:
            slots.move(int(found["slot"]), node)
        return node, not is_moved


class Cluster:
    """A client for threads. Connects at first use; raises redis-py's errors."""

    def __init__(self, address: ClusterAddress, connect: Callable[[str], Redis]) -> None:
        self._address = address
        self._connect = connect
        self._routes = Routes(address.nodes)
        self._servers: dict[Node, Redis] = {}

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, one round trip for each node; a refused one's is its exception."""
        return self._run(self._routes.exchange(commands))

    def server_of(self, key: str) -> Redis:
        """Return the client of the node that has a key; the cluster is asked for that anew."""
        self._routes.forget()
        return self._server(self._run(self._routes.node_of(key)))

    def servers(self) -> list[Redis]:
        """Return the clients of all primaries."""
        self._routes.forget()
        return [self._server(node) for node in self._run(self._routes.slots()).primaries()]

    def spread(self, stem: str) -> Sequence[str]:
        """Return keys that begin alike, one on each primary."""
        return self._run(self._routes.slots()).spread(stem)

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            server.close()

    def _run(self, steps: Steps[_T]) -> _T:
        from redis.exceptions import RedisError

        go_on: Callable[[], tuple[Node, Sequence[Command]]] = partial(next, steps)
        while True:
            try:
                node, commands = go_on()
            except StopIteration as end:
                done: _T = end.value
                return done
            try:
                go_on = partial(steps.send, pipelined(self._server(node), commands))
            except (RedisError, OSError) as error:
                go_on = partial(steps.throw, error)

    def _server(self, node: Node) -> Redis:
        if node not in self._servers:
            self._servers.setdefault(node, self._connect(self._address.url(node)))
        return self._servers[node]


class AsyncCluster:
    """A client for one event loop: the same, for one command at a time."""

    def __init__(self, address: ClusterAddress, connect: Callable[[str], AsyncRedis]) -> None:
        self._address = address
        self._connect = connect
        self._routes = Routes(address.nodes)
        self._servers: dict[Node, AsyncRedis] = {}

    async def execute_command(self, *command: Any) -> Any:
        """Send one command to the node that has its key, and return the answer."""
        from redis.exceptions import RedisError

        steps = self._routes.exchange([command])
        go_on: Callable[[], tuple[Node, Sequence[Command]]] = partial(next, steps)
        while True:
            try:
                node, commands = go_on()
            except StopIteration as end:
                (answer,) = end.value
                break
            try:
                go_on = partial(steps.send, await self._send(node, commands))
            except (RedisError, OSError) as error:
                go_on = partial(steps.throw, error)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            await server.aclose()

    async def _send(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        if node not in self._servers:
            self._servers[node] = self._connect(self._address.url(node))
        pipeline = self._servers[node].pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers


def pipelined(server: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send commands to one server in one round trip. Raises redis-py's errors where it can't be asked."""
    pipeline = server.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    return answers


def _refusal(answer: ResponseError) -> str:
    """Return what a node said; redis-py's newer releases make the first word an exception's class."""
    from redis.exceptions import AskError, ClusterDownError, MovedError

    for kind, name in ((MovedError, "MOVED"), (AskError, "ASK"), (ClusterDownError, "CLUSTERDOWN")):
        if isinstance(answer, kind):
            return f"{name} {answer}"
    return str(answer)


def _grouped(ways: dict[int, _Way]) -> dict[_Way, list[int]]:
    groups: dict[_Way, list[int]] = {}
    for number in sorted(ways):
        groups.setdefault(ways[number], []).append(number)
    return groups
