"""The editor: what is typed is never lost, never saved by accident, and only by those who may."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

Form = dict[str, list[str]]

#: A payload whose every character could hurt a shell, a page or a program.
NASTY = {
    "it's": ['$(touch /tmp/x) `id` !! \\ "q"', "<script>alert(1)</script>", "žluť\n"],
    "n": None,
    "b": True,
}


class Inputs(HTMLParser):
    """Collects what a browser would send of the editor's form."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.form: Form = {}
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self._inside = given.get("id") == "editor"
        if tag == "input" and self._inside and given.get("name") and given.get("type") == "hidden":
            self.form.setdefault(str(given["name"]), []).append(given.get("value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


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

    def post(self, path: str, form: Form | None = None, **options: Any) -> httpx.Response:
        token = self.http.get("/csrf").json()["csrf_token"]
        return self.http.post(path, data=form, headers={"X-CSRFToken": token}, **options)

    def form(self, name: str, **changes: list[str]) -> Form:
        """Return the form of an integration's page, with some fields changed."""
        form = Inputs(self.get(f"/integrations/{name}").text).form
        assert form, "there is no form on the page"
        return {**form, **changes}


class Users:
    """Whoever signs in, once for all tests."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._sessions: dict[str, Session] = {}

    def __getattr__(self, user: str) -> Session:
        if user not in self._sessions:
            self._sessions[user] = Session(self._house, user)
        return self._sessions[user]

    def leave(self) -> None:
        for session in self._sessions.values():
            session.http.close()


@pytest.fixture(scope="module")
def users(house: House) -> Iterator[Users]:
    users = Users(house)
    yield users
    users.leave()


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer) -> House:
    house = builder.build(processes, redis=redis_server, fab=True)
    house.api_server()
    house.api_key = house.airflow.result("incoming", "keys", "create", "shop")["api_key"]
    return house


@pytest.fixture
def name(house: House, request: pytest.FixtureRequest) -> str:
    """A draft of its own for each test, which starts the DAG ``one``."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")
    house.apply(
        {"name": name, "title": "Orders", "auth": {"type": "jwt", "api_key": "shop"}, "dags": ["one"]}
    )
    return name


def show(house: House, name: str) -> Any:
    return house.airflow.result("incoming", "show", name)


def configuration(house: House, name: str) -> Any:
    [row] = house.sql(
        "select v.number, v.configuration from incoming_version v join incoming_integration i"
        " on i.current_version_id = v.id where i.name = :name",
        name=name,
    )
    found = row[1]
    return row[0], json.loads(found) if isinstance(found, str) else found


def publish(house: House, name: str) -> None:
    assert house.airflow.run("incoming", "publish", name).returncode == 0


# --- Saving


def test_the_form_saves_what_it_shows(house: House, users: Users, name: str) -> None:
    """Saved untouched nothing happens; changed, a draft version is made; what was there stays there."""
    shop = users.shop
    unchanged = shop.post(f"/integrations/{name}/save", shop.form(name))
    assert (unchanged.status_code, unchanged.headers["location"].partition("?")[2]) == (
        303,
        "notice=unchanged",
    )
    form = shop.form(
        name,
        title=["Orders <b>"],
        headers=["X-Request-Id, x-source"],
        deduplicate=["1"],
        parameter=["body.order.id", "header.X-Request-Id"],
        window=["24h"],
        limit_rate=["5/s"],
    )
    saved = shop.post(f"/integrations/{name}/save", form)
    assert (saved.status_code, saved.headers["location"].partition("?")[2]) == (303, "notice=saved")
    assert configuration(house, name) == (
        2,
        {
            "title": "Orders <b>",
            "icon": "webhook",
            "auth": {"type": "jwt", "api_key": "shop"},
            "deduplication": {
                "parameters": ["body.order.id", "header.x-request-id"],
                "window": "1d",
                "duplicate_status": 204,
            },
            "dags": ["one"],
            "assets": [],
            "headers": ["x-request-id", "x-source"],
            "limits": {"rate": "5/s"},
        },
    )
    assert "Orders &lt;b&gt;" in shop.get(f"/integrations/{name}").text


def test_another_window_is_explained_and_counts_at_once(house: House, users: Users, name: str) -> None:
    """What it means stands beside it while it isn't published; then what was sent before goes by it, too."""
    admin = users.admin
    declared = {"name": name, "state": "published", "dags": ["one"]}
    house.apply({**declared, "deduplication": {"parameters": ["body.id"], "window": "7d"}})
    assert [house.post(name, {"id": 1}).status_code for _ in range(2)] == [200, 204]
    assert "the window from" not in admin.get(f"/integrations/{name}").text
    longer = admin.post(f"/integrations/{name}/sections/deduplication", admin.form(name, window=["14d"]))
    assert "This lengthens the window from 7d to 14d" in longer.text
    shorter = admin.form(name, window=["2s"])
    section = admin.post(f"/integrations/{name}/sections/deduplication", {**shorter, "action": ["apply"]})
    assert "This shortens the window from 7d to 2s" in section.text
    assert admin.post(f"/integrations/{name}/save", shorter).status_code == 303
    assert "This shortens the window from 7d to 2s" in admin.get(f"/integrations/{name}").text
    assert admin.post(f"/integrations/{name}/publish", admin.form(name)).status_code == 303
    assert "the window from" not in admin.get(f"/integrations/{name}").text
    time.sleep(3)
    assert [house.post(name, {"id": 1}).status_code for _ in range(2)] == [200, 204]


def test_mistakes_are_shown_together_and_nothing_is_saved(house: House, users: Users, name: str) -> None:
    """Each section with a mistake is open, each field says what is wrong, and what was typed is there."""
    shop = users.shop
    form = shop.form(
        name,
        api_key=[""],
        headers=["cookie"],
        deduplicate=["1"],
        parameter=["order.id"],
        window=["a week"],
        limit_body=["huge"],
    )
    answer = shop.post(f"/integrations/{name}/save", form)
    assert answer.status_code == 422
    for words in (
        "name the API key",
        "carries a credential",
        "must begin with body.",
        "Must be a duration",
        "Must be a size",
        'value="a week"',
        'value="huge"',
        "Nothing was saved",
    ):
        assert words in answer.text, words
    assert configuration(house, name)[0] == 1
    large = shop.post(f"/integrations/{name}/save", shop.form(name, limit_body=["2MiB"]))
    assert (large.status_code, "raise that first" in large.text) == (422, True)


def test_nobody_overwrites_what_they_have_not_seen(house: House, users: Users, name: str) -> None:
    """The second of two who began together is told, and finds the other's changes in their form."""
    admin, shop = users.admin, users.shop
    first = admin.form(name, title=["Of admin"], limit_rate=["5/s"])
    second = shop.form(name, title=["Of shop"])
    assert admin.post(f"/integrations/{name}/save", first).status_code == 303
    answer = shop.post(f"/integrations/{name}/save", second)
    assert answer.status_code == 409
    assert "admin saved version 2" in answer.text
    assert "You both changed <strong>Endpoint</strong>" in answer.text
    assert "What they changed in <strong>Limits</strong> is in it now" in answer.text
    assert configuration(house, name)[0] == 2
    again = Inputs(answer.text).form
    assert (again["title"], again["limit_rate"], again["expected"]) == (["Of shop"], ["5/s"], ["2"])
    assert shop.post(f"/integrations/{name}/save", again).status_code == 303
    saved = configuration(house, name)[1]
    assert (saved["title"], saved["limits"]) == ("Of shop", {"rate": "5/s"})
    absurd = {**again, "title": ["Later"], "expected": ["9" * 5000]}
    assert shop.post(f"/integrations/{name}/save", absurd).status_code == 409


def test_an_icon_that_is_not_there_is_not_saved(house: House, users: Users, name: str) -> None:
    """One that came from a file stays."""
    shop = users.shop
    answer = shop.post(f"/integrations/{name}/save", shop.form(name, icon=["nope-icon"]))
    assert (answer.status_code, "There is no icon “nope-icon”" in answer.text) == (422, True)
    house.apply({"name": name, "icon": "from-a-file", "dags": ["one"]})
    assert shop.post(f"/integrations/{name}/save", shop.form(name, title=["Kept"])).status_code == 303
    assert configuration(house, name)[1]["icon"] == "from-a-file"


def test_publishing_makes_it_live(house: House, users: Users, name: str) -> None:
    """Save & publish saves and publishes; a draft on top leaves the published version running."""
    shop = users.shop
    answer = shop.post(f"/integrations/{name}/save-and-publish", shop.form(name, title=["Live"]))
    assert (answer.status_code, answer.headers["location"].partition("?")[2]) == (303, "notice=published")
    assert show(house, name)["state"] == "published"
    shop.post(f"/integrations/{name}/save", shop.form(name, title=["Draft"]))
    page = shop.get(f"/integrations/{name}").text
    assert "Unpublished changes" in page
    assert "Published is version 2" in page


def test_a_key_that_opens_nothing_keeps_it_from_going_live(house: House, users: Users, name: str) -> None:
    """The draft is saved, the field says why it isn't published, and saving again is no conflict."""
    house.airflow.run("incoming", "keys", "create", "closing")
    shop = users.shop
    form = shop.form(name, api_key=["closing"])
    house.airflow.run("incoming", "keys", "revoke", "closing", "--yes")
    answer = shop.post(f"/integrations/{name}/save-and-publish", form)
    assert (answer.status_code, "revoked" in answer.text) == (422, True)
    again = {**form, "expected": Inputs(answer.text).form["expected"], "api_key": ["shop"]}
    assert shop.post(f"/integrations/{name}/save-and-publish", again).status_code == 303


# --- Rights


def test_nobody_binds_a_dag_that_they_may_not_trigger(house: House, users: Users, name: str) -> None:
    """Applied or saved, the section says which DAG, and nothing is saved; assets take their own right."""
    shop = users.shop
    for changes in (
        {"dag": ["one", "two"]},
        {"dag": ["one", "not_there"]},
        {"assets": ["incoming://orders"]},
    ):
        form = shop.form(name, **changes)
        for path, more in (
            ("save", {}),
            ("save-and-publish", {}),
            ("sections/workflow", {"action": ["apply"]}),
        ):
            answer = shop.post(f"/integrations/{name}/{path}", {**form, **more})
            assert answer.status_code == 422, (path, changes)
            assert "You may not" in answer.text
    assert configuration(house, name)[0] == 1
    found = shop.get(f"/integrations/{name}/dags", params={"q": ""}).text
    assert "Add one" in found
    assert "two" not in found


def test_what_starts_more_than_they_may_is_read_only(house: House, users: Users, name: str) -> None:
    """They can look, but neither save, listen, publish, resume nor roll back; the page says why."""
    both = f"{name}-both"
    house.apply({"name": both, "state": "published", "dags": ["one", "two"]})
    house.apply({"name": both, "state": "suspended", "dags": ["one", "two"], "title": "Newer"})
    shop = users.shop
    page = shop.get(f"/integrations/{both}")
    assert page.status_code == 200
    assert "You may not trigger DAG “two”" in page.text
    assert 'id="editor"' not in page.text
    form = shop.form(name)
    for path in (
        "save",
        "save-and-publish",
        "sections/workflow",
        "listening",
        "sample",
        "sample/event",
        "publish",
        "suspend",
        "resume",
        "unpublish",
        "delete",
        "versions/1/roll-back",
    ):
        answer = shop.post(f"/integrations/{both}/{path}", {**form, "confirm": [both]})
        assert (answer.status_code, "two" in answer.text) == (403, True), path
    assert show(house, both)["state"] == "suspended"


def test_what_waits_counts_as_a_target(house: House, users: Users, name: str) -> None:
    """Held events of an older version start its DAGs, so whoever may not trigger those releases nothing."""
    house.apply({"name": name, "state": "suspended", "dags": ["two"]})
    held = house.post(name, {"order": {"id": 1}}).json()["event_id"]
    house.apply({"name": name, "state": "suspended", "dags": ["one"]})
    wait_until(
        lambda: house.sql("select 1 from incoming_event where integration = :n and state = 'held'", n=name),
        seconds=10,
        what="the event to be held",
    )
    shop = users.shop
    for path in ("publish", "save-and-publish", "suspend", "resume", "unpublish", "delete"):
        form = {**shop.form(name), "confirm": [name]}
        answer = shop.post(f"/integrations/{name}/{path}", form)
        assert (answer.status_code, "You may not trigger DAG “two”" in answer.text) == (403, True), path
    assert show(house, name)["state"] == "suspended"
    assert users.admin.post(f"/integrations/{name}/publish", users.admin.form(name)).status_code == 303
    assert show(house, name)["state"] == "suspended", "publishing is not resuming"
    assert [run for _, run, _ in house.runs() if held in run] == []


def test_forgetting_takes_the_right_to_what_may_run(house: House, users: Users, name: str) -> None:
    """A forgotten hash lets the next request run, so it takes the right to trigger its DAGs."""
    house.apply(
        {"name": name, "state": "published", "dags": ["two"], "deduplication": {"parameters": ["body.id"]}}
    )
    event_id = house.post(name, {"id": 1}).json()["event_id"]
    assert users.shop.post(f"/events/{event_id}/forget").status_code == 403
    assert house.post(name, {"id": 1}).status_code == 204
    assert users.admin.post(f"/events/{event_id}/forget").status_code == 303
    assert house.post(name, {"id": 1}).status_code == 200


def test_rolling_back_takes_the_right_to_what_comes_back(house: House, users: Users, name: str) -> None:
    """An old version with another DAG is not a way around."""
    house.apply({"name": name, "dags": ["two"]})
    house.apply({"name": name, "dags": ["one"]})
    shop = users.shop
    assert shop.post(f"/integrations/{name}/versions/2/roll-back").status_code == 403
    answer = shop.post(f"/integrations/{name}/versions/1/roll-back")
    assert answer.headers["location"].endswith("notice=rolled-back")
    assert configuration(house, name)[0] == 4
    assert shop.post(f"/integrations/{name}/versions/77/roll-back").status_code == 404


def test_an_open_endpoint_is_a_secret(house: House, users: Users, name: str) -> None:
    """Knowing the address would let them start its DAGs; whoever may start these anyway sees it."""
    house.apply({"name": name, "state": "published", "dags": ["two"]})
    # The draft on top takes a token and another DAG; the live version is still open.
    house.apply({"name": f"{name}-jwt", "dags": ["two"], "auth": {"type": "jwt", "api_key": "shop"}})
    endpoint_id = show(house, name)["endpoint_id"]
    for user, seen in (("admin", True), ("shop", False), ("viewer", False)):
        session = getattr(users, user)
        for path in ("", "/versions"):
            page = session.get(f"/integrations/{name}{path}")
            assert (page.status_code, endpoint_id in page.text) == (200, seen and not path), (user, path)
        jwt = session.get(f"/integrations/{name}-jwt").text
        assert show(house, f"{name}-jwt")["endpoint_id"] in jwt


def test_what_starts_nothing_yet_is_a_secret_too(house: House, users: Users, name: str) -> None:
    """Somebody who only looks would know the address when DAGs are added later."""
    house.apply({"name": name})
    endpoint_id = show(house, name)["endpoint_id"]
    assert endpoint_id in users.shop.get(f"/integrations/{name}").text
    for path in (f"/integrations/{name}", "/integrations/"):
        assert endpoint_id not in users.viewer.get(path).text


def test_a_viewer_looks_and_changes_nothing(house: House, users: Users, name: str) -> None:
    """No button, no form; posting all the same is refused, and so is posting without a token."""
    viewer = users.viewer
    page = viewer.get(f"/integrations/{name}").text
    assert "Orders" in page
    for word in ("Save", "Define", "Delete", "<form", "Roll back"):
        assert word not in page, word
    for path in ("save", "save-and-publish", "publish", "suspend", "delete", "listening", "sections/limits"):
        assert viewer.post(f"/integrations/{name}/{path}").status_code == 403, path
    assert viewer.get(f"/integrations/{name}/dags").status_code == 403
    admin = users.admin
    assert admin.http.post(f"/integrations/{name}/delete", data={"confirm": name}).status_code == 400
    assert show(house, name)["name"] == name


# --- States and versions


def test_states_change_by_their_buttons(house: House, users: Users, name: str) -> None:
    """Published, suspended, resumed, unpublished; what isn't possible now is a conflict."""
    shop = users.shop
    publish(house, name)
    assert shop.post(f"/integrations/{name}/resume").status_code == 409
    for verb, state in (
        ("suspend", "suspended"),
        ("resume", "published"),
        ("unpublish", "draft"),
        ("publish", "published"),
    ):
        assert shop.post(f"/integrations/{name}/{verb}").status_code == 303, verb
        assert show(house, name)["state"] == state


def test_deleting_says_what_it_does_and_asks_for_the_name(house: House, users: Users, name: str) -> None:
    """The dialog counts what waits; a wrong name deletes nothing."""
    publish(house, name)
    shop = users.shop
    shop.post(f"/integrations/{name}/suspend")
    dialog = shop.get(f"/integrations/{name}/confirm/delete").text
    assert "No event waits" in dialog
    assert shop.post(f"/integrations/{name}/delete", {"confirm": ["other"]}).status_code == 422
    answer = shop.post(f"/integrations/{name}/delete", {"confirm": [name]})
    assert answer.headers["location"].endswith("/integrations/?notice=deleted")
    assert shop.get(f"/integrations/{name}").status_code == 404
    assert shop.get(f"/integrations/{name}/confirm/nothing").status_code == 404


def test_versions_are_compared(house: House, users: Users, name: str) -> None:
    """By default what is live with what is newest; any two on demand; a number that isn't there is none."""
    publish(house, name)
    shop = users.shop
    shop.post(f"/integrations/{name}/save", shop.form(name, title=["Second"]))
    shop.post(f"/integrations/{name}/save", shop.form(name, title=["Third"]))
    page = shop.get(f"/integrations/{name}/versions").text
    assert "Version 1 → version 3" in page
    assert re.search(r'diff-before">Orders<.*diff-after">Third<', page, re.DOTALL)
    assert "Version 2 → version 3" in shop.get(f"/integrations/{name}/versions?old=2&new=3").text
    assert shop.get(f"/integrations/{name}/versions?old=99&new=x").status_code == 200


# --- Icons


def test_icons_are_pictures_and_nothing_else(house: House, users: Users) -> None:
    """Exact type, no script even when opened alone, the default for names that nobody knows."""
    viewer = users.viewer
    answer = viewer.get("/icons/shopping-cart")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert (
        answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("private")
    default = viewer.get("/icons/webhook").content
    for unknown in ("upload-0123456789abcdef0123456789abcdef", "..%2f..%2fpage.py", "No such icon"):
        answer = viewer.get(f"/icons/{unknown}")
        assert answer.content == default or answer.status_code == 404
    assert viewer.get("/icons/nobody").content == default
    assert users.stranger.get("/icons/webhook").status_code == 403


def test_an_upload_becomes_a_choice(house: House, users: Users) -> None:
    """What is wrong with a file is said beside it; what is kept is the file."""
    shop = users.shop
    bad = shop.post("/icons/", files={"file": ("x.svg", b"<html/>")})
    assert (bad.status_code, "neither a PNG nor an SVG" in bad.text) == (422, True)
    drawing = b'<svg viewBox="0 0 9 9"><path d="M0 0h9" onload="alert(1)"/></svg>'
    name = upload(shop, drawing)
    kept = shop.get(f"/icons/{name}")
    assert (kept.content, kept.headers["content-type"]) == (drawing, "image/svg+xml")
    alike = ("content-security-policy", "x-content-type-options")
    assert [kept.headers[name] for name in alike] == [
        "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "nosniff",
    ]
    assert "immutable" in kept.headers["cache-control"]
    assert users.viewer.post("/icons/", files={"file": ("x.svg", drawing)}).status_code == 403


def upload(user: Session, drawing: bytes) -> str:
    answer = user.post("/icons/", files={"file": ("x.svg", drawing)})
    assert answer.status_code == 200
    [name] = re.findall(r'value="(upload-[0-9a-f]{32})" checked', answer.text)
    return name


# --- Snippets


@pytest.mark.parametrize("auth", ["none", "jwt"])
def test_snippets_work_when_pasted(house: House, users: Users, name: str, auth: str) -> None:
    """They send the sample, whatever is in it, exactly; with a JWT they fetch the token first."""
    given = {"type": "jwt", "api_key": "shop"} if auth == "jwt" else {"type": "none"}
    house.apply({"name": name, "state": "published", "auth": given})
    admin = users.admin
    admin.post(f"/integrations/{name}/save", admin.form(name))
    headers = bearer(house) if auth == "jwt" else {}
    assert house.post(name, NASTY, headers=headers).status_code == 200
    event_id = house.sql("select id from incoming_event where integration = :n", n=name)[0][0]
    assert admin.post(f"/integrations/{name}/sample/event").status_code == 422
    kept = admin.post(f"/integrations/{name}/sample/event", {"event": [str(UUID(str(event_id)))]})
    assert kept.status_code == 200
    form = {**admin.form(name), "action": ["open"]}
    page = admin.post(f"/integrations/{name}/sections/endpoint", form).text
    snippets = [Text(found).text for found in re.findall(r"<pre[^>]*>.*?</pre>", page, re.DOTALL)]
    curl, python = (each.replace("paste your API key here", house.api_key) for each in snippets)
    before = bodies(house, name)
    ran = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True, timeout=60)
    assert "accepted" in ran.stdout
    ran = subprocess.run(
        [sys.executable, "-"], input=python, capture_output=True, text=True, check=True, timeout=60
    )
    assert "accepted" in ran.stdout
    assert [*before, NASTY, NASTY] == bodies(house, name)


class Text(HTMLParser):
    """The text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data


def bearer(house: House) -> dict[str, str]:
    answer = httpx.post(f"{house.receive[0]}/auth/token", json={"apiKey": house.api_key}, timeout=30)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def bodies(house: House, name: str) -> list[Any]:
    rows = house.sql("select body from incoming_event where integration = :name order by id", name=name)
    return [json.loads(row[0]) for row in rows]


# --- In a browser


@pytest.fixture
def page(browser: Browser, house: House) -> Any:
    context = browser.new_context(base_url=f"{house.airflow.url}/pluginsv2/incoming-ui/")
    context.add_cookies([{"name": "_token", "value": house.airflow.token("admin"), "url": house.airflow.url}])
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None
    )
    yield page
    context.close()
    assert problems == []


#: A picture that tries what pictures can do elsewhere.
HOSTILE = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
  viewBox="0 0 9 9" width="90" height="90" onload="fetch('{to}/onload')">
  <style>@import url({to}/import); path {{ fill: red; mask: url({to}/mask#m) }}</style>
  <script>fetch("{to}/script"); document.title = "taken"</script>
  <script href="{to}/script.js"/>
  <image href="{to}/image" width="1" height="1" onerror="fetch('{to}/onerror')"/>
  <use xlink:href="{to}/use#x"/>
  <foreignObject width="9" height="9"><div xmlns="http://www.w3.org/1999/xhtml">
    <iframe src="{to}/iframe"/><img src="{to}/img" alt=""/><script>fetch("{to}/inner")</script>
    <meta http-equiv="refresh" content="0;url={to}/refresh"/>
  </div></foreignObject>
  <path d="M0 0h9v9z"/><animate attributeName="x" onbegin="fetch('{to}/onbegin')" dur="1s"/>
</svg>"""


class Outside:
    """A server that no picture may reach; it has the hostile one itself, without any policy."""

    def __init__(self) -> None:
        asked: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told = HOSTILE.format(to=outside.url).encode() if self.path == "/picture.svg" else b""
                asked.add(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "image/svg+xml")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None: ...

        outside, self.asked = self, asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def outside() -> Iterator[Outside]:
    outside = Outside()
    yield outside
    outside.server.shutdown()
    outside.server.server_close()


def test_a_hostile_picture_does_nothing(
    browser: Browser, house: House, users: Users, outside: Outside
) -> None:
    """It is shown, in a page and by itself, and neither runs nor fetches; elsewhere it does both."""
    name = upload(users.shop, HOSTILE.format(to=outside.url).encode())
    house.apply({"name": "hostile-picture", "icon": name, "dags": ["one"]})
    context = browser.new_context(base_url=f"{house.airflow.url}/pluginsv2/incoming-ui/")
    context.add_cookies([{"name": "_token", "value": house.airflow.token("shop"), "url": house.airflow.url}])
    with context.new_page() as page:
        page.goto("integrations/hostile-picture")
        shown = page.locator(f"img[src$='{name}']").first
        expect(shown).to_have_js_property("complete", True)  # the property's value
        assert shown.evaluate("image => image.naturalWidth") > 0
        page.wait_for_timeout(500)
        page.goto(f"icons/{name}")
        assert page.locator("path").count() == 1
        page.wait_for_timeout(1000)
        assert page.title() != "taken"
        assert page.url.endswith(name)
        assert outside.asked == set()
        page.goto(f"{outside.url}/picture.svg")
        wait_until(lambda: {"/script", "/import"} <= outside.asked, seconds=20, what="the picture to act")
    context.close()


def define(page: Page, section: str) -> Locator:
    page.locator(f"#define-{section}").click()
    found = page.locator(f"#section-{section}.is-open")
    expect(found).to_be_visible()
    return found


def test_cancelling_brings_back_what_was_applied(page: Page, name: str) -> None:
    """Not what is saved: what another Apply changed before stays."""
    page.goto(f"integrations/{name}")
    section = define(page, "endpoint")
    section.get_by_label("Title").fill("Applied")
    section.get_by_role("button", name="Apply").click()
    expect(page.locator("#section-endpoint")).to_contain_text("Applied")
    expect(page.locator("#define-endpoint")).to_be_focused()
    section = define(page, "endpoint")
    section.get_by_label("Title").fill("Cancelled")
    section.get_by_text("Without authentication").click()
    expect(section.locator("#auth-none")).to_be_checked()
    section.get_by_role("button", name="Cancel").click()
    expect(page.locator("#section-endpoint .section-summary")).to_contain_text("Applied")
    expect(page.locator("#section-endpoint .section-summary")).to_contain_text("JWT")
    expect(page.locator("#section-endpoint")).to_contain_text("Not saved")


def test_what_is_typed_in_an_open_section_is_saved(page: Page, house: House, name: str) -> None:
    """Several sections may be open; opening one loses nothing of another; Enter saves nothing."""
    page.goto(f"integrations/{name}")
    define(page, "limits").get_by_label("Most requests").fill("7/m")
    define(page, "endpoint").get_by_label("Title").fill("Typed")
    page.get_by_label("Title").press("Enter")
    define(page, "workflow")
    assert configuration(house, name)[0] == 1
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as a draft")).to_be_visible()
    number, saved = configuration(house, name)
    assert (number, saved["title"], saved["limits"]) == (2, "Typed", {"rate": "7/m"})


def test_mistakes_stay_in_the_open_section(page: Page, name: str) -> None:
    """Apply says what is wrong at the field, and the section stays open."""
    page.goto(f"integrations/{name}")
    section = define(page, "limits")
    section.get_by_label("Largest body").fill("lots")
    section.get_by_role("button", name="Apply").click()
    expect(section.get_by_text("Must be a size such as 256KiB or 1MiB.")).to_be_visible()
    expect(section.get_by_label("Largest body")).to_have_value("lots")
    expect(section.get_by_label("Largest body")).to_have_attribute("aria-invalid", "true")


def test_a_refused_save_loses_nothing(page: Page, house: House, name: str) -> None:
    """The page stays where it is, the focus is on the mistake, and the summary leads to each."""
    page.goto(f"integrations/{name}")
    define(page, "limits").get_by_label("Most requests").fill("often")
    define(page, "endpoint").get_by_label("Title").fill("Typed")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Nothing was saved")).to_be_visible()
    expect(page.get_by_label("Most requests")).to_be_focused()
    expect(page.get_by_label("Most requests")).to_be_in_viewport()
    expect(page).to_have_url(re.compile(f"/integrations/{name}$"))
    expect(page.get_by_role("link", name="Most requests")).to_have_attribute("href", "#field-limit_rate")
    page.get_by_label("Most requests").fill("5/s")

    page.route("**/save", lambda route: route.abort())
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("No answer from the server")).to_be_visible()
    page.unroute("**/save")
    forget_csrf(page)
    with page.expect_response(re.compile("/csrf$")):  # it may come before the message is seen
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("This page was open for too long")).to_be_visible()
    cookies = page.context.cookies()
    page.context.clear_cookies(name="_token")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("You are signed out")).to_be_visible()
    page.context.add_cookies([cookie for cookie in cookies if cookie["name"] == "_token"])
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as a draft")).to_be_visible()
    _, saved = configuration(house, name)
    assert (saved["title"], saved["limits"]) == ("Typed", {"rate": "5/s"})
    page.reload()
    expect(page.get_by_role("heading", name="Typed")).to_be_visible()


def forget_csrf(page: Page) -> None:
    page.evaluate("document.body.setAttribute('hx-headers', '{}')")
    page.evaluate("document.querySelectorAll('input[name=csrf_token]').forEach(field => field.value = 'x')")


def test_the_sixth_parameter_is_refused_where_one_looks(page: Page, house: House, name: str) -> None:
    """Beside its box; the list stays where it was scrolled to, and the keyboard where it was."""
    house.apply({"name": name, "state": "published", "dags": ["one"]})
    assert house.post(name, {f"field{number:02}": number for number in range(60)}).status_code == 200
    page.goto(f"integrations/{name}")
    define(page, "data").get_by_role("button", name="Use the last event as sample").click()
    expect(page.locator("#define-data")).to_be_focused()
    section = define(page, "deduplication")
    section.get_by_text("A request whose parameters were sent before starts nothing.").click()
    for number in range(50, 55):
        section.get_by_label(f"body.field{number}", exact=True).check()
        expect(section.get_by_text(f"{number - 49} of 5")).to_be_visible()
    section.get_by_label("body.field55", exact=True).click()
    expect(section.get_by_text("would be the sixth")).to_be_in_viewport()
    expect(section.get_by_label("body.field55", exact=True)).to_be_focused()
    expect(section.get_by_label("body.field55", exact=True)).not_to_be_checked()


def test_the_keyboard_is_never_lost(page: Page, house: House, name: str) -> None:
    """After a mistake it is at the field; after listening at the button; after a dialog at its menu."""
    house.apply({"name": name, "state": "published", "dags": ["one"]})
    page.goto(f"integrations/{name}")
    section = define(page, "limits")
    section.get_by_label("Largest body").fill("lots")
    section.get_by_role("button", name="Apply").click()
    expect(section.get_by_label("Largest body")).to_be_focused()
    section.get_by_role("button", name="Cancel").click()
    expect(page.locator("#define-limits")).to_be_focused()

    section = define(page, "data")
    section.get_by_role("button", name="Retrieve data").press("Enter")
    expect(section.get_by_role("timer")).to_be_visible()
    expect(section.get_by_role("button", name="Cancel")).to_be_focused()
    section.get_by_role("button", name="Cancel").press("Enter")
    expect(section.get_by_role("button", name="Retrieve data")).to_be_focused()

    for item, first in (("Delete…", "confirm-name"), ("Unpublish…", "do-unpublish")):
        page.get_by_label("More").click()
        page.get_by_role("button", name=item).click()
        expect(page.get_by_role("dialog").locator(f"#{first}")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_label("More")).to_be_focused()


def test_what_a_menu_does_asks_first_too(page: Page, house: House, name: str) -> None:
    """Suspending opens the page anew, so what isn't saved would be lost."""
    house.apply({"name": name, "state": "published", "dags": ["one"]})
    page.goto(f"integrations/{name}")
    define(page, "endpoint").get_by_label("Title").fill("Typed")
    page.get_by_label("More").click()
    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("button", name="Stay").click()
    assert show(house, name)["state"] == "published"
    expect(page.get_by_label("Title")).to_have_value("Typed")
    page.get_by_label("More").click()
    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("button", name="Leave").click()
    expect(page.get_by_text("Suspended: events are accepted and held.")).to_be_visible()


def test_parameters_can_be_typed(page: Page, house: House, name: str) -> None:
    """Without a sample; one that was typed but not added counts, too; a single header is explained."""
    page.goto(f"integrations/{name}")
    section = define(page, "deduplication")
    section.get_by_text("A request whose parameters were sent before starts nothing.").click()
    section.get_by_label("Or type one").fill("header.X-Deduplication-Hash")
    section.get_by_role("button", name="Add").click()
    expect(section.get_by_text("The sender makes the hash")).to_be_visible()
    section.get_by_label("Or type one").fill("body.id")
    section.get_by_role("button", name="Apply").click()
    expect(page.locator("#section-deduplication .section-summary")).to_contain_text("body.id")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as a draft")).to_be_visible()
    expected = ["header.x-deduplication-hash", "body.id"]
    assert configuration(house, name)[1]["deduplication"]["parameters"] == expected


def test_a_dag_says_why_it_would_not_take_the_sample(page: Page, house: House, name: str) -> None:
    """The very sentence that an event would die of, before anything is published."""
    house.apply({"name": name, "state": "published"})
    assert house.post(name, {"order": {"id": "seven"}}).status_code == 200
    page.goto(f"integrations/{name}")
    section = define(page, "data")
    section.get_by_role("button", name="Use the last event as sample").click()
    expect(page.locator("#section-data .section-summary")).to_contain_text("kept as the sample")
    section = define(page, "workflow")
    for dag_id in ("strict", "paused"):
        section.get_by_placeholder("Search by id or name").fill(dag_id)
        section.get_by_role("button", name=f"Add {dag_id}").click()
        expect(section.get_by_role("button", name=f"Take {dag_id} away")).to_be_visible()
    expect(section.get_by_text("The params of DAG 'strict' refuse the data.")).to_be_visible()
    expect(section.get_by_text("waits until the DAG is unpaused")).to_be_visible()
    section.get_by_role("button", name="Take strict away").click()
    expect(section.get_by_text("refuse the data")).to_be_hidden()


def test_a_new_key_is_made_in_place(page: Page, name: str) -> None:
    """It is shown once and chosen; what was typed meanwhile is still there."""
    page.goto(f"integrations/{name}")
    section = define(page, "endpoint")
    section.get_by_label("Title").fill("Typed before")
    section.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("made-in-place")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.locator(".secret code")).to_contain_text("inc_")
    dialog.get_by_role("button", name="Done").click()
    expect(section.locator("#api-key-select")).to_have_value("made-in-place")
    expect(section.get_by_label("Title")).to_have_value("Typed before")


def test_leaving_asks_when_something_is_not_saved(page: Page, name: str) -> None:
    """Looking alone asks nothing; Stay stays, Leave leaves."""
    page.goto(f"integrations/{name}")
    page.get_by_role("link", name="Integrations").first.click()
    expect(page).to_have_url(re.compile("/integrations/$"))
    page.goto(f"integrations/{name}")
    define(page, "endpoint").get_by_label("Title").fill("Not saved")
    page.get_by_role("link", name="Integrations").first.click()
    page.get_by_role("button", name="Stay").click()
    expect(page.get_by_label("Title")).to_have_value("Not saved")
    page.get_by_role("link", name="Integrations").first.click()
    page.get_by_role("button", name="Leave").click()
    expect(page).to_have_url(re.compile("/integrations/$"))


def test_deleting_in_the_browser(page: Page, house: House, name: str) -> None:
    """The dialog's button works once the name is typed."""
    page.goto(f"integrations/{name}")
    page.get_by_label("More").click()
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete", exact=True)).to_be_disabled()
    dialog.get_by_label(f"Type {name} to delete it").fill(name)
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Deleted.")).to_be_visible()
    assert house.airflow.run("incoming", "show", name).returncode != 0
