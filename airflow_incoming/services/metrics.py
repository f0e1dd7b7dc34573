"""Metrics, through Airflow's own StatsD or OpenTelemetry: added up in passing, sent now and then.

Names are in :data:`NAMES`, documented in the README. Airflow puts its prefix in front. StatsD without
tags sees the names alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from random import randrange
from typing import Literal, Protocol

from airflow_incoming.services.batches import Tally

RECEIVED = "incoming.received"
ACCEPTED = "incoming.accepted"
DUPLICATE = "incoming.duplicate"
CAPTURED = "incoming.captured"
REJECTED = "incoming.rejected.<code>"
TOKEN_REJECTED = "incoming.token_rejected.<code>"
ACCEPT_TIME = "incoming.accept_time"
DISPATCHED = "incoming.dispatched"
FAILED = "incoming.failed"
DEAD = "incoming.dead"
DISPATCH_LAG = "incoming.dispatch_lag"
INBOX_WAITING = "incoming.inbox.waiting"
INBOX_OLDEST = "incoming.inbox.oldest"
INBOX_FAILED = "incoming.inbox.failed"
INBOX_HELD = "incoming.inbox.held"
INBOX_DEAD = "incoming.inbox.dead"
SILENCE = "incoming.silence.<integration>"

#: What we send. ``<…>`` stands for an error's code or an integration's name.
NAMES: dict[str, str] = {
    RECEIVED: "counter, by integration: requests for an endpoint, known or not, whatever became of them",
    ACCEPTED: "counter, by integration: requests that became an event",
    DUPLICATE: "counter, by integration: requests that were sent before",
    CAPTURED: "counter, by integration: requests to a draft that *Retrieve data* took",
    REJECTED: "counter, by integration: refused requests, by the code of the answer",
    TOKEN_REJECTED: "counter: refused attempts to exchange an API key for a JWT; not among those received",
    ACCEPT_TIME: "timer, by integration: from the end of the request to its answer (a sample)",
    DISPATCHED: "counter: events whose DAG runs and asset events were made",
    FAILED: "counter: attempts to dispatch an event that failed and will be repeated",
    DEAD: "counter: events that were given up",
    DISPATCH_LAG: "timer: from receipt to the committed DAG run",
    INBOX_WAITING: "gauge: events that wait for a dispatcher",
    INBOX_OLDEST: "gauge: age of the oldest of these, in seconds",
    INBOX_FAILED: "gauge: events that are tried again",
    INBOX_HELD: "gauge: events that suspended integrations hold",
    INBOX_DEAD: "gauge: events that were given up and are kept",
    SILENCE: (
        "gauge: seconds since the newest event of a published integration; without one, "
        "since it was published"
    ),
}
_ANSWERED = {"accepted": ACCEPTED, "duplicate": DUPLICATE}
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
        self._tokens: Counter[str] = Counter()
        self._times: list[tuple[float, str]] = []
        self._timed = 0

    def answered(self, status: Literal["accepted", "duplicate"], integration: str, seconds: float) -> None:
        """Count an accepted or a duplicate request, which took so long."""
        with self._lock:
            self._counts[_ANSWERED[status], integration] += 1
            self._timed += 1
            if len(self._times) < MOST_TIMES:
                self._times.append((seconds, integration))
            elif (place := randrange(self._timed)) < MOST_TIMES:  # noqa: S311 -- a sample, no secret
                self._times[place] = (seconds, integration)

    def captured(self, integration: str) -> None:
        """Count a request that became a sample and nothing else."""
        with self._lock:
            self._counts[CAPTURED, integration] += 1

    def rejected(self, code: str, integration: str | None) -> None:
        """Count a refused request; ``integration`` is None where nobody knows the endpoint."""
        with self._lock:
            self._counts[REJECTED.replace("<code>", code), integration] += 1

    def token_rejected(self, code: str) -> None:
        """Count a refused attempt to obtain a token, which is no request for an endpoint."""
        with self._lock:
            self._tokens[TOKEN_REJECTED.replace("<code>", code)] += 1

    def flush(self) -> None:
        """Send what there is, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            tokens, self._tokens = self._tokens, Counter()
            times, self._times, self._timed = self._times, [], 0
        received: Counter[str | None] = Counter()
        for (name, integration), number in counts.items():
            received[integration] += number
            self._emit.count(name, number, integration)
        for integration, number in received.items():
            self._emit.count(RECEIVED, number, integration)
        for name, number in tokens.items():
            self._emit.count(name, number)
        for seconds, integration in times:
            self._emit.time(ACCEPT_TIME, seconds, integration)


class DispatchMetrics:
    """Sends what became of each batch of a dispatcher."""

    def __init__(self, emit: Emits) -> None:
        self._emit = emit

    def dispatched(self, tally: Tally, lags: Sequence[float]) -> None:
        """Send counts and times of a committed batch; ``lags`` are seconds from receipt to commit."""
        counts = {DISPATCHED: tally.dispatched, FAILED: tally.failed, DEAD: tally.dead}
        for name, number in counts.items():
            if number:
                self._emit.count(name, number)
        for seconds in lags:
            self._emit.time(DISPATCH_LAG, seconds)


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

    def answered(self, status: Literal["accepted", "duplicate"], integration: str, seconds: float) -> None:
        """Do nothing."""

    def captured(self, integration: str) -> None:
        """Do nothing."""

    def rejected(self, code: str, integration: str | None) -> None:
        """Do nothing."""

    def token_rejected(self, code: str) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""
