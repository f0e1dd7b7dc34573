"""The events of one integration that are still to be dispatched."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select

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
    query = select(_event.c.state, func.count()).where(*_of(integration)).group_by(_event.c.state)
    counts: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    return Pending(
        waiting=counts.get("accepted", 0), failed=counts.get("failed", 0), held=counts.get("held", 0)
    )


def versions(connection: Connection, integration: Integration) -> set[UUID]:
    """Return the versions that they run under."""
    return set(connection.scalars(select(_event.c.version_id).where(*_of(integration)).distinct()))


def _of(integration: Integration) -> tuple[ColumnElement[bool], ...]:
    return (
        _event.c.integration == integration.name,  # for the index
        _event.c.integration_id == integration.id,
        _event.c.state.in_(PENDING_STATES),
    )
