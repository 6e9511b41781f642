"""Rules of an ignore file: the meaning that gitignore gives them, as another implementation has it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from reconciler.staging.errors import SourceError
from reconciler.staging.source.ignore_rules import IgnoreRules

_PATTERNS = st.lists(st.text("aabc*/?![]-\\", min_size=1, max_size=7), min_size=1, max_size=3)
_PATHS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@given(patterns=_PATTERNS, path=_PATHS, is_directory=st.booleans())
def test_patterns_mean_what_they_mean_to_others(patterns: list[str], path: str, is_directory: bool) -> None:
    # What git says nothing about, and where the other is not git.
    assume(not any("//" in each or "***" in each or each.strip("!") in {"*", "**", "/", ""} for each in patterns))
    assume(sum("!" in each for each in patterns) == 0 or len(patterns) == 1)
    try:
        ours = IgnoreRules("x", "\n".join(patterns))
    except SourceError:
        return
    whole = f"{path}/" if is_directory else path
    assert ours.excludes(whole) == GitIgnoreSpec.from_lines(patterns).check_file(whole).include


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("*\n!keep/\n!keep/*.py", "keep/", False),
        ("*\n!keep/\n!keep/*.py", "keep/a.py", False),
        ("*\n!keep/\n!keep/*.py", "keep/a.txt", True),
        ("!.git", ".git/config", False),
        ("/top", "below/top", None),
        ("doc/*.txt", "doc/a/b.txt", None),
        ("doc/**/b.txt", "doc/a/c/b.txt", True),
        ("# comment\n\n", "# comment", None),
        ("\\#name", "#name", True),
        ("trailing   ", "trailing", True),
        ("a[!b]c", "a/c", None),
    ],
)
def test_patterns_of_everyday(patterns: str, path: str, expected: bool | None) -> None:
    assert IgnoreRules("x", patterns).excludes(path) == expected
