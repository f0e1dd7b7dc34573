"""Figures that are no load on a URL: draining, latency when idle, the cost at rest, memory over time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bodies import order
from benchmarks.contenders import Contenders
from benchmarks.ground import Ground
from benchmarks.load import Loader
from benchmarks.measure import Results
from benchmarks.scenarios import MB
from benchmarks.usage import cpu_seconds, memory
from workbench.airflow import Airflow
from workbench.processes import Process, fetch, free_port
from workbench.steps import Failed, say, step

MIB = 2**20


class Figures:
    """Measures one kind of figure at a time into ``results.figures``."""

    def __init__(self, ground: Ground, contenders: Contenders, results: Results, *, quick: bool) -> None:
        self._ground = ground
        self._contenders = contenders
        self._figures = results.figures
        self._quick = quick

    def measure(self, name: str) -> None:
        """Measure ``drain``, ``idle``, ``mixed``, ``rest`` or ``soak``; say so where it fails."""
        kinds: dict[str, Callable[[], None]] = {
            "drain": self._drain,
            "idle": self._idle,
            "mixed": self._mixed,
            "rest": self._rest,
            "soak": self._soak,
        }
        try:
            kinds[name]()
        except Failed as failure:
            say(f"    {name} could not be measured: {failure}")

    def _drain(self) -> None:
        """Events a second that one dispatcher turns into runs, and runs a second of Airflow's trigger."""
        airflow = self._ground.installation("drain", {})
        loader = Loader(self._ground.folder / "load")
        for dag, integration, events in (("one", "orders", 500), ("ten", "ten", 200)):
            rest = self._contenders.get(f"rest:{dag}")
            with step(f"Draining {events} events into a DAG of {dag}, and triggering it") as doing:
                drained = self._ground.run_inside(airflow, "drain", integration, str(events))
                with rest.server.turn():
                    for seconds in (1, 5):  # the first is a warm-up
                        load = loader.run(
                            rest.url,
                            rest.body(1000),
                            kind="new",
                            connections=rest.most_connections,
                            seconds=seconds,
                            headers=rest.headers,
                        )
                self._figures[f"drain_{dag}"] = drained["events"] / drained["seconds"]
                self._figures[f"drain_{dag}_statements"] = drained["statements"] / drained["events"]
                self._figures[f"rest_{dag}"] = load.rate
                doing.note = f"{drained['events'] / drained['seconds']:.0f} and {load.rate:.0f} a second"

    def _idle(self) -> None:
        """Milliseconds from sending one event until its run is committed, in an idle api-server."""
        contender = self._contenders.get("dispatching")
        airflow = contender.server.airflow
        assert airflow is not None
        with step("From an event to its run, in an idle api-server") as doing, contender.server.turn():
            time.sleep(1)
            found = self._ground.run_inside(airflow, "latency", contender.url, "20" if self._quick else "100")
            self._figures |= {f"idle_{name}_ms": found[name] for name in ("p50", "p95")}
            doing.note = f"p50 {found['p50']:.0f} ms"

    def _mixed(self) -> None:
        """Milliseconds that small requests take: alone, and while four connections send 1 MB each."""
        contender = self._contenders.get("serve")
        small, large = (Loader(self._ground.folder / name) for name in ("small", "large"))
        body = contender.body(1000)
        with step("Small requests beside large ones") as doing, contender.server.turn():
            alone = small.run(contender.url, body, kind="new", connections=4, seconds=4)
            with ThreadPoolExecutor(1) as pool:
                beside = pool.submit(
                    large.run, contender.url, contender.body(MB), kind="half", connections=4, seconds=6
                )
                time.sleep(1)
                mixed = small.run(contender.url, body, kind="new", connections=4, seconds=4)
            for name, load in (("small_alone", alone), ("small_beside_large", mixed)):
                self._figures |= {f"{name}_p50_ms": load.p50, f"{name}_p99_ms": load.p99}
            self._figures["large_rate_meanwhile"] = beside.result().rate
            doing.note = f"p99 {alone.p99:.0f} ms alone, {mixed.p99:.0f} ms beside"

    def _rest(self) -> None:
        """CPU of idle processes (ms a second), time until `serve` answers, time to import the plugin."""
        airflow = self._ground.installation("resting", {})
        with step("The cost at rest"):
            self._figures |= self._ground.run_inside(airflow, "imports")
            self._figures["serve_start_s"], serving = self._start_serve(airflow)
            processes = {"serve": serving, "dispatch": self._start(airflow, "dispatch")}
            processes["api-server"] = self._contenders.get("dispatching").server.process
            processes["api-server"].send(signal.SIGCONT)
            time.sleep(10)  # a dispatcher is a Python process with all of Airflow to import
            seconds = 10 if self._quick else 30
            before = {name: cpu_seconds(process.pid) for name, process in processes.items()}
            time.sleep(seconds)
            for name, process in processes.items():
                used = cpu_seconds(process.pid) - before[name]
                self._figures[f"idle_cpu_{name}_ms_per_s"] = used / seconds * 1000
                self._figures[f"memory_{name}_mb"] = memory(process.pid) / MIB
            processes["api-server"].send(signal.SIGSTOP)
            serving.stop()
            processes["dispatch"].stop()

    def _start(self, airflow: Airflow, *command: str) -> Process:
        process = airflow.process(f"rest-{command[0]}", "incoming", *command)
        return self._ground.processes.start(process)

    def _start_serve(self, airflow: Airflow) -> tuple[float, Process]:
        port, began = free_port(), time.monotonic()
        process = self._start(airflow, "serve", "--port", str(port))
        url = f"http://127.0.0.1:{port}/incoming/health"
        process.wait_until(lambda: fetch(url)[0] in (200, 503), seconds=60)
        return time.monotonic() - began, process

    def _soak(self) -> None:
        """Memory of `serve` after 50 000 requests and after many more, half of them duplicates."""
        contender = self._contenders.get("serve")
        loader = Loader(self._ground.folder / "load")
        total, wanted = 0, 100_000 if self._quick else 1_000_000
        with step(f"{wanted} requests to serve") as doing, contender.server.turn():
            pid = contender.server.process.pid
            while total < wanted:
                load = loader.run(contender.url, order(1000), kind="half", connections=16, seconds=10)
                if total < 50_000 <= total + load.requests:
                    self._figures["soak_memory_before_mb"] = memory(pid) / MIB
                total += load.requests
            self._figures["soak_requests"] = total
            self._figures["soak_memory_after_mb"] = memory(pid) / MIB
            doing.note = f"{total} requests"
