"""Whole installations for the rooms that test real processes: Airflow, its database, Redis."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from workbench.airflow import Airflow, make_secrets
from workbench.environment import REQUIREMENTS, Environment
from workbench.postgres import PostgresServer
from workbench.processes import Process, Processes, free_port
from workbench.redis import RedisServer

HERE = Path(__file__).parent
ENVIRONMENT = Environment(Path(sys.prefix), REQUIREMENTS / "test.txt")
DAGS = HERE / "dags"
#: Users of the simple auth manager, by role. FAB's are made by fab_users.py.
SIMPLE_USERS = {"admin": "admin", "op": "op", "viewer": "viewer"}
FAB_AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
JSON = {"Content-Type": "application/json"}


@dataclass
class House:
    """One installation. ``receive`` are the base URLs of all its receivers."""

    airflow: Airflow
    processes: Processes
    redis: RedisServer | None
    postgres: PostgresServer | None
    endpoints: dict[str, str] = field(default_factory=dict)
    receive: list[str] = field(default_factory=list)
    api_key: str = ""

    def apply(self, *integrations: Mapping[str, Any]) -> None:
        """Make integrations, and remember their endpoint ids."""
        file = self.airflow.home / "integrations.yaml"
        file.write_text(json.dumps({"version": 1, "integrations": integrations}))
        for row in self.airflow.result("incoming", "apply", str(file)):
            self.endpoints[row["name"]] = row["endpoint_id"]

    def api_server(self, *arguments: str) -> Process:
        """Start an api-server and wait until it receives."""
        process = self.processes.start(self.airflow.component("api-server", *arguments))
        base = f"{self.airflow.url}/incoming"
        process.wait_until(lambda: healthy(base), seconds=120)
        self.receive.append(base)
        return process

    def serve(self, workers: int = 1, *, env: Mapping[str, str] | None = None) -> Process:
        """Start ``airflow incoming serve`` and wait until it receives."""
        port = free_port()
        process = self.airflow.process(
            f"serve-{port}", "incoming", "serve", "--port", str(port), "--workers", str(workers), env=env
        )
        self.processes.start(process)
        base = f"http://127.0.0.1:{port}/incoming"
        process.wait_until(lambda: answers(base), seconds=90)
        self.receive.append(base)
        return process

    def dispatch(self, *, env: Mapping[str, str] | None = None) -> Process:
        """Start ``airflow incoming dispatch``."""
        number = len(list(self.airflow.home.glob("dispatch-*.log")))
        process = self.airflow.process(f"dispatch-{number}", "incoming", "dispatch", env=env)
        return self.processes.start(process)

    def url(self, integration: str, receiver: int = 0) -> str:
        return f"{self.receive[receiver]}/{self.endpoints[integration]}"

    def post(self, integration: str, payload: Any, *, receiver: int = 0, **options: Any) -> httpx.Response:
        """POST JSON, or bytes as they are."""
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {**JSON, **options.pop("headers", {})}
        return httpx.post(
            self.url(integration, receiver), content=content, headers=headers, timeout=30, **options
        )

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        """Ask the metadata database."""
        engine = create_engine(self.airflow.database)
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(statement), parameters))
        finally:
            engine.dispose()

    def runs(self) -> list[Any]:
        """Return (dag_id, run_id, conf) of all DAG runs."""
        rows = self.sql("select dag_id, run_id, conf from dag_run")
        return [(dag, run, json.loads(conf) if isinstance(conf, str) else conf) for dag, run, conf in rows]

    def waiting(self) -> int:
        """Return how many events are still to be dispatched."""
        return int(self.sql("select count(*) from incoming_event where due_at is not null")[0][0])


class Builder:
    """Makes installations from a migrated template, so that each is ready in a moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = make_secrets()
        self._templates: dict[str, str] = {}
        self._made = 0

    def build(
        self,
        processes: Processes,
        *,
        postgres: PostgresServer | None = None,
        redis: RedisServer | None = None,
        fab: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> House:
        """Return a new installation on PostgreSQL, or on SQLite where there is none.

        ``fab``: people sign in with FAB's auth manager instead of the simple one.
        """
        self._made += 1
        home = self._folder / f"home-{self._made}"
        auth = {"core.auth_manager": FAB_AUTH_MANAGER} if fab else {}
        database = self._database(home, postgres, auth)
        settings = {
            **auth,
            "incoming.redis_url": redis.url if redis else "",
            "incoming.redis_prefix": f"house{self._made}",
            "incoming.dispatch_interval": "1s",
            **(options or {}),
        }
        airflow = self._airflow(home, database, settings)
        return House(airflow=airflow, processes=processes, redis=redis, postgres=postgres)

    def _database(self, home: Path, postgres: PostgresServer | None, auth: Mapping[str, str]) -> str:
        kind = ("sqlite" if postgres is None else "postgresql") + ("-fab" if auth else "")
        if kind not in self._templates:
            folder = self._folder / kind
            folder.mkdir(parents=True)
            url = f"sqlite:///{folder}/airflow.db" if postgres is None else postgres.create_database()
            airflow = self._airflow(folder, url, auth)
            airflow.migrate()
            done = airflow.run("dags", "reserialize")
            assert done.returncode == 0, done.stderr
            if auth:
                airflow.python(HERE / "fab_users.py")
            self._templates[kind] = url
        template = self._templates[kind]
        if postgres is not None:
            return postgres.create_database(template.rpartition("/")[2])
        home.mkdir(parents=True)
        shutil.copy(template.removeprefix("sqlite:///"), home / "airflow.db")
        return f"sqlite:///{home}/airflow.db"

    def _airflow(self, home: Path, database: str, settings: Mapping[str, str]) -> Airflow:
        return Airflow(
            ENVIRONMENT,
            home,
            port=free_port(),
            keys=self._keys,
            database=database,
            dags=DAGS,
            options=settings,
            users=SIMPLE_USERS,
        )


def healthy(base: str) -> bool:
    """Tell whether a receiver and its dispatcher are up."""
    try:
        return bool(httpx.get(f"{base}/health", timeout=5).json()["status"] == "healthy")
    except (httpx.HTTPError, ValueError):
        return False


def answers(base: str) -> bool:
    """Tell whether a receiver answers at all."""
    try:
        return httpx.get(f"{base}/health", timeout=5).status_code in (200, 503)
    except httpx.HTTPError:
        return False
