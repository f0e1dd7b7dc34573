"""The ``[incoming]`` section: every option as data, read once into a frozen value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_incoming.core.addresses import Networks, parse_networks
from airflow_incoming.core.redis_url import parse_redis_url
from airflow_incoming.core.stream import KEPT, Limits
from airflow_incoming.core.units import Rate, format_duration, parse_duration, parse_rate, parse_size

VERSION_ADDED = "0.1.0"

#: Where api-servers receive: the second through Airflow's bridge to Flask, where ``flask_blueprint`` is on.
RECEIVER_PREFIXES = ("/incoming", "/pluginsv2/incoming")


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its default as written in a file, and what it is for."""

    default: str
    description: str
    type: str = "string"
    example: str | None = None
    sensitive: bool = False


OPTIONS: dict[str, Option] = {
    "redis_url": Option(
        "",
        "Redis or Valkey that remembers deduplication hashes: redis://, rediss://, unix://, "
        "redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379 (rediss+… "
        "for TLS). Empty: the metadata database alone decides, which is right but slower, and no task can "
        "wait for events. Give it a database of its own with maxmemory-policy noeviction.",
        example="redis://:password@redis.example.com:6379/3",
        sensitive=True,
    ),
    "redis_prefix": Option("incoming", "What every key in Redis begins with."),
    "stream_length": Option(
        "10000",
        "Newest events of each integration that Redis keeps, for up to 7 days, for tasks and assets that "
        "wait for them. What a stopped triggerer misses beyond that is lost to it.",
        "integer",
    ),
    "stream_size": Option(
        "64MiB",
        "Memory that these events of one integration take at most; where bodies are large, fewer than "
        "stream_length are kept.",
    ),
    "base_url": Option(
        "",
        "The address that senders reach the receiver under, shown in pages and commands. Empty: [api] "
        "base_url followed by /incoming.",
        example="https://hooks.example.com/incoming",
    ),
    "max_body": Option("1MiB", "Largest request body. An integration may set a smaller limit of its own."),
    "max_conf": Option(
        "256KiB", "Largest conf of a DAG run as JSON. An integration may set a limit of its own."
    ),
    "max_parameters": Option("10000", "Most parameters that one request may be flattened to.", "integer"),
    "max_header_bytes": Option("16KiB", "Largest headers of a request, all together."),
    "body_timeout": Option("10s", "Time in which a request's body must have arrived."),
    "accept_timeout": Option("10s", "Time after which a request that is still undecided answers 503."),
    "max_concurrency": Option(
        "256", "Requests that one process handles at a time; more are answered 503.", "integer"
    ),
    "max_buffered": Option("64MiB", "Bodies that one process holds in memory at a time, all together."),
    "max_share": Option(
        "50",
        "Percent that one address may have of such requests and bytes, as far as others leave them. 100 "
        "where all senders come through one proxy that trusted_proxies doesn't name.",
        "integer",
    ),
    "token_lifetime": Option("1h", "How long a JWT made from an API key is valid."),
    "token_leeway": Option("10s", "Difference between clocks that is tolerated in JWTs, at most 60s."),
    "token_rate": Option(
        "30/m", "Failed attempts to exchange an API key for a JWT that one address may make."
    ),
    "auth_failure_rate": Option(
        "600/m", "Requests to endpoints that one address may send without a valid credential."
    ),
    "trusted_proxies": Option(
        "",
        "Proxies in front of the receiver, as addresses and networks separated by commas: of a request that "
        "comes from one, X-Forwarded-For tells the sender's address. Empty: nobody is believed.",
        example="10.0.0.0/8, 192.0.2.7",
    ),
    "dispatcher": Option(
        "True",
        "Whether every api-server also turns events into DAG runs. Where it doesn't, run 'airflow incoming "
        "dispatch'.",
        "boolean",
    ),
    "dispatch_batch": Option(
        "100", "Events that the dispatcher turns into DAG runs in one transaction, at most.", "integer"
    ),
    "dispatch_interval": Option(
        "1s", "How often the dispatcher looks for events that another process accepted."
    ),
    "retry_for": Option(
        "1d", "How long an event whose DAG can't be run yet is tried again before it is given up as dead."
    ),
    "event_retention": Option("30d", "How long dispatched events are kept."),
    "dead_retention": Option("90d", "How long dead events are kept, to be looked at and replayed."),
    "silent_after": Option(
        "1d", "After how long without an event a published integration is marked as silent in the list."
    ),
    "flask_blueprint": Option(
        "True",
        "Whether api-servers also receive at /pluginsv2/incoming. A proxy's rules on paths must name both "
        "addresses.",
        "boolean",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options as values: sizes in bytes, durations as timedelta."""

    redis_url: str
    redis_prefix: str
    stream_length: int
    stream_size: int
    base_url: str
    max_body: int
    max_conf: int
    max_parameters: int
    max_header_bytes: int
    body_timeout: timedelta
    accept_timeout: timedelta
    max_concurrency: int
    max_buffered: int
    max_share: int
    token_lifetime: timedelta
    token_leeway: timedelta
    token_rate: Rate
    auth_failure_rate: Rate
    trusted_proxies: Networks
    dispatcher: bool
    dispatch_batch: int
    dispatch_interval: timedelta
    retry_for: timedelta
    event_retention: timedelta
    dead_retention: timedelta
    silent_after: timedelta
    flask_blueprint: bool

    @property
    def stream_limits(self) -> Limits:
        """How much is kept of accepted events for what waits for them: no longer than the events are."""
        return Limits(length=self.stream_length, size=self.stream_size, kept=min(KEPT, self.event_retention))


_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": lambda text: _positive(text),  # defined below
    "bool": lambda text: _boolean(text),
    "timedelta": parse_duration,
    "Rate": parse_rate,
    "Networks": parse_networks,
    "str": str,
}
_SIZES = frozenset({"max_body", "max_conf", "max_header_bytes", "max_buffered", "stream_size"})


def read_settings(get: Callable[[str], str | None]) -> Settings:
    """Return the settings; ``get`` returns an option's text, or None for the default.

    Raises ValueError that names the option, its section and what it may be.
    """
    values: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        text = get(name)
        text = option.default if text is None else text.strip()
        parse = _size if name in _SIZES else _PARSERS[str(Settings.__annotations__[name])]
        try:
            values[name] = parse(text)
            _check(name, values[name])
        except ValueError as error:
            told = "…" if option.sensitive else repr(text)
            raise ValueError(f"[incoming] {name} = {told}: {error}") from error
    return Settings(**values)


#: Bounds that the core demands; said here so that the option is named.
_LONGEST = {"token_leeway": timedelta(seconds=60), "token_lifetime": timedelta(days=30)}


def _check(name: str, value: Any) -> None:
    if name == "redis_url" and value:
        parse_redis_url(value)
    if name == "max_share" and value > 100:
        raise ValueError("must be at most 100")
    longest = _LONGEST.get(name)
    if longest is not None and value > longest:
        raise ValueError(f"must be at most {format_duration(longest)}")


def _size(text: str) -> int:
    return parse_size(int(text) if text.isdigit() else text)


def _positive(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise ValueError("must be a whole number above 0")


def _boolean(text: str) -> bool:
    known = {
        "true": True,
        "t": True,
        "1": True,
        "yes": True,
        "false": False,
        "f": False,
        "0": False,
        "no": False,
    }
    if text.lower() in known:
        return known[text.lower()]
    raise ValueError("must be True or False")
