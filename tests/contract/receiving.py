"""A receiving process in the test's own: everything but HTTP, with a clock that the test moves."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from airflow_incoming.core.admission import AdmissionPolicy
from airflow_incoming.core.integration import parse_declaration
from airflow_incoming.core.messages import Outcome, Request
from airflow_incoming.core.tokens import TokenPolicy
from airflow_incoming.core.units import Rate
from airflow_incoming.services.capture import Capturing
from airflow_incoming.services.checks import Bounds
from airflow_incoming.services.intake import Intake
from airflow_incoming.services.keys import KeyManager, TokenIssuer
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.rates import Rates
from airflow_incoming.services.receive import Receiver
from airflow_incoming.services.rights import Trusted
from airflow_incoming.services.tally import Tally, WatchedIssuer
from airflow_incoming.services.watch import Watch
from airflow_incoming.stores.dedup import DedupMemory
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.web.responses import status_of
from tests.contract.samples import NOW

TOKENS = TokenPolicy(issuer="us", audience="us")
POLICY = AdmissionPolicy(max_body=2**20, max_conf=2**20, max_parameters=1000, tokens=TOKENS)
JSON = {"content-type": "application/json"}


class Clock:
    def __init__(self) -> None:
        self.now = NOW
        self.seconds = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


class PlainCipher:
    """Not a cipher."""

    def encrypt(self, secret: bytes) -> str:
        return secret.hex()

    def decrypt(self, encrypted: str) -> bytes:
        return bytes.fromhex(encrypted)


class Process:
    """One process that receives. Its tally writes when it is told to."""

    def __init__(self, engine: Engine, clock: Clock, memory: DedupMemory | None = None) -> None:
        self.clock = clock
        self.directory = Directory(engine, PlainCipher(), monotonic=clock.monotonic)
        self.tally = Tally(engine, self.directory.recall, clock=clock, status_of=status_of)
        self.capturing = Capturing(engine)
        self.intake = Intake(Inbox(engine), memory, clock=clock)
        rates = Rates(None, monotonic=clock.monotonic)
        issuer = TokenIssuer(
            engine, self.directory, TOKENS, clock=clock, rates=rates, failure_rate=Rate(10, 60)
        )
        self.issuer = WatchedIssuer(issuer, self.tally)
        self.receiver = Receiver(
            self.directory,
            self.intake,
            POLICY,
            capturing=self.capturing,
            tally=self.tally,
            clock=clock,
            rates=rates,
            failure_rate=Rate(20, 60),
            monotonic=clock.monotonic,
        )
        self.intake.start()

    def send(self, endpoint_id: str, body: bytes = b'{"a": 1}', **headers: str) -> Future[Outcome]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.receiver.receive(
            Request(endpoint_id=endpoint_id, body=body, headers=JSON | names, query="s=1", remote="192.0.2.7")
        )

    def post(self, endpoint_id: str, body: bytes = b'{"a": 1}', **headers: str) -> str:
        """Return what became of a request: an outcome, or the code of an error."""
        try:
            return self.send(endpoint_id, body, **headers).result(20).status
        except Exception as error:  # noqa: BLE001  whatever it is
            return str(getattr(error, "code", error))

    def close(self) -> None:
        self.receiver.close()
        self.intake.stop()
        self.capturing.close()
        self.directory.close()


class House:
    """An administrator, and processes that receive."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = Clock()
        self.manager = Manager(engine, clock=self.clock, bounds=Bounds(max_body=2**20))
        self.keys = KeyManager(engine, PlainCipher(), clock=self.clock)
        self.listening = Listening(engine, clock=self.clock)
        self.watch = Watch(engine, clock=self.clock)
        self.processes = [Process(engine, self.clock)]

    @property
    def process(self) -> Process:
        return self.processes[0]

    def another_process(self, memory: DedupMemory | None = None) -> Process:
        self.processes.append(Process(self.engine, self.clock, memory))
        return self.processes[-1]

    def apply(self, name: str = "orders", **fields: Any) -> str:
        """Make an integration; return its endpoint's id."""
        (change,) = self.manager.apply([parse_declaration({"name": name, **fields})], by=Trusted("test"))
        self.settle()
        return str(change.integration.endpoint_id)

    def listen(self, name: str = "orders", **options: Any) -> Any:
        record = self.listening.start(name, by=Trusted("ada"), **options)
        self.settle()
        return record

    def settle(self) -> None:
        """Let every process notice what changed."""
        self.clock.advance(1.001)

    def bearer(self, name: str) -> str:
        """Make an API key; return an Authorization header of it."""
        api_key = self.keys.create(name, by=Trusted("test")).api_key
        self.settle()
        return f"Bearer {self.process.issuer.issue(api_key, remote=None).token}"

    def flush(self) -> None:
        for process in self.processes:
            process.tally.flush()

    def close(self) -> None:
        for process in self.processes:
            process.close()
