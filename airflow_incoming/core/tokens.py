"""API keys, and the JWTs (RFC 7519, hardened after RFC 8725) that are made from them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm

from airflow_incoming.core.errors import Unauthorized
from airflow_incoming.core.messages import VerificationKey

TOKEN_TYPE = "incoming+jwt"
ALGORITHM = "HS256"
MAX_TOKEN = 4096
MAX_LEEWAY = timedelta(seconds=60)

_API_KEY = re.compile(r"inc_([a-z2-7]{16})_[A-Za-z0-9_-]{43}")
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_HEADER = frozenset({"alg", "kid", "typ"})
_CLAIMS = frozenset({"iss", "aud", "sub", "iat", "exp", "jti"})
#: PyJWT's algorithm without its decoder, which is laxer, reads the clock and is far slower.
_HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)
_SECRET_BYTES = 32  # RFC 7518, section 3.2: at least as long as the hash
_LAST_MOMENT = 2**53  # beyond, a float no longer counts seconds; NaN and Infinity compare false

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKeyMaterial:
    """A new secret of an API key. ``api_key`` is shown once; of it only the hash is stored."""

    key_id: str
    api_key: str = field(repr=False)
    api_key_hash: str = field(repr=False)
    signing_secret: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPolicy:
    """How JWTs are made and what is demanded of them. Raises ValueError for unsafe values."""

    issuer: str = "airflow-incoming"
    audience: str = "airflow-incoming"
    lifetime: timedelta = timedelta(hours=1)
    max_lifetime: timedelta = timedelta(hours=24)
    leeway: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ValueError("issuer and audience must not be empty")
        if not timedelta(0) <= self.leeway <= MAX_LEEWAY:
            raise ValueError("the leeway must be between 0 and 60 seconds")
        if not timedelta(seconds=1) <= self.lifetime <= self.max_lifetime <= timedelta(days=31):
            raise ValueError(
                f"the lifetime of a token must be at least 1 s and at most {self.max_lifetime}, "
                f"which must be at most 31 days; not {self.lifetime}"
            )


def generate_api_key(
    *, key_id: str | None = None, random: RandomBytes = secrets.token_bytes
) -> ApiKeyMaterial:
    """Return a new API key of 256 random bits; with ``key_id``, a new secret for that key."""
    identity = key_id or base64.b32encode(random(10)).decode().lower()
    api_key = f"inc_{identity}_{_encode(random(_SECRET_BYTES))}"
    return ApiKeyMaterial(
        key_id=identity,
        api_key=api_key,
        api_key_hash=hash_api_key(api_key),
        signing_secret=random(_SECRET_BYTES),
    )


def hash_api_key(api_key: str) -> str:
    """Return the SHA-256 of an API key; 256 random bits need no slower hash."""
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()


def parse_api_key(api_key: str) -> str | None:
    """Return the key id in an API key; None where it doesn't look like one."""
    found = _API_KEY.fullmatch(api_key)
    return found[1] if found else None


def mint(
    key_id: str,
    secret: bytes,
    policy: TokenPolicy,
    *,
    now: datetime,
    random: RandomBytes = secrets.token_bytes,
) -> str:
    """Return a JWT of an API key, valid from ``now`` for ``policy.lifetime``.

    Raises ValueError for a secret that is too short to sign with.
    """
    if len(secret) < _SECRET_BYTES:
        raise ValueError(f"a signing secret must have at least {_SECRET_BYTES} bytes")
    issued = int(now.timestamp())
    claims = {
        "iss": policy.issuer,
        "aud": policy.audience,
        "sub": key_id,
        "iat": issued,
        "exp": issued + int(policy.lifetime.total_seconds()),
        "jti": _encode(random(16)),
    }
    return jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TOKEN_TYPE})


def verify(token: str, key: VerificationKey, policy: TokenPolicy, *, now: datetime) -> None:
    """Return if the token was made from this key and is valid at ``now``.

    Raises Unauthorized, whose ``reason`` never repeats the token.
    """
    if len(token) > MAX_TOKEN:
        raise Unauthorized("the token is longer than 4 KiB")
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        raise Unauthorized("the token isn't three parts of base64url")
    _check_header(_decode_object(parts[1], "header"), key)
    _check_signature(token[: parts.end(2)].encode(), _decode(parts[3], "signature"), key, now)
    try:
        _check_claims(_decode_object(parts[2], "claims"), key, policy, now.timestamp())
    except Unauthorized as error:  # nobody else could have signed it
        raise Unauthorized(error.reason, stranger=False) from error


def _check_header(header: dict[str, Any], key: VerificationKey) -> None:
    if header.keys() != _HEADER:
        raise Unauthorized("the token's header has other members than alg, kid and typ")
    if header["alg"] != ALGORITHM:
        raise Unauthorized("the token's alg isn't HS256")
    if header["typ"] != TOKEN_TYPE:
        raise Unauthorized(f"the token's typ isn't {TOKEN_TYPE}")
    if header["kid"] != key.key_id:
        raise Unauthorized("the token is of another API key")


def _check_signature(signed: bytes, signature: bytes, key: VerificationKey, now: datetime) -> None:
    if not _alive(key.expires_at, now):
        raise Unauthorized("the API key has expired")
    for secret in key.secrets:
        # An empty or short secret would let others sign.
        if len(secret.secret) < _SECRET_BYTES or not _alive(secret.expires_at, now):
            continue
        if _HS256.verify(signed, secret.secret, signature):
            return
    raise Unauthorized("the token's signature is wrong, or its secret is no longer valid")


def _check_claims(claims: dict[str, Any], key: VerificationKey, policy: TokenPolicy, now: float) -> None:
    missing = _CLAIMS - claims.keys()
    if missing:
        raise Unauthorized(f"the token lacks {', '.join(sorted(missing))}")
    for name, expected in (("iss", policy.issuer), ("aud", policy.audience), ("sub", key.key_id)):
        if claims[name] != expected:
            raise Unauthorized(f"the token's {name} is wrong")
    if not isinstance(claims["jti"], str) or not claims["jti"]:
        raise Unauthorized("the token's jti isn't a string")
    issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
    leeway = policy.leeway.total_seconds()
    if issued > now + leeway:
        raise Unauthorized("the token is from the future")
    if expires <= now - leeway:
        raise Unauthorized("the token has expired")
    if not 0 < expires - issued <= policy.max_lifetime.total_seconds():
        raise Unauthorized("the token is valid for too long")
    if "nbf" in claims and _moment(claims, "nbf") > now + leeway:
        raise Unauthorized("the token isn't valid yet")


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= _LAST_MOMENT:
        return float(value)
    raise Unauthorized(f"the token's {name} isn't a time")


def _alive(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is None or now < expires_at


def _decode_object(part: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part, what).decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Unauthorized(f"the token's {what} can't be read") from error
    if not isinstance(value, dict):
        raise Unauthorized(f"the token's {what} isn't an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _decode(part: str, what: str) -> bytes:
    """Return the bytes of base64url in its one spelling (RFC 4648, sections 3.5 and 5)."""
    try:
        decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise Unauthorized(f"the token's {what} isn't base64url") from error
    if _encode(decoded) != part:
        raise Unauthorized(f"the token's {what} isn't canonical base64url")
    return decoded


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
