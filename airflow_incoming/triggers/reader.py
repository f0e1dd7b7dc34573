"""The one reader of a stream that triggers share: one connection to Redis, and nothing lost.

A second connection is opened where events may be had by one only: who asks for one can't wait until
reading has ended.

What a member has handled, and Airflow has persisted, is written as its cursor to Redis; after a
restart it begins there. So an event is passed on at least once, however the triggerer ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from airflow_incoming.core.stream import BEGINNING, Keys, Position, Sent, just_before, parse_position, sent_of
from airflow_incoming.stores.stream import entry_of_answer, milliseconds, take_command
from airflow_incoming.triggers.members import Broadcast, Member, Members

if TYPE_CHECKING:
    from airflow_incoming.stores.redis_connection import AsyncClient

log = logging.getLogger(__name__)

_Entry = tuple[Position, dict[str, str]]

#: Milliseconds that Redis waits for an event, and so the longest that a member waits to begin.
BLOCK = 1000
#: Events that are read at a time, and most that may be on their way to being persisted: Airflow fails
#: a trigger that falls more than [triggerer] shared_stream_subscriber_queue_size behind.
BATCH, ON_THEIR_WAY = 50, 400
#: Characters of bodies that are read at a time and may be on their way: parsed, they take ten times that.
BATCH_SIZE, SIZE_ON_THEIR_WAY = 1024 * 1024, 4 * 1024 * 1024
#: Characters from which a body is parsed in a thread, lest all triggers stand still meanwhile.
LARGE = 16 * 1024
#: Seconds in which other members may join before reading begins.
GATHERING = 0.3
#: How long a watcher may be away and still find its place, and seconds after which that is written anew,
#: lest Redis has lost it.
CURSOR_KEPT = timedelta(days=30)
RENEWED = 30.0
#: Seconds for which cursors stay when a member failed, until that has left.
HELD = 5.0
#: Seconds that saying good-bye may take.
CLOSING = 2.0
LONGEST_PAUSE = 5.0


class StreamReader(SharedStreamProducer):
    """Reads the stream of one integration for all of its members."""

    def __init__(
        self,
        integration: str,
        members: Members,
        connect: Callable[[], AsyncClient],
        *,
        prefix: str,
        on_their_way: int = ON_THEIR_WAY,
    ) -> None:
        self._integration = integration
        self._members = members
        self._connect = connect
        self._keys = Keys(prefix=prefix)
        self._most_on_their_way = on_their_way
        self._on_their_way = 0
        self._size_on_their_way = 0
        self._count = 1
        self._redis: AsyncClient | None = None
        self._asking: set[asyncio.Future[Any]] = set()
        self._answering: asyncio.Task[None] | None = None
        self._position: Position | None = None
        self._pause = 0.0
        self._renewed = time.monotonic()

    async def open_stream(self) -> AsyncIterator[tuple[Broadcast, Broadcast]]:
        """Yield events for ever, each as what is broadcast and as what :meth:`advance` is told of."""
        self._redis = self._connect()
        self._answering = asyncio.create_task(self._keep_answering())
        while not self._answering.done():
            read = await self._survive(self._read)
            epoch = self._members.epoch
            for position, fields in read or ():
                while self._is_full():
                    await self._survive(self._serve)
                    await asyncio.sleep(0.05)
                if (sent := await self._parse(position, fields)) is None:
                    continue
                broadcast = Broadcast(epoch=epoch, sent=sent, size=len(fields["body"]))
                self._on_their_way += 1
                self._size_on_their_way += broadcast.size
                yield broadcast, broadcast
                await asyncio.sleep(0)  # lets the members look at it
        self._answering.result()  # raises what nobody has foreseen

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Note how far the members are; it is written to Redis by the reader, on its connection."""
        self._on_their_way -= len(batch)
        self._size_on_their_way -= sum(item.broker_payload.size for item in batch)
        now = time.monotonic()
        for broadcast, outcome in batch:
            failed = outcome.failed or outcome.rejected
            for member in self._watchers():
                if failed:  # whose failure that was is seen when it leaves
                    member.held_until = now + HELD
                elif now >= member.held_until:
                    member.store(broadcast)

    async def aclose(self) -> None:
        """Write the cursors and disconnect."""
        if self._redis is None:
            return
        if self._answering is not None:
            self._answering.cancel()
        try:
            if self._asking:
                await asyncio.wait(self._asking, timeout=CLOSING)
            await asyncio.wait_for(self._write_cursors(), timeout=CLOSING)
        finally:
            await self._redis.aclose()

    async def _survive(self, act: Callable[[], Any]) -> Any:
        """Do something with Redis and return its answer; while it is out of reach, wait and return None."""
        from redis.exceptions import RedisError

        try:
            done = await act()
        except (RedisError, OSError) as error:
            if not self._pause:
                log.warning("Redis can't be reached (%s); waiting for it", error)
            self._pause = min(self._pause * 2 or 0.25, LONGEST_PAUSE)
            await asyncio.sleep(self._pause)
            return None
        if self._pause:
            log.info("Redis is back")
            self._pause = 0.0
        return done

    async def _read(self) -> list[_Entry]:
        await self._serve()
        if self._position is None:
            await asyncio.sleep(0.05)
            return []
        answer = await self._ask(
            *("XREAD", "COUNT", self._count, "BLOCK", BLOCK, "STREAMS"),
            self._keys.events(self._integration),
            str(self._position),
        )
        read = [entry_of_answer(entry) for entry in _entries(answer)]
        if read:
            self._position, _ = read[-1]
            size = sum(len(fields.get("body", "")) for _, fields in read) // len(read)
            self._count = max(1, min(BATCH, self._count * 2, BATCH_SIZE // max(1, size)))
        return read

    async def _parse(self, position: Position, fields: dict[str, str]) -> Sent | None:
        """Return the event of an entry; None where somebody else wrote that."""
        try:
            if len(fields.get("body", "")) < LARGE:
                return sent_of(self._integration, position, fields)
            return await asyncio.to_thread(sent_of, self._integration, position, fields)
        except ValueError as error:
            log.error("%s It is left out.", error)
            return None

    def _is_full(self) -> bool:
        return self._on_their_way >= self._most_on_their_way or self._size_on_their_way >= SIZE_ON_THEIR_WAY

    async def _serve(self) -> None:
        """Let new members begin, write cursors."""
        while self._members.joining:
            await self._let_begin()
        await self._write_cursors()

    async def _keep_answering(self) -> None:
        """Answer the requests of members as they come, however long reading takes."""
        while await self._members.asked.wait():
            await self._survive(self._answer)

    async def _answer(self) -> None:
        """Answer all requests with one command."""
        if not (requests := self._members.unanswered()):
            return
        takes = [request.take for request in requests]
        answers = await self._ask(*take_command(self._keys, self._integration, takes))
        for request, taken in zip(requests, answers, strict=True):
            if not request.answer.done():  # it is, where its member was cancelled meanwhile
                request.answer.set_result(bool(taken))

    async def _let_begin(self) -> None:
        """Begin an epoch for the members that are joining, as far back as any of them has to begin."""
        await asyncio.sleep(GATHERING)
        new = [member for member in self._members.joining if member in self._members.all]
        starts = [(member, await self._start_of(member)) for member in new]
        await self._check_name()
        self._members.joining = [member for member in self._members.joining if member not in new]
        self._members.joining = [member for member in self._members.joining if member in self._members.all]
        self._members.epoch += 1
        for member, start in starts:
            member.begin(self._members.epoch, start)
            self._position = start if self._position is None else min(self._position, start)

    async def _start_of(self, member: Member) -> Position:
        if member.start is not None:
            return await self._start_of_taker(member.start, member.taker)
        assert member.cursor is not None
        member.changed = True  # also says that it lives
        held = await self._ask("GET", self._keys.cursor(self._integration, member.cursor))
        if held is not None and (start := member.recall(held)) is not None:
            await self._check_loss(start)
            return start
        if member.known_to_airflow:
            log.error(
                "Redis has lost the place of a watcher of integration %s. It begins with the oldest event "
                "that there is, so some may come again, and what nobody has published anew is lost to it.",
                self._integration,
            )
            return BEGINNING
        newest = await self._ask("XREVRANGE", self._keys.events(self._integration), "+", "-", "COUNT", 1)
        return entry_of_answer(newest[0])[0] if newest else BEGINNING

    async def _start_of_taker(self, start: Position, taker: str | None) -> Position:
        """Return where a waiting task begins: at the event that it took, if it has taken one."""
        held = taker and await self._ask("GET", self._keys.own(self._integration, taker))
        return min(start, just_before(parse_position(held.decode()))) if held else start

    async def _check_loss(self, cursor: Position) -> None:
        """Say so where the stream has been cut off behind a cursor."""
        key = self._keys.events(self._integration)
        if cursor == BEGINNING or await self._ask("XRANGE", key, str(cursor), str(cursor)):
            return
        oldest = await self._ask("XRANGE", key, "-", "+", "COUNT", 1)
        if oldest and entry_of_answer(oldest[0])[0] > cursor:
            log.error(
                "Events of integration %s may be lost to a watcher: Redis keeps none as old as the last one "
                "that it has seen. Raise [incoming] stream_length or stream_size if so many come while no "
                "triggerer runs.",
                self._integration,
            )

    async def _check_name(self) -> None:
        """Say so where there is no such integration. Another node of a cluster may know that, and be down."""
        from redis.exceptions import RedisError

        try:
            told = await self._ask("GET", self._keys.names)
        except (RedisError, OSError):
            return
        names = json.loads(told) if told else None
        if names is not None and self._integration not in names:
            log.warning(
                "There is no integration %r (yet); there are: %s. Waiting all the same.",
                self._integration,
                ", ".join(names) or "none",
            )

    async def _write_cursors(self) -> None:
        renew = time.monotonic() - self._renewed > RENEWED
        if renew:
            self._renewed = time.monotonic()
        for member in self._watchers():
            if member.epoch and (member.changed or renew):
                await self._write_cursor(member)

    async def _write_cursor(self, member: Member) -> None:
        assert member.cursor is not None
        member.changed = False
        key = self._keys.cursor(self._integration, member.cursor)
        try:
            await self._ask("SET", key, member.place(), "PX", milliseconds(CURSOR_KEPT))
        except BaseException:
            member.changed = True
            raise

    def _watchers(self) -> list[Member]:
        """Return the members whose places are kept."""
        return [member for member in self._members.all if member.cursor is not None]

    async def _ask(self, *command: Any) -> Any:
        """Send one command. Ends at once when it is cancelled, where redis-py may overhear that."""
        assert self._redis is not None
        asking = self._redis.execute_command(*command)
        future = asyncio.ensure_future(asking)
        self._asking.add(future)
        future.add_done_callback(self._asking.discard)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.cancel()
            raise


def _entries(answer: Any) -> Sequence[Any]:
    """Return the entries of the one stream that XREAD was asked for, in either protocol's shape."""
    if not answer:
        return []
    if isinstance(answer, dict):
        ((entries,),) = answer.values()
    else:
        ((_, entries),) = answer
    return list(entries)
