"""The pages of events: what happened, why, and once more. Real api-server, real runs, three kinds of user."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.e2e.sessions import signed_in
from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer) -> House:
    house = builder.build(processes, redis=redis_server, fab=True)
    house.api_server()
    house.apply(
        {
            "name": "orders",
            "state": "published",
            "deduplication": {"parameters": ["body.order.id"]},
            "dags": ["one"],
        },
        {"name": "both", "state": "published", "dags": ["one", "two"]},
        {"name": "lost", "state": "published", "dags": ["not_there"]},
        {"name": "strict", "state": "published", "dags": ["strict"]},
        {"name": "asset", "state": "published", "assets": ["incoming://orders"]},
    )
    return house


class Session:
    """One signed-in user at the pages."""

    def __init__(self, house: House, user: str) -> None:
        self.http = httpx.Client(
            base_url=f"{house.airflow.url}/pluginsv2/incoming-ui",
            cookies={"_token": house.airflow.token(user)},
            timeout=60,
        )

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def post(self, path: str, **form: str) -> httpx.Response:
        token = self.http.get("/csrf").json()["csrf_token"]
        return self.http.post(path, data=form, headers={"X-CSRFToken": token})


admin = signed_in(Session, "admin")
viewer = signed_in(Session, "viewer")
shop = signed_in(Session, "shop")


def send(house: House, integration: str, payload: Any, **options: Any) -> str:
    """Send an event and wait until the dispatcher has looked at it."""
    answer = house.post(integration, payload, **options)
    event_id = str(answer.json()["event_id"])

    def looked_at() -> bool:
        rows = house.sql("select attempts from incoming_event where id = :id", id=UUID(event_id).hex)
        return bool(rows and rows[0][0])

    wait_until(looked_at, seconds=30, what="the event to be tried")
    return event_id


def listed(page: httpx.Response) -> list[str]:
    """Return the events in a table, as the page has them."""
    assert page.status_code == 200
    return re.findall(r'id="event-([0-9a-f-]{36})"', page.text)


def test_an_event_and_its_run(house: House, admin: Session) -> None:
    """The list names it; its page has parameters, headers, hash and run; the run's tab names the event."""
    event_id = send(house, "orders", {"order": {"id": "first"}}, headers={"X-Request-Id": "r-1"})
    assert event_id in listed(admin.get("/events/"))
    page = admin.get(f"/events/{event_id}").text
    run_id = f"incoming__orders__{event_id}"
    for expected in (
        "body.order.id",
        "first",
        "x-request-id",
        "r-1",
        f"/dags/one/runs/{run_id}",
        "Remembered until",
    ):
        assert expected in page, expected
    tab = admin.get(f"/dag/one/{run_id}").text
    assert f"/events/{event_id}" in tab
    assert "first" in tab
    assert event_id in listed(admin.get("/dag/one"))


def test_a_run_of_another_kind(house: House, admin: Session) -> None:
    """A run that nobody of us started, one that only claims so, and a DAG without integrations."""
    event_id = send(house, "orders", {"order": {"id": "claimed"}})
    for run_id in ("manual__2026-01-01T00:00:00+00:00", f"incoming__orders__{UUID(int=1)}"):
        assert "was not started by an incoming event" in admin.get(f"/dag/one/{run_id}").text
    forged = admin.get(f"/dag/two/incoming__orders__{event_id}").text
    assert "was not started by an incoming event" in forged
    assert "claimed" not in forged
    assert "No integration starts this DAG" in admin.get("/dag/paused").text


def test_a_dag_that_waits_for_an_asset(house: House, admin: Session) -> None:
    """An integration that names the asset starts it, too."""
    event_id = send(house, "asset", {"order": {"id": 1}})
    assert event_id in listed(admin.get("/dag/by_asset"))
    assert "incoming://orders" in admin.get(f"/events/{event_id}").text


def test_a_run_that_asset_events_started(house: House, admin: Session) -> None:
    """The tab shows each event behind it, and none that somebody's asset event only names."""
    sent = [send(house, "asset", {"order": {"id": f"by-asset-{number}"}}) for number in range(2)]
    named = send(house, "orders", {"order": {"id": "named"}})
    emit_asset_event(house, {"_incoming.event_id": named})
    scheduler = house.processes.start(house.airflow.component("scheduler"))
    wait_until(lambda: bool(asset_runs(house)), seconds=120, what="the scheduler to start the DAG")
    scheduler.stop()
    run_id = asset_runs(house)[0]
    tab = admin.get(f"/dag/by_asset/{run_id}").text
    assert re.search("/events/[0-9a-f-]{36}", tab)
    assert "incoming://orders" in tab
    consume_all_asset_events(house, run_id)
    tab = admin.get(f"/dag/by_asset/{run_id}").text
    assert all(f"/events/{event_id}" in tab for event_id in sent)
    assert named not in tab
    assert "was not started by an incoming event" in admin.get(f"/dag/one/{run_id}").text


def consume_all_asset_events(house: House, run_id: str) -> None:
    """Note what Airflow does when several asset events came between two looks of the scheduler."""
    engine = create_engine(house.airflow.database)
    with engine.begin() as connection:
        connection.execute(text("delete from dagrun_asset_event"))
        connection.execute(
            text(
                "insert into dagrun_asset_event (dag_run_id, event_id)"
                " select r.id, e.id from dag_run r, asset_event e where r.run_id = :run_id"
            ),
            {"run_id": run_id},
        )
    engine.dispose()


def emit_asset_event(house: House, extra: dict[str, str]) -> None:
    """Create an asset event as whoever may do that can, by Airflow's own API."""
    bearer = {"Authorization": f"Bearer {house.airflow.token()}"}
    with httpx.Client(base_url=f"{house.airflow.url}/api/v2/", headers=bearer, timeout=30) as api:
        assets = api.get("assets").json()["assets"]
        [asset_id] = [each["id"] for each in assets if each["uri"].startswith("incoming://orders")]
        api.post("assets/events", json={"asset_id": asset_id, "extra": extra}).raise_for_status()


def asset_runs(house: House) -> list[str]:
    return [row[0] for row in house.sql("select run_id from dag_run where dag_id = 'by_asset'")]


def test_filters_and_what_is_wrong_with_them(house: House, admin: Session) -> None:
    """By integration, state, time and parameter; a mistake is told at its field."""
    wanted = send(house, "both", {"order": {"id": 4711}})
    send(house, "both", {"order": {"id": 4712}})
    for query in (
        {"parameter": "body.order.id", "value": "4711"},
        {"parameter": "order.id", "value": "4711.0"},
    ):
        assert listed(admin.get("/events/", params=query)) == [wanted]
    assert wanted in listed(admin.get("/events/", params={"integration": "both", "range": "1h"}))
    assert wanted not in listed(admin.get("/events/", params={"integration": "orders"}))
    assert wanted not in listed(admin.get("/events/", params={"state": "trouble"}))
    assert "No event meets these filters" in admin.get("/events/", params={"integration": "none"}).text
    future = {"range": "custom", "since": "2200-01-01T00:00"}
    assert listed(admin.get("/events/", params=future)) == []
    for query, field in (
        ({"range": "custom", "since": "yesterday"}, "since"),
        ({"range": "custom", "until": "9999-12-31T23:59:59-09:00"}, "until"),
        ({"state": "odd"}, "state"),
        ({"value": "1"}, "parameter"),
        ({"parameter": "header.a b"}, "parameter"),
    ):
        page = admin.get("/events/", params=query)
        assert page.status_code == 422
        assert f'id="field-{field}-error"' in page.text


def test_a_missing_dag_in_plain_words(house: House, admin: Session) -> None:
    """What it waits for, when it is tried again; the list refreshes itself meanwhile."""
    event_id = send(house, "lost", {"order": {"id": 1}})
    page = admin.get(f"/events/{event_id}").text
    assert "It waits for the DAG “not_there”" in page
    assert "Next attempt" in page
    assert 'hx-trigger="every 5s"' in admin.get("/events/", params={"integration": "lost"}).text
    assert "every 5s" not in admin.get("/events/", params={"integration": "asset"}).text


def test_what_was_sent_never_runs_as_script(house: House, admin: Session) -> None:
    """Keys, values, headers and query of a payload are text, on every page that shows them."""
    event_id = send(
        house,
        "both",
        {EVIL: EVIL, "deep": [{f'"><img src=x onerror={EVIL}>': 1}]},
        headers={"X-Evil": EVIL, "User-Agent": f"'\"{EVIL}"},
        params={"q": EVIL, EVIL: "1"},
    )
    run_id = f"incoming__both__{event_id}"
    strict = send(house, "strict", {"order": {"id": EVIL}})
    for path in (
        f"/events/{event_id}",
        f"/dag/one/{run_id}",
        f"/events/?integration={EVIL}&parameter=body.{EVIL}&value={EVIL}&hash={EVIL}&state={EVIL}",
        f"/events/{strict}",
        "/events/",
        f"/requests/?integration={EVIL}",
    ):
        page = admin.get(path)
        assert "<script>alert" not in page.text, path
        assert "<img src=x" not in page.text, path
        assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in admin.get(f"/events/{event_id}").text


def test_replaying_one(house: House, admin: Session) -> None:
    """With deduplication what ran is a duplicate; without, a copy runs; once forgotten, with it, too."""
    event_id = send(house, "orders", {"order": {"id": "again"}})
    assert house.post("orders", {"order": {"id": "again"}}).status_code == 204
    refused = admin.post(f"/events/{event_id}/replay", deduplicate="yes")
    assert refused.status_code == 409
    assert "its hash is still remembered" in refused.text
    copied = admin.post(f"/events/{event_id}/replay", deduplicate="no")
    assert copied.status_code == 303
    address = copied.headers["Location"]
    assert address.endswith("?notice=replayed")
    copy = re.findall(r"[0-9a-f-]{36}", address)[0]
    assert copy != event_id
    assert copy in admin.get(f"/events/{event_id}").text
    assert event_id in admin.get(f"/events/{copy}").text
    forgotten = admin.post(f"/events/{event_id}/forget")
    assert forgotten.headers["Location"].endswith("?notice=forgotten")
    assert admin.post(f"/events/{event_id}/replay", deduplicate="yes").status_code == 303
    assert house.post("orders", {"order": {"id": "again"}}).status_code == 204
    assert admin.post(f"/events/{event_id}/replay").status_code == 422


def steps(session: Session, **form: str) -> str:
    """Post step after step, as the page does; return the last answer."""
    for _ in range(50):
        answer = session.post("/events/replay", **form)
        assert answer.status_code == 200
        if 'id="replay-step"' not in answer.text:
            return answer.text
        form = dict(re.findall(r'<input type="hidden" name="([a-z]+)" value="([^"]*)"', answer.text))
        form.pop("csrf_token", None)
    raise AssertionError("it never ends")


def counted(page: str, name: str) -> int:
    return int(re.findall(rf'id="{name}">([0-9,]+)<', page)[0])


def test_replaying_all_that_match(house: House, admin: Session) -> None:
    """Each once, the copies never; the filter of the page is the filter of the replay."""
    for number in range(3):
        send(house, "both", {"batch": "b1", "n": number})
    chosen = {"parameter": "batch", "value": "b1"}
    done = steps(admin, deduplicate="no", **chosen)
    assert (counted(done, "replayed"), "Done" in done) == (3, True)
    assert len(listed(admin.get("/events/", params=chosen))) == 6
    stopped = admin.post("/events/replay", deduplicate="no", stop="yes", replayed="7", **chosen)
    assert (counted(stopped.text, "replayed"), "Stopped" in stopped.text) == (7, True)
    assert admin.post("/events/replay", deduplicate="no", state="odd").status_code == 422


def test_nobody_replays_what_they_may_not_trigger(house: House, shop: Session) -> None:
    """One is refused without the DAG's name, of many they are counted; the DAG of others shows nothing."""
    mine = send(house, "orders", {"batch": "b2", "order": {"id": "mine"}})
    theirs = send(house, "both", {"batch": "b2"})
    refused = shop.post(f"/events/{theirs}/replay", deduplicate="no")
    assert refused.status_code == 403
    assert "you may not start all that it starts" in refused.text.lower()
    assert "two" not in refused.text
    done = steps(shop, deduplicate="no", parameter="batch", value="b2")
    assert (counted(done, "replayed"), counted(done, "refused")) == (1, 1)
    assert shop.post(f"/events/{mine}/replay", deduplicate="no").status_code == 303
    assert shop.get("/dag/two").status_code == 403
    assert shop.get(f"/dag/two/incoming__both__{theirs}").status_code == 403
    assert "You may not look at this DAG" in shop.get(f"/events/{theirs}").text


def test_a_viewer_looks_and_changes_nothing(house: House, viewer: Session) -> None:
    """No button, and a refusal for whoever posts all the same."""
    event_id = send(house, "orders", {"order": {"id": "seen"}})
    for path in ("/events/", f"/events/{event_id}"):
        page = viewer.get(path)
        assert page.status_code == 200
        assert "Replay" not in page.text.replace("Replayed as", "").replace(">Replay</span>", "")
        assert "Forget" not in page.text
    for path in (f"/events/{event_id}/replay", f"/events/{event_id}/forget", "/events/replay"):
        assert viewer.post(path, deduplicate="no").status_code == 403


def test_export(house: House, admin: Session) -> None:
    """The filtered events, as columns and as JSON; a cell is never a formula, and a number stays one."""
    sent = send(house, "both", {"batch": "b3", "total": -5, "evil": "=1+1", "@key": "x"})
    chosen = {"parameter": "batch", "value": "b3"}
    answer = admin.get("/events/export.csv", params=chosen)
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="events-')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["event_id"], row["body.total"], row["body.evil"]) == (sent, "-5", "'=1+1")
    (event,) = json.loads(admin.get("/events/export.json", params=chosen).text)
    assert (event["event_id"], event["parameters"]["body.evil"]) == (sent, "=1+1")
    assert json.loads(admin.get("/events/export.json", params={"integration": "none"}).text) == []
    assert admin.get("/events/export.csv", params={"state": "odd"}).status_code == 422


def test_requests_that_became_no_event(house: House, admin: Session) -> None:
    """A duplicate leads to its first event; a rejection says why."""
    event_id = send(house, "orders", {"order": {"id": "twice"}})
    assert house.post("orders", {"order": {"id": "twice"}}).status_code == 204
    assert house.post("orders", b"no json").status_code == 400
    wait_until(
        lambda: event_id in admin.get("/requests/", params={"outcome": "duplicate"}).text,
        seconds=30,
        what="the duplicate to be listed",
    )
    page = admin.get("/requests/", params={"integration": "orders", "outcome": "rejected"}).text
    assert "malformed_json" in page
    assert event_id not in page


def test_pages_that_are_not_there(admin: Session) -> None:
    """An unknown event and a mistyped address are 404."""
    assert admin.get(f"/events/{UUID(int=7)}").status_code == 404
    assert admin.get("/events/nonsense").status_code == 404


@pytest.fixture
def page(house: House, browser: Browser) -> Iterator[Page]:
    """The pages in a browser, as an administrator; what its console complains about fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.add_cookies([{"name": "_token", "value": house.airflow.token("admin"), "url": house.airflow.url}])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [text for text in complaints if "409" not in text] == []


def ui(house: House, path: str) -> str:
    return f"{house.airflow.url}/pluginsv2/incoming-ui{path}"


def test_a_long_replay_goes_on_by_itself(house: House, page: Page) -> None:
    """One click, then step after step until the end; the filter stays in the address."""
    for number in range(3):
        send(house, "both", {"batch": "b4", "n": number})
    page.goto(ui(house, "/events/"))
    page.get_by_label("Parameter").fill("batch")
    page.get_by_label("Value").fill("b4")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**value=b4*")
    page.get_by_role("button", name="Replay all").click()
    page.get_by_label("Without deduplication").check()
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_text("Done", exact=True).wait_for()
    assert page.locator("#replayed").inner_text() == "3"
    page.get_by_role("link", name="Show the events").click()
    page.wait_for_url(ui(house, "/events/"))


def test_a_replay_in_the_browser(house: House, page: Page) -> None:
    """A refusal is told in the dialog and changes nothing; a success leads to the new event."""
    event_id = send(house, "orders", {"order": {"id": "clicked"}})
    page.goto(ui(house, f"/events/{event_id}"))
    page.get_by_role("button", name="Replay…").click()
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_text("its hash is still remembered").wait_for()
    page.get_by_label("Without deduplication").check()
    page.get_by_role("button", name="Replay", exact=True).click()
    page.wait_for_url("**notice=replayed")
    assert page.get_by_text("The event is on its way again.").is_visible()
    page.get_by_text("Replay of").wait_for()


def test_states_refresh_by_themselves(house: House, page: Page) -> None:
    """What waited and runs now is shown without a reload, and the asking stops."""
    (waiting,) = house.sql(
        "select id from incoming_event where integration = 'both' order by id desc limit 1"
    )
    event_id = str(UUID(str(waiting[0])))
    set_state(house, event_id, "accepted")
    page.goto(ui(house, "/events/?integration=both"))
    row = page.locator("tr", has=page.locator(f"#event-{event_id}"))
    row.get_by_text("Accepted").wait_for()
    set_state(house, event_id, "dispatched")
    row.get_by_text("Dispatched").wait_for(timeout=15_000)
    page.wait_for_selector("#events:not([hx-get])")


def set_state(house: House, event_id: str, state: str) -> None:
    """Put an event into a state without a dispatcher, and with nothing due."""
    engine = create_engine(house.airflow.database)
    with engine.begin() as connection:
        connection.execute(
            text("update incoming_event set state = :state where id = :id"),
            {"state": state, "id": UUID(event_id).hex},
        )
    engine.dispose()


def test_a_narrow_window_scrolls_no_page_sideways(house: House, page: Page) -> None:
    """At 800 pixels the tables scroll, not the page."""
    house.apply({"name": "long", "title": "T" * 200, "state": "published", "dags": ["one"]})
    event_id = send(house, "long", {"long": "x" * 5000, "a": {"b" * 100: 1}}, headers={"X-Long": "y" * 300})
    page.set_viewport_size({"width": 800, "height": 700})
    for path in ("/events/", f"/events/{event_id}", "/requests/", "/dag/one", "/integrations/long"):
        page.goto(ui(house, path))
        assert page.evaluate("document.documentElement.scrollWidth") <= 800, path
    page.goto(ui(house, f"/events/{event_id}"))
    assert page.locator("body").bounding_box()["height"] < 3000  # type: ignore[index]  # it is shown
    row = page.get_by_role("row", name="body.long")
    row.get_by_text("Show all 5,000 characters").click()
    assert "x" * 5000 in row.inner_text()
