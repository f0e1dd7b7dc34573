"""How commands find their way in a cluster, where a real one doesn't say what is asked here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import TimeoutError as Silent

from airflow_incoming.stores.redis_cluster import Routes

A, B, C = ("10.0.0.1", 7001), ("10.0.0.1", 7002), ("10.0.0.3", 7003)
MAP = [[0, 8000, [b"10.0.0.1", 7001]], [8001, 16383, [b"10.0.0.1", 7002]]]
ON_B = "foo"  # of slot 12182
Answer = Callable[[tuple[str, int], tuple[Any, ...]], Any]


class Network:
    """Answers what a test says, and writes down who was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[tuple[str, int], str]] = []

    def run(self, steps: Any) -> Any:
        try:
            node, commands = next(steps)
            while True:
                self.asked += [(node, command[0]) for command in commands]
                try:
                    answers = [self.answer(node, command) for command in commands]
                except (Broken, Silent) as error:
                    node, commands = steps.throw(error)
                else:
                    node, commands = steps.send(answers)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("moved", [MovedError("12182 :7001"), ResponseError("MOVED 12182 :7001")])
def test_who_moved_to_the_same_host_is_found_there(moved: Exception) -> None:
    """Redis 7 may leave the host out; redis-py 5 gives only its own cluster client an error of its own."""

    def answer(node: tuple[str, int], command: tuple[Any, ...]) -> Any:
        if command[0] == "CLUSTER SLOTS":
            return MAP
        return b"here" if node == A else moved

    network, routes = Network(answer), Routes([A])
    assert network.run(routes.exchange([("GET", ON_B)])) == [b"here"]
    assert network.run(routes.exchange([("GET", ON_B)])) == [b"here"]
    assert network.asked == [(A, "CLUSTER SLOTS"), (B, "GET"), (A, "GET"), (A, "GET")]


@pytest.mark.parametrize("ask", [AskError("12182 10.0.0.1:7001"), ResponseError("ASK 12182 10.0.0.1:7001")])
def test_who_is_asked_for_what_is_just_moving_is_told_so(ask: Exception) -> None:
    """Before each such command, and its own answer is left out."""

    def answer(node: tuple[str, int], command: tuple[Any, ...]) -> Any:
        if command[0] == "CLUSTER SLOTS":
            return MAP
        return {A: command[0], B: ask}[node]

    network, routes = Network(answer), Routes([A])
    assert network.run(routes.exchange([("GET", ON_B), ("SET", ON_B, "1")])) == ["GET", "SET"]
    assert network.asked[3:] == [(A, "ASKING"), (A, "GET"), (A, "ASKING"), (A, "SET")]


def test_nodes_that_send_each_other_on_are_not_followed_for_ever() -> None:
    """Where they disagree, the command is refused."""

    def answer(node: tuple[str, int], command: tuple[Any, ...]) -> Any:
        if command[0] == "CLUSTER SLOTS":
            return MAP
        return MovedError(f"12182 10.0.0.1:{7001 if node == B else 7002}")

    network, routes = Network(answer), Routes([A])
    (refused,) = network.run(routes.exchange([("GET", ON_B)]))
    assert isinstance(refused, MovedError)
    assert len(network.asked) == 7


def test_silence_is_waited_for_once_and_elsewhere_the_next_time() -> None:
    """Who can't be reached at all costs no time, so the next one is asked at once."""
    network = Network(lambda _node, _command: MAP)
    routes = Routes([A, B, C])

    def answer(node: tuple[str, int], command: tuple[Any, ...]) -> Any:
        if node == A:
            raise Broken("refused")
        if node == B:
            raise Silent("silent")
        return MAP

    network.answer = answer
    with pytest.raises(Silent):
        network.run(routes.slots())
    assert network.run(routes.slots()).primaries() == [A, B]
    assert [node for node, _ in network.asked] == [A, B, C]


def test_a_node_that_knows_of_no_cluster_is_asked_once() -> None:
    """One that was made anew, and that the others don't know yet."""
    network = Network(
        lambda node, command: {A: [], C: MAP}[node] if command[0] == "CLUSTER SLOTS" else b"here"
    )
    routes = Routes([A, C])
    with pytest.raises(ClusterDownError, match="no node has the slot of foo"):
        network.run(routes.exchange([("GET", ON_B)]))
    assert network.run(routes.exchange([("GET", ON_B)])) == [b"here"]


def test_nobody_is_there() -> None:
    """Then the last refusal tells why."""

    def answer(node: tuple[str, int], command: tuple[Any, ...]) -> Any:
        raise Broken(f"{node[1]} refused")

    network = Network(answer)
    with pytest.raises(Broken, match="7002 refused"):
        network.run(Routes([A, B]).exchange([("GET", ON_B)]))


@pytest.mark.parametrize("failure", ["broken", "down", "nobody's"])
def test_after_a_failure_the_map_is_asked_for_anew(failure: str) -> None:
    """Another node may be in the place of the one that failed."""
    maps = [MAP[:1] if failure == "nobody's" else MAP, [[0, 16383, [b"10.0.0.3", 7003]]]]

    def answer(node: tuple[str, int], command: tuple[Any, ...]) -> Any:
        if command[0] == "CLUSTER SLOTS":
            return maps.pop(0)
        if node == B and failure == "broken":
            raise Broken("refused")
        return b"here" if node == C else ClusterDownError("CLUSTERDOWN")

    network, routes = Network(answer), Routes([A])
    if failure == "down":
        (answered,) = network.run(routes.exchange([("GET", ON_B)]))
        assert isinstance(answered, ClusterDownError)
    else:
        with pytest.raises((Broken, ClusterDownError), match=r"refused|no node has the slot of foo"):
            network.run(routes.exchange([("GET", ON_B)]))
    assert network.run(routes.exchange([("GET", ON_B)])) == [b"here"]
