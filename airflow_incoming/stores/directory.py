"""What is live, in memory: every endpoint with its configuration and keys, at most a second old.

One number in the database (the revision) grows with every change. A snapshot older than half its
allowed age is checked against that number in the background, and one that is too old before it is
used again; only a changed number makes it load everything. So strangers who try unknown endpoints
cost no query at all, and an idle process asks nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from airflow_incoming.core.errors import DatabaseUnavailable, EndpointNotFound, Unavailable
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Endpoint, Listener, VerificationKey
from airflow_incoming.core.records import Integration
from airflow_incoming.db.engine import reading
from airflow_incoming.stores import installation, integrations, keys, listening
from airflow_incoming.stores.installation import ATTENDED_TO, Installation
from airflow_incoming.stores.keys import Cipher, UsableKey
from airflow_incoming.stores.listening import OpenListener

log = logging.getLogger(__name__)

#: Seconds after which a change is noticed everywhere.
MAX_AGE = 1.0
#: Seconds after a failure in which the database isn't asked again.
RETRY_AFTER = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All live endpoints and usable API keys as of ``read_at`` (monotonic seconds)."""

    revision: int
    read_at: float
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    keys: Mapping[str, UsableKey] = field(default_factory=dict)
    #: Whose next request somebody wants to see, or wanted until a while ago; live or not.
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    installation: Installation | None = None

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """Return a live endpoint.

        Raises EndpointNotFound, or Unavailable where its key's secrets can't be decrypted.
        """
        if endpoint_id in self.unreadable:
            raise Unavailable()
        found = self.endpoints.get(endpoint_id)
        if found is None:
            raise EndpointNotFound()
        return found

    def listener(self, endpoint_id: str, now: datetime) -> Listener | None:
        """Return who wants to see the next request to an endpoint."""
        found = self.listeners.get(endpoint_id)
        return found if found is not None and now < found.listens_until else None


class Directory:
    """Keeps a snapshot no older than ``max_age`` seconds.

    ``attend`` sees to it that our hashes in Redis are ours, and returns what the database has then. It is
    called before anything is decided in a process that doesn't know that, and else in the background where no
    dispatcher sees to it.
    """

    def __init__(
        self,
        engine: Engine,
        cipher: Cipher,
        *,
        attend: Callable[[], Installation | None] | None = None,
        max_age: float = MAX_AGE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._cipher = cipher
        self._attend = attend
        self._max_age = max_age
        self._monotonic = monotonic
        self._snapshot: Snapshot | None = None
        self._doubted: str | None = None
        self._failed_at = self._tried_at = float("-inf")
        self._refreshing = threading.Lock()
        self._ahead = threading.Lock()
        self._awaited: Future[Snapshot] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="incoming-directory")

    def current(self) -> Snapshot | None:
        """Return the snapshot without waiting, or None where it must be refreshed first."""
        snapshot = self._snapshot
        if snapshot is None:
            return None
        age = self._monotonic() - snapshot.read_at
        if age > self._max_age:
            return None
        if age > self._max_age / 2:
            self.refresh_soon()
        return snapshot

    def refresh_soon(self) -> None:
        """Have the snapshot made anew in the background, unless that goes on or was tried just now."""
        now = self._monotonic()
        if now - self._tried_at >= self._max_age / 4 and self._ahead.acquire(blocking=False):
            self._tried_at = now
            with suppress(RuntimeError):  # closed
                self._executor.submit(self._refresh_ahead)

    def awaited(self) -> Future[Snapshot] | None:
        """Return a future of a snapshot, the same for all who ask meanwhile; None where there is no need.

        It ends as ``fresh`` does. All who ask are one thread: the event loop's.
        """
        if self.current() is not None:
            return None
        if self._awaited is None or self._awaited.done():
            try:
                self._awaited = self._executor.submit(self.fresh)
            except RuntimeError:  # closed
                return None
        return self._awaited

    def fresh(self) -> Snapshot:
        """Return a snapshot that isn't too old, asking the database where necessary.

        Raises DatabaseUnavailable; for a moment after a failure at once, so that requests don't queue
        up behind a database that hangs.
        """
        with self._refreshing:
            snapshot = self.current()
            if snapshot is not None:
                return snapshot
            if self._monotonic() - self._failed_at < RETRY_AFTER:
                raise DatabaseUnavailable()
            try:
                return self._refresh()
            except Exception:
                self._failed_at = self._monotonic()
                raise

    def memory(self) -> tuple[str, bool] | None:
        """Return the name of our hashes in Redis, and whether it is certain now that they are ours.

        That is so once this process has seen somebody attend to it: what the database had at first may be
        another's.
        """
        found = self._snapshot.installation if self._snapshot is not None else None
        return None if found is None else (found.name, self._is_certain(found))

    def recall(self, endpoint_id: str) -> Endpoint | None:
        """Return an endpoint that was live or listening when the snapshot was made, however old that is."""
        snapshot = self._snapshot
        if snapshot is None:
            return None
        found = snapshot.endpoints.get(endpoint_id)
        if found is None and endpoint_id in snapshot.listeners:
            return snapshot.listeners[endpoint_id].endpoint
        return found

    def close(self) -> None:
        """Stop the background thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _refresh_ahead(self) -> None:
        try:
            with self._refreshing:
                self._refresh()
        except Exception as error:  # noqa: BLE001 - whoever needs the snapshot meets the error itself
            log.debug("Could not refresh the endpoints ahead of time: %s", type(error).__name__)
        finally:
            self._ahead.release()

    def _refresh(self) -> Snapshot:
        asked_at = self._monotonic()
        old = self._snapshot
        with reading(self._engine) as connection:
            revision, installed = installation.read_with_revision(connection)
            if old is not None and old.revision == revision:
                snapshot = replace(old, read_at=asked_at)
            else:
                snapshot = load(connection, self._cipher, revision=revision, read_at=asked_at)
        if old is None:
            self._doubted = None if installed is None else installed.witness
        is_idle = old is None or asked_at - old.read_at > ATTENDED_TO.total_seconds()
        self._snapshot = replace(snapshot, installation=self._attended(installed, is_idle=is_idle))
        return self._snapshot

    def _is_certain(self, found: Installation) -> bool:
        return found.witness != self._doubted and found.is_attended()

    def _attended(self, found: Installation | None, *, is_idle: bool) -> Installation | None:
        """Return it, attended to first where it isn't certain, and nobody was here to do that before."""
        attend = self._attend
        if attend is None:
            return found
        if is_idle and (found is None or not self._is_certain(found)):
            return attend() or found
        if found is None or not found.is_attended(within=ATTENDED_TO):
            with suppress(RuntimeError):  # it is being closed
                self._executor.submit(attend)
        return found


def load(connection: Connection, cipher: Cipher, *, revision: int, read_at: float) -> Snapshot:
    """Read every published integration, usable key, and who listens."""
    usable = {key.name: key for key in keys.read_usable(connection, cipher)}
    live, broken = integrations.read_live(connection)
    endpoints = {found.endpoint_id: _endpoint(found, usable) for found in live}
    unreadable = {
        endpoint_id
        for endpoint_id, endpoint in endpoints.items()
        if (key := usable.get(endpoint.configuration.auth.api_key or "")) and not key.readable
    }
    return Snapshot(
        revision=revision,
        read_at=read_at,
        endpoints=endpoints,
        unreadable=frozenset(unreadable | broken),
        keys={key.key_id: key for key in usable.values()},
        listeners=_listeners(listening.read_open(connection), endpoints, usable),
    )


def _listeners(
    found: Iterable[OpenListener], live: Mapping[str, Endpoint], usable: Mapping[str, UsableKey]
) -> dict[str, Listener]:
    """Return the listeners by endpoint id; a live endpoint's listens to nobody whom it doesn't let in."""
    listeners = {}
    for one in found:
        endpoint = live.get(one.endpoint_id)
        draft = endpoint is None
        if one.published and draft:  # it can't be read, or was published this very moment
            continue
        listeners[one.endpoint_id] = Listener(
            id=one.id,
            endpoint=endpoint or _draft(one, usable),
            listens_until=one.listens_until,
            draft=draft,
        )
    return listeners


def _draft(one: OpenListener, usable: Mapping[str, UsableKey]) -> Endpoint:
    return Endpoint(
        endpoint_id=one.endpoint_id,
        integration_id=one.integration_id,
        name=one.name,
        version_id=one.version_id,
        configuration=one.configuration,
        key=_key(one.configuration, usable),
    )


def _endpoint(integration: Integration, usable: Mapping[str, UsableKey]) -> Endpoint:
    assert integration.published is not None  # only live integrations get here
    configuration = integration.published.configuration
    return Endpoint(
        endpoint_id=integration.endpoint_id,
        integration_id=integration.id,
        name=integration.name,
        version_id=integration.published.id,
        configuration=configuration,
        key=_key(configuration, usable),
    )


def _key(configuration: Configuration, usable: Mapping[str, UsableKey]) -> VerificationKey | None:
    key = usable.get(configuration.auth.api_key) if configuration.auth.api_key else None
    return None if key is None else key.verification_key()
