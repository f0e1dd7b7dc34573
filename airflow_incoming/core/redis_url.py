"""Which Redis ``[incoming] redis_url`` means: one server, what Sentinel calls the primary, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

SENTINEL_PORT, PORT = 26379, 6379
_SERVER = ("redis", "rediss", "unix")
_SENTINEL = ("redis+sentinel", "rediss+sentinel")
_CLUSTER = ("redis+cluster", "rediss+cluster")

#: Host and port of a node.
Node = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SentinelAddress:
    """Sentinels (host, port), the service that they watch, and how to speak to its servers."""

    sentinels: tuple[Node, ...]
    service: str
    db: int = 0
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterAddress:
    """Nodes of a cluster, any of which knows the others, and how to speak to all of them."""

    nodes: tuple[Node, ...]
    tls: bool = False
    #: ``user:password`` and redis-py's options, as they stand in the URL.
    credentials: str = field(default="", repr=False)
    options: str = field(default="", repr=False)

    def url(self, node: Node) -> str:
        """Return the URL of one node, which redis-py understands."""
        host, port = node
        credentials = f"{self.credentials}@" if self.credentials else ""
        options = f"?{self.options}" if self.options else ""
        host = f"[{host}]" if ":" in host else host
        return f"{'rediss' if self.tls else 'redis'}://{credentials}{host}:{port}{options}"


def parse_redis_url(url: str) -> SentinelAddress | ClusterAddress | None:
    """Return the address behind Sentinel or of a cluster; None for one server's URL, which is redis-py's own.

    ``redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/db][?sentinel_password=…]``,
    ``redis+cluster://[user:password@]host[:port][,host[:port]…][?option=…]``, with ``rediss+…`` for TLS.
    Raises ValueError, which never repeats the URL: it holds a password.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in _SERVER:
        return None
    if separator and scheme in _SENTINEL:
        return _parse_sentinel(url, tls=scheme.startswith("rediss"))
    if separator and scheme in _CLUSTER:
        return _parse_cluster(url, tls=scheme.startswith("rediss"))
    raise ValueError(
        "must begin with redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, "
        "redis+cluster:// or rediss+cluster://"
    )


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
        sentinels=tuple(_host(host, SENTINEL_PORT) for host in hosts.split(",")),
        service=unquote(service),
        db=int(db or 0),
        tls=tls,
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_password=sentinel_password,
    )


def _parse_cluster(url: str, *, tls: bool) -> ClusterAddress:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    if not hosts:
        raise ValueError("must name nodes of the cluster: redis+cluster://host:6379,host:6379")
    if {parts.path.strip("/") or "0", *parse_qs(parts.query).get("db", [])} != {"0"}:
        raise ValueError(
            "a cluster has one database, which has no name here: leave out what follows the hosts"
        )
    return ClusterAddress(
        nodes=tuple(_host(host, PORT) for host in hosts.split(",")),
        tls=tls,
        credentials=credentials,
        options=parts.query,
    )


def _host(text: str, usual: int) -> Node:
    host, separator, port = text.rpartition(":")
    if text.endswith("]") or not separator:  # an IPv6 address alone, or no port
        host, port = text, str(usual)
    if not host or not port.isdigit():
        raise ValueError("each of them is written host or host:port")
    return host.strip("[]"), int(port)
