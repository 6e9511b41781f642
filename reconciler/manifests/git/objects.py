"""Read the objects of a bare repository: commits, trees and blobs, of which none is ever checked out."""

import asyncio
import errno
import os
import re
from dataclasses import field
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.commits import Commit, commit_of
from reconciler.manifests.git.fetch_failures import OUT_OF_MEMORY, Why
from reconciler.manifests.git.program import MOST_OUTPUT, Finished, GitProgram
from reconciler.settings.git import Repository

_BLOCK = 65536
OBJECT_ID = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})")


class CannotFetch(Exception):
    """A fetch that failed from every address; `code` is for programs."""

    def __init__(self, code: Why, message: str) -> None:
        super().__init__(message)
        self.code = code


class BranchMissing(Exception):
    """A repository that answers, and has no branch, tag or commit of this name."""


class DamagedStore(Exception):
    """A store in which something cannot be read that was fetched."""


class TooLarge(CannotFetch):
    """Something that was fetched, and that takes more to read than the repository may."""

    def __init__(self, message: str) -> None:
        super().__init__("too-large", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The commit that an origin leads to; where it follows tags, the name of the newest, and the id of its object.

    `subject` is the first line of the commit's message, if that was read. `was_asked` says whether the repository was
    asked for it: a commit that the settings name, and that is here, is not. `has_beside` says whether all came along
    that was to be fetched beside it.
    """

    commit: str
    tag: str = ""
    tag_id: str = ""
    was_asked: bool = True
    subject: str = field(default="", compare=False)
    has_beside: bool = field(default=False, compare=False)


class Objects:
    """The objects of the bare repository at `path`, within the limits of `repository`. Nothing is changed."""

    def __init__(self, git: GitProgram, path: Path, repository: Repository) -> None:
        self._git = git
        self._repository = repository
        self.path = path

    async def resolved(self, ref: str) -> str | None:
        """Return the id of the commit that a name of git's leads to, None if there is none here."""
        done = await self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        commit = done.output.decode(errors="replace").strip()
        return commit if done.status == 0 and OBJECT_ID.fullmatch(commit) else None

    async def descends(self, commit: str, other: str) -> bool:
        """Return whether a commit is another or descends from it, as far as is known here. Raises DamagedStore."""
        done = await self._run("rev-list", "--max-count=1", other, f"^{commit}")
        if done.status != 0 and (await self._run("cat-file", "-t", other)).status == 0:
            raise _unreadable(done)
        return done.status == 0 and not done.output.strip()

    async def between(self, accepted: str | None, commit: str) -> tuple[str, ...]:
        """Return the commits that are reachable from one and not from another, the newest first."""
        since = [f"^{accepted}"] if accepted is not None else ["--max-count=1"]
        return tuple((await self._read("rev-list", "--topo-order", commit, *since)).decode().split())

    async def raw(self, commit: str) -> bytes:
        """Return the bytes of a commit object. Raises DamagedStore."""
        return await self._read("cat-file", "commit", commit)

    async def commit(self, commit: str) -> Commit:
        """Return a commit as people know it. Raises DamagedStore."""
        return commit_of(commit, await self.raw(commit))

    async def listing(self, commit: str) -> bytes:
        """Return the listing of the files of a commit or of a tree, with their sizes. Raises DamagedStore."""
        return await self._read("ls-tree", "-rz", "--full-tree", "-l", commit)

    async def changes(self, before: str, commit: str) -> bytes | None:
        """Return how the files and directories of two commits differ, as `diff-tree` prints it; None if it cannot."""
        form = ("-r", "-t", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff")
        done = await self._run("diff-tree", *form, before, commit)
        return done.output if done.status == 0 else None

    async def directories(self, commit: str) -> dict[str, str]:
        """Return the tree id of every directory of a commit, and of its top, by path. Raises DamagedStore."""
        top = (await self._read("rev-parse", "--verify", f"{commit}^{{tree}}")).decode().strip()
        found = {"": top}
        for record in (await self._read("ls-tree", "-rdz", "--full-tree", commit)).split(b"\0"):
            head, _, name = record.partition(b"\t")
            if name and head.split()[1] == b"tree":
                found[name.decode(errors="surrogateescape")] = head.split()[2].decode()
        return found

    async def sizes(self, ids: Path) -> dict[str, int]:
        """Return the sizes of the objects whose ids stand in a file, by id. Raises DamagedStore."""
        done = await self._run("cat-file", "--batch-check", "--buffer", asked=ids)
        fields = [line.split() for line in done.output.decode(errors="replace").splitlines()]
        if done.status != 0 or not all(len(each) == 3 and each[2].isdigit() for each in fields):
            raise _unreadable(done)
        return {each[0]: int(each[2]) for each in fields}

    async def contents(self, ids: Path, into: Path) -> None:
        """Write the objects whose ids stand in one file to another, as `cat-file --batch` does.

        Raises DamagedStore, or OSError if the disk takes no more.
        """
        done = await self._run("cat-file", "--batch", "--buffer", asked=ids, into=into)
        if done.status != 0:
            await asyncio.to_thread(_require_room, into)  # git does not say whether it could not read or not write
            raise _unreadable(done)

    async def run(self, *arguments: str) -> Finished:
        """Return how a command of git ended that reads the store. Raises TooLarge, OSError, TimeoutError."""
        return await self._run(*arguments)

    async def _read(self, *arguments: str, at: Path | None = None) -> bytes:
        done = await self._run(*arguments, at=at)
        if done.status != 0:
            raise _unreadable(done)
        return done.output

    async def _run(
        self, *arguments: str, at: Path | None = None, asked: Path | None = None, into: Path | None = None
    ) -> Finished:
        """Return how a run of git ended that reads the store.

        Raises TooLarge if it needs too much memory, or prints more than is kept.
        """
        memory = self._repository.most_memory
        done = await self._git.read(at or self.path, *arguments, memory=memory, asked=asked, into=into)
        if done.status != 0 and re.search(OUT_OF_MEMORY, done.errors):
            raise TooLarge(f"git needs more than {memory // 1024**2} MiB of memory to read it, which is the limit")
        if done.is_cut:
            raise TooLarge(f"git prints more than {MOST_OUTPUT // 1024**2} MiB about it, which is the limit")
        return done


def _require_room(into: Path) -> None:
    """Raise OSError if a file cannot become larger. Blocks."""
    with into.open("ab", buffering=0) as file:
        if file.write(bytes(_BLOCK)) < _BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())


def _unreadable(done: Finished) -> DamagedStore:
    why = done.errors.partition("\n")[0] or f"git ended with {done.status}"
    return DamagedStore(f"what was fetched cannot be read: {why}")
