"""Which Redis ``[incoming] redis_url`` means: one server, or whichever server Sentinel calls the primary."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

SENTINEL_PORT = 26379
_SERVER = ("redis", "rediss", "unix")
_SENTINEL = ("redis+sentinel", "rediss+sentinel")


@dataclass(frozen=True, kw_only=True, slots=True)
class SentinelAddress:
    """Sentinels (host, port), the service that they watch, and how to speak to its servers."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)


def parse_redis_url(url: str) -> SentinelAddress | None:
    """Return the address behind Sentinel; None for the URL of one server, which redis-py understands.

    ``redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/db][?sentinel_password=…]``,
    with ``rediss+sentinel`` for TLS. Raises ValueError, which never repeats the URL: it holds a password.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in _SERVER:
        return None
    if "cluster" in scheme:
        raise ValueError(
            "Redis Cluster isn't supported, because a batch asks for many keys at once. Name one primary, or "
            "redis+sentinel:// for one that fails over"
        )
    if not separator or scheme not in _SENTINEL:
        raise ValueError(
            "must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
        )
    return _parse_sentinel(url, tls=scheme.startswith("rediss"))


def _parse_sentinel(url: str, *, tls: bool) -> SentinelAddress:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    if not hosts or not service or (db and not db.isdigit()):
        raise ValueError(
            "must name sentinels and a service: redis+sentinel://host:26379,host:26379/service/0"
        )
    sentinel_password = parse_qs(parts.query).get("sentinel_password", [None])[0]
    return SentinelAddress(
        sentinels=tuple(_host(host) for host in hosts.split(",")),
        service=unquote(service),
        db=int(db or 0),
        tls=tls,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_password=sentinel_password,
    )


def _host(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if text.endswith("]") or not separator:  # an IPv6 address alone, or no port
        host, port = text, str(SENTINEL_PORT)
    if not host or not port.isdigit():
        raise ValueError("a sentinel is written host or host:port")
    return host.strip("[]"), int(port)
