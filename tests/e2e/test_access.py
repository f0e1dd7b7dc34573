"""Every route of the pages, for every role: a new route that nobody thought about fails here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest

from airflow_incoming.web.access import Permission
from tests.house import Builder, House
from workbench.processes import Processes
from workbench.redis import RedisServer

P = Permission
LOOK_I, EDIT_I, PUBLISH = P.READ_INTEGRATIONS, P.EDIT_INTEGRATIONS, P.PUBLISH_INTEGRATIONS
LOOK_E, EDIT_E, LOOK_K, EDIT_K = P.READ_EVENTS, P.EDIT_EVENTS, P.READ_KEYS, P.EDIT_KEYS

#: What each route takes, written down a second time, on purpose.
NEEDED: dict[str, set[Permission]] = {
    "HomePage.index": set(),
    "HomePage.csrf": set(),
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


def routes() -> Iterator[Route]:
    """Yield every route that the pages register, with values for what is variable in its path."""
    from airflow_incoming.web.views.registration import PAGES

    for page in PAGES:
        for name in dir(page):
            for url, methods in getattr(getattr(page, name), "_urls", ()):
                for method in methods:
                    yield Route(f"{page.__name__}.{name}", method, f"{page.route_base}{url}")


def test_every_route_says_what_it_needs() -> None:
    """The table above names each view, and nothing that isn't there."""
    assert {route.endpoint for route in routes()} == set(NEEDED)


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


def client(house: House, user: str | None) -> httpx.Client:
    cookies = {} if user is None else {"_token": house.airflow.token(user)}
    return httpx.Client(base_url=f"{house.airflow.url}/pluginsv2", cookies=cookies, timeout=30)


def ask(session: httpx.Client, house: House, route: Route, *, csrf: str | None = None) -> int:
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
    }
    path = route.path
    for word in [part for part in path.split("/") if part.startswith("<")]:
        path = path.replace(word, str(values[word.strip("<>").rpartition(":")[2]]))
    headers = {} if csrf is None else {"X-CSRFToken": csrf}
    return session.request(route.method, path, headers=headers).status_code


def test_nobody_sees_a_page_without_signing_in(house: House) -> None:
    """Without a login, or with a forged one, every route refuses with 401."""
    for cookie in ({}, {"_token": "eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiJ9.x"}):
        with client(house, None) as session:
            session.cookies.update(cookie)
            for route in routes():
                assert ask(session, house, route) == 401, route


def test_each_user_may_do_what_was_granted_and_nothing_else(house: House, kind: str) -> None:
    """What a role lacks is 403; what it has is answered, and never with an error of ours."""
    for user, granted in GRANTED[kind].items():
        with client(house, user) as session:
            csrf = session.get("/incoming-ui/csrf").json()["csrf_token"]
            for route in sorted(routes(), key=lambda route: route.method):
                if route.method != "GET":
                    assert ask(session, house, route) == 400, f"{user} needs no CSRF token for {route}"
                status = ask(session, house, route, csrf=csrf)
                if NEEDED[route.endpoint] <= granted:
                    assert status not in (401, 500, 503), f"{user} got {status} for {route}"
                    assert status != 403 or user == "shop", f"{user} got {status} for {route}"
                else:
                    assert status == 403, f"{user} got {status} for {route}"
