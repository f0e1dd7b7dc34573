from __future__ import annotations

from pathlib import Path

import pytest

from airflow_incoming.core.parameters import (
    NAMING_KEYS,
    is_sensitive_header,
    is_sensitive_query,
    validate_parameter,
)


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("body.order.id", "body.order.id"),
        ("body.a\\.b", "body.a\\.b"),
        ("body.Zamówienie", "body.Zamówienie"),
        ("body.0", "body.0"),
        ("header.X-Request-Id", "header.x-request-id"),
        ("header.x.y", "header.x.y"),
        ("query.Source", "query.Source"),
        ("body." + "x" * 507, "body." + "x" * 507),
    ],
)
def test_parameters_have_one_spelling(text: str, parameter: str) -> None:
    """Header names don't know case, everything else does."""
    assert validate_parameter(text) == parameter
    assert validate_parameter(parameter) == parameter


@pytest.mark.parametrize(
    "value",
    [
        "",
        "body",
        "body.",
        "header.",
        "query.",
        ".id",
        "order.id",
        "Body.id",
        "cookie.a",
        "header.a b",
        "header.a:b",
        "header.ą",
        "header." + "x" * 129,
        "body." + "x" * 508,
        "body.a\nb",
        "body.\0",
        7,
        None,
        ["body.id"],
    ],
)
def test_what_is_no_parameter(value: object) -> None:
    """It names where it is from, and a field there."""
    with pytest.raises(ValueError, match=r"must be a parameter|must begin with|not the name of a header"):
        validate_parameter(value)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "apikey",
        "x-auth-token",
        "x-csrf-token",
        "x-hub-signature",
        "x-hub-signature-256",
        "stripe-signature",
        "x-hmac",
        "x-shopify-hmac-sha256",
        "x-gitlab-token",
        "x-amz-security-token",
        "x-client-secret",
        "x-session-id",
        "x-password",
        "passwd",
        "x_api_key",
        "x-auth",
        "my_hmac",
        "paypal-transmission-sig",
        "cf-access-jwt-assertion",
        "dpop",
        "x-functions-key",
        "x-amzn-oidc-data",
        "x-goog-iap-jwt-assertion",
        "ocp-apim-subscription-key",
        "x-access-key",
        "x-private-key",
        "x-sig",
        "x-client-cert",
        "x-forwarded-client-cert",
        "x-forwarded-tls-client-cert-info",
        "x-arr-clientcert",
        "x-amzn-mtls-clientcert",
        "ssl-client-certificate",
        "x-key",
        "key",
        "x-pass",
        "x-otp",
        "x-csrf",
        "x-event-key-token",
    ],
)
def test_headers_that_may_hold_a_credential(name: str) -> None:
    """They are redacted and never passed on."""
    assert is_sensitive_header(name)


@pytest.mark.parametrize(
    "name",
    [
        "x-request-id",
        "content-type",
        "user-agent",
        "x-github-delivery",
        "date",
        "x-deduplication-hash",
        "author",
        "x-idempotency-key",
        "idempotency-key",
        "x-shopify-topic",
        "x-event-key",
        "x-routing-key",
        "x-amz-sns-message-id",
        "ce-partitionkey",
        "x-keywords",
        "x-monkey",
        "x-passenger-id",
        "x-signal",
        "x-country-code",
        "x-design",
        "paypal-cert-url",
        "paypal-transmission-id",
        "webhook-id",
    ],
)
def test_headers_that_hold_none(name: str) -> None:
    """They may be kept."""
    assert not is_sensitive_header(name)


@pytest.mark.parametrize("word", NAMING_KEYS)
def test_keys_that_name_something(word: str) -> None:
    """People deduplicate on them and pass them on."""
    assert not is_sensitive_header(f"x-{word}-key")
    assert not is_sensitive_query(f"{word}Key")


@pytest.mark.parametrize(
    ("name", "sensitive"),
    [
        *((name, True) for name in ("jwt", "sig", "pwd", "pass", "code", "key", "sign", "SAMLResponse")),
        *(
            (name, True)
            for name in ("userPass", "sasKey", "X-Amz-Signature", "authKey", "id_token", "API_KEY")
        ),
        *(
            (name, False)
            for name in ("postcode", "country_code", "countryCode", "monkey", "eventKey", "bypass")
        ),
    ],
)
def test_query_parameters_that_may_hold_a_credential(name: str, sensitive: bool) -> None:
    """By the words in their names, also in camel case."""
    assert is_sensitive_query(name) is sensitive


def test_the_readme_names_every_exception() -> None:
    """Whoever wonders why a header was redacted, or wasn't, finds the words."""
    readme = " ".join((Path(__file__).parents[3] / "README.md").read_text().split())
    named = readme.partition("behind these words: ")[2].partition(" (`")[0]
    assert tuple(named.split(", ")) == NAMING_KEYS
