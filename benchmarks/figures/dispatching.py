"""From events to DAG runs: how many a second, how soon, and whether it stays so with many waiting."""

from __future__ import annotations

import time

from benchmarks.figures.bench import Bench
from workbench.steps import step


def drain(bench: Bench) -> None:
    """Events a second that one dispatcher turns into runs, and runs a second of Airflow's trigger."""
    airflow = bench.ground.installation("drain", {})
    for dag, tasks, integration, events in (("one", 1, "orders", 2000), ("ten", 10, "ten", 500)):
        rest = bench.contenders.get(f"rest:{dag}")
        with step(f"Draining {events} events into a DAG of {dag}, and triggering it") as doing:
            drained = bench.ground.run_inside(airflow, "drain", integration, str(events))
            with rest.server.turn():
                for seconds in (1, 5):  # the first is a warm-up
                    load = bench.load(rest, "new", seconds=seconds)
            bench.figures[f"drain_{dag}"] = drained["events"] / drained["seconds"]
            statements = drained["statements"] / drained["events"]
            bench.figures[f"drain_{dag}_statements"] = statements
            bench.figures[f"drain_{dag}_statements_per_task"] = statements / tasks
            bench.figures[f"rest_{dag}"] = load.rate
            doing.note = f"{drained['events'] / drained['seconds']:.0f} and {load.rate:.0f} a second"


def backlog(bench: Bench) -> None:
    """Events a second of the first and of the last tenth of 100 000 that wait."""
    events = 10_000 if bench.quick else 100_000
    airflow = bench.ground.installation("backlog", {})
    with step(f"Draining a backlog of {events} events") as doing:
        drained = bench.ground.run_inside(airflow, "drain", "orders", str(events))
        bench.figures["backlog_events"] = events
        bench.figures["backlog_first_tenth"] = drained["first_tenth"]
        bench.figures["backlog_last_tenth"] = drained["last_tenth"]
        doing.note = f"{drained['first_tenth']:.0f}, at the end {drained['last_tenth']:.0f} a second"


def idle(bench: Bench) -> None:
    """Milliseconds from sending one event until its run is committed, in an idle api-server."""
    contender = bench.contenders.get("dispatching")
    airflow = contender.server.airflow
    assert airflow is not None
    with step("From an event to its run, in an idle api-server") as doing, contender.server.turn():
        time.sleep(1)
        found = bench.ground.run_inside(airflow, "latency", contender.url, "20" if bench.quick else "100")
        bench.figures.update({f"idle_{name}_ms": found[name] for name in ("p50", "p95")})
        doing.note = f"p50 {found['p50']:.0f} ms"
