"""A real Airflow with the plugin: its configuration as environment variables, its processes."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.environment import ROOT, Environment, clean_environ
from workbench.processes import Process, fetch
from workbench.steps import Failed

#: What makes an Airflow; the api-server comes first, because the others talk to it.
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
#: Names and roles of the users under the simple auth manager; each one's password is its name.
USERS = {"admin": "admin"}
SIMPLE_AUTH_MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"


def make_secrets() -> dict[str, str]:
    """Return new secrets that all components of one Airflow must share."""
    return {
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(48),
    }


class Airflow:
    """One installation in ``home``. ``options`` are further settings, ``{"incoming.redis_url": …}``."""

    def __init__(
        self,
        environment: Environment,
        home: Path,
        *,
        port: int,
        keys: Mapping[str, str],
        database: str | None = None,
        dags: Path = ROOT / "dags_examples",
        options: Mapping[str, str] | None = None,
        users: Mapping[str, str] = USERS,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._environment = environment
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.database = database or f"sqlite:///{home}/airflow.db"
        passwords = home / "passwords.json"
        passwords.write_text(json.dumps({name: name for name in users}))
        settings = {
            "core.dags_folder": str(dags),
            "core.load_examples": "False",
            "core.executor": "LocalExecutor",
            "core.parallelism": "4",
            "core.auth_manager": SIMPLE_AUTH_MANAGER,
            "core.simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in users.items()),
            "core.simple_auth_manager_passwords_file": str(passwords),
            "core.execution_api_server_url": f"{self.url}/execution/",
            "database.sql_alchemy_conn": self.database,
            "api.base_url": self.url,
            "dag_processor.refresh_interval": "10",
            "usage_data_collection.enabled": "False",
            **(options or {}),
        }
        self.env = (
            clean_environ()
            | {f"AIRFLOW__{name.replace('.', '__').upper()}": value for name, value in settings.items()}
            | dict(keys)
            | {
                "AIRFLOW_HOME": str(home),
                "PATH": f"{environment.directory / 'bin'}:{os.environ['PATH']}",
                "PYTHONWARNINGS": "ignore",  # Airflow's own, of no use to who reads the logs
                "NO_COLOR": "1",
            }
        )

    def run(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one ``airflow`` command."""
        try:
            return subprocess.run(
                [str(self._environment.binary("airflow")), *command],
                env=self.env,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"airflow {' '.join(command)} takes more than 300 s.") from None

    def result(self, *command: str) -> Any:
        """Run one command of ours with ``--output json`` and return its result."""
        done = self.run(*command, "--output", "json")
        if done.returncode:
            raise Failed(f"airflow {' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
        return json.loads(done.stdout)

    def migrate(self) -> None:
        """Make the tables, Airflow's and ours."""
        done = self.run("db", "migrate")
        if done.returncode:
            raise Failed(f"airflow db migrate failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def python(self, script: Path) -> None:
        """Run a Python script inside this Airflow."""
        words = [str(self._environment.binary("python")), str(script)]
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise Failed(f"{script.name} failed:\n{done.stderr[-3000:]}")

    def component(self, name: str, *arguments: str) -> Process:
        """Return a component of Airflow, not started."""
        if name == "api-server":
            arguments = ("--host", "127.0.0.1", "--port", str(self.port), *arguments)
        elif name in ("scheduler", "triggerer"):
            # Logs lie on this machine; without this each would serve them on a fixed port, to everybody.
            arguments = ("--skip-serve-logs", *arguments)
        return self.process(name, name, *arguments)

    def process(self, log: str, *command: str, env: Mapping[str, str] | None = None) -> Process:
        """Return an ``airflow`` command as a process, not started."""
        words: Sequence[str | Path] = (self._environment.binary("airflow"), *command)
        return Process(log, words, env={**self.env, **(env or {})}, log=self.home / f"{log}.log")

    def health(self) -> dict[str, Any]:
        """Return what ``/incoming/health`` says; {} where nobody answers."""
        _, _, body = fetch(f"{self.url}/incoming/health", timeout=3)
        return body if isinstance(body, dict) else {}

    def token(self, user: str = "admin") -> str:
        """Return a token of Airflow's own REST API."""
        status, _, body = fetch(f"{self.url}/auth/token", payload={"username": user, "password": user})
        if status not in (200, 201):
            raise Failed(f"Airflow gave no token: {status} {body}")
        return str(body["access_token"])

    def api(self, path: str, token: str) -> tuple[int, Any]:
        """GET from Airflow's REST API."""
        status, _, body = fetch(f"{self.url}/api/v2/{path}", headers={"Authorization": f"Bearer {token}"})
        return status, body
