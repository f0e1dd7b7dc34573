"""The fast memory of deduplication hashes: Redis, and a twin in memory.

It only ever says "known" of a hash whose first event is stored; whatever it has lost, or can't
read, the claims in the database decide. A known hash slides its time to live in the same command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.redis_connection import (
    TIMEOUT,
    exchange,
    for_each,
    is_refused,
    keep_line,
    spread,
)

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

#: Both take as many keys as there are hashes. What somebody else put at a key of ours isn't known.
_LOOK = """
local found = {}
for i, key in ipairs(KEYS) do
    local value = redis.pcall('GETEX', key, 'PX', ARGV[i])
    if type(value) == 'table' then
        if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
        value = false
    end
    if not value or string.find(value, '\\n', 1, true) then value = '' end
    found[i] = value
end
return table.concat(found, '\\n')
"""
_REMEMBER = """
for i, key in ipairs(KEYS) do
    redis.call('SET', key, ARGV[2 * i - 1], 'PX', ARGV[2 * i])
end
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a hash: its first event, and when the database last slid its claim."""

    event_id: UUID
    slid_at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """One hash to remember for ``window`` from now on."""

    hash: str
    known: Known
    window: timedelta


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a hash, and how much longer."""

    known: Known
    remaining: timedelta


class DedupMemory(Protocol):
    """Remembers hashes for a while. Every verb raises RedisUnavailable."""

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """Return what is known of these hashes, and slide the known ones to now plus their window."""

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """Return what is known of these hashes and for how long, and slide nothing."""

    def remember(self, memories: Iterable[Memory]) -> None:
        """Remember hashes, replacing what was known of them."""

    def forget(self, hash_: str) -> None:
        """Forget a hash."""

    def ping(self) -> None:
        """Return if the memory is in reach and can remember."""


class InMemoryDedup:
    """The twin: a dict with expiry, for one process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: dict[str, tuple[Known, float]] = {}

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        found = {}
        for hash_, window in windows.items():
            known, expires = self._known.get(hash_, (None, 0.0))
            if known is not None and now < expires:
                found[hash_] = known
                self._known[hash_] = (known, now + window.total_seconds())
        return found

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        held = {hash_: self._known[hash_] for hash_ in hashes if hash_ in self._known}
        return {
            hash_: Remembered(known, timedelta(seconds=expires - now))
            for hash_, (known, expires) in held.items()
            if now < expires
        }

    def remember(self, memories: Iterable[Memory]) -> None:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        for memory in memories:
            self._known[memory.hash] = (memory.known, now + memory.window.total_seconds())

    def forget(self, hash_: str) -> None:
        """See :class:`DedupMemory`."""
        self._known.pop(hash_, None)

    def ping(self) -> None:
        """See :class:`DedupMemory`."""


class RedisDedup:
    """One key per hash, ``<prefix>:dedup:<hash>``, holding the event id and the time of sliding.

    A look that takes more than ``timeout`` seconds in all counts as failed: the database is faster.
    """

    def __init__(self, client: Client, *, prefix: str, timeout: float = TIMEOUT) -> None:
        self._client = client
        self._prefix = f"{prefix}:dedup:"
        line = keep_line(client)
        self._look = for_each(line, _LOOK, lambda key, window: ("GETEX", key, "PX", window))
        self._remember = for_each(
            line, _REMEMBER, lambda key, value, window: ("SET", key, value, "PX", window)
        )
        self._timeout = timeout

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """See :class:`DedupMemory`; one round trip, one command, unless it is a cluster."""
        began = time.monotonic()
        answers = self._look(
            [self._prefix + key for key in windows],
            [_milliseconds(window) for window in windows.values()],
        )
        if time.monotonic() - began > self._timeout:  # each part in time, and all of it late
            raise RedisUnavailable("Redis: slow")
        decoded = {key: _decode(answer) for key, answer in zip(windows, answers, strict=False)}
        return {key: known for key, known in decoded.items() if known is not None}

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """See :class:`DedupMemory`; one round trip."""
        keys = list(dict.fromkeys(hashes))
        answers = self._exchange(
            [(command, self._prefix + key) for key in keys for command in ("GET", "PTTL")]
        )
        found = {}
        for key, value, remaining in zip(keys, answers[::2], answers[1::2], strict=True):
            known = _decode(value)
            # A key may expire between the two commands.
            if known is not None and isinstance(remaining, int) and remaining > 0:
                found[key] = Remembered(known, timedelta(milliseconds=remaining))
        return found

    def remember(self, memories: Iterable[Memory]) -> None:
        """See :class:`DedupMemory`; one round trip, one command, unless it is a cluster."""
        memories = list(memories)
        self._remember(
            [self._prefix + memory.hash for memory in memories],
            [
                argument
                for memory in memories
                for argument in (_encode(memory.known), _milliseconds(memory.window))
            ],
        )

    def forget(self, hash_: str) -> None:
        """See :class:`DedupMemory`."""
        self._exchange([("DEL", self._prefix + hash_)])

    def ping(self) -> None:
        """See :class:`DedupMemory`; a full or read-only Redis would answer PING."""
        keys = spread(self._client, self._prefix + "ping")
        self._exchange([("SET", key, "", "PX", 1000) for key in keys])

    def _exchange(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        answers = exchange(self._client, commands)
        if not answers:
            return []
        if all(is_refused(answer) for answer in answers):
            raise RedisUnavailable(f"Redis refuses: {type(answers[0]).__name__}") from answers[0]
        return answers


def _milliseconds(window: timedelta) -> int:
    return int(window.total_seconds() * 1000)


def _encode(known: Known) -> str:
    return f"{known.event_id.hex}:{known.slid_at.timestamp():.3f}"


def _decode(answer: Any) -> Known | None:
    """Return what a key holds; None where that is nothing, or not ours."""
    if not isinstance(answer, bytes) or not answer:
        return None
    try:
        event_id, _, slid_at = answer.decode("ascii").partition(":")
        return Known(UUID(hex=event_id), datetime.fromtimestamp(float(slid_at), timezone.utc))
    except (ValueError, OverflowError, OSError):
        return None
