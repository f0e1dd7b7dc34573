"""What is wrong with this installation, in plain words and with what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import IncomingError, RedisUnavailable
from airflow_incoming.db.engine import reading
from airflow_incoming.services.findings import Finding
from airflow_incoming.services.health import ALIVE
from airflow_incoming.services.target_findings import asset_events, published, targets
from airflow_incoming.services.watchers import watched_assets
from airflow_incoming.stores import dispatchers, events, installation, keys
from airflow_incoming.stores.installation import RedisWitnesses
from airflow_incoming.stores.keys import Cipher

log = logging.getLogger(__name__)

#: An event that waits longer than this tells that dispatching doesn't keep up.
LATE = timedelta(minutes=5)
REDIS_NEEDED = (6, 2)


class Diagnosis:
    """Looks at everything; one look that fails is an error itself and hides no other."""

    def __init__(
        self,
        engine: Engine,
        cipher: Cipher,
        *,
        clock: Callable[[], datetime],
        read_address: Callable[[], str],
        read_receivers: Callable[[], Sequence[str]],
        connect_redis: Callable[[], Sequence[Any]],
        witnesses: RedisWitnesses | None = None,
    ) -> None:
        self._engine = engine
        self._cipher = cipher
        self._clock = clock
        self._read_address = read_address
        self._read_receivers = read_receivers
        self._connect_redis = connect_redis
        self._witnesses = witnesses

    def findings(self) -> list[Finding]:
        """Return what was found, in the order in which to repair it."""
        looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
            ("settings", self._settings),
            ("tables", self._tables),
            ("database durability", self._durability),
            ("fernet key", self._fernet),
            ("redis", self._redis_servers),
            ("dispatcher", self._dispatcher),
            ("events", self._events),
            ("integrations", self._integrations),
            ("targets", partial(targets, self._engine)),
            ("asset events", lambda: asset_events(self._engine, self._clock())),
        ]
        return [finding for name, look in looks for finding in _looked(name, look)]

    def _settings(self) -> Iterator[Finding]:
        yield Finding("settings", "ok", f"Senders are shown {self._read_address()}/<endpoint id>.")
        receivers = " and ".join(self._read_receivers())
        yield Finding(
            "settings",
            "ok",
            f"API servers receive below {receivers}, and 'airflow incoming serve' below /incoming at its own "
            "port. Rules of a proxy that are to bound who sends must name all that it passes on.",
        )

    def _tables(self) -> Iterator[Finding]:
        from airflow_incoming.db.manager import IncomingDBManager

        with Session(self._engine) as session:
            manager = IncomingDBManager(session)
            migrated, current = manager.check_migration(), manager.get_current_revision()
        if migrated:
            yield Finding("tables", "ok", f"At revision {current}.")
        else:
            found = f"at revision {current}" if current else "missing"
            yield Finding("tables", "error", f"The tables are {found}. Run: airflow db migrate")

    def _durability(self) -> Iterator[Finding]:
        name = "database durability"
        backend = self._engine.dialect.name
        if backend == "sqlite":
            yield Finding(
                name, "warning", "SQLite is for trying out: one writer at a time. Use PostgreSQL or MySQL."
            )
            return
        wanted = {
            "postgresql": ("SHOW fsync", "on", "SHOW synchronous_commit", "on"),
            "mysql": ("SELECT @@innodb_flush_log_at_trx_commit", "1", "SELECT @@sync_binlog", "1"),
        }[backend]
        with reading(self._engine) as connection:
            for query, good in zip(wanted[::2], wanted[1::2], strict=True):
                yield _durable(connection, name, query, good)

    def _fernet(self) -> Iterator[Finding]:
        name = "fernet key"
        try:
            self._cipher.encrypt(b"check")
        except IncomingError as error:
            yield Finding(name, "warning", error.detail)
            return
        with reading(self._engine) as connection:
            unreadable = [key.name for key in keys.read_usable(connection, self._cipher) if not key.readable]
            outdated = keys.outdated(connection, self._cipher)
        if unreadable:
            yield Finding(
                name,
                "error",
                f"The secrets of {', '.join(unreadable)} were encrypted with another key; their integrations "
                "answer 503. Put the old key behind the new one in [core] fernet_key, or rotate these keys.",
            )
        elif outdated:
            yield Finding(
                name,
                "warning",
                f"The secrets of {', '.join(outdated)} are encrypted with an older key. Before you remove "
                "it, run: airflow incoming keys reencrypt",
            )
        else:
            yield Finding(name, "ok", "Secrets are encrypted and can be read.")

    def _redis_servers(self) -> Iterator[Finding]:
        servers = self._connect_redis()
        if not servers:
            yield Finding(
                "redis",
                "warning",
                "[incoming] redis_url is empty: deduplication works, with a database statement per request.",
            )
        for server in servers:
            name = "redis" if len(servers) == 1 else f"redis {_host_of(server)}"
            yield from _looked(name, partial(_look_at_redis, name, server))
        if servers:
            yield from self._memory()

    def _memory(self) -> Iterator[Finding]:
        name = "hashes in redis"
        with reading(self._engine) as connection:
            found = installation.read(connection)
        if found is None or self._witnesses is None:
            return
        if found.is_attended():
            yield Finding(name, "ok", f"They are this database's, as {found.name}.")
        else:
            yield Finding(
                name,
                "warning",
                "Nobody has seen lately that they are this database's, which decides alone meanwhile, "
                "with a statement per request. See what is said of redis, and of the dispatcher.",
            )
        others: list[str] = []
        with suppress(RedisUnavailable):  # as is said of redis
            others = self._witnesses.others(found.name)
        if others:
            yield Finding(
                name,
                "warning",
                f"Another database uses this Redis under the same [incoming] redis_prefix (as "
                f"{', '.join(others)}): tasks and watchers get the events of both. Give one of them another "
                "prefix.",
            )

    def _dispatcher(self) -> Iterator[Finding]:
        now = self._clock()
        with reading(self._engine) as connection:
            alive = [beat for beat in dispatchers.read_all(connection) if now - beat.beat_at <= ALIVE]
        if alive:
            where = ", ".join(f"{beat.host} ({beat.pid})" for beat in alive)
            yield Finding("dispatcher", "ok", f"Running: {where}.")
        else:
            yield Finding(
                "dispatcher",
                "error",
                "No dispatcher runs, so no event starts a DAG. Start an api-server with [incoming] "
                "dispatcher = True, or: airflow incoming dispatch",
            )

    def _events(self) -> Iterator[Finding]:
        with reading(self._engine) as connection:
            backlog = events.backlog(connection)
        if backlog.oldest is not None and self._clock() - backlog.oldest > LATE:
            yield Finding(
                "events",
                "error",
                f"{backlog.waiting} events wait, the oldest since {backlog.oldest:%F %T} UTC.",
            )
        if backlog.dead or backlog.failed:
            yield Finding(
                "events",
                "warning",
                f"{backlog.failed} failed and {backlog.dead} dead events. See: airflow incoming events list "
                "--state failed --state dead",
            )
        elif backlog.oldest is None:
            yield Finding("events", "ok", "Nothing waits.")

    def _integrations(self) -> Iterator[Finding]:
        with reading(self._engine) as connection:
            live = published(connection)
            usable = {key.name for key in keys.list_all(connection) if key.state(self._clock()) == "active"}
            watched = {one.integration for one in watched_assets(connection)}
        if not live:
            yield Finding("integrations", "ok", "None is published.")
        for found in live:
            assert found.published is not None
            configuration = found.published.configuration
            key = configuration.auth.api_key
            if key is not None and key not in usable:
                yield Finding(
                    "integrations",
                    "error",
                    f"{found.name}: API key {key} is revoked, expired or gone; requests are answered 401.",
                )
            if not configuration.dags and not configuration.assets and found.name not in watched:
                yield Finding(
                    "integrations", "warning", f"{found.name}: is published and starts nothing by itself."
                )
            if configuration.auth.type == "none":
                yield Finding(
                    "integrations", "ok", f"{found.name}: anybody who knows the URL can start its DAGs."
                )


def _looked(name: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except Exception as error:
        log.debug("Check %s failed", name, exc_info=True)
        told = error.__cause__ if isinstance(error, IncomingError) and error.__cause__ else error
        reason = str(told).strip().splitlines() or [type(told).__name__]
        return [Finding(name, "error", f"Could not be looked at: {reason[0]}")]


def _look_at_redis(name: str, redis: Any) -> Iterator[Finding]:
    info = redis.info()
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < REDIS_NEEDED:
        yield Finding(name, "error", f"Redis {info['redis_version']} is too old; 6.2 is needed.")
    else:
        yield Finding(name, "ok", f"Version {info['redis_version']} answers.")
    if info.get("maxmemory", 0) and info.get("maxmemory_policy") != "noeviction":
        yield Finding(
            name,
            "warning",
            f"maxmemory-policy is {info.get('maxmemory_policy')}: hashes may be evicted, and a "
            "deduplication window may end up to an hour early. Use noeviction.",
        )
    if not info.get("aof_enabled") and not _saves(redis):
        yield Finding(
            name,
            "warning",
            "Nothing is persisted (no AOF, no RDB): after a restart the database decides, slower, and a "
            "window may end up to an hour early. Set appendonly yes.",
        )


def _host_of(redis: Any) -> str:
    connection = redis.connection_pool.connection_kwargs
    return f"{connection['host']}:{connection['port']}"


def _saves(redis: Any) -> bool:
    """Tell whether Redis writes snapshots, or won't say: managed services forbid the question."""
    from redis.exceptions import ResponseError

    try:
        return bool(redis.config_get("save").get("save"))
    except ResponseError:
        return True


def _durable(connection: Connection, name: str, query: str, good: str) -> Finding:
    value = str(connection.scalar(text(query)))
    setting = query.split()[-1].lstrip("@")
    if value == good or (setting == "synchronous_commit" and value.startswith("remote")):
        return Finding(name, "ok", f"{setting} = {value}.")
    return Finding(
        name,
        "warning",
        f"{setting} = {value}: when the machine loses power, events that were answered 200 may be lost. "
        f"Set it to {good}.",
    )
