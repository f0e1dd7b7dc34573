"""Puts the load of a scenario on its contenders in turn, round after round, and keeps what it sees."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.contenders import Contender, Contenders
from benchmarks.ground import Ground
from benchmarks.load import Load, Loader
from benchmarks.scenarios import Scenario
from benchmarks.servers import Server
from benchmarks.usage import cpu_seconds, memory
from workbench.steps import Failed, say, step

#: Seconds of load that aren't measured, before the first round; and before duplicates, to make them so.
WARM_UP = 1
#: Tables that are emptied after each load, so that no contender meets more rows than another.
TABLES = {"event": "event", "incoming_event": "incoming_event, incoming_dedup, incoming_request"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One load on one contender. CPU in seconds for each request, memory in bytes.

    ``lost``: requests that were answered as stored and aren't.
    """

    load: Load
    cpu: float
    postgres_cpu: float
    redis_cpu: float
    memory: int
    lost: int

    @property
    def rate(self) -> float:
        return self.load.rate

    @property
    def p99(self) -> float:
        return self.load.p99

    @property
    def errors(self) -> int:
        return self.load.refused + self.load.broken + self.lost


Metric = Callable[[Sample], float]


@dataclass
class Results:
    """All samples by scenario and contender, and why others are missing."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    client: str = ""

    def median(self, scenario: str, contender: str, metric: Metric) -> float | None:
        """Return the median over the rounds; None where nothing was measured."""
        found = self.samples.get((scenario, contender))
        return median(map(metric, found)) if found else None

    def ratio(self, scenario: str, above: str, below: str, metric: Metric) -> float | None:
        """Return the median of the ratios within each round: what slows a round slows both."""
        both = zip(
            self.samples.get((scenario, above), ()), self.samples.get((scenario, below), ()), strict=False
        )
        ratios = [metric(a) / metric(b) for a, b in both if metric(b)]
        return median(ratios) if ratios else None


class Session:
    """Measures scenarios into ``results``."""

    def __init__(self, ground: Ground, contenders: Contenders, results: Results) -> None:
        self._ground = ground
        self._contenders = contenders
        self._results = results
        self._loader = Loader(ground.folder / "load")

    @property
    def client(self) -> str:
        """The name of what puts the load."""
        return self._loader.name

    def run(self, scenario: Scenario) -> None:
        """Measure all contenders that this machine can have."""
        there = [found for name in scenario.contenders if (found := self._find(name)) is not None]
        for number in range(1, scenario.rounds + 1):
            with step(f"{scenario.name}: round {number} of {scenario.rounds}") as doing:
                shown = []
                for contender in there:
                    with contender.server.turn():
                        sample = self._measure(scenario, contender, first=number == 1)
                    self._results.samples[scenario.name, contender.name].append(sample)
                    shown.append(f"{contender.name} {sample.rate:.0f}")
                doing.note = ", ".join(shown)

    def _find(self, name: str) -> Contender | None:
        if name in self._results.missing:
            return None
        try:
            return self._contenders.get(name)
        except Failed as failure:
            self._results.missing[name] = str(failure).splitlines()[0]
            say(f"    {name} is left out: {failure}")
            return None

    def _measure(self, scenario: Scenario, contender: Contender, *, first: bool) -> Sample:
        server, body = contender.server, contender.body(scenario.size)
        ground = self._ground
        measured = [each.process.pid for each in (server, ground.postgres, ground.redis)]

        def put(kind: str, seconds: float) -> Load:
            return self._loader.run(
                contender.url,
                body,
                kind=kind,  # type: ignore[arg-type]  # a Kind
                connections=min(scenario.connections, contender.most_connections),
                seconds=seconds,
                headers=contender.headers,
            )

        if first or scenario.kind != "new":
            put("new" if scenario.kind == "new" else "known", WARM_UP)
        stored = self._stored(server)
        before = [cpu_seconds(pid) for pid in measured]
        load = put(scenario.kind, scenario.seconds)
        used = [cpu_seconds(pid) - once for pid, once in zip(measured, before, strict=True)]
        cpu, postgres_cpu, redis_cpu = (seconds / max(load.requests, 1) for seconds in used)
        sample = Sample(
            load=load,
            cpu=cpu,
            postgres_cpu=postgres_cpu,
            redis_cpu=redis_cpu,
            memory=memory(server.process.pid),
            lost=self._lost(scenario, contender, load, stored),
        )
        self._tidy(server)
        return sample

    def _lost(self, scenario: Scenario, contender: Contender, load: Load, before: int) -> int:
        """Count what was answered as new and isn't stored; what was cut off at the end may be stored, too."""
        if scenario.kind != "new" or contender.triggers or not contender.server.table:
            return 0
        return max(load.requests - load.refused - (self._stored(contender.server) - before), 0)

    def _stored(self, server: Server) -> int:
        return int(self._sql(server, f"select count(*) from {server.table}")) if server.table else 0

    def _tidy(self, server: Server) -> None:
        if not server.table:
            return
        time.sleep(0.3)  # the requests that the client cut off
        self._sql(server, f"truncate {TABLES[server.table]}")
        self._ground.redis.flush()

    def _sql(self, server: Server, statement: str) -> str:
        return self._ground.postgres.sql(statement, server.database.rpartition("/")[2])
