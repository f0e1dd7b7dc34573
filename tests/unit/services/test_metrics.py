"""Metrics: added up in passing, sent under the names that are documented."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_incoming.services.metrics import MOST_TIMES, NAMES, Meter

README = Path(__file__).parents[3] / "README.md"


class Sent:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str | None], int] = {}
        self.times: list[tuple[str, float, str | None]] = []

    def count(self, name: str, number: int, integration: str | None = None) -> None:
        self.counts[name, integration] = self.counts.get((name, integration), 0) + number

    def gauge(self, name: str, value: float) -> None:
        raise AssertionError("a meter has no gauges")

    def time(self, name: str, seconds: float, integration: str | None = None) -> None:
        self.times.append((name, seconds, integration))


def test_requests_are_counted_by_what_became_of_them() -> None:
    """Received is the sum of all; what nobody knows has no integration."""
    sent = Sent()
    meter = Meter(sent)
    meter.answered("accepted", "orders", 0.25)
    meter.answered("accepted", "orders", 0.5)
    meter.answered("duplicate", "orders", 0.125)
    meter.rejected("unauthorized", "orders")
    meter.rejected("not_found", None)
    meter.flush()
    assert sent.counts == {
        ("incoming.received", "orders"): 4,
        ("incoming.received", None): 1,
        ("incoming.accepted", "orders"): 2,
        ("incoming.duplicate", "orders"): 1,
        ("incoming.rejected.unauthorized", "orders"): 1,
        ("incoming.rejected.not_found", None): 1,
    }
    assert sent.times == [("incoming.accept_time", seconds, "orders") for seconds in (0.25, 0.5, 0.125)]


def test_nothing_is_sent_twice() -> None:
    """Each flush begins anew."""
    sent = Sent()
    meter = Meter(sent)
    meter.answered("accepted", "orders", 0.25)
    meter.flush()
    meter.flush()
    assert sent.counts["incoming.accepted", "orders"] == 1
    assert len(sent.times) == 1


def test_a_flood_sends_a_sample_of_its_times() -> None:
    """However many requests came, so many times are sent, of early and late ones alike."""
    sent = Sent()
    meter = Meter(sent)
    for number in range(10 * MOST_TIMES):
        meter.answered("accepted", "orders", float(number))
    meter.flush()
    times = [seconds for _, seconds, _ in sent.times]
    assert len(times) == MOST_TIMES
    assert min(times) < 5 * MOST_TIMES < max(times)


def test_the_readme_names_every_metric() -> None:
    """Whoever reads it finds each name with its kind."""
    rows = dict(re.findall(r"^\| `(incoming\.[^`]+)` \| (.+) \|$", README.read_text(), re.MULTILINE))
    assert rows == NAMES
