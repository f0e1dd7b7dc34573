"""The triggers that share one reader of a stream, and how far each of them has got.

A reader broadcasts what it reads to all. When a trigger joins that has to begin further back, the
reader goes back there and begins a new *epoch*; the others skip what they have handled, and the new one
ignores what was broadcast before its epoch, lest it take that for having got further than it has.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow_incoming.core.stream import BEGINNING, Position, Sent, Take, parse_position

log = logging.getLogger(__name__)

#: Event ids by which a trigger knows duplicates: in memory, and beside its cursor in Redis.
KNOWN = 10_000
KNOWN_FOR_LONGER = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Broadcast:
    """One event on its way to all members. ``size``: characters of its body."""

    epoch: int
    sent: Sent
    size: int


@dataclass(kw_only=True, slots=True, eq=False)
class Member:
    """One trigger. It begins after ``start``; None: where its ``cursor`` is, or else with what comes next.

    Where there is no cursor of a watcher that is ``known_to_airflow``, Redis has lost that, and it begins
    with all there is.

    Where it is the ``taker`` of an event that only one may have, and has taken one, it begins with that.

    ``handled`` is the last event that it has looked at, ``stored`` the last one up to which all that it
    made of events is persisted. ``known`` are ids of events that it has passed on.
    """

    start: Position | None = None
    cursor: str | None = None
    taker: str | None = None
    known_to_airflow: bool = False
    epoch: int = 0
    handled: Position = BEGINNING
    stored: Position = BEGINNING
    known: dict[str, None] = field(default_factory=dict)
    known_for_longer: deque[str] = field(default_factory=lambda: deque(maxlen=KNOWN_FOR_LONGER))
    #: Monotonic seconds before which ``stored`` stays, and whether it has to be written to Redis.
    held_until: float = 0.0
    changed: bool = False

    def begin(self, epoch: int, position: Position) -> None:
        """Begin after a position, with what is broadcast from this epoch on."""
        self.epoch, self.handled, self.stored = epoch, position, position

    def is_new(self, broadcast: Broadcast) -> bool:
        """Tell whether this event was not looked at yet, and not passed on under another position."""
        sent = broadcast.sent
        return self._hears(broadcast) and sent.position > self.handled and sent.event_id not in self.known

    def know(self, event_id: str) -> None:
        """Remember that an event is passed on."""
        self.known[event_id] = None
        if len(self.known) > KNOWN:
            del self.known[next(iter(self.known))]

    def passed(self, broadcast: Broadcast) -> None:
        """Remember that an event was looked at."""
        if self._hears(broadcast):
            self.handled = max(self.handled, broadcast.sent.position)

    def store(self, broadcast: Broadcast) -> None:
        """Note that what was made of an event is persisted, if this member looked at it."""
        position = broadcast.sent.position
        if self._hears(broadcast) and self.stored < position <= self.handled:
            self.stored, self.changed = position, True
            if broadcast.sent.event_id in self.known:
                self.known_for_longer.append(broadcast.sent.event_id)

    def place(self) -> str:
        """Return what its cursor holds: a position, and ids of events before it."""
        return json.dumps({"position": str(self.stored), "known": list(self.known_for_longer)})

    def recall(self, place: bytes) -> Position | None:
        """Remember what its cursor held, and return the position; None where that can't be read."""
        try:
            cursor = json.loads(place)
            position, known = parse_position(cursor["position"]), [str(each) for each in cursor["known"]]
        except (ValueError, KeyError, TypeError):
            log.error("A watcher's cursor can't be read; it begins as if there were none")
            return None
        self.known_for_longer.extend(known)
        self.known.update(dict.fromkeys(known))
        return position

    def _hears(self, broadcast: Broadcast) -> bool:
        return 0 < self.epoch <= broadcast.epoch


@dataclass(kw_only=True, slots=True, eq=False)
class Request:
    """A member wants an event that only one may have."""

    take: Take
    answer: asyncio.Future[bool]


class Members:
    """All members of one reader. For one event loop."""

    def __init__(self) -> None:
        self.all: set[Member] = set()
        self.joining: list[Member] = []
        self.requests: list[Request] = []
        #: Set while there are requests.
        self.asked = asyncio.Event()
        self.epoch = 0

    def join(self, member: Member) -> Member:
        """Let a member in; the reader lets it begin."""
        self.all.add(member)
        self.joining.append(member)
        return member

    def leave(self, member: Member) -> None:
        """Forget a member."""
        self.all.discard(member)

    async def take(self, take: Take) -> bool:
        """Tell whether this taker may have an event that only one may have; waits while Redis is away."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.requests.append(Request(take=take, answer=answer))
        self.asked.set()
        return await answer

    def unanswered(self) -> list[Request]:
        """Return the requests that still want an answer, and forget the others."""
        self.requests = [request for request in self.requests if not request.answer.done()]
        if not self.requests:
            self.asked.clear()
        return list(self.requests)


_members: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, Members]] = WeakKeyDictionary()


def members_of(key: Hashable) -> Members:
    """Return the members of the shared stream with this key, in the running event loop."""
    return _members.setdefault(asyncio.get_running_loop(), {}).setdefault(key, Members())
