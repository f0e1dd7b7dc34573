"""*Retrieve data*: an endpoint listens for one request, which an administrator looks at and may keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine

from airflow_incoming.core.errors import Conflict, InvalidConfiguration, NotFound
from airflow_incoming.core.integration import Auth
from airflow_incoming.core.records import Integration, ListenerRecord, Sample
from airflow_incoming.db.engine import reading
from airflow_incoming.services import stakes
from airflow_incoming.services.audit import Changing, changing
from airflow_incoming.services.expected import existing
from airflow_incoming.services.rights import Actor, consider
from airflow_incoming.stores import events, integrations, keys, listening, requests

#: How many refused requests are shown to whoever waits for one.
MAX_REFUSED = 5


class Listening:
    """What an administrator does while retrieving data. ``by`` is who does it.

    Every verb raises Forbidden where they may not start what the integration's newest and its published
    version do: what comes is for whoever may start it.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def start(self, name: str, *, auth: Auth | None = None, by: Actor, seconds: float = 90) -> ListenerRecord:
        """Listen for one request; an earlier listening by the same ends, and what came for any goes.

        ``auth`` says to whom a draft listens, by default to whom its newest version says. A live
        endpoint listens to those whom it lets in anyway. Raises NotFound, InvalidConfiguration where no
        usable API key is named, and Conflict while somebody else listens.
        """
        now = self._clock()
        with self._permitted(name, by) as (change, found):
            connection = change.connection
            whom = _auth_of(found, auth)
            _expect_nobody(listening.find(connection, name), by.name, now)
            _check(connection, whom, now)
            record = ListenerRecord(
                id=uuid4(),
                integration_id=found.id,
                started_at=now,
                started_by=by.name,
                listens_until=now + timedelta(seconds=seconds),
            )
            listening.put(connection, record, whom)
            integrations.bump(connection)
            change.did("retrieve_data", integration=name, seconds=seconds)
        return record

    def look(self, name: str) -> ListenerRecord | None:
        """Return how the listening stands; None where there is none."""
        with reading(self._engine) as connection:
            record = listening.find(connection, name)
            if record is None or record.captured is not None:
                return record
            refused = requests.search(
                connection, integration=name, outcome="rejected", since=record.started_at, limit=MAX_REFUSED
            )
        return replace(record, refused=tuple(refused))

    def stop(self, name: str, *, by: Actor) -> None:
        """Stop listening, and forget what came. Raises NotFound where there is no such integration."""
        with self._permitted(name, by) as (change, found):
            listening.remove(change.connection, found.id)
            integrations.bump(change.connection)
            change.did("stop_retrieving_data", integration=name)

    def keep_sample(self, name: str, listener_id: UUID, *, by: Actor) -> Sample:
        """Make what came for a listening the sample, and end it.

        Raises NotFound, and Conflict where nothing came for this one.
        """
        with self._permitted(name, by) as (change, found):
            connection = change.connection
            record = listening.find(connection, name)
            if record is None or record.captured is None or record.id != listener_id:
                raise Conflict(f"This request to {name!r} isn't there any more; retrieve data once more.")
            came = record.captured
            sample = Sample(
                integration_id=found.id,
                captured_at=came.captured_at,
                kept_by=by.name,
                body=came.body,
                headers=came.headers,
                query=came.query,
            )
            listening.keep_sample(connection, sample)
            listening.remove(connection, found.id)
            change.did("keep_sample", integration=name)
        return sample

    def set_sample(self, name: str, event_id: UUID, *, by: Actor) -> Sample:
        """Make an earlier event the sample. Raises NotFound, also for another integration's event."""
        with self._permitted(name, by) as (change, found):
            connection = change.connection
            event = events.read(connection, event_id)
            if event is None or event.integration_id != found.id:
                raise NotFound("event", str(event_id), f"Choose one of {name}.")
            sample = Sample(
                integration_id=found.id,
                captured_at=event.received_at,
                kept_by=by.name,
                body=event.body or "",
                headers=event.headers or {},
                query=event.query,
            )
            listening.keep_sample(connection, sample)
            change.did("keep_sample", integration=name, event_id=event_id)
        return sample

    def sample(self, name: str) -> Sample | None:
        """Return the sample of an integration; None where there is none."""
        with reading(self._engine) as connection:
            return listening.find_sample(connection, name)

    def drop_sample(self, name: str, *, by: Actor) -> None:
        """Forget the sample. Raises NotFound where there is no such integration."""
        with self._permitted(name, by) as (change, found):
            listening.drop_sample(change.connection, found.id)
            change.did("drop_sample", integration=name)

    @contextmanager
    def _permitted(self, name: str, by: Actor) -> Iterator[tuple[Changing, Integration]]:
        """Run the block in a transaction. Raises NotFound, Forbidden."""
        if not by.is_trusted:
            with reading(self._engine) as connection:
                at_stake = stakes.of_live(connection, name)
            consider(by, at_stake)
        with changing(self._engine, by=by.name, now=self._clock()) as change:
            found = existing(change.connection, name)
            stakes.permit(change.connection, by, stakes.of_live, name)
            yield change, found


def _expect_nobody(record: ListenerRecord | None, by: str, now: datetime) -> None:
    """Raise Conflict where somebody else waits for a request to the same endpoint."""
    if record is None or record.captured is not None or record.started_by == by:
        return
    left = round((record.listens_until - now).total_seconds())
    if left > 0:
        raise Conflict(f"{record.started_by} retrieves data here right now; try again in {left} s.")


def _auth_of(found: Integration, wished: Auth | None) -> Auth:
    # What is live must never listen to somebody whom the published version doesn't let in.
    if found.published is not None:
        return found.published.configuration.auth
    return found.current.configuration.auth if wished is None else wished


def _check(connection: Connection, auth: Auth, now: datetime) -> None:
    if auth.type == "none":
        return
    path = ("auth", "api_key")
    if auth.api_key is None:
        raise InvalidConfiguration(path, "is missing; choose the API key that JWTs are made from")
    key = keys.find(connection, auth.api_key)
    state = "missing" if key is None else key.state(now)
    if state == "missing":
        raise InvalidConfiguration(path, f"there is no API key {auth.api_key!r}")
    if state != "active":
        raise InvalidConfiguration(path, f"API key {auth.api_key!r} is {state}; choose another one")
