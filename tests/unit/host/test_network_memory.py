"""What one daemon writes of the rules of where apps connect to, and the next reads."""

from pathlib import Path

import pytest

from reconciler.host.network_memory import Held, read, written
from reconciler.planning.isolation.destinations import place_of

_PLACES = tuple(map(place_of, ("db.internal:5432", "10.0.0.0/8", "[2001:db8::1]:443", "2001:db8::/32", "443", "host")))


def test_the_next_daemon_reads_what_was_written(tmp_path: Path) -> None:
    held = {
        "shop": Held(user=70_001, places=_PLACES, listens=(("::1", 8000), ("", 8001))),
        "blog": Held(user=None, places=()),
    }
    held["free"] = Held(user=70_002, places=None, listens=(("127.0.0.1", 8002),), servers=(6379,))
    (tmp_path / "file").write_text(written(held, {"db.internal": {"10.0.0.7", "fd00::1"}}))
    assert read(tmp_path / "file") == (held, {"db.internal": ("10.0.0.7", "fd00::1")})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"apps": 1}', '{"apps": {"shop": {"user": "x", "places": ["1-2"]}}, "addresses": {"a": ["b", 1]}}',
     '{"apps": {"shop": null, "blog": [], "one": {"user": 1, "places": [1], "listens": [2]}}, "addresses": {"a": 1}}'],
)  # fmt: skip
def test_what_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert read(tmp_path / "file") == ({}, {})


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "file") == ({}, {})
