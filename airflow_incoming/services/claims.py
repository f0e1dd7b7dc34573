"""Why a request was a duplicate: the hash of an event, what it was made from, and who owns it now."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from sqlalchemy import Connection, select

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.flatten import MISSING, lookup
from airflow_incoming.core.integration import Configuration, Deduplication
from airflow_incoming.core.payload import parse_json
from airflow_incoming.core.records import EventRecord
from airflow_incoming.core.redaction import REDACTED
from airflow_incoming.db import tables
from airflow_incoming.stores.dedup import DedupMemory, Remembered

log = logging.getLogger(__name__)

_dedup = tables.dedup


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenValue:
    """One parameter of a hash; ``value`` is JSON, or None where the event doesn't have it."""

    name: str
    value: str | None

    @property
    def is_redacted(self) -> bool:
        """Tell whether the value was a secret, or held one, which isn't kept."""
        return self.value is not None and REDACTED in self.value and not self.name.startswith("body.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A hash that is remembered: the event that owns it, and until when the memory lasts.

    ``first_seen_at`` and ``last_seen_at`` are None where only Redis remembers.
    """

    hash: str
    owner: UUID
    expires_at: datetime
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HashStory:
    """Everything about the hash of one event.

    ``deduplication`` is that of the event's version; None where it has none. ``claimed`` is None where
    the hash is not remembered any more. ``is_certain``: Redis, where there is one, was asked, too.
    """

    hash: str | None
    deduplication: Deduplication | None
    chosen: tuple[ChosenValue, ...]
    claimed: Claimed | None
    duplicates: int
    is_certain: bool

    @property
    def is_own_hash(self) -> bool:
        """Tell whether the sender chose the hash itself, in a header."""
        return len(self.chosen) == 1 and self.chosen[0].name.startswith("header.")


def story_of(
    connection: Connection,
    memory: DedupMemory | None,
    record: EventRecord,
    configuration: Configuration | None,
    *,
    asking: Configuration | None,
    duplicates: int,
    now: datetime,
) -> HashStory:
    """Return why requests like this event are duplicates, or aren't.

    ``asking`` is the configuration under which they would come now, if any.
    """
    deduplication = configuration.deduplication if configuration else None
    asks = (asking and asking.deduplication) or deduplication or Deduplication(parameters=())
    windows = {record.dedup_hash: asks.window} if record.dedup_hash else {}
    known, certain = peek(memory, windows)
    claims = claimed_hashes(connection, windows, known, now=now)
    return HashStory(
        hash=record.dedup_hash,
        deduplication=deduplication,
        chosen=tuple(_chosen(record, name) for name in deduplication.parameters) if deduplication else (),
        claimed=claims.get(record.dedup_hash or ""),
        duplicates=duplicates,
        is_certain=certain,
    )


def peek(memory: DedupMemory | None, hashes: Iterable[str]) -> tuple[dict[str, Remembered], bool]:
    """Return what Redis remembers, and whether it could be asked where there is one."""
    if memory is None:
        return {}, True
    try:
        return memory.peek(hashes), True
    except RedisUnavailable as error:
        log.warning("%s; the database alone tells who owns a hash", error.detail)
        return {}, False


def claimed_hashes(
    connection: Connection, windows: Mapping[str, timedelta], known: dict[str, Remembered], *, now: datetime
) -> dict[str, Claimed]:
    """Return those of the hashes that are remembered now, by the database or by Redis (``known``).

    ``windows`` says for each under what window it is asked for.
    """
    claims = {
        hash_: Claimed(hash=hash_, owner=each.known.event_id, expires_at=now - each.ago + windows[hash_])
        for hash_, each in known.items()
    }
    for row in connection.execute(select(_dedup).where(_dedup.c.hash.in_(list(windows)))):
        expires_at = row.last_seen_at + windows[row.hash]
        in_redis = claims.get(row.hash)
        claims[row.hash] = Claimed(
            hash=row.hash,
            owner=row.event_id,
            # Redis slides with every request, the database at most once an hour.
            expires_at=max(expires_at, in_redis.expires_at) if in_redis else expires_at,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
        )
    return {hash_: claim for hash_, claim in claims.items() if claim.expires_at > now}


def _chosen(record: EventRecord, name: str) -> ChosenValue:
    source, _, key = name.partition(".")
    value: Any
    if source == "body":
        value = lookup(parse_json((record.body or "{}").encode()), key)
    elif source == "header":
        value = (record.headers or {}).get(key, MISSING)
    else:
        values = parse_qs(record.query, keep_blank_values=True).get(key)
        value = MISSING if values is None else values[0] if len(values) == 1 else values
    return ChosenValue(name=name, value=None if value is MISSING else json.dumps(value, ensure_ascii=False))
