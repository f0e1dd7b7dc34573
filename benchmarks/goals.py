"""The ratios that the project promises itself, and whether they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.measure import Results, Sample
from benchmarks.scenarios import CROWD, HUGE, KNOWN, LARGE, NEW

TRIGGER, TRIGGER_TEN = "rest:one", "rest:ten"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is to be at least, or at most, so much."""

    title: str
    reached: Callable[[Results], float | None]
    at_least: float | None = None
    at_most: float | None = None

    def met(self, results: Results) -> bool | None:
        """Tell whether it is; None where it wasn't measured."""
        value = self.reached(results)
        if value is None:
            return None
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


def _faster(title: str, scenario: str, contender: str, than: str, times: float) -> Goal:
    return Goal(
        title=title,
        reached=lambda results: results.ratio(scenario, contender, than, lambda sample: sample.rate),
        at_least=times,
    )


def _errors(results: Results) -> float | None:
    found: list[Sample] = results.samples.get((CROWD.name, "serve"), [])
    return float(sum(sample.errors for sample in found)) if found else None


Reached = Callable[[Results], float | None]


def _figure(name: str) -> Reached:
    return lambda results: results.figures.get(name)


def _over(name: str, below: str) -> Reached:
    def reached(results: Results) -> float | None:
        figures = results.figures
        return figures[name] / figures[below] if figures.get(below) and name in figures else None

    return reached


def _at_least(least: float, title: str, reached: Reached) -> Goal:
    return Goal(title=title, reached=reached, at_least=least)


def _at_most(most: float, title: str, reached: Reached) -> Goal:
    return Goal(title=title, reached=reached, at_most=most)


def _p99(results: Results) -> float | None:
    return results.ratio(NEW.name, "serve", "group-commit", lambda sample: sample.p99)


GOALS = (
    _faster("serve ÷ bare app with group commit", NEW.name, "serve", "group-commit", 0.8),
    _faster("serve ÷ bare app with one commit each", NEW.name, "serve", "one-commit", 1.2),
    _faster("serve ÷ Airflow's REST trigger", NEW.name, "serve", TRIGGER, 30),
    _at_most(3, "p99 of serve ÷ p99 of the bare app with group commit", _p99),
    _at_most(0, "errors of serve at 64 connections", _errors),
    _faster("api-server ÷ Airflow's REST trigger", NEW.name, "api-server", TRIGGER, 10),
    _faster("api-server that dispatches, too ÷ REST trigger", NEW.name, "dispatching", TRIGGER, 10),
    _faster("duplicates: serve ÷ bare app that only asks Redis", KNOWN.name, "serve", "redis-only", 0.8),
    _faster("100 KB: serve ÷ Airflow's REST trigger", LARGE.name, "serve", TRIGGER, 10),
    _faster("1 MB: serve ÷ Airflow's REST trigger", HUGE.name, "serve", TRIGGER, 10),
    _at_most(60, "accepted → run committed, idle, p50 in ms", _figure("idle_p50_ms")),
    _at_least(10, "dispatcher ÷ REST trigger, DAG of one task", _over("drain_one", "rest_one")),
    _at_least(4, "dispatcher ÷ REST trigger, DAG of ten tasks", _over("drain_ten", "rest_ten")),
    _at_least(
        0.9,
        "backlog of 100 000: rate of its last tenth ÷ of its first",
        _over("backlog_last_tenth", "backlog_first_tenth"),
    ),
    _at_least(0.9, "beside 1 000 000 events ÷ without: accepting", _figure("crowded_new_ratio")),
    _at_least(0.9, "beside 1 000 000 events ÷ without: duplicates", _figure("crowded_known_ratio")),
    _at_least(0.9, "beside 1 000 000 events ÷ without: draining", _over("crowded_drain", "drain_one")),
    _at_most(
        2,
        "p50 of Airflow's health page while 10 000 events are drained ÷ idle",
        _over("health_draining_p50_ms", "health_idle_p50_ms"),
    ),
    _at_most(
        1.1,
        "memory after 1 000 000 requests ÷ after 50 000",
        _over("soak_memory_after_mb", "soak_memory_before_mb"),
    ),
    _at_most(20, "MB that 300 MB cost at a limit of 1 MiB", _figure("flood_memory_mb")),
)
