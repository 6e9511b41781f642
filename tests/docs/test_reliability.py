"""Every promise of docs/evidence/reliability.md names a test that exists, and every test of a fault is named there."""

import re

from tests.support.site import REPOSITORY

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def named() -> set[tuple[str, str]]:
    text = (REPOSITORY / "docs" / "evidence" / "reliability.md").read_text(encoding="utf-8")
    return set(_NAMED.findall(text))


def test_every_fault_has_a_test_that_exists() -> None:
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named())
        if not (REPOSITORY / file).is_file() or test not in _DEFINED.findall((REPOSITORY / file).read_text())
    ]
    assert missing == []


def test_every_line_of_a_table_names_a_test() -> None:
    text = (REPOSITORY / "docs" / "evidence" / "reliability.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "proved by" not in line]
    assert len(rows) > 30
    assert [row for row in rows if not _NAMED.search(row)] == []


def test_every_test_of_a_fault_is_named() -> None:
    found = {
        (str(file.relative_to(REPOSITORY)), test)
        for file in (REPOSITORY / "tests" / "chaos").glob("test_*.py")
        for test in _DEFINED.findall(file.read_text())
    }
    assert sorted(found - named()) == []
