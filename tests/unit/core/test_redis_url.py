from __future__ import annotations

import pytest

from airflow_incoming.core.redis_url import SentinelAddress, parse_redis_url


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://:secret@h:6380/3", "rediss://h?ssl_cert_reqs=none", "unix:///run/redis.sock"],
)
def test_the_url_of_one_server_is_redis_pys_own(url: str) -> None:
    """We read nothing into it."""
    assert parse_redis_url(url) is None


def test_sentinels() -> None:
    """Several, with their port or the usual one; a service; a database."""
    assert parse_redis_url("redis+sentinel://a:1,b,[::1]:2,[::2]/hooks/3") == SentinelAddress(
        sentinels=(("a", 1), ("b", 26379), ("::1", 2), ("::2", 26379)), service="hooks", db=3
    )


def test_credentials_are_the_servers_and_the_sentinels_have_their_own() -> None:
    """Escaped as in any URL; none of them is shown."""
    address = parse_redis_url("rediss+sentinel://us%40er:p%2Fw@a/hooks?sentinel_password=x%26y")
    assert address is not None
    assert (address.username, address.password, address.sentinel_password) == ("us@er", "p/w", "x&y")
    assert address.tls
    assert "p/w" not in repr(address)
    assert "x&y" not in repr(address)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:6379/secret", "must begin with"),
        ("http://secret", "must begin with"),
        ("redis+cluster://secret:7000", "Cluster isn't supported"),
        ("redis+sentinel://secret", "name sentinels and a service"),
        ("redis+sentinel:///secret", "name sentinels and a service"),
        ("redis+sentinel://a/hooks/secret", "name sentinels and a service"),
        ("redis+sentinel://a:secret/hooks", "host:port"),
    ],
)
def test_anything_else_is_refused_without_repeating_it(url: str, told: str) -> None:
    """There may be a password in it."""
    with pytest.raises(ValueError, match=told) as refused:
        parse_redis_url(url)
    assert "secret" not in str(refused.value)
