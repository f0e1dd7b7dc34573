"""The one place that picks concrete classes, out of Airflow's configuration, when first asked."""

from __future__ import annotations

import gc
import logging
import os
import threading
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from airflow_incoming.core.admission import AdmissionPolicy
from airflow_incoming.core.tokens import TokenPolicy
from airflow_incoming.db.engine import make_engine, reading
from airflow_incoming.services.checks import Bounds
from airflow_incoming.services.container import Container, Parts
from airflow_incoming.services.diagnose import Diagnosis
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.services.gauges import measure
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.services.icons import Icons
from airflow_incoming.services.keys import KeyManager
from airflow_incoming.services.listen import Listening
from airflow_incoming.services.loop import DispatchLoop
from airflow_incoming.services.manage import Manager
from airflow_incoming.services.metrics import AirflowStats, DispatchMetrics, Emits
from airflow_incoming.services.publish import Publisher
from airflow_incoming.services.receive import Receiver
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.services.watch import Watch
from airflow_incoming.settings import RECEIVER_PREFIXES, Settings, read_settings
from airflow_incoming.stores import installation
from airflow_incoming.stores.bell import Bell
from airflow_incoming.stores.dedup import DedupMemory, RedisDedup
from airflow_incoming.stores.fernet import FernetCipher
from airflow_incoming.stores.installation import RedisWitnesses
from airflow_incoming.stores.own_memory import OwnMemory
from airflow_incoming.stores.rates import RedisRates
from airflow_incoming.stores.redis_connection import connect, servers
from airflow_incoming.stores.stream import RedisStream
from airflow_incoming.web.places import GuardLimits
from airflow_incoming.web.responses import status_of
from airflow_incoming.web.views.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from airflow_incoming.services.ports import Launcher
    from airflow_incoming.services.readiness import ReadinessCheck
    from airflow_incoming.stores.redis_connection import Client

log = logging.getLogger(__name__)

#: Who makes our JWTs, and whom they are for.
TOKEN_ISSUER = "airflow-incoming"
#: Tokens of this age are honoured after their lifetime was configured to be shorter.
LONGEST_TOKEN = timedelta(days=1)
#: Seconds that a dispatcher waits for Redis to take events in.
PUBLISH_TIMEOUT = 1.0


def utcnow() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(timezone.utc)


@cache
def settings() -> Settings:
    """Return the ``[incoming]`` section. Raises ValueError that names a wrong option."""
    from airflow.configuration import conf

    return read_settings(lambda name: conf.get("incoming", name, fallback=None))


@cache
def engine() -> Engine:
    """Return our engine for Airflow's metadata database; connects at first use."""
    from airflow.configuration import conf

    connect_args: dict[str, Any] = {}
    if conf.has_option("database", "sql_alchemy_connect_args"):
        connect_args = dict(conf.getimport("database", "sql_alchemy_connect_args") or {})
    return make_engine(conf.get_mandatory_value("database", "sql_alchemy_conn"), connect_args=connect_args)


@cache
def redis_client() -> Client | None:
    """Return the client that everything of ours shares, where a Redis is configured."""
    return connect(settings().redis_url) if settings().redis_url else None


def memories() -> Callable[[str], DedupMemory] | None:
    """Return what returns the memory of deduplication hashes of a name; None where no Redis is configured."""
    redis = redis_client()
    if redis is None:
        return None
    prefix = settings().redis_prefix
    return lambda name: RedisDedup(redis, prefix=f"{prefix}:{name}")


def witnesses() -> RedisWitnesses | None:
    """Return what keeps witnesses of whose hashes are in Redis; None where no Redis is configured."""
    redis = redis_client()
    return None if redis is None else RedisWitnesses(redis, prefix=settings().redis_prefix)


def _found_in_database() -> tuple[str, bool] | None:
    with reading(engine()) as connection:
        found = installation.read(connection)
    return None if found is None else (found.name, found.is_attended())


def rates() -> RedisRates | None:
    """Return where rates are counted; None where no Redis is configured."""
    redis = redis_client()
    return None if redis is None else RedisRates(redis, prefix=settings().redis_prefix)


def publisher() -> Publisher | None:
    """Return what shows accepted events to tasks and assets; None where no Redis is configured."""
    options = settings()
    if not options.redis_url:
        return None
    client = connect(options.redis_url, timeout=PUBLISH_TIMEOUT)
    stream = RedisStream(client, prefix=options.redis_prefix, limits=options.stream_limits)
    return Publisher(engine(), stream, clock=utcnow)


def bell() -> Bell | None:
    """Return what wakes dispatchers in other processes; None where no Redis is configured."""
    redis = redis_client()
    return None if redis is None else Bell(redis, prefix=settings().redis_prefix)


@cache
def emitter() -> Emits | None:
    """Return what sends metrics; None where Airflow is configured to send none."""
    from airflow.configuration import conf

    switches = ("statsd_on", "statsd_datadog_enabled", "otel_on")
    if not any(conf.getboolean("metrics", switch, fallback=False) for switch in switches):
        return None
    return AirflowStats()


def manager() -> Manager:
    """Return what manages integrations."""
    return Manager(engine(), clock=utcnow, bounds=Bounds(max_body=settings().max_body))


def key_manager() -> KeyManager:
    """Return what manages API keys."""
    return KeyManager(engine(), FernetCipher(), clock=utcnow)


def event_desk() -> EventDesk:
    """Return what looks at and replays events."""
    connect = memories()
    memory = None if connect is None else OwnMemory(connect, _found_in_database)
    return EventDesk(engine(), memory, clock=utcnow)


def icons() -> Icons:
    """Return what keeps uploaded icons."""
    return Icons(engine(), clock=utcnow)


def readiness() -> ReadinessCheck:
    """Return what looks at the targets of integrations, for one request."""
    from airflow_incoming.services.readiness import ReadinessCheck  # and with it Airflow's models

    return ReadinessCheck(engine())


def listening() -> Listening:
    """Return what retrieves data for administrators."""
    return Listening(engine(), clock=utcnow)


def watch() -> Watch:
    """Return what knows how many requests came, and which became no event."""
    return Watch(engine(), clock=utcnow)


def page_services() -> Services:
    """Return what the administrator's pages call."""
    return Services(
        settings=settings,
        base_url=base_url,
        manager=manager,
        keys=key_manager,
        events=event_desk,
        icons=icons,
        readiness=readiness,
        listening=listening,
        watch=watch,
    )


def diagnosis() -> Diagnosis:
    """Return what looks for mistakes in this installation."""

    def connect_redis() -> list[Redis]:
        return servers(connect(settings().redis_url, timeout=2)) if settings().redis_url else []

    return Diagnosis(
        engine(),
        FernetCipher(),
        clock=utcnow,
        read_address=base_url,
        read_receivers=receiver_addresses,
        connect_redis=connect_redis,
        witnesses=witnesses(),
    )


def dispatch_loop(*, shares_process: bool = False) -> DispatchLoop:
    """Return a dispatcher in the loop that runs it; ``shares_process``: beside Airflow's API."""
    from airflow_incoming.services.launch import AirflowLauncher  # and with it Airflow's models

    options = settings()
    launcher = AirflowLauncher()
    publishes, emit = publisher(), emitter()
    one = Dispatcher(
        engine(),
        launcher,
        clock=utcnow,
        batch=options.dispatch_batch,
        retry_for=options.retry_for,
        publisher=publishes,
        meter=None if emit is None else DispatchMetrics(emit),
    )
    return DispatchLoop(
        one,
        _housekeeping(launcher, publishes, emit),
        interval=options.dispatch_interval,
        bell=bell(),
        shares_process=shares_process,
    )


def _housekeeping(launcher: Launcher, publishes: Publisher | None, emit: Emits | None) -> Housekeeping:
    from airflow_incoming.services.consumers.sweep import Sweep
    from airflow_incoming.services.launch.stored import StoredValues

    options = settings()
    return Housekeeping(
        engine(),
        launcher,
        clock=utcnow,
        event_retention=options.event_retention,
        dead_retention=options.dead_retention,
        measure=None if emit is None else partial(measure, engine(), emit),
        publisher=publishes,
        sweeper=Sweep(engine(), clock=utcnow),
        stored=StoredValues(engine()),
        witnesses=witnesses(),
    )


def guard_limits() -> GuardLimits:
    """Return the bounds of what is read of a request before anybody looks at it, and who is a proxy."""
    options = settings()
    return GuardLimits(
        max_body=options.max_body,
        max_header_bytes=options.max_header_bytes,
        body_timeout=options.body_timeout.total_seconds(),
        max_concurrency=options.max_concurrency,
        max_buffered=options.max_buffered,
        accept_timeout=accept_timeout(),
        max_share=options.max_share / 100,
        trusted_proxies=options.trusted_proxies,
    )


def accept_timeout() -> float:
    """Return the seconds after which a request that is still undecided answers 503."""
    return settings().accept_timeout.total_seconds()


def token_policy() -> TokenPolicy:
    """Return how JWTs are made and what is demanded of them."""
    options = settings()
    return TokenPolicy(
        issuer=TOKEN_ISSUER,
        audience=TOKEN_ISSUER,
        lifetime=options.token_lifetime,
        max_lifetime=max(options.token_lifetime, LONGEST_TOKEN),
        leeway=options.token_leeway,
    )


_containers: dict[tuple[int, bool], Container] = {}
_containers_lock = threading.Lock()


def container() -> Container:
    """Return this process's receiver, without a dispatcher: for ``airflow incoming serve``."""
    return _container(dispatches=False)


def api_server_container() -> Container:
    """Return this process's receiver, with a dispatcher unless that is configured away."""
    return _container(dispatches=settings().dispatcher)


def _container(*, dispatches: bool) -> Container:
    key = (os.getpid(), dispatches)  # a forked worker makes its own
    with _containers_lock:
        if key not in _containers:
            _containers[key] = Container(_parts(dispatches=dispatches))
            _spare_garbage_collection()
        return _containers[key]


def _spare_garbage_collection() -> None:
    """Take what this process has loaded out of it.

    Parsing makes many objects, which now and then has Python look at all that there are: of Airflow's two
    hundred thousand, all there to stay, that takes a tenth of a second, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


def _parts(*, dispatches: bool) -> Parts:
    options = settings()
    return Parts(
        engine=engine(),
        memory=memories(),
        witnesses=witnesses(),
        rates=rates(),
        cipher=FernetCipher(),
        loop=dispatch_loop(shares_process=True) if dispatches else None,
        bell=None if dispatches else bell(),
        policy=AdmissionPolicy(
            max_body=options.max_body,
            max_conf=options.max_conf,
            max_parameters=options.max_parameters,
            tokens=token_policy(),
        ),
        token_rate=options.token_rate,
        failure_rate=options.auth_failure_rate,
        accept_timeout=accept_timeout(),
        clock=utcnow,
        status_of=status_of,
        emit=emitter(),
    )


def note_refused(path: str, error: Exception, remote: str | None, size: int) -> None:
    """Remember a request that the guard refused, if this process receives and the pages weren't meant."""
    if "/incoming-ui" in path:
        return
    if (running := _running()) is not None:
        running.tally.refused(path, error, remote=remote, size=size)


def running_receiver() -> Receiver | None:
    """Return what decides requests in this process; None before the first."""
    return None if (running := _running()) is None else running.receiver


def _running() -> Container | None:
    pid = os.getpid()
    return next((running for (of, _), running in tuple(_containers.items()) if of == pid), None)


def base_url() -> str:
    """Return the address of the receiver that senders are shown, without a trailing slash."""
    return settings().base_url.rstrip("/") or receiver_addresses()[0]


def receiver_addresses() -> tuple[str, ...]:
    """Return the addresses at which api-servers receive, without a trailing slash."""
    from airflow.configuration import conf

    api = (
        conf.get("api", "base_url", fallback=None)
        or f"http://localhost:{conf.get('api', 'port', fallback='8080')}"
    )
    bridged = settings().flask_blueprint and find_spec("airflow.providers.fab") is not None
    return tuple(f"{api.rstrip('/')}{path}" for path in RECEIVER_PREFIXES[: 2 if bridged else 1])
