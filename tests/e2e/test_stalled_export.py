"""A reader of an export that stalls holds a page of it, however large the whole is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from airflow_incoming.web.views.events import EXPORTS
from tests.e2e.strangers import NATIVE, Siege
from workbench.processes import wait_until

EVENTS = 300
BODY = json.dumps({"a": "x" * 240_000}).encode()
#: Bytes of memory that two stalled readers may cost: of 72 MB each would hold all.
MOST = 24 * 2**20


@pytest.fixture
def heavy(siege: Siege) -> Siege:
    siege.apply({"name": "heavy"})
    wait_until(lambda: siege.send(NATIVE, "heavy", BODY).status_code == 200, seconds=20, what="it to be live")
    for _ in range(EVENTS):
        assert siege.send(NATIVE, "heavy", BODY).status_code == 200
    return siege


@pytest.fixture
def admin(siege: Siege) -> Iterator[httpx.Client]:
    cookies = {"_token": siege.house.airflow.token("admin")}
    base = f"{siege.house.airflow.url}/pluginsv2/incoming-ui"
    with httpx.Client(base_url=base, cookies=cookies, timeout=120) as client:
        yield client


def settled(read: Callable[[], int]) -> int:
    """Return a number when it has stopped growing."""
    last = -1
    while (now := read()) > last:
        last = now
        time.sleep(1)
    return last


def test_exports_are_held_by_pages(heavy: Siege, admin: httpx.Client) -> None:
    """Two stall: memory stays, and a third is told to wait. As soon as they have left, all comes again."""
    where = "/events/export.json?integration=heavy"
    began = time.monotonic()
    whole = admin.get(where)
    lasts = time.monotonic() - began
    assert len(whole.json()) == EVENTS + 1
    before = settled(lambda: heavy.rss(0))
    url = httpx.URL(f"{admin.base_url}{where.removeprefix('/')}")
    cookie = f"_token={admin.cookies['_token']}"
    with ExitStack() as stack:
        for _ in range(EXPORTS):
            wire = stack.enter_context(heavy.wire(NATIVE))
            wire.sendall(
                b"GET %s HTTP/1.1\r\nHost: x\r\nCookie: %s\r\n\r\n" % (url.raw_path, cookie.encode())
            )
            assert wire.recv(12) == b"HTTP/1.1 200"
        assert settled(lambda: heavy.rss(0)) - before < MOST
        assert admin.get(where).status_code == 409
        assert admin.get("/events/?integration=heavy").status_code == 200
    # Not when they would have been at their end.
    small = f"{where}&state=dead"
    wait_until(
        lambda: admin.get(small).status_code == 200, seconds=max(1.0, lasts / 3), what="room for another"
    )
    assert len(admin.get(where).json()) == EVENTS + 1
