"""Measure the receiver and the dispatcher beside what a user would pick instead, on this machine.

Everything is set up in .bench and stopped at the end. Results: .bench/results.md and .bench/results.json.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.contenders import Contenders
from benchmarks.figures import KINDS, measure
from benchmarks.figures import QUICK as QUICK_FIGURES
from benchmarks.figures.bench import Bench
from benchmarks.ground import HOME, Ground
from benchmarks.measure import Results, Session
from benchmarks.report import machine, tables, write
from benchmarks.scenarios import QUICK, WHOLE, Scenario
from benchmarks.servers import Servers
from workbench.processes import Processes
from workbench.steps import Failed, say


def main() -> int:
    args = _arguments()
    scenarios = _scenarios(args)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # all end as Ctrl-C does
    HOME.mkdir(exist_ok=True)
    began, results = time.monotonic(), Results()
    try:
        with Processes(HOME / "running.json") as processes:
            _measure(args, processes, scenarios, results)
    except Failed as failure:
        say(f"\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    head = f"Measured on {machine()}, with {results.client}, fsync {args.fsync}, "
    head += f"{args.postgres or 'PostgreSQL of the wheel'}."
    write(results, scenarios, HOME, head)
    say(f"\n{head}\n\n{tables(results, scenarios)}\n\nIt took {time.monotonic() - began:.0f} s.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the goals alone, in about 4 minutes")
    parser.add_argument("--only", metavar="PART", help="scenarios whose name contains PART, and no figures")
    parser.add_argument("--against", nargs="+", metavar="CONTENDER", help="only these contenders")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario")
    parser.add_argument("--seconds", type=float, help="seconds of each load")
    parser.add_argument(
        "--figures", nargs="*", choices=tuple(KINDS), help="only these figures, and no scenarios"
    )
    parser.add_argument(
        "--fsync", choices=("on", "off"), default="on", help="PostgreSQL's; off measures without the disk"
    )
    parser.add_argument(
        "--postgres",
        type=Path,
        metavar="FOLDER",
        help="the programs of another PostgreSQL than the wheel's, which compresses slowly",
    )
    return parser.parse_args()


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    if args.figures is not None:
        return []
    chosen = list(QUICK if args.quick else WHOLE)
    if args.only:
        chosen = [scenario for scenario in chosen if args.only in scenario.name]
    changes = {name: getattr(args, name) for name in ("rounds", "seconds") if getattr(args, name)}
    if args.against:
        changes["contenders"] = tuple(args.against)
    return [replace(scenario, **changes) for scenario in chosen]


def _measure(
    args: argparse.Namespace, processes: Processes, scenarios: list[Scenario], results: Results
) -> None:
    ground = Ground(processes, fsync=args.fsync, postgres=args.postgres)
    servers = Servers(ground)
    try:
        ground.prepare()
        contenders = Contenders(ground, servers)
        session = Session(ground, contenders, results)
        results.client = session.client
        bench = Bench(ground=ground, contenders=contenders, figures=results.figures, quick=args.quick)
        for name in _figures(args):
            measure(bench, name)
        for scenario in scenarios:  # they stop schedulers, in the middle of whatever these do
            session.run(scenario)
    finally:
        servers.pause_none()
        processes.stop()
        ground.close()


def _figures(args: argparse.Namespace) -> tuple[str, ...]:
    if args.figures is not None:
        return tuple(args.figures)
    if args.only or args.against:
        return ()
    return QUICK_FIGURES if args.quick else tuple(KINDS)


if __name__ == "__main__":
    sys.exit(main())
