"""What real processes write down of each event: its id and integration, and nothing that was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.house import Builder, House
from workbench.processes import Processes, wait_until

SECRET = "only-the-sender-may-know-this"
HEADERS = {"Authorization": f"Bearer {SECRET}-token", "X-Note": f"{SECRET}-header", "X-Sig": f"{SECRET}-sig"}
INTEGRATIONS = [
    {"name": "orders", "state": "published", "dags": ["one"], "headers": ["x-note"]},
    {"name": "strict", "state": "published", "dags": ["strict"]},
    {"name": "later", "state": "published", "dags": ["not_there_yet"]},
]
ID = r"[0-9a-f-]{36}"


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes() as processes:
        yield processes


@pytest.fixture(scope="module")
def sent(builder: Builder, processes: Processes) -> tuple[House, dict[str, str]]:
    """One event that runs, one that is refused and one that waits; the dispatcher logs as JSON."""
    house = builder.build(processes)
    house.apply(*INTEGRATIONS)
    house.serve()
    payload = {"order": {"id": f"{SECRET}-value"}, f"{SECRET}-name": 1}
    ids = {}
    for name in ("orders", "strict", "later"):
        url = house.url(name) + f"?token={SECRET}-query"
        house.endpoints[f"{name}-asked"] = url.rpartition("/")[2]
        answer = house.post(f"{name}-asked", payload, headers=HEADERS)
        ids[name] = answer.json()["event_id"]
    house.dispatch(env={"AIRFLOW__LOGGING__JSON_LOGS": "True"})
    wait_until(lambda: ended(house) == 2, seconds=60, what="the events to be dispatched")
    wait_until(lambda: len(lines(house)) >= 3, seconds=10, what="the lines to be written")
    return house, ids


def ended(house: House) -> int:
    return int(house.sql("select count(*) from incoming_event where ended_at is not null")[0][0])


def written(house: House, name: str) -> str:
    return "".join(path.read_text() for path in house.airflow.home.glob(f"{name}-*.log"))


def lines(house: House) -> list[dict[str, object]]:
    """Return the lines of a dispatcher that logs as JSON, those of events."""
    found = [json.loads(line) for line in written(house, "dispatch").splitlines() if line.startswith("{")]
    return [line for line in found if "event_ids" in line]


def test_a_receiver_says_which_events_it_accepted(sent: tuple[House, dict[str, str]]) -> None:
    """A line for each integration of a batch."""
    house, ids = sent
    pattern = r"^\S+ \S+ INFO airflow_incoming\.services\.intake Accepted events (.*)$"
    found = re.findall(pattern, written(house, "serve"), re.MULTILINE)
    assert found == [f"integration={name} count=1 event_ids={event_id}" for name, event_id in ids.items()]


def test_a_dispatcher_says_what_became_of_each(sent: tuple[House, dict[str, str]]) -> None:
    """As fields, where Airflow writes JSON."""
    house, ids = sent
    told = {str(line["integration"]): line for line in lines(house)}
    shown = ("event", "level", "logger", "count", "event_ids", "state")
    logger = "airflow_incoming.services.dispatch"
    failed = {"event": "Events could not be dispatched", "level": "warning", "logger": logger, "count": 1}
    assert {name: {key: line[key] for key in shown if key in line} for name, line in told.items()} == {
        "orders": {
            "event": "Dispatched events",
            "level": "info",
            "logger": logger,
            "count": 1,
            "event_ids": [ids["orders"]],
        },
        "strict": failed | {"event_ids": [ids["strict"]], "state": "dead"},
        "later": failed | {"event_ids": [ids["later"]], "state": "failed"},
    }


def test_nothing_that_was_sent_is_in_a_log(sent: tuple[House, dict[str, str]]) -> None:
    """No value, no name of a field, no header, no token; not where it failed either."""
    house, _ = sent
    for log in ("serve", "dispatch"):
        assert "event_id" in written(house, log)
        assert SECRET not in written(house, log)
