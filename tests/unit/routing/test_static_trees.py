"""Static files that are laid out: those of the build and no other, whole or not at all, of two builds at a time."""

import asyncio
import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.planning.routing.static_files import NAMES
from reconciler.routing.static_trees import StaticTrees, Tree
from tests.support.eventually import eventually

FILES = (("/static", "staticfiles"),)


def build(code: Path, **files: str) -> Path:
    for name, text in files.items():
        path = code / "staticfiles" / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return code


def tree(name: str, code: Path, directories: tuple[tuple[str, str], ...] = FILES) -> Tree:
    return Tree(name=name, code=code, directories=directories)


def lay(trees: StaticTrees, *wanted: Tree) -> None:
    asyncio.run(trees.lay("shop", wanted))


def served(root: Path) -> dict[str, str]:
    """What a proxy finds by path, in the order in which it looks."""
    found: dict[str, str] = {}
    for name in NAMES:
        top = root / "shop" / name
        for path in sorted(top.rglob("*")) if top.exists() else ():
            if path.is_file():
                found.setdefault(f"/{path.relative_to(top)}", path.read_text())
    return found


def test_files_of_both_builds_are_there_while_two_are_and_the_newer_ones_win(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees = StaticTrees(root, "boot")
    one = tree("one", build(tmp_path / "a", site_css="old", gone_css="gone"))
    two = tree("two", build(tmp_path / "b", site_css="new", js__more_js="more"))
    lay(trees, one)
    assert served(root) == {"/static/site.css": "old", "/static/gone.css": "gone"}
    lay(trees, two, one)
    assert served(root) == {"/static/site.css": "new", "/static/js/more.js": "more", "/static/gone.css": "gone"}
    lay(trees, two)
    assert served(root) == {"/static/site.css": "new", "/static/js/more.js": "more"}
    assert sorted(each.name for each in (root / "shop").iterdir()) == [".boot", "newest", "two"]
    lay(trees, one, two)  # rolled back
    assert served(root)["/static/site.css"] == "old"
    assert StaticTrees(root, "boot").laid == trees.laid == {"shop": ("one", "two")}
    lay(trees)
    assert not (root / "shop").exists()
    assert trees.laid == {}


def test_a_tree_that_is_kept_is_known_to_the_next_daemon_stays_behind_others_and_goes_with_its_mark(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    trees = StaticTrees(root, "boot")
    one, two, three = (
        tree(name, build(tmp_path / name, site_css=name, **{f"{name}_css": name})) for name in ("one", "two", "three")
    )
    lay(trees, two, one)
    asyncio.run(trees.keep("shop", 50.5))
    lay(trees, three, two, one)
    assert trees.laid == {"shop": ("three", "two", "one")}
    assert StaticTrees(root, "boot").kept == trees.kept == {"shop": {"two": 50.5, "one": 50.5}}
    found = served(root)
    assert (found["/static/site.css"], found["/static/two.css"], found["/static/one.css"]) == ("three", "two", "one")
    lay(trees, three)
    assert sorted(each.name for each in (root / "shop").iterdir()) == [".boot", "newest", "three"]
    assert trees.kept == {}
    asyncio.run(trees.keep("shop", 50.5))
    assert StaticTrees(root, "next boot").kept == {}


def test_a_disk_that_takes_no_mark_costs_that_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = StaticTrees(tmp_path / "root", "boot")
    lay(trees, tree("one", build(tmp_path / "a", a_css="a")))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    asyncio.run(trees.keep("shop", 50.5))
    assert trees.kept == {}
    assert trees.laid == {"shop": ("one",)}


def test_nothing_outside_the_directory_and_no_dotfile_is_copied(tmp_path: Path) -> None:
    code = build(tmp_path / "a", a_css="a", sub__b_css="b")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (code / "settings.py").write_text("secret")
    static = code / "staticfiles"
    (static / ".env").write_text("secret")
    (static / ".git").mkdir()
    (static / ".git/config").write_text("secret")
    (static / "absolute").symlink_to(secret)
    (static / "relative").symlink_to("../settings.py")
    (static / "outside").symlink_to(tmp_path)
    (static / "hidden").symlink_to(".env")
    (static / "within.css").symlink_to("sub/b.css")
    (static / "broken").symlink_to("nothing")
    (static / "process").symlink_to(f"/proc/{os.getpid()}/environ")
    os.mkfifo(static / "pipe")
    lay(StaticTrees(tmp_path / "root", "boot"), tree("one", code))
    assert served(tmp_path / "root") == {
        "/static/a.css": "a", "/static/sub/b.css": "b", "/static/within.css": "b",
    }  # fmt: skip


def test_a_directory_that_cannot_be_served_is_told_of_and_costs_no_other(tmp_path: Path) -> None:
    code = build(tmp_path / "a", a_css="a", sub__b_css="b")
    (code / "media").symlink_to("/etc")
    (code / "loop").symlink_to("loop")
    (code / "here").symlink_to(".")
    (code / ".git").mkdir()
    (code / ".git/config").write_text("secret")
    (code / "repository").symlink_to(".git")
    (code / "clash").mkdir()
    (code / "clash/first.css").write_text("1")
    (code / "clash/sub").write_text("a file where the other has a directory")
    sources = ("media", "loop", "here", "repository", "nothing", "p\0q", "x" * 300)
    directories = (
        ("/static", "staticfiles"),
        ("/static/", "clash"),
        *((f"/{index}", source) for index, source in enumerate(sources)),
    )
    trees = StaticTrees(tmp_path / "root", "boot")
    lay(trees, tree("one", code, directories))
    assert served(tmp_path / "root") == {"/static/a.css": "a", "/static/sub/b.css": "b"}
    assert trees.laid == {"shop": ("one",)}
    told = (
        "the static files of shop are not served: its build has no directory nothing"
        "; clash has a file in the place of another's directory"
        "; here is the whole of the code; loop is a link that leads nowhere; media leads out of the build"
        "; 'p\\x00q' is no path; repository is hidden: a name of its path begins with a dot"
        f"; {'x' * 300} has a path that is too long"
    )
    assert trees.lacks("shop", directories) == told
    assert StaticTrees(tmp_path / "root", "boot").lacks("shop", directories) == told


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_is_wrong_with_the_disk_is_raised_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    trees = StaticTrees(tmp_path / "root", "boot")
    lay(trees, tree("one", build(tmp_path / "a", a_css="a")))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "utime", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        lay(trees, tree("two", build(tmp_path / "b", b_css="b")))
    assert served(tmp_path / "root") == {"/static/a.css": "a"}
    assert trees.laid == {"shop": ("one",)}


def test_what_is_not_ours_is_neither_removed_nor_written_into(tmp_path: Path) -> None:
    root, code = tmp_path / "root", build(tmp_path / "a", a_css="a")
    (root / "html").mkdir(parents=True)
    (root / "html/index.html").write_text("theirs")
    (root / "shop").mkdir()
    (root / "link").symlink_to(root / "html")
    trees = StaticTrees(root, "boot")
    assert trees.laid == {}
    for app in ("html", "link", "shop"):
        with pytest.raises(FileExistsError, match=f"{app} is in the way: it was not made by this daemon"):
            asyncio.run(trees.lay(app, (tree("one", code),)))
        asyncio.run(trees.lay(app, ()))
    assert sorted(str(each.relative_to(root)) for each in root.rglob("*")) == [
        "html",
        "html/index.html",
        "link",
        "shop",
    ]


def test_no_link_to_a_directory_of_ours_is_one(tmp_path: Path) -> None:
    lay(StaticTrees(tmp_path / "other", "boot"), tree("one", build(tmp_path / "a", a_css="a")))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/shop").symlink_to(tmp_path / "other/shop")
    trees = StaticTrees(tmp_path / "root", "next boot")
    assert trees.laid == {}
    lay(trees)
    assert served(tmp_path / "other") == {"/static/a.css": "a"}


def test_a_full_disk_takes_no_files_away_that_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    lay(StaticTrees(root, "boot"), tree("one", build(tmp_path / "a", a_css="a")))

    def truncated(self: Path, *_: object, **__: object) -> None:  # as a full disk, or a kill, leaves a file
        self.open("w").close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", truncated)
        full.setattr("reconciler.routing.static_copy.os.utime", truncated)
        with suppress(OSError):
            lay(StaticTrees(root, "boot"), tree("one", tmp_path / "a"))
    monkeypatch.undo()
    trees = StaticTrees(root, "boot")
    assert trees.laid == {"shop": ("one",)}
    assert served(root) == {"/static/a.css": "a"}


def test_a_place_that_cannot_be_marked_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("reconciler.routing.static_trees.replace_file", refuse)
        with pytest.raises(OSError, match="No space"):
            lay(StaticTrees(root, "boot"), tree("one", build(tmp_path / "a", a_css="a")))
    assert list(root.iterdir()) == []
    lay(StaticTrees(root, "boot"), tree("one", tmp_path / "a"))
    assert served(root) == {"/static/a.css": "a"}


def test_what_was_set_aside_when_the_daemon_was_killed_is_gone_after_the_next_start(tmp_path: Path) -> None:
    root, code = tmp_path / "root", build(tmp_path / "a", a_css="a")
    (root / ".gone-shop-00000000/one").mkdir(parents=True)
    (root / ".draft-shop-00000000").mkdir()
    lay(StaticTrees(root, "boot"), tree("one", code))
    eventually(lambda: [each.name for each in root.iterdir()] == ["shop"])


def test_a_start_that_is_cancelled_leaves_known_what_is_laid_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees = StaticTrees(root, "boot")
    one, two = (tree(name, build(tmp_path / name, a_css=name)) for name in ("one", "two"))

    async def cancelled() -> None:
        held = threading.Event()
        trees._thread_of("shop").run(held.wait)
        starts = [
            asyncio.ensure_future(trees.lay("shop", (one,))),
            asyncio.ensure_future(trees.ahead_of("shop", two).__aenter__()),
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for start in starts:
            start.cancel()
        await asyncio.wait(starts)
        held.set()
        await asyncio.wrap_future(trees._thread_of("shop").run(lambda: None))  # after all that was begun there
        await trees.lay("other", (one,))

    asyncio.run(cancelled())
    assert trees.laid == {"shop": ("one", "two"), "other": ("one",)}
    assert trees.laid == StaticTrees(root, "boot").laid


def test_a_start_waits_neither_for_another_apps_copy_nor_for_what_is_laid_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = StaticTrees(tmp_path / "root", "boot")
    one, two = (tree(name, build(tmp_path / name, a_css=name)) for name in ("one", "two"))
    lay(trees, one)

    async def started() -> None:
        held = threading.Event()
        trees._thread_of("shop").run(held.wait)
        async with trees.ahead_of("shop", one):
            pass
        monkeypatch.setattr("reconciler.routing.static_trees._PATIENCE_S", 0.01)
        async with trees.ahead_of("shop", two):
            assert trees.laid == {"shop": ("one",)}
        held.set()
        await trees.lay("other", (one,))
        await asyncio.wrap_future(trees._thread_of("shop").run(lambda: None))  # after all that was begun before
        assert trees.laid == {"shop": ("one", "two"), "other": ("one",)}

    asyncio.run(started())


def test_a_hole_of_a_file_takes_no_room_and_no_time(tmp_path: Path) -> None:
    code = build(tmp_path / "a", a_css="a")
    sparse = code / "staticfiles/sparse.bin"
    sparse.write_bytes(b"begin")
    os.truncate(sparse, 1 << 40)
    trees = StaticTrees(tmp_path / "root", "boot")
    lay(trees, tree("one", code))
    lay(trees, tree("two", code), tree("one", code))
    copy = tmp_path / "root/shop/two/static/sparse.bin"
    assert copy.stat().st_size == 1 << 40
    assert copy.stat().st_blocks < 10_000
    with copy.open("rb") as file:
        assert file.read(6) == b"begin\0"


def test_everybody_can_read_what_is_laid_out_whatever_its_mode_was(tmp_path: Path) -> None:
    code = build(tmp_path / "a", a_css="a", sub__b_css="b")
    (code / "staticfiles/a.css").chmod(0o600)
    (code / "staticfiles/sub").chmod(0o700)
    before = os.umask(0o077)
    try:
        lay(StaticTrees(tmp_path / "root", "boot"), tree("one", code))
    finally:
        os.umask(before)
    modes = {path.lstat().st_mode & 0o777 for path in (tmp_path / "root").rglob("*.css")}
    directories = {path.stat().st_mode & 0o777 for path in (tmp_path / "root").rglob("*") if path.is_dir()} | {
        (tmp_path / "root").stat().st_mode & 0o777
    }
    assert (modes, directories) == ({0o644}, {0o755})


def test_the_time_of_a_file_changes_with_its_content_and_with_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees = StaticTrees(root, "boot")
    a, b = (
        build(tmp_path / "a", same_css="same", other_css="one1"),
        build(tmp_path / "b", same_css="same", other_css="two2"),
    )
    for code, at in ((a, 1_000_000_000), (b, 1_000_000_000)):
        for file in (code / "staticfiles").iterdir():
            os.utime(file, (at, at))
    os.utime(b / "staticfiles/same.css", (1_700_000_000, 1_700_000_000))
    lay(trees, tree("one", a))
    before = {path.name: int(path.stat().st_mtime) for path in (root / "shop/newest/static").iterdir()}
    lay(trees, tree("two", b))
    after = {path.name: int(path.stat().st_mtime) for path in (root / "shop/newest/static").iterdir()}
    assert before["same.css"] == after["same.css"]
    assert before["other.css"] < after["other.css"]
    older = build(tmp_path / "c", same_css="same", other_css="three")
    os.utime(older / "staticfiles/other.css", (1, 1))
    lay(trees, tree("three", older))
    assert int((root / "shop/newest/static/other.css").stat().st_mtime) > after["other.css"]


def test_what_a_killed_daemon_left_half_copied_is_gone_with_the_next_tree(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees = StaticTrees(root, "boot")
    lay(trees, tree("one", build(tmp_path / "a", a_css="a")))
    (root / "shop/.draft-two-00000000/static").mkdir(parents=True)
    (root / "shop/.draft-newest-00000000").symlink_to("two")
    (root / "shop/.gone-zero-00000000").mkdir()
    lay(trees, tree("two", build(tmp_path / "b", b_css="b")))
    assert sorted(each.name for each in (root / "shop").iterdir()) == [".boot", "newest", "two"]


def test_a_directory_that_a_build_does_not_have_is_told_of_and_costs_the_others_nothing(tmp_path: Path) -> None:
    directories = (("/media", "media"), ("/static", "staticfiles"))
    trees = StaticTrees(tmp_path / "root", "boot")
    lay(trees, tree("one", build(tmp_path / "a", a_css="a"), directories))
    assert served(tmp_path / "root") == {"/static/a.css": "a"}
    assert trees.lacks("shop", directories) == (
        "the static files of shop are not served: its build has no directory media"
    )
    assert trees.lacks("shop", FILES) == ""


def test_a_tree_is_laid_out_before_its_instance_answers_and_behind_the_one_that_serves(tmp_path: Path) -> None:
    root = tmp_path / "root"
    trees = StaticTrees(root, "boot")
    lay(trees, tree("one", build(tmp_path / "a", a_css="a")))
    new = tree("two", build(tmp_path / "b", a_css="new", b_css="b"))

    async def start() -> None:
        async with trees.ahead_of("shop", new):
            assert served(root) == {"/static/a.css": "a", "/static/b.css": "b"}
            assert trees.starting("shop") == (new,)
        assert trees.starting("shop") == ()

    asyncio.run(start())
    assert trees.laid == {"shop": ("one", "two")}
    lay(trees, new, tree("one", tmp_path / "a"))  # it serves
    assert served(root) == {"/static/a.css": "new", "/static/b.css": "b"}


def test_a_full_disk_keeps_no_instance_from_starting(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("no directory")
    trees = StaticTrees(tmp_path / "root", "boot")

    async def start() -> None:
        async with trees.ahead_of("shop", tree("one", build(tmp_path / "a", a_css="a"))):
            pass

    asyncio.run(start())
    assert trees.laid == {}


def test_what_an_earlier_boot_has_left_is_served_no_more_and_laid_out_again(tmp_path: Path) -> None:
    root, code = tmp_path / "root", build(tmp_path / "a", a_css="a")
    lay(StaticTrees(root, "boot"), tree("one", code))
    (root / "shop/one/static/a.css").write_text("")  # as a power cut leaves what was not on the disk yet
    trees = StaticTrees(root, "next boot")
    assert served(root) == {}
    assert trees.laid == {"shop": ()}
    lay(trees, tree("one", code))
    assert served(root) == {"/static/a.css": "a"}
