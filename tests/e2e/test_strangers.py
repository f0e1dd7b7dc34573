"""Nobody gets in without the right credential, and nobody learns why; whoever guesses is slowed."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from airflow_incoming.services.rights import Trusted
from tests.e2e.strangers import GOOD, LATER, NATIVE, RECEIVERS, Headers, Siege, bad_tokens
from tests.openapi import TOKEN, check

#: What differs from answer to answer though it says nothing.
_OF_THE_MOMENT = {"date"}


@pytest.fixture(params=RECEIVERS.values(), ids=list(RECEIVERS))
def receiver(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def seen(answer: httpx.Response) -> tuple[Any, ...]:
    """Return everything that a sender sees of an answer."""
    headers = [(name, value) for name, value in answer.headers.items() if name not in _OF_THE_MOMENT]
    return answer.status_code, tuple(sorted(headers)), answer.content


def bad_headers(siege: Siege) -> dict[str, Headers]:
    good = siege.tokens["shop"]
    return {
        "nothing": [],
        "an empty header": [("Authorization", "")],
        "another scheme": [("Authorization", "Basic YTpi")],
        "no scheme": [("Authorization", good)],
        "a scheme alone": [("Authorization", "Bearer")],
        "two headers, both good": [bearer(good), bearer(good)],
        "two headers, the last good": [("Authorization", "Basic YTpi"), bearer(good)],
        "two tokens in one": [("Authorization", f"Bearer {good}, Bearer {good}")],
        # Not _token: that is Airflow's own cookie, which Airflow takes back where it isn't valid.
        "a cookie": [("Cookie", f"token={good}; access_token={good}; Authorization={good}")],
        "another header": [("X-Authorization", f"Bearer {good}"), ("Proxy-Authorization", f"Bearer {good}")],
        "a look-alike": [("Authorization_", f"Bearer {good}"), ("X-Access-Token", good)],
    }


def test_every_bad_credential_has_one_same_answer(siege: Siege, receiver: int) -> None:
    """RFC 8725 and what else went wrong in the field: each is the same 401, byte for byte."""
    before = siege.events("shop")
    address = f"203.0.113.{receiver + 1}"
    answers = {
        name: siege.send(receiver, "shop", headers=h, address=address)
        for name, h in bad_headers(siege).items()
    }
    for name, token in bad_tokens(siege):
        if token.isprintable() and token.isascii():
            answers[name] = siege.send(receiver, "shop", headers=[bearer(token)], address=address)
    good = siege.tokens["shop"]
    for name in ("access_token", "token", "jwt", "authorization", "apiKey"):
        query = f"?{name}={good}"
        answers[f"{name} in the query"] = siege.send(receiver, "shop", query=query, address=address)
    answers["a bad body, too"] = siege.send(
        receiver, "shop", b"\x00", [("Content-Type", "text/x")], address=address
    )
    answers["a wrong API key"] = siege.ask_token(receiver, siege.api_keys["shop"][:-1], address=address)
    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code != 401} == {}
    alike: dict[Any, list[str]] = {}
    for name, answer in answers.items():
        alike.setdefault(seen(answer), []).append(name)
    assert len(alike) == 1, alike
    check(answers["nothing"])
    assert siege.events("shop") == before
    assert siege.send(receiver, "shop", headers=[bearer(good)], address=address).status_code == 200
    assert len(answers) > 80


def test_headers_beyond_any_use_are_431(siege: Siege, receiver: int) -> None:
    """100 KB of them never reach whoever verifies tokens."""
    for headers in ([bearer("x" * 100_000)], [("X-Filler", "x" * 90_000)], [("X-Filler", "x")] * 200):
        answer = siege.send(receiver, "shop", headers=headers)
        assert answer.status_code == 431
        check(answer)


def test_revoked_and_rotated_keys_close_within_a_second(siege: Siege) -> None:
    """Tokens that were made before, and the API keys themselves."""
    names = ("revoked", "rotated")
    for receiver in RECEIVERS.values():
        for name in names:
            assert siege.send(receiver, name, headers=[bearer(siege.tokens[name])]).status_code == 200
    siege.keys.revoke("revoked", by=Trusted("test"))
    rotated = siege.keys.rotate("rotated", by=Trusted("test"), overlap=LATER * 0).api_key
    time.sleep(LATER.total_seconds())
    for receiver in RECEIVERS.values():
        for name in names:
            assert siege.send(receiver, name, headers=[bearer(siege.tokens[name])]).status_code == 401
            assert siege.ask_token(receiver, siege.api_keys[name], address="203.0.113.9").status_code == 401
        token = siege.ask_token(receiver, rotated).json()["token"]
        assert siege.send(receiver, "rotated", headers=[bearer(token)]).status_code == 200
    siege.api_keys["rotated again"] = rotated


def test_airflow_and_we_believe_none_of_each_others_tokens(siege: Siege) -> None:
    """Ours open nothing of Airflow's, its pages of ours included; Airflow's open no endpoint (see above)."""
    ours = siege.tokens["shop"]
    for path in (
        "/api/v2/dags",
        "/api/v2/connections",
        "/api/v2/variables",
        "/ui/config",
        "/pluginsv2/incoming-ui/keys/",
    ):
        as_header = httpx.get(f"{siege.house.airflow.url}{path}", headers=dict([bearer(ours)]))
        as_cookie = httpx.get(f"{siege.house.airflow.url}{path}", cookies={"_token": ours})
        assert {as_header.status_code, as_cookie.status_code} <= {401, 403}, path


def test_guesses_at_api_keys_are_slowed_by_address_in_all_processes_together(siege: Siege) -> None:
    """20 a minute; the address is the one that the trusted proxy saw, whatever a guesser adds on the left."""
    guess = siege.api_keys["shop"][:-4] + "AAAA"
    began = time.monotonic()
    answers = [
        siege.ask_token(number % 3, guess, address=f"198.51.100.{number}, 203.0.113.77")
        for number in range(45)
    ]
    more = (time.monotonic() - began) // 3 + 1
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {401, 429}
    assert 20 <= counts[401] <= 20 + more
    for answer in answers:
        check(answer, TOKEN)
        assert answer.status_code == 401 or 1 <= int(answer.headers["retry-after"]) <= 3
    assert siege.ask_token(NATIVE, guess, address="203.0.113.78").status_code == 401
    for address in ("203.0.113.77", GOOD):
        assert siege.ask_token(NATIVE, siege.api_keys["shop"], address=address).status_code == 200


def test_bad_tokens_are_slowed_by_address_and_good_clients_are_not(siege: Siege) -> None:
    """200 a minute over all receivers; whoever has a good token behind the same address goes on."""
    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(
                lambda n: siege.send(n % 3, "shop", headers=[bearer("a.b.c")], address="203.0.113.99"),
                range(330),
            )
        )
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {401, 429}
    assert 200 <= counts[401] <= 300
    refused = next(answer for answer in answers if answer.status_code == 429)
    check(refused)
    for receiver in RECEIVERS.values():
        good = siege.send(receiver, "shop", headers=[bearer(siege.tokens["shop"])], address="203.0.113.99")
        assert good.status_code == 200
    assert siege.send(NATIVE, "shop", headers=[bearer("a.b.c")], address="203.0.113.98").status_code == 401


def test_the_rate_of_an_integration_is_counted_in_all_processes_together(siege: Siege) -> None:
    """7 an hour: exactly 7 of 60 at once are accepted and stored, the others learn when to come back."""
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda n: siege.send(n % 3, "rated"), range(60)))
    assert Counter(answer.status_code for answer in answers) == {200: 7, 429: 53}
    for answer in answers:
        check(answer)
        assert answer.status_code == 200 or 400 < int(answer.headers["retry-after"]) <= 515
    accepted = {answer.json()["event_id"] for answer in answers if answer.status_code == 200}
    assert set(siege.events("rated")) == accepted
