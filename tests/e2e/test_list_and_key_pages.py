"""The list of integrations, the dialog that makes one, and the API keys, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from time import sleep
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page, Response

INTEGRATIONS = "/pluginsv2/incoming-ui/integrations/"
KEYS = "/pluginsv2/incoming-ui/keys/"


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer) -> House:
    house = builder.build(processes, redis=redis_server)
    house.api_server()
    for name in ("shop", "bank", "spare"):
        house.airflow.result("incoming", "keys", "create", name)
    house.apply(
        {"name": "form", "title": "Answers of the form", "state": "published", "dags": ["one"]},
        {
            "name": "orders",
            "title": "Shop <b>orders</b>",
            "state": "published",
            "auth": {"type": "jwt", "api_key": "shop"},
            "dags": ["one", "two"],
        },
        {"name": "payments", "state": "published", "auth": {"type": "jwt", "api_key": "bank"}},
        {"name": "stock", "state": "draft", "auth": {"type": "jwt", "api_key": "shop"}},
    )
    assert house.post("form", {"answer": 1}).status_code == 200
    assert house.post("orders", {}).status_code == 401
    return house


@pytest.fixture
def open_page(house: House, browser: Browser) -> Iterator[Page]:
    """A page of somebody signed in as admin; the test fails when the policy of the page is violated."""
    yield from _signed_in(house, browser, "admin")


@pytest.fixture
def viewer_page(house: House, browser: Browser) -> Iterator[Page]:
    yield from _signed_in(house, browser, "viewer")


def _signed_in(house: House, browser: Browser, user: str) -> Iterator[Page]:
    context = browser.new_context(base_url=house.airflow.url, viewport={"width": 1280, "height": 850})
    token = house.airflow.token(user)
    context.add_cookies([{"name": "_token", "value": token, "url": house.airflow.url}])
    page = context.new_page()
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on(
        "console",
        lambda line: mistakes.append(line.text) if "Content Security Policy" in line.text else None,
    )
    yield page
    context.close()
    assert mistakes == []


def test_the_list_shows_what_there_is_and_how_it_goes(house: House, open_page: Page) -> None:
    """Type, state, targets, the endpoint and the last day's counts are in the row of the integration."""
    page = open_page

    def counted() -> bool:
        page.goto(INTEGRATIONS)
        texts = [page.get_by_role("row", name=name).first.text_content() or "" for name in ("form", "orders")]
        return "1 accepted" in texts[0] and "1 rejected" in texts[1]

    wait_until(counted, seconds=30, what="the counts to be written")
    row = page.get_by_role("row", name="Answers of the form")
    assert row.get_by_text("Published").is_visible()
    assert row.get_by_text("Without authentication").is_visible()
    assert row.get_by_role("link", name="one").is_visible()
    assert row.locator("time").get_attribute("title", timeout=5000)
    copied = row.get_by_role("button", name="Copy the URL of Answers of the form")
    assert copied.get_attribute("data-copy") == f"{house.receive[0]}/{house.endpoints['form']}"


def test_the_list_tells_what_was_given_up_and_who_fell_silent(house: House, open_page: Page) -> None:
    """Dead events are counted and linked; so much silence is worth a mark."""
    page = open_page
    page.goto(INTEGRATIONS)
    row = page.get_by_role("row", name="Answers of the form")
    assert row.get_by_text("Silent").count() == 0
    long_ago = datetime.now(timezone.utc) - timedelta(days=3)
    engine = create_engine(house.airflow.database)
    with engine.begin() as connection:
        connection.execute(
            text("update incoming_event set state = 'dead', due_at = null, received_at = :at"),
            {"at": long_ago},
        )
    page.reload()
    assert row.get_by_text("Silent").count() == 0, "it was published a moment ago"
    with engine.begin() as connection:
        connection.execute(
            text("update incoming_integration set published_at = :at where name = 'form'"), {"at": long_ago}
        )
    engine.dispose()
    page.reload()
    assert row.get_by_text("Silent").is_visible()
    row.get_by_role("link", name="1 dead").click()
    page.wait_for_url(re.compile(r"events/\?integration=form&state=dead"))
    assert page.locator("tbody tr").count() == 1


def test_a_title_can_not_be_markup(open_page: Page) -> None:
    """What an administrator typed is shown as it was typed."""
    open_page.goto(INTEGRATIONS)
    assert open_page.get_by_role("link", name="Shop <b>orders</b>").is_visible()


def test_the_list_is_searched_and_sorted_by_its_address(open_page: Page) -> None:
    """The text goes into the address, so that what was found can be shared; DAGs are searched, too."""
    page = open_page
    page.goto(INTEGRATIONS)
    page.get_by_role("searchbox").fill("two")
    page.get_by_role("searchbox").press("Enter")
    page.wait_for_url(re.compile(r"\?q=two"))
    assert page.locator("tbody tr").count() == 1
    page.goto(f"{INTEGRATIONS}?sort=type&order=desc")
    assert page.locator("tbody tr").last.inner_text().count("JWT") == 1
    assert page.get_by_role("columnheader", name="Type").get_attribute("aria-sort") == "descending"
    page.goto(f"{INTEGRATIONS}?q=nowhere")
    assert page.get_by_text("Nothing matches").is_visible()


def test_the_url_that_opens_dags_to_everybody_is_hidden_from_who_may_not_trigger_them(
    house: House, viewer_page: Page
) -> None:
    """A viewer sees the endpoints that take a credential; no page carries the id of the other."""
    viewer_page.goto(INTEGRATIONS)
    assert house.endpoints["orders"] in viewer_page.content()
    assert house.endpoints["form"][:8] not in viewer_page.content()
    assert viewer_page.get_by_role("button", name="New integration").count() == 0


def test_a_new_integration_asks_for_the_type_first_and_says_what_is_wrong_at_the_field(
    open_page: Page,
) -> None:
    """Nothing is chosen beforehand; the dialog stays open, and typing a title proposes the name."""
    page = open_page
    page.goto(INTEGRATIONS)
    page.get_by_role("button", name="New integration").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_text("Anybody who learns the URL can start these DAGs").is_visible()
    assert not dialog.get_by_role("radio", name="Without authentication").is_checked()
    dialog.get_by_role("textbox", name="Title").fill("Häuser & Höfe")
    assert dialog.get_by_role("textbox", name="Name").input_value() == "hauser-hofe"
    dialog.get_by_role("textbox", name="Name").fill("form")
    dialog.get_by_role("button", name="Create").click()
    dialog.get_by_text("There is an integration 'form' already").wait_for()
    assert dialog.get_by_text("Choose who may send").is_visible()
    assert dialog.get_by_role("textbox", name="Title").input_value() == "Häuser & Höfe"


def test_an_integration_without_authentication_is_made_and_its_editor_opens(
    house: House, open_page: Page
) -> None:
    """It begins as a draft."""
    page = open_page
    page.goto(INTEGRATIONS)
    page.get_by_role("button", name="New integration").click()
    page.get_by_role("radio", name="Without authentication").check()
    page.get_by_role("textbox", name="Title").fill("Open house")
    page.get_by_role("button", name="Create").click()
    page.wait_for_url(re.compile(r"/integrations/open-house"))
    shown = house.airflow.result("incoming", "show", "open-house")
    assert (shown["state"], shown["auth"]) == ("draft", "none")


def test_an_api_key_can_be_made_together_with_its_integration(house: House, open_page: Page) -> None:
    """The key is shown once, in the dialog; it opens what it was made for."""
    page = open_page
    page.goto(INTEGRATIONS)
    page.get_by_role("button", name="New integration").click()
    page.get_by_role("radio", name="With JWT authentication").check()
    page.get_by_role("textbox", name="Title").fill("Warehouse")
    page.get_by_role("radio", name="A new API key").check()
    page.get_by_role("textbox", name="Name of the new key").fill("warehouse")
    page.get_by_role("button", name="Create").click()
    key = page.locator(".secret code").inner_text()
    assert _token(house, key).status_code == 200
    page.get_by_role("link", name="Continue to the editor").click()
    page.wait_for_url(re.compile(r"/integrations/warehouse"))
    assert key not in page.content()
    page.goto(KEYS)
    assert page.get_by_role("row", name="warehouse").get_by_role("link", name="Warehouse").is_visible()


def test_a_new_key_is_shown_once_and_in_no_address(house: House, open_page: Page) -> None:
    """The answer to the POST alone has it, and it may not be kept by any cache."""
    page = open_page
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(KEYS)
    page.get_by_role("button", name="New API key").click()
    page.get_by_role("textbox", name="Name").fill("once")
    page.get_by_label("Expires").select_option("90d")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    key = page.locator(".secret code").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.locator(".secret code").is_visible(), "nobody sees it again, so it isn't closed by accident"
    assert not page.get_by_role("button", name="Close").is_visible()
    assert _token(house, key).status_code == 200
    answer = next(each for each in answers if each.url.endswith("/keys/new"))
    assert "no-store" in answer.headers["cache-control"]
    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("row", name="once")
    row.get_by_text("Active").wait_for()
    row.get_by_text("in 89 days").wait_for()
    assert key not in page.content()
    assert not any(key in each.url for each in answers)


@pytest.mark.parametrize(
    ("name", "expires", "on", "problem"),
    [
        ("", "never", "", "Type a name."),
        ("Ümlaut", "never", "", "must be 1 to 63 of a-z"),
        ("shop", "never", "", "There is an API key 'shop' already"),
        ("late", "date", "", "Choose a date."),
        ("late", "date", "2020-01-01", "isn't over"),
    ],
)
def test_what_is_wrong_with_a_new_key_is_said_at_its_field(
    open_page: Page, name: str, expires: str, on: str, problem: str
) -> None:
    """The dialog stays open with what was typed."""
    page = open_page
    page.goto(KEYS)
    page.get_by_role("button", name="New API key").click()
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_label("Expires").select_option(expires)
    if expires == "date":
        page.get_by_label("Last day").fill(on)
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    page.locator(".field-error", has_text=problem).wait_for()
    assert page.get_by_role("textbox", name="Name").input_value() == name


def test_a_key_may_expire_at_the_end_of_a_day(house: House, open_page: Page) -> None:
    """The day that is chosen is the last one on which the key works."""
    page = open_page
    day = datetime.now(timezone.utc).date() + timedelta(days=10)
    page.goto(KEYS)
    page.get_by_role("button", name="New API key").click()
    page.get_by_role("textbox", name="Name").fill("dated")
    page.get_by_label("Expires").select_option("date")
    page.get_by_label("Last day").fill(day.isoformat())
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    page.locator(".secret").wait_for()
    stored = house.sql("select expires_at from incoming_api_key where name = 'dated'")[0][0]
    end = datetime.fromisoformat(str(stored)).replace(tzinfo=timezone.utc)
    assert abs(end - datetime(day.year, day.month, day.day, tzinfo=timezone.utc) - timedelta(days=1)) < (
        timedelta(seconds=10)
    )


def test_rotating_shows_a_new_secret_and_the_old_one_works_on_if_wanted(
    house: House, open_page: Page
) -> None:
    """The list says until when."""
    page = open_page
    page.goto(KEYS)
    page.get_by_role("button", name="Rotate spare").click()
    page.get_by_label("The present secret").select_option("1h")
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    first = page.locator(".secret code").inner_text()
    page.get_by_role("button", name="Done").click()
    page.get_by_text("old secret ends").wait_for()
    page.wait_for_load_state()
    page.get_by_role("button", name="Rotate spare").click()
    page.get_by_label("The present secret").select_option("none")
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    page.locator(".secret code", has_not_text=first).wait_for()
    second = page.locator(".secret code").inner_text()
    wait_until(lambda: _token(house, first).status_code == 401, seconds=5, what="the old secret to end")
    assert _token(house, second).status_code == 200


def test_revoking_names_what_stops_and_wants_the_name_typed(house: House, open_page: Page) -> None:
    """The dialog names the integrations; the button works once the key's name is typed."""
    page = open_page
    page.goto(KEYS)
    page.get_by_role("button", name="Revoke bank").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Stops working").wait_for()
    assert dialog.get_by_role("listitem").all_inner_texts() == ["payments"]
    revoke = dialog.get_by_role("button", name="Revoke")
    assert revoke.is_disabled()
    dialog.get_by_label("Type bank to confirm").fill("bank")
    revoke.click()
    page.get_by_text("the key opens nothing any more").wait_for()
    assert "Revoked" in page.get_by_role("row", name="bank").inner_text()
    page.wait_for_url(re.compile(r"/keys/$"))
    page.reload()
    assert page.get_by_text("the key opens nothing any more").count() == 0


def test_without_the_name_a_used_key_is_not_revoked(house: House) -> None:
    """The server asks for it, too, whatever the browser sends."""
    with httpx.Client(
        base_url=f"{house.airflow.url}/pluginsv2/incoming-ui", cookies={"_token": house.airflow.token()}
    ) as session:
        csrf = {"X-CSRFToken": session.get("/csrf").json()["csrf_token"], "HX-Request": "true"}
        assert session.post("/keys/shop/revoke", headers=csrf).status_code == 422
        assert session.post("/keys/nobody/revoke", headers=csrf).status_code == 404
    assert house.sql("select revoked_at from incoming_api_key where name = 'shop'")[0][0] is None


def test_in_place_a_key_comes_with_the_new_choice_of_the_editor(house: House) -> None:
    """The fragment carries the key, and the options of the editor's select, with the new one chosen."""
    with httpx.Client(
        base_url=f"{house.airflow.url}/pluginsv2/incoming-ui", cookies={"_token": house.airflow.token()}
    ) as session:
        csrf = {"X-CSRFToken": session.get("/csrf").json()["csrf_token"], "HX-Request": "true"}
        answer = session.post("/keys/new", headers=csrf, data={"name": "inplace", "in_place": "1"})
    assert answer.status_code == 200
    (select,) = re.findall(r'<select[^>]* id="api-key-select"[^>]*>', answer.text)
    assert 'hx-swap-oob="outerHTML"' in select
    assert '<option value="inplace" selected>' in answer.text


def test_escape_closes_a_dialog_and_the_focus_goes_back(open_page: Page) -> None:
    """A keyboard is enough."""
    page = open_page
    page.goto(KEYS)
    button = page.get_by_role("button", name="New API key")
    button.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert button.evaluate("element => element === document.activeElement")


def test_what_goes_wrong_is_said_inside_the_dialog(open_page: Page) -> None:
    """A message behind a dialog would be seen by nobody; the second one replaces the first."""
    page = open_page
    page.goto(KEYS)
    page.evaluate("document.body.setAttribute('hx-headers', '{}')")
    page.evaluate("document.querySelectorAll('input[name=csrf_token]').forEach(field => field.value = 'x')")
    page.get_by_role("button", name="New API key").click()
    for _ in range(2):
        with page.expect_response(re.compile(r"/keys/new$")):
            page.get_by_role("dialog").get_by_role("button", name="Create").click()
        page.get_by_role("dialog").get_by_role("alert").wait_for()
    assert page.get_by_role("dialog").get_by_text("This page was open for too long").count() == 1


def test_a_link_asks_before_it_leaves_what_is_not_saved(open_page: Page) -> None:
    """Opening a section is no change; typing is one."""
    page = open_page
    for typed in (False, True):
        page.goto(f"{INTEGRATIONS}orders")
        page.locator("#define-endpoint").click()
        title = page.get_by_role("textbox", name="Title")
        title.wait_for()
        if typed:
            title.fill("Another title")
        page.get_by_role("link", name="API keys").click()
        if typed:
            page.get_by_role("dialog", name="Leave without saving?").wait_for()
            page.get_by_role("button", name="Stay").click()
            assert title.input_value() == "Another title"
            page.get_by_role("link", name="API keys").click()
            page.get_by_role("button", name="Leave").click()
        page.wait_for_url(re.compile(r"/keys/$"))


def test_the_mode_follows_airflows_switch(open_page: Page) -> None:
    """In the frame, the colours change with those of the document around it, without a reload."""
    page = open_page
    frame = _framed(page)
    frame.get_by_role("heading", name="integrations").wait_for()
    for mode in ("dark", "light"):
        page.evaluate("mode => document.documentElement.className = mode", mode)
        frame.locator(f"html.{mode}").wait_for()
        scheme = frame.locator("html").evaluate("root => getComputedStyle(root).colorScheme")
        assert scheme == mode


def test_times_are_in_the_zone_that_airflow_shows(open_page: Page) -> None:
    """In full, and how long ago it was; the title names the zone."""
    page = open_page
    page.add_init_script("""localStorage.setItem("timezone", '"Pacific/Kiritimati"')""")
    page.goto(KEYS)
    time = page.get_by_role("row", name="shop").locator("time").last
    shown = time.get_attribute("title") or ""
    made = datetime.fromisoformat(time.get_attribute("datetime") or "")
    full = f"{made.astimezone(timezone(timedelta(hours=14))):%Y-%m-%d %H:%M:%S}"
    assert shown == f"{full} Pacific/Kiritimati"
    assert re.fullmatch(rf"{full}\s*(now|\d+ (s|min) ago)", time.inner_text())
    page.goto("/pluginsv2/incoming-ui/events/")
    page.get_by_label("Received").select_option("custom")
    page.wait_for_url(re.compile("zone=Pacific%2FKiritimati"))
    page.get_by_label("From (Pacific/Kiritimati)").fill("2026-01-02T03:04:05")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(re.compile("since=2026-01-02"))
    assert page.get_by_label("From (Pacific/Kiritimati)").input_value() == "2026-01-02T03:04:05"


def test_back_forward_reload_and_shared_addresses_work_inside_airflows_frame(open_page: Page) -> None:
    """The address that Airflow shows is that of the page inside; the browser's buttons do what they say."""
    page = open_page
    frame = _framed(page)
    frame.get_by_role("link", name="Shop <b>orders</b>").click()
    page.wait_for_url(re.compile(r"/plugin/incoming/pluginsv2/incoming-ui/integrations/orders$"))
    frame.get_by_role("link", name="API keys", exact=True).click()
    page.wait_for_url(re.compile(r"/incoming-ui/keys/$"))
    page.go_back()
    page.wait_for_url(re.compile(r"/integrations/orders$"))
    frame.get_by_role("heading", level=1, name="Shop <b>orders</b>").wait_for()
    page.go_forward()
    page.wait_for_url(re.compile(r"/incoming-ui/keys/$"))
    frame.get_by_role("heading", level=1, name="API key").wait_for()
    page.goto(page.url.replace("keys/", "integrations/orders/save"))
    frame.get_by_role("heading", level=1, name="Shop <b>orders</b>").wait_for()
    page.reload()
    frame.get_by_role("heading", level=1, name="Shop <b>orders</b>").wait_for()
    page.goto(page.url.replace("integrations/orders", "nothing"))
    frame.get_by_role("heading", level=1, name="There is no such page").wait_for()


def test_a_link_to_a_dag_is_followed_by_the_document_around_the_frame(open_page: Page) -> None:
    """The frame itself may not leave, so Airflow's own page opens in its place."""
    page = open_page
    _framed(page).get_by_role("link", name="one", exact=True).first.click()
    page.wait_for_url(re.compile(r"/dags/one"))
    assert "pluginsv2" not in page.url


def test_a_page_that_stays_open_keeps_its_csrf_token_fresh(open_page: Page) -> None:
    """A token lives for an hour; every half an hour the page fetches another."""
    page = open_page
    page.clock.install()
    page.goto(KEYS)
    field = page.locator('input[name="csrf_token"]').first
    before = field.input_value()
    sleep(1.1)  # tokens of the same second are alike
    with page.expect_response(re.compile(r"/incoming-ui/csrf$")):
        page.clock.fast_forward("31:00")
    wait_until(lambda: field.input_value() != before, seconds=30, what="the new token")
    assert before not in (page.locator("body").get_attribute("hx-headers") or "")


def test_the_pages_are_usable_at_800_pixels(house: House, open_page: Page) -> None:
    """Tables scroll inside the page, which itself doesn't scroll sideways."""
    page = open_page
    page.set_viewport_size({"width": 800, "height": 850})
    house.apply({"name": "long", "title": "T" * 200, "state": "published", "dags": ["one"]})
    for address in (INTEGRATIONS, KEYS):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
    frame = _framed(page)
    frame.get_by_role("link", name="T" * 200).wait_for()
    wrap = frame.locator(".table-wrap")
    assert wrap.evaluate("wrap => wrap.scrollWidth - wrap.clientWidth") == 0, "each column is in sight"


def _framed(page: Page) -> FrameLocator:
    page.goto("/plugin/incoming")
    return page.frame_locator("iframe")


def _token(house: House, api_key: str) -> httpx.Response:
    return httpx.post(f"{house.receive[0]}/auth/token", json={"apiKey": api_key}, timeout=30)
