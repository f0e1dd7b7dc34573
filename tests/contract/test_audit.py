"""Who changed what is in Airflow's audit log: with the change, or not at all."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from airflow_incoming.core.errors import Conflict, InvalidConfiguration, NotFound
from airflow_incoming.core.integration import parse_configuration, parse_declaration
from airflow_incoming.db import tables
from airflow_incoming.services.checks import Bounds
from airflow_incoming.services.icons import Icons
from airflow_incoming.services.keys import KeyManager
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.rights import Trusted
from airflow_incoming.stores.audit import log
from airflow_incoming.stores.inbox import Inbox
from tests.contract.samples import NOW, make_event
from tests.contract.test_manage import ReversingCipher

ONE = parse_configuration({"dags": ["one"]})
TWO = parse_configuration({"dags": ["two"]})
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1"/></svg>'


class House:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.manager = Manager(engine, clock=lambda: NOW, bounds=Bounds(max_body=2**20))
        self.keys = KeyManager(engine, ReversingCipher(), clock=lambda: NOW)
        self.listening = Listening(engine, clock=lambda: NOW)
        self.desk = EventDesk(engine, None, clock=lambda: NOW)
        self.icons = Icons(engine, clock=lambda: NOW)

    def audit(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was written down, oldest first; all of it is tess's and of now."""
        with self._engine.connect() as connection:
            rows = list(connection.execute(select(log.c.event, log.c.owner, log.c.dttm, log.c.extra)))
        assert {(row.owner, row.dttm) for row in rows} <= {("tess", NOW)}
        return [(row.event, json.loads(row.extra)) for row in rows]


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


def test_what_is_done_with_an_integration_is_written_down(house: House) -> None:
    """Each change is one entry with its integration and version; what changes nothing is none."""
    manage = house.manager
    manage.create("orders", ONE, by=Trusted("tess"))
    manage.save("orders", TWO, by=Trusted("tess"), expected=1)
    manage.save("orders", TWO, by=Trusted("tess"), expected=2)
    manage.roll_back("orders", 1, by=Trusted("tess"))
    manage.publish("orders", by=Trusted("tess"))
    manage.suspend("orders", by=Trusted("tess"))
    manage.resume("orders", by=Trusted("tess"))
    manage.unpublish("orders", by=Trusted("tess"))
    manage.delete("orders", by=Trusted("tess"), discard_pending=True)
    assert house.audit() == [
        ("incoming_create_integration", {"integration": "orders"}),
        ("incoming_save_integration", {"integration": "orders", "version": 2}),
        ("incoming_save_integration", {"integration": "orders", "version": 3, "rolled_back_to": 1}),
        ("incoming_publish_integration", {"integration": "orders", "version": 3}),
        ("incoming_suspend_integration", {"integration": "orders"}),
        ("incoming_resume_integration", {"integration": "orders"}),
        ("incoming_unpublish_integration", {"integration": "orders"}),
        ("incoming_delete_integration", {"integration": "orders", "discarded_events": 0}),
    ]


def test_applied_files_are_written_down(house: House) -> None:
    """One entry for each integration that changed; a dry run, and an unchanged one, leave none."""
    declared = [parse_declaration({"name": "orders", "state": "published", "dags": ["one"]})]
    house.manager.apply(declared, by=Trusted("tess"), dry_run=True)
    house.manager.apply(declared, by=Trusted("tess"))
    house.manager.apply(declared, by=Trusted("tess"))
    entry = {"integration": "orders", "version": 1, "state": "published", "action": "created"}
    assert house.audit() == [("incoming_apply_integration", entry)]


def test_what_is_refused_is_not_written_down(house: House) -> None:
    """A change that fails leaves no entry that it happened."""
    house.manager.create("orders", ONE, by=Trusted("tess"))
    before = house.audit()
    with pytest.raises(Conflict):
        house.manager.create("orders", ONE, by=Trusted("tess"))
    with pytest.raises(Conflict):
        house.manager.suspend("orders", by=Trusted("tess"))
    nobody = {"type": "jwt", "api_key": "nobody"}
    declared = parse_declaration({"name": "bills", "state": "published", "auth": nobody, "dags": ["one"]})
    with pytest.raises(InvalidConfiguration):
        house.manager.apply([declared], by=Trusted("tess"))
    with pytest.raises(NotFound):
        house.keys.revoke("nobody", by=Trusted("tess"))
    assert house.audit() == before


def test_keys_are_written_down_without_their_secrets(house: House) -> None:
    """Made, rotated, revoked: the key's id, never the key."""
    first = house.keys.create("shop", by=Trusted("tess"))
    second = house.keys.rotate("shop", by=Trusted("tess"), overlap=timedelta(hours=1))
    house.keys.revoke("shop", by=Trusted("tess"))
    house.keys.revoke("shop", by=Trusted("tess"))
    about = {"name": "shop", "key_id": first.key_id}
    assert house.audit() == [
        ("incoming_create_api_key", about),
        ("incoming_rotate_api_key", {**about, "overlap": "1:00:00"}),
        ("incoming_revoke_api_key", about),
    ]
    for made in (first, second):
        assert made.api_key.rpartition("_")[2] not in json.dumps(house.audit())


def test_what_is_done_with_data_is_written_down(house: House, engine: Engine) -> None:
    """Listening, samples, icons, replays and forgotten hashes."""
    made = house.manager.create("orders", ONE, by=Trusted("tess"))
    event = make_event("a" * 64, integration_id=made.id, version_id=made.current.id)
    Inbox(engine).append([event], now=NOW)
    house.listening.start("orders", by=Trusted("tess"))
    house.listening.stop("orders", by=Trusted("tess"))
    house.listening.set_sample("orders", event.id, by=Trusted("tess"))
    house.listening.drop_sample("orders", by=Trusted("tess"))
    icon = house.icons.upload(SVG, by=Trusted("tess"))
    house.icons.upload(SVG, by=Trusted("tess"))
    house.desk.replay([event.id], by=Trusted("tess"))  # it still waits, so this does nothing
    with engine.begin() as connection:
        connection.execute(update(tables.event).values(state="dead", due_at=None))
    house.desk.replay([event.id], by=Trusted("tess"))
    house.desk.forget("a" * 64, by=Trusted("tess"))
    assert house.audit()[1:] == [
        ("incoming_retrieve_data", {"integration": "orders", "seconds": 90}),
        ("incoming_stop_retrieving_data", {"integration": "orders"}),
        ("incoming_keep_sample", {"integration": "orders", "event_id": str(event.id)}),
        ("incoming_drop_sample", {"integration": "orders"}),
        ("incoming_upload_icon", {"icon": icon, "content_type": "image/svg+xml"}),
        ("incoming_replay_events", {"events": [str(event.id)], "deduplicate": False}),
        ("incoming_forget_hash", {"hash": "a" * 64, "known": True}),
    ]
