"""The real directory and the real kernel: what a look finds, and when it is time to look."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Watch
from reconciler.linux.mounts import Mounts
from reconciler.manifests.directory_files import ReadCache, read_directory
from reconciler.manifests.directory_origin import Directory
from reconciler.manifests.origin import Listing, Unreadable
from reconciler.web.manifest import shown_manifest
from tests.support.eventually import at_leisure, soon
from tests.support.mount_tables import table


def listed(
    path: Path, memo: ReadCache | None = None, unsettled: frozenset[str] = frozenset()
) -> dict[str, bytes | str]:
    found = read_directory(str(path), memo, unsettled)
    assert isinstance(found, Listing)
    return {Path(file).relative_to(path).as_posix(): content for file, content in found.files.items()}


# What a look finds


def test_only_manifests_are_listed(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(name)
    droppings = (
        ".x.swp",
        ".hidden.yaml",
        "x.yaml~",
        "#x.yaml#",
        "4913",
        "x.yaml.tmp",
        "x.yaml.swp",
        "README.md",
        "C.YAML",
    )
    for name in droppings:
        (tmp_path / name).write_text("x")
    (tmp_path / ".#x.yaml").symlink_to("me@host.123")
    assert listed(tmp_path) == {"a.yaml": b"a.yaml", "b.yml": b"b.yml"}


def test_what_is_not_a_readable_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("path: x")
    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "big.yaml").write_bytes(b"#" * 10_000_000)
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "null.yaml").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "door.yaml"))
    assert listed(tmp_path) == {
        "good.yaml": b"path: x",
        "dir.yaml": "is a directory, not a file; rename it or put a file in its place",
        "loop.yaml": "cannot be read: Too many levels of symbolic links",
        "dangling.yaml": "is a symbolic link to 'nowhere', which does not exist",
        "big.yaml": "is 9.5 MiB; the limit is 256 KiB",
        "pipe.yaml": "is a named pipe, not a file; rename it or put a file in its place",
        "null.yaml": "is a device, not a file; rename it or put a file in its place",
        "door.yaml": "is a socket, not a file; rename it or put a file in its place",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what others may not")
def test_a_link_out_of_the_directory_shows_nobody_what_only_root_may_read(tmp_path: Path) -> None:
    manifests, elsewhere = tmp_path / "manifests", tmp_path / "elsewhere"
    (manifests / "..data").mkdir(parents=True)
    elsewhere.mkdir()
    for name, directory, mode in (
        ("shadow", elsewhere, 0o640),
        ("public", elsewhere, 0o644),
        ("data", manifests / "..data", 0o600),
    ):
        (directory / name).write_text(name)
        (directory / name).chmod(mode)
        (manifests / f"{name}.yaml").symlink_to(directory / name)
    assert listed(manifests) == {
        "shadow.yaml": f"is a link to {elsewhere / 'shadow'}, which other users may not read: put a copy in its place",
        "public.yaml": b"public",
        "data.yaml": b"data",
    }
    shown = shown_manifest(str(manifests / "shadow.yaml"), (), manifests)
    assert shown is not None
    assert (shown.lines, shown.problem) == ((), f"is a link to {elsewhere / 'shadow'}, which other users may not read")


def test_a_file_that_was_just_emptied_is_as_it_last_was_and_an_old_empty_one_is_empty(tmp_path: Path) -> None:
    memo, file = ReadCache(quiet_s=60.0), tmp_path / "a.yaml"
    file.write_text("path: x")
    assert listed(tmp_path, memo) == {"a.yaml": b"path: x"}
    file.write_text("")
    (tmp_path / "new.yaml").touch()
    assert listed(tmp_path, memo) == {"a.yaml": b"path: x"}
    assert memo.emptied == {"a.yaml", "new.yaml"}
    for name in memo.emptied:
        os.utime(tmp_path / name, (1, 1))
    assert listed(tmp_path, memo) == {"a.yaml": b"", "new.yaml": b""}
    assert memo.emptied == frozenset()


def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.yaml")).write_text("path: x")
    assert listed(tmp_path) == {"caf\\xe9.yaml": "has a name that is not printable UTF-8; rename it"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x")
    (tmp_path / "a.yaml").chmod(0)
    assert listed(tmp_path) == {"a.yaml": "cannot be read: Permission denied"}


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert read_directory(str(path)) == Unreadable(
        origin=str(path), reason=f"cannot read {path}: No such file or directory"
    )
    path.write_text("x")
    assert read_directory(str(path)) == Unreadable(origin=str(path), reason=f"cannot read {path}: Not a directory")


def test_files_behind_links_are_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.yaml").write_text("x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "b.yaml").symlink_to("a.yaml")
    assert listed(tmp_path / "link") == {"a.yaml": b"x", "b.yaml": b"x"}


def test_a_look_reads_again_only_what_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    memo = ReadCache()
    first = listed(tmp_path, memo)["a.yaml"]
    while memo.seen["a.yaml"].stamp is None:  # too young for its times to be trusted
        first = listed(tmp_path, memo)["a.yaml"]
    assert listed(tmp_path, memo)["a.yaml"] is first
    old = file.stat().st_mtime - 100
    os.utime(file, (old, old))
    file.write_text("two")  # same size, and with the same times as before:
    os.utime(file, (old, old))
    assert (first, listed(tmp_path, memo)["a.yaml"]) == (b"one", b"two")


def test_a_file_written_twice_in_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    file, memo = tmp_path / "a.yaml", ReadCache()
    for number in range(200):
        file.write_text(f"{number:05}")
        assert listed(tmp_path, memo) == {"a.yaml": b"%05d" % number}


def test_an_unsettled_file_is_as_it_last_was(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    (tmp_path / "b.yaml").write_text("one")
    memo = ReadCache()
    unsettled = frozenset(("a.yaml", "b.yaml", "new.yaml"))
    assert listed(tmp_path, memo, unsettled) == {"a.yaml": b"one", "b.yaml": b"one"}, "a first look has no memory"
    (tmp_path / "a.yaml").write_text("half")
    (tmp_path / "b.yaml").unlink()
    (tmp_path / "new.yaml").write_text("half")
    assert listed(tmp_path, memo, unsettled) == {"a.yaml": b"one", "b.yaml": b"one"}
    assert listed(tmp_path, memo) == {"a.yaml": b"half", "new.yaml": b"half"}


# When it is time to look


class Looks(asyncio.Event):
    """Counts how often it is time to look."""

    calls = 0

    def set(self) -> None:
        self.calls += 1
        super().set()


class Story:
    """A directory that is looked at whenever it says so."""

    def __init__(self, path: Path, quiet_s: float) -> None:
        self.looks = Looks()
        self.path = path
        paths = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe))
        self.directory = Directory(str(path), paths, self.looks, quiet_s)

    async def look(self) -> dict[str, bytes | str] | None:
        found = await self.directory.look()
        return {Path(file).name: text for file, text in found.files.items()} if isinstance(found, Listing) else None

    async def comes_to(self, expected: dict[str, bytes | str] | None) -> None:
        """Looks only when told to, until the directory is seen as expected."""
        async with asyncio.timeout(at_leisure(30.0)):
            seen = 0
            while True:
                while self.looks.calls == seen:
                    await asyncio.sleep(0.002)
                seen = self.looks.calls
                if await self.look() == expected:
                    return


@asynccontextmanager
async def story(path: Path, quiet_s: float = 0.05) -> AsyncIterator[Story]:
    told = Story(path, quiet_s)
    await told.look()
    told.looks.calls = 0
    try:
        yield told
    finally:
        told.directory.close()


FOREVER = 3600.0


def test_a_file_that_arrives_whole_is_looked_at_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with story(tmp_path, quiet_s=FOREVER) as told:
            (tmp_path / "a.yaml").write_text("one")
            await told.comes_to({"a.yaml": b"one"})
            (tmp_path / ".a").write_text("two")
            (tmp_path / ".a").rename(tmp_path / "a.yaml")
            await told.comes_to({"a.yaml": b"two"})

    asyncio.run(main())


def test_one_still_being_written_waits_for_quiet_and_others_do_not_wait_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with story(tmp_path, quiet_s=2.0) as told:
            with (tmp_path / "slow.yaml").open("w") as file:
                file.write("half")
                file.flush()
                (tmp_path / "fast.yaml").write_text("whole")
                await told.comes_to({"fast.yaml": b"whole"})
                await told.comes_to({"fast.yaml": b"whole", "slow.yaml": b"half"})

    asyncio.run(main())


def test_a_file_moved_away_and_written_anew_is_never_missing(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "a.yaml"
        file.write_text("one")
        async with story(tmp_path, quiet_s=FOREVER) as told:
            file.rename(tmp_path / "a.yaml~")
            (tmp_path / "b.yaml").write_text("other")
            await told.comes_to({"a.yaml": b"one", "b.yaml": b"other"})
            file.write_text("two")
            await told.comes_to({"a.yaml": b"two", "b.yaml": b"other"})

    asyncio.run(main())


def test_a_deleted_file_is_missed_after_quiet(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "a.yaml").write_text("one")
        async with story(tmp_path) as told:
            (tmp_path / "a.yaml").unlink()
            await told.comes_to({})

    asyncio.run(main())


def test_a_link_made_in_place_is_seen_after_quiet(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "real").write_text("one")
        async with story(tmp_path) as told:
            (tmp_path / "a.yaml").symlink_to("real")
            await told.comes_to({"a.yaml": b"one"})

    asyncio.run(main())


def test_a_file_that_is_never_quiet_is_looked_at_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        looks = Looks()
        paths = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe))
        directory = Directory(str(tmp_path), paths, looks, quiet_s=0.2, longest_s=0.4)
        await directory.look()
        with (tmp_path / "a.yaml").open("w") as file:
            async with asyncio.timeout(60):
                while not looks.calls:
                    file.write("x")
                    file.flush()
                    await asyncio.sleep(0.01)
        directory.close()

    asyncio.run(main())


def test_a_directory_missing_at_first_and_made_again_is_followed(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "deep" / "manifests"
        async with story(path) as told:
            path.mkdir(parents=True)
            await told.comes_to({})
            (path / "a.yaml").write_text("one")
            await told.comes_to({"a.yaml": b"one"})
            (path / "a.yaml").unlink()
            path.rmdir()
            await told.comes_to(None)
            path.mkdir()
            (path / "b.yaml").write_text("two")
            await told.comes_to({"b.yaml": b"two"})
            assert told.directory.problem is None

    asyncio.run(main())


@pytest.mark.parametrize("below", ["", "manifests"])
def test_a_swapped_link_is_followed(tmp_path: Path, below: str) -> None:
    async def main() -> None:
        for version in ("1", "2"):
            folder = tmp_path / version / below
            folder.mkdir(parents=True)
            (folder / "a.yaml").write_text(version)
        (tmp_path / "current").symlink_to("1")
        async with story(tmp_path / "current" / below) as told:
            (tmp_path / "next").symlink_to("2")
            (tmp_path / "next").rename(tmp_path / "current")
            await told.comes_to({"a.yaml": b"2"})
            (tmp_path / "2" / below / "b.yaml").write_text("new")
            await told.comes_to({"a.yaml": b"2", "b.yaml": b"new"})

    asyncio.run(main())


def test_files_linked_through_a_swapped_link_are_followed(tmp_path: Path) -> None:
    async def main() -> None:
        for version in ("..1", "..2"):
            (tmp_path / version).mkdir()
            (tmp_path / version / "a.yaml").write_text(version)
        (tmp_path / "..data").symlink_to("..1")
        (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
        async with story(tmp_path) as told:
            (tmp_path / "..next").symlink_to("..2")
            (tmp_path / "..next").rename(tmp_path / "..data")
            await told.comes_to({"a.yaml": b"..2"})

    asyncio.run(main())


def test_looking_causes_no_looks(tmp_path: Path) -> None:
    async def main() -> None:
        for number in range(50):
            (tmp_path / f"a{number}.yaml").write_text("one")
        async with story(tmp_path) as told:
            for _ in range(20):
                read_directory(str(tmp_path))
                await told.look()
            # What comes after in the same queue has been seen: nothing else is on its way.
            (tmp_path / "last.yaml").write_text("x")
            await soon(lambda: told.looks.calls > 0)
            assert told.looks.calls == 1

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "below"), [("ext4", False), ("nfs4", False), ("ext4", True)])
def test_only_what_the_kernel_tells_of_is_taken_for_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, *, below: bool
) -> None:
    mounted = [f"{tmp_path}/blog.yaml"] if below else []
    monkeypatch.setattr(Mounts, "now", lambda: table(tmp_path, kind, *mounted))

    async def main() -> None:
        async with story(tmp_path) as told:
            assert await told.directory.may_have_changed_unseen() is (kind != "ext4" or below)
            monkeypatch.setattr(Mounts, "now", lambda: table(tmp_path, kind, "/elsewhere"))
            assert await told.directory.may_have_changed_unseen()
            await told.look()
            assert await told.directory.may_have_changed_unseen() is (kind != "ext4")

    asyncio.run(main())


def test_a_manifest_behind_a_link_may_change_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mounts, "now", lambda: table(tmp_path, "ext4"))

    async def main() -> None:
        async with story(tmp_path) as told:
            assert not await told.directory.may_have_changed_unseen()
            (tmp_path / "a.yaml").symlink_to("elsewhere")
            await told.look()
            assert await told.directory.may_have_changed_unseen()

    asyncio.run(main())
