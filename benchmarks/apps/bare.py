"""Starlette alone: an echo, an app that asks only Redis, one commit each, and group commit.

They hold to the promises that the comparison is about (an event is committed before its 200, a known
one isn't stored again) and to nothing else: no limits, no strict JSON, no authentication, no
flattening, no outages. Each is served by one process of uvicorn with uvloop and httptools.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

WINDOW = 7 * 86400 * 1000
MAX_BATCH = 256

#: An event's hash is unique, so that the database decides where Redis has forgotten.
SCHEMA = """
create table if not exists event (
    id uuid primary key, hash text not null unique, received_at timestamptz not null,
    body text not null, headers jsonb not null
)
"""
INSERT = "insert into event values ($1, $2, $3, $4, $5) on conflict (hash) do nothing"
INSERT_MANY = """
insert into event select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::jsonb[])
on conflict (hash) do nothing returning hash
"""
#: One command for a batch, as serve has it: redis-py takes three times as long for a pipeline of many.
LOOK = """
local known = {}
for i, key in ipairs(KEYS) do known[i] = redis.call('GETEX', key, 'PX', ARGV[1]) end
return known
"""
REMEMBER = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end"


class Event(NamedTuple):
    """One row."""

    id: UUID
    hash: str
    received_at: datetime
    body: str
    headers: str


async def _read(request: Request) -> Event:
    body = await request.body()
    payload = json.loads(body)
    return Event(
        id=uuid4(),
        hash=hashlib.sha256(str(payload["order"]["id"]).encode()).hexdigest(),
        received_at=datetime.now(timezone.utc),
        body=body.decode(),
        headers=json.dumps(dict(request.headers)),
    )


def _accepted(event: Event) -> Response:
    return JSONResponse({"status": "accepted", "event_id": str(event.id)})


@asynccontextmanager
async def _stores(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    redis = Redis.from_url(os.environ["BENCH_REDIS"])
    async with asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=4, max_size=16) as pool:
        await pool.execute(SCHEMA)
        yield {"redis": redis, "pool": pool}
    await redis.aclose()


async def _echo(request: Request) -> Response:
    return JSONResponse({"order": json.loads(await request.body())["order"]["id"]})


async def _ask_redis(request: Request) -> Response:
    event = await _read(request)
    known = await request.state.redis.getex(f"bare:{event.hash}", px=WINDOW)
    if known:
        return Response(status_code=204)
    await request.state.redis.set(f"bare:{event.hash}", str(event.id), px=WINDOW)
    return _accepted(event)


async def _commit_each(request: Request) -> Response:
    event = await _read(request)
    redis = request.state.redis
    if await redis.getex(f"bare:{event.hash}", px=WINDOW):
        return Response(status_code=204)
    stored = await request.state.pool.execute(INSERT, *event)
    await redis.set(f"bare:{event.hash}", str(event.id), px=WINDOW)
    return _accepted(event) if stored.endswith("1") else Response(status_code=204)


class GroupCommit:
    """One task that stores whatever is waiting: one Redis round trip, one commit, one Redis round trip."""

    def __init__(self, redis: Redis, pool: asyncpg.Pool) -> None:
        self._look = redis.register_script(LOOK)
        self._remember = redis.register_script(REMEMBER)
        self._pool = pool
        self._queue: asyncio.Queue[tuple[Event, asyncio.Future[bool]]] = asyncio.Queue()

    async def submit(self, event: Event) -> bool:
        """Return whether the event is new, once it is committed."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((event, future))
        return await future

    async def run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                new = await self._store([event for event, _ in batch])
            except Exception as error:  # noqa: BLE001  becomes each one's answer
                for _, future in batch:
                    future.set_exception(error)
                continue
            for event, future in batch:
                future.set_result(event.hash in new)
                new.discard(event.hash)  # the second of two equal ones in a batch

    async def _store(self, events: list[Event]) -> set[str]:
        known = await self._look(keys=[f"bare:{event.hash}" for event in events], args=[WINDOW])
        unknown = [event for event, answer in zip(events, known, strict=True) if not answer]
        if not unknown:
            return set()
        rows = await self._pool.fetch(INSERT_MANY, *map(list, zip(*unknown, strict=True)))
        await self._remember(
            keys=[f"bare:{event.hash}" for event in unknown],
            args=[WINDOW, *(str(event.id) for event in unknown)],
        )
        return {row["hash"] for row in rows}


@asynccontextmanager
async def _grouping(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with _stores(app) as stores:
        group = GroupCommit(stores["redis"], stores["pool"])
        running = asyncio.create_task(group.run())
        yield {"group": group}
        running.cancel()


async def _commit_together(request: Request) -> Response:
    event = await _read(request)
    new = await request.state.group.submit(event)
    return _accepted(event) if new else Response(status_code=204)


def _app(endpoint: Any, lifespan: Any = None) -> Starlette:
    return Starlette(routes=[Route("/events", endpoint, methods=["POST"])], lifespan=lifespan)


echo = _app(_echo)
redis_only = _app(_ask_redis, _stores)
one_commit = _app(_commit_each, _stores)
group_commit = _app(_commit_together, _grouping)
