"""API keys in the metadata database: hashes of the keys, and signing secrets encrypted at rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from airflow_incoming.core.messages import LiveSecret, VerificationKey
from airflow_incoming.core.records import ApiKey
from airflow_incoming.core.tokens import ApiKeyMaterial
from airflow_incoming.db import tables

log = logging.getLogger(__name__)


class Cipher(Protocol):
    """Encrypts secrets at rest; ``decrypt`` raises ValueError for what it can't read."""

    def encrypt(self, secret: bytes) -> str:
        """Return the secret encrypted. Raises SecretsUnprotected where no key is configured."""

    def decrypt(self, encrypted: str) -> bytes:
        """Return the secret."""

    def is_current(self, encrypted: str) -> bool:
        """Tell whether this was encrypted with the key that ``encrypt`` uses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeySecret:
    """One live secret of an API key: the key's hash and what its JWTs are signed with."""

    api_key_hash: str
    live: LiveSecret


@dataclass(frozen=True, kw_only=True, slots=True)
class UsableKey:
    """An API key that isn't revoked; ``secrets`` is empty where they can't be decrypted."""

    key_id: str
    name: str
    expires_at: datetime | None
    secrets: tuple[KeySecret, ...]

    @property
    def readable(self) -> bool:
        """Tell whether its secrets could be decrypted."""
        return bool(self.secrets)

    def verification_key(self) -> VerificationKey:
        """Return what verifies the JWTs made from this key."""
        return VerificationKey(
            key_id=self.key_id,
            secrets=tuple(secret.live for secret in self.secrets),
            expires_at=self.expires_at,
        )


def find(connection: Connection, name: str, *, lock: bool = False) -> ApiKey | None:
    """Return the API key of this name; with ``lock`` nobody else changes it meanwhile."""
    if lock and connection.dialect.name != "sqlite":
        connection.execute(select(tables.api_key.c.id).where(tables.api_key.c.name == name).with_for_update())
    row = connection.execute(_query().where(tables.api_key.c.name == name)).one_or_none()
    return None if row is None else _api_key(row)


def list_all(connection: Connection) -> list[ApiKey]:
    """Return all API keys by name."""
    return [_api_key(row) for row in connection.execute(_query().order_by(tables.api_key.c.name))]


def create(
    connection: Connection,
    name: str,
    material: ApiKeyMaterial,
    cipher: Cipher,
    *,
    expires_at: datetime | None,
    now: datetime,
    by: str,
) -> None:
    """Store a new key with its first secret."""
    connection.execute(
        insert(tables.api_key).values(
            id=material.key_id, name=name, created_at=now, created_by=by, expires_at=expires_at
        )
    )
    _add_secret(connection, material, cipher, now)


def rotate(
    connection: Connection,
    material: ApiKeyMaterial,
    cipher: Cipher,
    *,
    overlap_until: datetime,
    now: datetime,
) -> None:
    """Add a secret to the key ``material.key_id``; of the others only the newest lives on, until then."""
    table = tables.api_key_secret
    of_key = table.c.key_id == material.key_id
    connection.execute(delete(table).where(of_key, table.c.expires_at.is_not(None)))
    connection.execute(update(table).where(of_key).values(expires_at=overlap_until))
    _add_secret(connection, material, cipher, now)


def revoke(connection: Connection, key_id: str, now: datetime) -> None:
    """Close a key for good and destroy its secrets."""
    connection.execute(update(tables.api_key).where(tables.api_key.c.id == key_id).values(revoked_at=now))
    _delete_secrets(connection, key_id)


def remove(connection: Connection, key_id: str) -> None:
    """Remove a key and its secrets."""
    _delete_secrets(connection, key_id)
    connection.execute(delete(tables.api_key).where(tables.api_key.c.id == key_id))


def record_use(connection: Connection, key_id: str, now: datetime) -> None:
    """Remember when a JWT was last made from a key."""
    connection.execute(update(tables.api_key).where(tables.api_key.c.id == key_id).values(last_used_at=now))


def read_usable(connection: Connection, cipher: Cipher) -> list[UsableKey]:
    """Return every key that isn't revoked, with its secrets decrypted."""
    secrets: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(select(tables.api_key_secret)):
        secrets.setdefault(row.key_id, []).append(row)
    query = select(tables.api_key).where(tables.api_key.c.revoked_at.is_(None))
    return [
        UsableKey(
            key_id=key.id,
            name=key.name,
            expires_at=key.expires_at,
            secrets=_decrypt_all(key.name, secrets.get(key.id, []), cipher),
        )
        for key in connection.execute(query)
    ]


def reencrypt(connection: Connection, cipher: Cipher) -> dict[str, bool]:
    """Encrypt all secrets anew with the first Fernet key.

    Return by name of the API key whether its secrets could be read; what can't be is left alone.
    Raises SecretsUnprotected.
    """
    table = tables.api_key_secret
    done: dict[str, bool] = {}
    for row in _stored_secrets(connection):
        try:
            encrypted = cipher.encrypt(cipher.decrypt(row.signing_secret))
        except ValueError:
            done[row.name] = False
            continue
        connection.execute(update(table).where(table.c.id == row.id).values(signing_secret=encrypted))
        done.setdefault(row.name, True)
    return done


def outdated(connection: Connection, cipher: Cipher) -> list[str]:
    """Return the names of API keys with a secret that an older Fernet key encrypts."""
    rows = _stored_secrets(connection)
    return sorted({row.name for row in rows if not cipher.is_current(row.signing_secret)})


def _stored_secrets(connection: Connection) -> list[Row[Any]]:
    key, secret = tables.api_key, tables.api_key_secret
    query = select(secret.c.id, key.c.name, secret.c.signing_secret).join_from(
        secret, key, secret.c.key_id == key.c.id
    )
    return list(connection.execute(query.order_by(key.c.name)))


def _decrypt_all(name: str, rows: list[Row[Any]], cipher: Cipher) -> tuple[KeySecret, ...]:
    try:
        return tuple(
            KeySecret(
                api_key_hash=row.api_key_hash,
                live=LiveSecret(secret=cipher.decrypt(row.signing_secret), expires_at=row.expires_at),
            )
            for row in rows
        )
    except ValueError:
        log.error(
            "The secrets of API key %s can't be decrypted: was [core] fernet_key changed without keeping "
            "the old key behind a comma? Its integrations answer 503 until then.",
            name,
        )
        return ()


def _add_secret(connection: Connection, material: ApiKeyMaterial, cipher: Cipher, now: datetime) -> None:
    connection.execute(
        insert(tables.api_key_secret).values(
            id=uuid4(),
            key_id=material.key_id,
            api_key_hash=material.api_key_hash,
            signing_secret=cipher.encrypt(material.signing_secret),
            created_at=now,
        )
    )


def _delete_secrets(connection: Connection, key_id: str) -> None:
    connection.execute(delete(tables.api_key_secret).where(tables.api_key_secret.c.key_id == key_id))


def _query() -> Select[Any]:
    secret = tables.api_key_secret
    overlap = (
        select(func.max(secret.c.expires_at)).where(secret.c.key_id == tables.api_key.c.id).scalar_subquery()
    )
    return select(tables.api_key, overlap.label("overlap_until"))


def _api_key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        overlap_until=row.overlap_until,
    )
