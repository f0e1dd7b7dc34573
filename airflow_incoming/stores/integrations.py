"""Integrations and their versions in the metadata database.

Every verb takes the caller's open transaction, so that a file of integrations is applied whole or
not at all. Whoever changes something a receiver must notice calls :func:`bump` in it.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from airflow.utils.sqlalchemy import UtcDateTime
from sqlalchemy import Connection, Row, Select, delete, func, insert, literal, select, update

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import (
    Configuration,
    configuration_to_dict,
    read_configuration,
)
from airflow_incoming.core.records import Integration, Version
from airflow_incoming.db import tables

log = logging.getLogger(__name__)


def bump(connection: Connection) -> None:
    """Make every process notice, within a second, what this transaction changes."""
    table = tables.revision
    changed = connection.execute(update(table).values(value=table.c.value + 1))
    if changed.rowcount == 0:
        connection.execute(insert(table).values(id=1, value=1))


def find(connection: Connection, name: str, *, lock: bool = False) -> Integration | None:
    """Return the integration of this name; with ``lock`` nobody else changes it meanwhile."""
    query = _query().where(tables.integration.c.name == name)
    if lock and connection.dialect.name != "sqlite":
        query = query.with_for_update(of=tables.integration)
    row = connection.execute(query).one_or_none()
    return None if row is None else _integration(row)


def list_all(connection: Connection, names: Iterable[str] | None = None) -> list[Integration]:
    """Return all integrations, or those of the given names, by name."""
    query = _query().order_by(tables.integration.c.name)
    if names is not None:
        query = query.where(tables.integration.c.name.in_(list(names)))
    return [_integration(row) for row in connection.execute(query)]


def read_names(connection: Connection) -> list[str]:
    """Return the names of all integrations, drafts too."""
    return list(connection.scalars(select(tables.integration.c.name)))


def read_live(connection: Connection) -> tuple[list[Integration], set[str]]:
    """Return the published integrations, and the endpoint ids of those that this release can't read.

    A newer release may have written what an older one doesn't know; that closes one endpoint, not all.
    """
    live, unreadable = [], set()
    for row in connection.execute(_query().where(tables.integration.c.published_version_id.is_not(None))):
        try:
            live.append(_integration(row))
        except InvalidConfiguration as error:
            log.error("Integration %s can't be read, its endpoint answers 503: %s", row.name, error)
            unreadable.add(row.endpoint_id)
    return live, unreadable


def create(
    connection: Connection, name: str, configuration: Configuration, *, now: datetime, by: str
) -> Integration:
    """Create a draft with a new endpoint id (base32 of 128 random bits)."""
    integration_id = uuid4()
    version = _insert_version(connection, integration_id, 1, configuration, now=now, by=by)
    endpoint_id = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    connection.execute(
        insert(tables.integration).values(
            id=integration_id,
            name=name,
            endpoint_id=endpoint_id,
            suspended=False,
            current_version_id=version.id,
            created_at=now,
            updated_at=now,
        )
    )
    return Integration(
        id=integration_id,
        name=name,
        endpoint_id=endpoint_id,
        suspended=False,
        current=version,
        published=None,
        created_at=now,
        updated_at=now,
    )


def save_version(
    connection: Connection, integration: Integration, configuration: Configuration, *, now: datetime, by: str
) -> Version:
    """Add a version and make it the newest; what is published stays published."""
    table = tables.version
    last = connection.scalar(select(func.max(table.c.number)).where(table.c.integration_id == integration.id))
    version = _insert_version(connection, integration.id, (last or 0) + 1, configuration, now=now, by=by)
    _update(connection, integration.id, now, current_version_id=version.id)
    return version


def versions(connection: Connection, integration_id: UUID, *, limit: int) -> list[Version]:
    """Return the newest versions, newest first, without those that this release can't read."""
    table = tables.version
    query = select(table).where(table.c.integration_id == integration_id)
    found = []
    for row in connection.execute(query.order_by(table.c.number.desc()).limit(limit)):
        with suppress(InvalidConfiguration):
            found.append(_version_of(row))
    return found


def find_version(connection: Connection, integration_id: UUID, number: int) -> Version | None:
    """Return the version of this number. Raises InvalidConfiguration where this release can't read it."""
    table = tables.version
    query = select(table).where(table.c.integration_id == integration_id, table.c.number == number)
    row = connection.execute(query).one_or_none()
    return None if row is None else _version_of(row)


def set_published(
    connection: Connection, integration_id: UUID, version_id: UUID | None, *, suspended: bool, now: datetime
) -> None:
    """Make a version live (None: no version is)."""
    # What is live already is so since it first was.
    since = func.coalesce(tables.integration.c.published_at, literal(now, UtcDateTime))
    _update(
        connection,
        integration_id,
        now,
        published_version_id=version_id,
        suspended=suspended,
        published_at=None if version_id is None else since,
    )


def remove(connection: Connection, integration_id: UUID) -> None:
    """Remove an integration. Its versions stay: accepted events still run under them."""
    connection.execute(delete(tables.integration).where(tables.integration.c.id == integration_id))


def read_configurations(connection: Connection, version_ids: Iterable[UUID]) -> dict[UUID, Configuration]:
    """Return the configurations of versions, without those that this release can't read."""
    table = tables.version
    rows = connection.execute(
        select(table.c.id, table.c.configuration).where(table.c.id.in_(list(version_ids)))
    )
    configurations = {}
    for row in rows:
        with suppress(InvalidConfiguration):
            configurations[row.id] = read_configuration(row.configuration)
    return configurations


def all_configurations(connection: Connection, integration_id: UUID) -> dict[UUID, Configuration | None]:
    """Return those of all versions of an integration; None for one that this release can't read."""
    table = tables.version
    query = select(table.c.id, table.c.configuration).where(table.c.integration_id == integration_id)
    return {row.id: _readable(row.configuration) for row in connection.execute(query)}


def versions_naming(connection: Connection, field: str, value: str) -> dict[str, list[Configuration | None]]:
    """Return the configurations of all versions whose authentication has this value in a field.

    By the integration's name; None for one that this release can't read.
    """
    version, table = tables.version, tables.integration
    query = (
        select(table.c.name, version.c.configuration)
        .join(table, table.c.id == version.c.integration_id)
        .where(version.c.configuration["auth"][field].as_string() == value)
    )
    found: dict[str, list[Configuration | None]] = {}
    for row in connection.execute(query):
        found.setdefault(row.name, []).append(_readable(row.configuration))
    return found


def remember_teams(connection: Connection, version_id: UUID, teams: Mapping[str, str | None]) -> None:
    """Remember which teams the DAGs of a version had when it was published."""
    connection.execute(update(tables.version).where(tables.version.c.id == version_id).values(teams=teams))


def read_teams(connection: Connection, version_ids: Iterable[UUID]) -> dict[UUID, dict[str, str | None]]:
    """Return these, for versions of which they are remembered."""
    table = tables.version
    query = select(table.c.id, table.c.teams).where(table.c.id.in_(list(version_ids)))
    return {row.id: row.teams for row in connection.execute(query) if row.teams is not None}


def longest_windows(connection: Connection, integration_ids: Iterable[UUID]) -> dict[UUID, timedelta]:
    """Return for how long integrations remember hashes: by the newest or the published version of each."""
    table = tables.integration
    query = select(table.c.id, table.c.current_version_id, table.c.published_version_id)
    rows = connection.execute(query.where(table.c.id.in_(list(integration_ids))))
    owners = {version_id: row.id for row in rows for version_id in row[1:] if version_id is not None}
    windows: dict[UUID, timedelta] = {}
    for version_id, configuration in read_configurations(connection, owners).items():
        if (deduplication := configuration.deduplication) is not None:
            owner = owners[version_id]
            windows[owner] = max(windows.get(owner, deduplication.window), deduplication.window)
    return windows


def key_users(connection: Connection, key_name: str) -> list[str]:
    """Return the names of integrations whose newest or published version names an API key."""
    return [
        integration.name
        for integration in list_all(connection)
        if any(
            version is not None and version.configuration.auth.api_key == key_name
            for version in (integration.current, integration.published)
        )
    ]


def _readable(configuration: Any) -> Configuration | None:
    with suppress(InvalidConfiguration):
        return read_configuration(configuration)
    return None


def _update(connection: Connection, integration_id: UUID, now: datetime, **values: Any) -> None:
    table = tables.integration
    connection.execute(update(table).where(table.c.id == integration_id).values(updated_at=now, **values))


def _insert_version(
    connection: Connection,
    integration_id: UUID,
    number: int,
    configuration: Configuration,
    *,
    now: datetime,
    by: str,
) -> Version:
    version = Version(id=uuid4(), number=number, configuration=configuration, created_at=now, created_by=by)
    connection.execute(
        insert(tables.version).values(
            id=version.id,
            integration_id=integration_id,
            number=number,
            configuration=configuration_to_dict(configuration),
            created_at=now,
            created_by=by,
        )
    )
    return version


def _query() -> Select[Any]:
    current = tables.version.alias("current_version")
    published = tables.version.alias("published_version")
    columns = [
        column.label(f"{prefix}_{column.name}")
        for prefix, alias in (("current", current), ("published", published))
        for column in alias.c
    ]
    table = tables.integration
    return (
        select(table, *columns)
        .join(current, current.c.id == table.c.current_version_id)
        .outerjoin(published, published.c.id == table.c.published_version_id)
    )


def _integration(row: Row[Any]) -> Integration:
    fields = row._mapping
    current = _version(fields, "current")
    assert current is not None  # an inner join
    return Integration(
        id=row.id,
        name=row.name,
        endpoint_id=row.endpoint_id,
        suspended=row.suspended,
        current=current,
        published=_version(fields, "published"),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _version_of(row: Row[Any]) -> Version:
    return Version(
        id=row.id,
        number=row.number,
        configuration=read_configuration(row.configuration),
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _version(fields: Any, prefix: str) -> Version | None:
    if fields[f"{prefix}_id"] is None:
        return None
    return Version(
        id=fields[f"{prefix}_id"],
        number=fields[f"{prefix}_number"],
        configuration=read_configuration(fields[f"{prefix}_configuration"]),
        created_at=fields[f"{prefix}_created_at"],
        created_by=fields[f"{prefix}_created_by"],
    )
