"""Triggers that fire for events of an integration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome, SharedStreamProducer

from airflow_incoming.core.integration import parse_name
from airflow_incoming.core.stream import Sent, Take, parse_position
from airflow_incoming.core.wanted import wanted
from airflow_incoming.stores.redis_connection import connect_async
from airflow_incoming.triggers.assets import AssetMemory
from airflow_incoming.triggers.members import Broadcast, Member, Members, members_of

if TYPE_CHECKING:
    from airflow_incoming.triggers.reader import StreamReader

#: Seconds that one exchange with Redis may take; reading itself waits for a second.
REDIS_TIMEOUT = 5.0


class ArrivedEvent(TriggerEvent):
    """An event for a task or an asset. Airflow logs it, so it doesn't show its payload."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        super().__init__(dict(conf))  # type: ignore[no-untyped-call]  # Airflow's

    def __repr__(self) -> str:
        return f"TriggerEvent<incoming event {self.payload.get('_incoming.event_id')}>"

    __str__ = __repr__


class IncomingEventTrigger(BaseEventTrigger):
    """Fires for every accepted event of an integration, with what a DAG run would receive as conf.

    ``where`` narrows that to events whose parameters have these values: ``{"order.status": "paid"}``,
    ``{"header.x-shop": "de"}`` for a header that the integration passes on. Give it to an ``AssetWatcher``.

    It begins with the events that come after it was first started, and after a restart goes on where it
    was; if Redis came back empty in between, with all that this has got since. Each event comes at least
    once; its ``_incoming.event_id`` tells duplicates apart, and those that the trigger itself can recognise
    it drops. Raises ValueError that names what is wrong.
    """

    #: Triggers of one kind and integration share a reader. Those that come and go don't disturb the others.
    kind: ClassVar[str] = "watch"
    #: Whether the first event is also the last one.
    once: ClassVar[bool] = False

    def __init__(self, integration: str, where: Mapping[str, Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        try:
            self.integration = parse_name(integration)
        except ValueError as error:
            raise ValueError(f"integration {error}") from error
        self.wanted = wanted(where)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes the same trigger elsewhere."""
        where = {"where": dict(sorted(self.wanted.parameters.items()))} if self.wanted.parameters else {}
        return f"{__name__}.{type(self).__name__}", {"integration": self.integration, **where}

    def shared_stream_key(self) -> Hashable:
        """Return what is the same for all triggers that share a reader."""
        return ("airflow_incoming", self.kind, self.integration)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the reader. Raises RedisNotConfigured."""
        integration = kwargs["integration"]
        return _reader(integration, members_of(("airflow_incoming", cls.kind, integration)))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Broadcast]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield the events that are wanted."""
        async for event in self._filter(shared_stream, members_of(self.shared_stream_key())):
            yield event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same without sharing, where Airflow doesn't."""
        alone = Members()
        reader = _reader(self.integration, alone)
        try:
            async for event in self._filter(_unshared(reader), alone):
                yield event
        finally:
            await reader.aclose()

    async def _filter(
        self, stream: AsyncIterator[Broadcast], members: Members
    ) -> AsyncIterator[TriggerEvent]:
        memory = AssetMemory(self.asset_state_store)
        member = members.join(await self._member(memory))
        try:
            async for broadcast in stream:
                sent = broadcast.sent
                if member.cursor and member.epoch and not member.known_to_airflow:
                    member.known_to_airflow = True
                    await memory.note_begun(member.cursor)
                if (
                    member.is_new(broadcast)
                    and self.wanted.matches(sent.conf)
                    and await self._may_have(sent, members)
                ):
                    member.know(sent.event_id)
                    yield ArrivedEvent(sent.conf)
                    if self.once:
                        return
                member.passed(broadcast)
        finally:
            members.leave(member)

    async def _member(self, memory: AssetMemory) -> Member:
        cursor = self._cursor(memory)
        return Member(cursor=cursor, known_to_airflow=await memory.has_begun(cursor))

    async def _may_have(self, sent: Sent, members: Members) -> bool:
        return True

    def _cursor(self, memory: AssetMemory) -> str:
        """Return a name that is the same after a restart, and another one for each asset."""
        return hashlib.sha256(json.dumps([*self.serialize(), memory.names]).encode()).hexdigest()[:32]


class AwaitedEventTrigger(IncomingEventTrigger):
    """Fires once, for the first wanted event that comes after a position. For tasks that are deferred.

    ``taker``: who takes the event, where no two of them may have the same.
    """

    kind = "await"
    once = True

    def __init__(
        self,
        integration: str,
        where: Mapping[str, Any] | None = None,
        *,
        after: str,
        taker: str | None = None,
    ) -> None:
        super().__init__(integration, where)
        self.after = parse_position(after)
        self.taker = taker

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what makes the same trigger elsewhere."""
        path, kwargs = super().serialize()
        return path, {**kwargs, "after": str(self.after), "taker": self.taker}

    async def _member(self, memory: AssetMemory) -> Member:
        return Member(start=self.after, taker=self.taker)

    async def _may_have(self, sent: Sent, members: Members) -> bool:
        if self.taker is None:
            return True
        return await members.take(Take(event_id=sent.event_id, position=sent.position, taker=self.taker))


def _reader(integration: str, members: Members) -> StreamReader:
    from airflow_incoming.operators import installation
    from airflow_incoming.triggers.reader import ON_THEIR_WAY, StreamReader

    options = installation.with_redis("Waiting for events")
    return StreamReader(
        integration,
        members,
        lambda: connect_async(options.redis_url, timeout=REDIS_TIMEOUT),
        prefix=options.redis_prefix,
        on_their_way=max(1, min(ON_THEIR_WAY, installation.subscriber_queue_size() // 2)),
    )


async def _unshared(reader: SharedStreamProducer) -> AsyncIterator[Any]:
    async for broadcast, payload in reader.open_stream():
        yield broadcast
        await reader.advance([AdvanceItem(payload, AdvanceOutcome(acked=1, failed=0))])
