"""Rates that several processes count together: Redis, and a twin in memory.

The algorithm is that of :mod:`core.rates`; Redis's own clock counts, so that the processes' clocks
needn't agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from airflow_incoming.core.rates import RateLimiter
from airflow_incoming.core.units import Rate
from airflow_incoming.stores.redis_connection import ask

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import Client

# KEYS: the key. ARGV: period in microseconds, requests per period, requests that ask now.
# Returns how many of them conform, and the microseconds after which another one does.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local period, count, asked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held = redis.pcall('GET', KEYS[1])
local expected = type(held) == 'string' and tonumber(held) or now
if not (expected > now) then expected = now end
if expected > now + period then expected = now + period end
local spacing = period / count
local granted = math.min(math.floor((now + period - expected) / spacing + 0.001), asked)
if granted > 0 then
    expected = expected + granted * spacing
    local lifetime = math.ceil((expected - now) / 1000) + 1
    redis.call('SET', KEYS[1], string.format('%.3f', expected), 'PX', string.format('%d', lifetime))
end
return {granted, math.max(math.ceil(expected + spacing - period - now), 0)}
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """``count`` requests of one key at once."""

    key: str
    rate: Rate
    count: int


@dataclass(frozen=True, slots=True)
class Grant:
    """How many of the requests conform, and the seconds after which another one does."""

    count: int
    wait: float


class RateStore(Protocol):
    """Counts requests. Raises RedisUnavailable."""

    def take(self, asks: Sequence[Ask]) -> list[Grant]:
        """Count requests; return what is granted to each ask. Refused requests cost nothing."""


class InMemoryRates:
    """The twin: for one process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limiter = RateLimiter(monotonic)

    def take(self, asks: Sequence[Ask]) -> list[Grant]:
        """See :class:`RateStore`."""
        return [self._take(ask) for ask in asks]

    def _take(self, ask: Ask) -> Grant:
        for granted in range(ask.count):
            wait = self._limiter.take(ask.key, ask.rate)
            if wait > 0:
                return Grant(granted, wait)
        return Grant(ask.count, 0.0)


class RedisRates:
    """One number per key and rate, ``<prefix>:rate:<key>:<rate>``, that lives as long as it matters."""

    def __init__(self, client: Client, *, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}:rate:"

    def take(self, asks: Sequence[Ask]) -> list[Grant]:
        """See :class:`RateStore`; one round trip."""
        # Not by the script's hash: a server that has lost it would cost a second round trip.
        commands = [
            (
                *("EVAL", _TAKE, 1, f"{self._prefix}{one.key}:{one.rate}"),
                *(one.rate.period * 1_000_000, one.rate.count, one.count),
            )
            for one in asks
        ]
        answers = ask(self._client, commands)
        return [Grant(int(granted), wait / 1_000_000) for granted, wait in answers]
