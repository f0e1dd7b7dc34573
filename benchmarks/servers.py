"""The processes that are measured, and how each is started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ground import HERE, HOME, Ground
from workbench.airflow import Airflow
from workbench.environment import ROOT, clean_environ
from workbench.processes import Process, fetch, free_port
from workbench.steps import Failed, step

#: Modules of npm that are compared with, as of their day.
NODE_RED = "node-red@4"
#: Seconds that a server has to finish what it is doing before it is stopped.
SETTLE = 0.5
#: Sent by fetch() to see whether somebody answers; any status will do.
PROBE = {"order": {"id": "probe"}}


@dataclass(kw_only=True)
class Server:
    """One running server, and what works ``beside`` it for the same events.

    ``table`` is where it stores them, in ``database``; "" where it doesn't.
    """

    name: str
    process: Process
    base: str
    airflow: Airflow | None = None
    database: str = ""
    table: str = ""
    beside: tuple[Process, ...] = ()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let it run inside the block only, so that nobody pays for somebody else's background work.

        It may finish what it has in hand: a transaction that hangs open, in whatever database, keeps
        PostgreSQL from removing rows that nobody needs any more, in all of them.
        """
        self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            time.sleep(SETTLE)
            self.signal(signal.SIGSTOP)

    def signal(self, number: int) -> None:
        """Let it hang, or go on."""
        for process in (self.process, *self.beside):
            process.send(number)


class Servers:
    """Starts each server when it is first asked for."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._running: dict[str, Server] = {}

    def get(self, name: str) -> Server:
        """Return a server, paused. Raises Failed where this machine can't have it."""
        if name not in self._running:
            kind, _, working = name.partition("+")
            with step(f"Starting {name}"):
                server = self._running[name] = _MAKERS[kind](self._ground, name)
                if working:
                    server.beside = _working(self._ground, server)
            server.signal(signal.SIGSTOP)
        return self._running[name]

    def pause_none(self) -> None:
        """Let all go on, so that they can hear that they shall end."""
        for server in self._running.values():
            server.signal(signal.SIGCONT)


def _start(
    ground: Ground,
    name: str,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    ready: Callable[[], bool],
) -> Process:
    process = Process(name, command, env=env, log=ground.folder / f"{name}.log")
    return ground.processes.start(process).wait_until(ready, seconds=90)


def _bare_environment(ground: Ground, database: str) -> dict[str, str]:
    return clean_environ() | {
        "PYTHONPATH": str(ROOT),
        "BENCH_REDIS": ground.redis.url,
        "BENCH_DATABASE": _plain(database),
    }


def _plain(database: str) -> str:
    """Return SQLAlchemy's URL as PostgreSQL's own drivers want it."""
    return database.replace("+psycopg2", "")


def _bare(ground: Ground, name: str) -> Server:
    port, database = free_port(), ground.postgres.create_database()
    base = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        ground.environment.binary("uvicorn"),
        f"benchmarks.apps.bare:{name.replace('-', '_')}",
    ]
    command += ["--port", str(port), "--no-access-log", "--log-level", "warning"]
    process = _start(
        ground,
        name,
        command,
        env=_bare_environment(ground, database),
        ready=lambda: fetch(f"{base}/events", payload=PROBE)[0] in (200, 204),
    )
    stores = "commit" in name
    return Server(name=name, process=process, base=base, database=database, table="event" if stores else "")


def _flask(ground: Ground, name: str) -> Server:
    """Two processes of eight threads: what gunicorn's documentation leads to on two cores."""
    port, database = free_port(), ground.postgres.create_database()
    base = f"http://127.0.0.1:{port}"
    env = _bare_environment(ground, database)
    make: list[str | Path] = [
        ground.environment.python,
        "-c",
        "from benchmarks.apps.homemade import make_table; make_table()",
    ]
    subprocess.run(make, env=env, check=True, capture_output=True)
    command: list[str | Path] = [ground.environment.binary("gunicorn"), "benchmarks.apps.homemade:app"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "8", "--log-level", "warning"]
    command += ["--timeout", "0"]  # or it takes its workers for dead after a pause
    process = _start(
        ground,
        name,
        command,
        env=env,
        ready=lambda: fetch(f"{base}/events", payload=PROBE)[0] in (200, 204),
    )
    return Server(name=name, process=process, base=base, database=database, table="event")


def _serve(ground: Ground, name: str) -> Server:
    workers, port = name.partition("+")[0].partition("-")[2] or "1", free_port()
    airflow = ground.installation(name, {})
    base = f"http://127.0.0.1:{port}/incoming"
    process = airflow.process(name, "incoming", "serve", "--port", str(port), "--workers", workers)
    ground.processes.start(process).wait_until(
        lambda: fetch(f"{base}/health")[0] in (200, 503), seconds=90, what="healthy"
    )
    return _ours(name, process, airflow, base)


def _api_server(ground: Ground, name: str) -> Server:
    airflow = ground.installation(name, {"incoming.dispatcher": str("dispatching" in name)})
    process = ground.processes.start(airflow.component("api-server"))
    process.wait_until(lambda: "status" in airflow.health(), seconds=120, what="healthy")
    return _ours(name, process, airflow, f"{airflow.url}/incoming")


def _ours(name: str, process: Process, airflow: Airflow, base: str) -> Server:
    return Server(
        name=name,
        process=process,
        base=base,
        airflow=airflow,
        database=airflow.database,
        table="incoming_event",
    )


def _working(ground: Ground, server: Server) -> tuple[Process, ...]:
    """Return what makes a whole Airflow of it: its scheduler, and an api-server where it is none."""
    airflow = server.airflow
    assert airflow is not None
    components = ["scheduler"]
    if server.base != f"{airflow.url}/incoming":
        components.insert(0, "api-server")
    started = tuple(ground.processes.start(airflow.component(name)) for name in components)
    started[0].wait_until(lambda: _is_scheduled(airflow), seconds=120, what="scheduling")
    return started


def _is_scheduled(airflow: Airflow) -> bool:
    _, _, health = fetch(f"{airflow.url}/api/v2/monitor/health")
    return isinstance(health, dict) and health["scheduler"]["status"] == "healthy"


def _webhook(ground: Ground, name: str) -> Server:
    """Debian's package ``webhook``: a Go server that starts a command for each request."""
    program = shutil.which("webhook")
    if program is None:
        raise Failed("webhook isn't installed (on Debian: apt-get install webhook).")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    process = _start(
        ground,
        name,
        [program, "-hooks", HERE / "flows" / "webhook.json", "-ip", "127.0.0.1", "-port", str(port)],
        env=clean_environ(),
        ready=lambda: fetch(f"{base}/hooks/orders", payload=PROBE)[0] == 200,
    )
    return Server(name=name, process=process, base=base)


def _node_red(ground: Ground, name: str) -> Server:
    """A flow of three nodes: HTTP in, a function that looks at the order, HTTP response."""
    npm = shutil.which("npm")
    if npm is None:
        raise Failed("npm isn't installed (on Debian: apt-get install npm).")
    folder, port = HOME / "npm", free_port()
    program = folder / "node_modules" / ".bin" / "node-red"
    if not program.exists():
        folder.mkdir(exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--omit=optional", NODE_RED]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise Failed(f"npm install {NODE_RED} failed: {done.stderr[-300:]}")
    base, home = f"http://127.0.0.1:{port}", ground.folder / name
    home.mkdir()
    shutil.copy(HERE / "flows" / "node-red.json", home / "flows.json")
    process = _start(
        ground,
        name,
        [program, "--port", str(port), "--userDir", home, home / "flows.json"],
        env=clean_environ() | {"PATH": os.environ["PATH"], "NODE_RED_DISABLE_TELEMETRY": "true"},
        ready=lambda: fetch(f"{base}/events", payload=PROBE)[0] == 200,
    )
    return Server(name=name, process=process, base=base)


_MAKERS: dict[str, Callable[[Ground, str], Server]] = {
    "echo": _bare,
    "redis-only": _bare,
    "one-commit": _bare,
    "group-commit": _bare,
    "flask": _flask,
    "serve": _serve,
    "serve-2": _serve,
    "serve-4": _serve,
    "crowded": _serve,
    "api-server": _api_server,
    "dispatching": _api_server,
    "rest": _api_server,
    "webhook": _webhook,
    "node-red": _node_red,
}
