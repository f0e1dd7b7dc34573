"""Which headers are kept, and which are passed on to DAG runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_incoming.core.parameters import is_sensitive_header

REDACTED = "[redacted]"


def redact(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that may be stored: what may be a credential is replaced, NUL can't occur."""
    return {
        _storable(name): REDACTED if is_sensitive_header(name) else _storable(value)
        for name, value in headers.items()
    }


def passed_on(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the chosen headers that are there, never a sensitive one."""
    return {name: headers[name] for name in names if name in headers and not is_sensitive_header(name)}


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
