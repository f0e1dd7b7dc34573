"""SVG pictures, written anew from what is known to be harmless.

Elements that draw or act and are not on the list refuse the whole file, because the picture would
be another one without them; what only describes (metadata, foreign namespaces) is left out, and so
is every attribute that isn't on the list. References lead nowhere but into the file itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

MAX_ELEMENTS = 2000
MAX_DEPTH = 32


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SVG = "http://www.w3.org/2000/svg"
_HREF = ("href", "http://www.w3.org/1999/xlink href")
#: No <use>, <pattern>, <marker> or filter: nested, they draw a picture a billion times.
_ELEMENTS = _words(
    "svg g defs path rect circle ellipse line polyline polygon linearGradient radialGradient stop clipPath "
    "mask text tspan"
)
_SHAPES = _words("path rect circle ellipse line polyline polygon text")
_DESCRIBING = frozenset({"title", "desc", "metadata"})
_ATTRIBUTES = _words(
    "id d x y x1 y1 x2 y2 cx cy r rx ry fx fy fr width height points pathLength transform viewBox "
    "preserveAspectRatio gradientUnits gradientTransform spreadMethod offset clipPathUnits maskUnits "
    "maskContentUnits clip-path clip-rule mask mask-type fill fill-opacity fill-rule stroke stroke-dasharray "
    "stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width "
    "stop-color stop-opacity color opacity display visibility vector-effect shape-rendering paint-order "
    "text-anchor font-family font-size font-style font-weight letter-spacing dominant-baseline dx dy"
)
_GRADIENTS = ("linearGradient", "radialGradient")
_REFERENCE = re.compile(r"#[A-Za-z_][\w.-]{0,127}")
#: A value that names a place: nothing but a part of this picture.
_LOCAL_URL = re.compile(r"""\s*url\(\s*(["']?)#[A-Za-z_][\w.-]{0,127}\1\s*\)\s*[\w#]*\s*""")
_FUNCTION = re.compile(r"([\w-]*)\s*\(")
_FUNCTIONS = _words("rgb rgba hsl hsla matrix translate scale rotate skewX skewY")
_NUMBER = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)(?:px)?\s*")
_VIEW_BOX = re.compile(r"\s*(?:-?\d{1,6}(?:\.\d{1,9})?(?:\s*,\s*|\s+|\s*\Z)){4}")


class SvgRefused(ValueError):
    """The message says why the file can't be an icon."""


def clean_svg(data: bytes) -> bytes:
    """Return a picture that draws the same and can do nothing else, in UTF-8. Raises SvgRefused."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SvgRefused("the SVG is not UTF-8; save it in UTF-8") from error
    writing = _Writing()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refusal("has a DOCTYPE; remove that line")
    parser.EntityDeclHandler = _refusal("declares entities; remove them")
    parser.ProcessingInstructionHandler = _refusal("has a processing instruction (<?…?>); remove it")
    parser.StartElementHandler = writing.start
    parser.EndElementHandler = writing.end
    parser.CharacterDataHandler = writing.text
    try:
        parser.Parse(text, True)  # noqa: FBT003  # positional only: this is all there is
    except expat.ExpatError as error:
        raise SvgRefused(f"the SVG is not well-formed XML, line {error.lineno}") from error
    if not writing.draws:
        raise SvgRefused("the SVG draws nothing")
    return "".join(writing.pieces).encode()


class _Writing:
    """The new picture, as far as it is written."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.draws = False
        self._open: list[str] = []
        self._skipped = 0
        self._elements = 0

    def start(self, qualified: str, attributes: Mapping[str, str]) -> None:
        name = self._own_name(qualified)
        if self._skipped or name is None or name in _DESCRIBING:
            self._skipped += 1
            return
        self._check(name)
        if self._open:
            kept = self._kept(name, attributes)
        else:
            kept = {"xmlns": _SVG, **_box(attributes), **self._kept(name, attributes)}
        self.pieces.append("".join([f"<{name}", *(f" {key}={quoteattr(kept[key])}" for key in kept), ">"]))
        self._open.append(name)
        self.draws = self.draws or name in _SHAPES

    def end(self, _: str) -> None:
        if self._skipped:
            self._skipped -= 1
        else:
            self.pieces.append(f"</{self._open.pop()}>")

    def text(self, text: str) -> None:
        if not self._skipped and self._open and self._open[-1] in ("text", "tspan"):
            self.pieces.append(escape(text))

    def _own_name(self, qualified: str) -> str | None:
        """Return the name of an SVG element, None for one of another namespace."""
        namespace, _, name = qualified.rpartition(" ")
        if namespace in ("", _SVG):
            return name
        if not self._open:
            raise SvgRefused("the file is XML, but not an SVG picture")
        return None

    def _check(self, name: str) -> None:
        self._elements += 1
        if not self._open and name != "svg":
            raise SvgRefused("the file is XML, but not an SVG picture")
        if name not in _ELEMENTS or (self._open and name == "svg"):
            raise SvgRefused(
                f"the SVG has a <{name[:40]}>, which an icon may not have; export it as plain paths"
            )
        if self._elements > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise SvgRefused(f"the SVG has more than {MAX_ELEMENTS} parts, or too deeply nested ones")

    def _kept(self, name: str, attributes: Mapping[str, str]) -> dict[str, str]:
        # A clip inside a clip, ten times over, draws as often as a <use> would.
        inside = {"clipPath", "mask"}.intersection((*self._open, name))
        kept = {
            key: value
            for key, value in {**attributes, **_declarations(attributes.get("style", ""))}.items()
            if key in _ATTRIBUTES and _is_harmless(value) and not (inside and key in ("clip-path", "mask"))
        }
        if not self._open:  # how large it is shown is up to the page
            for key in ("width", "height", "x", "y", "viewBox"):
                kept.pop(key, None)
        if name in _GRADIENTS:
            href = next((attributes[key] for key in _HREF if key in attributes), "")
            if _REFERENCE.fullmatch(href):
                kept["href"] = href
        return kept


def _declarations(style: str) -> dict[str, str]:
    """Return the declarations of a style attribute, which goes before the other attributes."""
    pairs = (declaration.partition(":") for declaration in style.split(";"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _is_harmless(value: str) -> bool:
    """Tell whether an attribute's value fetches nothing. A backslash could spell url( otherwise."""
    if "\\" in value:
        return False
    return _LOCAL_URL.fullmatch(value) is not None or _FUNCTIONS.issuperset(_FUNCTION.findall(value))


def _box(attributes: Mapping[str, str]) -> dict[str, str]:
    box = attributes.get("viewBox", "")
    if _VIEW_BOX.fullmatch(box):
        return {"viewBox": " ".join(box.replace(",", " ").split())}
    sides = [_NUMBER.fullmatch(attributes.get(name, "")) for name in ("width", "height")]
    if sides[0] is None or sides[1] is None:
        raise SvgRefused("the SVG says neither viewBox nor width and height; export it with a viewBox")
    return {"viewBox": f"0 0 {sides[0][1]} {sides[1][1]}"}


def _refusal(problem: str) -> Callable[..., Any]:
    def refuse(*_: object) -> NoReturn:
        raise SvgRefused(f"the SVG {problem}")

    return refuse
