"""Whatever is sent, the three receivers answer and keep the same, but for a reviewed list of differences."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.raw import Spoken, speak
from tests.e2e.strangers import LATER, RECEIVERS, Siege
from tests.e2e.varied import Varied, varied

#: Headers of an answer that senders act upon. Others are the server's (Date, Vary, how the length is said).
TOLD = (
    "content-type",
    "content-encoding",
    "www-authenticate",
    "allow",
    "accept",
    "accept-encoding",
    "x-incoming-status",
    "cache-control",
    "x-content-type-options",
    "connection",
    "set-cookie",
)
#: Headers of a request that differ by what they are, not by who has read them.
ADDRESSED = ("host", "content-length")
#: What differs by nature: an event's id, and how things stand with the dispatcher.
_OF_THE_MOMENT = re.compile(
    rb'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=[a-z]": )(?:[\d.]+|null)(?=[,}])'
)

#: Why receivers may differ in a request all the same: name → the receiver that stands alone, and the reason.
REVIEWED: dict[str, tuple[str, str]] = {
    "POST asterisk": ("serve", "no path of ours: inside the api-server it is Airflow's, with Airflow's 404"),
    "POST backslash": (
        "all",
        "no path of ours: Airflow's API and its Flask application each have their own answer",
    ),
    "header accepting": ("serve", "the api-server compresses what it answers for those who accept that"),
    "header a cookie of Airflow's": (
        "serve",
        "a middleware of Airflow's takes a login that is none back from whoever sends it, at every path",
    ),
    "header 400 KB": (
        "serve",
        "it closes at 128 KiB; the api-server's own server reads on, and the guard answers 431",
    ),
}
#: What the same answer is, of requests that were once answered otherwise, or elsewhere still are.
EXPECTED = {
    "POST base": 404,
    "GET base": 404,
    "POST base/": 404,
    "POST endpoint/": 200,
    "type b'application/json;charset=UTF8'": 200,
    "type b'application/json; charset=iso-8859-1'": 200,
    "type b'text/plain'": 415,
    "types, then b'application/json'": 415,
    "type_": 415,
    "body mark": 200,
    "body UTF-16": 400,
    "body twice encoded": 400,
    "header two hosts": 400,
    "host b'a..b'": 400,
    "host b'a_b:80'": 200,
    "POST newline within": 404,
    "POST newline behind health": 404,
    "POST /endpoint": 404,
    "own hash repeated": 422,
    "own hash in UTF-8": 422,
    "credential good": 200,
    "credential with white space": 200,
    "credential twice": 401,
    "credential underscore": 401,
    "framing trailers, credential": 401,
    "framing trailers, credential, 2 segments": 401,
    "framing chunked by an underscore": 200,
    "framing gzip, chunked": 400,
    "framing upgrade h2c": 200,
    "framing upgrade h2c, 2 segments": 200,
    "framing upgrade websocket": 200,
    "framing a byte too many": 200,
    "framing HTTP/1.0": 200,
    "framing HTTP/1.0, chunked": 400,
    "framing HTTP/0.9": 400,
    "framing HTTP/2.0": 400,
    "framing no host": 400,
    "framing less than the length": 408,
}


@pytest.fixture(scope="module")
def addressed(siege: Siege) -> dict[str, dict[bytes, bytes]]:
    """For each receiver, what the placeholders stand for; what remembers has an integration for each."""
    names = [f"{kind}-{receiver}" for kind in ("hash", "parameter") for receiver in RECEIVERS]
    siege.apply(
        *(
            {
                "name": name,
                "deduplication": {"parameters": ["header.x-hash" if "hash" in name else "header.x-id"]}
                if "hash" in name
                else {"parameters": ["body.a", "header.x-id"]},
            }
            for name in names
        ),
        {"name": "alike", "headers": ["x-a"]},
        {"name": "alike-draft", "state": "draft"},
    )
    time.sleep(LATER.total_seconds())
    ids = siege.house.endpoints
    return {
        receiver: {
            b"<BASE>": path,
            b"<OPEN>": path + b"/" + ids["alike"].encode(),
            b"<HASH>": path + b"/" + ids[f"hash-{receiver}"].encode(),
            b"<PARAMETER>": path + b"/" + ids[f"parameter-{receiver}"].encode(),
            b"<JWT>": path + b"/" + ids["shop"].encode(),
            b"<DRAFT>": path + b"/" + ids["alike-draft"].encode(),
            b"<TOKEN>": siege.tokens["shop"].encode(),
        }
        for receiver, number in RECEIVERS.items()
        if (path := httpx.URL(siege.house.receive[number]).raw_path)
    }


def written(segment: bytes, meanings: Mapping[bytes, bytes]) -> bytes:
    for placeholder, meaning in meanings.items():
        segment = segment.replace(placeholder, meaning)
    return segment


def seen(spoken: Spoken) -> list[Any]:
    """Return what a sender sees, without what is of the moment."""
    return [
        [
            answer.status,
            {name: answer.headers[name] for name in TOLD if name in answer.headers},
            "retry-after" in answer.headers,
            _OF_THE_MOMENT.sub(b"<>", answer.body).decode("latin-1")[:300],
        ]
        for answer in spoken.answers
    ] + ["kept" if spoken.kept else "closed"]


def event_ids(spoken: Spoken) -> list[str]:
    return [
        json.loads(answer.body)["event_id"]
        for answer in spoken.answers
        if answer.headers.get("x-incoming-status") == "accepted"
    ]


def stored(siege: Siege, wanted: set[str]) -> dict[str, Any]:
    """Return what is kept of events: body, headers, query and the sender's address."""
    rows = siege.house.sql(
        "select e.id, e.body, e.headers, e.query, e.remote from incoming_event e"
        " join incoming_integration i on i.id = e.integration_id"
        " where i.name like 'alike%' or i.name like 'hash-%' or i.name like 'parameter-%' or i.name = 'shop'"
    )
    return {
        str(event_id): [body, {n: v for n, v in headers.items() if n not in ADDRESSED}, query, remote]
        for event_id, body, headers, query, remote in rows
        if str(event_id) in wanted
    }


def told(siege: Siege, receiver: str, request: Varied, meanings: Mapping[bytes, bytes]) -> list[Spoken]:
    base = siege.house.receive[RECEIVERS[receiver]]
    segments = [written(segment, meanings) for segment in request.segments]
    return [speak(base, segments, head=request.head, ends=request.ends) for _ in range(request.times)]


def outcome(spoken: list[Spoken], events: Mapping[str, Any]) -> list[Any]:
    """Return all that may be compared: answers, connections, events."""
    return [[seen(each), [events[event_id] for event_id in event_ids(each)]] for each in spoken]


def test_the_receivers_answer_and_keep_the_same(
    siege: Siege, addressed: dict[str, dict[bytes, bytes]]
) -> None:
    """A failure shows each difference; one that is no longer there has to leave the list."""
    requests = list(varied())
    assert len({request.name for request in requests}) == len(requests) > 300
    with ThreadPoolExecutor(12) as threads:
        futures = {
            (request.name, receiver): threads.submit(told, siege, receiver, request, meanings)
            for request in requests
            for receiver, meanings in addressed.items()
        }
        spoken = {key: future.result() for key, future in futures.items()}
    ids = {event_id for each in spoken.values() for one in each for event_id in event_ids(one)}
    events = stored(siege, ids)
    assert events.keys() == ids
    alone: dict[str, str] = {}
    shown: list[str] = []
    for request in requests:
        by = {receiver: outcome(spoken[request.name, receiver], events) for receiver in RECEIVERS}
        if (one := who_stands_alone(by)) is not None:
            alone[request.name] = one
            shown.append(f"\n{request.name}: {request.segments!r:.300}")
            shown += [f"{name:7} {json.dumps(each, ensure_ascii=False):.1500}" for name, each in by.items()]
    assert alone == {name: receiver for name, (receiver, _) in REVIEWED.items()}, "\n".join(shown)
    statuses = {name: spoken[name, "serve"][0].answers[0].status for name in EXPECTED}
    assert statuses == EXPECTED


def who_stands_alone(by: Mapping[str, Any]) -> str | None:
    """Return the receiver that differs from the two others; ``all`` where each does, None where none does."""
    native, flask, serve = (by[receiver] for receiver in ("native", "flask", "serve"))
    if native == flask:
        return None if flask == serve else "serve"
    return "flask" if native == serve else "native" if flask == serve else "all"
