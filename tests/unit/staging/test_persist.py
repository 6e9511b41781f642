"""Files of an app that outlive its builds: where they begin, that builds link to them, and what no link can reach."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.staging.errors import StagingError
from reconciler.staging.persist import link_persisted, require_place
from reconciler.staging.written_files import has_written, mark_served


def a_build(directory: Path, files: dict[str, str], *, served: bool = False) -> Path:
    """The code directory of a build with these files, which serves from now on."""
    code = directory / "code"
    code.mkdir(parents=True)
    for name, text in files.items():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(text)
    if served:
        mark_served(directory)
        # Later than the mark, whatever the file system's clock ticks.
        os.utime(directory / "served", ns=(0, 0))
        for file in files:
            os.utime(directory / "served", ns=(0, (code / file).stat().st_ctime_ns))
    return code


def link(code: Path, kept: Path, *paths: str, earlier: Sequence[Path] = ()) -> None:
    link_persisted(code, paths, kept, earlier, has_written)


def test_the_source_is_the_beginning_and_a_later_one_changes_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = a_build(tmp_path / "1", {"db.sqlite3": "seed", "media/a": "a"})
    link(first, kept, "db.sqlite3", "media")
    (first / "db.sqlite3").write_text("grown")
    (first / "media" / "b").write_text("b")
    second = a_build(tmp_path / "2", {"db.sqlite3": "another seed", "media/c": "c"})
    link(second, kept, "db.sqlite3", "media", earlier=[first])
    assert (second / "db.sqlite3").read_text() == "grown"
    assert sorted(path.name for path in (second / "media").iterdir()) == ["a", "b"]
    assert (kept / "db.sqlite3").read_text() == "grown"


@pytest.mark.parametrize(("path", "is_directory"), [("data/", True), ("uploads", True), ("a/b/media", True)])
def test_a_directory_that_the_source_lacks_is_created(tmp_path: Path, path: str, is_directory: bool) -> None:
    code = a_build(tmp_path / "1", {"wsgi.py": ""})
    link(code, tmp_path / "kept", path)
    assert (code / path).is_dir() is is_directory


def test_a_file_that_the_source_lacks_is_created_by_the_app(tmp_path: Path) -> None:
    code = a_build(tmp_path / "1", {"wsgi.py": ""})
    link(code, tmp_path / "kept", "db.sqlite3")
    with closing(sqlite3.connect(code / "db.sqlite3")) as database:
        database.execute("CREATE TABLE it (x)")
    assert (tmp_path / "kept" / "db.sqlite3").stat().st_size > 0


def test_what_a_running_app_wrote_into_its_build_moves_under_it(tmp_path: Path) -> None:
    serving, kept = a_build(tmp_path / "1", {"wsgi.py": ""}, served=True), tmp_path / "kept"
    with closing(sqlite3.connect(serving / "db.sqlite3", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("CREATE TABLE it (x)")
        database.execute("INSERT INTO it VALUES (1)")
        successor = a_build(tmp_path / "2", {"wsgi.py": ""})
        link(successor, kept, "db.sqlite3", earlier=[serving])
        database.execute("INSERT INTO it VALUES (2)")  # the instance goes on with the file it has open
        with closing(sqlite3.connect(successor / "db.sqlite3", isolation_level=None)) as other:
            other.execute("INSERT INTO it VALUES (3)")
            assert [x for (x,) in other.execute("SELECT x FROM it ORDER BY x")] == [1, 2, 3]
        assert [x for (x,) in database.execute("SELECT x FROM it ORDER BY x")] == [1, 2, 3]
    assert (serving / "db.sqlite3").is_symlink()


def test_a_directory_moves_as_well(tmp_path: Path) -> None:
    serving, kept = a_build(tmp_path / "1", {"media/logo": "x"}, served=True), tmp_path / "kept"
    (serving / "media" / "upload").write_text("u")
    successor = a_build(tmp_path / "2", {"media/logo": "x"})
    link(successor, kept, "media", earlier=[serving])
    assert (successor / "media" / "upload").read_text() == "u"
    (serving / "media" / "late").write_text("l")
    assert (successor / "media" / "late").read_text() == "l"


def test_what_was_only_staged_is_no_data(tmp_path: Path) -> None:
    earlier = a_build(tmp_path / "1", {"db.sqlite3": "old seed"}, served=True)
    successor = a_build(tmp_path / "2", {"db.sqlite3": "new seed"})
    link(successor, tmp_path / "kept", "db.sqlite3", earlier=[earlier])
    assert (successor / "db.sqlite3").read_text() == "new seed"


def test_a_move_that_was_killed_half_way_is_done_again(tmp_path: Path) -> None:
    serving, kept = a_build(tmp_path / "1", {"wsgi.py": ""}, served=True), tmp_path / "kept"
    (serving / "data.txt").write_text("grown")
    kept.mkdir()
    (kept / "data.txt").symlink_to(kept / "data.txt")
    successor = a_build(tmp_path / "2", {})
    link(successor, kept, "data.txt", earlier=[serving])
    assert (successor / "data.txt").read_text() == "grown"


def test_a_link_that_the_app_made_leads_nowhere(tmp_path: Path) -> None:
    outside, kept = tmp_path / "outside", tmp_path / "kept"
    outside.mkdir()
    kept.mkdir()
    (kept / "a").symlink_to(outside)
    code = a_build(tmp_path / "1", {"a/b": "seed"})
    with pytest.raises(OSError, match="it is a symbolic link, which is not followed"):
        link(code, kept, "a/b")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("replaced", ["home", "home/persist", "home/persist/data"])
def test_a_link_in_the_place_of_a_directory_of_the_home_is_not_followed(tmp_path: Path, replaced: str) -> None:
    elsewhere, link_ = tmp_path / "elsewhere", tmp_path / replaced
    elsewhere.mkdir()
    link_.parent.mkdir(parents=True, exist_ok=True)
    link_.symlink_to(elsewhere)
    code = a_build(tmp_path / "1", {"data/in/media/a": "a"})
    with pytest.raises(OSError, match="it is a symbolic link, which is not followed"):
        link(code, tmp_path / "home" / "persist", "data/in/media")
    assert [*elsewhere.iterdir()] == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("wsgi.py/x", "'wsgi.py' is a file in the source, not a directory"),
        ("wsgi.py/x/y", "'wsgi.py' is a file in the source, not a directory"),
        ("a/b/c/", "'a/b' is a file in the source, not a directory"),
        ("out/x", "'out' leads out of the source"),
    ],
)
def test_a_place_that_no_build_can_have_is_told_with_what_is_in_its_way(tmp_path: Path, path: str, why: str) -> None:
    code = a_build(tmp_path / "1", {"wsgi.py": "", "a/b": ""})
    (code / "out").symlink_to("/srv")
    with pytest.raises(StagingError) as refused:
        require_place(code, path)
    assert str(refused.value) == f"cannot keep '{path}' of 'persist': {why}"


@pytest.mark.parametrize("path", ["wsgi.py", "a/", "a/c", "new/x", "in/c"])
def test_any_other_place_is_one(tmp_path: Path, path: str) -> None:
    code = a_build(tmp_path / "1", {"wsgi.py": "", "a/b": ""})
    (code / "in").symlink_to("a")
    require_place(code, path)
