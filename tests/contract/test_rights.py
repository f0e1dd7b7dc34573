"""Who may start or stop what: every verb that may, by everything that it may start, for everybody.

The matrix is data: a verb, or a form of the pages, that nobody has thought about fails here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from airflow.models.base import Base
from sqlalchemy import Connection, Engine, event, insert, select, update

import airflow_incoming
from airflow_incoming.core.errors import Forbidden
from airflow_incoming.core.integration import Configuration, Declaration, parse_configuration
from airflow_incoming.db import tables
from airflow_incoming.services.checks import Bounds
from airflow_incoming.services.icons import Icons
from airflow_incoming.services.keys import KeyManager
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.replay import EventDesk, Replay
from airflow_incoming.services.rights import Actor, Trusted
from airflow_incoming.services.watchers import _warn
from airflow_incoming.stores.audit import log
from airflow_incoming.stores.dedup import InMemoryDedup, Known, Memory
from airflow_incoming.stores.events import Criteria
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.web.views.new_integration import NewIntegrationForm, carry_out
from tests.contract.clerks import Airflow, Clerk
from tests.contract.samples import NOW, WEEK, make_event, random_hash
from tests.contract.test_audit import SVG
from tests.contract.test_manage import ReversingCipher

CLI = Trusted("cli")
EVERYTHING = Clerk(dags=frozenset({"ours", "theirs", "blues"}), assets=True)
OURS_ALONE = Clerk(dags=frozenset({"ours", "blues"}), teams=frozenset({None}))
THEIR_BUNDLE = "of-navy"
INNOCENT = parse_configuration({"dags": ["ours"]})

#: The ways in which an integration may start what somebody may not start themselves.
NEWEST = "named by its newest version"
PUBLISHED = "named by its published version alone"
PENDING = "named by the version of an event that waits"
OLD = "named by an old version alone"
WATCHER = "scheduled on an asset whose watcher listens to it"
ASSET = "an asset, which starts whoever waits for it"
MISSING = "not there, where Airflow has teams"
TEAM = "of another team, under a name that they may trigger in theirs"
WAYS = (NEWEST, PUBLISHED, PENDING, OLD, WATCHER, ASSET, MISSING, TEAM)

LIVE = {NEWEST, PUBLISHED, PENDING, WATCHER, ASSET, MISSING, TEAM}
DRAFT = {NEWEST, WATCHER, ASSET, MISSING, TEAM}
#: Where a verb brings back, or makes, what the old version names.
BRINGING = {OLD}
NOTHING: set[str] = set()

#: Each verb, and by which of these ways it is refused to whoever may not start that.
MATRIX: Mapping[str, set[str]] = {
    "Manager.create": DRAFT | BRINGING,
    "Manager.save": DRAFT | BRINGING,
    "Manager.roll_back": DRAFT | BRINGING,
    "Manager.apply": LIVE | BRINGING,
    "Manager.permit": LIVE,
    "Manager.publish": LIVE,
    "Manager.unpublish": LIVE,
    "Manager.suspend": LIVE,
    "Manager.resume": LIVE,
    "Manager.delete": LIVE,
    # A key opens what an old version names it for, as soon as that is brought back.
    "KeyManager.permit": LIVE | BRINGING,
    "KeyManager.create": LIVE | BRINGING,
    "KeyManager.rotate": LIVE | BRINGING,
    "KeyManager.revoke": LIVE | BRINGING,
    "KeyManager.reencrypt": NOTHING,  # every key opens what it opened before, and none is shown
    # What runs, runs under the version that is published now, or else under its own.
    "EventDesk.replay": LIVE - {PENDING},
    "EventDesk.replay_step": LIVE - {PENDING},
    "EventDesk.forget": LIVE,
    # What comes to an endpoint is for whoever may start it.
    "Listening.start": DRAFT | {PUBLISHED},
    "Listening.stop": DRAFT | {PUBLISHED},
    "Listening.keep_sample": DRAFT | {PUBLISHED},
    "Listening.set_sample": DRAFT | {PUBLISHED},
    "Listening.drop_sample": DRAFT | {PUBLISHED},
    "Icons.upload": NOTHING,
}
#: What changes nothing.
LOOKING = {
    "Manager": {
        *("list", "show", "versions", "version", "diff", "pending"),
        *("stakes_of_draft", "missing_dags", "stakes_of_endpoints"),
    },
    "Listening": {"look", "sample"},
    "Icons": {"find", "uploaded"},
    "KeyManager": {"list", "usable_names", "users"},
    "EventDesk": {
        *("list", "find", "count", "stream", "newest_now"),
        *("show", "whole", "plight", "configuration_of", "runs", "consumers"),
        *("watched", "behind_assets", "starters"),
    },
}
#: Each form of the pages, and the verbs that it is for; none where it starts and stops nothing.
FORMS: Mapping[str, set[str]] = {
    "IntegrationPages.create": {"Manager.create", "KeyManager.create"},
    "EditorPages.section": NOTHING,
    "EditorPages.save": {"Manager.save"},
    "EditorPages.save_and_publish": {"Manager.save", "Manager.publish"},
    "EditorPages.publish": {"Manager.publish"},
    "EditorPages.unpublish": {"Manager.unpublish"},
    "EditorPages.suspend": {"Manager.suspend"},
    "EditorPages.resume": {"Manager.resume"},
    "EditorPages.delete": {"Manager.delete"},
    "EditorPages.roll_back": {"Manager.roll_back"},
    "EditorPages.listen": {"Listening.start"},
    "EditorPages.stop": {"Listening.stop"},
    "EditorPages.keep_sample": {"Listening.keep_sample"},
    "EditorPages.keep_event": {"Listening.set_sample"},
    "EditorPages.drop_sample": {"Listening.drop_sample"},
    "IconFiles.upload": {"Icons.upload"},
    "EventPages.replay": {"EventDesk.replay"},
    "EventPages.replay_all": {"EventDesk.replay_step"},
    "EventPages.forget": {"EventDesk.forget"},
    "KeyPages.create": {"KeyManager.create"},
    "KeyPages.rotate": {"KeyManager.rotate"},
    "KeyPages.revoke": {"KeyManager.revoke"},
    "HomePage.nowhere": NOTHING,
}


@dataclass(frozen=True)
class Case:
    """An integration that may start ``theirs`` in one way, its key, a dead event and a claimed hash."""

    way: str
    name: str
    key: str
    at_stake: Configuration
    event_id: UUID
    hash_: str


class World:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.airflow = Airflow(engine)
        self.airflow.deploy("ours", "theirs")
        self.airflow.deploy("blues", team="navy", bundle=THEIR_BUNDLE)
        self.manager = Manager(engine, clock=lambda: NOW, bounds=Bounds(max_body=2**20))
        self.keys = KeyManager(engine, ReversingCipher(), clock=lambda: NOW)
        self.desk = EventDesk(engine, InMemoryDedup(), clock=lambda: NOW)
        self.listening = Listening(engine, clock=lambda: NOW)
        self.icons = Icons(engine, clock=lambda: NOW)
        self._made = 0

    def case(self, way: str, *, later: bool = False) -> Case:
        """Make an integration in whose other versions nothing is at stake; ``later``: nor in its first."""
        self._made += 1
        name = key = f"n{self._made}"
        self.keys.create(key, by=CLI)
        auth = {"type": "jwt", "api_key": key}
        targets: dict[str, Any] = {"dags": ["theirs"]}
        if way == ASSET:
            targets = {"assets": ["incoming://theirs"]}
        elif way == MISSING:
            targets = {"dags": ["nowhere"]}
        elif way == TEAM:
            targets = {"dags": ["blues"]}
        elif way == WATCHER:
            targets = {"dags": ["ours"]}
            for each in (name, f"{name}-new"):
                self.airflow.watch(each, "theirs")
        at_stake = parse_configuration({"auth": auth, **targets})
        first = parse_configuration({"auth": auth, "dags": ["ours"]}) if later else at_stake
        self.manager.create(name, first, by=CLI)
        if way in (PUBLISHED, PENDING):
            self.manager.publish(name, by=CLI)
            if way == PENDING:
                self._event(name)
        if way in (PUBLISHED, PENDING, OLD):
            self.manager.save(name, INNOCENT, by=CLI, expected=1)
        if way == PENDING:
            self.manager.publish(name, by=CLI)
        hash_ = random_hash()
        event_id = self._event(name, hash_, dead=True)
        return Case(way=way, name=name, key=key, at_stake=at_stake, event_id=event_id, hash_=hash_)

    def end_listening(self, name: str) -> None:
        self.listening.stop(name, by=CLI)

    def capture(self, name: str) -> None:
        """Let somebody listen, and a request come."""
        self.listening.start(name, by=CLI)
        came = {"captured_at": NOW, "body": "{}", "headers": {}, "query": ""}
        with self.engine.begin() as connection:
            of = tables.listener.c.id == self.listener(name)
            connection.execute(update(tables.listener).where(of).values(came))

    def listener(self, name: str) -> UUID:
        record = self.listening.look(name)
        assert record is not None
        return record.id

    def state(self) -> Any:
        """Return what is in our tables, and in the audit log."""
        with self.engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(select(table))))
                for table in (*tables.metadata.sorted_tables, log)
            }

    def _event(self, name: str, hash_: str | None = None, *, dead: bool = False) -> UUID:
        found = self.manager.show(name)
        version = found.published or found.current
        made = make_event(hash_, integration_id=found.id, version_id=version.id)
        Inbox(self.engine).append([made], now=NOW)
        values = {"integration": name} | ({"state": "dead", "due_at": None} if dead else {})
        with self.engine.begin() as connection:
            connection.execute(update(tables.event).where(tables.event.c.id == made.id).values(values))
        return made.id


def _refuse(done: list[Replay] | tuple[Replay, ...]) -> None:
    """Raise Forbidden where an event was refused because of rights: the desk refuses each by itself."""
    reasons = [one.reason or "" for one in done if one.action == "refused"]
    if reasons:
        raise Forbidden(reasons[0])


def _replay_step(world: World, case: Case, who: Actor) -> None:
    step = world.desk.replay_step(
        Criteria(integration=case.name, states=("dead",)),
        cursor=None,
        upto=UUID(int=2**128 - 1),
        by=who,
        deduplicate=False,
    )
    assert len(step.done) == 1
    _refuse(step.done)


def _brought(case: Case) -> Configuration:
    return INNOCENT if case.way in (PUBLISHED, PENDING) else case.at_stake


def _apply(world: World, case: Case, who: Actor) -> None:
    configuration = case.at_stake if case.way in BRINGING else INNOCENT
    world.manager.apply([Declaration(name=case.name, state="draft", configuration=configuration)], by=who)


def _save(world: World, case: Case, who: Actor) -> None:
    newest = world.manager.show(case.name).current.number
    configuration = case.at_stake if case.way in BRINGING else parse_configuration({"title": "New"})
    world.manager.save(case.name, configuration, by=who, expected=newest)


def _roll_back(world: World, case: Case, who: Actor) -> None:
    number = 1 if case.way in BRINGING else world.manager.show(case.name).current.number
    world.manager.roll_back(case.name, number, by=who)


VERBS: Mapping[str, Callable[[World, Case, Actor], object]] = {
    "Manager.create": lambda w, c, who: w.manager.create(f"{c.name}-new", _brought(c), by=who),
    "Manager.save": _save,
    "Manager.roll_back": _roll_back,
    "Manager.apply": _apply,
    "Manager.permit": lambda w, c, who: w.manager.permit(c.name, by=who),
    "Manager.publish": lambda w, c, who: w.manager.publish(c.name, by=who),
    "Manager.unpublish": lambda w, c, who: w.manager.unpublish(c.name, by=who),
    "Manager.suspend": lambda w, c, who: w.manager.suspend(c.name, by=who),
    "Manager.resume": lambda w, c, who: w.manager.resume(c.name, by=who),
    "Manager.delete": lambda w, c, who: w.manager.delete(c.name, by=who, discard_pending=True),
    "KeyManager.permit": lambda w, c, who: w.keys.permit(c.key, by=who),
    "KeyManager.create": lambda w, c, who: w.keys.create(c.key, by=who),
    "KeyManager.rotate": lambda w, c, who: w.keys.rotate(c.key, by=who),
    "KeyManager.revoke": lambda w, c, who: w.keys.revoke(c.key, by=who),
    "KeyManager.reencrypt": lambda w, c, who: w.keys.reencrypt(by=who),
    "EventDesk.replay": lambda w, c, who: _refuse(w.desk.replay([c.event_id], by=who)),
    "EventDesk.replay_step": _replay_step,
    "EventDesk.forget": lambda w, c, who: w.desk.forget(c.hash_, by=who),
    "Listening.start": lambda w, c, who: w.listening.start(c.name, by=who),
    "Listening.stop": lambda w, c, who: w.listening.stop(c.name, by=who),
    "Listening.keep_sample": lambda w, c, who: w.listening.keep_sample(c.name, w.listener(c.name), by=who),
    "Listening.set_sample": lambda w, c, who: w.listening.set_sample(c.name, c.event_id, by=who),
    "Listening.drop_sample": lambda w, c, who: w.listening.drop_sample(c.name, by=who),
    "Icons.upload": lambda w, c, who: w.icons.upload(SVG, by=who),
}


def prepare(world: World, case: Case, verb: str) -> None:
    """Let the verb be possible."""
    if verb in ("Manager.suspend", "Manager.resume") and world.manager.show(case.name).published is None:
        world.manager.publish(case.name, by=CLI)
    if verb == "Manager.resume":
        world.manager.suspend(case.name, by=CLI)
    if verb in ("Listening.start", "Listening.keep_sample"):  # nobody else does, and something came
        world.end_listening(case.name)
    if verb == "Listening.keep_sample":
        world.capture(case.name)
    if verb == "KeyManager.create":  # under the name of a key that was revoked
        world.keys.revoke(case.key, by=CLI)


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine)


@pytest.mark.parametrize("verb", MATRIX)
def test_the_matrix(world: World, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Refused, nothing has changed, and nothing was written down; whoever may start it all isn't refused."""
    act = VERBS[verb]
    for way in WAYS:
        monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", str(way in (MISSING, TEAM)))
        case = world.case(way)
        prepare(world, case, verb)
        before = world.state()
        if way in MATRIX[verb]:
            with pytest.raises(Forbidden, match=r"(?i)you may not"):
                act(world, case, OURS_ALONE)
            assert world.state() == before, (verb, way)
        else:
            act(world, case, OURS_ALONE)
            case = world.case(way)
            prepare(world, case, verb)
        if way == MISSING and way in MATRIX[verb]:
            with pytest.raises(Forbidden):
                act(world, case, EVERYTHING)
            assert world.state() == before, verb
        else:
            act(world, case, EVERYTHING)
            case = world.case(way)
            prepare(world, case, verb)
        act(world, case, CLI)


def public(kind: type) -> dict[str, Callable[..., Any]]:
    members = inspect.getmembers(kind, inspect.isfunction)
    return {f"{kind.__name__}.{name}": member for name, member in members if not name.startswith("_")}


def test_every_verb_has_a_row() -> None:
    """What is new at a manager, a key manager or a desk is looked at here first; and asks who wants it."""
    there: dict[str, Callable[..., Any]] = {}
    for kind in (Manager, KeyManager, EventDesk, Listening, Icons):
        there |= public(kind)
    looking = {f"{kind}.{name}" for kind, names in LOOKING.items() for name in names}
    assert there.keys() == MATRIX.keys() | looking
    assert VERBS.keys() == MATRIX.keys()
    for name in MATRIX:
        by = inspect.signature(there[name]).parameters["by"]
        assert (by.annotation, by.default) == ("Actor", inspect.Parameter.empty), name
    for name in looking:
        assert "by" not in inspect.signature(there[name]).parameters, name


def test_every_form_has_a_row() -> None:
    """So is each address of the pages that is posted to."""
    from airflow_incoming.web.views.registration import PAGES

    posted = {
        f"{page.__name__}.{name}"
        for page in PAGES
        for name, view in inspect.getmembers(page, inspect.isfunction)
        if any("POST" in methods for _, methods in getattr(view, "_urls", ()))
    }
    assert posted == FORMS.keys()
    assert set().union(*FORMS.values()) <= MATRIX.keys()


def test_no_page_acts_as_somebody_trusted() -> None:
    """Commands do; over HTTP there is nobody of whom nothing is asked."""
    web = Path(airflow_incoming.__file__).parent / "web"
    files = [file for file in web.rglob("*.py") if "Trusted" in file.read_text()]
    assert files == []


@pytest.mark.parametrize("by", ["asset", "name", "uri"])
def test_watchers_count_however_a_dag_names_their_asset(world: World, by: str) -> None:
    """By itself, by its name, by its URI; and nobody is told which DAGs those are."""
    world.airflow.watch("orders", "theirs", by=by)
    with pytest.raises(Forbidden) as told:
        world.manager.create("orders", INNOCENT, by=OURS_ALONE)
    assert "theirs" not in told.value.detail
    assert "watchers" in told.value.detail
    world.manager.create("bills", INNOCENT, by=OURS_ALONE)


def test_a_key_that_others_name_is_named_freely(world: World) -> None:
    """It opens one's own DAGs to whoever has it, and nothing else."""
    world.keys.create("shared", by=CLI)
    shared = {"auth": {"type": "jwt", "api_key": "shared"}}
    world.manager.create("payroll", parse_configuration({**shared, "dags": ["theirs"]}), by=CLI)
    mine = parse_configuration({**shared, "dags": ["ours"]})
    world.manager.create("orders", mine, by=OURS_ALONE)
    world.manager.publish("orders", by=OURS_ALONE)
    for verb in (world.keys.rotate, world.keys.revoke):
        with pytest.raises(Forbidden) as told:
            verb("shared", by=OURS_ALONE)
        assert told.value.detail.startswith("API key 'shared' opens “payroll”, and you may not start all")
        assert "theirs" not in told.value.detail


def test_a_key_that_was_never_made_opens_what_names_it(world: World) -> None:
    """A draft may name it; whoever makes it then could send to that as soon as it is live."""
    named = parse_configuration({"auth": {"type": "jwt", "api_key": "later"}, "dags": ["theirs"]})
    world.manager.create("payroll", named, by=CLI)
    with pytest.raises(Forbidden, match="payroll"):
        world.keys.create("later", by=OURS_ALONE)
    world.keys.create("other", by=OURS_ALONE)


def test_a_hash_that_only_redis_remembers_is_not_for_everybody(world: World) -> None:
    """The event that owns it says what the next request would start."""
    case = world.case(NEWEST)
    with world.engine.begin() as connection:
        connection.execute(tables.dedup.delete())
    memory = InMemoryDedup()
    memory.remember([Memory(case.hash_, Known(case.event_id, NOW), WEEK)])
    desk = EventDesk(world.engine, memory, clock=lambda: NOW)
    with pytest.raises(Forbidden):
        desk.forget(case.hash_, by=OURS_ALONE)
    assert case.hash_ in memory.peek([case.hash_])
    desk.forget(case.hash_, by=EVERYTHING)
    assert memory.peek([case.hash_]) == {}


def test_what_can_not_be_read_is_not_for_everybody(world: World) -> None:
    """An event that waits under a version of a newer release: nobody knows what it starts."""
    made = world.manager.create("orders", INNOCENT, by=OURS_ALONE)
    strange = UUID(int=7)
    with world.engine.begin() as connection:
        connection.execute(
            insert(tables.version).values(
                id=strange,
                integration_id=made.id,
                number=9,
                configuration={"shape": "of tomorrow"},
                created_at=NOW,
                created_by="tomorrow",
            )
        )
    Inbox(world.engine).append([make_event(integration_id=made.id, version_id=strange)], now=NOW)
    with pytest.raises(Forbidden, match="can't read"):
        world.manager.publish("orders", by=EVERYTHING)
    assert world.manager.publish("orders", by=CLI).state == "published"


@pytest.mark.parametrize(
    "verb",
    # Versions never change, so what is replayed is asked about once.
    [verb for verb in MATRIX if MATRIX[verb] and "permit" not in verb and "replay" not in verb],
)
def test_an_auth_manager_is_asked_before_anything_is_locked(
    world: World, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """And again in the transaction, where a visitor remembers: what was saved meanwhile counts, too."""
    case = replace(world.case(NEWEST, later=True), way=PUBLISHED)
    prepare(world, case, verb)
    who = Clerk(dags=frozenset({"ours"}))
    asked = who.triggerable

    def save_meanwhile(*about: Any) -> set[str]:
        monkeypatch.setattr(who, "triggerable", asked)
        world.manager.save(case.name, case.at_stake, by=CLI, expected=1)
        world.airflow.watch(f"{case.name}-new", "theirs")
        before.update(world.state())
        return asked(*about)

    before: dict[str, Any] = {}

    monkeypatch.setattr(who, "triggerable", save_meanwhile)
    with pytest.raises(Forbidden):
        VERBS[verb](world, case, who)
    assert before == world.state()
    assert (who.asked[0], who.asked[-1]) == ("ours", "theirs")


def remembered(world: World, name: str, number: int | None = None) -> Any:
    found = world.manager.show(name)
    version = found.current if number is None else world.manager.version(name, number)
    with world.engine.connect() as connection:
        return connection.scalar(select(tables.version.c.teams).where(tables.version.c.id == version.id))


def test_teams_are_remembered_by_whoever_publishes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each publishing anew; by an unchanged file, too; not at all where Airflow has none."""
    world.airflow.deploy("reds", team="red")
    who = Clerk(dags=frozenset({"ours", "reds"}))
    world.manager.create("orders", parse_configuration({"dags": ["ours", "reds"]}), by=who)
    world.manager.publish("orders", by=who)
    assert remembered(world, "orders") is None
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    world.manager.suspend("orders", by=who)
    world.manager.publish("orders", by=who)
    assert remembered(world, "orders") == {"ours": None, "reds": "red"}
    world.airflow.move("reds", "blue")
    world.manager.publish("orders", by=who)
    assert remembered(world, "orders") == {"ours": None, "reds": "blue"}
    world.airflow.move("reds", "green")
    found = world.manager.show("orders")
    declared = Declaration(name="orders", state="suspended", configuration=found.current.configuration)
    (change,) = world.manager.apply([declared], by=CLI)
    assert change.action == "unchanged"
    assert remembered(world, "orders") == {"ours": None, "reds": "green"}


def test_what_is_not_there_is_for_the_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They bind it to whichever team deploys it; to others it is refused as what they may not trigger is."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    who = Clerk(dags=frozenset({"ours", "later"}))
    told = []
    for dag_id in ("later", "theirs"):
        with pytest.raises(Forbidden) as refused:
            world.manager.create("orders", parse_configuration({"dags": [dag_id]}), by=who)
        told.append(refused.value.detail.replace(dag_id, "it"))
    assert told[0] == told[1]
    configuration = parse_configuration({"dags": ["later"]})
    world.manager.create("orders", configuration, by=CLI)
    world.manager.publish("orders", by=CLI)
    assert remembered(world, "orders") == {"later": "*"}
    assert world.manager.missing_dags(configuration) == ["later"]
    world.airflow.deploy("later", team="red")
    world.manager.publish("orders", by=who)
    assert remembered(world, "orders") == {"later": "red"}
    assert world.manager.missing_dags(configuration) == []


@pytest.mark.parametrize("meanwhile", ["moves", "vanishes"])
def test_what_was_permitted_is_bound(world: World, monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    """Not what has become of it since: a DAG that moved, or is gone, is none that anybody was asked about."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    world.airflow.deploy("reds", team="red")
    who = Clerk(dags=frozenset({"reds"}), teams=frozenset({"red"}))
    world.manager.create("orders", parse_configuration({"dags": ["reds"]}), by=who)
    put = world.manager._put
    dag = Base.metadata.tables["dag"]
    change = dag.delete() if meanwhile == "vanishes" else dag.update().values(bundle_name=THEIR_BUNDLE)

    def put_meanwhile(connection: Connection, *about: Any) -> None:
        put(connection, *about)
        connection.execute(change.where(dag.c.dag_id == "reds"))

    monkeypatch.setattr(world.manager, "_put", put_meanwhile)
    world.manager.publish("orders", by=who)
    assert remembered(world, "orders") == {"reds": "red"}


def test_publishing_binds_what_was_published_before_there_were_teams(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions, too, under which events wait; but not what whoever publishes may not trigger."""
    world.airflow.deploy("reds", team="red")
    for name, waits in (("orders", {"dags": ["ours", "reds"]}), ("bills", {"dags": ["theirs"]})):
        world.manager.create(name, parse_configuration(waits), by=CLI)
        world.manager.publish(name, by=CLI)
        world.manager.save(name, INNOCENT, by=CLI, expected=1)
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    who = Clerk(dags=frozenset({"ours", "reds"}))
    world.manager.publish("orders", by=who)
    world.manager.publish("bills", by=CLI)
    assert remembered(world, "orders", 1) == {"ours": None, "reds": "red"}
    assert remembered(world, "orders") == {"ours": None}
    assert remembered(world, "bills", 1) == {"theirs": None}
    world.manager.create("goods", parse_configuration({"dags": ["theirs"]}), by=CLI)
    world.manager.save("goods", INNOCENT, by=CLI, expected=1)
    world.manager.publish("goods", by=who)
    assert (remembered(world, "goods", 1), remembered(world, "goods")) == (None, {"ours": None})


def test_a_key_that_is_made_anew_opens_what_is_brought_back(world: World) -> None:
    """An old version that names it is one click away from being live."""
    world.keys.create("old", by=CLI)
    named = parse_configuration({"auth": {"type": "jwt", "api_key": "old"}, "dags": ["theirs"]})
    world.manager.create("payroll", named, by=CLI)
    world.manager.save("payroll", INNOCENT, by=CLI, expected=1)
    world.manager.save("payroll", parse_configuration({"title": "Newer"}), by=CLI, expected=2)
    world.keys.revoke("old", by=CLI)
    with pytest.raises(Forbidden, match="payroll"):
        world.keys.create("old", by=OURS_ALONE)


def test_rights_cost_few_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many integrations a key opens, or endpoints are shown; also where Airflow has teams."""
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    world.keys.create("shared", by=CLI)
    statements: list[str] = []

    def asked(*about: Any) -> None:
        statements.append(about[2])

    def count(act: Callable[[], object]) -> int:
        statements.clear()
        act()
        return len(statements)

    counts = []
    event.listen(world.engine, "before_cursor_execute", asked)
    for number in range(12):
        auth = {"type": "jwt", "api_key": "shared"}
        world.manager.create(f"a{number}", parse_configuration({"auth": auth, "dags": ["ours"]}), by=CLI)
        world.manager.create(f"b{number}", INNOCENT, by=CLI)
        found = world.manager.list()
        counts.append(
            (
                count(lambda: world.keys.rotate("shared", by=OURS_ALONE)),
                count(lambda found=found: world.manager.stakes_of_endpoints(found)),
            )
        )
    assert counts[-1] == counts[0]


def test_events_say_nothing_of_configurations(world: World) -> None:
    """Whoever may replay need not be allowed to read which DAGs an integration names."""
    case = world.case(NEWEST)
    (done,) = world.desk.replay([case.event_id], by=OURS_ALONE)
    assert done.reason == "you may not start all that it starts"
    with pytest.raises(Forbidden) as told:
        world.desk.forget(case.hash_, by=OURS_ALONE)
    assert not {"theirs", case.name} & set(told.value.detail.replace(".", "").split())


def test_a_backlog_is_asked_only_about_what_somebody_may_not_start(world: World) -> None:
    """Neither for the trusted, nor for whoever may start what every version names."""
    case = world.case(PENDING)
    asked: list[str] = []

    def note(*about: Any) -> None:
        if "incoming_event.version_id IN" in about[2]:
            asked.append(about[2])

    event.listen(world.engine, "before_cursor_execute", note)
    for who in (CLI, EVERYTHING):
        world.manager.suspend(case.name, by=who)
        world.manager.unpublish(case.name, by=who)
        world.manager.publish(case.name, by=who)
    assert asked == []
    with pytest.raises(Forbidden):
        world.manager.suspend(case.name, by=OURS_ALONE)
    assert len(asked) == 1
    assert "LIMIT" in asked[0]


def test_a_dialog_that_is_refused_makes_no_key(world: World) -> None:
    """Nobody would see it, nor could close it."""
    world.airflow.watch("orders", "theirs")
    form = NewIntegrationForm(type="jwt", title="O", name="orders", key_source="new", key_name="fresh")
    before = world.state()
    with pytest.raises(Forbidden):
        carry_out(form, world.manager, world.keys, by=OURS_ALONE)
    assert world.state() == before


def test_a_watcher_that_can_not_be_read_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It stays so, and whoever does anything makes us look."""
    world.airflow.watch("orders", "theirs")
    with world.engine.begin() as connection:
        connection.execute(Base.metadata.tables["trigger"].update().values(kwargs="nonsense"))
    _warn.cache_clear()
    for number in range(3):
        world.manager.create(f"n{number}", INNOCENT, by=OURS_ALONE)
    told = [each for each in caplog.messages if "A watcher's arguments can't be read" in each]
    assert len(told) == 1
