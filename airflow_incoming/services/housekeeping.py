"""What a dispatcher does beside dispatching: signs of life, releases, retention."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID, uuid4

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.db.engine import reading, transaction, translate
from airflow_incoming.services import teams
from airflow_incoming.services.ports import Launcher
from airflow_incoming.stores import (
    dispatchers,
    inbox,
    installation,
    integrations,
    listening,
    queue,
    requests,
    silence,
)
from airflow_incoming.stores.installation import RedisWitnesses

log = logging.getLogger(__name__)

#: Seconds between signs of life, between looks for DAGs that appeared, between measurements and clean-ups.
BEAT_EVERY = 5.0
RELEASE_EVERY = 2.0
#: Seconds between looks whether Redis has our witness: until then a clone that took our name goes unnoticed.
ATTEND_EVERY = 2.0
MEASURE_EVERY = 10.0
#: Seconds between looks for events that Redis couldn't be told of.
PUBLISH_EVERY = 2.0
PURGE_EVERY = 60.0
#: Rows that one clean-up transaction deletes.
PURGE_ROWS = 500
#: Events that are released before events are dispatched again.
RELEASE_ROWS = 2000
#: Seconds between looks for asset events that no run has: while there are some, and while there are none.
SWEEP_EVERY, SWEEP_IDLE_EVERY = 1.0, 3.0
#: Seconds until the next look after one that has failed.
SWEEP_AGAIN = 30.0
#: Seconds between looks for what an older release may still write while all are being upgraded.
MEND_EVERY = 3600.0
#: A dispatcher that was silent for so long is gone.
SILENT = timedelta(minutes=10)
#: An expired claim is kept a little longer, so that clocks of several hosts may differ.
CLAIM_GRACE = timedelta(hours=1)
#: What came while an endpoint listened can be kept for so long after that.
LISTENER_KEPT = timedelta(hours=1)


class Unpublished(Protocol):
    """Events that could not be published yet."""

    def catch_up(self) -> bool:
        """Publish some of them; tell whether there are more. Raises DatabaseUnavailable."""


class Sweeping(Protocol):
    """Asset events that no run of a DAG has which they are to start."""

    is_lively: bool

    def sweep(self) -> bool:
        """Ask for runs that have them; tell whether to go on at once. Raises DatabaseUnavailable."""

    def purge(self) -> int:
        """Forget those that nobody can get any more; return how many. Raises DatabaseUnavailable."""


class Stored(Protocol):
    """What an older release has left, or still leaves, in Airflow's tables."""

    def mend(self) -> bool:
        """Mend some of it; tell whether there is more. Raises DatabaseUnavailable."""


class Housekeeping:
    """The chores of one dispatcher, each at its own interval; ``measure`` sends gauges, None: nobody does."""

    def __init__(
        self,
        engine: Engine,
        launcher: Launcher,
        *,
        clock: Callable[[], datetime],
        event_retention: timedelta,
        dead_retention: timedelta,
        measure: Callable[[datetime], None] | None = None,
        publisher: Unpublished | None = None,
        sweeper: Sweeping | None = None,
        stored: Stored | None = None,
        witnesses: RedisWitnesses | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._launcher = launcher
        self._clock = clock
        self._retention = {"dispatched": event_retention, "dead": dead_retention}
        self._measure = measure
        self._publisher = publisher
        self._sweeper = sweeper
        self._stored = stored
        self._witnesses = witnesses
        self._monotonic = monotonic
        now = clock()
        self._sign = dispatchers.Beat(
            id=uuid4(), host=socket.gethostname()[:256], pid=os.getpid(), started_at=now, beat_at=now
        )
        self._next = dict.fromkeys(("beat", "attend", "publish", "release", "measure", "mend", "sweep"), 0.0)
        self._next["purge"] = monotonic() + PURGE_EVERY

    def tick(self) -> bool:
        """Do what is due; tell whether there is more to do at once. Raises DatabaseUnavailable."""
        if self._due("beat", BEAT_EVERY):
            self.beat()
        self._attend()
        more = self._publish()
        more = self._mend() or self._sweep() or more
        if self._due("purge", PURGE_EVERY):
            self.purge()
        if self._measure is not None and self._due("measure", MEASURE_EVERY):
            self._measure(self._clock())
        released = self.release() if self._due("release", RELEASE_EVERY) else 0
        if released >= RELEASE_ROWS:  # there is more: go on after the next batch of events
            self._next["release"] = 0.0
        return more or released > 0

    def _attend(self) -> None:
        """See to it that our hashes in Redis are ours."""
        if self._witnesses is not None and self._due("attend", ATTEND_EVERY):
            installation.attend(self._engine, self._witnesses)

    def _publish(self) -> bool:
        if self._publisher is None or not self._due("publish", PUBLISH_EVERY):
            return False
        return self._do("publish", self._publisher.catch_up)

    def _mend(self) -> bool:
        """Mend what is stored, before runs are asked for that would get it; later again what came since."""
        if self._stored is None or not self._due("mend", MEND_EVERY):
            return False
        said = "What is stored could not be looked through for what Airflow can't carry"
        return self._look("mend", self._stored.mend, again=MEND_EVERY, said=said)

    def _sweep(self) -> bool:
        sweeper = self._sweeper
        if sweeper is None or not self._due("sweep", SWEEP_EVERY if sweeper.is_lively else SWEEP_IDLE_EVERY):
            return False
        said = "Asset events that no run has could not be looked for"
        return self._look("sweep", sweeper.sweep, again=SWEEP_AGAIN, said=said)

    def _look(self, chore: str, act: Callable[[], bool], *, again: float, said: str) -> bool:
        """Do a chore in Airflow's tables; where that fails, events are dispatched all the same.

        Then it is due ``again`` in so many seconds. Raises DatabaseUnavailable.
        """
        try:
            return self._do(chore, act)
        except DatabaseUnavailable:
            raise
        except Exception:  # whatever another Airflow's tables hold
            log.exception(said)
            self._next[chore] = self._monotonic() + again
            return False

    def _do(self, chore: str, act: Callable[[], bool]) -> bool:
        """Do a chore, which is due again at once where it tells that there is more; tell that."""
        more = act()
        if more:
            self._next[chore] = 0.0
        return more

    def beat(self) -> None:
        """Record that this dispatcher lives."""
        now = self._clock()
        with transaction(self._engine) as connection:
            dispatchers.beat(connection, replace(self._sign, beat_at=now))
            dispatchers.forget_silent(connection, now - SILENT)

    def release(self) -> int:
        """Make events due that waited for a DAG, an asset or a resumed integration; return how many.

        RELEASE_ROWS of them at most: then there may be more.
        """
        with reading(self._engine) as connection:
            present = queue.states_present(connection, ("failed", "held"))
        chores: list[Callable[..., int]] = []
        if "failed" in present:
            chores += [partial(queue.release_waiting, name=name) for name in self._ready()]
        if "held" in present:
            with reading(self._engine) as connection:
                held = queue.held_for_nothing(connection)
            chores += [partial(queue.release_held, integration_id=id_, name=name) for id_, name in held]
        released = 0
        for chore in chores:
            if released < RELEASE_ROWS:
                with transaction(self._engine) as connection:
                    limit = RELEASE_ROWS - released
                    released += chore(connection, now=self._clock(), limit=limit)
        return released

    def purge(self) -> int:
        """Delete what is past its retention, in small transactions; return how many rows."""
        now = self._clock()
        with transaction(self._engine) as connection:
            silence.remember(connection)
        chores = [
            partial(queue.purge_events, state=state, before=now - kept, limit=PURGE_ROWS)
            for state, kept in self._retention.items()
        ]
        chores += [
            partial(inbox.purge_claims, before=now - CLAIM_GRACE, limit=PURGE_ROWS),
            partial(listening.purge, before=now - LISTENER_KEPT, limit=PURGE_ROWS),
            partial(requests.purge, now=now, limit=PURGE_ROWS),
            partial(requests.purge_hours, now=now),
        ]
        deleted = self._sweeper.purge() if self._sweeper is not None else 0
        for chore in chores:
            with transaction(self._engine) as connection:
                count = chore(connection)
            deleted += count
            if count == PURGE_ROWS:  # there is more: go on after the next batch of events
                self._next["purge"] = 0.0
        return deleted

    def leave(self) -> None:
        """Remove this dispatcher's sign of life."""
        try:
            with transaction(self._engine) as connection:
                dispatchers.leave(connection, self._sign.id)
        except DatabaseUnavailable:
            log.info("The database is unavailable; this dispatcher's sign of life will expire by itself")

    def _ready(self) -> set[str]:
        """Return what events waited for that is there now."""
        with reading(self._engine) as connection:
            awaited = queue.awaited(connection)
            versions = {name: UUID(name[6:]) for name in awaited if name.startswith("teams:")}
            bound = integrations.read_teams(connection, versions.values()) if versions else {}
        published = {name for name, each in versions.items() if each in bound or not teams.enabled()}
        dag_ids = [name[4:] for name in awaited if name.startswith("dag:")]
        asset_uris = [name[6:] for name in awaited if name.startswith("asset:")]
        try:
            with Session(self._engine) as session, session.begin():
                ready = self._launcher.ready(session, dag_ids, asset_uris) if awaited else set()
                return ready | published
        except SQLAlchemyError as error:
            raise translate(error) from error

    def _due(self, chore: str, every: float) -> bool:
        now = self._monotonic()
        if now < self._next[chore]:
            return False
        self._next[chore] = now + every
        return True
