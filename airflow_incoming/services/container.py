"""Everything that one receiving process runs, and in which order it starts and stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from airflow_incoming.core.admission import AdmissionPolicy
from airflow_incoming.core.errors import DatabaseUnavailable
from airflow_incoming.core.units import Rate
from airflow_incoming.services.backlog import BacklogLimits
from airflow_incoming.services.capture import Capturing
from airflow_incoming.services.health import Health
from airflow_incoming.services.intake import Intake
from airflow_incoming.services.keys import TokenIssuer
from airflow_incoming.services.lanes import Lanes
from airflow_incoming.services.loop import DispatchLoop
from airflow_incoming.services.metrics import Emits, Meter
from airflow_incoming.services.notes import StatusOf
from airflow_incoming.services.rates import Rates
from airflow_incoming.services.receive import Receiver
from airflow_incoming.services.tally import Tally, WatchedIssuer
from airflow_incoming.stores import installation
from airflow_incoming.stores.bell import Bell
from airflow_incoming.stores.dedup import DedupMemory
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.stores.installation import Installation, RedisWitnesses
from airflow_incoming.stores.keys import Cipher
from airflow_incoming.stores.own_memory import OwnMemory
from airflow_incoming.stores.rates import RateStore


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a receiving process is made of.

    ``memory`` returns the memory of a name in Redis. It, ``witnesses`` and ``rates`` None: no Redis; ``loop``
    None: no dispatcher; ``emit`` None: no metrics. ``bell`` wakes the dispatchers of other processes; None
    where this one has its own, or no Redis.
    """

    engine: Engine
    memory: Callable[[str], DedupMemory] | None
    witnesses: RedisWitnesses | None
    rates: RateStore | None
    cipher: Cipher
    loop: DispatchLoop | None
    bell: Bell | None
    policy: AdmissionPolicy
    token_rate: Rate
    failure_rate: Rate
    accept_timeout: float
    clock: Callable[[], datetime]
    status_of: StatusOf
    emit: Emits | None = None


class Container:
    """One receiving process. ``start`` and ``stop`` may be called from any thread, and again."""

    def __init__(self, parts: Parts) -> None:
        self._rates = Rates(parts.rates)
        self._loop = parts.loop
        self._bell = parts.bell
        self._directory = Directory(parts.engine, parts.cipher, attend=_attend(parts))
        self._capturing = Capturing(parts.engine)
        self._intake = Lanes(
            small=_intake(parts, self._memory(parts)), large=_intake(parts, self._memory(parts))
        )
        self.tally = Tally(
            parts.engine,
            self._directory.recall,
            clock=parts.clock,
            status_of=parts.status_of,
            meter=None if parts.emit is None else Meter(parts.emit),
        )
        self.receiver = Receiver(
            self._directory,
            self._intake,
            parts.policy,
            capturing=self._capturing,
            tally=self.tally,
            clock=parts.clock,
            rates=self._rates,
            failure_rate=parts.failure_rate,
            accept_timeout=parts.accept_timeout,
        )
        self.token_issuer = WatchedIssuer(_token_issuer(parts, self._directory, self._rates), self.tally)
        self.health = Health(parts.engine, self._memory(parts), clock=parts.clock)
        self._lock = threading.Lock()
        self._running = False

    def start(self) -> None:
        """Start the threads; does nothing where they run."""
        with self._lock:
            if self._running:
                return
            self._running = True
            self.tally.start()
            self._rates.start()
            self._intake.start()
            if self._bell is not None:
                self._bell.start()
            if self._loop is not None:
                self._loop.start()

    def stop(self) -> None:
        """Take in what waits, finish the batch in hand, stop the threads."""
        with self._lock:
            if not self._running:
                return
            self._running = False
            self.receiver.close()
            self._rates.stop()
            self._intake.stop()
            self._capturing.close()
            self.tally.stop()
            self._directory.close()
            if self._bell is not None:
                self._bell.stop()
            if self._loop is not None:
                self._loop.stop()

    def _memory(self, parts: Parts) -> OwnMemory | None:
        return None if parts.memory is None else OwnMemory(parts.memory, self._directory.memory)


def _intake(parts: Parts, memory: DedupMemory | None) -> Intake:
    return Intake(
        Inbox(parts.engine),
        memory,
        clock=parts.clock,
        limits=BacklogLimits(wait=parts.accept_timeout),
        wake=_wake(parts),
    )


def _attend(parts: Parts) -> Callable[[], Installation | None] | None:
    """Return what sees to it that our hashes in Redis are ours."""
    witnesses = parts.witnesses
    if witnesses is None:
        return None

    def attend() -> Installation | None:
        try:
            return installation.attend(parts.engine, witnesses)
        except DatabaseUnavailable:
            return None

    return attend


def _wake(parts: Parts) -> Callable[[], None]:
    if parts.loop is not None:
        return parts.loop.wake
    return parts.bell.ring if parts.bell is not None else lambda: None


def _token_issuer(parts: Parts, directory: Directory, rates: Rates) -> TokenIssuer:
    return TokenIssuer(
        parts.engine,
        directory,
        parts.policy.tokens,
        clock=parts.clock,
        rates=rates,
        failure_rate=parts.token_rate,
    )
