"""The cost at rest, and memory: over a million requests, and under a flood of bytes."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from benchmarks.figures.bench import MIB, Bench
from benchmarks.usage import cpu_seconds, memory
from workbench.airflow import Airflow
from workbench.processes import Process, fetch, free_port
from workbench.steps import step

#: Bytes that somebody sends to an endpoint that takes 1 MiB.
FLOOD = 300_000_000


def rest(bench: Bench) -> None:
    """CPU of idle processes (ms a second), time until `serve` answers, time to import the plugin."""
    airflow = bench.ground.installation("resting", {})
    with step("The cost at rest"):
        bench.figures.update(bench.ground.run_inside(airflow, "imports"))
        bench.figures["serve_start_s"], serving = _start_serve(bench, airflow)
        processes = {"serve": serving, "dispatch": _start(bench, airflow, "dispatch")}
        processes["api-server"] = bench.contenders.get("dispatching").server.process
        processes["api-server"].send(signal.SIGCONT)
        time.sleep(10)  # a dispatcher is a Python process with all of Airflow to import
        seconds = 10 if bench.quick else 30
        before = {name: cpu_seconds(process.pid) for name, process in processes.items()}
        time.sleep(seconds)
        for name, process in processes.items():
            used = cpu_seconds(process.pid) - before[name]
            bench.figures[f"idle_cpu_{name}_ms_per_s"] = used / seconds * 1000
            bench.figures[f"memory_{name}_mb"] = memory(process.pid) / MIB
        processes["api-server"].send(signal.SIGSTOP)
        serving.stop()
        processes["dispatch"].stop()


def _start(bench: Bench, airflow: Airflow, *command: str) -> Process:
    process = airflow.process(f"rest-{command[0]}", "incoming", *command)
    return bench.ground.processes.start(process)


def _start_serve(bench: Bench, airflow: Airflow) -> tuple[float, Process]:
    port, began = free_port(), time.monotonic()
    process = _start(bench, airflow, "serve", "--port", str(port))
    url = f"http://127.0.0.1:{port}/incoming/health"
    process.wait_until(lambda: fetch(url)[0] in (200, 503), seconds=60)
    return time.monotonic() - began, process


def soak(bench: Bench) -> None:
    """Memory of `serve` after 50 000 requests and after many more, half of them duplicates."""
    contender = bench.contenders.get("serve")
    total, wanted = 0, 100_000 if bench.quick else 1_000_000
    with step(f"{wanted} requests to serve") as doing, contender.server.turn():
        pid = contender.server.process.pid
        while total < wanted:
            load = bench.load(contender, "half", seconds=10)
            if total < 50_000 <= total + load.requests:
                bench.figures["soak_memory_before_mb"] = memory(pid) / MIB
            total += load.requests
        bench.figures["soak_requests"] = total
        bench.figures["soak_memory_after_mb"] = memory(pid) / MIB
        doing.note = f"{total} requests"


def flood(bench: Bench) -> None:
    """Memory that 300 MB cost `serve` at its limit of 1 MiB: their length declared, and in chunks."""
    contender = bench.contenders.get("serve")
    with step(f"{FLOOD // 10**6} MB to serve"), contender.server.turn():
        pid = contender.server.process.pid
        bench.load(contender, "new", seconds=2)
        before = most = memory(pid)
        for head in (f"Content-Length: {FLOOD}", "Transfer-Encoding: chunked"):
            sending = threading.Thread(target=_send, args=(contender.url, head), daemon=True)
            sending.start()
            while sending.is_alive():
                most = max(most, memory(pid))
                time.sleep(0.01)
        bench.figures["flood_memory_mb"] = (most - before) / MIB


def _send(url: str, head: str) -> None:
    """Send FLOOD bytes of a body, or as many as are taken."""
    parts = urlsplit(url)
    block = b"[" + b" " * 65535
    if "chunked" in head:
        block = b"10000\r\n" + block + b"\r\n"
    with (
        suppress(OSError),
        socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=10) as wire,
    ):
        wire.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode())
        wire.sendall(f"Content-Type: application/json\r\n{head}\r\n\r\n".encode())
        for _ in range(FLOOD // 65536):
            wire.sendall(block)
