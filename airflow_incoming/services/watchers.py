"""The watchers of assets that listen to integrations, as Airflow's tables have them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, union

from airflow_incoming.core.conf import EVENT_ID
from airflow_incoming.services import airflow_tables as t

log = logging.getLogger(__name__)

#: How the names of our triggers begin that a watcher may have.
TRIGGERS = "airflow_incoming.triggers.event."
#: What Airflow adds to the extra of asset events that users of its API make.
BY_USERS = "from_rest_api"


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """An asset that has a watcher which listens to an integration."""

    asset_id: int
    asset: str
    integration: str


def watched_assets(connection: Connection, *, dag_id: str | None = None) -> list[Watched]:
    """Return the assets that watchers of ours update, by name; with a DAG id those that schedule the DAG.

    A watcher that can't be read, because the Fernet key is another one, is left out.
    """
    query = (
        select(t.watcher.c.asset_id, t.asset.c.name, t.trigger.c.kwargs)
        .join(t.trigger, t.trigger.c.id == t.watcher.c.trigger_id)
        .join(t.asset, t.asset.c.id == t.watcher.c.asset_id)
        .where(t.trigger.c.classpath.startswith(TRIGGERS, autoescape=True))
        .order_by(t.asset.c.name)
    )
    if dag_id is not None:
        query = query.where(
            t.watcher.c.asset_id.in_(select(t.reference.c.asset_id).where(t.reference.c.dag_id == dag_id))
        )
    found = [
        Watched(asset_id=row.asset_id, asset=row.name, integration=name)
        for row in connection.execute(query)
        if (name := _integration_of(row.kwargs)) is not None
    ]
    return list(dict.fromkeys(found))


def started_by_watchers(connection: Connection) -> dict[str, frozenset[str]]:
    """Return the DAGs that watchers start with the events of each integration, by its name."""
    watched = watched_assets(connection)
    if not watched:
        return {}
    ids = sorted({one.asset_id for one in watched})
    scheduled = (
        select(t.reference.c.asset_id, t.reference.c.dag_id).where(t.reference.c.asset_id.in_(ids)),
        *(
            select(t.asset.c.id, reference.c.dag_id)
            .join(reference, reference.c[column] == t.asset.c[column])
            .where(t.asset.c.id.in_(ids))
            for reference, column in ((t.by_name, "name"), (t.by_uri, "uri"))
        ),
    )
    dags: dict[int, set[str]] = {}
    for asset_id, dag_id in connection.execute(union(*scheduled)):
        dags.setdefault(asset_id, set()).add(dag_id)
    found: dict[str, set[str]] = {}
    for one in watched:
        found.setdefault(one.integration, set()).update(dags.get(one.asset_id, ()))
    return {name: frozenset(dag_ids) for name, dag_ids in found.items()}


def event_named_by(conf: Mapping[str, Any]) -> UUID | None:
    """Return the event that a conf says it is of; None where it says nothing of the kind."""
    named = conf.get(EVENT_ID)
    try:
        return UUID(named) if isinstance(named, str) else None
    except ValueError:
        return None


def _integration_of(kwargs: str) -> str | None:
    # Airflow's models, which receivers have no need to load.
    from airflow.models.trigger import Trigger

    try:
        name = Trigger._decrypt_kwargs(kwargs).get("integration")
    except Exception as error:  # noqa: BLE001  # whatever cryptography and Airflow's serializer say
        _warn(type(error).__name__)
        return None
    return name if isinstance(name, str) else None


@cache
def _warn(reason: str) -> None:
    """Say once that a watcher can't be read: it stays so, and whoever does anything makes us look."""
    log.warning("A watcher's arguments can't be read (%s)", reason)
