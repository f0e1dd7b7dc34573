"""What Airflow's access log gets to see of a URL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_incoming.web import access_log
from airflow_incoming.web.access_log import RedactedURL


def pass_on(path: str, query: bytes) -> tuple[bytes, bytes]:
    """Return the query in front and behind."""
    behind: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        behind.update(scope)

    scope = {"type": "http", "path": path, "root_path": "", "query_string": query}
    asyncio.run(RedactedURL(app, ("/incoming", "/pluginsv2/incoming"))(scope, None, None))  # type: ignore[arg-type]
    return scope["query_string"], behind["query_string"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    "path", ["/incoming/x", "/pluginsv2/incoming/x", "/incoming/auth/token", "//incoming//x"]
)
def test_it_sees_no_credential(path: str) -> None:
    """Whoever answers the request does: a query can be a parameter of deduplication."""
    assert pass_on(path, b"jwt=a&n=1") == (b"jwt=[redacted]&n=1", b"jwt=a&n=1")
    assert pass_on(path, b"n=\xff") == (b"n=?", b"n=\xff")


@pytest.mark.parametrize("path", ["/api/v2/dags", "/incomings", "/pluginsv2/incoming-ui/events/"])
def test_what_is_not_ours_is_left_alone(path: str) -> None:
    """Airflow's requests are Airflow's matter."""
    assert pass_on(path, b"jwt=a") == (b"jwt=a", b"jwt=a")


@pytest.mark.parametrize("path", ["/incoming/{}x", "/incoming/x{}", "/incoming/{}/", "/incoming/a/{}"])
def test_it_sees_no_mistyped_endpoint(path: str) -> None:
    """Whoever misspells a URL is answered 404, and gives it away as well."""
    for spelled in ("mfrggzdfmztwq2lkmfrggzdfmy", "MFRGGZDFMZTWQ2LKMFRGGZDFMY"):
        scope = {"type": "http", "path": path.format(spelled), "root_path": "", "query_string": b""}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            """Answer nothing."""

        asyncio.run(RedactedURL(app, ("/incoming",))(scope, None, None))  # type: ignore[arg-type]
        assert "zdfm" not in str(scope["path"]).lower()


@pytest.mark.parametrize("prefix", ["/incoming", "/pluginsv2/incoming", "//incoming/"])
def test_it_sees_no_endpoint(prefix: str) -> None:
    """Knowing the URL of an open integration is enough to send to it; a few letters tell which one it was."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["query_string"]))

    path, query = f"{prefix}/mfrggzdfmztwq2lkmfrggzdfmy", b"id=mfrggzdfmztwq2lkmfrggzdfmy&n=1"
    scope = {"type": "http", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": query}
    asyncio.run(RedactedURL(app, ("/incoming", "/pluginsv2/incoming"))(scope, None, None))  # type: ignore[arg-type]
    assert seen == [(path, query)]
    shown = f"{prefix}/mfrg[redacted]"
    assert scope == {
        "type": "http",
        "root_path": "",
        "path": shown,
        "raw_path": shown.encode(),
        "query_string": b"id=[redacted]&n=1",
    }


def test_of_a_long_query_little_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 KiB of it would take a quarter of a second, for which anybody may ask."""
    looked_at: list[int] = []
    redact = access_log.redact_query

    def look(query: str, **about: Any) -> str:
        looked_at.append(len(query))
        return redact(query, **about)

    monkeypatch.setattr(access_log, "redact_query", look)
    query = b"a=%3Fb=%253F&" * 5000
    seen, kept = pass_on("/incoming/x", query)
    assert kept == query
    assert looked_at == [len(seen)]
    assert 2000 < len(seen) <= 2048
