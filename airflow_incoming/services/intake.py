"""Group commit: many waiting requests share one Redis round trip and one transaction.

One thread per process takes whatever is waiting, never waits for more, and answers nobody before
the event (or the event it repeats) is committed. See :class:`Intake`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from logging import INFO
from uuid import UUID

from airflow_incoming.core.breaker import CircuitBreaker
from airflow_incoming.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    Overloaded,
    RedisUnavailable,
    Stopping,
    Unavailable,
    Undecided,
)
from airflow_incoming.core.messages import Claim, Event, Outcome
from airflow_incoming.services.backlog import Backlog, BacklogLimits, Waiting
from airflow_incoming.services.journal import ids_by_integration, tell
from airflow_incoming.stores.dedup import DedupMemory, Known, Memory
from airflow_incoming.stores.inbox import Inbox

log = logging.getLogger(__name__)

#: A hash that Redis keeps alive moves its claim in the database forward at most this often, or ten times
#: in a window that is shorter than ten hours.
SLIDE_EVERY = timedelta(hours=1)


@dataclass(slots=True)
class _Group:
    """One event and everybody who waits for it: the first sender, and those who sent the same."""

    event: Event
    first: Future[Outcome]
    others: list[tuple[Event, Future[Outcome]]] = field(default_factory=list)


class Intake:
    """Takes events in. ``submit`` may be called from any thread; ``memory`` None means no Redis."""

    def __init__(
        self,
        inbox: Inbox,
        memory: DedupMemory | None,
        *,
        clock: Callable[[], datetime],
        limits: BacklogLimits | None = None,
        wake: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox = inbox
        self._memory = memory
        self._clock = clock
        self._limits = limits or BacklogLimits()
        self._backlog = Backlog(self._limits)
        self._wake = wake
        self._monotonic = monotonic
        self._breaker = CircuitBreaker()
        self._arrived = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="incoming-intake", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Take in what waits (at most ``timeout`` seconds), refuse what comes after."""
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def submit(self, event: Event) -> Future[Outcome]:
        """Return a future of what becomes of the event.

        It ends with an Outcome or with an Unavailable error, whose event may be sent again.
        """
        future: Future[Outcome] = Future()
        refusal: Unavailable | None = None
        with self._arrived:
            if self._stopping:
                refusal = Stopping()
            elif not self._backlog.add(Waiting(event, future, self._monotonic())):
                refusal = Overloaded()
            else:
                self._arrived.notify()
        if refusal is not None:
            future.set_exception(refusal)
        return future

    def _run(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: len(self._backlog) or self._stopping)
                batch = self._backlog.take()
            if not batch:
                return
            self.take_in(self._in_time(batch))

    def _in_time(self, batch: list[Waiting]) -> list[tuple[Event, Future[Outcome]]]:
        """Refuse what waited too long: its sender sends it again, and storing it now could run it twice."""
        oldest = self._monotonic() - self._limits.wait
        for one in batch:
            if one.arrived < oldest:
                one.future.set_exception(Undecided())
        return [(one.event, one.future) for one in batch if one.arrived >= oldest]

    def take_in(self, batch: Sequence[tuple[Event, Future[Outcome]]]) -> None:
        """Decide one batch and resolve all its futures."""
        waiting = _grouped(batch)
        try:
            self._decide(waiting)
        except Unavailable as error:
            _refuse(waiting, error)
        except Exception:
            log.exception("Could not take in %d events together; trying each alone", len(waiting))
            for one in waiting:
                self._take_in_alone(one)

    def _take_in_alone(self, one: _Group) -> None:
        """Take in one event, so that one which the database refuses doesn't spoil the others."""
        try:
            self._decide([one])
        except Unavailable as error:
            _refuse([one], error)
        except Exception:
            log.exception("Could not take in event %s of %s", one.event.id, one.event.integration)
            _refuse([one], Unavailable())

    def _decide(self, waiting: list[_Group]) -> None:
        now = self._clock()
        known = self._look(waiting)
        unknown = [one for one in waiting if _hash(one.event) not in known]
        owners = self._append(unknown, now) if unknown else {}
        # The answers are true from here on; nobody waits for what only makes the next ones faster.
        for one in waiting:
            remembered = known.get(_hash(one.event) or "")
            _resolve(one, owners[one.event.id] if remembered is None else remembered.event_id)
        if any(owner == event_id for event_id, owner in owners.items()):
            self._wake()
        self._remember(unknown, owners, now)
        self._slide(waiting, known, now)
        _tell(waiting, owners)

    def _look(self, waiting: list[_Group]) -> dict[str | None, Known]:
        windows = {
            one.event.claim.hash: one.event.claim.window for one in waiting if one.event.claim is not None
        }
        if not windows or self._memory is None or not self._breaker.allows(self._monotonic()):
            return {}
        try:
            known = self._memory.look(windows)
        except RedisUnavailable as error:
            self._redis_failed(error)
            return {}
        self._breaker.succeeded()
        return dict(known.items())

    def _append(self, unknown: list[_Group], now: datetime) -> dict[UUID, UUID]:
        """Append; once more where the connection was lost, perhaps after COMMIT had been sent.

        That is safe: appending an event that is stored already changes nothing and says so. Where a
        lock was waited for in vain, everybody here has waited long enough.
        """
        events = [one.event for one in unknown]
        try:
            return self._inbox.append(events, now=now)
        except DatabaseBusy:
            raise
        except DatabaseUnavailable:
            log.warning("The database was unavailable for %d events; trying once more", len(events))
            return self._inbox.append(events, now=now)

    def _slide(self, waiting: list[_Group], known: dict[str | None, Known], now: datetime) -> None:
        """Move claims forward in the database that only Redis has kept alive for an hour."""
        late = [
            Memory(claim.hash, Known(known[claim.hash].event_id, now), claim.window)
            for claim in (one.event.claim for one in waiting)
            if claim is not None and claim.hash in known and _is_late(claim, known[claim.hash], now)
        ]
        if not late:
            return
        try:
            self._inbox.slide({memory.hash: memory.window for memory in late}, now=now)
            self._tell_redis(late)
        except DatabaseUnavailable:
            log.warning("Could not move %d deduplication windows forward; will be tried again", len(late))

    def _remember(self, unknown: list[_Group], owners: dict[UUID, UUID], now: datetime) -> None:
        self._tell_redis(
            [
                Memory(claim.hash, Known(owners[one.event.id], now), claim.window)
                for one in unknown
                if (claim := one.event.claim) is not None
            ]
        )

    def _tell_redis(self, memories: list[Memory]) -> None:
        if not memories or self._memory is None or not self._breaker.allows(self._monotonic()):
            return
        try:
            self._memory.remember(memories)
        except RedisUnavailable as error:
            self._redis_failed(error)

    def _redis_failed(self, error: RedisUnavailable) -> None:
        log.warning("%s; the database alone decides for a while", error.detail)
        self._breaker.failed(self._monotonic())


def _tell(waiting: list[_Group], owners: dict[UUID, UUID]) -> None:
    """Tell who watches what was decided. Duplicates alone are counted, and remembered as requests."""
    accepted = [one.event for one in waiting if owners.get(one.event.id) == one.event.id]
    for integration, ids in ids_by_integration(accepted).items():
        tell(log, INFO, "Accepted events", integration=integration, count=len(ids), event_ids=ids)


def _is_late(claim: Claim, known: Known, now: datetime) -> bool:
    return now - known.slid_at >= min(SLIDE_EVERY, claim.window / 10)


def _hash(event: Event) -> str | None:
    return None if event.claim is None else event.claim.hash


def _grouped(batch: Sequence[tuple[Event, Future[Outcome]]]) -> list[_Group]:
    """Put equal requests of a batch together, the first one in front."""
    by_hash: dict[str, _Group] = {}
    waiting = []
    for event, future in batch:
        same = by_hash.get(event.claim.hash) if event.claim is not None else None
        if same is not None:
            same.others.append((event, future))
            continue
        one = _Group(event, future)
        waiting.append(one)
        if event.claim is not None:
            by_hash[event.claim.hash] = one
    return waiting


def _resolve(one: _Group, owner: UUID) -> None:
    _answer(
        one.first,
        Outcome(
            status="accepted" if owner == one.event.id else "duplicate",
            event_id=owner,
            duplicate_status=one.event.duplicate_status,
        ),
    )
    for event, future in one.others:
        _answer(future, Outcome(status="duplicate", event_id=owner, duplicate_status=event.duplicate_status))


def _answer(future: Future[Outcome], outcome: Outcome) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(outcome)


def _refuse(waiting: list[_Group], error: Unavailable) -> None:
    for one in waiting:
        for future in (one.first, *(future for _, future in one.others)):
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)
