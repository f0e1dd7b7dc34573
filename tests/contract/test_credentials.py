"""What strangers meet who have no credential, or somebody else's: nothing, and a limit of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from airflow_incoming.core.errors import IncomingError, RateLimited
from tests.contract.receiving import JSON, House


@pytest.fixture
def house(engine: Engine) -> Iterator[House]:
    house = House(engine)
    yield house
    house.close()


@pytest.fixture
def endpoint(house: House) -> str:
    house.bearer("shop")
    return house.apply(state="published", auth={"type": "jwt", "api_key": "shop"})


def token(house: House, endpoint: str, *, remote: str, authorization: str) -> Any:
    from airflow_incoming.core.messages import Request

    headers = {**JSON, "authorization": authorization}
    request = Request(endpoint_id=endpoint, body=b'{"a": 1}', headers=headers, remote=remote)
    try:
        return house.process.receiver.receive(request).result(20).status
    except IncomingError as error:
        return error


def codes(answers: list[Any]) -> Counter[str]:
    return Counter(answer if isinstance(answer, str) else answer.code for answer in answers)


def test_wrong_credentials_are_counted_by_address(house: House, endpoint: str) -> None:
    """20 a minute here; then the address is told to wait, another one isn't."""
    answers = [token(house, endpoint, remote="203.0.113.9", authorization="Bearer a.b.c") for _ in range(50)]
    assert codes(answers) == {"unauthorized": 20, "rate_limited": 30}
    assert isinstance(answers[-1], RateLimited)
    assert 0 < answers[-1].retry_after <= 3
    other = token(house, endpoint, remote="203.0.113.10", authorization="Bearer a.b.c")
    assert other.code == "unauthorized"
    house.clock.advance(3.1)
    assert token(house, endpoint, remote="203.0.113.9", authorization="").code == "unauthorized"
    assert token(house, endpoint, remote="203.0.113.9", authorization="").code == "rate_limited"


def test_addresses_of_one_ipv6_network_are_one_sender(house: House, endpoint: str) -> None:
    """Whoever has a network of 2^64 addresses has one limit all the same."""
    answers = [
        token(house, endpoint, remote=f"2001:db8::{number:x}", authorization="Bearer a.b.c")
        for number in range(1, 31)
    ]
    assert codes(answers) == {"unauthorized": 20, "rate_limited": 10}


def test_a_good_client_behind_the_same_proxy_is_not_shut_out(house: House) -> None:
    """Neither where it has a token, nor where that has expired: then it is told so, as ever."""
    bearer = house.bearer("shop")
    endpoint = house.apply(state="published", auth={"type": "jwt", "api_key": "shop"})
    for _ in range(30):
        token(house, endpoint, remote="203.0.113.9", authorization="Bearer a.b.c")
    assert token(house, endpoint, remote="203.0.113.9", authorization=bearer) == "accepted"
    house.clock.advance(2 * 3600)
    for _ in range(30):
        token(house, endpoint, remote="203.0.113.9", authorization="Bearer a.b.c")
    expired = [token(house, endpoint, remote="203.0.113.9", authorization=bearer) for _ in range(30)]
    assert codes(expired) == {"unauthorized": 30}


def test_an_expired_token_fills_no_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """As many lines are written for an address as of strangers, 20 a minute here; the answer stays true."""
    bearer = house.bearer("shop")
    endpoint = house.apply(state="published", auth={"type": "jwt", "api_key": "shop"})
    house.clock.advance(2 * 3600)
    for remote, number in (("203.0.113.9", 50), ("203.0.113.10", 5)):
        expired = [token(house, endpoint, remote=remote, authorization=bearer) for _ in range(number)]
        assert codes(expired) == {"unauthorized": number}
    lines = [each for each in caplog.messages if each.startswith("Refused a request for orders: ")]
    assert len(lines) == 20 + 5
    house.clock.advance(60)
    caplog.clear()
    token(house, endpoint, remote="203.0.113.9", authorization=bearer)
    assert caplog.messages == ["Refused a request for orders: the token has expired"]


def test_a_stranger_cannot_use_up_the_rate_of_an_integration(house: House) -> None:
    """Credentials come first."""
    bearer = house.bearer("shop")
    endpoint = house.apply(state="published", auth={"type": "jwt", "api_key": "shop"}, limits={"rate": "3/h"})
    for _ in range(10):
        token(house, endpoint, remote="203.0.113.9", authorization="Bearer a.b.c")
    answers = [token(house, endpoint, remote="203.0.113.10", authorization=bearer) for _ in range(5)]
    assert codes(answers) == {"accepted": 3, "rate_limited": 2}


def test_who_was_refused_is_remembered_without_the_credential(house: House, endpoint: str) -> None:
    """The administrator sees the reason and the address; of the credential nothing is kept."""
    for _ in range(25):
        token(house, endpoint, remote="203.0.113.9", authorization="Bearer not.a.secret")
    house.flush()
    with house.engine.connect() as connection:
        rows = connection.exec_driver_sql("select status, code, reason, remote from incoming_request").all()
    assert {(row.status, row.code, row.remote) for row in rows} <= {
        (401, "unauthorized", "203.0.113.9"),
        (429, "rate_limited", "203.0.113.9"),
    }
    assert rows
    assert "not.a.secret" not in str(rows)
