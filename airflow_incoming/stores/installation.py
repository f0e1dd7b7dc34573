"""Whose hashes are in Redis: those of this very database, and of none that began as its copy.

Each database keeps its hashes in Redis under a name of its own. A clone knows the same name, and so does what
was restored from a backup, though events are missing there that Redis knows. So the database and Redis both
keep a *witness*, too, which changes every few seconds. Where Redis has none that the database
knows, somebody else has gone on under our name, or Redis has lost something: we take a new name, under which
nothing is known yet, and the claims in the database decide. That is so where Redis went back in time, too:
its older hashes are true, but for those that were forgotten since.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, func, select, update

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.db import tables
from airflow_incoming.db.engine import clock_of, insert_new, transaction
from airflow_incoming.stores.redis_connection import ask

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

log = logging.getLogger(__name__)

#: A name that nobody has attended to for so long isn't trusted.
UNATTENDED = timedelta(seconds=30)
#: Dispatchers do that more often than this; where none does, receivers do it themselves.
ATTENDED_TO = timedelta(seconds=5)
#: How often somebody else of ours may be quicker before a look is given up.
_ATTEMPTS = 3

#: KEYS: a name's witness. ARGV: what it becomes, and what it may be now. Returns what it was, and whether it
#: was changed: a full Redis refuses that, and what it was is no less true.
_CHANGE = """
local held = redis.call('GET', KEYS[1]) or ''
for i = 2, #ARGV do
    if held == ARGV[i] then
        local done = redis.pcall('SET', KEYS[1], ARGV[1])
        if not done.err then return {held, 1} end
        if not string.find(done.err, 'OOM') then return done end
    end
end
return {held, 0}
"""
#: KEYS: when each name was last attended to, by the clock of Redis. ARGV: the name.
_NOTE = "return redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])"
#: KEYS: the same. ARGV: a number of seconds. Returns names that were attended to within them.
_NOTED = "return redis.call('ZRANGEBYSCORE', KEYS[1], redis.call('TIME')[1] - ARGV[1], '+inf')"

_installation = tables.installation


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A name in Redis, and the witness that it is ours.

    ``age`` is how long ago Redis was last seen to have it, by the database's clock, which is the same for all
    hosts; None while Redis is out of reach.
    """

    name: str
    witness: str
    age: timedelta | None

    def is_attended(self, *, within: timedelta = UNATTENDED) -> bool:
        """Tell whether the witness was seen lately; after a failover the database's clock may be another."""
        return self.age is not None and abs(self.age) < within


class RedisWitnesses:
    """One witness for each name, ``<prefix>:<name>:witness``. Raises RedisUnavailable."""

    def __init__(self, client: Client, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._names = f"{prefix}:installations"

    def change(self, name: str, new: str, known: Collection[str]) -> tuple[str, bool]:
        """Change the witness of a name if it is one of those that are known, ``""`` for none.

        Returns what it was, and whether it was changed.
        """
        command = ("EVAL", _CHANGE, 1, f"{self._prefix}:{name}:witness", new, *known)
        ((seen, is_changed),) = ask(self._client, [command])
        if is_changed:
            with suppress(RedisUnavailable):  # it is for people alone, and elsewhere in a cluster
                ask(self._client, [("EVAL", _NOTE, 1, self._names, name)])
        return seen.decode(errors="replace"), bool(is_changed)

    def others(self, name: str) -> list[str]:
        """Return under which other names databases use this Redis and prefix now."""
        command = ("EVAL", _NOTED, 1, self._names, int(UNATTENDED.total_seconds()))
        (names,) = ask(self._client, [command])
        return sorted({each.decode(errors="replace") for each in names} - {name})


def read(connection: Connection) -> Installation | None:
    """Return this database's; None before it was ever beside a Redis."""
    row = connection.execute(select(_installation, clock_of(connection))).one_or_none()
    return None if row is None else _of(row)


def read_with_revision(connection: Connection) -> tuple[int, Installation | None]:
    """Return it with the number that grows with each change, 0 before the first: what receivers ask for."""
    joined = tables.revision.outerjoin(_installation, _installation.c.id == tables.revision.c.id)
    query = select(tables.revision.c.value, *_installation.c, clock_of(connection)).select_from(joined)
    row = connection.execute(query).one_or_none()
    if row is None:
        return 0, None
    return row.value, None if row.name is None else _of(row)


def attend(engine: Engine, witnesses: RedisWitnesses) -> Installation | None:
    """Look whether Redis has our witness, and change it; take another name where it hasn't.

    Returns what the database has then: with a witness of this call's own making where Redis was changed to
    it, which proves that the name is ours and nobody else's. None where others of ours were always quicker.

    What Redis may get is committed before, so that it is known again whatever is lost on the way. No lock
    is held while Redis is asked whether it has the witness, which may take as long as it takes to give up.
    """
    for _ in range(_ATTEMPTS):
        own = _random()
        row = _prepare(engine, own)
        try:
            seen, is_changed = witnesses.change(row.name, row.pending, (row.witness, row.pending))
            if is_changed:
                _finish(engine, row, {"witness": row.pending, "pending": None})
                found = Installation(name=row.name, witness=row.pending, age=timedelta())
            elif seen in (row.witness, row.pending):
                _finish(engine, row, {})
                return Installation(name=row.name, witness=row.witness, age=timedelta())
            else:
                renamed = _rename(engine, witnesses, row, seen)
                if renamed is None:
                    continue
                found = renamed
        except RedisUnavailable:
            _finish(engine, row, {}, is_seen=False)
            return Installation(name=row.name, witness=row.witness, age=None)
        if row.pending == own:  # else somebody else, of this database or of its copy, may write it, too
            return found
    return None


def _of(row: Any) -> Installation:
    age = None if row.attended_at is None else row.clock - row.attended_at
    return Installation(name=row.name, witness=row.witness, age=age)


def _prepare(engine: Engine, new: str) -> Row[Any]:
    """Return the row; its ``pending`` is what the witness is to become."""
    pending = func.coalesce(_installation.c.pending, new)
    with transaction(engine) as connection:
        if not connection.execute(update(_installation).values(pending=pending)).rowcount:
            first = {"id": 1, "name": _random(), "witness": _random(), "pending": new}
            connection.execute(insert_new(connection, _installation), first)
        return connection.execute(select(_installation)).one()


def _rename(engine: Engine, witnesses: RedisWitnesses, row: Row[Any], seen: str) -> Installation | None:
    """Take another name; None where another process of ours has gone on meanwhile."""
    name = _random()
    with transaction(engine) as connection:
        changed = {"name": name, "witness": row.pending, "pending": None}
        if not _update(connection, row, changed, is_seen=True):
            return None
        witnesses.change(name, row.pending, ("",))
    if seen:
        log.warning(
            "Another database has used this one's name in Redis (%s): a clone of it; or this one was "
            "restored from a backup, or Redis was restored or failed over and has lost what came last. "
            "This one goes on as %s, and decides alone about what was sent before.",
            row.name,
            name,
        )
    return Installation(name=name, witness=row.pending, age=timedelta())


def _finish(engine: Engine, row: Row[Any], changed: dict[str, Any], *, is_seen: bool = True) -> None:
    with transaction(engine) as connection:
        _update(connection, row, changed, is_seen=is_seen)


def _update(connection: Connection, row: Row[Any], changed: dict[str, Any], *, is_seen: bool) -> bool:
    """Change the row, unless another process of ours has; tell whether it did."""
    held = _installation.c
    unchanged = (held.name == row.name, held.witness == row.witness, held.pending == row.pending)
    attended_at = clock_of(connection) if is_seen else None
    statement = update(_installation).where(*unchanged).values(**changed, attended_at=attended_at)
    return bool(connection.execute(statement).rowcount)


def _random() -> str:
    return secrets.token_hex(6)
