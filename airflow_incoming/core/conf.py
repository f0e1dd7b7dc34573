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
from airflow_incoming.core.redaction import passed_on, shown_name, storable_text

#: What names the event in every conf of ours.
EVENT_ID = "_incoming.event_id"

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
        EVENT_ID: str(event_id),
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
            return shown_name(name)
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


def can_carry(value: object) -> bool:
    """Tell whether every part of Airflow can carry the value of a parameter, or its name."""
    if isinstance(value, str):
        return storable_text(value) == value
    if isinstance(value, float):
        return LOWEST_FLOAT < value < HIGHEST_FLOAT
    if isinstance(value, int):
        return MIN_INTEGER <= value <= MAX_INTEGER
    return value is None or value in ({}, [])


def is_carried(value: Any) -> bool:
    """Tell whether Airflow can carry a value, however nested; what isn't plain data is its own matter."""
    if isinstance(value, Mapping):
        return all(is_carried(key) and is_carried(member) for key, member in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_carried, value))
    return not isinstance(value, str | int | float) or can_carry(value)


def carried(value: Any) -> Any:
    """Return a value that wasn't made here as Airflow can carry it, however nested.

    Numbers that it can't are text, in Python's digits, and text is what every part can store.
    """
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, Mapping):
        return {carried(key): carried(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [carried(member) for member in value]
    if isinstance(value, set | frozenset):
        return {carried(member) for member in value}
    return value if is_carried(value) else repr(value)


def conf_in(extra: object) -> tuple[Mapping[str, Any], bool]:
    """Return the conf in an asset event's extra, and whether Airflow wrapped it: so a watcher has yielded it.

    Not by what Airflow writes beside it, which a body may have a field of that name for; no field of a
    body is called ``_incoming.event_id``.
    """
    conf = extra if isinstance(extra, Mapping) else {}
    payload = conf.get("payload")
    return (payload, True) if EVENT_ID not in conf and isinstance(payload, Mapping) else (conf, False)


def conf_size(conf: Mapping[str, Any]) -> int:
    """Return the bytes of a conf as compact JSON in UTF-8.

    Value by value: to write a megabyte at once would keep every other thread waiting.
    """
    encode = _COMPACT.encode
    members = sum(len(encode(name).encode()) + len(encode(value).encode()) for name, value in conf.items())
    return 2 + members + max(2 * len(conf) - 1, 0)
