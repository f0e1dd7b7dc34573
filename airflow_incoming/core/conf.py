"""What a DAG run receives: the flattened body, and ``_incoming.…`` about the event itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from airflow_incoming.core.flatten import flatten
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Event
from airflow_incoming.core.payload import parse_json
from airflow_incoming.core.redaction import passed_on

_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def build_conf(
    flat: Mapping[str, Any],
    configuration: Configuration,
    *,
    event_id: UUID,
    integration: str,
    received_at: datetime,
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """Return the conf of an event's DAG runs. ``received_at`` becomes ISO 8601 in UTC."""
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
        flatten(parse_json(event.body.encode()), max_parameters=None),
        configuration,
        event_id=event.id,
        integration=event.integration,
        received_at=event.received_at,
        headers=event.headers,
    )


def conf_size(conf: Mapping[str, Any]) -> int:
    """Return the bytes of a conf as compact JSON in UTF-8.

    Value by value: to write a megabyte at once would keep every other thread waiting.
    """
    encode = _COMPACT.encode
    members = sum(len(encode(name).encode()) + len(encode(value).encode()) for name, value in conf.items())
    return 2 + members + max(2 * len(conf) - 1, 0)
