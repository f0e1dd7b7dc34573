"""Managing integrations and keys, and what receivers see of it within a second."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, event, insert, select, update
from sqlalchemy.exc import OperationalError

from airflow_incoming.core.errors import (
    Conflict,
    DatabaseUnavailable,
    EndpointNotFound,
    Forbidden,
    InvalidConfiguration,
    NotFound,
    RateLimited,
    SecretsUnprotected,
    Unauthorized,
    Unavailable,
)
from airflow_incoming.core.integration import parse_configuration, parse_declaration
from airflow_incoming.core.tokens import TokenPolicy, verify
from airflow_incoming.core.units import Rate
from airflow_incoming.db import tables
from airflow_incoming.db.engine import reading
from airflow_incoming.services.checks import Bounds
from airflow_incoming.services.icons import Icons
from airflow_incoming.services.keys import KeyManager, TokenIssuer
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.rates import Rates
from airflow_incoming.services.rights import Trusted
from airflow_incoming.services.stakes import of_integration
from airflow_incoming.stores import keys
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.inbox import Inbox
from tests.contract.clerks import Airflow, Clerk
from tests.contract.samples import NOW, make_event


class Clock:
    def __init__(self) -> None:
        self.now = NOW
        self.seconds = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, step: timedelta) -> None:
        self.now += step
        self.seconds += step.total_seconds()


class ReversingCipher:
    """Not a cipher: tells apart what is stored from what was given."""

    broken = False

    def encrypt(self, secret: bytes) -> str:
        return secret.hex()[::-1]

    def decrypt(self, encrypted: str) -> bytes:
        if self.broken:
            raise ValueError("another key")
        return bytes.fromhex(encrypted[::-1])


class NoCipher(ReversingCipher):
    def encrypt(self, secret: bytes) -> str:
        raise SecretsUnprotected


class House:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = Clock()
        self.cipher = ReversingCipher()
        self.manager = Manager(engine, clock=self.clock, bounds=Bounds(max_body=2**20))
        self.keys = KeyManager(engine, self.cipher, clock=self.clock)
        self.directory = Directory(engine, self.cipher, monotonic=self.clock.monotonic)
        self.policy = TokenPolicy(
            issuer="us",
            audience="us",
            lifetime=timedelta(hours=1),
            max_lifetime=timedelta(hours=1),
            leeway=timedelta(0),
        )
        self.issuer = TokenIssuer(
            engine,
            self.directory,
            self.policy,
            clock=self.clock,
            rates=Rates(None, monotonic=self.clock.monotonic),
            failure_rate=Rate(100, 1),
        )

    def apply(self, **fields: Any) -> Any:
        return self.manager.apply([parse_declaration({"name": "orders", **fields})], by=Trusted("test"))[0]

    def snapshot(self) -> Any:
        self.clock.advance(timedelta(seconds=1.001))
        return self.directory.fresh()


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


def test_apply_is_idempotent_and_keeps_the_endpoint(house: House) -> None:
    """Created once, unchanged the second time, updated when something differs."""
    first = house.apply(state="published", dags=["a"])
    second = house.apply(state="published", dags=["a"])
    third = house.apply(state="published", dags=["b"])
    assert [change.action for change in (first, second, third)] == ["created", "unchanged", "updated"]
    assert len({change.integration.endpoint_id for change in (first, second, third)}) == 1
    assert len(first.integration.endpoint_id) == 26
    assert (third.integration.current.number, third.integration.state) == (2, "published")


def test_apply_fails_whole(house: House) -> None:
    """A mistake in the second integration leaves nothing of the first."""
    good = parse_declaration({"name": "good", "state": "published"})
    bad = parse_declaration({"name": "bad", "state": "published", "auth": {"type": "jwt", "api_key": "none"}})
    with pytest.raises(InvalidConfiguration) as caught:
        house.manager.apply([good, bad], by=Trusted("test"))
    assert caught.value.path == ("integrations", 1, "auth", "api_key")
    assert house.manager.list() == []


def test_dry_run_changes_nothing(house: House) -> None:
    """It says what would happen."""
    declared = parse_declaration({"name": "orders"})
    assert house.manager.apply([declared], by=Trusted("test"), dry_run=True)[0].action == "created"
    assert house.manager.list() == []


def test_limits_of_the_installation_bind(house: House) -> None:
    """A body limit that the guard would never let through is refused when it is written."""
    with pytest.raises(InvalidConfiguration, match="max_body"):
        house.apply(limits={"body": "2MiB"})


def test_a_saved_draft_leaves_the_published_version_running(house: House) -> None:
    """State by state, as receivers see it."""
    endpoint_id = house.apply(state="published", dags=["a"]).integration.endpoint_id
    assert house.snapshot().endpoint(endpoint_id).configuration.dags == ("a",)
    house.manager.suspend("orders", by=Trusted("test"))
    assert house.snapshot().endpoint(endpoint_id).configuration.dags == ("a",)
    house.manager.resume("orders", by=Trusted("test"))
    house.manager.unpublish("orders", by=Trusted("test"))
    with pytest.raises(EndpointNotFound):
        house.snapshot().endpoint(endpoint_id)
    house.manager.publish("orders", by=Trusted("test"))
    assert house.snapshot().endpoint(endpoint_id).name == "orders"
    house.manager.delete("orders", by=Trusted("test"))
    with pytest.raises(EndpointNotFound):
        house.snapshot().endpoint(endpoint_id)


def test_states_that_do_not_allow_it(house: House) -> None:
    """A draft can't be suspended, a running one can't be resumed, a missing one can't be anything."""
    house.apply(state="draft")
    with pytest.raises(Conflict):
        house.manager.suspend("orders", by=Trusted("test"))
    with pytest.raises(Conflict):
        house.manager.resume("orders", by=Trusted("test"))
    for verb in (house.manager.publish, house.manager.unpublish, house.manager.delete, house.manager.suspend):
        with pytest.raises(NotFound):
            verb("nobody", by=Trusted("test"))


def test_unknown_endpoints_cost_no_query_and_changes_show_within_a_second(house: House) -> None:
    """Strangers who guess are answered from memory."""
    house.snapshot()
    statements: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    for number in range(100):
        with pytest.raises(EndpointNotFound):
            house.directory.current().endpoint(f"guess{number}")  # type: ignore[union-attr]
    assert statements == []
    house.clock.advance(timedelta(seconds=1.001))
    assert house.directory.current() is None


def test_whoever_waits_for_the_directory_waits_for_one_look(house: House) -> None:
    """Off the event loop, and only where what is known is too old."""
    house.snapshot()
    assert house.directory.awaited() is None
    house.clock.advance(timedelta(seconds=1.001))
    with house.directory._refreshing:
        waits = [house.directory.awaited() for _ in range(5)]
        assert waits[0] is not None
        assert not waits[0].done()
    assert {id(wait) for wait in waits} == {id(waits[0])}
    assert waits[0].result(5) is house.directory.current()
    assert house.directory.awaited() is None


def test_an_unchanged_directory_costs_one_query(house: House) -> None:
    """Only the revision is asked for."""
    house.apply(state="published")
    house.snapshot()
    statements: list[str] = []
    event.listen(house.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    house.snapshot()
    assert [s for s in statements if "FROM incoming" in s] == [
        s for s in statements if "incoming_revision" in s
    ]
    assert len([s for s in statements if "incoming_revision" in s]) == 1


def test_key_to_token_to_endpoint(house: House) -> None:
    """An API key gives a token that its integration accepts; the key itself is stored nowhere."""
    key = house.keys.create("shop", by=Trusted("test"))
    endpoint_id = house.apply(
        state="published", auth={"type": "jwt", "api_key": "shop"}
    ).integration.endpoint_id
    house.snapshot()
    issued = house.issuer.issue(key.api_key, remote="1.2.3.4")
    verify(issued.token, house.snapshot().endpoint(endpoint_id).key, house.policy, now=house.clock.now)
    assert issued.expires_in == 3600
    with house.engine.connect() as connection:
        rows = (
            connection.execute(select(tables.api_key_secret)).all()
            + connection.execute(select(tables.api_key)).all()
        )
    assert key.api_key.rpartition("_")[2] not in repr(rows)
    assert key.api_key not in repr(key)
    assert house.keys.list()[0].last_used_at == house.clock.now - timedelta(seconds=1.001)


def test_rotation_overlaps_then_ends(house: House) -> None:
    """Both secrets work until the overlap ends; a second rotation drops the oldest at once."""
    first = house.keys.create("shop", by=Trusted("test"))
    second = house.keys.rotate("shop", by=Trusted("test"), overlap=timedelta(hours=1))
    assert first.key_id == second.key_id
    house.snapshot()
    for key in (first, second):
        house.issuer.issue(key.api_key, remote="a")
    third = house.keys.rotate("shop", by=Trusted("test"), overlap=timedelta(hours=1))
    house.snapshot()
    with pytest.raises(Unauthorized):
        house.issuer.issue(first.api_key, remote="a")
    house.issuer.issue(second.api_key, remote="a")
    house.clock.advance(timedelta(hours=1))
    house.snapshot()
    with pytest.raises(Unauthorized):
        house.issuer.issue(second.api_key, remote="a")
    house.issuer.issue(third.api_key, remote="a")


def test_a_token_of_the_previous_secret_ends_with_it(house: House) -> None:
    """Rotating because of a leak really ends what the leaked key made."""
    first = house.keys.create("shop", by=Trusted("test"))
    endpoint_id = house.apply(
        state="published", auth={"type": "jwt", "api_key": "shop"}
    ).integration.endpoint_id
    house.snapshot()
    token = house.issuer.issue(first.api_key, remote="a").token
    house.keys.rotate("shop", by=Trusted("test"), overlap=timedelta(seconds=5))
    verify(token, house.snapshot().endpoint(endpoint_id).key, house.policy, now=house.clock.now)
    house.clock.advance(timedelta(seconds=5))
    with pytest.raises(Unauthorized):
        verify(token, house.snapshot().endpoint(endpoint_id).key, house.policy, now=house.clock.now)


def test_revocation_closes_the_endpoint_within_a_second(house: House) -> None:
    """No key, no entry; the name may be used again."""
    key = house.keys.create("shop", by=Trusted("test"))
    endpoint_id = house.apply(
        state="published", auth={"type": "jwt", "api_key": "shop"}
    ).integration.endpoint_id
    house.snapshot()
    house.keys.revoke("shop", by=Trusted("test"))
    assert house.snapshot().endpoint(endpoint_id).key is None
    with pytest.raises(Unauthorized):
        house.issuer.issue(key.api_key, remote="a")
    with pytest.raises(Conflict):
        house.keys.rotate("shop", by=Trusted("test"))
    assert house.keys.create("shop", by=Trusted("test")).key_id != key.key_id
    with pytest.raises(Conflict):
        house.keys.create("shop", by=Trusted("test"))


def test_an_expired_key_gives_no_token(house: House) -> None:
    """Expiry needs nobody to act."""
    key = house.keys.create("shop", by=Trusted("test"), expires_in=timedelta(hours=2))
    house.snapshot()
    house.issuer.issue(key.api_key, remote="a")
    house.clock.advance(timedelta(hours=2))
    house.snapshot()
    with pytest.raises(Unauthorized):
        house.issuer.issue(key.api_key, remote="a")


def test_secrets_that_cannot_be_read_are_our_fault(house: House) -> None:
    """A lost Fernet key answers 503, so that senders retry, and not 401."""
    key = house.keys.create("shop", by=Trusted("test"))
    endpoint_id = house.apply(
        state="published", auth={"type": "jwt", "api_key": "shop"}
    ).integration.endpoint_id
    house.cipher.broken = True
    with pytest.raises(Unavailable):
        house.snapshot().endpoint(endpoint_id)
    with pytest.raises(Unavailable):
        house.issuer.issue(key.api_key, remote="a")


def test_guessing_is_slowed_and_good_clients_are_not(house: House) -> None:
    """After its failed attempts an address is told to wait; whoever has the key never is."""
    key = house.keys.create("shop", by=Trusted("test"))
    house.snapshot()
    for _ in range(100):
        with pytest.raises(Unauthorized):
            house.issuer.issue(key.api_key[:-4] + "AAAA", remote="a")
    with pytest.raises(RateLimited):
        house.issuer.issue("inc_guess", remote="a")
    assert house.issuer.issue(key.api_key, remote="a").expires_in == 3600
    with pytest.raises(Unauthorized):
        house.issuer.issue("inc_guess", remote="b")


def test_a_token_never_promises_to_outlive_its_key(house: House) -> None:
    """expires_in is what is left of the key."""
    key = house.keys.create("shop", by=Trusted("test"), expires_in=timedelta(minutes=5))
    house.snapshot()
    assert house.issuer.issue(key.api_key, remote="a").expires_in == 298


def test_one_unreadable_integration_closes_one_endpoint(house: House) -> None:
    """What a newer release wrote answers 503 here; all others stay open."""
    strange = house.apply(state="published").integration
    other = house.manager.apply(
        [parse_declaration({"name": "other", "state": "published"})], by=Trusted("test")
    )
    with house.engine.begin() as connection:
        connection.execute(
            update(tables.version)
            .where(tables.version.c.id == strange.current.id)
            .values(configuration={"from": "the future"})
        )
    snapshot = house.snapshot()
    assert snapshot.endpoint(other[0].integration.endpoint_id).name == "other"
    with pytest.raises(Unavailable):
        snapshot.endpoint(strange.endpoint_id)


def test_a_hanging_database_is_asked_once_a_second(house: House) -> None:
    """Requests don't queue up behind it."""
    house.snapshot()
    asked: list[object] = []

    def refuse(*_: object) -> None:
        asked.append(1)
        raise OperationalError("select", {}, Exception("down"))

    event.listen(house.engine, "before_cursor_execute", refuse)
    for _ in range(50):
        with pytest.raises(DatabaseUnavailable):
            house.snapshot() if not asked else house.directory.fresh()
    assert len(asked) == 1
    event.remove(house.engine, "before_cursor_execute", refuse)
    assert house.snapshot()


class RotatedCipher(ReversingCipher):
    """Writes with a new key; reads what it and, where it still has it, the old one wrote."""

    def __init__(self, *, has_old: bool) -> None:
        self.has_old = has_old

    def encrypt(self, secret: bytes) -> str:
        return "new:" + super().encrypt(secret)

    def decrypt(self, encrypted: str) -> bytes:
        if not self.is_current(encrypted) and not self.has_old:
            raise ValueError("another key")
        return super().decrypt(encrypted.removeprefix("new:"))

    def is_current(self, encrypted: str) -> bool:
        return encrypted.startswith("new:")


def test_secrets_move_to_a_new_fernet_key(house: House) -> None:
    """After that the old one may go: API keys and tokens stay what they were."""
    key = house.keys.create("shop", by=Trusted("test"))
    token = house.issuer.issue(key.api_key, remote="a").token if house.snapshot() else ""
    both = RotatedCipher(has_old=True)
    with house.engine.connect() as connection:
        assert keys.outdated(connection, both) == ["shop"]
    assert KeyManager(house.engine, both, clock=house.clock).reencrypt(by=Trusted("test")) == {"shop": True}
    with house.engine.connect() as connection:
        assert keys.outdated(connection, both) == []
        (usable,) = keys.read_usable(connection, RotatedCipher(has_old=False))
    verify(token, usable.verification_key(), house.policy, now=house.clock())


def test_what_cannot_be_read_is_told_and_left_alone(house: House) -> None:
    """Its key may still be found."""
    house.keys.create("lost", by=Trusted("test"))
    without = KeyManager(house.engine, RotatedCipher(has_old=False), clock=house.clock)
    without.create("shop", by=Trusted("test"))
    assert without.reencrypt(by=Trusted("test")) == {"lost": False, "shop": True}
    assert KeyManager(house.engine, RotatedCipher(has_old=True), clock=house.clock).reencrypt(
        by=Trusted("test")
    ) == {
        "lost": True,
        "shop": True,
    }


def test_no_key_without_encryption(engine: Engine) -> None:
    """Secrets are never stored in clear."""
    keys = KeyManager(engine, NoCipher(), clock=Clock())
    with pytest.raises(SecretsUnprotected):
        keys.create("shop", by=Trusted("test"))
    assert keys.list() == []


def configuration(**fields: Any) -> Any:
    return parse_configuration({"title": "Orders", **fields})


def test_a_new_integration_is_a_draft_with_a_name_of_its_own(house: House) -> None:
    """The name is taken from then on, and has to be one that run ids can carry."""
    made = house.manager.create("orders", configuration(), by=Trusted("anna"))
    assert (made.state, made.current.number, made.current.created_by) == ("draft", 1, "anna")
    with pytest.raises(Conflict, match="already"):
        house.manager.create("orders", configuration(), by=Trusted("ben"))
    with pytest.raises(InvalidConfiguration) as caught:
        house.manager.create("Not a name", configuration(), by=Trusted("ben"))
    assert caught.value.path == ("name",)
    with pytest.raises(InvalidConfiguration, match="max_body"):
        house.manager.create("large", configuration(limits={"body": "2MiB"}), by=Trusted("ben"))


def test_saving_makes_a_draft_version(house: House) -> None:
    """What is published stays live; the same configuration again makes no version."""
    endpoint_id = house.manager.create("orders", configuration(dags=["a"]), by=Trusted("anna")).endpoint_id
    house.manager.publish("orders", by=Trusted("anna"), expected=1)
    saved = house.manager.save("orders", configuration(dags=["b"]), by=Trusted("ben"), expected=1)
    assert (saved.current.number, saved.current.created_by, saved.has_unpublished_changes) == (2, "ben", True)
    assert house.snapshot().endpoint(endpoint_id).configuration.dags == ("a",)
    again = house.manager.save("orders", configuration(dags=["b"]), by=Trusted("anna"), expected=2)
    assert again.current.number == 2


def test_nobody_overwrites_what_they_have_not_seen(house: House) -> None:
    """Whoever began with an older version is told who was faster; saving the same twice is no conflict."""
    house.manager.create("orders", configuration(dags=["a"]), by=Trusted("anna"))
    house.manager.save("orders", configuration(dags=["b"]), by=Trusted("ben"), expected=1)
    with pytest.raises(Conflict, match="ben saved version 2"):
        house.manager.save("orders", configuration(dags=["c"]), by=Trusted("anna"), expected=1)
    with pytest.raises(Conflict, match="ben saved version 2"):
        house.manager.publish("orders", by=Trusted("anna"), expected=1)
    assert (
        house.manager.save("orders", configuration(dags=["b"]), by=Trusted("ben"), expected=1).current.number
        == 2
    )
    assert house.manager.publish("orders", by=Trusted("anna"), expected=2).state == "published"


def at_stake(house: House) -> tuple[str, ...]:
    with reading(house.engine) as connection:
        return of_integration(connection, "orders").dags


def test_nothing_happens_to_what_was_not_looked_at(house: House) -> None:
    """A version that was saved meanwhile counts: whoever may not start it changes nothing any more."""
    Airflow(house.engine)
    anna = Clerk(dags=frozenset({"a"}), name="anna")
    house.manager.create("orders", configuration(dags=["a"]), by=anna)
    house.manager.publish("orders", by=anna)
    house.manager.suspend("orders", by=anna)
    assert at_stake(house) == ("a",)
    house.manager.save("orders", configuration(dags=["b"]), by=Trusted("ben"), expected=1)
    manager = house.manager
    for verb in (manager.resume, manager.publish, manager.unpublish, manager.suspend, manager.delete):
        with pytest.raises(Forbidden, match="You may not trigger DAG “b”"):
            verb("orders", by=anna)
    assert house.manager.show("orders").state == "suspended"
    assert set(at_stake(house)) == {"a", "b"}
    both = Clerk(dags=frozenset({"a", "b"}))
    assert house.manager.publish("orders", by=both).state == "suspended"
    assert house.manager.resume("orders", by=both).state == "published"


def test_what_pending_events_run_under_is_at_stake(house: House, engine: Engine) -> None:
    """Events that wait start the DAGs of the version that accepted them, which may be an old one."""
    Airflow(engine)
    made = house.manager.create("orders", configuration(dags=["a"]), by=Trusted("anna"))
    event_ = make_event(integration_id=made.id, version_id=made.current.id)
    Inbox(engine).append([event_], now=NOW)
    house.manager.save("orders", configuration(dags=["b"]), by=Trusted("anna"), expected=1)
    ben = Clerk(dags=frozenset({"b"}), name="ben")
    with pytest.raises(Forbidden, match="You may not trigger DAG “a”"):
        house.manager.publish("orders", by=ben)
    with engine.begin() as connection:
        connection.execute(update(tables.event).values(state="dispatched"))
    assert house.manager.publish("orders", by=ben).state == "published"


def test_versions_are_kept_compared_and_rolled_back_to(house: House) -> None:
    """Rolling back makes a new draft out of an old version; to the newest itself it does nothing."""
    house.manager.create("orders", configuration(dags=["a"]), by=Trusted("anna"))
    house.manager.save("orders", configuration(dags=["b"]), by=Trusted("ben"), expected=1)
    assert [version.number for version in house.manager.versions("orders")] == [2, 1]
    [change] = house.manager.diff("orders", 1, 2)
    assert (change.path, change.before, change.after) == ("dags", ("a",), ("b",))
    assert house.manager.roll_back("orders", 2, by=Trusted("anna")).current.number == 2
    rolled = house.manager.roll_back("orders", 1, by=Trusted("anna"))
    assert (rolled.current.number, rolled.current.configuration.dags) == (3, ("a",))
    assert house.manager.diff("orders", 1, 3) == ()
    for verb in (house.manager.versions, house.manager.pending):
        with pytest.raises(NotFound):
            verb("nobody")
    with pytest.raises(NotFound):
        house.manager.roll_back("orders", 9, by=Trusted("anna"))


def test_an_old_version_must_still_be_possible(house: House) -> None:
    """What the installation doesn't allow any more can't come back."""
    house.manager.create("orders", configuration(limits={"body": "1MiB"}), by=Trusted("anna"))
    house.manager.save("orders", configuration(), by=Trusted("anna"), expected=1)
    stricter = Manager(house.engine, clock=house.clock, bounds=Bounds(max_body=1000))
    with pytest.raises(InvalidConfiguration, match="max_body"):
        stricter.roll_back("orders", 1, by=Trusted("anna"))


def test_pending_events_are_counted_by_state(house: House) -> None:
    """Those of an earlier integration of the same name are not this one's."""
    made = house.manager.create("orders", configuration(dags=["a"]), by=Trusted("anna"))
    with house.engine.begin() as connection:
        for state, integration_id in (
            *((state, made.id) for state in ("accepted", "accepted", "failed", "held", "dead", "dispatched")),
            ("held", uuid4()),
        ):
            values = dict.fromkeys(("due_at", "error", "dedup_hash", "remote", "started"))
            connection.execute(
                insert(tables.event).values(
                    id=uuid4(),
                    integration_id=integration_id,
                    integration="orders",
                    version_id=made.current.id,
                    state=state,
                    received_at=NOW,
                    attempts=0,
                    body="{}",
                    headers={},
                    query="",
                    **values,
                )
            )
    pending = house.manager.pending("orders")
    assert (pending.waiting, pending.failed, pending.held, pending.total) == (2, 1, 1, 4)


def test_a_deleted_integration_leaves_no_sample(house: House) -> None:
    """Whoever takes the name next doesn't see what was sent to somebody else."""
    made = house.manager.create("orders", configuration(), by=Trusted("anna"))
    with house.engine.begin() as connection:
        kept = {"captured_at": NOW, "kept_by": "anna", "body": "{}", "headers": {}, "query": ""}
        connection.execute(insert(tables.sample).values(integration_id=made.id, **kept))
    house.manager.delete("orders", by=Trusted("anna"))
    with house.engine.connect() as connection:
        assert connection.execute(select(tables.sample)).all() == []


def test_an_upload_is_kept_once_and_as_it_is(house: House) -> None:
    """The name that comes back finds the picture; no name finds a picture that isn't there."""
    icons = Icons(house.engine, clock=house.clock)
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path onclick="x" d="M0 0"/></svg>'
    name = icons.upload(drawing, by=Trusted("anna"))
    assert icons.upload(drawing, by=Trusted("ben")) == name
    assert icons.uploaded() == [name]
    found = icons.find(name)
    assert found is not None
    assert found.content == drawing
    assert icons.find("upload-0") is None
    with pytest.raises(InvalidConfiguration):
        icons.upload(b"GIF89a", by=Trusted("anna"))


def test_uploads_have_an_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never thrown away, so there can't be any number of them."""
    monkeypatch.setattr("airflow_incoming.services.icons.MAX_UPLOADS", 1)
    icons = Icons(house.engine, clock=house.clock)
    drawing = '<svg viewBox="0 0 {n} 1"><path/></svg>'
    first = icons.upload(drawing.format(n=1).encode(), by=Trusted("anna"))
    with pytest.raises(Conflict):
        icons.upload(drawing.format(n=2).encode(), by=Trusted("anna"))
    assert icons.upload(drawing.format(n=1).encode(), by=Trusted("anna")) == first
