"""A whole installation on which faults happen: real processes, load, a ledger, and the judgement."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psycopg2
from redis import Redis

from tests.faults.checker import Promise, Verdict, check
from tests.faults.ledger import Ledger, Load, Probe, running
from tests.faults.limits import p95
from tests.faults.nursery import Child, Nursery
from tests.faults.proxy import Proxy
from tests.house import DAGS, Builder, House, answers
from workbench.postgres import PostgresServer
from workbench.processes import Processes, free_port, wait_until
from workbench.redis import RedisServer

HERE = Path(__file__).parent
PROMISES = {
    "orders": Promise(dags=("one", "two")),
    "plain": Promise(dags=("one",), deduplicated=False),
    "sealed": Promise(dags=("one",)),
}
INTEGRATIONS: list[dict[str, Any]] = [
    {
        "name": "orders",
        "state": "published",
        "deduplication": {"parameters": ["body.order.id"]},
        "dags": ["one", "two"],
    },
    {"name": "plain", "state": "published", "dags": ["one"]},
]
SEALED = {
    "name": "sealed",
    "state": "published",
    "auth": {"type": "jwt", "api_key": "shop"},
    "deduplication": {"parameters": ["body.order.id"]},
    "dags": ["one"],
}
#: Integrations that start DAGs by an asset: one updates it, the other one is listened to by its watcher.
CONSUMERS = ("stock", "news")
OF_CONSUMERS: list[dict[str, Any]] = [
    {
        "name": "stock",
        "state": "published",
        "deduplication": {"parameters": ["body.order.id"]},
        "assets": ["incoming://stock"],
    },
    {"name": "news", "state": "published"},
]
PROMISES_OF_CONSUMERS = {
    "stock": Promise(dags=("on_stock",)),
    "news": Promise(dags=("on_news",), deduplicated=False, at_least_once=True),
}
#: A triggerer or scheduler that died is given up after seconds, not after half a minute.
IMPATIENT = {
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "4",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "4",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
}
#: Seconds without any progress after which what no run has is lost.
PATIENCE = 40
FLASK = "/pluginsv2/incoming"
HEALTH_OF_AIRFLOW = "/api/v2/monitor/health"
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
REDIS = "AIRFLOW__INCOMING__REDIS_URL"


@dataclass(frozen=True, kw_only=True)
class Servers:
    """What all stages share."""

    builder: Builder
    processes: Processes
    nursery: Nursery
    postgres: PostgresServer
    redis: RedisServer


class Stage:
    """One installation with an api-server, ``serve`` and ``dispatch``, each started when it is asked for."""

    def __init__(self, servers: Servers, *, sqlite: bool = False) -> None:
        self._servers = servers
        self.postgres = servers.postgres
        self.redis = servers.redis
        self.house: House = servers.builder.build(
            servers.processes, postgres=None if sqlite else servers.postgres, redis=servers.redis
        )
        #: What processes that are started from now on get, beside the house's own environment.
        self.env: dict[str, str] = {}
        self.receivers: list[Child] = []
        self.dispatchers: list[Child] = []
        self.ledger = Ledger(self.house.airflow.home / "ledger.jsonl")
        self.probe: Probe | None = None
        self.scheduler: Child | None = None
        self.triggerer: Child | None = None
        self.promises: Mapping[str, Promise] = PROMISES
        self._proxies: list[Proxy] = []
        self._api_key: str | None = None
        self.apply(*INTEGRATIONS)

    # Processes

    def open(self, *, api_server: bool = True, dispatch: bool = True) -> None:
        """Start an api-server, a receiver and a dispatcher, and wait until they work.

        Without ``dispatch`` nothing dispatches, in the api-server neither.
        """
        if api_server:
            self.api_server(dispatches=dispatch)
        self.serve()
        if dispatch:
            self.dispatch()
        self.wait_for_receivers()

    def api_server(self, *, dispatches: bool = True) -> Child:
        words = ("api-server", "--host", "127.0.0.1", "--port", str(self.house.airflow.port))
        child = self._start(*words, AIRFLOW__INCOMING__DISPATCHER=str(dispatches))
        self.house.receive.append(f"{self.house.airflow.url}/incoming")
        self.receivers.append(child)
        self.probe = Probe(self.house.airflow.url + HEALTH_OF_AIRFLOW)
        return child

    def serve(self, **options: Any) -> Child:
        port = free_port()
        child = self._start("incoming", "serve", "--port", str(port), **options)
        self.house.receive.append(f"http://127.0.0.1:{port}/incoming")
        self.receivers.append(child)
        return child

    def dispatch(self, **options: Any) -> Child:
        child = self._start("incoming", "dispatch", **options)
        self.dispatchers.append(child)
        return child

    def wait_for_receivers(self) -> None:
        for base in self.house.receive:
            wait_until(lambda base=base: answers(base), seconds=60, what=base, every=0.05)
        if self.probe is not None:
            self.probe.ask()  # the first answer takes Airflow longest, with and without us
            self.probe.seconds.clear()

    def run(self, *words: str, **env: str) -> str:
        """Run an ``airflow`` command to its end; return what it printed and logged."""
        child = self._start(*words, **env)
        wait_until(lambda: not child.alive, seconds=120, what=" ".join(words), every=0.02)
        return child.log.read_text(errors="replace")

    def apply(self, *integrations: Mapping[str, Any]) -> None:
        """Apply integrations, as ``airflow incoming apply`` does."""
        file = self.house.airflow.home / "integrations.json"
        file.write_text(json.dumps({"version": 1, "integrations": integrations}))
        self.run("incoming", "apply", str(file))
        rows = self.house.sql("select name, endpoint_id from incoming_integration")
        self.house.endpoints = dict(map(tuple, rows))
        assert self.house.endpoints.keys() >= {each["name"] for each in integrations}, self.logs()

    def everywhere(self) -> None:
        """Let load go through the api-server's Flask route, too, and to an integration that asks for JWTs."""
        printed = self.run("incoming", "keys", "create", "shop", "--output", "json")
        found = re.search(r"\binc_[^\s\"]+", printed)
        assert found, printed
        self._api_key = found.group()
        self.apply(SEALED)

    def with_consumers(self) -> None:
        """Deploy DAGs that assets start, and let a scheduler and a triggerer work."""
        folder = self.house.airflow.home / "dags"
        shutil.copytree(DAGS, folder)
        shutil.copy(HERE / "dags" / "consumers.py", folder)
        self.env |= {"AIRFLOW__CORE__DAGS_FOLDER": str(folder), **IMPATIENT}
        self.run("dags", "reserialize")
        self.apply(*OF_CONSUMERS)
        self.promises = {**PROMISES, **PROMISES_OF_CONSUMERS}
        self.scheduler = self._start("scheduler", "--skip-serve-logs")
        self.triggerer = self._start("triggerer", "--skip-serve-logs")
        prefix = self.house.airflow.env["AIRFLOW__INCOMING__REDIS_PREFIX"]
        wait_until(
            lambda: bool(self.redis_client.keys(f"{prefix}:{{news}}:cursor:*")),
            seconds=60,
            what="the watcher to begin",
        )

    def _start(self, *words: str, die_at: Any = None, variant: str | None = None, **env: str) -> Child:
        number = len(list(self.house.airflow.home.glob("*.log")))
        return self._servers.nursery.command(
            *words,
            env={**self.house.airflow.env, **self.env, **env},
            log=self.house.airflow.home / f"{number}-{words[0]}-{words[-1].rpartition('/')[2]}.log",
            die_at=die_at,
            variant=variant,
        )

    # Bad networks

    def redis_through_proxy(self) -> Proxy:
        """Put a proxy between what is started from now on and Redis."""
        return self._through(REDIS, self.redis.port)

    def postgres_through_proxy(self) -> Proxy:
        """Put a proxy between what is started from now on and PostgreSQL."""
        return self._through(DATABASE, self.postgres.port)

    def _through(self, variable: str, port: int) -> Proxy:
        proxy = Proxy(port)
        self._proxies.append(proxy)
        self.env[variable] = self.house.airflow.env[variable].replace(f":{port}/", f":{proxy.port}/")
        return proxy

    @cached_property
    def redis_client(self) -> Any:
        return Redis(port=self.redis.port)

    def connect(self) -> Any:
        """Return a connection of our own to the database, where every statement is its own transaction."""
        connection = psycopg2.connect(self.house.airflow.database.replace("+psycopg2", ""))
        connection.autocommit = True
        return connection

    def sql(self, statement: str) -> str:
        return self.postgres.sql(statement, self.database)

    @property
    def database(self) -> str:
        return self.house.airflow.database.rpartition("/")[2]

    def hang_up(self) -> None:
        """Close every connection to the database, as a restart of a pooler does."""
        self.postgres.sql(
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{self.database}'"
        )

    # Load and judgement

    @contextmanager
    def load(self, *, integrations: Collection[str] | None = None, **options: Any) -> Iterator[None]:
        """Send orders during the block, and after it until all are settled."""
        bases = list(self.house.receive)
        credentials = {}
        if self._api_key is not None:
            bases.append(self.house.airflow.url + FLASK)
            credentials["sealed"] = self._bearer(self._api_key)
        endpoints = self.house.endpoints
        chosen = endpoints if integrations is None else integrations
        urls = {name: [f"{base}/{endpoints[name]}" for base in bases] for name in chosen}
        probes = [self.probe] if self.probe else []
        with running(Load(self.ledger, urls, credentials=credentials, **options), *probes):
            time.sleep(0.5)
            yield
            time.sleep(0.5)
        if self._api_key is not None:
            accepted = [attempt for attempt in self.ledger.attempts() if attempt.status == 200]
            assert any(FLASK in attempt.receiver for attempt in accepted)
            assert any(attempt.integration == "sealed" for attempt in accepted)

    def _bearer(self, api_key: str) -> str:
        answer = httpx.post(f"{self.house.receive[-1]}/auth/token", json={"apiKey": api_key}, timeout=10)
        return f"Bearer {answer.json()['token']}"

    def settle(self) -> None:
        """Wait until all events are dispatched, however many there are, while they become fewer."""
        query = "select count(*) from incoming_event where state in ('accepted', 'failed', 'held')"
        left = [self.house.sql(query)[0][0]]
        while left[-1]:
            assert len(left) < 100 or left[-1] < left[-100], f"{left[-1]} events are not dispatched"
            time.sleep(0.3)
            left.append(self.house.sql(query)[0][0])
        if self.scheduler is not None:
            self._settle_consumers()

    def _settle_consumers(self) -> None:
        """Wait until no event is missing in the runs of consumers, or no more of them come."""
        self.ledger.attempts()
        fewest, end = None, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            lost = len(check(self.ledger.path, self.house.airflow.database, self.promises).lost)
            if not lost:
                return
            if fewest is None or lost < fewest:
                fewest, end = lost, time.monotonic() + PATIENCE
            time.sleep(0.5)

    def judge(self) -> Verdict:
        """Compare the ledger with the database."""
        self.ledger.close()
        return check(self.ledger.path, self.house.airflow.database, self.promises)

    def logs(self) -> str:
        """Return what all processes logged."""
        return "\n".join(path.read_text(errors="replace") for path in self.house.airflow.home.glob("*.log"))

    @property
    def looks(self) -> list[float]:
        """The seconds that each look at Airflow's own health took."""
        return self.probe.seconds if self.probe else []

    def line(self, verdict: Verdict) -> str:
        """Return the result of one fault in one line, times in milliseconds."""
        answers = " ".join(f"{verdict.answers[status]:>5}" for status in (200, 204, 503, 0))
        health = f"{p95(self.looks) * 1000:>6.0f}" if self.looks else "     -"
        return (
            f"{len(verdict.attempts):>6} {answers} {len(verdict.lost):>5} {len(verdict.doubled):>6}"
            f" {verdict.p99 * 1000:>6.0f} {health}"
        )

    def close(self) -> None:
        """End what was started, and repair what all stages share."""
        self.ledger.close()
        for child in (*self.receivers, *self.dispatchers, self.scheduler, self.triggerer):
            if child is not None:
                child.send(9)
        for proxy in self._proxies:
            proxy.close()
        self._repair()
        if self.house.postgres is not None:
            with suppress(Exception):
                self.postgres.drop_database(self.house.airflow.database)

    def _repair(self) -> None:
        self.redis.kill()  # and with it whatever a fault has configured
        self.redis.start()
        if self.postgres.process.alive:
            self.postgres.go_on()
        else:
            self.postgres.start()


HEADER = (
    f"{'fault':<58} {'sent':>6} {200:>5} {204:>5} {503:>5} {'none':>5} {'lost':>5} {'double':>6}"
    f" {'p99':>6} {'health':>6}"
)
