"""The whole way of an administrator, in a real browser, under both auth managers."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.tour import Tourist, bearer
from tests.house import Builder, House
from workbench.processes import Processes
from workbench.redis import RedisServer

ORDER: dict[str, Any] = {
    "order": {"id": 4711, "total": 49.9, "paid": True, "note": None, "items": [{"sku": "A-7", "count": 2}]},
    "customer": {"email": "ada@example.com"},
}


@pytest.fixture(scope="module", params=["simple", "fab"])
def house(
    builder: Builder, processes: Processes, redis_server: RedisServer, request: pytest.FixtureRequest
) -> House:
    house = builder.build(processes, redis=redis_server, fab=request.param == "fab")
    house.api_server()
    return house


def post(url: str, payload: Any, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(url, json=payload, headers={"X-Request-Id": "r-1", **headers}, timeout=30)


def post_until(status: int, url: str, payload: Any, headers: dict[str, str]) -> httpx.Response:
    """Post what a sender that doesn't give up would: a change takes a second to be known everywhere."""
    end = time.monotonic() + 15
    while (answer := post(url, payload, headers)).status_code != status and time.monotonic() < end:
        time.sleep(0.3)
    assert answer.status_code == status, answer.text
    return answer


def test_from_nothing_to_a_dag_run(browser: Browser, house: House) -> None:
    """New integration, key, retrieved data, hash, workflow, 404 as a draft, 200, its event, its run."""
    me = Tourist(browser, house.airflow.url, "admin")
    me.sign_in()
    me.page.get_by_role("link", name="Incoming").click()
    expect(me.frame.get_by_role("heading", name="No integrations yet")).to_be_visible()

    key = make_integration(me)
    url = me.frame.locator("#endpoint-url").inner_text()
    sender = bearer(house, key)
    assert post(url, ORDER, sender).status_code == 404

    retrieve_data(me, url, sender)
    assert house.runs() == [], "a captured request starts nothing"
    choose_parameters(me)
    choose_dag(me)
    expect(me.frame.get_by_text("Not saved").first).to_be_visible()
    me.button("Save").click()
    expect(me.frame.get_by_text("Saved as a draft")).to_be_visible()
    assert post(url, ORDER, sender).status_code == 404, "a draft must not answer"

    me.button("Save & publish").click()
    expect(me.frame.get_by_text("Published: the endpoint accepts requests.")).to_be_visible()
    event_id = post_until(200, url, ORDER, sender).json()["event_id"]
    assert post(url, ORDER, sender).status_code == 204
    assert post(url, ORDER, {}).status_code == 401

    look_at_event(me, event_id)
    look_at_run(me, event_id)
    look_around(me)
    look_at_audit_log(house)
    assert house.runs()[0][2]["order.id"] == 4711
    assert len(house.runs()) == 1
    assert me.complaints == []


def make_integration(me: Tourist) -> str:
    """Make *Shop orders* with a new API key; return the key, which is shown this once."""
    me.button("New integration").first.click()
    dialog = me.frame.get_by_role("dialog")
    dialog.get_by_text("With JWT authentication").click()
    dialog.get_by_label("Title").fill("Shop orders")
    expect(dialog.locator("#new-name")).to_have_value("shop-orders")
    if dialog.get_by_label("A new API key").is_visible():
        dialog.get_by_label("A new API key").check()
    dialog.get_by_label("Name of the new key").fill("shop")
    me.button("Create", dialog).click()
    key = dialog.locator(".secret code").inner_text()
    assert key.startswith("inc_")
    dialog.get_by_role("link", name="Continue to the editor").click()
    expect(me.heading(re.compile("Shop orders"))).to_be_visible()
    return key


def retrieve_data(me: Tourist, url: str, sender: dict[str, str]) -> None:
    """Listen, post while it listens, see the fields appear by themselves, keep them."""
    section = me.define("data")
    me.button("Retrieve data", section).click()
    expect(section.get_by_text("Listening. Send a request now.")).to_be_visible()
    assert post(url, ORDER, {}).status_code == 401, "listening is no reason to let strangers in"
    assert post_until(200, url, ORDER, sender).json() == {"status": "captured"}
    expect(section.get_by_text("A request came", exact=True)).to_be_visible()
    expect(section.get_by_text("order.items.0.sku")).to_be_visible()
    me.apply("data")


def choose_parameters(me: Tourist) -> None:
    """Choose five parameters of body and headers; the sixth is refused with a reason."""
    section = me.define("deduplication")
    section.get_by_text("A request whose parameters were sent before starts nothing.").click()
    for count, name in enumerate(
        ["body.order.id", "header.x-request-id", "body.order.total", "body.order.paid", "body.customer.email"]
    ):
        section.get_by_label(name, exact=True).check()
        expect(section.get_by_text(f"{count + 1} of 5")).to_be_visible()
    # It is refused, so it doesn't stay checked.
    section.get_by_label("body.order.note", exact=True).click()
    expect(section.get_by_text("would be the sixth")).to_be_visible()
    expect(section.locator("#sample-hash")).to_have_text(re.compile("^[0-9a-f]{64}$"))
    me.apply("deduplication")


def choose_dag(me: Tourist) -> None:
    section = me.define("workflow")
    section.get_by_placeholder("Search by id or name").fill("on")
    section.get_by_role("button", name="Add one").click()
    expect(section.get_by_role("button", name="Take one away")).to_be_visible()
    me.apply("workflow")


def look_at_event(me: Tourist, event_id: str) -> None:
    me.frame.get_by_role("navigation", name="Incoming").get_by_role("link", name="Events").click()
    row = (
        me.frame.get_by_role("row")
        .filter(has_text="Shop orders")
        .or_(me.frame.get_by_role("row").filter(has_text="shop-orders"))
    )
    expect(row.first).to_contain_text("Dispatched")
    me.open(f"events/{event_id}")
    expect(me.frame.get_by_text("order.items.0.sku").first).to_be_visible()


def look_at_run(me: Tourist, event_id: str) -> None:
    """Follow the link to Airflow's page of the run, and find the event again on its tab."""
    run_id = f"incoming__shop-orders__{event_id}"
    me.frame.locator("a[data-airflow]").filter(has_text=re.compile("incoming__shop-orders")).first.click()
    me.page.wait_for_url(re.compile(f"/dags/one/runs/{run_id}"))
    me.page.locator("a[href*='plugin/incoming-run']").click()
    expect(me.frame.get_by_text("order.items.0.sku").first).to_be_visible()
    me.page.goto(f"{me.url}/dags/one/plugin/incoming-dag")
    expect(me.frame.get_by_text("Shop orders").first).to_be_visible()
    me.frame.get_by_role("link", name="All its events").click()
    me.page.wait_for_url(
        re.compile(r"/plugin/incoming/pluginsv2/incoming-ui/events/\?integration=shop-orders")
    )
    expect(me.heading("Events")).to_be_visible()


def look_around(me: Tourist) -> None:
    """The other pages know what happened, too."""
    me.open("requests/")
    expect(me.frame.get_by_text("duplicate", exact=False).first).to_be_visible()
    me.open("keys/")
    expect(me.frame.get_by_role("row").filter(has_text="shop")).to_contain_text("Shop orders")
    me.open("integrations/shop-orders/versions")
    expect(me.heading("Versions of Shop orders")).to_be_visible()
    me.open("integrations/")
    row = me.frame.get_by_role("row").filter(has_text="shop-orders")
    expect(row).to_contain_text("Published")


def look_at_audit_log(house: House) -> None:
    """Airflow's own audit log says who published."""
    _, found = house.airflow.api("eventLogs?event=incoming_publish_integration", house.airflow.token())
    (entry,) = found["event_logs"]
    assert entry["owner"] == "admin"
    assert json.loads(entry["extra"])["integration"] == "shop-orders"


def test_who_may_only_look_finds_nothing_to_press(browser: Browser, house: House) -> None:
    """A viewer sees the integration and its events in the navigation, and no button that changes them."""
    viewer = Tourist(browser, house.airflow.url, "viewer")
    viewer.sign_in()
    viewer.page.get_by_role("link", name="Incoming").click()
    viewer.frame.get_by_role("link", name="Shop orders").click()
    expect(viewer.heading(re.compile("Shop orders"))).to_be_visible()
    for name in ("Define", "Save", "Save & publish", "Suspend", "Delete…", "New integration", "Replay…"):
        expect(viewer.button(name)).to_have_count(0)
    viewer.open("events/")
    viewer.frame.locator("table a[id^=event-]").first.click()
    expect(viewer.frame.get_by_text("order.items.0.sku").first).to_be_visible()
    expect(viewer.button("Replay…")).to_have_count(0)


def test_who_may_trigger_one_dag_finds_no_other(browser: Browser, house: House) -> None:
    """A user who may edit integrations, and trigger the DAG *one* alone, can't choose another."""
    if "FabAuthManager" not in house.airflow.env["AIRFLOW__CORE__AUTH_MANAGER"]:
        pytest.skip("the simple auth manager has no rights on single DAGs")
    shop = Tourist(browser, house.airflow.url, "shop")
    shop.sign_in()
    shop.open("integrations/shop-orders")
    section = shop.define("workflow")
    search = section.get_by_placeholder("Search by id or name")
    search.fill("tw")
    expect(section.get_by_text("No DAG that you may trigger has “tw” in its id or name.")).to_be_visible()
    search.fill("on")
    expect(section.get_by_text("chosen", exact=True)).to_be_visible()
    # Whatever a page is made to send, the server refuses; the reason is at the field.
    section.locator("input[name=dag]").first.evaluate("input => { input.value = 'two'; }")
    shop.button("Save").click()
    expect(section.locator("#dag-error")).to_have_text("You may not trigger DAG “two”.")
    expect(section.locator("#dag-error")).to_be_focused()
    expect(shop.frame.get_by_text("Nothing was saved")).to_be_visible()


def test_signing_in_again_loses_nothing(browser: Browser, house: House) -> None:
    """A login that ended while somebody was typing: signed in again beside it, Save goes on."""
    me = Tourist(browser, house.airflow.url, "admin")
    me.sign_in()
    me.open("integrations/shop-orders")
    section = me.define("limits")
    section.get_by_label("Most requests").fill("9/s")
    me.page.context.clear_cookies(name=re.compile("^(?!incoming_session)"))
    me.button("Save").click()
    expect(me.frame.get_by_text("You are signed out")).to_be_visible()
    with me.page.context.expect_page() as opened:
        me.frame.get_by_role("link", name="Sign in").click()
    beside = opened.value
    beside.locator("input[name=username]").fill("admin")
    beside.locator("input[name=password]").fill("admin")
    beside.keyboard.press("Enter")
    beside.wait_for_url(re.compile("/plugin/incoming/pluginsv2/incoming-ui/integrations/shop-orders$"))
    beside.close()
    expect(section.get_by_label("Most requests")).to_have_value("9/s")
    me.button("Save").click()
    expect(me.frame.get_by_text("Saved as a draft")).to_be_visible()
    expect(me.section("limits")).to_contain_text("9/s")
    assert [text for text in me.complaints if "Status Error Code 401" not in text] == []
