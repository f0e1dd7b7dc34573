"""How large a conf can be at most, for a fraction of what making it costs.

Nearly all requests are far below their limits; for them this is proof enough, and nothing is flattened
before the event is dispatched. Where it isn't, the conf is made and measured exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from airflow_incoming.core.flatten import MAX_DEPTH
from airflow_incoming.core.integration import Configuration

_CONTAINERS: frozenset[type] = frozenset({dict, list})

#: Bytes that one character of a name becomes at most in JSON: a control character is ``\\u0001``, a
#: backslash is doubled by flattening and again by JSON. In plain ASCII only the dot grows, to ``\\\\.``.
_CHARACTER = 6
_PLAIN_CHARACTER = 3
#: Bytes of a parameter beside its name and what its value has in the body: quotes, colon, comma, the
#: escape of a reserved name, and what a number may grow by (1e15 becomes 1000000000000000.0).
_PARAMETER = 32
#: Bytes of the event's id, time of arrival and integration, names and all.
_OWN = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """Parameters of a payload, and how many characters their names have at most before escaping."""

    parameters: int
    characters: int


def guess(body: bytes) -> Extent:
    """Return an extent that the payload of a body doesn't exceed, without looking at the payload.

    Of most small bodies it shows that they are within their limits. There are no more parameters than commas
    and one; and no name is longer than the body, but for the number and the dot that each level adds.
    """
    parameters = body.count(b",") + 1
    longest = len(body) + MAX_DEPTH * (len(str(parameters)) + 1)
    return Extent(parameters=parameters, characters=parameters * longest)


def measure(payload: dict[str, Any] | list[Any]) -> Extent:
    """Return the extent of a payload; takes time in proportion to its members, and no memory to speak of."""
    parameters = characters = 0
    waiting: list[tuple[Any, int]] = [(payload, 0)]
    while waiting:
        container, prefix = waiting.pop()
        leaves = len(container)
        named = container.__class__ is dict
        digits = 0 if named else len(str(leaves))
        characters += sum(map(len, container)) if named else digits * leaves
        members: Iterable[Any] = container.values() if named else container
        if not _CONTAINERS.isdisjoint(map(type, members)):
            names: Iterable[str] = container if named else repeat("")
            for name, member in zip(names, members, strict=False):
                if member and member.__class__ in _CONTAINERS:
                    waiting.append((member, prefix + len(name) + digits + 1))
                    leaves -= 1
        parameters += leaves
        characters += leaves * prefix
    return Extent(parameters=parameters, characters=characters)


def conf_bound(extent: Extent, body: bytes, configuration: Configuration, headers: Mapping[str, str]) -> int:
    """Return bytes that the conf of an event has at most, as :func:`core.conf.conf_size` counts them.

    No value takes more bytes in compact JSON than in the body, but for numbers.
    """
    plain = body.isascii() and b"\\" not in body
    names = extent.characters * (_PLAIN_CHARACTER if plain else _CHARACTER)
    passed_on = sum(
        _PARAMETER + _CHARACTER * (len(name) + len(headers.get(name, ""))) for name in configuration.headers
    )
    return len(body) + names + extent.parameters * _PARAMETER + _OWN + passed_on
