from __future__ import annotations

import pytest

from airflow_incoming.core.parameters import is_sensitive_header, validate_parameter


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
    ],
)
def test_headers_that_hold_none(name: str) -> None:
    """They may be kept."""
    assert not is_sensitive_header(name)
