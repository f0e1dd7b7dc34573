"""The one place that picks concrete classes, out of Airflow's configuration, when first asked."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from sqlalchemy import Engine

from airflow_incoming.core.admission import AdmissionPolicy
from airflow_incoming.core.errors import SecretsUnprotected
from airflow_incoming.core.rates import RateLimiter
from airflow_incoming.core.tokens import TokenPolicy
from airflow_incoming.db.engine import make_engine
from airflow_incoming.services.diagnose import Diagnosis
from airflow_incoming.services.dispatch import Dispatcher
from airflow_incoming.services.health import Health
from airflow_incoming.services.housekeeping import Housekeeping
from airflow_incoming.services.intake import Intake, IntakeLimits
from airflow_incoming.services.keys import KeyManager, TokenIssuer
from airflow_incoming.services.loop import DispatchLoop
from airflow_incoming.services.manage import Bounds, Manager
from airflow_incoming.services.receive import Receiver
from airflow_incoming.services.replay import EventDesk
from airflow_incoming.settings import Settings, read_settings
from airflow_incoming.stores.dedup import DedupMemory, RedisDedup, connect
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.inbox import Inbox
from airflow_incoming.web.guard import GuardLimits
from airflow_incoming.web.views.services import Services

log = logging.getLogger(__name__)

#: Who makes our JWTs, and whom they are for.
TOKEN_ISSUER = "airflow-incoming"
#: Tokens of this age are honoured after their lifetime was configured to be shorter.
LONGEST_TOKEN = timedelta(days=1)


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
def memory() -> DedupMemory | None:
    """Return the memory of deduplication hashes; None where no Redis is configured."""
    if not settings().redis_url:
        return None
    return RedisDedup(connect(settings().redis_url), prefix=settings().redis_prefix)


class FernetCipher:
    """Encrypts with Airflow's ``[core] fernet_key``."""

    def encrypt(self, secret: bytes) -> str:
        """Return the secret encrypted. Raises SecretsUnprotected where the key is empty."""
        from airflow.models.crypto import get_fernet

        fernet = get_fernet()
        if not fernet.is_encrypted:
            raise SecretsUnprotected()
        return fernet.encrypt(secret).decode()

    def decrypt(self, encrypted: str) -> bytes:
        """Return the secret. Raises ValueError where it was encrypted with an unknown key."""
        from airflow.models.crypto import get_fernet
        from cryptography.fernet import InvalidToken

        fernet = get_fernet()
        if not fernet.is_encrypted:
            raise ValueError("[core] fernet_key is empty")
        try:
            return fernet.decrypt(encrypted.encode())
        except InvalidToken as error:
            raise ValueError("encrypted with another key") from error


def manager() -> Manager:
    """Return what manages integrations."""
    return Manager(engine(), clock=utcnow, bounds=Bounds(max_body=settings().max_body))


def key_manager() -> KeyManager:
    """Return what manages API keys."""
    return KeyManager(engine(), FernetCipher(), clock=utcnow)


def event_desk() -> EventDesk:
    """Return what looks at and replays events."""
    return EventDesk(engine(), memory(), clock=utcnow)


def page_services() -> Services:
    """Return what the administrator's pages call."""
    return Services(
        settings=settings,
        base_url=base_url,
        manager=manager,
        keys=key_manager,
        events=event_desk,
    )


def diagnosis() -> Diagnosis:
    """Return what looks for mistakes in this installation."""

    def connect_redis() -> object | None:
        return connect(settings().redis_url, timeout=2) if settings().redis_url else None

    return Diagnosis(
        engine(),
        FernetCipher(),
        clock=utcnow,
        read_address=base_url,
        connect_redis=connect_redis,
    )


def dispatch_loop() -> DispatchLoop:
    """Return a dispatcher in the loop that runs it."""
    from airflow_incoming.services.launch import AirflowLauncher

    options = settings()
    launcher = AirflowLauncher()
    one = Dispatcher(
        engine(), launcher, clock=utcnow, batch=options.dispatch_batch, retry_for=options.retry_for
    )
    housekeeping = Housekeeping(
        engine(),
        launcher,
        clock=utcnow,
        event_retention=options.event_retention,
        dead_retention=options.dead_retention,
    )
    return DispatchLoop(one, housekeeping, interval=options.dispatch_interval)


def guard_limits() -> GuardLimits:
    """Return the bounds of what is read of a request before anybody looks at it."""
    options = settings()
    return GuardLimits(
        max_body=options.max_body,
        max_header_bytes=options.max_header_bytes,
        body_timeout=options.body_timeout.total_seconds(),
        max_concurrency=options.max_concurrency,
        max_buffered=options.max_buffered,
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


class Container:
    """Everything that one receiving process runs."""

    def __init__(self, options: Settings, loop: DispatchLoop | None) -> None:
        tokens = token_policy()
        limiter = RateLimiter(time.monotonic)
        self._loop = loop
        self._directory = Directory(engine(), FernetCipher())
        self._intake = Intake(
            Inbox(engine()),
            memory(),
            clock=utcnow,
            limits=IntakeLimits(wait=accept_timeout()),
            wake=loop.wake if loop else lambda: None,
        )
        policy = AdmissionPolicy(
            max_body=options.max_body,
            max_conf=options.max_conf,
            max_parameters=options.max_parameters,
            tokens=tokens,
        )
        self.receiver = Receiver(
            self._directory,
            self._intake,
            policy,
            clock=utcnow,
            limiter=limiter,
            accept_timeout=accept_timeout(),
        )
        self.token_issuer = TokenIssuer(
            engine(),
            self._directory,
            tokens,
            clock=utcnow,
            limiter=limiter,
            rate=options.token_rate,
        )
        self.health = Health(engine(), memory(), clock=utcnow)
        self._lock = threading.Lock()
        self._running = False

    def start(self) -> None:
        """Start the threads; does nothing where they run."""
        with self._lock:
            if self._running:
                return
            self._running = True
            self._intake.start()
            if self._loop is not None:
                self._loop.start()

    def stop(self) -> None:
        """Take in what waits, finish the batch in hand, stop the threads."""
        with self._lock:
            if not self._running:
                return
            self._running = False
            self.receiver.close()
            self._intake.stop()
            self._directory.close()
            if self._loop is not None:
                self._loop.stop()


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
            _containers[key] = Container(settings(), dispatch_loop() if dispatches else None)
        return _containers[key]


def base_url() -> str:
    """Return the address of the receiver, without a trailing slash."""
    from airflow.configuration import conf

    if settings().base_url:
        return settings().base_url.rstrip("/")
    api = (
        conf.get("api", "base_url", fallback=None)
        or f"http://localhost:{conf.get('api', 'port', fallback='8080')}"
    )
    return f"{api.rstrip('/')}/incoming"
