"""Metrics, through Airflow's own StatsD or OpenTelemetry: added up in passing, sent now and then.

Names are in :data:`NAMES`, documented in the README. Airflow puts its prefix in front. StatsD without
tags sees the names alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from random import randrange
from typing import Protocol

from airflow_incoming.services.batches import Tally

#: What we send. ``<…>`` stands for an error's code or an integration's name.
NAMES: dict[str, str] = {
    "incoming.received": "counter, by integration: requests for an endpoint, whatever became of them",
    "incoming.accepted": "counter, by integration: requests that became an event",
    "incoming.duplicate": "counter, by integration: requests that were sent before",
    "incoming.rejected.<code>": "counter, by integration: refused requests, by the code of the answer",
    "incoming.accept_time": "timer, by integration: from the end of the request to its answer (a sample)",
    "incoming.dispatched": "counter: events whose DAG runs and asset events were made",
    "incoming.failed": "counter: attempts to dispatch an event that failed and will be repeated",
    "incoming.dead": "counter: events that were given up",
    "incoming.dispatch_lag": "timer: from receipt to the committed DAG run",
    "incoming.inbox.waiting": "gauge: events that wait for a dispatcher",
    "incoming.inbox.oldest": "gauge: age of the oldest of these, in seconds",
    "incoming.inbox.failed": "gauge: events that are tried again",
    "incoming.inbox.held": "gauge: events that suspended integrations hold",
    "incoming.inbox.dead": "gauge: events that were given up and are kept",
    "incoming.silence.<integration>": (
        "gauge: seconds since the newest event of a published integration; without one, "
        "since it was published"
    ),
}
#: Times that are sent in one go; of more, a random sample.
MOST_TIMES = 200


class Emits(Protocol):
    """What sends metrics; Airflow's ``stats`` behind a smaller face."""

    def count(self, name: str, number: int, integration: str | None = None) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""

    def time(self, name: str, seconds: float, integration: str | None = None) -> None:
        """Record how long something took."""


class Meter:
    """Adds up what happens to requests; ``flush`` sends it. May be called from any thread."""

    def __init__(self, emit: Emits) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._times: list[tuple[float, str]] = []
        self._timed = 0

    def answered(self, status: str, integration: str, seconds: float) -> None:
        """Count an accepted or a duplicate request, which took so long."""
        with self._lock:
            self._counts[f"incoming.{status}", integration] += 1
            self._timed += 1
            if len(self._times) < MOST_TIMES:
                self._times.append((seconds, integration))
            elif (place := randrange(self._timed)) < MOST_TIMES:  # noqa: S311 -- a sample, no secret
                self._times[place] = (seconds, integration)

    def rejected(self, code: str, integration: str | None) -> None:
        """Count a refused request; ``integration`` is None where nobody knows the endpoint."""
        with self._lock:
            self._counts[f"incoming.rejected.{code}", integration] += 1

    def flush(self) -> None:
        """Send what there is, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            times, self._times, self._timed = self._times, [], 0
        received: Counter[str | None] = Counter()
        for (name, integration), number in counts.items():
            received[integration] += number
            self._emit.count(name, number, integration)
        for integration, number in received.items():
            self._emit.count("incoming.received", number, integration)
        for seconds, integration in times:
            self._emit.time("incoming.accept_time", seconds, integration)


class DispatchMetrics:
    """Sends what became of each batch of a dispatcher."""

    def __init__(self, emit: Emits) -> None:
        self._emit = emit

    def dispatched(self, tally: Tally, lags: Sequence[float]) -> None:
        """Send counts and times of a committed batch; ``lags`` are seconds from receipt to dispatch."""
        counts = {"dispatched": tally.dispatched, "failed": tally.failed, "dead": tally.dead}
        for name, number in counts.items():
            if number:
                self._emit.count(f"incoming.{name}", number)
        for seconds in lags:
            self._emit.time("incoming.dispatch_lag", seconds)


class AirflowStats:
    """Airflow's own ``stats``, made ready in this process."""

    def __init__(self) -> None:
        from airflow.configuration import conf
        from airflow.observability import stats
        from airflow.observability.metrics.stats_utils import get_stats_factory

        self._stats = stats
        # The api-server has done so already, with the same values; our own processes have not.
        legacy = conf.getboolean("metrics", "legacy_names_on", fallback=True)
        stats.initialize(factory=get_stats_factory(), export_legacy_names=legacy)

    def count(self, name: str, number: int, integration: str | None = None) -> None:
        """Add to a counter."""
        self._stats.incr(name, number, tags=_tags(integration))

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._stats.gauge(name, value)

    def time(self, name: str, seconds: float, integration: str | None = None) -> None:
        """Record how long something took."""
        self._stats.timing(name, seconds * 1000, tags=_tags(integration))


def _tags(integration: str | None) -> dict[str, str] | None:
    return None if integration is None else {"integration": integration}


class NoMetrics:
    """For an Airflow that sends no metrics."""

    def answered(self, status: str, integration: str, seconds: float) -> None:
        """Do nothing."""

    def rejected(self, code: str, integration: str | None) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""
