from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_incoming.core.units import (
    Rate,
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1MiB", 1048576),
        ("256KiB", 262144),
        ("2 GiB", 2147483648),
        ("500KB", 500000),
        ("1MB", 1000000),
        ("1GB", 1000000000),
        ("10B", 10),
        ("10", 10),
        (" 1MiB ", 1048576),
        (1024, 1024),
    ],
)
def test_sizes(text: object, size: int) -> None:
    """KiB are 1024 bytes, KB 1000, a plain number is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "0MiB",
        0,
        -1,
        10**12,
        "1" + "0" * 12,
        True,
        1.5,
        None,
        "1.5MiB",
        "-1",
        "1 TB",
        "1mib",
        "MiB",
        "1MiB1",
        [1],
    ],
)
def test_what_is_no_size(value: object) -> None:
    """Nothing is guessed; 0 is no limit that anybody could mean."""
    with pytest.raises(ValueError, match="256KiB"):
        parse_size(value)


@given(st.integers(1, 10**12 - 1))
def test_sizes_are_written_as_they_are_read(size: int) -> None:
    """The spelling is exact."""
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(1048576, "1MiB"), (1536, "1536"), (2048, "2KiB"), (1073741824, "1GiB"), (1000, "1000")],
)
def test_the_shortest_spelling_of_a_size(size: int, text: str) -> None:
    """The largest unit that is exact."""
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("24h", 86400),
        ("7d", 604800),
        ("2w", 1209600),
        ("366d", 31622400),
        (" 1 s ", 1),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    """From a second to a leap year."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", ["", "0s", "367d", "53w", "7", 7, "1.5h", "-1d", "d", "1y", "1D", None, True]
)
def test_what_is_no_duration(value: object) -> None:
    """A number needs a unit."""
    with pytest.raises(ValueError, match="7d"):
        parse_duration(value)


@given(st.integers(1, 366 * 86400))
def test_durations_are_written_as_they_are_read(seconds: int) -> None:
    """The spelling is exact to the second."""
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "text"), [(604800, "7d"), (129600, "36h"), (90, "90s"), (900, "15m")])
def test_the_shortest_spelling_of_a_duration(seconds: int, text: str) -> None:
    """The largest unit that is exact, up to days."""
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "rate"), [("50/s", Rate(50, 1)), ("100/m", Rate(100, 60)), ("1000 / h", Rate(1000, 3600))]
)
def test_rates(text: str, rate: Rate) -> None:
    """So many in a second, a minute or an hour."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("value", ["", "0/s", "50", "50/d", "/s", "1.5/s", 50, None, "50/ms"])
def test_what_is_no_rate(value: object) -> None:
    """A rate of 0 would refuse everything; suspending is said otherwise."""
    with pytest.raises(ValueError, match="50/s"):
        parse_rate(value)


@given(st.integers(1, 10**9 - 1), st.sampled_from("smh"))
def test_rates_are_written_as_they_are_read(count: int, unit: str) -> None:
    """str() gives the spelling of the files."""
    assert str(parse_rate(f"{count}/{unit}")) == f"{count}/{unit}"
