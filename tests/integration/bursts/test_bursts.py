"""Every event of a burst is in exactly one run of each DAG that its asset starts, and in order."""

from __future__ import annotations

import pytest

from tests.integration.bursts.conftest import Consumers
from tests.integration.bursts.dags.bursts import GROUPS
from workbench.processes import wait_until

FEW, MANY = 5, 500


@pytest.mark.timeout(900)
def test_a_burst_at_an_asset(consumers: Consumers) -> None:
    """A DAG, one that has one run at a time, and one that is paused and then unpaused.

    Their tasks see each event once, in the order in which they came.
    """
    few = consumers.burst("burst", [{"n": number} for number in range(FEW)])
    consumers.wait_for("on_burst", few)
    consumers.wait_for("on_burst_one_by_one", few)
    assert not consumers.consumed("on_burst_paused")
    many = few + consumers.burst("burst", [{"n": number} for number in range(FEW, FEW + MANY)])
    consumers.wait_for("on_burst", many)
    consumers.wait_for("on_burst_one_by_one", many)
    assert not consumers.consumed("on_burst_paused")
    consumers.pause("on_burst_paused", paused=False)
    consumers.wait_for("on_burst_paused", many)
    for dag_id in ("on_burst", "on_burst_one_by_one", "on_burst_paused"):
        wait_until(
            lambda dag_id=dag_id: sum(map(len, consumers.noted(dag_id))) >= len(many),
            seconds=120,
            what=dag_id,
        )
        runs = consumers.noted(dag_id)
        assert all(seen == sorted(seen) for seen in runs)
        assert sorted(number for seen in runs for number in seen) == list(range(FEW + MANY))
    consumers.look_again()


@pytest.mark.timeout(900)
def test_a_burst_at_watchers(consumers: Consumers) -> None:
    """A few events at one watcher, and many over fifty of them, of which each five start a DAG."""
    few = consumers.burst("watched", [{"n": number, "few": 1} for number in range(FEW)])
    consumers.wait_for("on_watched", few)
    many = consumers.burst("watched", [{"n": number, "group": number % GROUPS} for number in range(MANY)])
    for first in range(0, GROUPS, 5):
        wanted = [many[number] for number in range(MANY) if first <= number % GROUPS < first + 5]
        consumers.wait_for(f"on_groups_{first}", wanted)
    wait_until(lambda: sum(map(len, consumers.noted("on_watched"))) >= FEW, seconds=120, what="the task")
    assert [number for seen in consumers.noted("on_watched") for number in seen] == list(range(FEW))
    consumers.look_again()
