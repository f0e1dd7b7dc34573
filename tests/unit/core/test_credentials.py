from __future__ import annotations

import pytest

from airflow_incoming.core.credentials import authenticate
from airflow_incoming.core.errors import Unauthorized
from airflow_incoming.core.integration import Auth, Configuration
from airflow_incoming.core.messages import VerificationKey
from tests.unit.core.samples import JWT, KEY, NOW, TOKEN, TOKENS, endpoint

OPEN = Configuration(auth=Auth(type="none"))
CLOSED = Configuration(auth=JWT)
OTHER_KEY = VerificationKey(key_id="ponmlkjihgfedcba", secrets=KEY.secrets)


def test_an_open_endpoint_lets_everybody_in() -> None:
    """An Authorization header makes no difference."""
    for headers in ({}, {"authorization": "Basic eDp5"}, {"authorization": f"Bearer {TOKEN}"}):
        authenticate(endpoint(OPEN, key=None), headers, TOKENS, now=NOW)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_opens_an_endpoint(scheme: str) -> None:
    """RFC 9110: the scheme is case-insensitive."""
    authenticate(endpoint(CLOSED), {"authorization": f"{scheme} {TOKEN}"}, TOKENS, now=NOW)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no Authorization header"),
        ({"authorization": ""}, "Bearer"),
        ({"authorization": TOKEN}, "Bearer"),
        ({"authorization": f"Basic {TOKEN}"}, "Bearer"),
        ({"authorization": f"Token {TOKEN}"}, "Bearer"),
        ({"authorization": f"Bearer\t{TOKEN}"}, "Bearer"),
        ({"authorization": f"Bearer:{TOKEN}"}, "Bearer"),
        ({"authorization": "Bearer"}, "base64url"),
        ({"authorization": "Bearer "}, "base64url"),
        ({"authorization": f'Bearer "{TOKEN}"'}, "base64url"),
        ({"authorization": f"Bearer {TOKEN} {TOKEN}"}, "base64url"),
        ({"authorization": f"Bearer {TOKEN}, Bearer {TOKEN}"}, "several"),
        ({"authorization": f"Basic eDp5, Bearer {TOKEN}"}, "several"),
        ({"authorization": f"Bearer {TOKEN},"}, "several"),
        ({"authorization": "Bearer " + "x" * 100_000}, "too long"),
        ({"authorization": "Bearer " + "x" * 4097}, "4 KiB"),
        ({"cookie": f"token={TOKEN}", "x-authorization": f"Bearer {TOKEN}"}, "no Authorization header"),
    ],
)
def test_what_does_not_open_a_closed_endpoint(headers: dict[str, str], reason: str) -> None:
    """Exactly one Authorization header with one bearer token; the reason is for our log."""
    with pytest.raises(Unauthorized) as refusal:
        authenticate(endpoint(CLOSED), headers, TOKENS, now=NOW)
    assert reason in refusal.value.reason
    assert TOKEN not in refusal.value.reason
    assert refusal.value.detail == "The request isn't authorized."


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "revoked or doesn't exist"),
        (OTHER_KEY, "another API key"),
        (VerificationKey(key_id=KEY.key_id, secrets=()), "signature"),
    ],
)
def test_only_the_key_of_the_endpoint_opens_it(key: VerificationKey | None, reason: str) -> None:
    """A revoked key, and a token of another key, are 401."""
    with pytest.raises(Unauthorized) as refusal:
        authenticate(endpoint(CLOSED, key=key), {"authorization": f"Bearer {TOKEN}"}, TOKENS, now=NOW)
    assert reason in refusal.value.reason


def test_an_unknown_type_lets_nobody_in_unchecked() -> None:
    """What a newer release may have stored is never taken for open."""
    unknown = Configuration(auth=Auth(type="hmac"))  # type: ignore[arg-type]
    with pytest.raises(Unauthorized):
        authenticate(endpoint(unknown), {}, TOKENS, now=NOW)
