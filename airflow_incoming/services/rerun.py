"""Sending events once more: what becomes of each of a batch, in one transaction.

A failed or dead event is queued again under its own id, since nothing of it ran. A dispatched one is
copied to a new event, because an event runs once. Both run under the version that is published now:
what was repaired since is why they are sent again. An event that still waits is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from secrets import randbelow
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, Engine

from airflow_incoming.core.errors import IncomingError, RedisUnavailable
from airflow_incoming.core.fingerprint import fingerprint
from airflow_incoming.core.integration import Configuration
from airflow_incoming.core.messages import Claim, Event
from airflow_incoming.core.payload import parse_json
from airflow_incoming.core.records import EventRecord
from airflow_incoming.core.redaction import first_redacted
from airflow_incoming.db.engine import reading
from airflow_incoming.services.audit import changing
from airflow_incoming.services.claims import claimed_hashes, peek
from airflow_incoming.services.ids import make_id
from airflow_incoming.services.rights import Actor, Stakes, refusals
from airflow_incoming.services.stakes import of_each
from airflow_incoming.services.watchers import started_by_watchers
from airflow_incoming.stores import events, inbox, integrations
from airflow_incoming.stores.dedup import DedupMemory, Known, Memory, Remembered

Action = Literal["requeued", "copied", "pending", "duplicate", "refused"]
#: Why events of an integration may not be sent again under a version, by its name and the version's id.
Refused = Mapping[tuple[str, UUID], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What replaying an event did: queued it again, or copied it to a new event (``new_id``).

    ``duplicate``: another event owns its hash, or it has run itself, and nothing was started.
    ``refused``: nothing either; ``reason`` says why in both cases.
    """

    event_id: UUID
    action: Action
    new_id: UUID | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How to replay: ``deduplicate`` claims hashes anew, ``above`` is an id that copies' ids exceed."""

    deduplicate: bool = False
    above: UUID | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """An event that may run again, as the event that would run."""

    record: EventRecord
    event: Event


def rerun(
    engine: Engine,
    memory: DedupMemory | None,
    records: Sequence[EventRecord],
    terms: Terms,
    *,
    by: Actor,
    now: datetime,
) -> list[Replay]:
    """Send whole events once more for ``by``; return what became of each. Raises DatabaseUnavailable.

    Whether they may is asked before anything is locked: versions never change, and nothing but what was
    asked for runs.
    """
    done: dict[UUID, Replay] = {}
    candidates: list[_Candidate] = []
    with reading(engine) as connection:
        configurations, versions = _read_configurations(connection, records)
        wanted = {(record.integration, versions[record.id]) for record in records}
        at_stake = {} if by.is_trusted else _at_stake(connection, wanted, configurations)
    refused = _refused(by, wanted, at_stake)
    for record in records:
        outcome = _consider(record, versions[record.id], configurations, refused, terms, now)
        if isinstance(outcome, Replay):
            done[record.id] = outcome
        else:
            candidates.append(outcome)
    hashes = [each.event.claim.hash for each in candidates if each.event.claim]
    known, _ = peek(memory, hashes) if hashes else ({}, True)
    with changing(engine, by=by.name, now=now) as change:
        candidates = _deduplicated(change.connection, candidates, known, done, now)
        _start(change.connection, candidates, terms, done, now)
        if replayed := [str(one.event_id) for one in done.values() if one.action in ("requeued", "copied")]:
            change.did("replay_events", events=replayed, deduplicate=terms.deduplicate)
    _remember(memory, candidates, now)
    return [done[record.id] for record in records]


def event_of(record: EventRecord) -> Event:
    """Return the event of a whole record."""
    return Event(
        id=record.id,
        integration_id=record.integration_id,
        integration=record.integration,
        version_id=record.version_id,
        received_at=record.received_at,
        body=record.body or "",
        headers=record.headers or {},
        query=record.query,
        remote=record.remote,
        replay_of=record.replay_of,
    )


def _read_configurations(
    connection: Connection, records: Sequence[EventRecord]
) -> tuple[Mapping[UUID, Configuration], Mapping[UUID, UUID]]:
    """Return configurations by version, and for each event the version that it would run under."""
    published = events.published_versions(connection, {record.integration_id for record in records})
    versions = {record.id: published.get(record.integration_id, record.version_id) for record in records}
    wanted = set(versions.values()) | {record.version_id for record in records}
    return integrations.read_configurations(connection, wanted), versions


def _at_stake(
    connection: Connection, wanted: Iterable[tuple[str, UUID]], configurations: Mapping[UUID, Configuration]
) -> dict[tuple[str, UUID], Stakes]:
    """Return what events of integrations would start under versions, as far as these can be read."""
    watching = started_by_watchers(connection)
    known = [each for each in wanted if each[1] in configurations]
    return of_each(
        connection,
        {each: [configurations[each[1]]] for each in known},
        {each: watching.get(each[0], ()) for each in known},
    )


def _refused(
    by: Actor, wanted: Iterable[tuple[str, UUID]], at_stake: Mapping[tuple[str, UUID], Stakes]
) -> dict[tuple[str, UUID], str]:
    if by.is_trusted:
        return {}
    refused: dict[tuple[str, UUID], str] = {}
    for each in wanted:
        if each not in at_stake:
            refused[each] = "the configuration that it would run under is gone"
        elif refusals(by, at_stake[each]):  # unnamed: who replays need not be allowed to read configurations
            refused[each] = "you may not start all that it starts"
    return refused


def _consider(
    record: EventRecord,
    version_id: UUID,
    configurations: Mapping[UUID, Configuration],
    refused: Refused,
    terms: Terms,
    now: datetime,
) -> Replay | _Candidate:
    """Return the event that would run, or why none does."""
    if record.state in ("accepted", "held"):
        return Replay(event_id=record.id, action="pending")
    configuration = configurations.get(version_id)
    if (reason := refused.get((record.integration, version_id))) is not None:
        return Replay(event_id=record.id, action="refused", reason=reason)
    event = replace(event_of(record), version_id=version_id)
    if record.state == "dispatched":
        event = replace(event, id=_new_id(terms.above), received_at=now, replay_of=record.id)
    if terms.deduplicate and configuration is not None:
        try:
            event = replace(event, claim=_claim(record, configuration, configurations.get(record.version_id)))
        except _Undecidable as error:
            return Replay(event_id=record.id, action="refused", reason=error.detail)
    return _Candidate(record=record, event=event)


def _claim(record: EventRecord, configuration: Configuration, before: Configuration | None) -> Claim | None:
    """Return what a configuration claims for a stored event. Raises _Undecidable."""
    deduplication = configuration.deduplication
    if deduplication is None:
        return None
    headers = record.headers or {}
    chosen_before = before.deduplication.parameters if before and before.deduplication else ()
    if record.dedup_hash is not None and chosen_before == deduplication.parameters:
        return Claim(hash=record.dedup_hash, window=deduplication.window)
    if (name := first_redacted(deduplication.parameters, headers, record.query)) is not None:
        raise _Undecidable(f"its hash needs {name}, which holds a secret and was not kept")
    try:
        hash_ = fingerprint(
            integration_id=record.integration_id,
            deduplication=deduplication,
            payload=parse_json((record.body or "").encode()),
            headers=headers,
            query=record.query,
        )
    except IncomingError as error:  # a hash of the sender's own that was never checked
        raise _Undecidable(error.detail) from error
    return None if hash_ is None else Claim(hash=hash_, window=deduplication.window)


def _deduplicated(
    connection: Connection,
    candidates: list[_Candidate],
    known: dict[str, Remembered],
    done: dict[UUID, Replay],
    now: datetime,
) -> list[_Candidate]:
    """Claim the hashes; return the events that own theirs now, and note the duplicates.

    What is refused here slides no window: nobody has sent it again.
    """
    windows = {claim.hash: claim.window for each in candidates if (claim := each.event.claim)}
    if not windows:
        return candidates
    claims = claimed_hashes(connection, windows, known, now=now)
    owners = {hash_: claim.owner for hash_, claim in claims.items()}
    free: list[_Candidate] = []
    for each in candidates:
        claim = each.event.claim
        owner = None if claim is None else owners.setdefault(claim.hash, each.event.id)
        if owner in (None, each.event.id):
            free.append(each)
        elif owner is not None:
            done[each.record.id] = _duplicate(each, owner)
    won = inbox.claim(connection, [each.event for each in free], now=now)
    for each in free:
        owner = won.get(each.event.id, each.event.id)
        if owner != each.event.id:  # somebody was faster
            done[each.record.id] = _duplicate(each, owner)
    return [each for each in free if each.record.id not in done]


def _start(
    connection: Connection,
    candidates: Sequence[_Candidate],
    terms: Terms,
    done: dict[UUID, Replay],
    now: datetime,
) -> None:
    """Queue failed and dead events again, and insert the copies of those that ran."""
    again = [each for each in candidates if each.event.id == each.record.id]
    versions = {each.event.integration_id: each.event.version_id for each in again}
    ids = [each.record.id for each in again]
    requeued = events.requeue(connection, ids, now, versions=versions) if ids else set()
    for each in again:
        action: Action = "requeued" if each.record.id in requeued else "pending"
        done[each.record.id] = Replay(event_id=each.record.id, action=action)
        if terms.deduplicate and action == "requeued":
            claim = each.event.claim
            events.set_hash(connection, each.record.id, claim.hash if claim else None)
    copies = [each for each in candidates if each.event.id != each.record.id]
    if copies:
        inbox.insert_events(connection, [each.event for each in copies])
    for each in copies:
        done[each.record.id] = Replay(event_id=each.record.id, action="copied", new_id=each.event.id)


def _remember(memory: DedupMemory | None, candidates: Sequence[_Candidate], now: datetime) -> None:
    memories = [
        Memory(each.event.claim.hash, Known(each.event.id, now), each.event.claim.window)
        for each in candidates
        if each.event.claim is not None
    ]
    if memory is None or not memories:
        return
    try:
        memory.remember(memories)
    except RedisUnavailable:
        return  # it only makes fast what the database has decided


def _duplicate(each: _Candidate, owner: UUID) -> Replay:
    own = owner == each.record.id
    reason = "it ran already, and its hash is still remembered" if own else f"event {owner} owns its hash"
    return Replay(event_id=each.record.id, action="duplicate", reason=reason)


def _new_id(above: UUID | None) -> UUID:
    """Return a new id; one that exceeds ``above`` even where a clock lags behind."""
    made = make_id()
    if above is None or made > above:
        return made
    return UUID(int=above.int + 1 + randbelow(2**61))


class _Undecidable(IncomingError):
    """The hash of the event can't be told any more."""
