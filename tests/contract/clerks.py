"""People who may start some things and not others, and what Airflow's tables say that they ask about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.trigger import Trigger
from sqlalchemy import Engine, insert

from tests.contract.samples import NOW

TABLES = (
    "team",
    "trigger",
    "asset",
    "asset_watcher",
    "dag_bundle",
    "dag_bundle_team",
    "dag",
    "dag_schedule_asset_reference",
    "dag_schedule_asset_name_reference",
    "dag_schedule_asset_uri_reference",
)


@dataclass
class Clerk:
    """Somebody who may trigger these DAGs and no others; remembers what they were asked.

    Where ``teams`` are given, only as DAGs of these.
    """

    dags: frozenset[str] = frozenset()
    assets: bool = False
    name: str = "clerk"
    is_trusted: bool = False
    teams: frozenset[str | None] | None = None
    asked: list[str] = field(default_factory=list)

    def triggerable(self, dag_ids: Iterable[str], teams: Mapping[str, str | None] | None = None) -> set[str]:
        wanted = set(dag_ids)
        self.asked += sorted(wanted)
        if teams is not None:
            wanted = {dag_id for dag_id in wanted if self.teams is None or teams[dag_id] in self.teams}
        return wanted & self.dags

    def may_emit_assets(self) -> bool:
        return self.assets


class Airflow:
    """Those of Airflow's tables that rights are about."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids = 0
        assert DagModel.metadata is Base.metadata  # the models know the tables, once they are imported
        Base.metadata.create_all(engine, tables=[Base.metadata.tables[name] for name in TABLES])

    def deploy(self, *dag_ids: str, team: str | None = None, bundle: str | None = None) -> None:
        """Let DAGs be there, those of a team in a bundle of that team."""
        bundle = bundle or f"bundle-of-{team}-{dag_ids[0]}"
        self._insert("dag_bundle", name=bundle)
        if team is not None:
            self._insert("team", name=team)
            self._insert("dag_bundle_team", dag_bundle_name=bundle, team_name=team)
        for dag_id in dag_ids:
            self._insert(
                "dag",
                dag_id=dag_id,
                bundle_name=bundle,
                max_active_tasks=1,
                max_consecutive_failed_dag_runs=0,
                has_task_concurrency_limits=False,
            )

    def move(self, dag_id: str, team: str) -> None:
        """Let a DAG be in a bundle of another team."""
        table = Base.metadata.tables["dag"]
        self._insert("dag_bundle", name=f"new-{team}")
        self._insert("team", name=team)
        self._insert("dag_bundle_team", dag_bundle_name=f"new-{team}", team_name=team)
        with self._engine.begin() as connection:
            connection.execute(
                table.update().where(table.c.dag_id == dag_id).values(bundle_name=f"new-{team}")
            )

    def watch(self, integration: str, dag_id: str, *, by: str = "asset") -> None:
        """Let an asset that starts a DAG have a watcher that listens to an integration."""
        self._ids += 1
        uri = f"incoming://{integration}-{self._ids}"
        self._insert("asset", id=self._ids, name=f"name-{self._ids}", uri=uri)
        kwargs = Trigger.encrypt_kwargs({"integration": integration})
        path = "airflow_incoming.triggers.event.IncomingEventTrigger"
        self._insert("trigger", id=self._ids, classpath=path, kwargs=kwargs, created_date=NOW)
        self._insert("asset_watcher", name="any", asset_id=self._ids, trigger_id=self._ids)
        if by == "asset":
            now = {"created_at": NOW, "updated_at": NOW}
            self._insert("dag_schedule_asset_reference", asset_id=self._ids, dag_id=dag_id, **now)
        elif by == "name":
            name = f"name-{self._ids}"
            self._insert("dag_schedule_asset_name_reference", name=name, dag_id=dag_id, created_at=NOW)
        else:
            self._insert("dag_schedule_asset_uri_reference", uri=uri, dag_id=dag_id, created_at=NOW)

    def _insert(self, table: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(Base.metadata.tables[table]).values(**values))
