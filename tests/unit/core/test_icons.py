"""Uploaded icons can do no harm: what is not known to be safe is left out or refused."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.icons import MAX_ICON, clean_icon
from airflow_incoming.core.integration import parse_configuration

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
PIXELS = zlib.compress(b"\x00" + b"\x10\x20\x30" * 2 + b"\x00" + b"\x40\x50\x60" * 2)


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*extra: bytes, header: bytes = HEADER, pixels: bytes = PIXELS) -> bytes:
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def svg(inside: str = '<path d="M0 0h4"/>', attributes: str = 'viewBox="0 0 24 24"') -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{inside}</svg>'.encode()


def cleaned(inside: str, attributes: str = 'viewBox="0 0 24 24"') -> str:
    return clean_icon(svg(inside, attributes)).content.decode()


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        clean_icon(data)
    assert caught.value.path == ("icon",)
    return caught.value.problem


def test_an_icon_has_a_name_that_configurations_know() -> None:
    """The name is a digest of the cleaned picture, so the same picture has the same name."""
    first, second = clean_icon(svg()), clean_icon(svg('<path d="M0 0h4" onclick="alert(1)"/>'))
    assert first.name == second.name
    assert re.fullmatch(r"upload-[0-9a-f]{32}", first.name)
    assert parse_configuration({"icon": first.name}).icon == first.name
    assert (first.content_type, clean_icon(png()).content_type) == ("image/svg+xml", "image/png")


def test_a_drawing_stays_what_it_is() -> None:
    """Shapes, gradients, clips and texts are kept."""
    inside = (
        '<defs><linearGradient id="g"><stop offset="0" stop-color="#fff"></stop></linearGradient></defs>'
        '<g transform="rotate(45)" fill="url(#g)"><path d="M0 0h4"></path><text x="1">A &amp; B</text></g>'
    )
    assert cleaned(inside) == (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">{inside}</svg>')


def test_the_size_is_up_to_the_page() -> None:
    """Width and height become a viewBox; a picture without either is refused."""
    assert 'viewBox="0 0 32 16"' in cleaned("<rect/>", 'width="32px" height="16"')
    assert "width=" not in cleaned("<rect/>", 'width="9999" height="9999" viewBox="0 0 1 1"')
    assert "viewBox" in refusal(svg("<rect/>", ""))


@pytest.mark.parametrize(
    "harm",
    [
        '<path d="M0 0" onload="alert(1)" onclick="alert(1)"/>',
        '<path d="M0 0" fill="url(https://evil.example/x)"/>',
        '<path d="M0 0" fill="URL( \'//evil.example/x\' )"/>',
        r'<path d="M0 0" fill="u\72l(//evil.example)"/>',
        '<path d="M0 0" mask="image-set(\'//evil.example\' 1x)"/>',
        '<path d="M0 0" style="fill:url(//evil.example);background:url(//evil.example)"/>',
        '<path d="M0 0" href="https://evil.example" class="x" xml:base="//evil.example"/>',
        '<path d="M0 0" data-x="evil" foreign:x="evil" xmlns:foreign="evil"/>',
        '<linearGradient id="a" href="https://evil.example#a"/><path d="M0 0"/>',
        '<linearGradient id="a" xlink:href="javascript:evil" xmlns:xlink="http://www.w3.org/1999/xlink"/><path/>',
        "<metadata><script>evil</script></metadata><title>evil</title><desc>evil</desc><path/>",
        '<x:script xmlns:x="evil">evil</x:script><path/>',
        "<!-- evil --><path/>",
    ],
)
def test_what_could_fetch_or_run_is_left_out(harm: str) -> None:
    """Event handlers, addresses, foreign namespaces, comments."""
    content = cleaned(harm)
    assert "<path" in content
    for word in ("evil", "alert", "script", "on", "http", "//"):
        assert word not in content.replace("http://www.w3.org/2000/svg", "").replace("version", "")


@pytest.mark.parametrize(
    "element",
    [
        "<script>alert(1)</script>",
        "<foreignObject><p>hi</p></foreignObject>",
        '<image href="x.png"/>',
        '<use href="#a"/>',
        "<style>path{fill:red}</style>",
        '<a href="/"><path/></a>',
        '<animate attributeName="href"/>',
        '<set attributeName="href" to="x"/>',
        '<pattern id="p"/>',
        "<filter/>",
        "<svg/>",
        '<xhtml:script xmlns:xhtml="http://www.w3.org/2000/svg">alert(1)</xhtml:script>',
    ],
)
def test_what_draws_or_acts_otherwise_is_refused(element: str) -> None:
    """The picture would be another one without it, so the file is refused and the element named."""
    assert "may not have" in refusal(svg(f"<path/>{element}"))


def test_a_style_attribute_becomes_attributes() -> None:
    """Drawing programs write colours there; what isn't a known attribute is left out."""
    assert '<path fill="#f00" stroke-width="2">' in cleaned(
        '<path style="fill:#f00; stroke-width : 2; -x:y; behavior:url(#a)"/>'
    )


def test_local_references_are_kept() -> None:
    """A gradient may build on another, a shape may name a gradient of this picture."""
    content = cleaned(
        '<linearGradient id="b" xlink:href="#a" xmlns:xlink="http://www.w3.org/1999/xlink"/>'
        "<path fill=\"url('#b')\"/>"
    )
    assert '<linearGradient id="b" href="#a">' in content
    assert "fill=\"url('#b')\"" in content


def test_clips_do_not_nest() -> None:
    """Ten clips in ten clips draw a picture a billion times."""
    content = cleaned(
        '<clipPath id="a"><path clip-path="url(#b)" d="M0 0"/></clipPath><path clip-path="url(#a)"/>'
    )
    assert content.count("clip-path=") == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a", "neither a PNG nor an SVG"),
        (b"<html><body/></html>", "not an SVG"),
        (b'<svg xmlns="http://www.w3.org/1999/xhtml"/>', "not an SVG"),
        (b"<!DOCTYPE svg><svg/>", "DOCTYPE"),
        (b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>', "DOCTYPE"),
        (b'<?xml version="1.0"?><?xml-stylesheet href="x.css"?><svg/>', "processing instruction"),
        (b"<svg", "well-formed"),
        (svg("&unknown;"), "well-formed"),
        ("<svg>é</svg>".encode("latin-1"), "UTF-8"),
        (svg("<g></g>"), "draws nothing"),
        (svg("<g>" * 40 + "<path/>" + "</g>" * 40), "nested"),
        (svg("<path/>" * 2001), "2000 parts"),
        (b"<svg>" + b" " * MAX_ICON + b"</svg>", "48 KiB"),
    ],
)
def test_refusals_say_what_is_wrong(data: bytes, reason: str) -> None:
    """Each in words that somebody who made the file understands."""
    assert reason in refusal(data)


def test_an_xml_declaration_is_fine() -> None:
    """Most programs write one, and a byte order mark."""
    assert clean_icon(b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n' + svg()).content.startswith(
        b"<svg"
    )


def test_a_png_keeps_what_draws_it() -> None:
    """Texts, colour profiles and animations are left out; transparency stays."""
    extra = [chunk(b"tEXt", b"Comment\0<script>"), chunk(b"iCCP", b"x"), chunk(b"acTL", b"x" * 8)]
    assert clean_icon(png(*extra, chunk(b"tRNS", b"\0" * 6))).content == png(chunk(b"tRNS", b"\0" * 6))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png() + b"<script>alert(1)</script>", "follows the end"),
        (png()[:-3], "cut off"),
        (png()[: -len(chunk(b"IEND"))], "cut off"),
        (SIGNATURE, "cut off"),
        (png().replace(HEADER, HEADER[:-1] + b"\1"), "checksum"),
        (SIGNATURE + chunk(b"IDAT", PIXELS) + chunk(b"IEND"), "header"),
        (png(chunk(b"IHDR", HEADER)), "put together"),
        (png(chunk(b"EVIL", b"x")), "no viewer knows"),
        (png(header=struct.pack(">IIBBBBB", 513, 2, 8, 2, 0, 0, 0)), "513 × 2 pixels"),
        (png(header=struct.pack(">IIBBBBB", 0, 2, 8, 2, 0, 0, 0)), "0 × 2 pixels"),
        (png(pixels=b"not packed"), "unpacked"),
        (png(pixels=zlib.compress(b"\0" * 10_000_000)), "too many pixels"),
        (png(pixels=PIXELS[:-6]), "too few"),
    ],
)
def test_a_png_that_is_not_just_a_picture_is_refused(data: bytes, reason: str) -> None:
    """Nothing rides along, nothing is larger than it says."""
    assert reason in refusal(data)


def test_our_own_icons_pass() -> None:
    """The built-in icons are as harmless as an upload has to be."""
    folder = Path(__file__).parents[3] / "airflow_incoming/web/views/icon_files"
    files = list(folder.glob("*.svg"))
    assert len(files) >= 24
    for file in files:
        assert b"stroke" in clean_icon(file.read_bytes()).content
