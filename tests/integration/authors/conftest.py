"""Real Airflows, on SQLite and on PostgreSQL, with all their components and the DAGs of authors."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_incoming.core.stream import BEGINNING, Limits
from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.stream import RedisStream
from tests.house import Builder, House, healthy
from workbench.airflow import COMPONENTS
from workbench.environment import ROOT
from workbench.processes import Process, Processes, fetch, wait_until
from workbench.redis import RedisServer

HERE = Path(__file__).parent
ENDED = ("success", "failed")
PREFIX = "authors"
#: DAGs that tests start by webhooks of the same name.
STARTED = (
    *("values_wait", "values_send", "values_send_numbers"),
    *("values_find_text", "values_find_native", "values_find_number"),
)
#: Of the first two events are waited for and watched, the third one starts a DAG by its asset.
INTEGRATIONS = (
    {"name": "signals", "state": "published", "headers": ["x-shop"]},
    {"name": "news", "state": "published"},
    {
        "name": "values",
        "state": "published",
        "dags": ["values_by_conf"],
        "assets": ["incoming://values"],
        "headers": ["x-case"],
        "limits": {"body": "4MiB", "conf": "4MiB"},
    },
    *({"name": dag_id, "state": "published", "dags": [dag_id]} for dag_id in STARTED),
    {"name": "targets", "state": "published", "assets": ["incoming://targets"], "headers": ["x-shop"]},
)
#: What the last lines of our files of DAGs make.
LAST = {"send_file", "waits_alone", "on_urgent", "values_wait"}


@dataclass
class Author:
    """Starts DAG runs, waits for them, and looks at what their tasks left."""

    house: House
    components: Mapping[str, Process]
    token: str = ""

    @property
    def triggerer(self) -> Process:
        return self.components["triggerer"]

    def call(self, path: str, payload: Any = None, *, tries: int = 3) -> Any:
        """GET, or POST ``payload``, at Airflow's REST API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        status, _, body = fetch(
            f"{self.house.airflow.url}/api/v2/{path}", payload=payload, headers=headers, timeout=60
        )
        if status == 500 and tries > 1:  # SQLite was busy, which Airflow doesn't wait for
            time.sleep(1)
            return self.call(path, payload, tries=tries - 1)
        assert status in (200, 201), (path, status, body)
        return body

    def post(self, integration: str, payload: Any, headers: Mapping[str, str] | None = None) -> str:
        """Post to an integration, and return the event's id."""
        response = self.house.post(integration, payload, headers=dict(headers or {}))
        assert response.status_code == 200, response.text
        return str(response.json()["event_id"])

    def published(self, integration: str) -> list[str]:
        """Return the ids of the events in an integration's stream."""
        assert self.house.redis is not None
        client = connect(self.house.redis.url, timeout=5)
        stream = RedisStream(client, prefix=PREFIX, limits=Limits(length=10_000, size=2**26))
        read = stream.read(integration, after=BEGINNING, limit=10_000)
        client.close()
        return [fields["id"] for _, fields in read]

    def watchers(self, integration: str) -> int:
        """Return how many watchers of an integration have begun."""
        assert self.house.redis is not None
        client = connect(self.house.redis.url, timeout=5)
        keys = client.keys(f"{PREFIX}:{{{integration}}}:cursor:*")
        client.close()
        return len(keys)

    def readers(self) -> int:
        """Return how many connections of Redis wait for events."""
        assert self.house.redis is not None
        client = connect(self.house.redis.url, timeout=5)
        commands = [connection["cmd"] for connection in client.client_list()]
        client.close()
        return sum(command.startswith("xread") for command in commands)

    def start(self, dag_id: str, run_id: str | None = None, **conf: Any) -> str:
        """Start a DAG run and return its id."""
        payload = {"logical_date": None, "conf": conf, **({"dag_run_id": run_id} if run_id else {})}
        return str(self.call(f"dags/{dag_id}/dagRuns", payload)["dag_run_id"])

    def await_run(self, dag_id: str, run_id: str, *, seconds: float = 120) -> str:
        """Return the state in which a run ends."""
        end = time.monotonic() + seconds
        while (state := self.state(dag_id, run_id)) not in ENDED:
            assert time.monotonic() < end, f"{dag_id} {run_id} is {state} after {seconds} s"
            time.sleep(0.3)
        return state

    def run(self, dag_id: str, **conf: Any) -> tuple[str, str]:
        """Start a DAG run, wait for its end, and return its id and state."""
        run_id = self.start(dag_id, **conf)
        return run_id, self.await_run(dag_id, run_id)

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear all tasks of a run."""
        payload = {"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        self.call(f"dags/{dag_id}/clearTaskInstances", payload)

    def state(self, dag_id: str, run_id: str) -> str:
        query = "select state from dag_run where dag_id = :dag and run_id = :run"
        rows = self.house.sql(query, dag=dag_id, run=run_id)
        return str(rows[0][0]) if rows else "missing"

    def tasks(self, dag_id: str, run_id: str, task_id: str = "send") -> list[tuple[str, int]]:
        """Return state and number of tries of a task's instances, by map index."""
        query = (
            "select state, try_number from task_instance "
            "where dag_id = :dag and run_id = :run and task_id = :task order by map_index"
        )
        rows = self.house.sql(query, dag=dag_id, run=run_id, task=task_id)
        return [(state, tries) for state, tries in rows]

    def xcoms(self, dag_id: str, run_id: str, task_id: str = "send", key: str = "return_value") -> list[Any]:
        """Return what a task's instances left, by map index."""
        query = (
            "select cast(value as text) from xcom "
            "where dag_id = :dag and run_id = :run and task_id = :task and key = :key order by map_index"
        )
        rows = self.house.sql(query, dag=dag_id, run=run_id, task=task_id, key=key)
        return [json.loads(value) for (value,) in rows]

    def result(self, dag_id: str, run_id: str, task_id: str = "send", key: str = "return_value") -> Any:
        (value,) = self.xcoms(dag_id, run_id, task_id, key)
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value

    def confs(self, dag_id: str) -> dict[str, dict[str, Any]]:
        """Return the confs of a DAG's runs by run id."""
        return {run_id: conf for dag, run_id, conf in self.house.runs() if dag == dag_id}

    def log(self, dag_id: str, run_id: str, task_id: str = "send") -> str:
        """Return what a task said at its last try."""
        folder = f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}"
        found = (self.house.airflow.home / "logs" / folder).glob(
            "attempt=*.log"
        )  # and what the triggerer said
        tries = {int(number): file for file in found if (number := file.stem.partition("=")[2]).isdigit()}
        return tries[max(tries)].read_text()


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def author(
    request: pytest.FixtureRequest,
    builder: Builder,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Author]:
    redis_server.flush()
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    dags = tmp_path_factory.mktemp("dags")
    for folder in (HERE / "dags", ROOT / "dags_examples"):
        for file in folder.iterdir():
            if file.suffix in (".py", ".json"):
                shutil.copy(file, dags)
    options = {
        "core.dags_folder": str(dags),
        "incoming.redis_prefix": PREFIX,
        "core.max_active_tasks_per_dag": "50",
        "incoming.max_body": "4MiB",
        "incoming.max_conf": "4MiB",
        "scheduler.scheduler_idle_sleep_time": "0.3",
        # Another triggerer takes over from one that was killed as soon as that has been silent for so long.
        "triggerer.job_heartbeat_sec": "1",
        "triggerer.triggerer_health_check_threshold": "4",
    }
    with Processes() as processes:
        house = builder.build(processes, postgres=postgres, redis=redis_server, options=options)
        house.apply(*INTEGRATIONS)
        running = {name: processes.start(house.airflow.component(name)) for name in COMPONENTS}
        house.receive.append(f"{house.airflow.url}/incoming")
        running["api-server"].wait_until(lambda: healthy(house.receive[0]), seconds=120)
        author = Author(house, running, house.airflow.token())
        wait_until(lambda: parsed(house), seconds=90, what="the DAGs to be parsed")
        for integration, watchers in {"news": 2, "values": 1}.items():
            wait_until(
                lambda i=integration, w=watchers: author.watchers(i) == w,  # type: ignore[misc]
                seconds=60,
                what=f"the watchers of {integration} to begin",
            )
        yield author


def parsed(house: House) -> bool:
    """Tell whether each file was parsed, without a mistake."""
    mistakes = house.sql("select filename, stacktrace from import_error")
    assert not mistakes, mistakes
    known = {dag_id for (dag_id,) in house.sql("select dag_id from dag where not is_stale")}
    return known >= {path.stem for path in (ROOT / "dags_examples").glob("*.py")} | LAST
