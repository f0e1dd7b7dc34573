"""A real Airflow, on SQLite and on PostgreSQL, with all its components, and DAGs that assets start."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house import JSON, Builder, House, healthy
from tests.integration.bursts.dags.bursts import GROUPS
from workbench.airflow import COMPONENTS
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer
from workbench.steps import Failed

DAGS = Path(__file__).parent / "dags"
PREFIX = "bursts"
#: Seconds in which two sweeps have looked, and a scheduler has made what they ask for.
SETTLING = 8
INTEGRATIONS = (
    {"name": "burst", "state": "published", "assets": ["incoming://burst"]},
    {"name": "watched", "state": "published"},
)


@dataclass
class Consumers:
    """Sends bursts, and looks at what the DAGs that they start have got of them."""

    house: House
    notes: Path
    awaited: dict[str, Counter[str]] = field(default_factory=dict)

    def burst(self, integration: str, payloads: list[dict[str, Any]]) -> list[str]:
        """Post them one right after the other, and return the ids of the events."""
        with httpx.Client(headers=JSON, timeout=60) as client:
            answers = [
                client.post(self.house.url(integration), content=json.dumps(payload)) for payload in payloads
            ]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.json()["event_id"] for answer in answers]

    def consumed(self, dag_id: str) -> Counter[str]:
        """Return in how many runs of a DAG each event is."""
        query = (
            "select cast(e.extra as text) from dagrun_asset_event c join dag_run r on r.id = c.dag_run_id"
            " join asset_event e on e.id = c.event_id where r.dag_id = :dag"
        )
        extras = [json.loads(extra) for (extra,) in self.house.sql(query, dag=dag_id)]
        confs = [extra.get("payload", extra) for extra in extras]
        return Counter(conf["_incoming.event_id"] for conf in confs)

    def noted(self, dag_id: str) -> list[list[int]]:
        """Return the numbers that each run of a DAG saw."""
        file = self.notes / f"{dag_id}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line)["seen"] for line in lines]

    def wait_for(self, dag_id: str, event_ids: list[str], *, seconds: float = 60) -> None:
        """Wait until a DAG has got so many events, and see that it has got each of them once."""
        try:
            wait_until(lambda: len(self.consumed(dag_id)) >= len(event_ids), seconds=seconds, what=dag_id)
        except Failed as error:
            got = len(self.consumed(dag_id))
            raise AssertionError(f"{dag_id} has got {got} of {len(event_ids)} events") from error
        self.awaited[dag_id] = Counter(event_ids)
        assert self.consumed(dag_id) == self.awaited[dag_id]

    def look_again(self) -> None:
        """See that no second run has got any of what was waited for: sweeps come every second or three."""
        time.sleep(SETTLING)
        assert {dag_id: self.consumed(dag_id) for dag_id in self.awaited} == self.awaited

    def pause(self, dag_id: str, *, paused: bool) -> None:
        """Do what Airflow's page does."""
        token = self.house.airflow.token()
        answer = httpx.patch(
            f"{self.house.airflow.url}/api/v2/dags/{dag_id}",
            json={"is_paused": paused},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="package", params=["postgresql", "sqlite"])
def consumers(
    request: pytest.FixtureRequest,
    builder: Builder,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Consumers]:
    redis_server.flush()
    postgres = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    notes = tmp_path_factory.mktemp("notes")
    options = {"core.dags_folder": str(DAGS), "incoming.redis_prefix": PREFIX}
    with Processes() as processes:
        house = builder.build(processes, postgres=postgres, redis=redis_server, options=options)
        house.airflow.env["BURSTS"] = str(notes)
        house.apply(*INTEGRATIONS)
        running = {name: processes.start(house.airflow.component(name)) for name in COMPONENTS}
        house.receive.append(f"{house.airflow.url}/incoming")
        running["api-server"].wait_until(lambda: healthy(house.receive[0]), seconds=120)
        wait_until(lambda: parsed(house), seconds=90, what="the DAGs to be parsed")
        wait_until(lambda: watching(redis_server) == GROUPS + 1, seconds=90, what="the watchers to begin")
        yield Consumers(house, notes)


def parsed(house: House) -> bool:
    mistakes = house.sql("select filename, stacktrace from import_error")
    assert not mistakes, mistakes
    return bool(house.sql("select 1 from dag where dag_id = 'on_groups_45' and not is_stale"))


def watching(redis_server: RedisServer) -> int:
    from airflow_incoming.stores.redis_connection import connect

    client = connect(redis_server.url, timeout=5)
    keys = client.keys(f"{PREFIX}:{{watched}}:cursor:*")
    client.close()
    return len(keys)
