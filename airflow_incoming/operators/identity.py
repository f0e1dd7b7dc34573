"""What a task triggers, named so that a retry or a clear of the task names the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from airflow_incoming.core.conf import build_conf, conf_size
from airflow_incoming.core.errors import ConfTooLarge
from airflow_incoming.core.fingerprint import fingerprint
from airflow_incoming.core.integration import Configuration, Deduplication
from airflow_incoming.core.parameters import MAX_DEDUPLICATION_PARAMETERS, validate_passed_parameter
from airflow_incoming.core.redaction import storable_text
from airflow_incoming.operators.payloads import Payload

#: Names of scopes and events of tasks; random, and never to be changed.
_NAMESPACE = UUID("6f1d8f0e-5f0c-4a3c-9b53-2a4c0b0e7d11")
_NOT_IN_RUN_IDS = re.compile(r"[^A-Za-z0-9_~:+-]+")
_LONGEST_IN_RUN_ID = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """One task instance, the same at every try."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How much a conf may have: parameters, and bytes as JSON."""

    max_parameters: int
    max_conf: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One DAG run to be made: its id, its conf, and the hash that it is known by (None: by none)."""

    event_id: str
    run_id: str
    hash: str | None
    conf: dict[str, Any]


def deduplication_of(parameters: Sequence[str], window: timedelta) -> Deduplication | None:
    """Return how payloads are deduplicated; None without parameters.

    ``order.id`` is short for ``body.order.id``. Raises ValueError that says what to change.
    """
    if isinstance(parameters, str):
        parameters = (parameters,)
    if window <= timedelta(0):
        raise ValueError("window must be longer than nothing, such as timedelta(days=7)")
    names = tuple(dict.fromkeys(_parameter(name) for name in parameters))
    if len(names) > MAX_DEDUPLICATION_PARAMETERS:
        raise ValueError(
            f"deduplication_parameters: at most {MAX_DEDUPLICATION_PARAMETERS} parameters make a hash, not "
            f"{len(names)}. Choose those that tell one payload from another, such as body.order.id."
        )
    return Deduplication(parameters=names, window=window) if names else None


def plan_launch(
    payload: Payload,
    *,
    caller: Caller,
    scope: str,
    headers: Mapping[str, str],
    deduplication: Deduplication | None,
    now: datetime,
    bounds: Bounds,
) -> Launch:
    """Return the DAG run that a payload becomes. Raises UnstorableJSON, ConfTooLarge, BadDeduplicationHash.

    The hash is part of the run's id, or the whole payload where there is no hash: a task that is cleared
    to send other data triggers anew, one that sends the same doesn't.
    """
    headers = {name.lower(): storable_text(str(value)) for name, value in headers.items()}
    hash_ = None if deduplication is None else _hash(scope, deduplication, payload.value, headers)
    event_id = _event_id(caller, scope, _digest(payload.value) if hash_ is None else hash_)
    configuration = Configuration(headers=tuple(headers))
    conf = build_conf(
        payload.body,
        configuration,
        event_id=event_id,
        integration=scope,
        received_at=now,
        headers=headers,
        max_parameters=bounds.max_parameters,
        max_size=bounds.max_conf,
    )
    if (size := conf_size(conf)) > bounds.max_conf:
        raise ConfTooLarge(size, bounds.max_conf)
    run_id = f"incoming__{_NOT_IN_RUN_IDS.sub('-', scope)[:_LONGEST_IN_RUN_ID]}__{event_id}"
    return Launch(event_id=str(event_id), run_id=run_id, hash=hash_, conf=conf)


def _hash(
    scope: str,
    deduplication: Deduplication,
    payload: dict[str, Any] | list[Any],
    headers: Mapping[str, str],
) -> str | None:
    return fingerprint(
        integration_id=uuid5(_NAMESPACE, f"scope:{scope}"),
        deduplication=deduplication,
        payload=payload,
        headers=headers,
        query="",
    )


def _digest(payload: dict[str, Any] | list[Any]) -> str:
    return sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()


def _event_id(caller: Caller, scope: str, data: str) -> UUID:
    parts = [caller.dag_id, caller.task_id, caller.run_id, caller.map_index, scope, data]
    return uuid5(_NAMESPACE, json.dumps(parts))


def _parameter(name: object) -> str:
    try:
        return validate_passed_parameter(name)
    except ValueError as error:
        raise ValueError(f"deduplication_parameters: {error}") from error
