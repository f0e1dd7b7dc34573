"""Which node of a Redis Cluster has a key: slots, as the cluster specification divides them.

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_incoming.core.redis_url import Node

SLOTS = 16384

#: A command's words, its name first. All of a command's keys are in one slot.
Command = tuple[Any, ...]


def slot_of(key: str) -> int:
    """Return the slot of a key; where something in it stands in braces, that alone counts."""
    _, _, tagged = key.partition("{")
    tag, closed, _ = tagged.partition("}")
    return crc_hqx((tag if tag and closed else key).encode(), 0) % SLOTS


def key_of(command: Command) -> str:
    """Return the first key of a command of ours: for most it is the first word after the name."""
    if command[0] == "EVAL":
        return str(command[3])
    if command[0] == "XREAD":
        return str(command[command.index("STREAMS") + 1])
    return str(command[1])


@dataclass(kw_only=True, slots=True)
class SlotMap:
    """The primary of each slot, None where there is none; ``nodes`` are all, replicas too."""

    owners: list[Node | None]
    nodes: tuple[Node, ...]

    @classmethod
    def read(cls, answer: Iterable[Any], *, asked: Node) -> SlotMap:
        """Return the map that a node answers to ``CLUSTER SLOTS``. It may not know its own host's name."""
        owners: list[Node | None] = [None] * SLOTS
        nodes: dict[Node, None] = {}
        for first, last, *known in answer:
            members = [_node(host, port, asked=asked) for host, port, *_ in known]
            owners[first : last + 1] = [members[0]] * (last + 1 - first)
            nodes.update(dict.fromkeys(members))
        return cls(owners=owners, nodes=tuple(nodes))

    def owner(self, key: str) -> Node | None:
        """Return the node that has a key."""
        return self.owners[slot_of(key)]

    def primaries(self) -> list[Node]:
        """Return the nodes that have slots."""
        return list(dict.fromkeys(node for node in self.owners if node is not None))

    def move(self, slot: int, node: Node) -> None:
        """Note that a slot has moved to another node."""
        self.owners[slot] = node

    def spread(self, stem: str) -> Sequence[str]:
        """Return keys that begin alike, one on each primary; none on one that has hardly any slots."""
        found: dict[Node | None, str] = {}
        wanted = len(set(self.owners))
        for number in range(1024):
            key = f"{stem}:{number}"
            found.setdefault(self.owner(key), key)
            if len(found) == wanted:
                break
        return list(found.values())


def _node(host: bytes | str | None, port: int, *, asked: Node) -> Node:
    name = host.decode() if isinstance(host, bytes) else host
    return name or asked[0], int(port)
