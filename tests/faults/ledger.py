"""The ledger: what senders were answered, against what ran. Reads only that and the database."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.house import House


@dataclass
class Entry:
    """One request: the id in its body, and the status of each attempt (0: no answer)."""

    order_id: str
    statuses: list[int] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Tell whether the sender was told that we have it."""
        return bool(self.statuses) and self.statuses[-1] in (200, 204)


class Sender:
    """Sends distinct orders and, as senders do, each again until it is answered 200 or 204."""

    def __init__(self, house: House, integration: str = "orders", *, retry_for: float = 60) -> None:
        self._house = house
        self._integration = integration
        self._retry_for = retry_for
        self._lock = threading.Lock()
        self.ledger: list[Entry] = []

    def send(self, count: int, *, clients: int = 8) -> None:
        """Send ``count`` orders from so many clients."""
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(self._send_one, range(count)))

    def _send_one(self, number: int) -> None:
        entry = Entry(str(uuid.uuid4()))
        with self._lock:
            self.ledger.append(entry)
        end = time.monotonic() + self._retry_for
        while True:
            receivers = self._house.receive
            try:
                answer = self._house.post(
                    self._integration, {"order": {"id": entry.order_id}}, receiver=number % len(receivers)
                )
                entry.statuses.append(answer.status_code)
            except httpx.HTTPError:
                entry.statuses.append(0)
            if entry.settled or time.monotonic() >= end:
                return
            time.sleep(0.1)

    def statuses(self) -> Counter[int]:
        """Return how often each status was answered."""
        return Counter(status for entry in list(self.ledger) for status in list(entry.statuses))


def check(entries: list[Entry], runs: list[tuple[str, str, Any]], dags: tuple[str, ...]) -> list[str]:
    """Return every broken promise: a settled order without its run, or any order with two."""
    made = Counter((dag, conf.get("order.id")) for dag, _, conf in runs)
    wrong = []
    for entry in entries:
        for dag in dags:
            count = made[dag, entry.order_id]
            if count > 1:
                wrong.append(f"{entry.order_id} ran {count} times in {dag}")
            elif entry.settled and count == 0:
                wrong.append(f"{entry.order_id} was answered {entry.statuses} and never ran in {dag}")
        if entry.statuses.count(200) > 1:
            wrong.append(f"{entry.order_id} was accepted twice: {entry.statuses}")
        if not entry.settled:
            wrong.append(f"{entry.order_id} was never accepted: {entry.statuses[-5:]}")
    return wrong
