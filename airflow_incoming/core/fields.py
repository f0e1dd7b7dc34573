"""Taking a mapping of fields apart: every mistake leads to its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from airflow_incoming.core.errors import InvalidConfiguration

Path = tuple[str | int, ...]
T = TypeVar("T")


class Fields:
    """The fields of one mapping, taken one by one; what is left over at the end is a mistake."""

    def __init__(self, item: object, path: Path) -> None:
        if not isinstance(item, Mapping):
            raise InvalidConfiguration(path, "must be a mapping of fields")
        self.path = path
        self._left = dict(item)
        self._known: list[str] = []

    def take(self, name: str, parse: Callable[[object], T]) -> T | None:
        """Return the parsed field, or None where it is absent or null."""
        self._known.append(name)
        value = self._left.pop(name, None)
        if value is None:
            return None
        return _parsed(value, parse, (*self.path, name))

    def take_list(self, name: str, parse: Callable[[object], T]) -> tuple[T, ...]:
        """Return the parsed items of a list field without repetitions; () where it is absent."""
        items = self.take(name, a_list) or []
        parsed = [_parsed(item, parse, (*self.path, name, i)) for i, item in enumerate(items)]
        for i, item in enumerate(parsed):
            if item in parsed[:i]:
                raise InvalidConfiguration((*self.path, name, i), f"{item!r} is there twice")
        return tuple(parsed)

    def child(self, name: str) -> Fields | None:
        """Return the fields of a nested mapping, or None where it is absent or null."""
        self._known.append(name)
        value = self._left.pop(name, None)
        return None if value is None else Fields(value, (*self.path, name))

    def finish(self) -> None:
        """Raise InvalidConfiguration for the first field that nobody took."""
        for name in self._left:
            raise InvalidConfiguration(
                (*self.path, str(name)), f"is not known here; known are {', '.join(self._known)}"
            )


def _parsed(value: object, parse: Callable[[object], T], path: Path) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidConfiguration(path, str(error)) from error


def choice(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise ValueError(f"must be one of {', '.join(allowed)}, not {value!r}")

    return parse


def text(length: int) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, str) and len(value) <= length and value.isprintable():
            return value
        raise ValueError(f"must be at most {length} printable characters")

    return parse


def a_list(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value)
    raise ValueError("must be a list")
