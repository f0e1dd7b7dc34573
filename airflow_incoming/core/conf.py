"""What a DAG run receives: the flattened body, and ``_incoming.…`` about the event itself.

Asset events, trigger events and what waiting tasks return are made here, too, so this is where it is seen
to that every part of Airflow can carry what we hand to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from operator import ne
from typing import Any
from uuid import UUID

from airflow_incoming.core.flatten import flatten
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.core.payload import (
    HIGHEST_FLOAT,
    LOWEST_FLOAT,
    MAX_INTEGER,
    MIN_INTEGER,
    parse_portable,
)
from airflow_incoming.core.redaction import passed_on, storable_text

#: Characters of a parameter's name that are shown.
NAME_SHOWN = 200

_SCALARS = frozenset({str, int, float, bool, type(None)})
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def build_conf(
    body: bytes,
    configuration: Configuration,
    *,
    event_id: UUID,
    integration: str,
    received_at: datetime,
    headers: Mapping[str, str],
    max_parameters: int | None = None,
    max_size: int | None = None,
) -> dict[str, Any]:
    """Return the conf of an event's DAG runs. ``received_at`` becomes ISO 8601 in UTC.

    Raises what :func:`.payload.parse_portable` and, for the limits, :func:`.flatten.flatten` raise.
    """
    flat = flatten(parse_portable(body), max_parameters=max_parameters, max_size=max_size)
    return {
        **flat,
        "_incoming.event_id": str(event_id),
        "_incoming.integration": integration,
        "_incoming.received_at": received_at.astimezone(timezone.utc).isoformat(),
        **{
            f"_incoming.headers.{name}": value
            for name, value in passed_on(headers, configuration.headers).items()
        },
    }


def conf_of(event: Event, configuration: Configuration) -> dict[str, Any]:
    """Return the conf of a stored event; its body was admitted, so it parses."""
    return build_conf(
        event.body.encode(),
        configuration,
        event_id=event.id,
        integration=event.integration,
        received_at=event.received_at,
        headers=event.headers,
    )


def uncarriable(conf: Mapping[str, Any]) -> str | None:
    """Return the name of a parameter that a part of Airflow can't carry, shortened; None if there is none.

    Of what is stored as we store it there is none. Who finds one leaves the event out: handed to Airflow
    it would end a process that others share.
    """
    if _is_ordinary(conf):
        return None
    for name, value in conf.items():
        if not (can_carry(value) and can_carry(name)):
            return storable_text(name[:NAME_SHOWN])
    return None


def _is_ordinary(conf: Mapping[str, Any]) -> bool:
    """Tell of nearly every conf, at a tenth of the cost, that all of it can be carried."""
    values = conf.values()
    texts = "".join([value for value in values if value.__class__ is str])
    numbers = [value for value in values if value.__class__ is int or value.__class__ is float]
    return (
        "".join(conf).isprintable()
        and texts.isprintable()
        and _SCALARS.issuperset(map(type, values))
        and not any(map(ne, numbers, numbers))  # NaN, of which min and max know nothing
        and (not numbers or (min(numbers) > LOWEST_FLOAT and max(numbers) < HIGHEST_FLOAT))
    )


def portable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that weren't made here; numbers that Airflow can't carry are text, in Python's digits."""
    return {
        name: json.dumps(value) if isinstance(value, int | float) and not can_carry(value) else value
        for name, value in values.items()
    }


def can_carry(value: object) -> bool:
    """Tell whether every part of Airflow can carry the value of a parameter, or its name."""
    if isinstance(value, str):
        return storable_text(value) == value
    if isinstance(value, float):
        return LOWEST_FLOAT < value < HIGHEST_FLOAT
    if isinstance(value, int):
        return MIN_INTEGER <= value <= MAX_INTEGER
    return value is None or value in ({}, [])


def conf_size(conf: Mapping[str, Any]) -> int:
    """Return the bytes of a conf as compact JSON in UTF-8.

    Value by value: to write a megabyte at once would keep every other thread waiting.
    """
    encode = _COMPACT.encode
    members = sum(len(encode(name).encode()) + len(encode(value).encode()) for name, value in conf.items())
    return 2 + members + max(2 * len(conf) - 1, 0)
