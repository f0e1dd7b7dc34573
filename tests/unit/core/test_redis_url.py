from __future__ import annotations

import pytest

from airflow_incoming.core.redis_url import ClusterAddress, SentinelAddress, parse_redis_url


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
    assert isinstance(address, SentinelAddress)
    assert (address.username, address.password, address.sentinel_password) == ("us@er", "p/w", "x&y")
    assert address.tls
    assert "p/w" not in repr(address)
    assert "x&y" not in repr(address)


def test_nodes_of_a_cluster() -> None:
    """Several, with their port or the usual one; the only database may be named."""
    nodes = (("a", 1), ("b", 6379), ("::1", 2), ("::2", 6379))
    for end in ("", "/", "/0", "?db=0"):
        address = parse_redis_url(f"redis+cluster://a:1,b,[::1]:2,[::2]{end}")
        assert isinstance(address, ClusterAddress)
        assert (address.nodes, address.tls) == (nodes, False)


def test_each_node_has_a_url_for_redis_py() -> None:
    """With the credentials and options that stand in ours; none of them is shown."""
    address = parse_redis_url("rediss+cluster://us%40er:p%2Fw@a,b:7000?ssl_ca_certs=/ca.pem")
    assert isinstance(address, ClusterAddress)
    assert address.url(("c", 7001)) == "rediss://us%40er:p%2Fw@c:7001?ssl_ca_certs=/ca.pem"
    assert address.url(("::1", 7001)) == "rediss://us%40er:p%2Fw@[::1]:7001?ssl_ca_certs=/ca.pem"
    assert "p%2Fw" not in repr(address)
    plain = parse_redis_url("redis+cluster://a")
    assert isinstance(plain, ClusterAddress)
    assert plain.url(("a", 6379)) == "redis://a:6379"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:6379/secret", "must begin with"),
        ("http://secret", "must begin with"),
        ("redis+cluster://", "name nodes"),
        ("redis+cluster:///secret", "name nodes"),
        ("redis+cluster://:secret@", "name nodes"),
        ("redis+cluster://a:secret", "host:port"),
        ("redis+cluster://a,,b:secret", "host:port"),
        ("redis+cluster://a:1,b:2/secret", "one database"),
        ("rediss+cluster://:secret@a/3", "one database"),
        ("redis+cluster://:secret@a?db=3", "one database"),
        ("redis-cluster://secret", "must begin with"),
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
