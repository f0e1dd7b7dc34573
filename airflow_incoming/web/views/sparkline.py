"""The last 24 hours as a small bar chart: geometry only, the colours are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HEIGHT = 24
BAR_WIDTH = 3
GAP = 1
#: What isn't nothing must be seen, in pixels.
LEAST = 1.5

Kind = Literal["accepted", "duplicate", "rejected"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One rectangle, in pixels from the top left."""

    kind: Kind
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A chart, and the same in words."""

    width: int
    height: int
    label: str
    bars: tuple[Bar, ...]


def draw(accepted: Sequence[int], duplicates: Sequence[int], rejected: Sequence[int]) -> Drawing:
    """Return stacked bars, one for each hour, oldest first; the highest fills the height.

    The three sequences have the same length.
    """
    highest = max((sum(hour) for hour in zip(accepted, duplicates, rejected, strict=True)), default=0)
    bars: list[Bar] = []
    for hour, counts in enumerate(zip(accepted, duplicates, rejected, strict=True)):
        bars += _column(hour * (BAR_WIDTH + GAP), counts, highest)
    return Drawing(
        width=max(len(accepted) * (BAR_WIDTH + GAP) - GAP, 1),
        height=HEIGHT,
        label=(
            f"Last {len(accepted)} hours: {sum(accepted)} accepted, "
            f"{sum(duplicates)} duplicates, {sum(rejected)} rejected"
        ),
        bars=tuple(bars),
    )


def _column(x: int, counts: tuple[int, int, int], highest: int) -> list[Bar]:
    kinds: tuple[Kind, Kind, Kind] = ("accepted", "duplicate", "rejected")
    heights = [max(LEAST, count / highest * (HEIGHT - 1)) if count else 0.0 for count in counts]
    shrink = min(1.0, (HEIGHT - 1) / (sum(heights) or 1.0))
    bars = []
    bottom = float(HEIGHT - 1)
    for kind, height in zip(kinds, heights, strict=True):
        if height:
            bottom -= height * shrink
            bars.append(
                Bar(kind=kind, x=x, y=round(bottom, 2), width=BAR_WIDTH, height=round(height * shrink, 2))
            )
    return bars
