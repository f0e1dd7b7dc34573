r"""Nested JSON to parameters and back: ``{"order": {"items": [7]}}`` is ``order.items.0``.

A parameter's name is a path: its segments, joined by dots. ``.`` and ``\`` inside a segment are
written ``\.`` and ``\\``. The names ``_incoming`` and ``airflow/…`` belong to this plugin and to
Airflow, so a payload's own get a ``\`` in front: ``\_incoming.x``. So do the few by which Airflow tells
serialized objects from plain data, such as ``\__classname__``. When a path is read, ``\`` stands for the
character after it, whatever that is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, NoReturn, TypeAlias

from airflow_incoming.core.errors import ConfTooLarge, UnstorableJSON

#: A scalar, or an empty object or array.
Leaf: TypeAlias = "str | int | float | dict[str, Any] | list[Any] | None"

MAX_DEPTH = 64
#: Keys that Airflow takes for marks of its own: a dict with one is refused by XCom, or read as an object
#: (``airflow.sdk._shared.serialization``).
MARKS_OF_AIRFLOW = frozenset(
    {
        *("__classname__", "__version__", "__data__", "__id__", "__cache__"),
        *("__type", "__source", "__var"),
    }
)
MAX_PARAMETERS = 10_000

_CONTAINERS = (dict, list)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SEGMENT = re.compile(r"(?:[^.\\]|\\.|\\\Z)*", re.DOTALL)
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


class _Missing(Enum):
    MISSING = "missing"


#: What ``lookup`` returns where there is nothing; null is something.
MISSING: Final = _Missing.MISSING
Missing: TypeAlias = Literal[_Missing.MISSING]


def flatten(
    value: dict[str, Any] | list[Any],
    *,
    max_parameters: int | None = MAX_PARAMETERS,
    max_size: int | None = None,
) -> dict[str, Leaf]:
    """Return the parameters of a JSON object or array, in its order; nothing is dropped or merged.

    A top-level array gives ``0.…``; a top-level empty object or array has no parameters. A long name
    is repeated in every parameter below it, so ``max_size`` stops the work as soon as the names alone
    take more bytes than a conf may have. Raises UnstorableJSON and ConfTooLarge.
    """
    flattening = _Flattening(max_parameters, max_size)
    flattening.walk(value, "", 1)
    flat = flattening.flat
    if isinstance(value, dict) and any(map(_is_reserved, value)):
        return {f"\\{name}" if _is_reserved(name) else name: leaf for name, leaf in flat.items()}
    return flat


def unflatten(flat: Mapping[str, Leaf]) -> dict[str, Any] | list[Any]:
    """Return what was flattened. Objects whose keys are 0…n-1 come back as arrays, and ``{}`` for ``[]``.

    Raises ValueError where two names contradict each other, as ``a`` and ``a.b`` do.
    """
    root = _Node()
    for name, leaf in flat.items():
        *parents, last = split_path(name)
        if len(parents) >= MAX_DEPTH:
            raise ValueError(f"a parameter is nested deeper than {MAX_DEPTH} levels")
        node = root
        for segment in parents:
            child = node.setdefault(segment, _Node())
            if not isinstance(child, _Node):
                raise ValueError(f"{name!r} contradicts another parameter")
            node = child
        if last in node:
            raise ValueError(f"{name!r} contradicts another parameter")
        node[last] = leaf
    return _restore(root)


def lookup(value: object, path: str) -> Any | Missing:
    """Return what a path leads to in parsed JSON, an object or array too; MISSING if nothing is there."""
    for segment in split_path(path):
        if isinstance(value, dict):
            if segment not in value:
                return MISSING
            value = value[segment]
        elif isinstance(value, list):
            if not _INDEX.fullmatch(segment) or int(segment) >= len(value):
                return MISSING
            value = value[int(segment)]
        else:
            return MISSING
    return value


def split_path(path: str) -> tuple[str, ...]:
    r"""Return the segments of a path. A ``\`` at the very end stands for itself."""
    if "\\" not in path:
        return tuple(path.split("."))
    segments = []
    position = 0
    while position <= len(path):
        found = _SEGMENT.match(path, position)
        assert found is not None  # it matches nothing, too
        segments.append(_ESCAPED.sub(r"\1", found[0]))
        position = found.end() + 1
    return tuple(segments)


def join_path(segments: Sequence[str]) -> str:
    """Return the one spelling of a path that ``flatten`` uses."""
    path = ".".join(map(_escape, segments))
    return f"\\{path}" if _is_reserved(path) else path


class _Flattening:
    """One walk: what it has found, and its bounds."""

    def __init__(self, max_parameters: int | None, max_size: int | None) -> None:
        self.flat: dict[str, Leaf] = {}
        self._max_parameters = sys.maxsize if max_parameters is None else max_parameters
        self._max_size = sys.maxsize if max_size is None else max_size
        self._size = 0

    def walk(self, container: dict[str, Any] | list[Any], prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UnstorableJSON(f"The payload is nested deeper than {MAX_DEPTH} levels.")
        flat = self.flat
        leaves = len(container)
        # Every member gives at least one parameter, whose name begins with the prefix.
        if len(flat) + leaves > self._max_parameters or self._size + leaves * len(prefix) > self._max_size:
            self._refuse(len(flat) + leaves)
        for key, value in _members(container):
            if "." in key or "\\" in key:
                key = _escape(key)
            if isinstance(value, _CONTAINERS) and value:
                leaves -= 1
                self.walk(value, prefix + key + ".", depth + 1)
            else:
                flat[prefix + key] = value
        self._size += leaves * len(prefix)
        if len(flat) > self._max_parameters or self._size > self._max_size:
            self._refuse(len(flat))

    def _refuse(self, parameters: int) -> NoReturn:
        if parameters > self._max_parameters:
            raise UnstorableJSON(f"The payload has more than {self._max_parameters} parameters.")
        raise ConfTooLarge(None, self._max_size)


class _Node(dict[str, Any]):
    """An object or array being put together; a plain dict is a leaf."""


def _restore(node: _Node) -> dict[str, Any] | list[Any]:
    restored = {key: _restore(value) if isinstance(value, _Node) else value for key, value in node.items()}
    indexes = [str(index) for index in range(len(restored))]
    if restored and all(index in restored for index in indexes):
        return [restored[index] for index in indexes]
    return restored


def _members(container: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(container, dict):
        return container.items()
    return zip(map(str, range(len(container))), container, strict=True)


def _escape(segment: str) -> str:
    if "." in segment or "\\" in segment:
        return segment.replace("\\", "\\\\").replace(".", "\\.")
    return segment


def _is_reserved(name: str) -> bool:
    """Tell whether a top-level key or a path is one that conf itself uses."""
    return name.startswith(("_incoming.", "airflow/")) or name == "_incoming" or name in MARKS_OF_AIRFLOW
