"""What differs between two sources: files by name, lines by number, and nothing that a bound does not allow."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.staging import differences
from reconciler.staging.differences import (
    ChangedFile,
    compare,
    mark_copied,
    restored,
    stored,
    texts,
    tree_of_build,
    tree_of_source,
    unified,
)


def build(directory: Path, **files: str | bytes) -> Path:
    """A build whose source has these files; `__` stands for a slash."""
    for name, content in files.items():
        path = directory / "code" / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    mark_copied(directory)
    return directory


def told(before: Path, after: Path) -> list[str]:
    trees = tree_of_build(before), tree_of_build(after)
    assert trees[0] is not None
    assert trees[1] is not None
    return [str(each) for each in compare(trees[0], trees[1]).files]


def test_files_are_told_by_name_with_the_lines_added_and_removed(tmp_path: Path) -> None:
    before = build(tmp_path / "1", app_py="a\nb\nc\n", gone="x", same="y", data=b"\0\1")
    after = build(tmp_path / "2", app_py="a\nB\nc\nd\ne\n", web__new="1\n2\n", same="y", data=b"\0\2")
    assert told(before, after) == ["app.py +3 \N{MINUS SIGN}1", "data (binary)", "gone removed", "web/new new"]
    assert told(after, after) == []


def test_what_is_written_into_a_build_after_its_source_was_copied_is_no_difference(tmp_path: Path) -> None:
    before, after = build(tmp_path / "1", app_py="a"), build(tmp_path / "2", app_py="b")
    os.utime(after / "copied", ns=((after / "code" / "app.py").stat().st_ctime_ns,) * 2)
    written = after / "code" / "db.sqlite3"
    while not written.exists() or written.stat().st_ctime_ns <= (after / "copied").stat().st_mtime_ns:
        written.write_text("data")
    assert told(before, after) == ["app.py +1 \N{MINUS SIGN}1"]


def test_a_link_and_a_mode_are_compared_and_a_large_file_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "2"):
        directory = build(tmp_path / number, run="x", big="b" * 100 + number)
        (directory / "code" / "link").symlink_to(f"target-{number}")
        (directory / "code" / "shared").symlink_to("/srv/shared")
        (directory / "code" / "run").chmod(0o755 if number == "1" else 0o644)
        mark_copied(directory)
    monkeypatch.setattr(differences, "_LARGEST_TEXT", 50)
    assert told(tmp_path / "1", tmp_path / "2") == ["big (large)", "link (mode)", "run (mode)"]


def test_a_bound_makes_a_difference_incomplete(tmp_path: Path) -> None:
    before = build(tmp_path / "1", a="1", b="1", c="1")
    after = build(tmp_path / "2", a="2", b="2", c="2")
    trees = tree_of_build(before), tree_of_build(after)
    assert trees[0] is not None
    assert trees[1] is not None
    cut = compare(trees[0], trees[1], most=2)
    assert (len(cut.files), cut.complete) == (2, False)
    assert compare(trees[0], trees[1], within_s=-1).files == ()


def test_texts_whose_lines_take_too_long_to_match_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = ChangedFile(path="data", change="changed", lines_added=1, lines_removed=1)
    old, new = b"a\nb\n" * 10, b"b\nc\n" * 10
    assert [*unified(changed, old, new)]
    monkeypatch.setattr(differences, "_MOST_PAIRS", 99)
    assert [*unified(changed, old, new)] == []


def test_the_lines_of_a_file_are_shown_as_a_unified_difference(tmp_path: Path) -> None:
    before, after = build(tmp_path / "1", app_py="a\nb\n"), build(tmp_path / "2", app_py="a\nc\n")
    trees = tree_of_build(before), tree_of_build(after)
    assert trees[0] is not None
    assert trees[1] is not None
    (changed,) = compare(trees[0], trees[1]).files
    assert [*unified(changed, *texts(trees[0], trees[1], changed))] == [
        "--- a/app.py",
        "+++ b/app.py",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]


def test_a_source_is_compared_as_staging_would_copy_it(tmp_path: Path) -> None:
    before = build(tmp_path / "1", app_py="a\n")
    source = tmp_path / "source"
    (source / ".git").mkdir(parents=True)
    (source / ".git" / "HEAD").write_text("x")
    (source / "app.py").write_text("a\nb\n")
    trees = tree_of_build(before), tree_of_source(str(source))
    assert trees[0] is not None
    assert trees[1] is not None
    assert compare(trees[0], trees[1]).summary == "app.py +1 \N{MINUS SIGN}0"
    assert tree_of_source(str(source / "app.py")) is None
    assert tree_of_build(tmp_path / "nothing") is None


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_counted_lines_lead_from_one_text_to_the_other(old: list[str], new: list[str]) -> None:
    before, after = ([line.encode() for line in lines] for lines in (old, new))
    added, removed = differences._counted(before, after)
    assert added >= 0
    assert removed >= 0
    assert len(old) + added - removed == len(new)
    assert (added, removed) == (0, 0) if old == new else added + removed > 0


def test_a_difference_is_kept_with_its_first_files_and_without_secrets(tmp_path: Path) -> None:
    after = build(tmp_path / "2", **{f"f{number}": "x" for number in range(40)})
    trees = tree_of_build(build(tmp_path / "1", other="x")), tree_of_build(after)
    assert trees[0] is not None
    assert trees[1] is not None
    found = compare(trees[0], trees[1])
    again = restored(stored(found, lambda text: text.replace("f1", "•••")))
    assert again is not None
    assert (again.added, again.removed, len(again.files)) == (40, 1, 30)
    assert again.summary == "f0 new, ••• new, •••0 new and 38 more"
    assert [restored(text) for text in ("", "{}", "[]", "null")] == [None] * 4
