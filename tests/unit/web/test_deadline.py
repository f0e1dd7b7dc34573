"""One timer keeps many deadlines."""

from __future__ import annotations

import asyncio

import pytest

from airflow_incoming.core.errors import BodyTimeout
from airflow_incoming.web.deadline import Deadline, Deadlines


def test_each_deadline_ends_in_its_own_time() -> None:
    async def waits(deadlines: Deadlines, begin_at: float, ends: list[tuple[str, float]], name: str) -> None:
        await asyncio.sleep(begin_at)
        began = asyncio.get_running_loop().time()
        with pytest.raises(BodyTimeout), Deadline(deadlines):
            await asyncio.sleep(60)
        ends.append((name, asyncio.get_running_loop().time() - began))

    async def scenario() -> list[tuple[str, float]]:
        ends: list[tuple[str, float]] = []
        deadlines = Deadlines(0.2)
        await asyncio.gather(waits(deadlines, 0.1, ends, "second"), waits(deadlines, 0, ends, "first"))
        return ends

    ends = asyncio.run(scenario())
    assert [name for name, _ in ends] == ["first", "second"]
    assert all(0.19 <= seconds < 0.6 for _, seconds in ends)


def test_what_ended_in_time_is_left_alone() -> None:
    async def scenario() -> None:
        deadlines = Deadlines(0.05)
        with Deadline(deadlines):
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        with Deadline(deadlines):  # the timer is set again after it found nobody
            await asyncio.sleep(0.01)
        with pytest.raises(BodyTimeout), Deadline(deadlines):
            await asyncio.sleep(60)

    asyncio.run(scenario())


def test_deadlines_work_in_the_next_loop_too() -> None:
    deadlines = Deadlines(0.05)

    async def expires() -> None:
        with pytest.raises(BodyTimeout), Deadline(deadlines):
            await asyncio.sleep(60)

    async def leaves_its_timer() -> None:
        with Deadline(deadlines):
            await asyncio.sleep(0)

    asyncio.run(leaves_its_timer())
    asyncio.run(expires())


def test_another_error_in_the_block_is_not_hidden() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="mine"), Deadline(Deadlines(0.05)):
            raise ValueError("mine")

    asyncio.run(scenario())
