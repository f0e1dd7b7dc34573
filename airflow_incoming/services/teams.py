"""The teams that DAGs belong to, where Airflow has several (``[core] multi_team``).

Which team a DAG belongs to may change, and a DAG that isn't there has none: so what was bound is
remembered with the version that is published, and looked at once more when a run is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

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


def present(connection: Connection, dag_ids: Collection[str]) -> Teams | None:
    """Return the teams of those DAGs that are there; None where Airflow has no teams."""
    return teams_of(connection, dag_ids) if enabled() else None


def is_bound(dag_id: str, team: str | None, bound: Teams | None) -> bool:
    """Tell whether a DAG has the team that it had when its integration was published.

    ``bound`` is what was remembered then; None where Airflow had no teams, or this release knew of none.
    """
    return bound is not None and dag_id in bound and bound[dag_id] in (ANY, team)


def awaited(version_id: UUID) -> str:
    """Return what events of a version wait for that remembers no teams: somebody who publishes."""
    return f"teams:{version_id}"


def expect_bound(dag_id: str, team: str | None, bound: Teams | None, version_id: UUID) -> None:
    """Raise DispatchFailed unless a DAG is bound: see :func:`is_bound`."""
    remedy = "Let somebody who may trigger it publish the integration again"
    if bound is None:
        raise DispatchFailed(
            f"Which team DAG {dag_id!r} had when its integration was published isn't known: Airflow had no"
            f" teams then. {remedy}; this waits for it.",
            retry=True,
            waiting_for=awaited(version_id),
        )
    if not is_bound(dag_id, team, bound):
        raise DispatchFailed(
            f"DAG {dag_id!r} belongs to another team than when its integration was published. {remedy},"
            " then replay this.",
            retry=False,
        )
