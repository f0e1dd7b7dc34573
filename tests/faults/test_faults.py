"""Nothing that was answered is lost, nothing runs twice: real processes, real faults.

``scripts/test faults`` plays a selection, ``scripts/faults`` all.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faults.catalogue import FAULTS, Fault
from tests.faults.checker import Verdict
from tests.faults.conftest import EVERYTHING
from tests.faults.killer import POINTS
from tests.faults.stage import INTEGRATIONS, Servers, Stage
from workbench.processes import Processes, wait_until

Judged = Callable[[str], Verdict]

PLAYED = [fault for fault in FAULTS if EVERYTHING or fault.short]


@pytest.mark.parametrize(
    ("fault", "stage"),
    [pytest.param(f, "sqlite" if f.sqlite else "postgresql", id=f.name) for f in PLAYED],
    indirect=["stage"],
)
def test_fault(fault: Fault, stage: Stage, judged: Judged) -> None:
    """Whatever was answered 200 or 204 ran once, and what was not was settled by a retry."""
    fault.play(stage)
    verdict = judged(fault.name)
    assert verdict.broken == []
    assert verdict.answers[200] > 50


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("intake")])
def test_a_receiver_killed_at_a_point(point: str, stage: Stage, judged: Judged) -> None:
    """Senders whose connection broke send again; each order runs once."""
    stage.open()
    victim = stage.serve(die_at=(point, random.randint(2, 30)))
    with stage.load():
        wait_until(lambda: not victim.alive, seconds=30, what="the receiver to die", every=0.02)
        victim.start(die_at=None)
    verdict = judged(f"killed at {point}")
    assert verdict.broken == []
    assert verdict.answers[0] > 0


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("dispatch")])
def test_a_dispatcher_killed_at_a_point(point: str, stage: Stage, judged: Judged) -> None:
    """Whatever it had not committed is dispatched by the next one; what it had is not done again."""
    stage.open(dispatch=False)
    victim = stage.dispatch(die_at=(point, 20 if "some" in point else 2))
    with stage.load():
        wait_until(lambda: not victim.alive, seconds=30, what="the dispatcher to die", every=0.02)
        victim.start(die_at=None)
    assert judged(f"killed at {point}").broken == []
