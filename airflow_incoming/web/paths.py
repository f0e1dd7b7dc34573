"""Which paths are ours, however they are spelled."""

from __future__ import annotations

import re

from starlette._utils import get_route_path  # private, but the only one that knows root_path as Mount does
from starlette.types import Scope

_SLASHES = re.compile("/{2,}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_GOES_ON = frozenset("/\x7f" + "".join(map(chr, range(32))))


def prefix_of(scope: Scope, prefixes: tuple[str, ...]) -> str | None:
    """Return which of the prefixes a request's path is under; None for any other, or no request."""
    if scope["type"] != "http":
        return None
    path = get_route_path(scope)
    if "//" in path:  # what is behind us may take several slashes for one
        path = _SLASHES.sub("/", path)
    for prefix in prefixes:  # a generator would cost every request to Airflow twice as much
        if is_under(path, prefix):
            return prefix
    return None


def is_under(path: str, prefix: str) -> bool:
    """Tell whether a path is the prefix or continues it with a slash.

    A control character does as well: a regular expression may take the prefix and a newline for the prefix.
    """
    return path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] in _GOES_ON)


def is_nowhere(path: str) -> bool:
    """Tell whether nothing can be at a path, whoever is asked.

    With a control character, since the regular expressions of routers stop or end at a newline; and with a
    slash too many, which some take for one.
    """
    return "//" in path or _CONTROL.search(path) is not None
