"""The tabs that Airflow shows on a DAG and on a DAG run: what came in for it."""

from __future__ import annotations

import re
from uuid import UUID

import flask
from flask.typing import ResponseReturnValue

from airflow_incoming.core.errors import NotFound
from airflow_incoming.core.messages import Started
from airflow_incoming.core.records import Integration
from airflow_incoming.services.replay import Whole
from airflow_incoming.stores.events import Criteria
from airflow_incoming.web.access import Permission
from airflow_incoming.web.views.event_parts import parts_of
from airflow_incoming.web.views.events import rows_context
from airflow_incoming.web.views.page import ROOT, Page, expose, needs, visitor
from airflow_incoming.web.views.veiling import veiled

SHOWN = 10

#: What ``services.launch`` calls the runs that it makes.
_OUR_RUN = re.compile(r"incoming__[a-z0-9][a-z0-9_-]*__([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class DagTabs(Page):
    """Shown inside Airflow's page of a DAG or of a run, so without tabs of our own."""

    route_base = f"{ROOT}/dag"

    @expose("/<dag_id>", methods=("GET",))
    @needs(Permission.READ_EVENTS, Permission.READ_INTEGRATIONS)
    def dag(self, dag_id: str) -> ResponseReturnValue:
        """Show the integrations that start a DAG, and their last events."""
        _check(dag_id)
        desk = self.services.events()
        listed = self.services.manager().list()
        names = desk.starters(dag_id, {each.name: _targets(each) for each in listed})
        integrations = [each for each in listed if each.name in names]
        events = {
            each.name: list(
                veiled(visitor(), desk, desk.find(Criteria(integration=each.name, limit=SHOWN)).events)
            )
            for each in integrations
        }
        shown = [event for some in events.values() for event in some]
        return self.show(
            "tabs/dag.html",
            embedded=True,
            dag_id=dag_id,
            integrations=integrations,
            events=events,
            **rows_context(desk, self.services.manager().list, shown),
        )

    @expose("/<dag_id>/<path:run_id>", methods=("GET",))
    @needs(Permission.READ_EVENTS)
    def run(self, dag_id: str, run_id: str) -> ResponseReturnValue:
        """Show the event that started a run, or the several whose asset events did."""
        _check(dag_id)
        starters = self._starters(dag_id, run_id)
        return self.show(
            "tabs/run.html",
            embedded=True,
            dag_id=dag_id,
            run_id=run_id,
            starters=[(whole, parts_of(whole.record), watched) for whole, watched in starters[:SHOWN]],
            more=len(starters) > SHOWN,
            may_read_assets=visitor().may_read_assets(),
        )

    def _starters(self, dag_id: str, run_id: str) -> list[tuple[Whole, list[str]]]:
        """Return the events that say that they started the run: anybody may choose a run id like ours.

        Each with the assets whose watchers have brought it.
        """
        desk = self.services.events()
        found = _OUR_RUN.fullmatch(run_id)
        if found is None:
            behind = desk.behind_assets(dag_id, run_id, limit=SHOWN + 1)
            return [(desk.whole(each), watched) for each, watched in behind.items()]
        try:
            whole = desk.whole(UUID(found[1]))
        except NotFound:
            return []
        return [(whole, [])] if Started(dag_id=dag_id, run_id=run_id) in whole.record.started else []


def _check(dag_id: str) -> None:
    if dag_id not in visitor().readable_dags([dag_id]):
        flask.abort(403, description=f"You may not look at the DAG {dag_id!r}.")


def _targets(integration: Integration) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the DAGs and assets of an integration's newest and published version."""
    versions = [each.configuration for each in (integration.current, integration.published) if each]
    dags = tuple(dict.fromkeys(dag for each in versions for dag in each.dags))
    assets = tuple(dict.fromkeys(asset for each in versions for asset in each.assets))
    return dags, assets
