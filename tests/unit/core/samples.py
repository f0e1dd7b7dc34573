"""An endpoint, its key, and requests to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from uuid import UUID

from airflow_incoming.core.admission import AdmissionPolicy
from airflow_incoming.core.integration import Auth, Configuration
from airflow_incoming.core.messages import Endpoint, LiveSecret, Request, VerificationKey
from airflow_incoming.core.tokens import TokenPolicy

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
EVENT_ID = UUID("01900000-0000-7000-8000-000000000001")
INTEGRATION_ID = UUID(int=1)
KEY_ID = "abcdefghijklmnop"
SECRET = b"0123456789abcdef0123456789abcdef"

TOKENS = TokenPolicy(
    issuer="us",
    audience="them",
    lifetime=timedelta(hours=1),
    max_lifetime=timedelta(hours=24),
    leeway=timedelta(seconds=30),
)
POLICY = AdmissionPolicy(max_body=1024, max_conf=2048, max_parameters=20, tokens=TOKENS)
KEY = VerificationKey(key_id=KEY_ID, secrets=(LiveSecret(secret=SECRET),))

#: Signed with SECRET by ``openssl dgst -sha256 -mac HMAC``; iat is NOW, exp an hour later, jti "one".
TOKEN = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZmdoaWprbG1ub3AiLCJ0eXAiOiJpbmNvbWluZytqd3QifQ"
    ".eyJpc3MiOiJ1cyIsImF1ZCI6InRoZW0iLCJzdWIiOiJhYmNkZWZnaGlqa2xtbm9wIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAi"
    "OjE3NjcyMjkyMDAsImp0aSI6Im9uZSJ9"
    ".M0_E8-ZrcfCxktd_9-sC1AC2CLRDcEeHbHk9ttMP_eg"
)
JWT = Auth(type="jwt", api_key="shop")


def endpoint(configuration: Configuration | None = None, *, key: VerificationKey | None = KEY) -> Endpoint:
    return Endpoint(
        endpoint_id="orders-endpoint",
        integration_id=INTEGRATION_ID,
        name="orders",
        version_id=UUID(int=2),
        configuration=configuration or Configuration(dags=("process_order",)),
        key=key,
    )


def request(
    body: bytes = b'{"order": {"id": 7}}',
    headers: Mapping[str, str] | None = None,
    *,
    query: str = "",
    remote: str | None = "192.0.2.1",
) -> Request:
    return Request(
        endpoint_id="orders-endpoint",
        body=body,
        headers={"content-type": "application/json"} | dict(headers or {}),
        query=query,
        remote=remote,
    )
