"""The inbox: of equal requests exactly one is stored, on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.db import at_once, tables
from airflow_incoming.db.engine import LIMIT_TRANSACTION, STATEMENT_TIMEOUT, make_engine, transaction
from airflow_incoming.stores import inbox_postgresql, queue
from airflow_incoming.stores.inbox import Inbox, forget
from tests.contract.samples import NOW, WEEK, make_event, random_hash


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(tables.event)) or 0


def test_first_of_a_hash_is_stored_and_the_next_learns_its_id(engine: Engine) -> None:
    """A duplicate is told which event came first, and nothing is stored for it."""
    inbox = Inbox(engine)
    first, second = make_event("a" * 64), make_event("a" * 64)
    assert inbox.append([first], now=NOW) == {first.id: first.id}
    assert inbox.append([second], now=NOW) == {second.id: first.id}
    assert count(engine) == 1


def test_events_without_a_claim_are_all_stored(engine: Engine) -> None:
    """Without deduplication equal bodies are different events."""
    inbox = Inbox(engine)
    events = [make_event() for _ in range(5)]
    assert inbox.append(events, now=NOW) == {event.id: event.id for event in events}
    assert count(engine) == 5


def test_batch_of_new_and_known_hashes(engine: Engine) -> None:
    """Each event of a batch is decided for itself."""
    inbox = Inbox(engine)
    old = make_event("b" * 64)
    inbox.append([old], now=NOW)
    batch = [make_event("c" * 64), make_event("b" * 64), make_event(None), make_event("d" * 64)]
    owners = inbox.append(batch, now=NOW)
    assert [owners[event.id] == event.id for event in batch] == [True, False, True, True]
    assert owners[batch[1].id] == old.id
    assert count(engine) == 4


@pytest.mark.parametrize(
    ("later", "stored"),
    [(timedelta(days=6, hours=23), False), (timedelta(days=7) - timedelta(seconds=1), False), (WEEK, True)],
)
def test_window_ends_seven_days_after_the_last_sending(
    engine: Engine, later: timedelta, stored: bool
) -> None:
    """A hash is free again when the whole window has passed, not a second earlier."""
    inbox = Inbox(engine)
    inbox.append([make_event("e" * 64)], now=NOW)
    again = make_event("e" * 64)
    assert (inbox.append([again], now=NOW + later)[again.id] == again.id) is stored


def test_a_duplicate_slides_the_window(engine: Engine) -> None:
    """Sent on day 0, 5 and 10: all one event; on day 17 a new one."""
    inbox = Inbox(engine)
    events = [make_event("f" * 64) for _ in range(4)]
    owners = [
        inbox.append([event], now=NOW + timedelta(days=day))[event.id]
        for event, day in zip(events, (0, 5, 10, 17), strict=True)
    ]
    assert owners == [events[0].id, events[0].id, events[0].id, events[3].id]


def test_appending_again_changes_nothing(engine: Engine) -> None:
    """After a COMMIT that broke off, the same batch may be appended once more."""
    inbox = Inbox(engine)
    batch = [make_event("1" * 64), make_event(None)]
    assert inbox.append(batch, now=NOW) == inbox.append(batch, now=NOW)
    assert count(engine) == 2


def test_slide_moves_a_claim_forward_but_never_back(engine: Engine) -> None:
    """What Redis kept alive, the database learns later."""
    inbox = Inbox(engine)
    first = make_event("2" * 64)
    inbox.append([first], now=NOW)
    inbox.slide({"2" * 64: WEEK}, now=NOW + timedelta(days=3))
    inbox.slide({"2" * 64: WEEK}, now=NOW + timedelta(days=1))
    late = make_event("2" * 64)
    assert inbox.append([late], now=NOW + timedelta(days=9))[late.id] == first.id


def test_forget(engine: Engine) -> None:
    """A forgotten hash is new again."""
    inbox = Inbox(engine)
    first = make_event("3" * 64)
    inbox.append([first], now=NOW)
    with transaction(engine) as connection:
        assert forget(connection, "3" * 64) == first.id
        assert forget(connection, "3" * 64) is None
    again = make_event("3" * 64)
    assert inbox.append([again], now=NOW)[again.id] == again.id


def test_race_of_many_is_decided_once(engine: Engine) -> None:
    """Twenty threads append batches with the same hashes in different order: one owner each."""
    inbox = Inbox(engine)
    hashes = [random_hash() for _ in range(10)]

    def append(number: int) -> dict[str, object]:
        order = hashes[number % 10 :] + hashes[: number % 10]
        events = [make_event(hash_) for hash_ in order]
        owners = inbox.append(events, now=NOW)
        return {event.claim.hash: owners[event.id] for event in events if event.claim}

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(append, range(20)))
    assert all(result == results[0] for result in results)
    assert count(engine) == 10


def test_body_headers_and_large_text_come_back_exactly(engine: Engine) -> None:
    """What was sent is stored byte for byte, beyond any short TEXT."""
    body = '{"name": "Zoë 🚀", "n": 123456789012345678901234567890, "s": "' + "x" * 200_000 + '"}'
    event = make_event(body=body)
    Inbox(engine).append([event], now=NOW)
    with engine.connect() as connection:
        row = connection.execute(select(tables.event)).one()
    assert (row.body, row.headers, row.received_at, row.id) == (body, dict(event.headers), NOW, event.id)


@pytest.mark.parametrize("hash_", [None, "b" * 64])
def test_whatever_surrounds_a_body_comes_back_exactly(engine: Engine, hash_: str | None) -> None:
    """Nothing in it is taken for punctuation, or for NULL, which is a name that an integration may have."""
    texts = [
        "",
        "null",
        "NULL",
        "{}",
        ",",
        '"',
        "\\",
        '\\"',
        "\\\\,",
        "'",
        "a b",
        "%s %(id)s",
        ":id",
        "$1",
        "Zoë 🚀",
        "\t\n",
    ]
    sent = [
        replace(
            make_event(hash_ and f"{number:064x}"),
            integration="null",
            headers={text: text, "x": text},
            query=text,
            remote=text,
            replay_of=None if number % 2 else UUID(int=number),
        )
        for number, text in enumerate([*texts, "".join(texts)])
    ]
    Inbox(engine).append([*sent, replace(make_event(), remote=None)], now=NOW)
    with engine.connect() as connection:
        rows = connection.execute(select(tables.event).order_by(tables.event.c.id)).all()
    assert [
        (row.id, row.integration, row.headers, row.query, row.remote, row.replay_of, row.dedup_hash)
        for row in rows[:-1]
    ] == [
        (
            one.id,
            "null",
            dict(one.headers),
            one.query,
            one.remote,
            one.replay_of,
            one.claim and one.claim.hash,
        )
        for one in sent
    ]
    assert rows[-1].remote is None


def test_database_out_of_reach_is_unavailable() -> None:
    """A dead database is our fault, in our words."""
    engine = make_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        Inbox(engine).append([make_event()], now=NOW)


def test_a_batch_being_dispatched_holds_up_nobody(engine: Engine) -> None:
    """While a dispatcher holds its batch, others take the rest and new events are stored at once."""
    if engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    inbox = Inbox(engine)
    inbox.append([make_event() for _ in range(1000)], now=NOW)
    with engine.begin() as one, engine.begin() as other:
        first = queue.take(one, limit=32, now=NOW)
        second = queue.take(other, limit=2000, now=NOW)
        assert (len(first), len(second)) == (32, 968)
        inbox.append([make_event()], now=NOW)


def test_a_claim_that_somebody_holds_is_not_waited_for_without_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bounds hold for a batch that is one message, too, and only for that."""
    if engine.dialect.name != "postgresql":
        pytest.skip("bounded by the connection")
    short = LIMIT_TRANSACTION.replace(f"'{STATEMENT_TIMEOUT * 500}'", "'200'")
    assert short != LIMIT_TRANSACTION
    monkeypatch.setattr(at_once, "LIMIT_TRANSACTION", short)
    inbox, first = Inbox(engine), make_event("4" * 64)
    inbox.append([first], now=NOW)
    with engine.begin() as holding:
        holding.execute(select(tables.dedup).with_for_update())
        with pytest.raises(DatabaseUnavailable):
            inbox.append([make_event("4" * 64), make_event("5" * 64)], now=NOW)
    assert count(engine) == 1, "nothing of the batch is stored"
    with engine.connect() as connection:
        assert connection.exec_driver_sql("show lock_timeout").scalar() == f"{STATEMENT_TIMEOUT // 2}s"
    again = make_event("4" * 64)
    assert inbox.append([again], now=NOW)[again.id] == first.id


def test_a_connection_that_broke_while_idle_is_made_anew(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover: whoever comes next doesn't notice."""
    if engine.dialect.name != "postgresql":
        pytest.skip("needs somebody who ends connections")
    monkeypatch.setattr("airflow_incoming.db.engine.PING_AFTER", 0.0)
    inbox = Inbox(engine)
    inbox.append([make_event()], now=NOW)
    other = make_engine(str(engine.url))
    with other.begin() as connection:
        connection.exec_driver_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    other.dispose()
    inbox.append([make_event()], now=NOW)
    assert count(engine) == 2


def test_large_bodies_are_compressed_fast_where_the_server_can(engine: Engine) -> None:
    """And only for that transaction: whoever has the connection next finds the server's own setting."""
    if engine.dialect.name != "postgresql":
        pytest.skip("other databases compress in their own way")
    with engine.connect() as connection:
        query = (
            "select setting, 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'"
        )
        setting, can = connection.exec_driver_sql(query).one()
    Inbox(engine).append([make_event(body='["' + "abc" * inbox_postgresql.LARGE + '"]')], now=NOW)
    with engine.connect() as connection:
        used = connection.exec_driver_sql("select pg_column_compression(body) from incoming_event").scalar()
        assert used == ("lz4" if can else "pglz")
        assert connection.exec_driver_sql("show default_toast_compression").scalar() == setting


def owner_of(inbox: Inbox, hash_: str, *, window: timedelta, later: timedelta) -> UUID:
    """Send once more, so much later, under a version with this window; return who owns the hash."""
    event = make_event(hash_, window=window)
    return inbox.append([event], now=NOW + later)[event.id]


def test_a_shortened_window_counts_from_the_last_sending(engine: Engine) -> None:
    """Not the window under which the claim was made counts, but that of the version that asks."""
    inbox, seconds = Inbox(engine), timedelta(seconds=1)
    first, other = make_event("4" * 64), make_event("5" * 64)
    inbox.append([first, other], now=NOW)
    short = 5 * seconds
    assert owner_of(inbox, "4" * 64, window=short, later=4 * seconds) == first.id
    assert owner_of(inbox, "4" * 64, window=short, later=8 * seconds) == first.id
    second = owner_of(inbox, "4" * 64, window=short, later=13 * seconds)
    assert second != first.id
    assert owner_of(inbox, "4" * 64, window=short, later=17 * seconds) == second
    # Whoever still asks under the version before is answered by that one's window.
    assert owner_of(inbox, "5" * 64, window=WEEK, later=13 * seconds) == other.id


def test_a_lengthened_window_counts_from_the_last_sending(engine: Engine) -> None:
    """What was sent an hour ago is a duplicate again, as long as its claim is kept."""
    inbox, hour = Inbox(engine), timedelta(hours=1)
    first = make_event("6" * 64, window=timedelta(seconds=5))
    inbox.append([first], now=NOW)
    assert owner_of(inbox, "6" * 64, window=WEEK, later=hour) == first.id
    assert owner_of(inbox, "6" * 64, window=WEEK, later=hour + timedelta(days=6)) == first.id


def test_windows_side_by_side_have_one_owner(engine: Engine) -> None:
    """Two processes that know of different versions decide one hash by one row."""
    inbox, hash_ = Inbox(engine), "7" * 64
    first = make_event(hash_)
    inbox.append([first], now=NOW - timedelta(minutes=1))
    events = [make_event(hash_, window=timedelta(seconds=5) if number % 2 else WEEK) for number in range(20)]
    with ThreadPoolExecutor(10) as threads:
        owners = list(threads.map(lambda event: inbox.append([event], now=NOW)[event.id], events))
    won = [event.id for event, owner in zip(events, owners, strict=True) if owner == event.id]
    assert len(won) <= 1
    assert set(owners) <= {first.id, *won}
    assert count(engine) == 1 + len(won)
