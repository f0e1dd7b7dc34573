"""YAML files of integrations, with the line of every mistake."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from airflow_incoming.core.errors import InvalidConfiguration
from airflow_incoming.core.integration import Declaration, parse_document

Field = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a date is the text that somebody wrote: no field of ours is a date."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # declared so by PyYAML
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class InvalidFile(InvalidConfiguration):
    """A file of integrations is wrong."""

    def __init__(self, file: str, line: int, path: Field, problem: str) -> None:
        super().__init__(path, problem)
        self.detail = f"{file}:{line}: {self.detail}"
        self.args = (self.detail,)


@dataclass(frozen=True, slots=True)
class Source:
    """Where declarations came from: a file, its tree of nodes, and the index of its first declaration."""

    name: str
    root: yaml.Node
    first: int

    def locate(self, error: InvalidConfiguration) -> InvalidFile:
        """Return the error with this file's name and the line of its field."""
        line = _line(self.root, error.path)
        return InvalidFile(self.name, line, error.path, error.problem)


class Files:
    """The declarations of several files, in order."""

    def __init__(self, names: Iterable[str]) -> None:
        self.declarations: list[Declaration] = []
        self._sources: list[Source] = []
        for name in names:
            self._read(name)

    def locate(self, error: InvalidConfiguration) -> InvalidConfiguration:
        """Return an error about ("integrations", index, …) of all declarations as one about its file."""
        if len(error.path) < 2 or not isinstance(error.path[1], int):
            return error
        index = error.path[1]
        source = [source for source in self._sources if source.first <= index][-1]
        path = ("integrations", index - source.first, *error.path[2:])
        return source.locate(InvalidConfiguration(path, error.problem))

    def _read(self, name: str) -> None:
        shown = "standard input" if name == "-" else name
        text = _text(name, shown)
        source = Source(shown, _compose(text, shown), len(self.declarations))
        try:
            declared = parse_document(yaml.load(text, _Loader))  # noqa: S506  # a safe loader
        except InvalidConfiguration as error:
            raise source.locate(error) from error
        known = {declaration.name for declaration in self.declarations}
        for i, declaration in enumerate(declared):
            if declaration.name in known:
                problem = f"{declaration.name!r} is declared in another file already"
                raise source.locate(InvalidConfiguration(("integrations", i, "name"), problem))
        self._sources.append(source)
        self.declarations += declared


def _text(name: str, shown: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfiguration((), f"{shown} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidConfiguration((), f"{shown} isn't UTF-8 text") from error


def _compose(text: str, shown: str) -> yaml.Node:
    try:
        node = yaml.compose(text, _Loader)
        yaml.load(text, _Loader)  # noqa: S506  # a safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidFile(shown, line, (), f"isn't YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidFile(shown, line, (), f"isn't YAML: {error.reason}") from error
    except RecursionError as error:
        raise InvalidFile(shown, 1, (), "is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidFile(shown, 1, (), f"isn't YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        raise InvalidFile(shown, 1, (), "is empty; write 'version: 1' and a list of integrations")
    _refuse_repeated_keys(node, shown, set())
    return node


def _refuse_repeated_keys(node: yaml.Node, shown: str, looked_at: set[int]) -> None:
    if id(node) in looked_at:  # an alias, possibly of something around it
        return
    looked_at.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if key.value in seen:
                raise InvalidFile(shown, key.start_mark.line + 1, (), f"{key.value!r} is there twice")
            seen.add(key.value)
            _refuse_repeated_keys(value, shown, looked_at)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, shown, looked_at)


def _line(node: yaml.Node, path: Field) -> int:
    """Return the line of a field, or of the nearest thing around it that is there."""
    line: int = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
