"""The fast memory of deduplication hashes: Redis, and a twin in memory.

It only ever says "known" of a hash whose first event is stored; whatever it has lost, or can't
read, the claims in the database decide. A known hash slides its time to live in the same command.

A hash counts as known for the window of who asks, from when it was last sent; the window under which it
was remembered may have been another. What was forgotten leaves the id of its event behind for a while: of
that event, or an older one, nothing is remembered that was decided before.
"""

from __future__ import annotations

import time
from binascii import a2b_hex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.stores.redis_connection import (
    TIMEOUT,
    ask,
    exchange,
    for_each,
    is_refused,
    keep_line,
    spread,
)

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

#: How long it is told of a hash what was forgotten of it: longer than any process stands still between
#: committing an event and remembering it.
FORGOTTEN = timedelta(days=1)

#: A value is the event's id, when the database has slid its claim (both of one width), and the window in
#: milliseconds: time to live began with that. What another release or somebody else put at a key of ours
#: isn't known. These take as many keys as there are hashes; windows that are alike, as they nearly always
#: are, cost no second look.
_LOOK = """
local call, sub = redis.call, string.sub
local found = call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
    local value, asked = found[i], ARGV[i]
    if not value then
        found[i] = ''
    elseif sub(value, 49) == asked then
        call('PEXPIRE', key, asked)
    else
        local window = string.match(value, '^%x+:[%d.]+:(%d+)$')
        if window and window - call('PTTL', key) < tonumber(asked) then
            call('SET', key, sub(value, 1, 48) .. asked, 'PX', asked)
        else
            found[i] = ''
        end
    end
end
return table.concat(found, '\\n')
"""
#: Ids grow with time: what is known of a newer event, or was forgotten of this one, isn't overwritten.
_REMEMBER = """
local call, sub = redis.call, string.sub
local held = call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
    local old, new = held[i], ARGV[2 * i - 1]
    local id = old and sub(old, 33, 33) == ':' and sub(old, 1, 32)
    if not id or id < sub(new, 1, 32) or (id == sub(new, 1, 32) and sub(old, 34) ~= ':') then
        call('SET', key, new, 'PX', ARGV[2 * i])
    end
end
"""
#: KEYS: the hash. ARGV: the id of the event that owned it, or nothing, and how long to tell of it.
_FORGET = """
local id = string.match(redis.call('MGET', KEYS[1])[1] or '', '^(%x+):') or ''
if id < ARGV[1] then id = ARGV[1] end
if id == '' then return redis.call('DEL', KEYS[1]) end
return redis.call('SET', KEYS[1], id .. '::', 'PX', ARGV[2])
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
    """What is known of a hash, and how long ago it was last sent."""

    known: Known
    ago: timedelta


class DedupMemory(Protocol):
    """Remembers hashes for a while. Every verb raises RedisUnavailable."""

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """Return what is known of these hashes, and slide the known ones to now plus their window."""

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """Return what is known of these hashes, under whatever window, and slide nothing."""

    def remember(self, memories: Iterable[Memory]) -> None:
        """Remember hashes, replacing what was known of them, unless that is of a newer event.

        Nothing happens where the event, or a newer one, was forgotten.
        """

    def forget(self, hash_: str, event_id: UUID | None) -> None:
        """Forget a hash, and for a day whatever is yet to be remembered of the event that owned it."""

    def ping(self) -> None:
        """Return if the memory is in reach and can remember."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What the twin holds of a hash; ``known`` None: of this event, and older ones, it was forgotten."""

    event_id: UUID
    known: Known | None
    since: float
    until: float


class InMemoryDedup:
    """The twin: a dict with expiry, for one process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._memory: dict[str, _Held] = {}

    def look(self, windows: Mapping[str, timedelta]) -> dict[str, Known]:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        found = {}
        for hash_, window in windows.items():
            held = self._held(hash_)
            if held is None or held.known is None or now - held.since >= window.total_seconds():
                continue
            found[hash_] = held.known
            self._memory[hash_] = replace(held, since=now, until=now + window.total_seconds())
        return found

    def peek(self, hashes: Iterable[str]) -> dict[str, Remembered]:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        return {
            hash_: Remembered(held.known, timedelta(seconds=now - held.since))
            for hash_ in hashes
            if (held := self._held(hash_)) is not None and held.known is not None
        }

    def remember(self, memories: Iterable[Memory]) -> None:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        for memory in memories:
            held, event_id = self._held(memory.hash), memory.known.event_id
            if held is None or held.event_id < event_id or (held.event_id == event_id and held.known):
                until = now + memory.window.total_seconds()
                self._memory[memory.hash] = _Held(event_id, memory.known, now, until)

    def forget(self, hash_: str, event_id: UUID | None) -> None:
        """See :class:`DedupMemory`."""
        now = self._monotonic()
        held = self._held(hash_)
        ids = [*([event_id] if event_id else []), *([held.event_id] if held else [])]
        if ids:
            self._memory[hash_] = _Held(max(ids), None, now, now + FORGOTTEN.total_seconds())

    def ping(self) -> None:
        """See :class:`DedupMemory`."""

    def _held(self, hash_: str) -> _Held | None:
        held = self._memory.get(hash_)
        return held if held is not None and self._monotonic() < held.until else None


class RedisDedup:
    """One key per hash, ``<prefix>:dedup:<hash>``, for as long as its window.

    A look that takes more than ``timeout`` seconds in all counts as failed: the database is faster.
    """

    def __init__(self, client: Client, *, prefix: str, timeout: float = TIMEOUT) -> None:
        self._client = client
        self._prefix = f"{prefix}:dedup:"
        line = keep_line(client)
        self._look = for_each(line, _LOOK)
        self._remember = for_each(line, _REMEMBER)
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
        if len(answers) != len(windows):  # somebody else's value has a line feed in it
            return {}
        decoded = {key: _decode(answer) for key, answer in zip(windows, answers, strict=True)}
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
                ago = int(value.rpartition(b":")[2]) - remaining
                found[key] = Remembered(known, timedelta(milliseconds=ago))
        return found

    def remember(self, memories: Iterable[Memory]) -> None:
        """See :class:`DedupMemory`; one round trip, one command, unless it is a cluster."""
        memories = list(memories)
        arguments: list[str | int] = []
        for memory in memories:
            window = _milliseconds(memory.window)
            arguments += _encode(memory.known, window), window
        self._remember([self._prefix + memory.hash for memory in memories], arguments)

    def forget(self, hash_: str, event_id: UUID | None) -> None:
        """See :class:`DedupMemory`."""
        owner = "" if event_id is None else event_id.hex
        ask(self._client, [("EVAL", _FORGET, 1, self._prefix + hash_, owner, _milliseconds(FORGOTTEN))])

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


def _encode(known: Known, window: int) -> str:
    return f"{known.event_id.hex}:{known.slid_at.timestamp():.3f}:{window}"


def _decode(answer: Any) -> Known | None:
    """Return what a key holds; None where that is nothing, or not ours."""
    if not isinstance(answer, bytes) or not answer:
        return None
    try:
        event_id, slid_at, window = answer.split(b":")
        if not window.isdigit():
            return None
        return Known(UUID(bytes=a2b_hex(event_id)), datetime.fromtimestamp(float(slid_at), timezone.utc))
    except (ValueError, OverflowError, OSError):
        return None
