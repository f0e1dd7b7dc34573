"""What is measured, in a short session and in a whole one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.load import Kind

KB, MB = 1000, 1_000_000
_HOMEMADE = ("echo", "one-commit", "group-commit", "flask")
_OTHERS = ("webhook", "node-red")
_AIRFLOW = ("api-server", "dispatching", "api-server:flask", "rest:one")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One load, put on each contender in turn, ``rounds`` times over, for ``seconds`` each."""

    name: str
    contenders: tuple[str, ...]
    size: int = KB
    connections: int = 16
    kind: Kind = "new"
    rounds: int = 5
    seconds: float = 6


NEW = Scenario(name="new", contenders=(*_HOMEMADE, "serve", *_AIRFLOW, *_OTHERS))
ALONE = Scenario(name="new, 1 connection", connections=1, contenders=(*_HOMEMADE, "serve", "api-server"))
CROWD = Scenario(
    name="new, 64 connections",
    connections=64,
    contenders=("one-commit", "group-commit", "serve", "serve-2", "serve-4", "api-server"),
)
KNOWN = Scenario(
    name="duplicates",
    kind="known",
    contenders=("redis-only", "group-commit", "serve", "api-server", "api-server:flask"),
)
KNOWN_CROWD = replace(
    KNOWN, name="duplicates, 64 connections", connections=64, contenders=("redis-only", "serve", "serve-2")
)
HALF = Scenario(name="half duplicates", kind="half", contenders=("one-commit", "group-commit", "serve"))
SECURE = Scenario(name="new, with JWT", contenders=("serve", "serve:secure"))
SCHEDULED = Scenario(
    name="new, scheduler on",
    contenders=("serve+airflow", "dispatching+airflow", "rest+airflow:one"),
)
LARGE = Scenario(
    name="100 KB",
    size=100 * KB,
    contenders=("group-commit", "serve", "api-server", "rest:one"),
)
HUGE = replace(LARGE, name="1 MB", size=MB)

WHOLE = (NEW, ALONE, CROWD, KNOWN, KNOWN_CROWD, HALF, SECURE, SCHEDULED, LARGE, HUGE)
_QUICK_NEW = tuple(name for name in NEW.contenders if name not in ("echo", *_OTHERS))
QUICK = (
    replace(NEW, contenders=_QUICK_NEW, rounds=2, seconds=3),
    replace(CROWD, contenders=("serve",), rounds=1, seconds=3),
    replace(KNOWN, contenders=("redis-only", "serve"), rounds=2, seconds=3),
    replace(LARGE, contenders=("serve", "rest:one"), rounds=1, seconds=3),
    replace(HUGE, contenders=("serve", "rest:one"), rounds=1, seconds=4),
)
