"""The conditions of DAGs that assets schedule: any of them, all of them, as Airflow stores it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from airflow_incoming.services import airflow_tables as t


def is_met(connection: Connection, dag_id: str, asset_ids: Collection[int]) -> bool:
    """Tell whether these assets alone are enough to start a DAG; an alias is none of them."""
    expression = connection.scalar(select(t.dag.c.asset_expression).where(t.dag.c.dag_id == dag_id))
    uris = connection.scalars(select(t.asset.c.uri).where(t.asset.c.id.in_(sorted(asset_ids))))
    return holds(expression, set(uris))


def holds(expression: Any, uris: Collection[str]) -> bool:
    """Tell whether a condition holds where the assets of these URIs have come."""
    match expression:
        case {"any": [*parts]}:
            return any(holds(part, uris) for part in parts)
        case {"all": [*parts]}:
            return all(holds(part, uris) for part in parts)
        case {"asset": {"uri": uri}}:
            return uri in uris
        case _:
            return False
