"""Every promise of the pages of evidence names a test that exists, and every test of a fault is named by one."""

import re

import pytest

from tests.support.site import REPOSITORY

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def page(name: str) -> str:
    return (REPOSITORY / "docs" / "evidence" / f"{name}.md").read_text(encoding="utf-8")


def named(on: str = "reliability") -> set[tuple[str, str]]:
    return set(_NAMED.findall(page(on)))


@pytest.mark.parametrize("on", ["reliability", "git", "isolation", "scaling", "clusters"])
def test_every_promise_has_a_test_that_exists(on: str) -> None:
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named(on))
        if not (REPOSITORY / file).is_file() or test not in _DEFINED.findall((REPOSITORY / file).read_text())
    ]
    assert missing == []


@pytest.mark.parametrize("on", ["reliability", "git"])
def test_every_line_of_a_table_names_a_test(on: str) -> None:
    rows = [line for line in page(on).splitlines() if line.startswith("| ") and "proved by" not in line]
    assert len(rows) > 30
    assert [row for row in rows if not _NAMED.search(row)] == []


def test_every_test_of_a_fault_is_named() -> None:
    found = {
        (str(file.relative_to(REPOSITORY)), test)
        for file in (REPOSITORY / "tests" / "chaos").glob("test_*.py")
        for test in _DEFINED.findall(file.read_text())
    }
    assert sorted(found - named() - named("isolation")) == []
