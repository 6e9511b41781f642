"""Files that an app writes into its build: which count, and that none is lost with the build."""

import os
import time
from pathlib import Path

import pytest

from reconciler.staging import written_files as module
from reconciler.staging.written_files import keep_written, mark_served, written_files


def wait_for_a_tick(file: Path, after_ns: int) -> None:
    """Write to a file until its change time is later, as the file system's clock ticks."""
    while file.stat().st_ctime_ns <= after_ns:
        file.write_text("data")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build with a file of each origin: staged, and made by the release command."""
    directory = tmp_path / "build"
    (directory / "code" / "collected").mkdir(parents=True)
    (directory / "code" / "wsgi.py").write_text("")
    (directory / "code" / "collected" / "site.css").write_text("")
    mark_served(directory)
    tick = (directory / "served").stat().st_mtime_ns
    while time.time_ns() - tick < 20_000_000:
        pass
    return directory


def test_only_what_is_written_while_the_build_serves_counts(build: Path) -> None:
    assert written_files(build).paths == ()
    (build / "code" / "db.sqlite3").write_text("data")
    (build / "code" / "media").mkdir()
    (build / "code" / "media" / "upload").write_text("data")
    (build / "code" / "wsgi.py").write_text("changed")
    assert written_files(build).paths == ("db.sqlite3", "media/upload", "wsgi.py")


def test_a_place_is_a_directory_only_where_nothing_of_the_source_is_in_it(build: Path) -> None:
    for name in ("media/a/1", "media/b/2", "shop/it.db", "shop/data/3", "db.sqlite3"):
        (build / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (build / "code" / name).write_text("data")
    (build / "code" / "shop" / "staged.py").hardlink_to(build / "code" / "wsgi.py")
    (build / "code" / "wsgi.py").chmod(0o644)  # its change time, and with it when the build first served
    mark = (build / "code" / "shop" / "staged.py").stat().st_ctime_ns
    for file in (build / "code").rglob("*"):
        if file.is_file() and file.name not in {"staged.py", "wsgi.py", "site.css"}:
            wait_for_a_tick(file, mark)
    os.utime(build / "served", ns=(mark, mark))
    assert written_files(build).places == ("db.sqlite3", "media/", "shop/data/", "shop/it.db")


def test_caches_and_links_do_not_count(build: Path) -> None:
    (build / "code" / "__pycache__").mkdir()
    (build / "code" / "__pycache__" / "wsgi.cpython-313.pyc").write_text("")
    (build / "code" / "link").symlink_to("/")
    assert written_files(build).paths == ()


def test_another_start_of_the_same_build_forgets_nothing(build: Path) -> None:
    (build / "code" / "db.sqlite3").write_text("data")
    mark_served(build)
    assert written_files(build).paths == ("db.sqlite3",)


def test_times_that_the_app_sets_hide_nothing(build: Path) -> None:
    (build / "code" / "db.sqlite3").write_text("data")
    os.utime(build / "code" / "db.sqlite3", (0, 0))
    assert written_files(build).paths == ("db.sqlite3",)


def test_what_was_written_is_kept_when_the_build_goes(build: Path, tmp_path: Path) -> None:
    (build / "code" / "media").mkdir()
    (build / "code" / "media" / "upload").write_text("data")
    kept = tmp_path / "kept"
    assert keep_written(build, kept) == ("media/upload",)
    assert (kept / "media" / "upload").read_text() == "data"
    assert not (kept / "wsgi.py").exists()
    assert keep_written(build, kept) == ()


def test_any_number_of_files_is_kept_but_few_are_named(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    for number in range(10):
        (build / "code" / f"{number}.txt").write_text("data")
    found = written_files(build)
    assert (len(found.paths), found.more) == (3, True)
    keep_written(build, tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 10


def test_a_build_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert written_files(tmp_path / "none").paths == ()


def test_a_name_that_is_no_text_is_shown_with_escapes_and_its_file_is_kept(build: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.db")
    (build / "code" / name).write_text("data")
    (build / "code" / os.fsdecode(b"\xfe")).mkdir()
    (build / "code" / os.fsdecode(b"\xfe/1")).write_text("data")
    assert written_files(build).places == ("\\udcfe/", "\\udcff.db")
    assert keep_written(build, tmp_path / "kept") == ("\\udcfe/1", "\\udcff.db")
    assert (tmp_path / "kept" / name).read_text() == "data"


def test_a_file_too_deep_for_a_path_keeps_no_build_from_being_removed(build: Path, tmp_path: Path) -> None:
    deep = build / "code"
    while len(str(deep)) + 201 < 4000:
        deep /= "d" * 200
    deep.mkdir(parents=True)
    (deep / "x").write_text("data")
    (build / "code" / "db.sqlite3").write_text("data")
    kept = tmp_path / ("k" * 200) / ("k" * 200)
    kept.parent.mkdir()
    assert "db.sqlite3" in keep_written(build, kept)
    assert (kept / "db.sqlite3").read_text() == "data"


@pytest.mark.parametrize("replaced", ["home", "home/from-builds", "home/from-builds/b1"])
def test_what_was_written_goes_where_no_link_leads(build: Path, tmp_path: Path, replaced: str) -> None:
    elsewhere, link = tmp_path / "elsewhere", tmp_path / replaced
    elsewhere.mkdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    (build / "code" / "db.sqlite3").write_text("data")
    with pytest.raises(OSError, match="it is a symbolic link, which is not followed"):
        keep_written(build, tmp_path / "home" / "from-builds" / "b1")
    assert [*elsewhere.iterdir()] == []
    assert (build / "code" / "db.sqlite3").read_text() == "data"
