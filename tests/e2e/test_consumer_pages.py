"""What the pages and the check tell of DAGs that assets, and watchers of assets, start. Real runs."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.e2e.sessions import signed_in
from tests.e2e.test_event_pages import Session, listed, send
from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer) -> House:
    """``asset`` updates the asset that starts ``by_asset``, and a watcher of it listens to ``watched``."""
    house = builder.build(processes, redis=redis_server, fab=True)
    house.api_server()
    house.apply(
        {"name": "asset", "state": "published", "assets": ["incoming://orders"]},
        {"name": "watched", "state": "published"},
        {"name": "unwatched", "state": "published"},
    )
    write(
        house,
        "insert into trigger (id, classpath, kwargs, created_date)"
        " values (77, 'airflow_incoming.triggers.event.IncomingEventTrigger',"
        ' \'{"integration": "watched"}\', :now)',
        "insert into asset_watcher (name, asset_id, trigger_id)"
        " select 'any', id, 77 from asset where uri like 'incoming://orders%'",
        now=datetime.now(timezone.utc).isoformat(sep=" "),
    )
    return house


def write(house: House, *statements: str, **values: object) -> None:
    engine = create_engine(house.airflow.database, connect_args={"timeout": 20})
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), values)
    engine.dispose()


admin = signed_in(Session, "admin")
shop = signed_in(Session, "shop")


def findings(house: House) -> list[str]:
    rows = json.loads(house.airflow.run("incoming", "check", "--output", "json").stdout)
    return [row["detail"] for row in rows if row["check"] == "asset events"]


def test_what_waits_and_what_has_run(house: House, admin: Session, shop: Session) -> None:
    """While a DAG is paused, the event's page and the check say so; then the page shows the run."""
    assert findings(house) == ["Every asset event that came is in a run."]
    write(house, "update dag set is_paused = true where dag_id = 'by_asset'")
    event_id = send(house, "asset", {"order": {"id": 1}})
    page = f"/events/{event_id}"
    wait_until(lambda: "No run has it yet" in admin.get(page).text, seconds=30, what="it to be noted")
    assert "the DAG is paused" in admin.get(page).text
    (found,) = findings(house)
    assert found.startswith("1 asset event of asset incoming://orders no run of DAG by_asset has yet, since")
    assert found.endswith("the DAG is paused; a run gets it when it is unpaused.")
    write(house, "update dag set is_paused = false where dag_id = 'by_asset'")
    house.processes.start(house.airflow.component("scheduler"))
    wait_until(lambda: runs_of(house, event_id) != [], seconds=120, what="a run")
    (run_id,) = runs_of(house, event_id)
    wait_until(lambda: "No run has it yet" not in admin.get(page).text, seconds=30, what="that to be noted")
    assert f"/dags/by_asset/runs/{quote(run_id)}" in admin.get(page).text
    assert "by_asset" not in shop.get(page).text
    assert findings(house) == ["Every asset event that came is in a run."]


def test_what_a_watcher_starts(house: House, admin: Session) -> None:
    """The DAG's tab names the integration, the run's tab the event, and the event's page the run."""
    event_id = send(house, "watched", {"order": {"id": "seen"}})
    assert event_id in listed(admin.get("/dag/by_asset"))
    assert "by watchers of assets" in admin.get("/dag/by_asset").text
    assert "by watchers of assets" in admin.get("/integrations/", params={"q": "watched"}).text
    assert "listen to it: what they want starts DAGs" in admin.get(f"/events/{event_id}").text
    conf = {"order.id": "seen", "_incoming.event_id": event_id, "_incoming.integration": "watched"}
    emit(house, conf)
    wait_until(lambda: runs_of(house, event_id) != [], seconds=120, what="a run")
    (run_id,) = runs_of(house, event_id)
    tab = admin.get(f"/dag/by_asset/{run_id}").text
    assert f"/events/{event_id}" in tab
    assert "Through the watcher of asset" in tab
    assert f"/dags/by_asset/runs/{quote(run_id)}" in admin.get(f"/events/{event_id}").text


def test_what_nobody_watches(house: House, admin: Session) -> None:
    """An integration to which nobody listens starts nothing, and an asset event by the API proves nothing."""
    event_id = send(house, "unwatched", {"order": {"id": "unseen"}})
    assert event_id not in listed(admin.get("/dag/by_asset"))
    assert "so nothing was started" in admin.get(f"/events/{event_id}").text
    conf = {"_incoming.event_id": event_id, "_incoming.integration": "unwatched"}
    bearer = {"Authorization": f"Bearer {house.airflow.token()}"}
    with httpx.Client(base_url=f"{house.airflow.url}/api/v2/", headers=bearer, timeout=30) as api:
        assets = api.get("assets").json()["assets"]
        [asset_id] = [each["id"] for each in assets if each["uri"].startswith("incoming://orders")]
        extra = {"from_trigger": True, "payload": conf}
        api.post("assets/events", json={"asset_id": asset_id, "extra": extra}).raise_for_status()
    wait_until(lambda: runs_of(house, event_id) != [], seconds=120, what="a run")
    (run_id,) = runs_of(house, event_id)
    assert "was not started by an incoming event" in admin.get(f"/dag/by_asset/{run_id}").text


def emit(house: House, conf: dict[str, str]) -> None:
    """Write what a triggerer writes; that a run gets it is the dispatcher's to see to."""
    write(
        house,
        "insert into asset_event (asset_id, extra, timestamp, source_map_index)"
        " select id, :extra, :now, -1 from asset where uri like 'incoming://orders%'",
        extra=json.dumps({"from_trigger": True, "payload": conf}),
        now=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f"),
    )


def runs_of(house: House, event_id: str) -> list[str]:
    rows = house.sql(
        "select r.run_id from dagrun_asset_event c join dag_run r on r.id = c.dag_run_id"
        " join asset_event e on e.id = c.event_id where e.extra like :named order by r.id",
        named=f"%{event_id}%",
    )
    return [row[0] for row in rows]
