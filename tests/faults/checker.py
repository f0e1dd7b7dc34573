"""The checker: were the promises kept? It reads the ledger and the database, and nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tests.faults.ledger import SETTLED, Attempt, read

#: All that a correct request may be answered: accepted, known, come back later, nothing.
ALLOWED = (200, 204, 503, 0)

CONSUMED = """
    SELECT r.dag_id, r.run_id, e.extra FROM dagrun_asset_event c
    JOIN dag_run r ON r.id = c.dag_run_id JOIN asset_event e ON e.id = c.event_id
"""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What an integration of the test promises: a run in each of these DAGs, and whether once per key.

    Of a DAG that an asset starts: that it is in one run. ``at_least_once``: it may be in several.
    """

    dags: Sequence[str]
    deduplicated: bool = True
    at_least_once: bool = False


@dataclass
class Verdict:
    """What became of all requests. ``lost``, ``doubled`` and ``wrong`` name each broken promise.

    ``repeated`` names what came more often, where that was only promised at least once.
    """

    attempts: list[Attempt]
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        return self.lost + self.doubled + self.wrong

    @property
    def answers(self) -> Counter[int]:
        return Counter(attempt.status for attempt in self.attempts)

    @property
    def p99(self) -> float:
        """Return the seconds within which 99 of 100 requests were answered, or came to nothing."""
        return percentile([attempt.answered - attempt.sent for attempt in self.attempts], 0.99)


@dataclass(frozen=True)
class Run:
    """One DAG run that the database holds, or an event in one that an asset has started."""

    dag_id: str
    run_id: str
    conf: Mapping[str, Any]


def check(ledger: Path, database: str, promises: Mapping[str, Promise]) -> Verdict:
    """Judge a ledger by what the database holds now."""
    attempts = read(ledger)
    runs, waiting = _read(database)
    return judge(attempts, runs, waiting, promises)


def judge(
    attempts: Sequence[Attempt],
    runs: Iterable[Run],
    waiting: Iterable[tuple[str, str]],
    promises: Mapping[str, Promise],
) -> Verdict:
    """Judge attempts. ``waiting`` are (integration, key) of each event that is still to run."""
    verdict = Verdict(list(attempts))
    of_order: defaultdict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        of_order[attempt.integration, attempt.key].append(attempt)
        if attempt.status not in ALLOWED:
            verdict.wrong.append(f"{attempt.key} was answered {attempt.status}")
    made: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        made[run.run_id.split("__")[1], str(run.conf.get("order.id"))].append(run)
    still = Counter(waiting)
    for name, key in of_order.keys() | made.keys():
        _judge_order(verdict, key, of_order[name, key], made[name, key], still[name, key], promises[name])
    return verdict


def _judge_order(
    verdict: Verdict, key: str, attempts: list[Attempt], runs: list[Run], waiting: int, promise: Promise
) -> None:
    told = [attempt.status for attempt in attempts]
    accepted = {attempt.event_id for attempt in attempts if attempt.status == 200}
    known = {attempt.event_id for attempt in attempts if attempt.status == 204}
    most = 1 if promise.deduplicated else len(attempts)
    for dag_id in promise.dags:
        ran = Counter(run.run_id.rpartition("__")[2] for run in runs if run.dag_id == dag_id)
        count = ran.total() + waiting
        if count > most or any(times > 1 for times in ran.values()):
            twice = verdict.repeated if promise.at_least_once else verdict.doubled
            twice.append(f"{key}, answered {told}, ran {ran.total()} times in {dag_id}")
        if set(told) & set(SETTLED) and count == 0:
            verdict.lost.append(f"{key}, answered {told}, never ran in {dag_id}")
        elif not waiting and (accepted | known) - ran.keys():
            verdict.lost.append(f"{key}: an event that was answered {told} never ran in {dag_id}")
    if promise.deduplicated and told.count(200) > 1:
        verdict.doubled.append(f"{key} was accepted twice: {told}")
    if not set(told) & set(SETTLED):
        verdict.wrong.append(f"{key} was never accepted: {told[-5:]}")
    expected = {same(flat(json.loads(attempt.body))) for attempt in attempts}
    for run in runs:
        if same(own(run.conf)) not in expected:
            verdict.wrong.append(f"{run.dag_id} {run.run_id} got another conf than was sent")
        if run.dag_id not in promise.dags:
            verdict.wrong.append(f"{key} ran in {run.dag_id}")


def own(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a conf has of the body, without what we say about the event."""
    return {name: value for name, value in conf.items() if not name.startswith("_incoming.")}


def flat(document: Any) -> dict[str, Any]:
    """Flatten by the rules of the README. Written apart from the product, to be compared with it."""
    found: dict[str, Any] = {}
    todo: list[tuple[list[str], Any]] = [([], document)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, list):
            value = {str(number): item for number, item in enumerate(value)} or value
        if isinstance(value, dict) and value:
            todo += [([*path, name], item) for name, item in value.items()]
        elif path:
            reserved = path[0] == "_incoming" or path[0].startswith("airflow/")
            found["\\" * reserved + ".".join(map(_escaped, path))] = value
    return found


def same(value: Any) -> str:
    """Return a text that is equal for equal JSON of equal types alone: 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the least value that so large a share doesn't exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def _escaped(name: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\." else letter for letter in name)


def _read(database: str) -> tuple[list[Run], list[tuple[str, str]]]:
    engine = create_engine(database)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT dag_id, run_id, conf FROM dag_run")).all()
        events = connection.execute(
            text("SELECT integration, body FROM incoming_event WHERE state IN ('accepted', 'failed', 'held')")
        ).all()
        consumed = connection.execute(text(CONSUMED)).all()
    engine.dispose()
    runs = [
        Run(row.dag_id, row.run_id, json.loads(row.conf) if isinstance(row.conf, str) else row.conf)
        for row in rows
        if row.run_id.startswith("incoming__")
    ]
    runs += _in_runs(consumed)
    return runs, [(row.integration, json.loads(row.body)["order"]["id"]) for row in events]


def _in_runs(consumed: Iterable[Any]) -> list[Run]:
    """Return the events in runs that assets have started. A run gives its tasks each event once."""
    found = {}
    for row in consumed:
        extra = json.loads(row.extra) if isinstance(row.extra, str) else row.extra
        conf = extra["payload"] if extra.get("from_trigger") else extra
        event_id = conf["_incoming.event_id"]
        named = f"incoming__{conf['_incoming.integration']}__{event_id}"
        found[row.run_id, event_id] = Run(row.dag_id, named, conf)
    return list(found.values())
