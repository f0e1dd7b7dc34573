"""Looks at what integrations start: are the DAGs and assets there, and did runs get what came for them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.records import Integration, Version
from airflow_incoming.db.engine import reading
from airflow_incoming.services import teams
from airflow_incoming.services.findings import Finding
from airflow_incoming.stores import integrations

#: A scheduler and a dispatcher that work need less for an asset event to be in a run.
PROMPT = timedelta(minutes=1)


def targets(engine: Engine) -> Iterator[Finding]:
    """Tell which targets of published integrations can't be started now."""
    from airflow_incoming.services.asset_catalog import active_assets
    from airflow_incoming.services.dag_catalog import dag_states

    with Session(engine) as session:
        live = published(session.connection())
        dag_ids = {dag for found in live for dag in _configuration(found).dags}
        asset_uris = {asset for found in live for asset in _configuration(found).assets}
        states = dag_states(session, dag_ids)
        assets = active_assets(session, asset_uris)
        owners = teams.teams_of(session.connection(), dag_ids) if teams.enabled() else {}
        bound = integrations.read_teams(session.connection(), [_published(found).id for found in live])
    for found in live:
        remembered = bound.get(_published(found).id)
        for dag_id in _configuration(found).dags:
            state = states.get(dag_id)
            if state is None or state.stale:
                problem = "doesn't exist; events wait for it"
            elif state.import_errors:
                problem = "has import errors; events wait until it is repaired"
            elif dag_id in owners and remembered is None:
                problem = "had no team yet when this was published; events wait, publish it again"
            elif dag_id in owners and not teams.is_bound(dag_id, owners[dag_id], remembered):
                problem = "belongs to another team than when this was published; publish it again"
            elif state.paused:
                problem = "is paused; its runs start when it is unpaused"
            else:
                continue
            yield Finding("targets", "warning", f"{found.name}: DAG {dag_id} {problem}.")
        for uri in _configuration(found).assets:
            if uri not in assets:
                yield Finding(
                    "targets", "warning", f"{found.name}: no DAG names asset {uri}; events wait for one."
                )


def asset_events(engine: Engine, now: datetime) -> Iterator[Finding]:
    """Tell which asset events of ours no run has yet: of which asset, how many, since when, and why.

    And what nobody knows yet, because no dispatcher has looked.
    """
    from airflow_incoming.services.consumers.outlook import COUNTED, arrears, unseen

    with reading(engine) as connection:
        waiting = [one for one in arrears(connection) if one.is_blocked or now - one.since > PROMPT]
        new = unseen(connection)
    if new is not None:
        number = f"{new[0]} or more" if new[0] >= COUNTED else str(new[0])
        yield Finding(
            "asset events",
            "warning" if now - new[1] > PROMPT else "ok",
            f"Asset events that no dispatcher has looked at yet: {number}, since {new[1]:%F %T} UTC.",
        )
    for one in waiting:
        number = "1 asset event" if one.count == 1 else f"{one.count} asset events"
        yield Finding(
            "asset events",
            "warning",
            f"{number} of asset {one.asset} no run of DAG {one.dag_id} has yet, since"
            f" {one.since:%F %T} UTC: {one.reason}.",
        )
    if not waiting and new is None:
        yield Finding("asset events", "ok", "Every asset event that came is in a run.")


def published(connection: Connection) -> list[Integration]:
    """Return the integrations that are live."""
    return [found for found in integrations.list_all(connection) if found.published is not None]


def _configuration(integration: Integration) -> Configuration:
    return _published(integration).configuration


def _published(integration: Integration) -> Version:
    assert integration.published is not None
    return integration.published
