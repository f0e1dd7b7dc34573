"""The events of one integration that are still to be dispatched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select

from airflow_incoming.core.records import PENDING_STATES, Integration
from airflow_incoming.db import tables

_event = tables.event


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """How many events of one integration still wait, are tried again, or are held."""

    waiting: int
    failed: int
    held: int

    @property
    def total(self) -> int:
        """Return how many there are in all."""
        return self.waiting + self.failed + self.held


def count(connection: Connection, integration: Integration) -> Pending:
    """Count them by state."""
    query = select(_event.c.state, func.count()).where(
        _event.c.integration == integration.name,  # for the index
        _event.c.integration_id == integration.id,
        _event.c.state.in_(PENDING_STATES),
    )
    query = query.group_by(_event.c.state)
    counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    return Pending(
        waiting=counts.get("accepted", 0), failed=counts.get("failed", 0), held=counts.get("held", 0)
    )


def version_among(connection: Connection, name: str, versions: Iterable[UUID]) -> UUID | None:
    """Return one of these versions of an integration under which some of them run; None where none does."""
    of = (_event.c.integration == name, _event.c.state.in_(PENDING_STATES))  # for the index
    query = select(_event.c.version_id).where(*of, _event.c.version_id.in_(list(versions)))
    return connection.scalar(query.limit(1))
