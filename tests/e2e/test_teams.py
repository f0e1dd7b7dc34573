"""An Airflow with teams: real processes, the simple auth manager's users, and a DAG that changes its team."""

from __future__ import annotations

import json

import pytest

from tests.e2e.sessions import signed_in
from tests.e2e.test_consumer_pages import write
from tests.e2e.test_editor_pages import Session
from tests.e2e.test_event_pages import send
from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer) -> House:
    """``one`` is of the team red, ``two`` of blue."""
    users = {"admin": "admin", "reds": "op:red", "blues": "op:blue"}
    listed = ",".join(f"{name}:{role}" for name, role in users.items())
    options = {"core.multi_team": "True", "core.simple_auth_manager_users": listed}
    house = builder.build(processes, redis=redis_server, options=options)
    (house.airflow.home / "passwords.json").write_text(json.dumps({name: name for name in users}))
    for team, dag_id in (("red", "one"), ("blue", "two")):
        write(
            house,
            f"insert into team (name) values ('{team}')",
            f"insert into dag_bundle (name, active) values ('of-{team}', true)",
            f"insert into dag_bundle_team (dag_bundle_name, team_name) values ('of-{team}', '{team}')",
            f"update dag set bundle_name = 'of-{team}' where dag_id = '{dag_id}'",
        )
    house.api_server()
    return house


reds = signed_in(Session, "reds")
blues = signed_in(Session, "blues")
admin = signed_in(Session, "admin")


def ended(house: House, event_id: str) -> tuple[str, list[str]]:
    """Return the state of an event that was looked at, and the runs of it."""
    found = house.airflow.result("incoming", "events", "show", event_id)
    return found["state"], found["run_ids"]


def test_a_dag_belongs_to_who_may_trigger_it_now(house: House, reds: Session, blues: Session) -> None:
    """Bound by its team, it runs; moved to another, it doesn't, until somebody of that publishes it."""
    assert (
        reds.post("/integrations/", {"name": ["mine"], "title": ["Mine"], "type": ["none"]}).status_code
        == 303
    )
    told = []
    for dag_id in ("two", "not_there"):
        refused = reds.post("/integrations/mine/save-and-publish", reds.form("mine", dag=[dag_id]))
        assert refused.status_code == 422
        (line,) = [line for line in refused.text.splitlines() if "You may not trigger DAG" in line][:1]
        told.append(line.replace(dag_id, "it"))
    assert told[0] == told[1], "whether a DAG is there is nobody's business who may not trigger it"
    bound = reds.post("/integrations/mine/save-and-publish", reds.form("mine", dag=["one"]))
    assert bound.status_code == 303
    house.endpoints["mine"] = house.airflow.result("incoming", "show", "mine")["endpoint_id"]
    first = send(house, "mine", {"n": 1})
    assert ended(house, first)[0] == "dispatched"

    write(house, "update dag set bundle_name = 'of-blue' where dag_id = 'one'")
    second = send(house, "mine", {"n": 2})
    assert ended(house, second) == ("dead", [])
    assert "belongs to another team" in blues.get(f"/events/{second}").text
    assert "belongs to another team" not in reds.get(f"/events/{second}").text
    findings = json.loads(house.airflow.run("incoming", "check", "--output", "json").stdout)
    assert "mine: DAG one belongs to another team than when this was published; publish it again." in [
        row["detail"] for row in findings
    ]
    assert reds.post("/integrations/mine/publish").status_code == 403
    assert reds.post(f"/events/{second}/replay", {"deduplicate": ["no"]}).status_code == 403
    assert blues.post("/integrations/mine/publish").status_code == 303
    assert blues.post(f"/events/{second}/replay", {"deduplicate": ["no"]}).status_code == 303
    wait_until(lambda: ended(house, second)[0] == "dispatched", seconds=30, what="the replayed event's run")
    assert [dag for dag, run, _ in house.runs() if second in run] == ["one"]


def test_what_is_not_there_yet_is_for_the_trusted(house: House, reds: Session, admin: Session) -> None:
    """A command may name it, and says what that means; nobody of one team learns that it isn't there."""
    file = house.airflow.home / "later.yaml"
    later = {"name": "later", "state": "published", "dags": ["not_there"]}
    file.write_text(json.dumps({"version": 1, "integrations": [later]}))
    done = house.airflow.run("incoming", "apply", str(file))
    assert done.returncode == 0
    assert "DAG not_there isn't there yet; events start it whichever team deploys it" in done.stderr
    assert "does not exist" in admin.get("/integrations/later").text
    assert "does not exist" not in reds.get("/integrations/later").text
    assert reds.post("/integrations/later/suspend").status_code == 403
