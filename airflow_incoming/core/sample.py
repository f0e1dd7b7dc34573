"""The example of what an integration receives, seen as parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from airflow_incoming.core.flatten import flatten
from airflow_incoming.core.payload import parse_json

#: JSON's own names for the types of values.
_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", dict: "object", list: "array"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter of a sample, under its full name: ``body.order.id``."""

    name: str
    type: str
    value: Any

    @property
    def shown(self) -> str:
        """Return the value as JSON writes it, texts without quotes."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)


def parameters_of(*, body: str, headers: Mapping[str, str], query: str) -> tuple[Parameter, ...]:
    """Return the parameters of a stored request: of its body, then its query, then its headers.

    The body was admitted before, so it parses.
    """
    found = [
        *(
            (f"body.{name}", value)
            for name, value in flatten(parse_json(body.encode()), max_parameters=None).items()
        ),
        *(
            (f"query.{name}", values[0] if len(values) == 1 else values)
            for name, values in parse_qs(query, keep_blank_values=True).items()
        ),
        *((f"header.{name}", value) for name, value in headers.items()),
    ]
    return tuple(Parameter(name=name, type=type_of(value), value=value) for name, value in found)


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    return "null" if value is None else _TYPES[type(value)]
