"""After a run that used them all no secret is to be found anywhere, and no script of a stranger runs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser
from redis import Redis
from sqlalchemy import inspect, text

from tests.e2e.strangers import RECEIVERS, Siege
from tests.e2e.tour import Tourist
from workbench.processes import wait_until

#: What a stranger would like the administrator's browser to do, in every place that takes text.
SCRIPT = "<script>top.pwned=1</script>\"'><img src=x onerror=top.pwned=1>"
#: Told apart from what may be kept: sent where nothing secret belongs.
MARKER = "marker-of-a-harmless-header"
#: A line that looks like one of a server's log.
FORGED = "2026-01-01 00:00:00 CRITICAL forged by a stranger"
SENT = {
    "Authorization": "Basic c2VjcmV0LW9mOmEtc2VuZGVy",
    "Cookie": "session=secret-cookie-of-a-sender",
    "X-Api-Key": "secret-api-key-of-a-sender",
    "X_Api_Key": "secret-api-key-with-underscores",
    "X-Hub-Signature-256": "sha256=secret-signature-of-a-sender",
    "X-Auth": "secret-auth-of-a-sender",
    "PayPal-Transmission-Sig": "secret-transmission-sig-of-a-sender",
    "Cf-Access-Jwt-Assertion": "secret-assertion-of-an-access-proxy",
    "DPoP": "secret-proof-of-possession",
    "X-Functions-Key": "secret-functions-key-of-a-sender",
    "X-Amzn-Oidc-Data": "secret-oidc-data-of-a-load-balancer",
    "X-Goog-Iap-Jwt-Assertion": "secret-assertion-of-another-proxy",
    "Ocp-Apim-Subscription-Key": "secret-subscription-key-of-a-sender",
    "X-Access-Key": "secret-access-key-of-a-sender",
    "X-Private-Key": "secret-private-key-of-a-sender",
    "X-Sig": "secret-sig-of-a-sender",
    "X-Client-Cert": "secret-client-cert-of-a-sender",
    "X-Forwarded-Client-Cert": "Hash=secret-forwarded-client-cert",
    "X-Note": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhLXNlbmRlciJ9.c2VjcmV0LXNpZ25hdHVyZQ",
    "X-Remark": "inc_aaaaaaaaaaaaaaaa_secretAPIkeyOfSomebodyWhoPutItAnywhere12345",
}
#: Headers in which proxies and browsers repeat the URL, and what it gives away.
URLS = {
    name: f"/x?token=secret-token-in-{name.lower()}&note=harmless"
    for name in ("X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "Referer")
}
#: Headers in which they repeat the path, and so what is enough to send to an open endpoint.
PATHS = {
    "X-Envoy-Original-Path": "{}",
    "X-Note-2": "%2Fincoming%2F{}",
    "X-Endpoint": "id={}",
    "Link": "<{}/>",
}
QUERY_SECRETS = {
    name: f"secret-{name}-in-a-query" for name in ("token", "jwt", "sig", "pwd", "pass", "code", "key")
}
BODY_MARKER = "marker-of-a-body"


@pytest.fixture(scope="module")
def used(
    siege: Siege,
) -> dict[str, str]:
    """Use every secret there is, rightly and wrongly; return them by name."""
    session = siege.house.airflow.token()
    siege.tokens["session"] = session
    siege.apply(
        {"name": "hostile", "title": SCRIPT[:120], "dags": ["one"], "headers": ["x-trace"]},
        {"name": "strict", "dags": ["strict"]},
    )
    siege.make_key("spare")
    with_page = make_key_in_page(siege, session)

    def known() -> bool:
        return all(siege.send(receiver, "hostile").status_code == 200 for receiver in RECEIVERS.values())

    wait_until(known, seconds=10, what="every process to know that it is published")
    token = siege.tokens["shop"]
    for receiver in RECEIVERS.values():
        paths = [(name, value.format(siege.house.endpoints["hostile"])) for name, value in PATHS.items()]
        headers = [*SENT.items(), *URLS.items(), *paths, ("X-Trace", MARKER), ("X-Evil", SCRIPT)]
        query = "?" + "&".join(f"{name}={value}" for name, value in QUERY_SECRETS.items()) + "&note=harmless"
        query += f"&source=/incoming/{siege.house.endpoints['hostile']}"
        body = json.dumps({SCRIPT: SCRIPT, "deep": [{SCRIPT + ".x": SCRIPT}], "a": BODY_MARKER}).encode()
        assert siege.send(receiver, "hostile", body, headers, query=query).status_code == 200
        body = json.dumps({"order.id": f"{BODY_MARKER}\n{FORGED}"}).encode()
        headers = [*SENT.items(), *URLS.items(), ("Referer", siege.house.url("hostile", receiver))]
        assert siege.send(receiver, "strict", body, headers).status_code == 200
        assert siege.send(receiver, "shop", headers=[("Authorization", f"Bearer {token}")]).status_code == 200
        for bad in (f"Bearer {token[:-3]}AAA", f"Bearer {session}", f"Basic {token}"):
            refused = siege.send(receiver, "shop", headers=[("Authorization", bad)], query=f"?jwt={token}")
            assert refused.status_code == 401
        for api_key in (
            siege.api_keys["shop"],
            siege.api_keys["shop"] + "x",
            siege.api_keys["revoked"],
            f"\n{FORGED}",
        ):
            siege.ask_token(receiver, api_key, address="203.0.113.55")
        inject_lines(siege, receiver)
    wait_until(lambda: siege.house.waiting() == 0, seconds=30, what="all events to be dispatched")
    secrets = {f"API key {name}": key for name, key in siege.api_keys.items()}
    secrets |= {f"secret of API key {name}": key.split("_", 2)[2] for name, key in siege.api_keys.items()}
    secrets |= {f"token of {name}": made for name, made in siege.tokens.items()}
    secrets |= {f"signature of {name}": made.rpartition(".")[2] for name, made in siege.tokens.items()}
    secrets |= {"API key made in the page": with_page}
    secrets |= {f"query {name}": value for name, value in QUERY_SECRETS.items()}
    secrets |= {f"URL in {name}": value.split("=")[1].split("&")[0] for name, value in URLS.items()}
    secrets |= {f"header {name}": value.split(" ")[-1] for name, value in SENT.items()}
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY"):
        secrets[name] = siege.house.airflow.env[name]
    for name in ("shop", "other", "spare"):
        raw = siege.secret(name)
        spelled = {
            "hex": raw.hex(),
            "base64": base64.b64encode(raw).decode(),
            "url": base64.urlsafe_b64encode(raw).decode(),
        }
        secrets |= {f"signing secret of {name}, {how}": value.rstrip("=") for how, value in spelled.items()}
    assert min(map(len, secrets.values())) > 20, "anything shorter is found everywhere"
    return secrets


def make_key_in_page(siege: Siege, session: str) -> str:
    with httpx.Client(
        base_url=f"{siege.house.airflow.url}/pluginsv2/incoming-ui", cookies={"_token": session}
    ) as page:
        csrf = page.get("/csrf").json()["csrf_token"]
        made = page.post(
            "/keys/new", data={"name": "paged", "expires": "never"}, headers={"X-CSRFToken": csrf}
        )
    found = re.search(r"inc_[a-z2-7]{16}_[A-Za-z0-9_-]{43}", made.text)
    assert found, made.text[:500]
    return found[0]


def inject_lines(siege: Siege, receiver: int) -> None:
    """Try to begin a line of a log, wherever a stranger's text may come by."""
    coded = FORGED.replace(" ", "%20")
    base = siege.house.receive[receiver]
    for path in (f"/x%0A{coded}", f"/x%0D%0A{coded}?y=%0A{coded}", f"/auth/token%0A{coded}"):
        siege.http.post(base + path, content=b"{}", headers={"X-Forwarded-For": f"203.0.113.55, {FORGED}"})


def findings(secrets: Mapping[str, str], place: str) -> list[str]:
    return [name for name, secret in secrets.items() if secret in place]


def database_dump(siege: Siege) -> Iterator[tuple[str, str]]:
    """Yield (table, all its rows as text); bytes in hexadecimal and, where they are text, as that."""
    names = inspect(siege.engine).get_table_names()
    assert {"incoming_event", "incoming_request", "log", "session", "connection"} <= set(names)
    with siege.engine.connect() as connection:
        for name in names:
            rows = connection.execute(text(f'select t::text from "{name}" t')).scalars().all()
            dump = "\n".join(rows)
            raw = (
                bytes.fromhex(each).decode("latin-1") for each in re.findall(r"\\x((?:[0-9a-f]{2})+)", dump)
            )
            yield name, "\n".join([dump, *raw])


def test_no_secret_is_in_the_database(siege: Siege, used: dict[str, str]) -> None:
    """Airflow's audit log (log), its sessions and everything else included; harmless headers are there."""
    found = {name: findings(used, dump) for name, dump in database_dump(siege)}
    assert {name: what for name, what in found.items() if what} == {}
    dumps = dict(database_dump(siege))
    assert MARKER in dumps["incoming_event"]
    assert "[redacted]" in dumps["incoming_event"]
    assert "paged" in dumps["incoming_api_key"]


def test_no_secret_is_in_redis(siege: Siege, used: dict[str, str]) -> None:
    """Keys and values of every type; the counted rates are there."""
    assert siege.house.redis is not None
    readers = {
        b"string": lambda key: client.get(key),
        b"hash": lambda key: client.hgetall(key),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": lambda key: client.smembers(key),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: client.xrange(key),
    }
    with Redis.from_url(siege.house.redis.url) as client:
        dump = "\n".join(f"{key!r} {readers[client.type(key)](key)!r}" for key in client.scan_iter())
    assert ":rate:token:203.0.113.55:" in dump
    assert findings(used, dump) == []


def logs(siege: Siege) -> str:
    files = [path for path in siege.house.airflow.home.rglob("*") if path.is_file() and _is_log(path)]
    assert {"api-server.log"} <= {path.name for path in files}
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def _is_log(path: Path) -> bool:
    return path.suffix == ".log" or "logs" in path.parts


def test_no_secret_and_no_body_is_in_the_logs(siege: Siege, used: dict[str, str]) -> None:
    """They do say what was refused, and why."""
    written = logs(siege)
    assert "Refused a request for shop: " in written
    assert "Refused a token to 203.0.113.55: " in written
    assert re.search(r"Accepted events .*event_ids=.*integration=hostile", written)
    assert re.search(r"Dispatched events .*event_ids=.*integration=hostile", written)
    assert findings(used | {"a body": BODY_MARKER, "a harmless header": MARKER}, written) == []


def test_no_endpoint_is_named(siege: Siege, used: dict[str, str]) -> None:
    """Only its integration and who may send to it show a URL: no event, no request and no log does."""
    endpoints = {f"endpoint of {name}": endpoint for name, endpoint in siege.house.endpoints.items()}
    dumps = {name: dump for name, dump in database_dump(siege) if name != "incoming_integration"}
    assert {name: found for name, dump in dumps.items() if (found := findings(endpoints, dump))} == {}
    written = logs(siege)
    assert findings(endpoints, written) == []
    assert f"{siege.house.endpoints['hostile'][:4]}[redacted]" in written
    with httpx.Client(cookies={"_token": siege.tokens["session"]}, timeout=30) as page:
        for path in pages(siege):
            if path.startswith(("events/", "requests/")):
                answer = page.get(f"{siege.house.airflow.url}/pluginsv2/incoming-ui/{path}")
                assert (path, findings(endpoints, answer.text)) == (path, [])


def test_nobody_forges_a_line_of_the_logs(siege: Siege, used: dict[str, str]) -> None:
    """No line begins with what a stranger sent: as it is, or behind what terminals obey."""
    lines = re.split(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", logs(siege))
    assert [line for line in lines if line.lstrip().startswith(FORGED[:20])] == []


def pages(siege: Siege) -> list[str]:
    """Return the addresses of everything that an administrator can look at."""
    events = [
        event_id for name in ("hostile", "strict", "shop") for event_id in list(siege.events(name))[-2:]
    ]
    integrations = ("hostile", "shop", "strict")
    runs = [run for dag, run, _ in siege.house.runs() if dag == "one" and "hostile" in run]
    return [
        *("integrations/", "events/", "requests/", "keys/", "events/export.csv", "events/export.json"),
        *(f"integrations/{name}{rest}" for name in integrations for rest in ("", "/versions")),
        *(f"events/{event_id}" for event_id in events),
        *("dag/one", f"dag/one/{runs[-1]}"),
    ]


def test_no_secret_is_in_any_page(siege: Siege, used: dict[str, str]) -> None:
    """Nor in exports; what was written down of a request is, with its credentials redacted."""
    shown: dict[str, Any] = {}
    session = {"_token": siege.tokens["session"]}
    base = f"{siege.house.airflow.url}/pluginsv2/incoming-ui/"
    with httpx.Client(base_url=base, cookies=session, timeout=30) as page:
        for path in pages(siege):
            answer = page.get(path)
            assert answer.status_code in (200, 404), path
            shown[path] = answer.text
            assert SCRIPT not in answer.text or "json" in answer.headers["content-type"], path
    assert {path: found for path, source in shown.items() if (found := findings(used, source))} == {}
    assert any(MARKER in source for source in shown.values())
    assert any("[redacted]" in source for source in shown.values())


def test_no_script_of_a_stranger_runs_in_a_browser(
    browser: Browser, siege: Siege, used: dict[str, str]
) -> None:
    """Names, values, headers, titles: all of it is text; the browser meets nothing that it must refuse."""
    me = Tourist(browser, siege.house.airflow.url, "admin")
    me.sign_in()
    seen = ""
    for path in pages(siege):
        if any(word in path for word in ("export", "strict", "shop", "versions", "keys")):
            continue  # no script can be there that isn't in the others, and a browser takes its time
        me.page.goto(f"{me.url}/pluginsv2/incoming-ui/{path}")
        assert me.page.evaluate("window.pwned === undefined && top.pwned === undefined"), path
        assert me.page.locator("img[src=x]").count() == 0, path
        seen += me.page.inner_text("body")
    assert SCRIPT[:30] in seen, "it is shown, as text"
    assert me.complaints == []
    me.page.context.close()
