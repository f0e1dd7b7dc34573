"""Start Airflow with webhooks on this machine, post to them, and show what happens.

Everything is kept in .demo: a virtual environment, Airflow's home, Redis's data. Ctrl-C stops all that
was started.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.airflow import COMPONENTS, Airflow
from workbench.environment import REQUIREMENTS, ROOT, Environment
from workbench.examples import DAGS, EXAMPLES, show_examples
from workbench.kept import Kept, write_privately
from workbench.processes import Processes, free_port
from workbench.redis import RedisServer, find_redis
from workbench.steps import Failed, say, step
from workbench.visit import Visit

HOME = ROOT / ".demo"
INTEGRATIONS = EXAMPLES / "integrations.yaml"
PREFIX = "demo"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="stop after the demonstration; exit with 0 or 1")
    parser.add_argument("--port", type=int, default=8080, help="preferred port of Airflow (default: 8080)")
    parser.add_argument("--reset", action="store_true", help="forget Airflow's and Redis's data first")
    args = parser.parse_args()
    began = time.monotonic()
    say("airflow-incoming: webhooks for Apache Airflow\n")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # all end as Ctrl-C does
    try:
        with alone(), Processes(HOME / "running.json") as processes:
            demo = Demo(processes, port=args.port, reset=args.reset)
            demo.prepare()
            demo.start()
            demo.show()
            say(f"\nThe demonstration took {time.monotonic() - began:.0f} s.")
            if args.check:
                return 0
            demo.explain()
            demo.wait()
    except Failed as failure:
        say(f"\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 1 if args.check else 0
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """Refuse to run beside another demonstration in the same checkout."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("Another demonstration is running in this checkout. Stop it first.") from None
        yield


class Demo:
    """One run of the demonstration."""

    def __init__(self, processes: Processes, *, port: int, reset: bool) -> None:
        self._processes = processes
        self._environment = Environment(HOME / "venv", REQUIREMENTS / "demo.txt")
        if reset:
            for folder in ("airflow", "redis"):
                shutil.rmtree(HOME / folder, ignore_errors=True)
            (HOME / "kept.json").unlink(missing_ok=True)
        self._port = free_port(port)
        self._kept = Kept(HOME / "kept.json")
        self._redis: RedisServer | None = None
        self._urls: dict[str, str] = {}

    def prepare(self) -> None:
        """Install what isn't installed, start Redis, make the tables."""
        self._environment.prepare()
        self.airflow = Airflow(
            self._environment,
            HOME / "airflow",
            port=self._port,
            keys=self._kept.secrets(),
            options={"incoming.redis_url": self._start_redis(), "incoming.redis_prefix": PREFIX},
        )
        for log in self.airflow.home.glob("*.log"):
            log.unlink()
        self._write_environment()
        digest = _digest()
        if self._kept.get("tables") != digest or not (HOME / "airflow" / "airflow.db").exists():
            with step("Making the tables: airflow db migrate"):
                self.airflow.migrate()
            self._kept.put("tables", digest)

    def start(self) -> None:
        """Start Airflow, and make the integrations meanwhile."""
        for name in COMPONENTS:
            self._processes.start(self.airflow.component(name))
        self._urls = self._make_integrations()
        visit = Visit(self.airflow, self._processes, self._urls, self._kept.get("api_key"))
        with step("Waiting for Airflow"):
            visit.wait(lambda: self.airflow.health().get("status") == "healthy", "Airflow to be healthy")
            visit.sign_in()
            visit.wait(lambda: all(map(visit.is_known, self._urls.values())), "the endpoints to be known")
            visit.wait(lambda: all(map(visit.is_parsed, DAGS)), f"the DAGs {', '.join(DAGS)} to be parsed")
        self._visit = visit

    def show(self) -> None:
        """Post, wait for the runs, post again."""
        say()
        shown = show_examples(self._visit, redis=self._redis, prefix=PREFIX)
        self._visit.open_page("integrations/")
        self._visit.open_page(f"events/{shown['_incoming.event_id']}")
        say("\nThe form's answer, as the DAG received it (dag_run.conf):\n")
        say("\n".join(f"  {name} = {json.dumps(value, ensure_ascii=False)}" for name, value in shown.items()))

    def explain(self) -> None:
        """Say where things are and what to type."""
        form, orders, mark = self._urls["form"], self._urls["orders"], secrets.token_hex(4)
        say(f"""
Airflow          {self.airflow.url}   (admin / admin)
Pages            {self.airflow.url}/plugin/incoming
Health           {self.airflow.url}/incoming/health
form (no auth)   {form}
orders (JWT)     {orders}
Logs             {self.airflow.home}/*.log
Commands         . {shlex.quote(str(HOME / "env"))}; airflow incoming list

Post an answer; post it twice to see the 204:

  curl -i {form} \\
    -H 'Content-Type: application/json' \\
    -d '{{"form_response": {{"token": "{mark}", "answers": [{{"email": "you@example.com"}}]}}}}'

Post an order, with a JWT that is valid for an hour:

  curl -i {orders} \\
    -H 'Content-Type: application/json' -H 'X-Request-Id: {secrets.token_hex(4)}' \\
    -H 'Authorization: Bearer {self._visit.bearer()}' \\
    -d '{{"order": {{"id": 7, "total": 12.5}}}}'

The next token:

  curl -s {self.airflow.url}/incoming/auth/token \\
    -H 'Content-Type: application/json' -d '{{"apiKey": "{self._kept.get("api_key")}"}}'

Ctrl-C stops everything.""")

    def wait(self) -> None:
        """Wait until Ctrl-C, or until something ends by itself."""
        while (ended := self._processes.ended()) is None:
            time.sleep(1)
        raise Failed(f"{ended.name} has ended by itself.\n{ended.tail()}")

    def _make_integrations(self) -> dict[str, str]:
        """Return the integrations' URLs by name. Each command costs seconds: what is there is kept."""
        if self._kept.get("api_key") is None:
            with step("Making an API key: airflow incoming keys create shop"):
                made = self.airflow.result("incoming", "keys", "create", "shop")
            self._kept.put("api_key", made["api_key"])
        digest = hashlib.sha256(INTEGRATIONS.read_bytes()).hexdigest()
        if self._kept.get("applied") != digest:
            with step("Making integrations: airflow incoming apply dags_examples/integrations.yaml"):
                rows = self.airflow.result("incoming", "apply", str(INTEGRATIONS))
            self._kept.put("endpoints", {row["name"]: row["endpoint_id"] for row in rows})
            self._kept.put("applied", digest)
        return {
            name: f"{self.airflow.url}/incoming/{endpoint_id}"
            for name, endpoint_id in self._kept.get("endpoints").items()
        }

    def _write_environment(self) -> None:
        """Write what makes ``airflow`` in another shell talk to this installation."""
        names = [name for name in self.airflow.env if name.startswith("AIRFLOW")]
        lines = [f"export {name}={shlex.quote(self.airflow.env[name])}" for name in sorted(names)]
        lines.append(f"PATH={shlex.quote(str(self._environment.directory / 'bin'))}:$PATH")
        write_privately(HOME / "env", "\n".join(lines) + "\n")

    def _start_redis(self) -> str:
        """Return the URL of a Redis, or nothing: the wheel that carries one ends at Python 3.12."""
        binary = find_redis(self._environment.directory)
        if binary is None:
            say(
                "  - No redis-server on the PATH: the database alone remembers what was sent, which works, "
                "too; but no task can wait for events"
            )
            return ""
        with step("Starting Redis"):
            self._redis = redis = RedisServer(binary, HOME / "redis", durable=True)
            self._processes.start(redis.process).wait_until(redis.answers, seconds=20)
        return redis.url


def _digest() -> str:
    """Return what tells whether the tables are those of this lock and of our migrations."""
    digest = hashlib.sha256((REQUIREMENTS / "demo.txt").read_bytes())
    for path in sorted((ROOT / "airflow_incoming" / "db").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
