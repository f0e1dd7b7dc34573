"""What a figure is measured with."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.contenders import Contender, Contenders
from benchmarks.ground import Ground
from benchmarks.load import Kind, Load, Loader

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Bench:
    """``figures`` is where results go, ``quick`` asks for a short session's."""

    ground: Ground
    contenders: Contenders
    figures: dict[str, float] = field(default_factory=dict)
    quick: bool = False

    def loader(self, name: str = "load") -> Loader:
        """Return what puts load; two that work at the same time have different names."""
        return Loader(self.ground.folder / name)

    def load(self, contender: Contender, kind: Kind, *, connections: int = 16, seconds: float = 5) -> Load:
        """Send a contender 1 KB for so many seconds, with no more connections than it bears."""
        return self.loader().run(
            contender.url,
            contender.body(1000),
            kind=kind,
            connections=min(connections, contender.most_connections),
            seconds=seconds,
            headers=contender.headers,
        )
