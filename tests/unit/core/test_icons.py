"""Uploaded icons are kept as they are, if they are of a type that is served as nothing but a picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.icons import MAX_ICON, read_icon
from airflow_incoming.core.integration import parse_configuration

PNG = b"\x89PNG\r\n\x1a\n and whatever follows"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path onload="x()"/></svg>'


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (PNG, "image/png"),
        (SVG, "image/svg+xml"),
        (b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n<!-- drawn -->\n' + SVG, "image/svg+xml"),
    ],
)
def test_an_icon_is_kept_as_it_is_under_a_name_that_configurations_know(
    data: bytes, content_type: str
) -> None:
    """The name is a digest of the picture, so the same picture has the same name."""
    icon = read_icon(data)
    assert (icon.content, icon.content_type) == (data, content_type)
    assert re.fullmatch(r"upload-[0-9a-f]{32}", icon.name)
    assert read_icon(data).name == icon.name
    assert read_icon(data + b" ").name != icon.name
    assert parse_configuration({"icon": icon.name}).icon == icon.name


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a", "neither a PNG nor an SVG"),
        (b"<html><body/></html>", "neither a PNG nor an SVG"),
        (b"text <svg/>", "neither a PNG nor an SVG"),
        (b"<svg>" + b" " * MAX_ICON + b"</svg>", "48 KiB"),
    ],
)
def test_refusals_say_what_is_wrong(data: bytes, reason: str) -> None:
    """Each in words that somebody who made the file understands."""
    with pytest.raises(InvalidConfiguration) as caught:
        read_icon(data)
    assert caught.value.path == ("icon",)
    assert reason in caught.value.problem


def test_our_own_icons_pass() -> None:
    """The built-in icons are of the type that an upload has to be."""
    files = list((Path(__file__).parents[3] / "airflow_incoming/web/views/icon_files").glob("*.svg"))
    assert len(files) >= 24
    assert {read_icon(file.read_bytes()).content_type for file in files} == {"image/svg+xml"}
