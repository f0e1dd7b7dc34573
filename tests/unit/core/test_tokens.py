from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.errors import Unauthorized
from airflow_incoming.core.messages import LiveSecret, VerificationKey
from airflow_incoming.core.tokens import (
    TokenPolicy,
    generate_api_key,
    hash_api_key,
    mint,
    parse_api_key,
    verify,
)
from tests.unit.core.samples import KEY, KEY_ID, NOW, SECRET, TOKEN, TOKENS

IAT = 1767225600  # date -u -d 2026-01-01 +%s
HEADER = {"alg": "HS256", "kid": KEY_ID, "typ": "incoming+jwt"}
CLAIMS = {"iss": "us", "aud": "them", "sub": KEY_ID, "iat": IAT, "exp": IAT + 3600, "jti": "one"}
OTHER_SECRET = b"another secret of at least 32 bytes"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forge(header: object = HEADER, claims: object = CLAIMS, *, secret: bytes = SECRET) -> str:
    """Sign whatever is given, as nobody without the secret can; text is taken as it is."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signed = ".".join(encode(part.encode()) for part in parts)
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def refusal(token: str, *, key: VerificationKey = KEY, now: datetime = NOW) -> str:
    with pytest.raises(Unauthorized) as caught:
        verify(token, key, TOKENS, now=now)
    assert caught.value.detail == "The request isn't authorized."
    for part in token.split("."):
        assert len(part) < 16 or part not in caught.value.reason
    return caught.value.reason


def without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def counting() -> Callable[[int], bytes]:
    return lambda length: bytes(range(length))


def test_an_api_key_is_made_of_80_and_256_random_bits() -> None:
    """inc_<key id>_<secret>; of the key only the SHA-256 is kept."""
    material = generate_api_key(random=counting())

    # python -c 'print(base64.b32encode(bytes(range(10))), base64.urlsafe_b64encode(bytes(range(32))))'
    assert material.key_id == "aaaqeayeaudaocaj"
    assert material.api_key == "inc_aaaqeayeaudaocaj_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert material.signing_secret == bytes(range(32))
    assert material.api_key_hash == hash_api_key(material.api_key)


def test_the_hash_of_an_api_key_is_its_sha_256() -> None:
    """As ``printf … | openssl dgst -sha256`` says; text that isn't UTF-8 has one, too."""
    assert hash_api_key("inc_aaaaaaaaaaaaaaaa_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8") == (
        "6864ecff80a963e3276f3ad8c6eedb7af6b6d872a9ba844d34d95a6f7eec3e5e"
    )
    assert len(hash_api_key("\ud800")) == 64


def test_a_new_secret_keeps_the_key_id() -> None:
    """Rotation: the same identity, another key, another signing secret."""
    first = generate_api_key()
    second = generate_api_key(key_id=first.key_id)

    assert second.key_id == first.key_id == parse_api_key(second.api_key)
    assert second.api_key != first.api_key
    assert second.signing_secret != first.signing_secret


def test_secrets_do_not_show_in_logs() -> None:
    """The repr of key material names the key and nothing else."""
    assert repr(generate_api_key(random=counting())) == "ApiKeyMaterial(key_id='aaaqeayeaudaocaj')"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "inc_",
        "inc_abcdefghijklmnop_",
        "inc_abcdefghijklmnop_" + "x" * 42,
        "inc_abcdefghijklmnop_" + "x" * 44,
        "inc_abcdefghijklmnop_" + "x" * 42 + "=",
        "inc_ABCDEFGHIJKLMNOP_" + "x" * 43,
        "inc_abcdefghijklmno1_" + "x" * 43,
        "Inc_abcdefghijklmnop_" + "x" * 43,
        " inc_abcdefghijklmnop_" + "x" * 43,
        "inc_abcdefghijklmnop_" + "x" * 43 + "\n",
    ],
)
def test_what_is_no_api_key(text: str) -> None:
    """Only the one form has a key id."""
    assert parse_api_key(text) is None
    assert parse_api_key("inc_abcdefghijklmnop_" + "_-xX0" * 8 + "abc") == KEY_ID


def test_a_token_of_another_implementation_is_verified() -> None:
    """TOKEN was signed by openssl."""
    verify(TOKEN, KEY, TOKENS, now=NOW)


def test_a_minted_token_is_verified_here_and_by_others() -> None:
    """It is an ordinary JWT with the six claims and a typ of its own."""
    token = mint(KEY_ID, SECRET, TOKENS, now=NOW, random=counting())

    verify(token, KEY, TOKENS, now=NOW)
    assert jwt.get_unverified_header(token) == HEADER
    assert jwt.decode(
        token,
        SECRET,
        algorithms=["HS256"],
        audience="them",
        options={"verify_exp": False, "verify_iat": False},
    ) == CLAIMS | {"jti": "AAECAwQFBgcICQoLDA0ODw"}


def test_two_tokens_of_one_instant_differ() -> None:
    """jti is random."""
    assert mint(KEY_ID, SECRET, TOKENS, now=NOW) != mint(KEY_ID, SECRET, TOKENS, now=NOW)


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 31])
def test_short_secrets_neither_sign_nor_verify(secret: bytes) -> None:
    """RFC 7518, section 3.2: an HS256 key has at least 256 bits."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        mint(KEY_ID, secret, TOKENS, now=NOW)
    key = VerificationKey(key_id=KEY_ID, secrets=(LiveSecret(secret=secret),))
    assert "signature" in refusal(forge(secret=secret), key=key)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"issuer": ""}, "empty"),
        ({"audience": ""}, "empty"),
        ({"leeway": timedelta(seconds=61)}, "leeway"),
        ({"leeway": timedelta(seconds=-1)}, "leeway"),
        ({"lifetime": timedelta(0)}, "lifetime"),
        ({"lifetime": timedelta(seconds=0.5)}, "lifetime"),
        ({"lifetime": timedelta(seconds=-1)}, "lifetime"),
        ({"lifetime": timedelta(hours=25)}, "lifetime"),
        ({"max_lifetime": timedelta(days=32)}, "lifetime"),
    ],
)
def test_unsafe_policies_are_refused_when_built(change: dict[str, Any], problem: str) -> None:
    """Not per request, when it is too late."""
    safe: dict[str, Any] = {
        "issuer": "us",
        "audience": "them",
        "lifetime": timedelta(hours=1),
        "max_lifetime": timedelta(hours=24),
        "leeway": timedelta(seconds=60),
    }
    TokenPolicy(**safe)
    with pytest.raises(ValueError, match=problem):
        TokenPolicy(**(safe | change))


# The list of RFC 8725 and of what went wrong in JWT libraries since. All are signed with the right secret.
@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (HEADER | {"alg": "none"}, "alg"),
        (HEADER | {"alg": "None"}, "alg"),
        (HEADER | {"alg": ""}, "alg"),
        (HEADER | {"alg": None}, "alg"),
        (HEADER | {"alg": ["HS256"]}, "alg"),
        (HEADER | {"alg": "hs256"}, "alg"),
        (HEADER | {"alg": "HS384"}, "alg"),
        (HEADER | {"alg": "HS512"}, "alg"),
        (HEADER | {"alg": "RS256"}, "alg"),
        (HEADER | {"alg": "ES256"}, "alg"),
        (HEADER | {"typ": "JWT"}, "typ"),
        (HEADER | {"typ": "at+jwt"}, "typ"),
        (HEADER | {"typ": "incoming+JWT"}, "typ"),
        (HEADER | {"typ": None}, "typ"),
        (HEADER | {"kid": "ponmlkjihgfedcba"}, "another API key"),
        (HEADER | {"kid": "../../dev/null"}, "another API key"),
        (HEADER | {"kid": "x' UNION SELECT 'secret"}, "another API key"),
        (HEADER | {"kid": ""}, "another API key"),
        (HEADER | {"kid": [KEY_ID]}, "another API key"),
        (without(HEADER, "alg"), "other members"),
        (without(HEADER, "typ"), "other members"),
        (without(HEADER, "kid"), "other members"),
        (HEADER | {"jwk": {"kty": "oct", "k": encode(SECRET)}}, "other members"),
        (HEADER | {"jku": "https://evil.example/jwks.json"}, "other members"),
        (HEADER | {"x5c": ["MII"]}, "other members"),
        (HEADER | {"x5u": "https://evil.example/cert.pem"}, "other members"),
        (HEADER | {"crit": ["exp"]}, "other members"),
        (HEADER | {"crit": []}, "other members"),
        (HEADER | {"b64": False, "crit": ["b64"]}, "other members"),
        (HEADER | {"b64": True}, "other members"),
        (HEADER | {"zip": "DEF"}, "other members"),
        (HEADER | {"enc": "A128GCM"}, "other members"),
        ('{"alg":"none","alg":"HS256","kid":"abcdefghijklmnop","typ":"incoming+jwt"}', "can't be read"),
        ("[]", "isn't an object"),
        ('"HS256"', "isn't an object"),
        ("{", "can't be read"),
        ("[" * 2000, "can't be read"),
        ("{}{}", "can't be read"),
    ],
)
def test_attacks_by_header(header: object, reason: str) -> None:
    """Exactly alg, kid and typ, with exactly our values."""
    assert reason in refusal(forge(header))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        *((without(CLAIMS, name), f"lacks {name}") for name in CLAIMS),
        ({}, "lacks aud, exp, iat, iss, jti, sub"),
        (CLAIMS | {"iss": "airflow"}, "iss"),
        (CLAIMS | {"iss": ["us"]}, "iss"),
        (CLAIMS | {"aud": "airflow"}, "aud"),
        (CLAIMS | {"aud": ["them"]}, "aud"),
        (CLAIMS | {"aud": ["them", "airflow"]}, "aud"),
        (CLAIMS | {"sub": "ponmlkjihgfedcba"}, "sub"),
        (CLAIMS | {"sub": None}, "sub"),
        (CLAIMS | {"jti": ""}, "jti"),
        (CLAIMS | {"jti": 1}, "jti"),
        (CLAIMS | {"iat": str(IAT)}, "iat"),
        (CLAIMS | {"iat": True}, "iat"),
        (CLAIMS | {"iat": None}, "iat"),
        (CLAIMS | {"iat": -1}, "iat"),
        (CLAIMS | {"iat": float("nan")}, "iat"),
        (CLAIMS | {"iat": float("-inf")}, "iat"),
        (CLAIMS | {"exp": str(IAT + 3600)}, "exp"),
        (CLAIMS | {"exp": True}, "exp"),
        (CLAIMS | {"exp": [IAT + 3600]}, "exp"),
        (CLAIMS | {"exp": float("nan")}, "exp"),
        (CLAIMS | {"exp": float("inf")}, "exp"),
        (CLAIMS | {"exp": 10**400}, "exp"),
        (CLAIMS | {"exp": 253402300800}, "too long"),
        (CLAIMS | {"exp": IAT + 86401}, "too long"),
        (CLAIMS | {"exp": IAT}, "too long"),
        (CLAIMS | {"exp": IAT - 1}, "too long"),
        (CLAIMS | {"exp": 0}, "expired"),
        (CLAIMS | {"iat": IAT + 31, "exp": IAT + 3600}, "future"),
        (CLAIMS | {"iat": 0}, "too long"),
        (CLAIMS | {"nbf": IAT + 31}, "yet"),
        (CLAIMS | {"nbf": "x"}, "nbf"),
        ('{"iss":"us","iss":"us"}', "can't be read"),
        ("[]", "isn't an object"),
        ("null", "isn't an object"),
        ("[" * 2000, "can't be read"),
    ],
)
def test_attacks_by_claims(claims: object, reason: str) -> None:
    """All six, with our values, in whole trust of nobody."""
    assert reason in refusal(forge(claims=claims))


@pytest.mark.parametrize(
    ("seconds", "ok"), [(-31, False), (-30, True), (0, True), (3629, True), (3630, False), (10**9, False)]
)
def test_time_has_a_leeway_of_its_own(seconds: int, ok: bool) -> None:
    """From iat less the leeway, until before exp plus the leeway (30 s here)."""
    now = NOW + timedelta(seconds=seconds)
    if ok:
        verify(TOKEN, KEY, TOKENS, now=now)
    else:
        assert refusal(TOKEN, now=now) in ("the token has expired", "the token is from the future")


def test_a_lifetime_of_the_maximum_is_allowed() -> None:
    """exp - iat is capped when verifying, whatever was minted: 24 h here."""
    verify(forge(claims=CLAIMS | {"exp": IAT + 86400}), KEY, TOKENS, now=NOW)


def _last_bits_changed(part: str) -> str:
    """Spell the same bytes otherwise: the unused bits of the last character are set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda h, c, s: "",
        lambda h, c, s: "..",
        lambda h, c, s: f"{h}.{c}",
        lambda h, c, s: f"{h}.{c}.",
        lambda h, c, s: f"{h}..{s}",
        lambda h, c, s: f".{c}.{s}",
        lambda h, c, s: f"{h}.{c}.{s}.",
        lambda h, c, s: f"{h}.{c}.{s}.{s}.{s}",
        lambda h, c, s: f"{h}.{c}.{s}=",
        lambda h, c, s: f"{h}==.{c}.{s}",
        lambda h, c, s: f"{h}.{c}.{s}\n",
        lambda h, c, s: f" {h}.{c}.{s}",
        lambda h, c, s: f"{h}.{c}.{s[:20]} {s[20:]}",
        lambda h, c, s: f"{h}.{c}.{s[:20]}+{s[21:]}",
        lambda h, c, s: f"{h}.{c}.{s[:20]}/{s[21:]}",
        lambda h, c, s: f"{h}.{c}.{s[:20]}é{s[21:]}",
        lambda h, c, s: f"{h}.{c}.{s[:-2]}",
        lambda h, c, s: f"{h}.{c}.{s[:-1]}",
        lambda h, c, s: f"{h}.{c}.{s}AAAA",
        lambda h, c, s: f"{h}.{c}.{_last_bits_changed(s)}",
        lambda h, c, s: f"{h}.{c}.{'A' * 43}",
        lambda h, c, s: f"{h}.{c}.{s[::-1]}",
        lambda h, c, s: f"{h}.{encode(json.dumps(CLAIMS | {'jti': 'two'}).encode())}.{s}",
        lambda h, c, s: f"{h}.{c}.{encode(hmac.new(b'', f'{h}.{c}'.encode(), hashlib.sha256).digest())}",
        lambda h, c, s: f"{h}.{c}.{encode(hmac.new(SECRET, f'{h}.{c}'.encode(), hashlib.sha512).digest())}",
        lambda h, c, s: f"{h}.{c}.{encode(hashlib.sha256(SECRET + f'{h}.{c}'.encode()).digest())}",
        lambda h, c, s: "eyJhbGciOiJub25lIn0." + c + ".",  # {"alg":"none"}
        lambda h, c, s: json.dumps({"protected": h, "payload": c, "signature": s}),
    ],
)
def test_attacks_by_spelling_and_signature(change: Callable[[str, str, str], str]) -> None:
    """A token is three parts of base64url in their one spelling, and its signature is right."""
    header, claims, signature = TOKEN.split(".")

    refusal(change(header, claims, signature))


@given(st.data())
def test_no_changed_character_is_overlooked(data: st.DataObject) -> None:
    """Whatever character is another one, the token is no longer ours."""
    place = data.draw(st.integers(0, len(TOKEN) - 1))
    character = data.draw(st.characters().filter(lambda drawn: drawn != TOKEN[place]))

    refusal(TOKEN[:place] + character + TOKEN[place + 1 :])


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    """Nothing but Unauthorized ever comes out."""
    refusal(text)


def test_long_tokens_are_refused_unread() -> None:
    """4 KiB is far more than ours take."""
    long = forge(claims=CLAIMS | {"jti": "x" * 4000})
    assert refusal(long) == "the token is longer than 4 KiB"


def live(secret: bytes, seconds: int | None = None) -> LiveSecret:
    return LiveSecret(secret=secret, expires_at=None if seconds is None else NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("secrets", "key_ends", "ok"),
    [
        ((live(SECRET),), None, True),
        ((live(OTHER_SECRET),), None, False),
        ((), None, False),
        # While a rotation overlaps, both secrets are good, in any order; then the new one only.
        ((live(OTHER_SECRET), live(SECRET, 1)), None, True),
        ((live(SECRET, 1), live(OTHER_SECRET)), None, True),
        ((live(OTHER_SECRET, 1), live(SECRET)), None, True),
        ((live(OTHER_SECRET), live(SECRET, 0)), None, False),
        ((live(OTHER_SECRET), live(SECRET, -1)), None, False),
        ((live(SECRET, -1), live(OTHER_SECRET)), None, False),
        # The key's own end comes before its secrets'.
        ((live(SECRET),), 1, True),
        ((live(SECRET),), 0, False),
        ((live(SECRET),), -1, False),
        ((live(SECRET, 60),), -1, False),
    ],
)
def test_secret_by_token(secrets: tuple[LiveSecret, ...], key_ends: int | None, ok: bool) -> None:
    """The truth table of live secrets and a token that one of them signed."""
    key = VerificationKey(
        key_id=KEY_ID,
        secrets=secrets,
        expires_at=None if key_ends is None else NOW + timedelta(seconds=key_ends),
    )
    if ok:
        verify(TOKEN, key, TOKENS, now=NOW)
    else:
        assert refusal(TOKEN, key=key)


def test_a_key_with_the_same_secret_but_another_id_is_another_key() -> None:
    """kid and sub both bind the token to its key."""
    other = VerificationKey(key_id="ponmlkjihgfedcba", secrets=KEY.secrets)

    assert "another API key" in refusal(TOKEN, key=other)
    assert "sub" in refusal(forge(HEADER | {"kid": other.key_id}), key=other)
