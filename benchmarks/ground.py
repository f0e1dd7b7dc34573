"""What everything that is measured stands on: an environment, PostgreSQL, Redis, installations of Airflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from workbench.airflow import Airflow, make_secrets
from workbench.environment import REQUIREMENTS, ROOT, Environment
from workbench.postgres import PostgresServer, find_postgres
from workbench.processes import Process, Processes, free_port, wait_until
from workbench.redis import RedisServer, find_redis
from workbench.steps import Failed, step

HOME = ROOT / ".bench"
HERE = ROOT / "benchmarks"
#: A conf of 1 MB is over the default limit; all else is as installed.
LIMITS = {"conf": "2MiB"}
#: Seconds that one of our programs may take.
LIMIT = 1800
_COMMON = {"state": "published", "deduplication": {"parameters": ["body.order.id"]}, "limits": LIMITS}
INTEGRATIONS = (
    {"name": "orders", "dags": ["one"], **_COMMON},
    {"name": "secure", "dags": ["one"], "auth": {"type": "jwt", "api_key": "shop"}, **_COMMON},
    {"name": "ten", "dags": ["ten"], **_COMMON},
)


class Template(NamedTuple):
    """A migrated database with DAGs, integrations and an API key, to be copied."""

    database: str
    endpoints: Mapping[str, str]
    api_key: str


class Ground:
    """The services of one session. ``close`` ends what ``processes`` doesn't know of."""

    def __init__(self, processes: Processes, *, fsync: str, postgres: Path | None = None) -> None:
        self.processes = processes
        self.environment = Environment(HOME / "venv", REQUIREMENTS / "bench.txt")
        self.folder = HOME / "run"
        self._fsync = fsync
        self._postgres = postgres
        self._keys = make_secrets()

    def prepare(self) -> None:
        """Install, and start PostgreSQL and Redis."""
        self.environment.prepare()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with step("Starting PostgreSQL and Redis"):
            programs, redis = self._postgres or find_postgres(HOME / "venv"), find_redis(HOME / "venv")
            if programs is None or redis is None:
                raise Failed("PostgreSQL or Redis is missing: neither a wheel nor the system brings it.")
            # Checkpoints would fall on some contenders and not on others.
            options = {"fsync": self._fsync, "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
            self.postgres = PostgresServer(programs, options=options).start()
            self.redis = RedisServer(redis, self.folder / "redis").start()

    def close(self) -> None:
        """Stop PostgreSQL and Redis, and remove their data."""
        for server, end in (("redis", "stop"), ("postgres", "remove")):
            if hasattr(self, server):
                getattr(getattr(self, server), end)()

    @cached_property
    def template(self) -> Template:
        """What installations are copies of."""
        with step("Making the tables, DAGs and integrations of Airflow"):
            airflow = self._airflow("template", self.postgres.create_database(), {})
            airflow.migrate()
            done = airflow.run("dags", "reserialize")
            if done.returncode or "errors" in done.stdout:
                raise Failed(f"The DAGs can't be read:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
            api_key = airflow.result("incoming", "keys", "create", "shop")["api_key"]
            file = airflow.home / "integrations.yaml"
            file.write_text(json.dumps({"version": 1, "integrations": INTEGRATIONS}))
            rows = airflow.result("incoming", "apply", str(file))
        return Template(airflow.database, {row["name"]: row["endpoint_id"] for row in rows}, api_key)

    def installation(self, name: str, options: Mapping[str, str]) -> Airflow:
        """Return a new Airflow on a database of its own."""
        database = self.postgres.create_database(self.template.database.rpartition("/")[2])
        return self._airflow(name, database, options)

    def _airflow(self, name: str, database: str, options: Mapping[str, str]) -> Airflow:
        settings = {"incoming.redis_url": self.redis.url, "incoming.redis_prefix": name, **options}
        home = self.folder / name
        return Airflow(
            self.environment,
            home,
            port=free_port(),
            keys=self._keys,
            database=database,
            dags=HERE / "dags",
            options=settings,
        )

    def run_inside(self, airflow: Airflow, program: str, *arguments: str) -> dict[str, Any]:
        """Run one of ``programs/`` inside an Airflow and return the JSON that it prints last."""
        log = airflow.home / f"{program}.out"
        log.unlink(missing_ok=True)
        command: list[str | Path] = [self.environment.python, HERE / "programs" / f"{program}.py", *arguments]
        env = {**airflow.env, "PYTHONPATH": str(ROOT)}
        running = self.processes.start(Process(program, command, env=env, log=log))
        wait_until(lambda: not running.alive, seconds=LIMIT, what=f"{program} to end")
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
        if not lines:
            raise Failed(f"{program} failed.\n{running.tail()}")
        found: dict[str, Any] = json.loads(lines[-1])
        return found
