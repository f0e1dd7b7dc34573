"""Whose hashes are in Redis: those of this very database, and of none that began as its copy.

Each database keeps its hashes in Redis under a name of its own. A clone knows the same name, and so does what
was restored from a backup, though events are missing there that Redis knows. So the database and Redis both
keep a *witness*, too, which changes every few seconds. Where Redis has none that the database
knows, somebody else has gone on under our name, or Redis has lost something: we take a new name, under which
nothing is known yet, and the claims in the database decide.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select, update

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.db import tables
from airflow_incoming.db.engine import insert_new
from airflow_incoming.stores.redis_connection import ask

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

log = logging.getLogger(__name__)

#: A name that nobody has attended to for so long isn't trusted.
UNATTENDED = timedelta(seconds=30)
#: Dispatchers do that more often than this; where none does, receivers do it themselves.
ATTENDED_TO = timedelta(seconds=5)

_installation = tables.installation


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A name in Redis, and the witness that it is ours.

    ``attended_at`` is when Redis was last seen to have it; None while Redis is out of reach.
    """

    name: str
    witness: str
    attended_at: datetime | None

    def is_attended(self, now: datetime, *, within: timedelta = UNATTENDED) -> bool:
        """Tell whether the witness was seen lately."""
        return self.attended_at is not None and now - self.attended_at < within


class RedisWitnesses:
    """One witness for each name, ``<prefix>:<name>:witness``. Raises RedisUnavailable."""

    def __init__(self, client: Client, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def read(self, name: str) -> str | None:
        """Return what is kept for a name."""
        (answer,) = ask(self._client, [("GET", self._key(name))])
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer

    def write(self, name: str, witness: str) -> None:
        """Keep a witness for a name."""
        ask(self._client, [("SET", self._key(name), witness)])

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}:witness"


def read(connection: Connection) -> Installation | None:
    """Return this database's; None before it was ever beside a Redis."""
    row = connection.execute(select(_installation)).one_or_none()
    return None if row is None else _of(row)


def read_with_revision(connection: Connection) -> tuple[int, Installation | None]:
    """Return it with the number that grows with each change, 0 before the first: what receivers ask for."""
    joined = tables.revision.outerjoin(_installation, _installation.c.id == tables.revision.c.id)
    query = select(tables.revision.c.value, *_installation.c).select_from(joined)
    row = connection.execute(query).one_or_none()
    if row is None:
        return 0, None
    return row.value, None if row.name is None else _of(row)


def attend(connection: Connection, witnesses: RedisWitnesses, *, now: datetime) -> None:
    """Look whether Redis has our witness, and change it; take another name where it hasn't.

    Redis is asked while the row is locked: two processes with one database never look like two databases.
    """
    row = _lock(connection)
    if row is None:  # somebody else is at it
        return
    # What may have reached Redis without an answer is kept as pending, and known again.
    new = row.pending or _random()
    changed: dict[str, Any]
    try:
        name = _checked(row, witnesses.read(row.name))
        witnesses.write(name, new)
        changed = {"name": name, "witness": new, "pending": None, "attended_at": now}
    except RedisUnavailable:
        changed = {"pending": new, "attended_at": None}
    connection.execute(update(_installation).values(changed))


def _of(row: Row[Any]) -> Installation:
    return Installation(name=row.name, witness=row.witness, attended_at=row.attended_at)


def _lock(connection: Connection) -> Row[Any] | None:
    query = select(_installation).with_for_update(skip_locked=True)
    row = connection.execute(query).one_or_none()
    if row is None and read(connection) is None:
        first = {"id": 1, "name": _random(), "witness": _random()}
        connection.execute(insert_new(connection, _installation), first)
        row = connection.execute(query).one_or_none()
    return row


def _checked(row: Row[Any], seen: str | None) -> str:
    """Return under which name to go on, by what Redis has."""
    if seen is not None and seen in (row.witness, row.pending):
        return str(row.name)
    name = _random()
    if seen is not None:
        log.warning(
            "Another database has used this one's name in Redis (%s): a clone of it, or this one was "
            "restored from a backup. It goes on as %s, and decides alone about what was sent before.",
            row.name,
            name,
        )
    return name


def _random() -> str:
    return secrets.token_hex(6)
