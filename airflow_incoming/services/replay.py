"""Looking at events and sending them once more; forgetting deduplication hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine

from airflow_incoming.core.errors import NotFound
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Started
from airflow_incoming.core.records import EventRecord
from airflow_incoming.db.engine import reading
from airflow_incoming.services import finding, stakes
from airflow_incoming.services.audit import changing
from airflow_incoming.services.claims import HashStory, peek, story_of
from airflow_incoming.services.consumers.outlook import Consumption, consumers_of
from airflow_incoming.services.finding import EventPage
from airflow_incoming.services.rerun import Replay, Terms, event_of, rerun
from airflow_incoming.services.rights import Actor, consider
from airflow_incoming.services.runs import (
    Run,
    claimed_by_assets,
    emits_one_of,
    scheduling_assets,
    states_of,
)
from airflow_incoming.services.watchers import watched_assets
from airflow_incoming.stores import events, inbox, integrations
from airflow_incoming.stores.dedup import DedupMemory
from airflow_incoming.stores.events import Criteria, Plight

__all__ = ["EventDesk", "Replay", "Replays", "Step", "Whole", "event_of"]

#: How much one step of a long replay does: events, and characters of their bodies.
STEP_EVENTS = 200
STEP_SIZE = 16 * 2**20

Replays = list[Replay]
Records = list[EventRecord]
Names = list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """One event and everything that belongs to it; ``version`` is the number of its configuration."""

    record: EventRecord
    plight: Plight
    configuration: Configuration | None
    version: int | None
    story: HashStory
    replays: tuple[EventRecord, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step of a long replay did. ``cursor`` is where the next one begins; None at the end."""

    done: tuple[Replay, ...]
    cursor: UUID | None

    def total(self, *actions: str) -> int:
        """Count the events that met one of these ends."""
        return sum(one.action in actions for one in self.done)


class EventDesk:
    """What an administrator does with events."""

    def __init__(self, engine: Engine, memory: DedupMemory | None, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._memory = memory
        self._clock = clock

    def list(self, criteria: Criteria) -> Records:
        """Return events, newest first; all that there are up to the limit, however long it takes."""
        found: Records = []
        while True:
            page = self.find(replace(criteria, limit=criteria.limit - len(found)))
            found += page.events
            if len(found) >= criteria.limit or page.older is None:
                return found
            criteria = replace(criteria, before=page.older)

    def find(self, criteria: Criteria) -> EventPage:
        """Return one page of events; a search by parameter or hash may stop early and says so."""
        return finding.find(self._engine, criteria)

    def count(self, criteria: Criteria, *, upto: int) -> int | None:
        """Return how many events there are, ``upto`` + 1 for more; None where counting would be a search."""
        if criteria.needs_scan:
            return None
        with reading(self._engine) as connection:
            return events.count(connection, criteria, upto=upto)

    def stream(self, criteria: Criteria, *, limit: int) -> Iterator[EventRecord]:
        """Give events with everything, newest first."""
        return finding.stream(self._engine, criteria, limit=limit)

    def show(self, event_id: UUID) -> EventRecord:
        """Return one event with everything. Raises NotFound."""
        with reading(self._engine) as connection:
            found = events.read(connection, event_id)
        if found is None:
            raise NotFound("event", str(event_id))
        return found

    def whole(self, event_id: UUID) -> Whole:
        """Return one event and everything that belongs to it. Raises NotFound."""
        record = self.show(event_id)
        with reading(self._engine) as connection:
            live = events.published_versions(connection, [record.integration_id]).get(record.integration_id)
            wanted = [record.version_id, *([live] if live else [])]
            configurations = integrations.read_configurations(connection, wanted)
            configuration = configurations.get(record.version_id)
            return Whole(
                record=record,
                plight=events.read_plight(connection, event_id),
                configuration=configuration,
                version=events.version_number(connection, record.version_id),
                story=story_of(
                    connection,
                    self._memory,
                    record,
                    configuration,
                    asking=configurations.get(live) if live else None,
                    duplicates=events.duplicates_remembered(connection, record),
                    now=self._clock(),
                ),
                replays=tuple(events.replays_of(connection, record.id)),
            )

    def plight(self, event_id: UUID) -> Plight:
        """Return what an event waits for, and until when it is tried again."""
        with reading(self._engine) as connection:
            return events.read_plight(connection, event_id)

    def configuration_of(self, record: EventRecord) -> Configuration | None:
        """Return the configuration that an event was accepted under; None where it is gone."""
        with reading(self._engine) as connection:
            return integrations.read_configurations(connection, [record.version_id]).get(record.version_id)

    def runs(self, started: Sequence[Started]) -> dict[tuple[str, str], Run]:
        """Return the state of DAG runs in Airflow, by DAG id and run id."""
        with reading(self._engine) as connection:
            return states_of(connection, started)

    def consumers(self, record: EventRecord) -> tuple[Consumption, ...]:
        """Return what became of an event at the DAGs that its assets, or watchers, start."""
        with reading(self._engine) as connection:
            return tuple(dict.fromkeys(consumers_of(connection, record)))

    def watched(self) -> dict[str, Names]:
        """Return the assets whose watchers listen to each integration, by its name."""
        with reading(self._engine) as connection:
            found: dict[str, Names] = {}
            for one in watched_assets(connection):
                found.setdefault(one.integration, []).append(one.asset)
            return found

    def behind_assets(self, dag_id: str, run_id: str, *, limit: int) -> dict[UUID, Names]:
        """Return the events behind the newest asset events that started a run, at most ``limit``.

        Each with the assets whose watchers have brought it: none where it has updated the asset itself.
        """
        with reading(self._engine) as connection:
            claimed = claimed_by_assets(connection, dag_id, run_id, limit=limit)
            records = events.read_all(connection, [each.event_id for each in claimed])
        known = {event.id: event for event in records}
        found: dict[UUID, Names] = {}
        for each in claimed:
            event = known.get(each.event_id)
            if event is None:
                continue
            emitted = [one.asset for one in event.started if one.asset]
            if each.integration == event.integration:
                found.setdefault(event.id, []).append(each.name)
            elif each.integration is None and emits_one_of(emitted, {each.uri, each.name}):
                found.setdefault(event.id, [])
        return found

    def starters(self, dag_id: str, targets: dict[str, tuple[Sequence[str], Sequence[str]]]) -> set[str]:
        """Return which integrations start a DAG; ``targets`` are the DAGs and assets of each.

        Those to which watchers of its assets listen start it, too.
        """
        with reading(self._engine) as connection:
            assets = scheduling_assets(connection, dag_id)
            watched = {one.integration for one in watched_assets(connection, dag_id=dag_id)}
        return watched | {
            name
            for name, (dags, emitted) in targets.items()
            if dag_id in dags or emits_one_of(emitted, assets)
        }

    def replay(
        self,
        event_ids: Sequence[UUID],
        *,
        by: Actor,
        deduplicate: bool = False,
    ) -> Replays:
        """Send events once more. Raises NotFound, replaying none.

        Those that start what ``by`` may not start themselves are refused, each by itself.

        A failed or dead event is queued again under its own id, since nothing of it ran. A
        dispatched one is copied to a new event, because an event runs once. Both run under the
        version that is published now. An event that still waits is left alone. Deduplication applies
        where ``deduplicate`` says so: then each hash is claimed anew, and a duplicate doesn't run.
        """
        with reading(self._engine) as connection:
            found = {record.id: record for record in events.read_all(connection, event_ids)}
        for event_id in event_ids:
            if event_id not in found:
                raise NotFound("event", str(event_id))
        terms = Terms(deduplicate=deduplicate)
        records = [found[event_id] for event_id in dict.fromkeys(event_ids)]
        return rerun(self._engine, self._memory, records, terms, by=by, now=self._clock())

    def replay_step(
        self,
        criteria: Criteria,
        *,
        cursor: UUID | None,
        upto: UUID,
        by: Actor,
        deduplicate: bool,
    ) -> Step:
        """Replay some of the events that meet the criteria, oldest first, and say where to go on.

        ``upto`` (see :meth:`newest_now`) stays the same for all steps, so that the copies they make
        are never reached.
        """
        begin = cursor or UUID(int=0)
        criteria = replace(criteria, before=None, after=begin, upto=upto, limit=STEP_EVENTS)
        page = self.find(criteria)
        ids = [event.id for event in reversed(page.events)]
        with reading(self._engine) as connection:
            taken = finding.fitting(ids, events.sizes(connection, ids), STEP_SIZE)
            records = events.read_all(connection, taken)
        terms = Terms(deduplicate=deduplicate, above=upto)
        records.reverse()
        done = rerun(self._engine, self._memory, records, terms, by=by, now=self._clock())
        return Step(done=tuple(done), cursor=taken[-1] if len(taken) < len(ids) else page.newer)

    def newest_now(self) -> UUID:
        """Return an id that no event exceeds which has come until now, but for those of this moment."""
        return events.id_at(self._clock())

    def forget(self, hash_: str, *, by: Actor) -> bool:
        """Forget a deduplication hash, so that the next request of it runs. Tell if it was known.

        Raises Forbidden where ``by`` may not start what runs then; and RedisUnavailable, then nothing was
        forgotten.
        """
        in_redis = peek(self._memory, [hash_])[0].get(hash_)
        remembered = None if in_redis is None else in_redis.known.event_id
        if not by.is_trusted:  # before anything is locked: an auth manager may be slow, and answers once
            with reading(self._engine) as connection:
                names = stakes.named_by_hash(connection, hash_, remembered)
                at_stake = [stakes.of_integration(connection, name) for name in names]
            for each in at_stake:
                consider(by, each)
        with changing(self._engine, by=by.name, now=self._clock()) as change:
            stakes.permit_hash(change.connection, by, hash_, remembered)
            owner = inbox.forget(change.connection, hash_)
            change.did("forget_hash", hash=hash_, known=owner is not None)
            # While nobody else can claim it: nothing that Redis is told later can be of this claim.
            if self._memory is not None:
                self._memory.forget(hash_, owner)
        return owner is not None
