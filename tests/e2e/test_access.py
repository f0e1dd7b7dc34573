"""Every route of the pages, for every role: a new route that nobody thought about fails here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from airflow_incoming.web.access import Permission
from tests.house import Builder, House
from workbench.processes import Processes
from workbench.redis import RedisServer

P = Permission
ROUTES = Path(__file__).parents[1] / "routes_of_airflow.py"
LOOK_I, EDIT_I, PUBLISH = P.READ_INTEGRATIONS, P.EDIT_INTEGRATIONS, P.PUBLISH_INTEGRATIONS
LOOK_E, EDIT_E, LOOK_K, EDIT_K = P.READ_EVENTS, P.EDIT_EVENTS, P.READ_KEYS, P.EDIT_KEYS

#: What each route takes, written down a second time, on purpose.
NEEDED: dict[str, set[Permission]] = {
    "HomePage.index": set(),
    "HomePage.csrf": set(),
    "HomePage.nowhere": set(),
    "IntegrationPages.list": {LOOK_I},
    "IntegrationPages.create": {EDIT_I},
    "EditorPages.edit": {LOOK_I},
    "EditorPages.versions": {LOOK_I},
    "EditorPages.section": {LOOK_I, EDIT_I},
    "EditorPages.dags": {LOOK_I, EDIT_I},
    "EditorPages.save": {LOOK_I, EDIT_I},
    "EditorPages.listen": {LOOK_I, EDIT_I},
    "EditorPages.look": {LOOK_I, EDIT_I},
    "EditorPages.stop": {LOOK_I, EDIT_I},
    "EditorPages.keep_sample": {LOOK_I, EDIT_I},
    "EditorPages.keep_event": {LOOK_I, EDIT_I, LOOK_E},
    "EditorPages.drop_sample": {LOOK_I, EDIT_I},
    "EditorPages.roll_back": {LOOK_I, EDIT_I},
    "EditorPages.save_and_publish": {LOOK_I, EDIT_I, PUBLISH},
    "EditorPages.publish": {LOOK_I, PUBLISH},
    "EditorPages.suspend": {LOOK_I, PUBLISH},
    "EditorPages.resume": {LOOK_I, PUBLISH},
    "EditorPages.unpublish": {LOOK_I, PUBLISH},
    "EditorPages.confirm": {LOOK_I, PUBLISH},
    "EditorPages.delete": {LOOK_I, PUBLISH},
    "IconFiles.show": {LOOK_I},  # or {LOOK_E}: events show the icons, too
    "IconFiles.upload": {LOOK_I, EDIT_I},
    "EventPages.list": {LOOK_E},
    "EventPages.show_event": {LOOK_E},
    "EventPages.export_csv": {LOOK_E},
    "EventPages.export_json": {LOOK_E},
    "EventPages.replay": {LOOK_E, EDIT_E},
    "EventPages.replay_all": {LOOK_E, EDIT_E},
    "EventPages.forget": {LOOK_E, EDIT_E},
    "RequestPages.list": {LOOK_E},
    "KeyPages.list": {LOOK_K},
    "KeyPages.new": {EDIT_K},
    "KeyPages.create": {EDIT_K},
    "KeyPages.ask_rotate": {EDIT_K},
    "KeyPages.rotate": {EDIT_K},
    "KeyPages.ask_revoke": {EDIT_K},
    "KeyPages.revoke": {EDIT_K},
    "DagTabs.dag": {LOOK_E, LOOK_I},
    "DagTabs.run": {LOOK_E},
}
#: Style sheet and scripts: the page that says that somebody is signed out looks like ours, too.
PUBLIC = "incoming_static.static"
LOOKING = {LOOK_I, LOOK_E, LOOK_K}
#: What each user was granted, under each auth manager.
GRANTED: dict[str, dict[str, set[Permission]]] = {
    "simple": {"viewer": LOOKING, "op": set(P), "admin": set(P)},
    "fab": {"stranger": set(), "viewer": LOOKING, "shop": set(P), "admin": set(P)},
}


@dataclass(frozen=True)
class Route:
    endpoint: str
    method: str
    path: str


@pytest.fixture(scope="module", params=["simple", "fab"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer, kind: str) -> House:
    house = builder.build(processes, redis=redis_server, fab=kind == "fab")
    house.api_server()
    house.apply({"name": "orders", "state": "published", "dags": ["one"]})
    assert house.post("orders", {"order": {"id": 1}}).status_code == 200
    return house


@pytest.fixture(scope="module")
def routes(house: House) -> list[Route]:
    """Every route below ours that the running application has, whoever registered it."""
    house.airflow.python(ROUTES)
    found = json.loads((house.airflow.home / "routes.json").read_text())
    return [
        Route(rule["endpoint"], method, rule["path"])
        for rule in found
        for method in rule["methods"]
        if rule["path"].startswith("/incoming-ui")
    ]


def client(house: House, user: str | None) -> httpx.Client:
    cookies = {} if user is None else {"_token": house.airflow.token(user)}
    return httpx.Client(base_url=f"{house.airflow.url}/pluginsv2", cookies=cookies, timeout=30)


def ask(session: httpx.Client, house: House, route: Route, *, csrf: str | None = None) -> int:
    """Return the status that a route answers with, and see that the answer can't run as script."""
    event_id = UUID(str(house.sql("select id from incoming_event")[0][0]))
    values = {
        "name": "orders",
        "event_id": event_id,
        "dag_id": "one",
        "run_id": f"incoming__orders__{event_id}",
        "number": 1,
        "section": "endpoint",
        "what": "delete",
        "hash_": "0" * 64,
        "path": "no/such/page",
        "filename": "incoming.css",
    }
    path = route.path
    for word in [part for part in path.split("/") if part.startswith("<")]:
        path = path.replace(word, str(values[word.strip("<>").rpartition(":")[2]]))
    headers = {} if csrf is None else {"X-CSRFToken": csrf}
    answer = session.request(route.method, path, headers=headers)
    assert_harmless(answer)
    return answer.status_code


def assert_harmless(answer: httpx.Response) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; "), answer.url
    assert "unsafe-inline" not in policy.partition("style-src")[0], answer.url
    assert answer.headers["X-Content-Type-Options"] == "nosniff", answer.url


def test_every_route_says_what_it_needs(routes: list[Route]) -> None:
    """The table above names each view of the application below our address, and nothing that isn't there."""
    assert {route.endpoint for route in routes} == {*NEEDED, PUBLIC}


def test_nobody_sees_a_page_without_signing_in(house: House, routes: list[Route]) -> None:
    """Without a login, or with a forged one, every route refuses with 401."""
    for cookie in ({}, {"_token": "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiJ9.x"}):
        with client(house, None) as session:
            session.cookies.update(cookie)
            for route in routes:
                assert ask(session, house, route) == (200 if route.endpoint == PUBLIC else 401), route


def test_each_user_may_do_what_was_granted_and_nothing_else(
    house: House, kind: str, routes: list[Route]
) -> None:
    """What a role lacks is 403; what it has is answered, and never with an error of ours."""
    for user, granted in GRANTED[kind].items():
        with client(house, user) as session:
            csrf = session.get("/incoming-ui/csrf").json()["csrf_token"]
            for route in sorted(routes, key=lambda route: route.method):
                if route.method != "GET":
                    assert ask(session, house, route) == 400, f"{user} needs no CSRF token for {route}"
                status = ask(session, house, route, csrf=csrf)
                if NEEDED.get(route.endpoint, set()) <= granted:
                    assert status not in (401, 500, 503), f"{user} got {status} for {route}"
                    assert status != 403 or user == "shop", f"{user} got {status} for {route}"
                else:
                    assert status == 403, f"{user} got {status} for {route}"


def test_a_csrf_token_is_good_for_one_user_alone(house: House, kind: str) -> None:
    """Not for who signs in next with the same browser, nor with the cookie that belongs to it."""
    first, second = ("op", "admin") if kind == "simple" else ("viewer", "admin")
    path = "/incoming-ui/integrations/orders/suspend"
    house.apply({"name": "orders", "state": "published", "dags": ["one"]})
    with client(house, first) as session:
        token = session.get("/incoming-ui/csrf").json()["csrf_token"]
        assert session.post(path, headers={"X-CSRFToken": token}).status_code in (303, 403)
        house.apply({"name": "orders", "state": "published", "dags": ["one"]})
        session.cookies.set("_token", house.airflow.token(second))
        refused = session.post(path, headers={"X-CSRFToken": token})
        assert (refused.status_code, f"do it as {second}" in refused.text) == (400, True)
        assert show(house, "orders")["state"] == "published"
        anew = session.get("/incoming-ui/csrf").json()["csrf_token"]
        assert session.post(path, headers={"X-CSRFToken": token}).status_code == 400
        assert session.post(path, headers={"X-CSRFToken": anew}).status_code == 303
        session.cookies.set("_token", house.airflow.token(second))  # signed in once more, as the same
        house.apply({"name": "orders", "state": "published", "dags": ["one"]})
        assert session.post(path, headers={"X-CSRFToken": anew}).status_code == 303
    house.apply({"name": "orders", "state": "published", "dags": ["one"]})


def show(house: House, name: str) -> dict[str, object]:
    found: dict[str, object] = house.airflow.result("incoming", "show", name)
    return found


def test_what_no_view_answers_is_answered_by_us(house: House) -> None:
    """Unknown paths, other methods, files that aren't there: our page, not Airflow's inside its own frame."""
    with client(house, "admin") as session:
        csrf = session.get("/incoming-ui/csrf").json()["csrf_token"]
        for method, path, status in (
            ("GET", "nothing", 404),
            ("POST", "nothing", 404),
            ("PUT", "events/", 405),
            ("DELETE", "integrations/orders", 405),
            ("POST", "integrations/orders", 405),
            ("GET", "static/nothing.js", 404),
            ("GET", f"events/{UUID(int=1)}", 404),
            ("GET", "integrations/a%00b", 400),
            ("GET", "events/?integration=%00", 400),
            ("GET", "dag/one%00", 400),
            ("GET", "integrations/orders/dags?q=%00", 400),
            ("GET", "events/export.csv?parameter=a&value=%00", 400),
        ):
            answer = session.request(method, f"/incoming-ui/{path}", headers={"X-CSRFToken": csrf})
            assert (answer.status_code, "incoming.css" in answer.text) == (status, True), (method, path)
            assert_harmless(answer)


def test_an_address_that_is_only_posted_to_leads_to_its_page(house: House) -> None:
    """So a reload, or a shared address, always shows something; no answer repeats the Host."""
    with client(house, "admin") as session:
        event_id = UUID(int=1)
        for path, page in (
            ("integrations/orders/save", "integrations/orders"),
            ("integrations/orders/versions/1/roll-back", "integrations/orders/versions"),
            (f"events/{event_id}/replay", f"events/{event_id}"),
            ("events/replay", "events"),
            ("events", "events/"),
        ):
            answer = session.get(f"/incoming-ui/{path}", headers={"Host": "evil.example"})
            assert answer.headers["location"] == f"/pluginsv2/incoming-ui/{page}"
            assert_harmless(answer)
