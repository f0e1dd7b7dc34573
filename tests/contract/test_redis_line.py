"""Connections that are kept: whatever happens to one, no answer is lost, late or somebody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.exceptions import TimeoutError as TooSlow

from airflow_incoming.stores.redis_connection import connect
from airflow_incoming.stores.redis_line import Line
from tests.forks import in_fork
from workbench.redis import RedisServer


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    """Return a client as the receiver has it."""
    client = connect(redis_server.url)
    assert isinstance(client, Redis)
    yield client
    client.close()


def test_one_connection_does_for_many_commands(client: Redis) -> None:
    """That is what it is for."""
    line = Line(client)
    assert len({line.ask("CLIENT", "ID") for _ in range(20)}) == 1


def test_threads_have_connections_of_their_own(client: Redis) -> None:
    """Nobody gets the answer to somebody else's question."""
    line, wrong = Line(client), []

    def ask(name: str) -> None:
        wrong.extend(answer for _ in range(300) if (answer := line.ask("ECHO", name)) != name.encode())

    threads = [threading.Thread(target=ask, args=(f"thread-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_connections_that_were_closed_meanwhile_are_made_anew(
    client: Redis, redis_server: RedisServer
) -> None:
    """All at once, as by a restart or a limit on idle time: also where several are kept."""
    line = Line(client)
    both = threading.Barrier(2)

    def ask() -> None:
        both.wait()
        line.ask("BLPOP", "nothing", "0.1")  # long enough for both to need one

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with redis_server.client() as other:
        assert other.client_kill_filter(_type="normal", skipme=True) >= 2
    assert line.ask("ECHO", "here") == b"here"


def test_a_late_answer_is_nobodys(client: Redis) -> None:
    """Whoever gave up waiting doesn't leave the answer to the next."""
    line = Line(client)
    with pytest.raises(TooSlow):
        line.ask("BLPOP", "nothing", "0.6")
    assert line.ask("ECHO", "mine") == b"mine"


def test_a_server_without_the_script_is_asked_again_over_the_same_connection(client: Redis) -> None:
    """As after a restart, for every script."""
    line = Line(client)
    before = line.ask("CLIENT", "ID")
    with pytest.raises(NoScriptError):
        line.ask("EVALSHA", "0" * 40, 0)
    assert line.ask("CLIENT", "ID") == before


def test_any_other_refusal_ends_the_connection(client: Redis) -> None:
    """A primary that has become a replica refuses for ever; its address may lead to the new one by now."""
    line = Line(client)
    before = line.ask("CLIENT", "ID")
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(ReadOnlyError):
            line.ask("SET", "key", "value")
    finally:
        client.replicaof("NO", "ONE")
    assert line.ask("CLIENT", "ID") != before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_connects_by_itself(client: Redis) -> None:
    """Two processes on one connection would read each other's answers."""
    line = Line(client)
    mine = line.ask("CLIENT", "ID")
    assert int(in_fork(lambda: str(line.ask("CLIENT", "ID")).encode())) != mine
    assert line.ask("CLIENT", "ID") == mine
