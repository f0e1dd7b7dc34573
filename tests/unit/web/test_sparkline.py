"""The small bar chart of the list of integrations."""

from __future__ import annotations

from airflow_incoming.web.views.sparkline import HEIGHT, draw


def test_the_highest_hour_fills_the_height_and_the_others_are_in_proportion() -> None:
    """The scale is that of the busiest hour."""
    drawing = draw([10, 5, 0], [0, 0, 0], [0, 0, 0])
    assert [(bar.x, bar.height) for bar in drawing.bars] == [(0, HEIGHT - 1), (4, (HEIGHT - 1) / 2)]


def test_what_came_is_seen_even_beside_a_flood() -> None:
    """One refused request beside a million accepted ones is still a bar."""
    drawing = draw([1_000_000], [0], [1])
    assert {bar.kind for bar in drawing.bars} == {"accepted", "rejected"}
    assert min(bar.height for bar in drawing.bars) >= 1


def test_bars_of_an_hour_are_stacked_and_stay_inside() -> None:
    """Accepted below, then duplicates, then rejected; nothing leaves the picture."""
    drawing = draw([1, 1], [1, 1], [1_000, 1])
    for x in (0, 4):
        bars = [bar for bar in drawing.bars if bar.x == x]
        assert [bar.kind for bar in bars] == ["accepted", "duplicate", "rejected"]
        assert all(bar.y >= 0 and bar.y + bar.height <= HEIGHT for bar in bars)


def test_the_chart_says_in_words_what_it_shows() -> None:
    """A screen reader is told the sums."""
    assert draw([1, 2], [0, 1], [0, 0]).label == "Last 2 hours: 3 accepted, 1 duplicates, 0 rejected"


def test_nothing_is_no_bar() -> None:
    """An idle day is an empty picture, not an error."""
    assert draw([0] * 24, [0] * 24, [0] * 24).bars == ()
