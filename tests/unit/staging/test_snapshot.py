"""What a snapshot holds, and what its fingerprint depends on."""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.staging.errors import SourceError
from reconciler.staging.source.allowance import Allowance, allowing
from reconciler.staging.source.snapshot import DigestCache, fingerprint, ignored, snapshot
from reconciler.staging.source.tree import entries, is_dropping
from tests.support.entered import let_all_enter

NAMES = st.text("abcXY.-_é ", min_size=1, max_size=6).filter(
    lambda name: name not in {".", ".."} and not ignored(name) and not is_dropping(name)
)
TREES = st.dictionaries(NAMES, st.binary(max_size=50), min_size=1, max_size=5)


def plant(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def held(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    "name", [".git", ".hg", "__pycache__", ".venv", "venv", ".tox", "node_modules", "a.pyc", ".DS_Store"]
)
def test_what_no_release_needs_is_ignored(name: str) -> None:
    assert ignored(name)


@pytest.mark.parametrize(
    "name", ["wsgi.py", ".env", ".gitignore", ".htaccess", "environment", "a.py", ".reconcilerignore"]
)
def test_hidden_files_and_all_else_are_kept(name: str) -> None:
    assert not ignored(name)
    assert not is_dropping(name)


@pytest.mark.parametrize(
    "name", [".wsgi.py.swp", "wsgi.py~", "#wsgi.py#", ".#wsgi.py", "4913", "nohup.out", "._wsgi.py"]
)
def test_what_editors_drop_is_no_part_of_a_source_but_a_directory_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "wsgi.py").write_text("x")
    before = fingerprint(str(tmp_path))
    (tmp_path / name).write_text("dropped")
    assert fingerprint(str(tmp_path)) == before
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    (tmp_path / name / "meant").write_text("x")
    assert fingerprint(str(tmp_path)) != before


@given(TREES)
def test_the_same_tree_has_the_same_fingerprint_and_a_copy_has_it_too(files: dict[str, bytes]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        plant(Path(one), files)
        plant(Path(other), dict(reversed(files.items())))
        assert fingerprint(one) == fingerprint(other)
        assert snapshot(one, Path(other) / "..copy") == fingerprint(one)
        assert fingerprint(f"{other}/..copy") == fingerprint(one)


@given(TREES, st.data())
def test_any_byte_that_changes_changes_it(files: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    changed = data.draw(st.binary(max_size=50).filter(lambda content: content != files[name]))
    with TemporaryDirectory() as tree:
        digests = DigestCache()
        before = fingerprint(str(plant(Path(tree), files)), digests)
        plant(Path(tree), {name: changed})
        assert fingerprint(tree, digests) == fingerprint(tree) != before


def test_names_the_executable_bit_links_and_empty_directories_count(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a": "1", "b": "2"})
    seen = {fingerprint(str(tree))}
    (tree / "a").chmod(0o755)
    seen.add(fingerprint(str(tree)))
    (tree / "b").rename(tree / "c")
    seen.add(fingerprint(str(tree)))
    (tree / "link").symlink_to("a")
    seen.add(fingerprint(str(tree)))
    (tree / "empty").mkdir()
    seen.add(fingerprint(str(tree)))
    assert len(seen) == 5
    (tree / ".git").mkdir()
    plant(tree, {"__pycache__/a.pyc": "", "own/pyvenv.cfg": "", "own/bin/python": ""})
    (tree / "c").touch()
    assert fingerprint(str(tree)) in seen


def test_a_state_directory_in_the_source_is_left_out_with_its_sockets(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a": "1"})
    before = fingerprint(str(tree))
    plant(tree, {".state/reconciler.db": "", ".state/lock": "", ".state/logs/blog/app.log": "a line"})
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tree / ".state" / "control.sock"))
    assert fingerprint(str(tree)) == before


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a": "1"})
    os.utime(tree / "a", (1, 1))
    facts = (tree / "a").stat()
    digests = DigestCache()
    digests.replace({"a": ((facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino), "known")}, 0)
    assert fingerprint(str(tree), digests) != fingerprint(str(tree))


def test_a_snapshot_keeps_what_matters_and_leaves_the_rest(tmp_path: Path) -> None:
    tree = plant(
        tmp_path / "tree",
        {
            "wsgi.py": "x",
            ".env": "x",
            "big": b"b" * 3_000_000,
            "app.log": "x",
            "keep.log": "x",
            "node_modules/kept.js": "x",
            "data/db": "x",
            "sub/data/kept": "x",
            ".git/HEAD": "x",
            ".reconcilerignore": "*.log\n!keep.log\n!node_modules\n/data/\n",
        },
    )
    (tree / "run.sh").write_text("#!/bin/sh")
    (tree / "run.sh").chmod(0o755)
    (tree / "sub" / "link").symlink_to("../wsgi.py")
    (tree / "dangling").symlink_to("nowhere")
    os.utime(tree / "wsgi.py", (1_000_000, 1_000_000))
    copy = tmp_path / "copy"
    assert snapshot(str(tree), copy) == fingerprint(str(tree)) == fingerprint(str(copy))
    kept = ["wsgi.py", ".env", "big", "keep.log", "node_modules/kept.js", "sub/data/kept", "run.sh", "sub/link"]
    assert held(copy) == {*kept, ".reconcilerignore", "dangling"}
    assert (copy / "big").read_bytes() == b"b" * 3_000_000
    assert os.access(copy / "run.sh", os.X_OK)
    assert (copy / "sub" / "link").readlink() == Path("../wsgi.py")
    assert (copy / "wsgi.py").stat().st_mtime == 1_000_000


@pytest.mark.parametrize(
    ("link", "target"), [("l", "/etc/passwd"), ("l", "../out"), ("l", "here/../../out"), ("d/l", "../../o")]
)
def test_a_link_out_of_the_tree_is_refused_by_name(tmp_path: Path, link: str, target: str) -> None:
    tree = plant(tmp_path / "tree", {"wsgi.py": "x", "d/x": ""})
    (tree / "here").symlink_to(".")
    (tree / link).symlink_to(target)
    with pytest.raises(SourceError, match=rf"cannot read the source at .*: {link} is a link to {target}, outside"):
        fingerprint(str(tree))


def test_sockets_and_pipes_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = plant(tmp_path / "tree", {"wsgi.py": "x"})
    os.mkfifo(tree / "pipe")
    with pytest.raises(SourceError, match=r"pipe is a named pipe: remove it, or list it in \.reconcilerignore"):
        fingerprint(str(tree))
    (tree / "pipe").unlink()
    monkeypatch.chdir(tree)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("app.sock")
        with pytest.raises(SourceError, match=r"app\.sock is a socket"):
            snapshot(str(tree), tmp_path / "copy")


def test_a_source_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    plant(tmp_path, {"app.zip": "x", "app.py": "x"})
    (tmp_path / "loop").symlink_to("loop")
    for name, why in {
        "missing": "it does not exist",
        "empty": "it contains no files",
        "app.zip": "File is not a zip file",
        "app.py": "it is neither a directory nor an archive",
        "loop": "Too many levels of symbolic links",
    }.items():
        with pytest.raises(SourceError, match=rf"cannot read the source at {tmp_path}/{name}: .*({why})"):
            fingerprint(str(tmp_path / name))


@pytest.mark.parametrize("path", ["/", "//", "/.", "/tmp/.."])
def test_no_app_is_all_of_a_host(path: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    for each in (path, str(link)):
        with pytest.raises(SourceError, match="it is all of this host: name the directory of the app"):
            fingerprint(each)
        with pytest.raises(SourceError, match="it is all of this host: name the directory of the app"):
            snapshot(each, tmp_path / "copy")


def test_a_copy_is_given_up_when_told_to(tmp_path: Path) -> None:
    unwanted = Allowance(should_continue=lambda: False)
    with pytest.raises(InterruptedError), allowing(unwanted):
        snapshot(str(plant(tmp_path / "tree", {"a": ""})), tmp_path / "copy")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_ignore_file_is_read_in_the_encoding_of_any_editor(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / ".reconcilerignore").write_bytes("media\r\n".encode(encoding))
    assert [entry.path for entry in entries(tmp_path)] == [".reconcilerignore"]


def test_no_source_is_in_a_state_directory_but_those_that_the_daemon_keeps_there(tmp_path: Path) -> None:
    state = plant(tmp_path / "state", {"reconciler.db": "", "lock": "", "key": "secret", "sources/blog/wsgi.py": "app"})
    (tmp_path / "link").symlink_to(state)
    for path in (state, tmp_path / "link", state / "apps"):
        (state / "apps").mkdir(exist_ok=True)
        with pytest.raises(SourceError, match="it is in the state directory of the daemon"):
            snapshot(str(path), tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    fingerprint(str(state / "sources/blog"))
    plant(state / "apps/blog", {"setup.py": ""})
    fingerprint(str(state / "apps/blog"), of_build=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives links away")
def test_a_link_of_a_user_leads_to_no_source_that_the_user_may_not_read(tmp_path: Path) -> None:
    let_all_enter(tmp_path)
    tree = plant(tmp_path / "tree", {"wsgi.py": "app", "deep/key": "secret"})
    (tmp_path / "link").symlink_to(tree)
    for each in (tree, tree / "deep"):
        each.chmod(0o755)
    for each in (tree / "wsgi.py", tree / "deep/key"):
        each.chmod(0o644)
    whole = fingerprint(str(tmp_path / "link"))
    os.lchown(tmp_path / "link", 4711, 4711)
    assert fingerprint(str(tmp_path / "link")) == whole

    for private, mode, why in (
        ("deep/key", 0o600, "a user who may not read deep/key in it"),
        ("deep", 0o700, "a user who may not read deep in it"),
        ("", 0o700, f"to {re.escape(str(tree))}, which that user may not read"),
    ):
        (tree / private).chmod(mode)
        with pytest.raises(SourceError, match=f"by a link of .*{why}"):
            fingerprint(str(tmp_path / "link"))
        with pytest.raises(SourceError, match=f"by a link of .*{why}"):
            snapshot(str(tmp_path / "link"), tmp_path / f"copy{mode}{len(private)}")
        (tree / private).chmod(0o755)
    (tree / "deep/key").chmod(0o600)
    os.chown(tree / "deep/key", 4711, 4711)
    fingerprint(str(tmp_path / "link"))
    assert fingerprint(str(tree)) == fingerprint(str(tmp_path / "link"))
