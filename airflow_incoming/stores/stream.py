"""The streams of accepted events: Redis, and a twin in memory.

Published to by dispatchers, read by tasks. Triggers read them, too, but asynchronously: see
:mod:`airflow_incoming.triggers`. Streams are bounded in length, in memory and
in time; room is made before something is added, so that a Redis that is full can be left that way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from airflow_incoming.core.errors import RedisUnavailable
from airflow_incoming.core.stream import (
    KEPT,
    Entry,
    Keys,
    Limits,
    Position,
    Take,
    before,
    parse_position,
    size_of,
)
from airflow_incoming.stores.redis_connection import ask, spread

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

#: Somebody tells the names of integrations every few seconds; older ones are no news.
NAMES_KEPT = timedelta(hours=1)

#: Cuts off the oldest entries until the rest takes no more memory than this; a tenth at least, lest that
#: happens at every publishing. Entries differ in size, so it looks again. XTRIM works in a full Redis, too.
_MAKE_ROOM = """
local length = redis.call('XLEN', KEYS[1])
while length > 0 do
    local size = redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0)
    if size <= tonumber(ARGV[1]) then break end
    length = math.floor(length * 0.9)
    redis.call('XTRIM', KEYS[1], 'MAXLEN', length)
end
return length
"""
_NOW = "return redis.call('TIME')"
#: Who has an event, and what somebody has, are written together, and kept from then on for as long.
_TAKE = """
local taken = {}
for i = 1, #KEYS / 2 do
    local event, own, taker = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i]
    redis.call('SET', event, taker, 'NX', 'PX', ARGV[1])
    taken[i] = redis.call('GET', event) == taker and 1 or 0
    if taken[i] == 1 then
        redis.call('SET', own, ARGV[2 * i + 1], 'PX', ARGV[1])
        redis.call('PEXPIRE', event, ARGV[1])
    end
end
return taken
"""


class EventStream(Protocol):
    """One stream for each integration. Every verb raises RedisUnavailable."""

    def publish(self, entries: Sequence[Entry]) -> None:
        """Append events, each to the stream of its integration, in this order; all of them or an error."""

    def announce(self, names: Iterable[str]) -> bool:
        """Tell the names of all integrations; False where Redis remembers nothing of former calls."""

    def names(self) -> frozenset[str] | None:
        """Return the names of all integrations; None where nobody has told them lately."""

    def now(self, integration: str) -> Position:
        """Return a position that whatever is published from now on comes after, by its stream's clock."""

    def read(self, integration: str, *, after: Position, limit: int) -> list[tuple[Position, dict[str, str]]]:
        """Return up to ``limit`` entries that come after a position, oldest first."""

    def take(self, integration: str, take: Take) -> bool:
        """Take an event that only one may have; True for whoever was first, and for nobody else ever."""

    def own(self, integration: str, *, taker: str) -> Position | None:
        """Return the position of the event that somebody took last; None where there is none."""


class InMemoryStream:
    """The twin: lists, for one process."""

    def __init__(self, *, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self._limits = limits
        self._clock = clock
        self._number = count()
        self._streams: dict[str, list[tuple[Position, dict[str, str]]]] = {}
        self._takers: dict[tuple[str, str], str] = {}
        self._own: dict[tuple[str, str], Position] = {}
        self._names: frozenset[str] | None = None

    def publish(self, entries: Sequence[Entry]) -> None:
        """See :class:`EventStream`."""
        for entry in entries:
            stream = self._streams.setdefault(entry.integration, [])
            position = Position(int(self._clock() * 1000), next(self._number))
            stream.append((position, entry.fields()))
            del stream[: -self._limits.length]
            while len(stream) > 1 and sum(size_of(fields) for _, fields in stream) > self._limits.size:
                del stream[0]

    def announce(self, names: Iterable[str]) -> bool:
        """See :class:`EventStream`."""
        remembered = self._names is not None
        self._names = frozenset(names)
        return remembered

    def names(self) -> frozenset[str] | None:
        """See :class:`EventStream`."""
        return self._names

    def now(self, integration: str) -> Position:
        """See :class:`EventStream`."""
        return before(int(self._clock() * 1000))

    def read(self, integration: str, *, after: Position, limit: int) -> list[tuple[Position, dict[str, str]]]:
        """See :class:`EventStream`."""
        return [entry for entry in self._streams.get(integration, []) if entry[0] > after][:limit]

    def take(self, integration: str, take: Take) -> bool:
        """See :class:`EventStream`."""
        if self._takers.setdefault((integration, take.event_id), take.taker) != take.taker:
            return False
        self._own[integration, take.taker] = take.position
        return True

    def own(self, integration: str, *, taker: str) -> Position | None:
        """See :class:`EventStream`."""
        return self._own.get((integration, taker))


class RedisStream:
    """Redis streams, ``<prefix>:{<integration>}:events``, which keep to the limits more or less."""

    def __init__(self, client: Client, *, prefix: str, limits: Limits) -> None:
        self._client = client
        self._keys = Keys(prefix=prefix)
        self._limits = limits
        #: Bytes by stream that may be added before its memory is looked at again: that takes a millisecond.
        self._room: dict[str, int] = {}

    def publish(self, entries: Sequence[Entry]) -> None:
        """See :class:`EventStream`; one round trip."""
        if not entries:
            return
        streams: dict[str, list[Entry]] = {}
        for entry in entries:
            streams.setdefault(self._keys.events(entry.integration), []).append(entry)
        commands = [command for key, added in streams.items() for command in self._appending(key, added)]
        try:
            ask(self._client, commands)
        except RedisUnavailable:
            self._room.clear()
            raise

    def _appending(self, key: str, entries: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
        limits, room = self._limits, self._room.get(key, 0)
        oldest = int((time.time() - limits.kept.total_seconds()) * 1000)
        yield ("XTRIM", key, "MINID", "~", oldest)
        for entry in entries:
            fields = entry.fields()
            if room < (size := size_of(fields)):  # a batch may be larger than all that is kept
                room = max(size, limits.size // 16)
                yield ("EVAL", _MAKE_ROOM, 1, key, limits.size - room)
            room -= size
            pairs = [part for field in fields.items() for part in field]
            yield ("XADD", key, "MAXLEN", "~", limits.length, "*", *pairs)
        self._room[key] = room
        yield ("PEXPIRE", key, milliseconds(limits.kept))

    def announce(self, names: Iterable[str]) -> bool:
        """See :class:`EventStream`; one round trip. Each node of a cluster may lose its memory."""
        told = json.dumps(sorted(names))
        *is_new, _ = ask(
            self._client,
            [
                *(("SET", key, "1", "NX") for key in spread(self._client, self._keys.memory)),
                ("SET", self._keys.names, told, "PX", milliseconds(NAMES_KEPT)),
            ],
        )
        return not any(is_new)

    def names(self) -> frozenset[str] | None:
        """See :class:`EventStream`."""
        (told,) = ask(self._client, [("GET", self._keys.names)])
        return frozenset(json.loads(told)) if isinstance(told, bytes) else None

    def now(self, integration: str) -> Position:
        """See :class:`EventStream`; the clock is that of the node which has the stream."""
        ((seconds, microseconds),) = ask(self._client, [("EVAL", _NOW, 1, self._keys.events(integration))])
        return before(int(seconds) * 1000 + int(microseconds) // 1000)

    def read(self, integration: str, *, after: Position, limit: int) -> list[tuple[Position, dict[str, str]]]:
        """See :class:`EventStream`."""
        (entries,) = ask(
            self._client, [("XRANGE", self._keys.events(integration), f"({after}", "+", "COUNT", limit)]
        )
        return [entry_of_answer(entry) for entry in entries]

    def take(self, integration: str, take: Take) -> bool:
        """See :class:`EventStream`."""
        ((taken,),) = ask(self._client, [take_command(self._keys, integration, [take])])
        return bool(taken)

    def own(self, integration: str, *, taker: str) -> Position | None:
        """See :class:`EventStream`."""
        (held,) = ask(self._client, [("GET", self._keys.own(integration, taker))])
        return parse_position(_text(held)) if held else None


def take_command(keys: Keys, integration: str, takes: Sequence[Take]) -> tuple[Any, ...]:
    """Return the command that takes events; it is answered with 1 or 0 for each."""
    names = [
        key
        for take in takes
        for key in (keys.taker(integration, take.event_id), keys.own(integration, take.taker))
    ]
    arguments = [argument for take in takes for argument in (take.taker, str(take.position))]
    return ("EVAL", _TAKE, len(names), *names, milliseconds(KEPT), *arguments)


def entry_of_answer(answer: Any) -> tuple[Position, dict[str, str]]:
    """Return position and fields of an entry as redis-py gives it: of a list, or of a dict."""
    position, fields = answer
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return parse_position(_text(position)), {_text(name): _text(value) for name, value in pairs}


def milliseconds(duration: timedelta) -> int:
    """Return a duration as Redis takes it."""
    return int(duration.total_seconds() * 1000)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
