"""*Retrieve data* in the metadata database: who listens, what came, and what is kept as the sample.

One row per integration. Whoever changes what a receiver must notice bumps the revision.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import Auth, Configuration, parse_configuration, read_configuration
from airflow_incoming.core.records import Captured, ListenerRecord, Sample
from airflow_incoming.db import tables

log = logging.getLogger(__name__)

_listener = tables.listener
_sample = tables.sample


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenListener:
    """A listener that nothing was captured for, and its integration's newest configuration.

    The configuration has the listener's auth and no deduplication: it only ever looks.
    """

    id: UUID
    listens_until: datetime
    integration_id: UUID
    name: str
    endpoint_id: str
    version_id: UUID
    published: bool
    configuration: Configuration


def put(connection: Connection, record: ListenerRecord, auth: Auth) -> None:
    """Begin to listen; what listened for the integration before is forgotten."""
    remove(connection, record.integration_id)
    connection.execute(
        insert(_listener).values(
            integration_id=record.integration_id,
            id=record.id,
            auth=asdict(auth),
            started_at=record.started_at,
            started_by=record.started_by,
            listens_until=record.listens_until,
        )
    )


def find(connection: Connection, name: str) -> ListenerRecord | None:
    """Return the listener of an integration, without those who were refused."""
    row = connection.execute(_of(_listener, name)).one_or_none()
    return None if row is None else _record(row)


def remove(connection: Connection, integration_id: UUID) -> None:
    """Stop listening, and forget what came."""
    connection.execute(delete(_listener).where(_listener.c.integration_id == integration_id))


def capture(connection: Connection, listener_id: UUID, integration_id: UUID, captured: Captured) -> bool:
    """Keep what came, which ends the listening. Tell whether it was the first, and in time."""
    statement = (
        update(_listener)
        .where(
            _listener.c.integration_id == integration_id,
            _listener.c.id == listener_id,
            _listener.c.captured_at.is_(None),
            _listener.c.listens_until > captured.captured_at,
        )
        .values(
            captured_at=captured.captured_at,
            body=captured.body,
            headers=dict(captured.headers),
            query=captured.query,
            remote=captured.remote,
        )
    )
    return connection.execute(statement).rowcount == 1


def read_open(connection: Connection) -> Iterator[OpenListener]:
    """Yield what listens, or did until a short while ago: look at ``listens_until``."""
    integration, version = tables.integration, tables.version
    columns: list[ColumnElement[Any]] = [
        *(_listener.c.id, _listener.c.integration_id, _listener.c.listens_until, _listener.c.auth),
        *(integration.c.name, integration.c.endpoint_id, integration.c.published_version_id),
        *(version.c.id.label("version_id"), version.c.configuration),
    ]
    query = (
        select(*columns)
        .join(integration, integration.c.id == _listener.c.integration_id)
        .join(version, version.c.id == integration.c.current_version_id)
        .where(_listener.c.captured_at.is_(None))
    )
    for row in connection.execute(query):
        try:
            yield _open(row)
        except InvalidConfiguration as error:
            log.error("Integration %s can't be read, it does not listen: %s", row.name, error)


def purge(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` listeners that ended before this time; return how many."""
    ended = _listener.c.listens_until < before
    ids = connection.scalars(select(_listener.c.integration_id).where(ended).limit(limit)).all()
    if ids:
        # Checked again: it may listen anew since.
        connection.execute(delete(_listener).where(_listener.c.integration_id.in_(ids), ended))
    return len(ids)


def keep_sample(connection: Connection, sample: Sample) -> None:
    """Make this the sample of its integration."""
    drop_sample(connection, sample.integration_id)
    connection.execute(
        insert(_sample).values(
            integration_id=sample.integration_id,
            captured_at=sample.captured_at,
            kept_by=sample.kept_by,
            body=sample.body,
            headers=dict(sample.headers),
            query=sample.query,
        )
    )


def find_sample(connection: Connection, name: str) -> Sample | None:
    """Return the sample of an integration."""
    row = connection.execute(_of(_sample, name)).one_or_none()
    return None if row is None else Sample(**row._mapping)


def drop_sample(connection: Connection, integration_id: UUID) -> None:
    """Forget the sample."""
    connection.execute(delete(_sample).where(_sample.c.integration_id == integration_id))


def forget_integration(connection: Connection, integration_id: UUID) -> None:
    """Remove what is kept here of an integration that is deleted."""
    remove(connection, integration_id)
    drop_sample(connection, integration_id)


def _of(table: Any, name: str) -> Any:
    integration = tables.integration
    return (
        select(table)
        .join(integration, integration.c.id == table.c.integration_id)
        .where(integration.c.name == name)
    )


def _record(row: Row[Any]) -> ListenerRecord:
    return ListenerRecord(
        id=row.id,
        integration_id=row.integration_id,
        started_at=row.started_at,
        started_by=row.started_by,
        listens_until=row.listens_until,
        captured=None if row.captured_at is None else _captured(row),
    )


def _captured(row: Row[Any]) -> Captured:
    return Captured(
        captured_at=row.captured_at,
        body=row.body,
        headers=row.headers,
        query=row.query,
        remote=row.remote,
    )


def _open(row: Row[Any]) -> OpenListener:
    configuration = read_configuration(row.configuration)
    return OpenListener(
        id=row.id,
        listens_until=row.listens_until,
        integration_id=row.integration_id,
        name=row.name,
        endpoint_id=row.endpoint_id,
        version_id=row.version_id,
        published=row.published_version_id is not None,
        configuration=replace(configuration, auth=_auth(row.auth), deduplication=None),
    )


def _auth(shape: Mapping[str, Any]) -> Auth:
    return parse_configuration({"auth": {name: value for name, value in shape.items() if value}}).auth
