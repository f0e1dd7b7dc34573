"""The editor's form: its fields as text, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from werkzeug.datastructures import MultiDict

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.fields import Path
from airflow_incoming.core.integration import (
    DEFAULT_WINDOW,
    Configuration,
    parse_configuration,
)
from airflow_incoming.core.units import format_duration, format_size

Texts = tuple[str, ...]

#: The fields of each section that has any.
SECTIONS: Mapping[str, Texts] = {
    "endpoint": ("title", "icon", "auth_type", "api_key", "headers"),
    "data": (),
    "deduplication": ("deduplicate", "parameter", "window", "duplicate_status"),
    "workflow": ("dag", "assets"),
    "limits": ("limit_body", "limit_conf", "limit_rate"),
}
TITLES: Mapping[str, str] = {
    "endpoint": "Endpoint",
    "data": "Incoming data",
    "deduplication": "Deduplication hash generator",
    "workflow": "Workflow",
    "limits": "Limits",
}
#: What each field is called on the page, and the id of its place there.
PLACES: Mapping[str, tuple[str, str]] = {
    "title": ("Title", "field-title"),
    "icon": ("Icon", "icon-error"),
    "auth_type": ("Authentication", "auth_type-error"),
    "api_key": ("API key", "api-key-select"),
    "headers": ("Headers passed on to the DAG", "field-headers"),
    "parameter": ("Parameters that make the hash", "parameter-error"),
    "window": ("Remember for", "field-window"),
    "duplicate_status": ("Answer to a duplicate", "field-duplicate_status"),
    "dag": ("DAGs to start", "dag-error"),
    "assets": ("Assets to update", "field-assets"),
    "limit_body": ("Largest body", "field-limit_body"),
    "limit_conf": ("Largest conf of a DAG run", "field-limit_conf"),
    "limit_rate": ("Most requests", "field-limit_rate"),
}
#: Fields that may be there several times.
_REPEATED = ("parameter", "dag")
_FIELD_OF_PATH: Mapping[Path, str] = {
    ("auth", "type"): "auth_type",
    ("auth", "api_key"): "api_key",
    ("deduplication", "parameters"): "parameter",
    ("deduplication", "window"): "window",
    ("deduplication", "duplicate_status"): "duplicate_status",
    ("limits", "body"): "limit_body",
    ("limits", "conf"): "limit_conf",
    ("limits", "rate"): "limit_rate",
}
_FIELD_OF_LIST = {"dags": "dag"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """What the form says. ``headers`` and ``assets`` have one item per line."""

    title: str = ""
    icon: str = ""
    auth_type: str = "none"
    api_key: str = ""
    headers: str = ""
    deduplicate: str = ""
    parameter: Texts = ()
    window: str = format_duration(DEFAULT_WINDOW)
    duplicate_status: str = "204"
    dag: Texts = ()
    assets: str = ""
    limit_body: str = ""
    limit_conf: str = ""
    limit_rate: str = ""

    def of_section(self, section: str) -> list[tuple[str, str]]:
        """Return name and text of each input that carries the values of a section."""
        return [(name, text) for name in SECTIONS[section] for text in _texts(getattr(self, name))]

    def with_section(self, section: str, other: Values) -> Values:
        """Return these values, but those of one section from ``other``."""
        return replace(self, **{name: getattr(other, name) for name in SECTIONS[section]})

    def differs(self, other: Values, section: str) -> bool:
        """Tell whether a section says something else here than in ``other``."""
        return self.of_section(section) != other.of_section(section)

    @property
    def asset_list(self) -> Texts:
        """Return the assets one by one."""
        return _lines(self.assets)

    @property
    def header_list(self) -> Texts:
        """Return the headers to pass on one by one."""
        return _lines(self.headers.replace(",", "\n"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """Values of two people who began alike: sections ``taken`` from the other, and ``disputed`` ones."""

    values: Values
    taken: Texts
    disputed: Texts


def merge(*, base: Values, mine: Values, theirs: Values) -> Merge:
    """Return my values with the sections that only the other one changed; of disputed ones, mine."""
    changed = {
        section: (mine.differs(base, section), theirs.differs(base, section))
        for section in SECTIONS
        if mine.differs(theirs, section)
    }
    taken = tuple(section for section, by in changed.items() if by == (False, True))
    values = mine
    for section in taken:
        values = values.with_section(section, theirs)
    return Merge(
        values=values, taken=taken, disputed=tuple(each for each, by in changed.items() if by == (True, True))
    )


def whole_number(text: str) -> int | None:
    """Return a number that a browser sent, None where it is none that anything could have."""
    return int(text) if len(text) <= 9 and text.isascii() and text.isdigit() else None


def values_of_form(form: MultiDict[str, str], prefix: str = "") -> Values:
    """Return the values that a browser sent; a parameter that is typed but not added yet counts."""
    values: dict[str, Any] = {}
    for field in fields(Values):
        name = prefix + field.name
        if field.name in _REPEATED:
            values[field.name] = tuple(dict.fromkeys(text for text in form.getlist(name) if text))
        elif name in form:
            values[field.name] = form[name].strip()
    typed = form.get("parameter_typed", "").strip()
    if typed and not prefix:
        values["parameter"] = tuple(dict.fromkeys((*values["parameter"], typed)))
    return Values(**values)


def values_of_configuration(c: Configuration) -> Values:
    """Return the values that show a configuration."""
    values = Values(
        title=c.title,
        icon=c.icon,
        auth_type=c.auth.type,
        api_key=c.auth.api_key or "",
        headers="\n".join(c.headers),
        dag=c.dags,
        assets="\n".join(c.assets),
        limit_body=format_size(c.limits.body) if c.limits.body else "",
        limit_conf=format_size(c.limits.conf) if c.limits.conf else "",
        limit_rate=str(c.limits.rate) if c.limits.rate else "",
    )
    if c.deduplication is None:
        return values
    return replace(
        values,
        deduplicate="1",
        parameter=c.deduplication.parameters,
        window=format_duration(c.deduplication.window),
        duplicate_status=str(c.deduplication.duplicate_status),
    )


def read_form(values: Values) -> tuple[Configuration | None, dict[str, str]]:
    """Return the configuration that the values make, or None and what is wrong, by field."""
    shape: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for piece in _pieces(values):
        try:
            parse_configuration(_standing_alone(piece))
        except InvalidConfiguration as error:
            errors.setdefault(field_of(error.path), _explained(error, piece))
        for name, value in piece.items():
            shape[name] = {**shape.get(name, {}), **value} if isinstance(value, dict) else value
    return (None if errors else parse_configuration(shape)), errors


def field_of(path: Path) -> str:
    """Return the name of the field that a path of a configuration leads to."""
    name = str(path[0]) if path else ""
    return _FIELD_OF_PATH.get(path[:2], _FIELD_OF_LIST.get(name, name))


def section_of(field: str) -> str:
    """Return the section that a field is in; the first one for a field that isn't known."""
    return next((section for section, names in SECTIONS.items() if field in names), "endpoint")


def _pieces(v: Values) -> Iterator[dict[str, Any]]:
    """Yield the shape of a configuration in pieces that can be wrong independently."""
    yield {"title": v.title}
    yield {"icon": v.icon or None}
    yield {"auth": _auth(v)}
    yield {"headers": v.header_list}
    if v.deduplicate:
        yield {"deduplication": {"parameters": v.parameter}}
        yield {"deduplication": {"window": v.window or None}}
        yield {"deduplication": {"duplicate_status": whole_number(v.duplicate_status) or 0}}
    yield {"dags": v.dag}
    yield {"assets": v.asset_list}
    for name in ("body", "conf", "rate"):
        yield {"limits": {name: getattr(v, f"limit_{name}") or None}}


def _standing_alone(piece: dict[str, Any]) -> dict[str, Any]:
    """Return a piece with what it can't be without, so that only its own mistakes are found."""
    if "deduplication" in piece:
        return {"deduplication": {"parameters": ["body.id"], **piece["deduplication"]}}
    return piece


def _auth(v: Values) -> dict[str, str]:
    if v.auth_type == "jwt" and v.api_key:
        return {"type": v.auth_type, "api_key": v.api_key}
    return {"type": v.auth_type}


def _explained(error: InvalidConfiguration, piece: Mapping[str, Any]) -> str:
    """Return the problem, beginning with the item of a list that has it."""
    found: Any = piece
    for step in error.path:
        if isinstance(step, int):
            return _about(str(found[step]), error.problem)
        found = found.get(step) if isinstance(found, Mapping) else None
    return f"{error.problem[0].upper()}{error.problem[1:]}."


def _about(item: str, problem: str) -> str:
    """Return a sentence that names the item once, and shows what can't be seen in it."""
    rest = problem.removesuffix(f", not {item!r}").removeprefix(f"{item} ").removeprefix(f"{item!r} ")
    visible = item if item.isprintable() else repr(item)[1:-1]
    return f"“{visible}” {rest}."


def _texts(value: str | Texts) -> Texts:
    return (value,) if isinstance(value, str) else value


def _lines(text: str) -> Texts:
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
