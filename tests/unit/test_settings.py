"""The options: each has a default that parses, and a wrong one is named."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from airflow_incoming.core.stream import Limits
from airflow_incoming.settings import OPTIONS, Settings, read_settings


def test_defaults() -> None:
    """Nothing needs to be configured."""
    settings = read_settings(lambda _: None)
    assert (settings.redis_url, settings.max_body, settings.max_conf) == ("", 1048576, 262144)
    assert (settings.body_timeout, settings.event_retention) == (timedelta(seconds=10), timedelta(days=30))
    assert (settings.dispatcher, settings.dispatch_batch) == (True, 100)
    assert settings.trusted_proxies == ()


def test_every_option_is_a_setting_and_documented() -> None:
    """What is declared is what is read."""
    assert list(OPTIONS) == [field.name for field in fields(Settings)]
    assert all(option.description.endswith(".") for option in OPTIONS.values())


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("max_body", "2MiB", 2097152),
        ("max_body", "1000", 1000),
        ("retry_for", "2w", timedelta(days=14)),
        ("dispatcher", "false", False),
        ("max_concurrency", " 12 ", 12),
        ("redis_url", "redis://h:1/2", "redis://h:1/2"),
        ("trusted_proxies", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ],
)
def test_values(option: str, text: str, value: object) -> None:
    """Sizes, durations, numbers and switches as people write them."""
    assert getattr(read_settings({option: text}.get), option) == value


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("max_body", "much"),
        ("max_body", "0"),
        ("body_timeout", "10"),
        ("dispatch_batch", "-1"),
        ("dispatch_batch", "0"),
        ("dispatcher", "maybe"),
        ("token_rate", "fast"),
        ("token_leeway", "5m"),
        ("token_lifetime", "90d"),
        ("trusted_proxies", "everybody"),
    ],
)
def test_a_wrong_value_is_named(option: str, text: str) -> None:
    """The error says which option of which section, and what it was."""
    with pytest.raises(ValueError, match=rf"\[incoming\] {option} = '{text}'"):
        read_settings({option: text}.get)


@pytest.mark.parametrize(("retention", "kept"), [("30d", timedelta(days=7)), ("1h", timedelta(hours=1))])
def test_streams_keep_no_event_longer_than_the_database(retention: str, kept: timedelta) -> None:
    """Whoever shortens event_retention means the bodies in Redis, too."""
    given = {"event_retention": retention, "stream_size": "1MiB", "stream_length": "9"}
    assert read_settings(given.get).stream_limits == Limits(length=9, size=1048576, kept=kept)


def test_the_readme_lists_every_option() -> None:
    """Its table says what the declaration says."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for name, option in OPTIONS.items():
        default = f"`{option.default}`" if option.default else "empty"
        assert f"| `{name}` | {default} | {option.description} |\n" in readme
