"""What was measured, as tables for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.measure import Results, Sample
from benchmarks.scenarios import Scenario

COLUMNS = ("req/s", "p50 ms", "p95 ms", "p99 ms", "errors", "CPU µs", "PG µs", "Redis µs", "memory MB")


def machine() -> str:
    """Return what the numbers were measured on, in one line."""
    names = (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line[:10] == "model name")
    kibibytes = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line[:8] == "MemTotal"), 0)
    processor = next(names, platform.processor() or platform.machine())
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} × {processor}, {kibibytes / 2**20:.0f} GB, Linux {platform.release()}, "
        f"load {load:.1f} at the end"
    )


def tables(results: Results, scenarios: Sequence[Scenario]) -> str:
    """Return one table for each scenario, the figures, and the goals, as Markdown."""
    parts = [_scenario(results, scenario) for scenario in scenarios]
    parts += [_figures(results), _goals(results)]
    if results.missing:
        left_out = [f"- {name}: {why}" for name, why in results.missing.items()]
        parts.append("\n".join(["Left out:", "", *left_out]))
    return "\n\n".join(part for part in parts if part)


def write(results: Results, scenarios: Sequence[Scenario], folder: Path, head: str) -> None:
    """Write ``results.md`` and ``results.json``."""
    (folder / "results.md").write_text(f"{head}\n\n{tables(results, scenarios)}\n")
    samples = [
        {"scenario": scenario, "contender": contender, **_plain(sample)}
        for (scenario, contender), found in results.samples.items()
        for sample in found
    ]
    document = {"head": head, "samples": samples, "figures": results.figures, "missing": results.missing}
    (folder / "results.json").write_text(json.dumps(document, indent=1))


def _scenario(results: Results, scenario: Scenario) -> str:
    rows = []
    for name in scenario.contenders:
        if results.samples.get((scenario.name, name)):
            rows.append((name, *_cells(results, scenario.name, name)))
    size = f"{scenario.size // 1000} KB, {scenario.connections} connections"
    title = f"**{scenario.name}** ({size}, {scenario.rounds} × {scenario.seconds:g} s)"
    return f"{title}\n\n{_table(('contender', *COLUMNS), rows)}" if rows else ""


def _cells(results: Results, scenario: str, contender: str) -> tuple[str, ...]:
    def middle(metric: Any) -> float:
        return results.median(scenario, contender, metric) or 0.0

    return (
        f"{middle(lambda s: s.rate):.0f}",
        *(f"{middle(lambda s, p=p: getattr(s.load, p)):.1f}" for p in ("p50", "p95", "p99")),
        f"{sum(sample.errors for sample in results.samples[scenario, contender])}",
        *(f"{middle(attrgetter(name)) * 1e6:.0f}" for name in ("cpu", "postgres_cpu", "redis_cpu")),
        f"{middle(lambda s: s.memory) / 2**20:.0f}",
    )


def _figures(results: Results) -> str:
    rows = [(name, f"{value:.4g}") for name, value in results.figures.items()]
    return _table(("figure", "value"), rows) if rows else ""


def _goals(results: Results) -> str:
    rows = []
    for goal in GOALS:
        value = goal.reached(results)
        target = f"≥ {goal.at_least:g}" if goal.at_least is not None else f"≤ {goal.at_most:g}"
        said = {True: "yes", False: "NO", None: "not measured"}[goal.met(results)]
        rows.append((goal.title, "–" if value is None else f"{value:.2f}", target, said))
    return _table(("goal", "reached", "wanted", "met"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    dashes = [("-" * width) if not column else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(head), line(dashes), *map(line, rows)])


def _plain(sample: Sample) -> dict[str, Any]:
    return {**vars(sample.load), **{k: v for k, v in vars(sample).items() if k != "load"}}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
