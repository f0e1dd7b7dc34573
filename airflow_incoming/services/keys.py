"""API keys: made, rotated and revoked by administrators; exchanged for JWTs by senders."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from airflow_incoming.core.addresses import sender_of
from airflow_incoming.core.errors import (
    Conflict,
    IncomingError,
    NotFound,
    RateLimited,
    RequestRejected,
    Unauthorized,
    Unavailable,
)
from airflow_incoming.core.integration import parse_name
from airflow_incoming.core.records import ApiKey
from airflow_incoming.core.tokens import (
    TokenPolicy,
    generate_api_key,
    hash_api_key,
    mint,
    parse_api_key,
)
from airflow_incoming.core.units import Rate
from airflow_incoming.db.engine import reading, transaction
from airflow_incoming.services import stakes
from airflow_incoming.services.audit import changing
from airflow_incoming.services.rates import Rates
from airflow_incoming.services.rights import Actor
from airflow_incoming.stores import integrations, keys
from airflow_incoming.stores.directory import Directory
from airflow_incoming.stores.keys import Cipher, KeySecret, UsableKey

log = logging.getLogger(__name__)

#: How long the previous secret of a rotated key works on, unless said otherwise.
DEFAULT_OVERLAP = timedelta(days=1)
#: "Last used" is written at most this often for a key, in seconds.
RECORD_USE_EVERY = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NewApiKey:
    """An API key in clear: shown once, never stored."""

    name: str
    key_id: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedToken:
    """A JWT and the seconds it is valid for."""

    token: str = field(repr=False)
    expires_in: int


Names = list[str]


class KeyManager:
    """What an administrator does with API keys. ``by`` is who does it.

    Whoever has a key starts what it opens: so every verb raises Forbidden where they may not start all
    that integrations do which name the key, also one that isn't there yet, or is revoked.
    """

    def __init__(self, engine: Engine, cipher: Cipher, *, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._cipher = cipher
        self._clock = clock

    def list(self) -> list[ApiKey]:
        """Return all keys by name."""
        with reading(self._engine) as connection:
            return keys.list_all(connection)

    def usable_names(self) -> Names:
        """Return the names of the keys that are neither revoked nor expired."""
        now = self._clock()
        return [key.name for key in self.list() if key.state(now) == "active"]

    def users(self, name: str) -> Names:
        """Return the names of the integrations that a key opens."""
        with reading(self._engine) as connection:
            return integrations.key_users(connection, name)

    def permit(self, name: str, *, by: Actor) -> None:
        """Raise Forbidden where somebody may not make, rotate or revoke the key of this name.

        An auth manager may be slow, and answers once: so verbs ask here before they lock anything.
        """
        if not by.is_trusted:
            with reading(self._engine) as connection:
                stakes.permit_key(connection, by, name)

    def create(self, name: str, *, by: Actor, expires_in: timedelta | None = None) -> NewApiKey:
        """Make a key. The name of a revoked key may be used again.

        Raises ValueError for a bad name, Conflict where the name is taken, SecretsUnprotected.
        """
        parse_name(name)
        now = self._clock()
        material = generate_api_key()
        taken = Conflict(f"There is an API key {name!r} already; rotate it, or choose another name.")
        self.permit(name, by=by)
        try:
            with changing(self._engine, by=by.name, now=now) as change:
                connection = change.connection
                stakes.permit_key(connection, by, name)
                old = keys.find(connection, name)
                if old is not None and old.revoked_at is None:
                    raise taken
                if old is not None:
                    keys.remove(connection, old.id)
                expires_at = None if expires_in is None else now + expires_in
                keys.create(
                    connection, name, material, self._cipher, expires_at=expires_at, now=now, by=by.name
                )
                integrations.bump(connection)
                change.did("create_api_key", name=name, key_id=material.key_id)
        except IntegrityError as error:
            raise taken from error
        return NewApiKey(name=name, key_id=material.key_id, api_key=material.api_key)

    def rotate(self, name: str, *, by: Actor, overlap: timedelta = DEFAULT_OVERLAP) -> NewApiKey:
        """Give a key a new secret; the previous one works on for ``overlap``.

        Raises NotFound, Conflict where the key is revoked, SecretsUnprotected.
        """
        now = self._clock()
        self.permit(name, by=by)
        with changing(self._engine, by=by.name, now=now) as change:
            connection = change.connection
            key = _existing(connection, name)
            stakes.permit_key(connection, by, name)
            if key.revoked_at is not None:
                raise Conflict(f"API key {name!r} is revoked; make a new one under this name.")
            material = generate_api_key(key_id=key.id)
            keys.rotate(connection, material, self._cipher, overlap_until=now + overlap, now=now)
            integrations.bump(connection)
            change.did("rotate_api_key", name=name, key_id=key.id, overlap=overlap)
        return NewApiKey(name=name, key_id=key.id, api_key=material.api_key)

    def revoke(self, name: str, *, by: Actor) -> ApiKey:
        """Close a key for good, within a second everywhere. Raises NotFound."""
        now = self._clock()
        self.permit(name, by=by)
        with changing(self._engine, by=by.name, now=now) as change:
            key = _existing(change.connection, name)
            stakes.permit_key(change.connection, by, name)
            if key.revoked_at is None:
                keys.revoke(change.connection, key.id, now)
                integrations.bump(change.connection)
                change.did("revoke_api_key", name=name, key_id=key.id)
            return _existing(change.connection, name)

    def reencrypt(self, *, by: Actor) -> dict[str, bool]:
        """Encrypt all secrets with the first of the Fernet keys, so that the others may be removed.

        Return by name of the API key whether its secrets could be read. API keys and tokens stay valid.
        Raises SecretsUnprotected.
        """
        with changing(self._engine, by=by.name, now=self._clock()) as change:
            done = keys.reencrypt(change.connection, self._cipher)
            change.did("reencrypt_api_keys", names=[name for name, read in done.items() if read])
        return done


class TokenIssuer:
    """Exchanges API keys for JWTs, out of memory: guessing costs the database nothing."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        policy: TokenPolicy,
        *,
        clock: Callable[[], datetime],
        rates: Rates,
        failure_rate: Rate,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._policy = policy
        self._clock = clock
        self._rates = rates
        self._failure_rate = failure_rate
        self._monotonic = monotonic
        self._recorded: dict[str, float] = {}

    def issue(self, api_key: str, *, remote: str | None) -> IssuedToken:
        """Return a JWT made from an API key; ``remote`` is the sender's address.

        Only what fails counts towards the rate of an address, so that a stranger behind the same proxy
        shuts nobody out. May block. Raises Unauthorized, RateLimited, Unavailable.
        """
        now = self._clock()
        presented = hash_api_key(api_key)
        key = self._directory.fresh().keys.get(parse_api_key(api_key) or "")
        if key is None or (key.expires_at is not None and key.expires_at <= now):
            raise self._refuse("unknown, revoked or expired API key", remote)
        if not key.readable:
            raise Unavailable()
        for secret in key.secrets:
            alive = secret.live.expires_at is None or secret.live.expires_at > now
            if hmac.compare_digest(secret.api_key_hash, presented) and alive:
                self._record_use(key.key_id, now)
                return self._mint(key, secret, now)
        raise self._refuse("wrong secret for API key " + key.name, remote)

    def _mint(self, key: UsableKey, secret: KeySecret, now: datetime) -> IssuedToken:
        """Return a token that doesn't promise to outlive its key or secret."""
        ends = [end - now for end in (key.expires_at, secret.live.expires_at) if end is not None]
        lifetime = max(min([self._policy.lifetime, *ends]), timedelta(seconds=1))
        policy = replace(self._policy, lifetime=lifetime)
        token = mint(key.key_id, secret.live.secret, policy, now=now)
        return IssuedToken(token=token, expires_in=int(lifetime.total_seconds()))

    def _refuse(self, reason: str, remote: str | None) -> RequestRejected:
        wait = self._rates.take(f"token:{sender_of(remote)}", self._failure_rate).result()
        if wait > 0:
            return RateLimited(wait, "Too many failed attempts to obtain a token from this address.")
        log.warning("Refused a token to %s: %s", remote, reason)
        return Unauthorized(reason)

    def _record_use(self, key_id: str, now: datetime) -> None:
        moment = self._monotonic()
        if moment - self._recorded.get(key_id, float("-inf")) < RECORD_USE_EVERY:
            return
        self._recorded[key_id] = moment
        try:
            with transaction(self._engine) as connection:
                keys.record_use(connection, key_id, now)
        except IncomingError:
            log.info("Could not record the use of API key %s", key_id)


def _existing(connection: Connection, name: str) -> ApiKey:
    key = keys.find(connection, name, lock=True)
    if key is None:
        raise NotFound("API key", name, "List them with: airflow incoming keys list")
    return key
