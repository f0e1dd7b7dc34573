"""What a change expects to find in its transaction, and who is told what where it doesn't."""

from __future__ import annotations

from sqlalchemy import Connection

from airflow_incoming.core.errors import Conflict, NotFound
from airflow_incoming.core.records import Integration, Version
from airflow_incoming.stores import integrations


def existing(connection: Connection, name: str) -> Integration:
    """Return an integration, locked until the transaction ends. Raises NotFound."""
    found = integrations.find(connection, name, lock=True)
    if found is None:
        raise no_integration(name)
    return found


def existing_version(connection: Connection, integration: Integration, number: int) -> Version:
    """Return a version of an integration. Raises NotFound."""
    version = integrations.find_version(connection, integration.id, number)
    if version is None:
        raise NotFound("version", str(number), f"Look at the versions of {integration.name}.")
    return version


def expect_newest(found: Integration, number: int) -> None:
    """Raise Conflict where another version than this one is the newest."""
    newest = found.current
    if newest.number != number:
        raise Conflict(f"{newest.created_by} saved version {newest.number} of {found.name!r} meanwhile.")


def no_integration(name: str) -> NotFound:
    """Return the error that says which integration isn't there."""
    return NotFound("integration", name, "List them with: airflow incoming list")
