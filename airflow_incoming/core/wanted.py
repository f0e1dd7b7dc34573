"""Which events a task or a watcher wants: those whose parameters have these values.

Values are compared as people write them: ``7`` is the number and the text, ``"7"`` in double quotes is
the text alone. A template gives text, and must find the number that the event carries; and the boolean
or null, which it writes as Python does: ``True``, ``None``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_incoming.core.flatten import MISSING, join_path, split_path
from airflow_incoming.core.matching import is_same_large_number, is_value
from airflow_incoming.core.parameters import validate_passed_parameter

#: How a template writes what JSON has another word for.
_PYTHON = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parameters that an event must carry, by full name (``body.order.id``), and their values as text."""

    parameters: Mapping[str, str]

    def matches(self, conf: Mapping[str, Any]) -> bool:
        """Tell whether the conf of an event has all wanted values."""
        return all(_has(conf, _name_in_conf(name), text) for name, text in self.parameters.items())

    def __str__(self) -> str:
        return " and ".join(f"{name} = {text}" for name, text in self.parameters.items()) or "anything"


def full_names(where: Mapping[str, Any] | None) -> dict[str, str]:
    """Return for each parameter's name its full name: ``order.id`` is short for ``body.order.id``.

    ``header.x`` is a header that the integration passes on. Raises ValueError that says what to change.
    """
    return {name: _full_name(name) for name in where or {}}


def wanted(where: Mapping[str, Any] | None) -> Wanted:
    """Return what somebody wants; None and an empty mapping want everything.

    The ``parameters`` of the answer may be given again. Raises ValueError that says what to change.
    """
    names = full_names(where)
    return Wanted({names[name]: _text(name, value) for name, value in (where or {}).items()})


def _has(conf: Mapping[str, Any], name: str, text: str) -> bool:
    value = conf.get(name, MISSING)
    if value is MISSING:
        return False
    if isinstance(value, float):
        value = Decimal(repr(value))  # the digits that people see: 49.9 is 49.90
    # A template may leave blanks around a value; an event may have them, too.
    if is_value(value, text) or is_value(value, text.strip()):
        return True
    if isinstance(value, str):
        return is_same_large_number(value, text.strip())
    return is_value(value, _PYTHON.get(text.strip(), text))


def _full_name(name: object) -> str:
    try:
        return validate_passed_parameter(name)
    except ValueError as error:
        raise ValueError(f"where: {error}") from error


def _name_in_conf(full: str) -> str:
    source, _, key = full.partition(".")
    return f"_incoming.headers.{key}" if source == "header" else join_path(split_path(key))


def _text(name: str, value: object) -> str:
    if isinstance(value, list | dict) and value:
        raise ValueError(
            f"where: {name} is a {type(value).__name__}, but parameters are single values. Name one inside "
            f"of it, such as {name}.{next(iter(value)) if isinstance(value, dict) else 0}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"where: {name} is {value}, which no event can carry")
    if isinstance(value, str):
        text = value
    elif value is None or isinstance(value, bool | int | float | list | dict):
        text = json.dumps(value)
    else:
        raise ValueError(f"where: {name} must be text, a number or a boolean, not {type(value).__name__}")
    if not text.strip():
        raise ValueError(
            f"where: {name} is empty, which would find any event. Did the template that it comes from give "
            "nothing?"
        )
    return text
