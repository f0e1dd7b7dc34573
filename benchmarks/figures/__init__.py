"""Figures that are no load on a URL: draining, latency when idle, the cost at rest, what much data does."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.figures.bench import Bench
from benchmarks.figures.beside import health, mixed
from benchmarks.figures.dispatching import backlog, drain, idle
from benchmarks.figures.resting import flood, rest, soak
from benchmarks.figures.volume import crowded
from workbench.steps import Failed, say

KINDS: dict[str, Callable[[Bench], None]] = {
    "drain": drain,
    "idle": idle,
    "mixed": mixed,
    "health": health,
    "flood": flood,
    "rest": rest,
    "backlog": backlog,
    "crowded": crowded,
    "soak": soak,
}
#: Those that a short session measures.
QUICK = ("drain", "idle", "mixed", "flood")


def measure(bench: Bench, name: str) -> None:
    """Measure one kind of figure into ``bench.figures``; say so where that fails."""
    try:
        KINDS[name](bench)
    except Failed as failure:
        say(f"    {name} could not be measured: {failure}")
