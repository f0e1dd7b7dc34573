"""The teams that DAGs belong to, where Airflow has several (``[core] multi_team``).

Which team a DAG belongs to may change, and a DAG that isn't there has none: so what was bound is
remembered with the version that is published, and looked at once more when a run is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from airflow_incoming.core.errors import DispatchFailed
from airflow_incoming.services import airflow_tables as t

#: Whichever team will have a DAG: somebody trusted has bound it before it was there. No team is called so.
ANY = "*"

#: By DAG id; None where a DAG belongs to none. DAGs that aren't there are left out.
Teams = Mapping[str, "str | None"]


def enabled() -> bool:
    """Tell whether Airflow has teams."""
    # Airflow's configuration, which receivers read elsewhere.
    from airflow.configuration import conf

    return bool(conf.getboolean("core", "multi_team", fallback=False))


def teams_of(connection: Connection, dag_ids: Collection[str]) -> dict[str, str | None]:
    """Return the teams of those DAGs that are there."""
    query = (
        select(t.dag.c.dag_id, t.bundle_team.c.team_name)
        .outerjoin(t.bundle_team, t.bundle_team.c.dag_bundle_name == t.dag.c.bundle_name)
        .where(t.dag.c.dag_id.in_(sorted(set(dag_ids))))
    )
    return {row.dag_id: row.team_name for row in connection.execute(query)}


def binding(connection: Connection, dag_ids: Collection[str]) -> dict[str, str | None] | None:
    """Return what to remember of DAGs that are published now; None where Airflow has no teams."""
    if not enabled():
        return None
    found = teams_of(connection, dag_ids)
    return {dag_id: found.get(dag_id, ANY) for dag_id in dag_ids}


def is_bound(dag_id: str, team: str | None, bound: Teams | None) -> bool:
    """Tell whether a DAG has the team that it had when its integration was published.

    ``bound`` is what :func:`binding` gave then; None where nobody has looked, which isn't enough.
    """
    return bound is not None and dag_id in bound and bound[dag_id] in (ANY, team)


def expect_bound(dag_id: str, team: str | None, bound: Teams | None) -> None:
    """Raise DispatchFailed unless a DAG is bound: see :func:`is_bound`."""
    if not is_bound(dag_id, team, bound):
        raise DispatchFailed(
            f"DAG {dag_id!r} belongs to another team than when its integration was published. Let somebody"
            " who may trigger it publish the integration again, then replay this.",
            retry=False,
        )
