"""Nobody starts, stops or learns through the pages what they may not: FAB's auth manager, real requests.

``shop`` has every permission of ours, and may trigger and look at the DAG ``one`` and no other. The rows
are those of the matrix in tests/contract/test_rights.py, as far as they are forms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.contract.test_rights import FORMS, MATRIX
from tests.e2e.sessions import signed_in
from tests.e2e.test_consumer_pages import write
from tests.e2e.test_editor_pages import Session
from tests.e2e.test_event_pages import send
from tests.house import Builder, House
from workbench.processes import Processes, wait_until
from workbench.redis import RedisServer

NEWEST, PUBLISHED, PENDING, WATCHER = "newest", "published", "pending", "watcher"
ORDER = {"deduplication": {"parameters": ["body.id"]}}


@pytest.fixture(scope="module")
def house(builder: Builder, processes: Processes, redis_server: RedisServer) -> House:
    """One integration for each way in which it may start what ``shop`` may not."""
    house = builder.build(processes, redis=redis_server, fab=True)
    house.api_server()
    keys = {name: make_key(house, name) for name in (NEWEST, PUBLISHED, PENDING, WATCHER)}
    watch(house, WATCHER, 77)
    watch(house, f"{WATCHER}-new", 78)

    def put(name: str, state: str, *dags: str, key: bool = True) -> None:
        auth = {"type": "jwt", "api_key": name} if key else {"type": "none"}
        house.apply({"name": name, "state": state, "dags": dags, "auth": auth, **ORDER})

    admin = Session(house, "admin")
    for name in (NEWEST, PUBLISHED, PENDING, WATCHER):
        suspended = name == PENDING
        put(name, "suspended" if suspended else "published", *(["one"] if name == WATCHER else ["two"]))
        token = httpx.post(f"{house.receive[0]}/auth/token", json={"apiKey": keys[name]}).json()["token"]
        send_as = {"headers": {"Authorization": f"Bearer {token}"}}
        send(house, name, {"id": 1}, **send_as) if not suspended else house.post(name, {"id": 1}, **send_as)
    wait_until(
        lambda: house.sql("select 1 from incoming_event where state = 'held'"), seconds=20, what="a held one"
    )
    put(PENDING, "suspended", "one", key=False)
    form = {**admin.form(PUBLISHED), "dag": ["one"], "auth_type": ["none"]}
    assert admin.post(f"/integrations/{PUBLISHED}/save", form).status_code == 303
    assert admin.post(f"/integrations/{NEWEST}/unpublish").status_code == 303
    admin.http.close()
    return house


def make_key(house: House, name: str) -> str:
    return str(house.airflow.result("incoming", "keys", "create", name)["api_key"])


def watch(house: House, name: str, number: int) -> None:
    """Let the asset that starts ``by_asset`` have a watcher that listens to an integration."""
    write(
        house,
        "insert into trigger (id, classpath, kwargs, created_date)"
        f" values ({number}, 'airflow_incoming.triggers.event.IncomingEventTrigger',"
        f' \'{{"integration": "{name}"}}\', :now)',
        "insert into asset_watcher (name, asset_id, trigger_id)"
        f" select 'w{number}', id, {number} from asset where uri like 'incoming://orders%'",
        now=datetime.now(timezone.utc).isoformat(sep=" "),
    )


shop = signed_in(Session, "shop")
admin = signed_in(Session, "admin")


def event_of(house: House, name: str) -> UUID:
    return UUID(str(house.sql("select id from incoming_event where integration = :n", n=name)[0][0]))


def new_integration(name: str) -> tuple[str, dict[str, Any]]:
    """Make one under a name that is watched, or a key that was never made, and opens one."""
    form = {"title": ["New"], "name": [f"{name}-new"]}
    if name == WATCHER:
        return "/integrations/", {**form, "type": ["none"]}
    return "/integrations/", {**form, "type": ["jwt"], "key_source": ["new"], "key_name": [f"{name}-2"]}


#: What is posted for each form with a verb, to the integration that a way belongs to.
POSTS: Mapping[str, Callable[[House, str], tuple[str, dict[str, Any]]]] = {
    "IntegrationPages.create": lambda _, way: new_integration(way),
    "EditorPages.save": lambda _, way: (f"/integrations/{way}/save", {}),
    "EditorPages.save_and_publish": lambda _, way: (f"/integrations/{way}/save-and-publish", {}),
    "EditorPages.publish": lambda _, way: (f"/integrations/{way}/publish", {}),
    "EditorPages.unpublish": lambda _, way: (f"/integrations/{way}/unpublish", {}),
    "EditorPages.suspend": lambda _, way: (f"/integrations/{way}/suspend", {}),
    "EditorPages.resume": lambda _, way: (f"/integrations/{way}/resume", {}),
    "EditorPages.delete": lambda _, way: (f"/integrations/{way}/delete", {"confirm": [way]}),
    "EditorPages.roll_back": lambda _, way: (f"/integrations/{way}/versions/1/roll-back", {}),
    "EditorPages.listen": lambda _, way: (f"/integrations/{way}/listening", {}),
    "EditorPages.stop": lambda _, way: (f"/integrations/{way}/listening/stop", {}),
    "EditorPages.keep_sample": lambda _, way: (
        f"/integrations/{way}/sample",
        {"listener": [str(UUID(int=1))]},
    ),
    "EditorPages.keep_event": lambda h, way: (
        f"/integrations/{way}/sample/event",
        {"event": [str(event_of(h, way))]},
    ),
    "EditorPages.drop_sample": lambda _, way: (f"/integrations/{way}/sample/drop", {}),
    "EventPages.replay": lambda h, way: (f"/events/{event_of(h, way)}/replay", {"deduplicate": ["no"]}),
    "EventPages.replay_all": lambda _, way: (
        "/events/replay",
        {"deduplicate": ["no"], "integration": [way], "state": ["dispatched"]},
    ),
    "EventPages.forget": lambda h, way: (f"/events/{event_of(h, way)}/forget", {}),
    "KeyPages.create": lambda _, way: ("/keys/new", {"name": [f"{way}-2"], "expires": ["never"]}),
    "KeyPages.rotate": lambda _, way: (f"/keys/{way}/rotate", {"overlap": ["1d"]}),
    "KeyPages.revoke": lambda _, way: (f"/keys/{way}/revoke", {"confirm": [way]}),
}
#: What isn't refused, because it starts nothing that ``shop`` may not start.
FREE = {
    ("EditorPages.save", PUBLISHED),
    ("EditorPages.save", PENDING),
    # What waits there was accepted before.
    *((form, PENDING) for form, verbs in FORMS.items() if any("Listening." in verb for verb in verbs)),
    ("EventPages.replay", PENDING),  # it waits
    ("EventPages.replay_all", PENDING),
    # Keys that no integration names.
    *(("IntegrationPages.create", way) for way in (NEWEST, PUBLISHED, PENDING)),
    *(("KeyPages.create", way) for way in (NEWEST, PUBLISHED, PENDING, WATCHER)),
}


def state(house: House) -> Any:
    """Return what a verb could have changed."""
    tables = ("integration", "version", "api_key", "api_key_secret", "event", "dedup", "listener", "sample")
    return {name: sorted(map(repr, house.sql(f"select * from incoming_{name}"))) for name in tables}


def test_every_form_with_a_verb_is_posted() -> None:
    """A new one is to be tried here, too."""
    assert POSTS.keys() == {form for form, verbs in FORMS.items() if any(MATRIX[verb] for verb in verbs)}


@pytest.mark.parametrize(
    ("form", "way"),
    [
        (form, way)
        for form in POSTS
        for way in (NEWEST, PUBLISHED, PENDING, WATCHER)
        if (form, way) not in FREE
    ],
)
def test_a_form_does_nothing_for_who_may_not(house: House, shop: Session, form: str, way: str) -> None:
    """403, and nothing has changed: not the integration, not its events, hashes or keys."""
    path, fields = POSTS[form](house, way)
    if form in ("EditorPages.save", "EditorPages.save_and_publish", "EditorPages.listen"):
        page = shop.get(f"/integrations/{PUBLISHED}")
        fields = {**shop.form(PUBLISHED), **fields} if "form" in page.text else fields
    before = state(house)
    answer = shop.post(path, fields)
    if form == "EventPages.replay_all":
        assert "1 refused" in " ".join(answer.text.split()) or "may not start" in answer.text
    else:
        assert answer.status_code == 403, answer.text
    assert state(house) == before


def test_the_key_of_others_is_neither_seen_nor_closed(house: House, shop: Session, admin: Session) -> None:
    """Not rotated, not revoked, not made under the name of one that was; the dialogs say so at once."""
    make_key(house, "payroll")
    auth = {"type": "jwt", "api_key": "payroll"}
    house.apply({"name": "payroll", "state": "published", "dags": ["two"], "auth": auth})
    fragment = {"headers": {"HX-Request": "true"}}
    for path in ("rotate", "revoke"):
        assert shop.get(f"/keys/payroll/{path}", **fragment).status_code == 403
        answer = shop.post(f"/keys/payroll/{path}", {"confirm": ["payroll"]})
        assert (answer.status_code, "inc_" in answer.text) == (403, False)
        assert "“payroll”" in answer.text
        assert "two" not in answer.text
    assert admin.post("/keys/payroll/revoke", {"confirm": ["payroll"]}).status_code == 303
    answer = shop.post("/keys/new", {"name": ["payroll"], "expires": ["never"]})
    assert (answer.status_code, "inc_" in answer.text) == (403, False)
    form = {"name": ["mine"], "title": ["Mine"], "type": ["jwt"]}
    makes = {**form, "key_source": ["new"], "key_name": ["payroll"]}
    answer = shop.post("/integrations/", makes)
    assert (answer.status_code, "inc_" in answer.text) == (403, False)
    assert "mine" not in {row["name"] for row in house.airflow.result("incoming", "list")}
    chooses = {**form, "key_source": ["existing"], "api_key": [NEWEST]}
    assert shop.post("/integrations/", chooses).status_code == 303, "naming a key opens one's own DAGs alone"
    assert shop.post("/keys/new", {"name": ["own"], "expires": ["never"]}).status_code == 200
    assert shop.post("/keys/own/rotate", {}).status_code == 200


def test_what_came_to_a_live_endpoint_is_for_who_may_start_it(
    house: House, shop: Session, admin: Session
) -> None:
    """Whoever may start the newest draft alone is neither shown it, nor offered to retrieve more."""
    assert admin.post(f"/integrations/{PUBLISHED}/listening", admin.form(PUBLISHED)).status_code == 200
    write(
        house,
        "update incoming_listener set captured_at = :now, body = '[4321]', headers = '{}', query = ''",
        now=datetime.now(timezone.utc).isoformat(sep=" "),
    )
    path = f"/integrations/{PUBLISHED}/listening"
    assert "4321" in admin.get(path).text
    page = shop.get(path)
    assert (page.status_code, "4321" in page.text, 'id="retrieve"' in page.text) == (200, False, False)
    assert "not for you to retrieve" in page.text
    assert admin.post(f"{path}/stop").status_code == 200


def test_assets_are_named_to_who_may_look_at_them(house: House, shop: Session, admin: Session) -> None:
    """That watchers listen is no secret, of which assets is."""
    page = f"/events/{event_of(house, WATCHER)}"
    write(house, f"update incoming_event set started = '[]' where integration = '{WATCHER}'")
    for session, told in ((admin, True), (shop, False)):
        text = session.get(page).text
        assert "listen to it: what they want starts DAGs" in text
        assert ("incoming://orders" in text) == told


def test_an_open_endpoint_that_is_watched_is_a_secret(house: House, shop: Session, admin: Session) -> None:
    """Knowing it is enough to start the DAG behind the watcher."""
    watch(house, "open", 79)
    house.apply({"name": "open", "state": "published", "dags": ["one"]})
    for path in ("/integrations/open", "/integrations/"):
        assert house.endpoints["open"] in admin.get(path).text
        assert house.endpoints["open"] not in shop.get(path).text
    assert "by_asset" not in shop.get("/integrations/open").text


def test_nothing_is_said_of_a_dag_that_one_may_not_look_at(
    house: House, shop: Session, admin: Session
) -> None:
    """Whether it is there, paused, broken, or takes the data; why an event failed because of it."""
    house.apply(
        {"name": "strict", "state": "published", "dags": ["one", "strict"]},
        {"name": "lost", "state": "published", "dags": ["one", "not_there"]},
        {"name": "own", "state": "published", "dags": ["one"]},
    )
    strict = send(house, "strict", {"order": {"id": "none"}})
    lost = send(house, "lost", {"order": {"id": 1}})
    write(house, "update dag set has_import_errors = true where dag_id in ('one', 'two')")
    try:
        own = send(house, "own", {"order": {"id": 1}})
        assert "import errors" in shop.get("/integrations/own").text
        for name in (NEWEST, "lost"):
            assert "You may not look at this DAG" in shop.get(f"/integrations/{name}").text
        assert "import errors" not in shop.get(f"/integrations/{NEWEST}").text
        assert "import errors" in admin.get(f"/integrations/{NEWEST}").text
        assert "does not exist" not in shop.get("/integrations/lost").text
        assert "does not exist" in admin.get("/integrations/lost").text
    finally:
        write(house, "update dag set has_import_errors = false")
    fragment = {"headers": {"HX-Request": "true"}}
    for event_id, word in ((strict, "refuse the data"), (lost, "does not exist"), (own, "import errors")):
        for session, told in ((admin, True), (shop, event_id == own)):
            for path, options in (
                (f"/events/{event_id}", {}),
                (f"/events/{event_id}", fragment),
                ("/events/", {}),
                ("/events/", fragment),
                ("/events/export.csv", {}),
                ("/events/export.json", {}),
                ("/dag/one", {}),
            ):
                page = session.get(path, **options)
                assert page.status_code == 200, path
                assert (word in page.text) == told, (path, word, told)
