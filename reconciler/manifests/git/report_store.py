"""Fetch the reports of a fleet's hosts from their references in the repository, and push this host's own.

They may be in another repository than the commits that they are about; nothing else is ever fetched from that.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.manifests.git.fetch_failures import failure_of
from reconciler.manifests.git.objects import CannotFetch, DamagedStore
from reconciler.manifests.git.program import Finished, GitProgram
from reconciler.manifests.git.report_object import LARGEST
from reconciler.manifests.git.store import Store
from reconciler.manifests.git.trees import contents_of
from reconciler.settings.git import GitOrigin, Repository


class ReportStore:
    """The reports of one origin's fleet, in the store of that origin; `scratch` is a directory for what is read."""

    def __init__(self, git: GitProgram, store: Store, origin: GitOrigin, scratch: Path) -> None:
        self._git = git
        self._store = store
        self._repository = origin.repository.of_reports
        self._pushed_with = _pushing(origin.repository)
        refs = origin.repository.report_refs
        self._remote = f"{refs}origins/{origin.reported}/"
        self._local = f"refs/reconciler/{origin.name}/reports/"
        # Where an earlier version wrote them, whatever the origin.
        self._remote_before, self._local_before = f"{refs}hosts/", f"refs/reconciler/{origin.name}/hosts/"
        self._refspecs = (f"+{self._remote}*:{self._local}*", f"+{self._remote_before}*:{self._local_before}*")
        self._is_elsewhere = bool(origin.repository.report_to or origin.tags)
        self._scratch = scratch
        self.of_earlier_version: frozenset[str] = frozenset()

    @property
    def refspecs_beside(self) -> Sequence[str]:
        """What one fetch of the origin's branch can bring along: every report, unless they are somewhere else."""
        return () if self._is_elsewhere else self._refspecs

    async def fetch(self) -> None:
        """Fetch every report. Raises CannotFetch, OSError, TimeoutError."""
        failed: CannotFetch | None = None
        async with self._store.locked():
            for url in self._repository.urls:
                done = await self._git.fetch(self._store.path, self._repository, url, self._refspecs, "--prune")
                if done.status == 0:
                    return
                failed = failed or _failed(done, url)
        assert failed is not None
        raise failed

    async def ids(self) -> dict[str, str]:
        """Return the id of each host's report, by host; what is no report, or is too large, is left out.

        What an earlier version of a host wrote counts until this one writes; `of_earlier_version` are the hosts that
        only such a version has reported of.

        Raises DamagedStore, OSError, TimeoutError.
        """
        form = "--format=%(objecttype) %(objectsize) %(objectname) %(refname)"
        done = await self._read("for-each-ref", form, self._local_before, self._local)
        before, found = {}, {}
        for line in filter(None, done.output.decode(errors="replace").split("\n")):  # names hold other line ends
            kind, size, object_id, ref = line.split(" ", 3)
            if kind != "tag" or int(size) > LARGEST:
                continue
            if ref.startswith(self._local):
                found[ref.removeprefix(self._local)] = object_id
            else:
                before[ref.removeprefix(self._local_before)] = object_id
        self.of_earlier_version = frozenset(before.keys() - found.keys())
        return before | found

    async def contents(self, ids: Collection[str]) -> dict[str, bytes]:
        """Return reports by their ids. Raises DamagedStore, OSError, TimeoutError."""
        if not ids:
            return {}
        with TemporaryDirectory(dir=self._scratch, prefix=".draft-") as directory:
            asked, batch = Path(directory, "ids"), Path(directory, "objects")
            await asyncio.to_thread(asked.write_text, "".join(f"{each}\n" for each in ids))
            await self._store.contents(asked, batch)
            return await asyncio.to_thread(contents_of, batch, "tag")

    async def blob(self) -> str:
        """Return the id of an object for the tags to lead to, which is made: they need none of the commits.

        Raises DamagedStore, OSError, TimeoutError.
        """
        return await self._written(b"", "hash-object", "-w", "--stdin")

    async def tag(self, text: bytes) -> str:
        """Return the id of a signed report, which is written. Raises DamagedStore, OSError, TimeoutError."""
        return await self._written(text, "mktag")

    async def push(self, host: str, tag: str, *, also_as_before: bool, only_try: bool = False) -> None:
        """Push this host's report, by its id; also to where hosts of an earlier version look for it, if there are any.

        With `only_try`, the server is asked, and gets nothing.

        Raises CannotFetch, OSError, TimeoutError.
        """
        url, places = self._repository.urls[0], (self._remote, *((self._remote_before,) if also_as_before else ()))
        refspecs = [f"+{tag}:{place}{host}" for place in places]
        options = ("--dry-run",) if only_try else ()
        done = await self._git.push(self._store.path, self._pushed_with, url, refspecs, *options)
        if done.status != 0:
            raise _failed(done, url)

    async def _written(self, content: bytes, *command: str) -> str:
        with TemporaryDirectory(dir=self._scratch, prefix=".draft-") as directory:
            given = Path(directory, "object")
            await asyncio.to_thread(given.write_bytes, content)
            async with self._store.locked():
                done = await self._read(*command, asked=given)
        return done.output.decode().strip()

    async def _read(self, *arguments: str, asked: Path | None = None) -> Finished:
        memory = self._repository.most_memory
        done = await self._git.read(self._store.path, *arguments, memory=memory, asked=asked)
        if done.status != 0:
            raise DamagedStore(f"the reports cannot be read: {done.errors.partition(chr(10))[0]}")
        return done


def _pushing(repository: Repository) -> Repository:
    """Return where reports go, with what the settings give this host to push with."""
    to = repository.of_reports
    return replace(to, key=repository.report_key or to.key, token=repository.report_token or to.token)


def _failed(done: Finished, url: str) -> CannotFetch:
    code, why = failure_of(done.errors, url)
    return CannotFetch(code, why)
