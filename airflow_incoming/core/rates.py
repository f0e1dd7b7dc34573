"""Rate limits by the generic cell rate algorithm: one number per key, no background work.

50/s means: up to 50 at once after a quiet time, then one each 20 ms. So of a flood 99 conform in its first
second, and 50 in each one after that.

See ITU-T I.371, "Generic Cell Rate Algorithm" (the virtual scheduling form).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from airflow_incoming.core.units import Rate


def conform(arrival: float | None, rate: Rate, now: float) -> tuple[float, float]:
    """Decide one request: return (seconds to wait, 0 when it conforms; the next theoretical arrival).

    ``arrival`` is the theoretical arrival time kept from the last conforming request, in seconds; it
    is never more than a period ahead, unless a clock was set back. A burst of up to ``rate.count``
    conforms after a quiet period.
    """
    spacing = rate.period / rate.count
    expected = now if arrival is None else min(max(arrival, now), now + rate.period)
    wait = expected + spacing - rate.period - now
    if wait > 1e-9:
        return wait, expected
    return 0.0, expected + spacing


class RateLimiter:
    """Rate limits of one process, for the ``capacity`` keys that were used last."""

    def __init__(self, monotonic: Callable[[], float], *, capacity: int = 10_000) -> None:
        self._monotonic = monotonic
        self._capacity = capacity
        self._arrivals: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str, rate: Rate) -> float:
        """Count one request; return 0, or the seconds after which the key may try again."""
        with self._lock:
            wait, arrival = conform(self._arrivals.pop(key, None), rate, self._monotonic())
            self._arrivals[key] = arrival
            while len(self._arrivals) > self._capacity:
                self._arrivals.popitem(last=False)
            return wait
