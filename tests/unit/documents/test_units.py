"""Durations and sizes as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.schemas import schema
from reconciler.documents.units import duration_s, share_of_one, size_bytes, whole_number


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1m500ms", 60.5),
        ("10", 10), ("0.5", 0.5), (10, 10), (0.25, 0.25), ("0s", 0), ("1e3", 1000), (".5", 0.5), ("2.", 2),
        ("5e-1", 0.5),
    ],
)  # fmt: skip
def test_durations(written: str | float, seconds: float) -> None:
    assert duration_s(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "s", "10x", "1 s", "30m1h", "-1s", "1s\n", "1e3s", True, -1, 1e12, "1e9", "1e99", "1e999", "367d"]
)
def test_what_is_no_duration(written: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_s(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("256M", 256 << 20),
        ("1G", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("512kB", 512 << 10),
        ("7", 7),
        (7, 7),
        ("1 MiB", 1 << 20),
        ("1e3", 1000),
        (1e3, 1000),
    ],
)
def test_sizes(written: str | float, size: int) -> None:
    assert size_bytes(written) == size


@pytest.mark.parametrize("written", ["", "M", "-1M", "1X", "1e3M", "-1", "1e99", True])
def test_what_is_no_size(written: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 256M or 1G"):
        size_bytes(written)


@pytest.mark.parametrize(
    ("written", "share"), [("70%", 0.7), ("0.7", 0.7), (0.7, 0.7), (1, 1), ("7e-1", 0.7), (".7", 0.7)]
)
def test_shares(written: str | float, share: float) -> None:
    assert share_of_one(written) == share


@pytest.mark.parametrize("written", ["", "%", "101%", "7e1%", "2", "1e1", "-0.1", True])
def test_what_is_no_share(written: str) -> None:
    with pytest.raises(ValueError, match="expected a share such as 70%"):
        share_of_one(written)


@pytest.mark.parametrize(("written", "number"), [("3", 3), (3, 3), ("3.0", 3), (3.0, 3), ("1e3", 1000), ("-2", -2)])
def test_whole_numbers(written: str | float, number: int) -> None:
    assert whole_number(written) == number


@pytest.mark.parametrize("written", ["", "x", "2.5", 2.5, "1e-1", "1e999", True, None])
def test_what_is_no_whole_number(written: object) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        whole_number(written)


@given(st.text(alphabet="0123456789.dhmse+-", max_size=9))
def test_the_schema_and_the_daemon_know_the_same_durations(written: str) -> None:
    pattern = schema("app")["$defs"]["duration"]["pattern"]
    try:
        duration_s(written)
        known = True
    except ValueError as error:
        known = "between" in str(error)
    assert known == bool(re.fullmatch(pattern, written))
