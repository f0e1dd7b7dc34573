"""How long things may take while a fault lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.checker import Verdict, percentile

#: Seconds after which a sender is told that nothing is decided: ``[incoming] accept_timeout``, and a second
#: for the telling.
ACCEPT_TIMEOUT = 10.0
TELLING = 1.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds within which 99 of 100 requests, and 19 of 20 looks at Airflow's own health, must end.

    Of looks those that are made each tenth of a second, and those that would have been made while one
    lasted. Not the 99th of 100: a load of two seconds makes twenty, and one late one is no trouble.
    """

    p99: float = 1.0
    health: float = 0.3


#: Whoever waits for the database until we give up waiting.
WAITING = Limits(p99=ACCEPT_TIMEOUT + TELLING)

#: Processes are killed or stopped, and started again: that takes the cores that api-servers run on, and one
#: that has just started answers late.
RESTARTING = Limits(p99=2.0, health=2.0)


def too_slow(verdict: Verdict, looks: Sequence[float], limits: Limits) -> list[str]:
    """Name what took too long."""
    measured = {"p99 of requests": (verdict.p99, limits.p99), "p95 of health": (p95(looks), limits.health)}
    return [f"{what}: {took:.3f} s" for what, (took, limit) in measured.items() if took > limit]


def p95(looks: Sequence[float]) -> float:
    """Return the seconds within which 19 of 20 looks were answered."""
    return percentile(looks, 0.95)
