"""Layers and layouts of images: the same bytes wherever they are written, and a refusal for what no image can hold."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from reconciler.staging.errors import StagingError
from reconciler.staging.images.environment_layer import bill_of_materials, environment_entries, relocated
from reconciler.staging.images.layers import Entry, Layer, entries_of, write_layer
from reconciler.staging.images.layout import base_in, blob_of, locked_layout, manifest_in
from tests.support.images import a_base, an_image, whole_image
from tests.support.site import REPOSITORY


def a_tree(top: Path, *, names: list[str], umask: int, when: int) -> Path:
    before = os.umask(umask)
    try:
        top.mkdir()
        for name in names:
            file = top / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"# {name}\n")
            if name.startswith("bin/"):
                file.chmod(file.stat().st_mode | 0o100)
            os.utime(file, (when, when))
        (top / "current").symlink_to("wsgi.py")
    finally:
        os.umask(before)
    return top


def layer_of(tree: Path, blobs: Path) -> Layer:
    blobs.mkdir(exist_ok=True)
    return write_layer("code", entries_of(tree, "app"), blobs, "gzip")


def test_the_same_files_are_the_same_layer_whatever_their_times_modes_and_order(tmp_path: Path) -> None:
    names = ["wsgi.py", "bin/run", "shop/models.py", "shop/__init__.py", "ä.txt"]
    one = layer_of(a_tree(tmp_path / "one", names=names, umask=0o022, when=1), tmp_path / "blobs")
    other = layer_of(a_tree(tmp_path / "two", names=names[::-1], umask=0o077, when=10**9), tmp_path / "others")
    assert one == other
    with tarfile.open(tmp_path / "blobs" / one.digest) as archive:
        found = {member.name: member for member in archive}
    assert {(each.uid, each.gid, each.mtime) for each in found.values()} == {(0, 0, 315532801)}
    assert (found["app/bin/run"].mode, found["app/wsgi.py"].mode, found["app/shop"].mode) == (0o755, 0o644, 0o755)
    assert found["app/current"].linkname == "wsgi.py"
    assert list(found) == sorted(found)


def test_an_edit_changes_the_layer_and_a_draft_is_not_left_behind(tmp_path: Path) -> None:
    tree = a_tree(tmp_path / "one", names=["wsgi.py"], umask=0o022, when=1)
    before = layer_of(tree, tmp_path / "blobs")
    (tree / "wsgi.py").write_text("# another line\n")
    after = layer_of(tree, tmp_path / "blobs")
    assert (before.diff_id == after.diff_id, after.size < 2048) == (False, True)
    os.mkfifo(tree / "pipe")
    with pytest.raises(StagingError, match="neither a file nor a directory; remove it"):
        layer_of(tree, tmp_path / "blobs")
    assert {file.name for file in (tmp_path / "blobs").iterdir()} == {before.digest, after.digest}


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / os.fsdecode(b"caf\xe9")).touch()
    with pytest.raises(StagingError, match="its name is not UTF-8; rename it"):
        layer_of(tmp_path / "tree", tmp_path / "blobs")


def test_paths_of_this_host_are_replaced_in_texts_and_refused_in_programs(tmp_path: Path) -> None:
    moved = {"/srv/state/environments/1": "/there"}
    script, program = tmp_path / "script", tmp_path / "program"
    script.write_text("#!/srv/state/environments/1/bin/python\n")
    program.write_bytes(b"\0ELF /srv/state/environments/1/lib")
    assert relocated(Entry(path="s", source=script), moved).content == b"#!/there/bin/python\n"
    assert relocated(Entry(path="l", link="/srv/state/environments/1/lib"), moved).link == "/there/lib"
    with pytest.raises(StagingError, match="on this host is compiled into it"):
        relocated(Entry(path="p", source=program), moved)
    with pytest.raises(StagingError, match="it is a link to /etc/passwd on this host"):
        relocated(Entry(path="l", link="/etc/passwd"), moved)


def test_an_environment_is_the_same_wherever_it_was_made(tmp_path: Path) -> None:
    def made(name: str) -> list[Entry]:
        top = tmp_path / name
        packages = top / "lib/python3.12/site-packages"
        info = packages / "shop-1.0.dist-info"
        info.mkdir(parents=True)
        (top / "bin").mkdir()
        (top / "bin/python").symlink_to(f"/opt/{name}/python3.12")
        (top / "bin/shop").write_text(f"#!{top}/bin/python\n")
        (top / "finished.json").write_text(name)
        (packages / "__pycache__").mkdir()
        (packages / "__pycache__/shop.cpython-312.pyc").write_text(name)
        (info / "METADATA").write_text("Name: Shop\nVersion: 1.0\n\nIt sells.\n")
        (info / "direct_url.json").write_text(name)
        (info / "RECORD").write_text(f"../../../bin/shop,sha256={name},9\nshop.py,sha256=1,1\n__pycache__/shop.pyc,,\n")
        return sorted(
            environment_entries(top, "env", "/usr/local/bin/python3.12", "3.12", {str(top): "/env"}),
            key=lambda entry: entry.path,
        )

    one, blobs = made("one"), tmp_path / "blobs"
    blobs.mkdir()
    assert write_layer("one", one, blobs, "none").diff_id == write_layer("other", made("other"), blobs, "gzip").diff_id
    found = {entry.path: entry for entry in one}
    assert found["env/bin/python"].link == "/usr/local/bin/python3.12"
    assert found["env/bin/shop"].content == b"#!/env/bin/python\n"
    assert found["env/lib/python3.12/site-packages/shop-1.0.dist-info/RECORD"].content == b"shop.py,sha256=1,1\n"
    assert json.loads(bill_of_materials(tmp_path / "one"))["components"] == [
        {"type": "library", "name": "Shop", "version": "1.0", "purl": "pkg:pypi/shop@1.0"}
    ]


@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_a_script_begins_as_one_that_was_installed_in_the_image_where_the_path_here_is_too_long(
    tmp_path: Path, quote: str
) -> None:
    top = "/srv/a path" if quote else f"/srv/{'long/' * 40}x"
    script = f"#!/bin/sh\n'''exec' {quote}{top}/bin/python{quote} \"$0\" \"$@\"\n' '''\nimport sys\n"
    (tmp_path / "script").write_text(script)
    found = relocated(Entry(path="bin/shop", source=tmp_path / "script"), {top: "/env"})
    assert found.content == b"#!/env/bin/python\nimport sys\n"


def test_a_base_is_read_by_its_digest_and_has_the_python_of_the_build(tmp_path: Path) -> None:
    digest = a_base(tmp_path / "base", "3.12")
    base = base_in(tmp_path / "base", digest)
    assert base_in(tmp_path / "base", "") == base
    assert base.interpreter("3.12") == "/usr/local/bin/python3.12"
    with pytest.raises(StagingError, match=r"the base has no Python 3\.13"):
        base.interpreter("3.13")


def _without_index(base: Path, _: str) -> None:
    (base / "index.json").unlink()


def _with_two(base: Path, digest: str) -> None:
    index = json.loads((base / "index.json").read_text())
    index["manifests"] *= 2
    (base / "index.json").write_text(json.dumps(index))


def _damaged(base: Path, digest: str) -> None:
    blob_of(base, digest).write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(_without_index, "cannot read the base"), (_with_two, "has 2 images: name one"), (_damaged, "is damaged")],
)
def test_a_base_that_cannot_be_used_is_refused(tmp_path: Path, spoil: Callable[[Path, str], None], why: str) -> None:
    spoil(tmp_path / "base", a_base(tmp_path / "base", "3.12"))
    with pytest.raises(StagingError, match=why):
        base_in(tmp_path / "base", "")
    with pytest.raises(StagingError, match="is no digest"):
        blob_of(tmp_path, "sha256:../../etc/passwd")


def ended(layout: Path, number: int, how: str) -> "subprocess.CompletedProcess[str]":
    """Write the second image into a layout, and end that before its Nth effect."""
    words = [str(layout), str(number), how, "tests.support.images", str(layout), "x = 2\n"]
    return subprocess.run(
        [sys.executable, "-m", "tests.support.killed_at", *words],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["kill", "full"])
def test_a_layout_has_the_image_before_or_the_next_one_wherever_writing_ends(tmp_path: Path, how: str) -> None:
    """Each effect on the layout is the last one once, or some of them: of a kill, and of a disk that is full."""
    before, after = an_image(tmp_path / "first"), an_image(tmp_path / "second", "x = 2\n")
    wanted = {file.name for file in (tmp_path / "second" / "blobs" / "sha256").iterdir()}
    found = set()
    for number in count(1, 1 if os.environ.get("RECONCILER_TESTS") == "nightly" else 6):
        layout = tmp_path / f"layout-{number}"
        an_image(layout)
        done = ended(layout, number, how)
        if done.returncode == 0 and number > int(done.stderr.split()[-1]):
            break
        assert done.returncode == (-signal.SIGKILL if how == "kill" else 1) or whole_image(layout) == after
        assert how == "kill" or done.returncode == 0 or "No space left on device" in done.stderr
        found.add(whole_image(layout))
        assert an_image(layout, "x = 2\n") == whole_image(layout) == after
        assert {file.name for file in (layout / "blobs" / "sha256").iterdir()} == wanted
        assert not list(layout.glob(".*"))
    assert number > 10
    assert found == {before, after}


def test_a_layout_is_not_used_by_two_at_once_and_its_image_is_the_one_that_was_written(tmp_path: Path) -> None:
    first = an_image(tmp_path)
    with locked_layout(tmp_path), pytest.raises(StagingError, match="another command uses"):
        an_image(tmp_path, "x = 2\n")
    assert manifest_in(tmp_path, first)["schemaVersion"] == 2
    an_image(tmp_path, "x = 2\n")
    with pytest.raises(StagingError, match="another command has replaced the image"):
        manifest_in(tmp_path, first)
