"""Ids sort by time, tell the time, and are nobody else's."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from airflow_incoming.services.ids import Ids
from tests.forks import in_fork

NOON = 1_772_366_400_000 * 1_000_000


def test_an_id_is_a_uuid_of_version_7() -> None:
    """With the milliseconds in front (RFC 9562, 5.7)."""
    made = Ids(lambda: NOON).make()
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == NOON // 1_000_000


def test_ids_rise_with_the_clock() -> None:
    """Also within a millisecond, and they tell quarters of a microsecond."""
    clock = iter(range(NOON, NOON + 50_000_000, 250))
    ids = Ids(lambda: next(clock))
    made = [ids.make() for _ in range(20_000)]
    assert made == sorted(made)
    assert made[-1].int >> 80 == NOON // 1_000_000 + 4  # 20 000 × 250 ns = 5 ms


@pytest.mark.parametrize("step", [0, -3_600_000_000_000])
def test_ids_rise_while_the_clock_stands_still_or_was_set_back(step: int) -> None:
    """And stay unique."""
    times = iter([NOON, *[NOON + step] * 1000])
    ids = Ids(lambda: next(times))
    made = [ids.make() for _ in range(1000)]
    assert all(before < after for before, after in pairwise(made))


def test_thousands_a_second_dont_run_ahead_of_the_clock() -> None:
    """Or another process's ids would sort before those of a minute ago."""
    ids = Ids()
    for _ in range(20_000):
        last = ids.make()
    assert last.int >> 80 <= time.time_ns() // 1_000_000


def test_threads_never_make_the_same_id() -> None:
    """They share the random bits that were fetched at once."""
    ids = Ids(lambda: NOON)
    made: list[UUID] = []
    threads = [
        threading.Thread(target=lambda: made.extend(ids.make() for _ in range(5000))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20_000
    assert len({one.int & (1 << 62) - 1 for one in made}) == 20_000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_random_bits_of_its_own() -> None:
    """Both go on from the same instant."""
    ids = Ids(lambda: NOON)
    ids.make()
    theirs = UUID(bytes=in_fork(lambda: ids.make().bytes))
    assert theirs.int & (1 << 62) - 1 != ids.make().int & (1 << 62) - 1
