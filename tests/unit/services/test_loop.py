"""The loop's pauses, and how it shares a process."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from airflow_incoming.services.batches import Tally
from airflow_incoming.services.loop import REST, TURN, DispatchLoop, pause_after, short_turns

#: Seconds that each batch takes here.
TAKEN = 0.05


class Busy:
    """Stands in for a dispatcher whose batches take long: when each began, and how long turns were in it."""

    def __init__(self, batches: int) -> None:
        self.began: list[float] = []
        self.turns: set[float] = set()
        self.loop: DispatchLoop | None = None
        self._batches = batches

    def dispatch_batch(self) -> Tally:
        self.began.append(time.monotonic())
        self.turns.add(round(sys.getswitchinterval(), 6))
        if len(self.began) > self._batches and self.loop is not None:
            self.loop.stop(0)
        time.sleep(TAKEN)
        return Tally(dispatched=1)

    def tick(self) -> bool:
        return False

    def leave(self) -> None:
        pass


def run(*, shares_process: bool) -> Busy:
    """Return a dispatcher that has dispatched some batches."""
    busy = Busy(4)
    busy.loop = DispatchLoop(
        cast(Any, busy), busy, interval=timedelta(seconds=1), shares_process=shares_process
    )
    busy.loop.run()
    return busy


def test_pauses_grow_to_a_limit_however_long_an_outage_lasts() -> None:
    """A database that is away for days ends no dispatcher: the pause is always a number."""
    assert [pause_after(failures) for failures in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 8, 8]


def test_whoever_shares_a_process_leaves_others_time() -> None:
    """Between two batches nothing is dispatched for a while, and threads take turns sooner within one."""
    usual = round(sys.getswitchinterval(), 6)
    shared, alone = run(shares_process=True), run(shares_process=False)
    assert all(later - began >= TAKEN * (1 + REST) for began, later in pairwise(shared.began))
    assert (shared.turns, alone.turns) == ({TURN}, {usual})
    assert round(sys.getswitchinterval(), 6) == usual


def test_turns_are_as_before_when_a_batch_fails() -> None:
    """And however many batches there were: Python itself loses a microsecond of some settings each time."""
    usual = sys.getswitchinterval()
    with pytest.raises(ValueError, match="lost"), short_turns():
        raise ValueError("lost")
    assert sys.getswitchinterval() == pytest.approx(usual, abs=1e-9)


@pytest.mark.parametrize("microseconds", [49, 57, 1003])
def test_turns_stay_as_somebody_has_set_them(microseconds: int) -> None:
    """Shorter ones also inside."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(microseconds * 1e-6 + 5e-7)
    try:
        for _ in range(100):
            with short_turns():
                assert sys.getswitchinterval() <= TURN + 1e-9
        assert sys.getswitchinterval() == pytest.approx(microseconds * 1e-6, abs=1e-9)
    finally:
        sys.setswitchinterval(usual)
