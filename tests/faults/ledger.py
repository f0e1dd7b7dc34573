"""The ledger: every request of every client in a file, as the client saw it."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: What a client may be told that ends its attempts: it is stored.
SETTLED = (200, 204)
#: Seconds that a client waits for an answer, between two attempts at most, and for an order in all.
PATIENCE = 15.0
LONGEST_PAUSE = 0.5
PERSISTENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request. ``key`` is what deduplication goes by; status 0 means that no answer came.

    Times are seconds since the epoch; ``event_id`` is the one that the answer named.
    """

    integration: str
    key: str
    receiver: str
    sent: float
    answered: float
    status: int
    error: str
    event_id: str
    body: str


class Ledger:
    """A file with one attempt a line. May be written by many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, attempt: Attempt) -> None:
        line = json.dumps(asdict(attempt))
        with self._lock:
            self._file.write(line + "\n")

    def attempts(self) -> list[Attempt]:
        """Return what was written so far."""
        with self._lock:
            self._file.flush()
        return read(self.path)

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[Attempt]:
    """Return what was written."""
    return [Attempt(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def order(key: str) -> bytes:
    """Return a body that flattening could get wrong in many ways."""
    document = {
        "order": {"id": key, "items": [{"sku": "a.b", "n": 1}, {"sku": "ü", "n": 2.5}], "gifts": []},
        "dotted.key": {"back\\slash": None, "": False},
        "_incoming": {"event_id": "not ours"},
        "airflow/x": 12345678901234567890,
        "empty": {},
    }
    return json.dumps(document).encode()


class Client:
    """One sender with its connections, which tries each order until it is settled."""

    def __init__(
        self,
        ledger: Ledger,
        urls: Mapping[str, Sequence[str]],
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self._ledger = ledger
        self._urls = urls
        self._headers = {name: {"Authorization": value} for name, value in (credentials or {}).items()}
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def settle(self, integration: str, key: str) -> None:
        """Send until it is settled, to any receiver; who gives up is found by the checker."""
        end = time.monotonic() + PERSISTENCE
        while self.send(integration, key, random.choice(self._urls[integration])) not in SETTLED:
            if time.monotonic() > end:
                return
            time.sleep(random.uniform(0.05, LONGEST_PAUSE))

    def send(self, integration: str, key: str, url: str) -> int:
        """Send once and write down what came of it."""
        body = order(key)
        sent = time.time()
        status, error, event_id = 0, "", ""
        try:
            status, event_id = self._exchange(url, body, self._headers.get(integration, {}))
        except (OSError, http.client.HTTPException) as problem:
            error = type(problem).__name__
            self._connections.pop(urlsplit(url).netloc).close()
        self._ledger.write(
            Attempt(
                integration=integration,
                key=key,
                receiver=url,
                sent=sent,
                answered=time.time(),
                status=status,
                error=error,
                event_id=event_id,
                body=body.decode(),
            )
        )
        return status

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        parts = urlsplit(url)
        if parts.netloc not in self._connections:
            self._connections[parts.netloc] = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        connection = self._connections[parts.netloc]
        connection.request("POST", parts.path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        content = response.read()
        event_id = response.headers.get("X-Incoming-Event-Id", "")
        if response.status == 200:
            event_id = json.loads(content)["event_id"]
        return response.status, event_id


class Load:
    """Clients that send new orders at a steady rate, and some that were sent before, perhaps just now.

    ``credentials`` are the Authorization headers of integrations that ask for one.
    """

    def __init__(
        self,
        ledger: Ledger,
        urls: Mapping[str, Sequence[str]],
        *,
        clients: int = 8,
        rate: float = 60.0,
        repeated: float = 0.25,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self._ledger = ledger
        self._urls = urls
        self._credentials = credentials
        self._pause = clients / rate
        self._repeated = repeated
        self._recent: list[tuple[str, str]] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new, and wait until all is settled."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(PERSISTENCE + PATIENCE + 5)
            assert not thread.is_alive(), "a client hangs"

    def _work(self) -> None:
        client = Client(self._ledger, self._urls, self._credentials)
        while not self._stopping.is_set():
            began = time.monotonic()
            integration, key = self._next()
            client.settle(integration, key)
            self._stopping.wait(self._pause * random.uniform(0.5, 1.5) - (time.monotonic() - began))
        client.close()

    def _next(self) -> tuple[str, str]:
        recent = self._recent[-20:]
        if recent and random.random() < self._repeated:
            return random.choice(recent)
        new = (random.choice(list(self._urls)), str(uuid.uuid4()))
        self._recent.append(new)
        return new


class Probe:
    """Asks one URL ten times a second, and remembers the seconds that each answer, or none, took.

    While one is waited for no other is asked for; those that would have been count, too, or a stall of
    three seconds would be one look among many. Where nobody listens, because a fault has killed it,
    there is nothing to measure.
    """

    EVERY = 0.1

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.seconds: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE + 5)

    def ask(self) -> None:
        began = time.monotonic()
        connection = http.client.HTTPConnection(self._url.netloc, timeout=PATIENCE)
        try:
            connection.request("GET", self._url.path)
            connection.getresponse().read()
        except ConnectionRefusedError:
            return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        self._note(time.monotonic() - began)

    def _note(self, seconds: float) -> None:
        while seconds > 0:
            self.seconds.append(seconds)
            seconds -= self.EVERY

    def _work(self) -> None:
        while not self._stopping.wait(self.EVERY):
            self.ask()


@contextmanager
def running(*started: Any) -> Iterator[None]:
    """Start all, and stop them at the end of the block."""
    for each in started:
        each.start()
    try:
        yield
    finally:
        for each in started:
            each.stop()
