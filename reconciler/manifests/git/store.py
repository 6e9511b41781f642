"""Keep what was fetched for an origin: a bare store that only one process at a time writes to.

No file is ever checked out of it. A store that is damaged, or has grown to twice what is needed, is made again beside
the old one, which is kept until the new one is complete.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.linux.file_lock import locked
from reconciler.linux.files import draft, leftovers_of, publish, remove
from reconciler.manifests.git.commits import commit_of, parents_of
from reconciler.manifests.git.fetch_failures import Why, failure_of, gives_no_ids, is_missing_ref, is_of_content
from reconciler.manifests.git.objects import OBJECT_ID, BranchMissing, CannotFetch, Head, Objects, TooLarge
from reconciler.manifests.git.program import Finished, GitProgram
from reconciler.planning.origins.history import HistoryMissing, commits_to_judge, follows_in_line
from reconciler.planning.origins.tags import newest
from reconciler.settings.git import GitOrigin
from reconciler.settings.git_url import host_of

_SHALLOW = "shallow"
_SLACK = 1024 * 1024
_LOCKED_S = 30.0


class Store(Objects):
    """The store of one origin in `directory`.

    It is no other origin's: each of two that renew one in turn would lose what the other one needs.
    """

    def __init__(self, git: GitProgram, directory: Path, origin: GitOrigin) -> None:
        super().__init__(git, directory / f"{origin.name}.git", origin.repository)
        self._lock = directory / f"{origin.name}.lock"
        self._next_url = 0
        self._fetched_last = ""
        self._takes_too_long_beside = False

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep every other process from writing to the store. Raises OSError, TimeoutError."""
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(_LOCKED_S):
                await stack.enter_async_context(locked(self._lock, lambda: None))
            yield

    async def clean(self) -> None:
        """Remove what was interrupted: locks, and packs that were not complete. Raises OSError, TimeoutError."""
        async with self.locked():
            await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        for path in leftovers_of(self._lock.parent, self.path.name):
            remove(path)
        for path in _interrupted(self.path):
            path.unlink(missing_ok=True)

    async def fetch(
        self, origin: GitOrigin, accepted: str | None, *, since: str | None = None, beside: Sequence[str] = ()
    ) -> Head:
        """Fetch what an origin follows, and return where that leads.

        Every commit from the one that was `accepted` on is fetched too, or else from the one that trust begins with
        (`since`). What is `beside` it, by its refspecs, comes along if it can, which `has_beside` tells.

        Raises CannotFetch, BranchMissing, OSError.
        """
        try:
            async with self.locked():
                return await self._fetch(origin, accepted, accepted or since, beside)
        except TimeoutError as error:
            raise CannotFetch("other", "another process is using what was fetched") from error

    async def trial(self, origin: GitOrigin) -> str | None:
        """Fetch the trial branch of an origin, and return its newest commit, None if there is no such branch.

        Raises CannotFetch, OSError.
        """
        if not origin.trial:
            return None
        try:
            async with self.locked():
                return (await self._fetched(self.path, origin.as_trial())).commit
        except BranchMissing:
            return None
        except TimeoutError as error:
            raise CannotFetch("other", "another process is using what was fetched") from error

    async def _fetch(self, origin: GitOrigin, accepted: str | None, since: str | None, beside: Sequence[str]) -> Head:
        await asyncio.to_thread(self._clean)
        if not await self._is_usable(accepted):
            return await self._fetch_anew(origin, since)
        try:
            head = await self._fetched(self.path, origin, beside=beside)
            await self._complete(self.path, origin, head.commit, since)
        except CannotFetch as error:
            await asyncio.to_thread(self._clean)
            if error.code != "damaged":
                raise
        else:
            return head
        return await self._fetch_anew(origin, since)

    async def renew(self, origin: GitOrigin, since: str | None) -> Head:
        """Fetch the same into a store that takes the place of this one. Raises as `fetch` does."""
        try:
            async with self.locked():
                return await self._fetch_anew(origin, since)
        except TimeoutError as error:
            raise CannotFetch("other", "another process is using what was fetched") from error

    async def unshallow(self, origin: GitOrigin) -> None:
        """Fetch the history that was left out at first. Raises CannotFetch, OSError, TimeoutError."""
        async with self.locked():
            if (self.path / _SHALLOW).is_file():
                await self._fetched(self.path, origin, "--unshallow")

    async def _is_usable(self, accepted: str | None) -> bool:
        """Return whether the store is whole as far as can be seen, and knows the commit that was accepted."""
        if not (self.path / "HEAD").is_file():
            return False
        if accepted is not None and accepted == self._fetched_last:
            return True
        probe = accepted or "HEAD"
        found = await self._run("cat-file", "-t", probe)
        return found.status == 0 if accepted is not None else "not a git repository" not in found.errors

    async def _fetch_anew(self, origin: GitOrigin, since: str | None) -> Head:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = draft(self._lock.parent, self.path.name)
        try:
            await self._created(fresh)
            head = await self._fetched(fresh, origin, "--depth=1")
            await self._complete(fresh, origin, head.commit, since)
            await asyncio.to_thread(self._replace, fresh)
        except BaseException:
            await asyncio.to_thread(remove, fresh)
            raise
        return head

    async def _complete(self, path: Path, origin: GitOrigin, head: str, since: str | None) -> None:
        """Fetch the history that was left out at first, where it is not known without it which commits are new.

        A branch that began before `since` comes with all that was before it, most of which is older than `since`.
        """
        if since is None or since == head or not (path / _SHALLOW).is_file():
            return
        listed = await self._run("rev-list", "--parents", head, f"^{since}", at=path)
        if listed.status == 0:
            left_out = (path / _SHALLOW).read_text().split()
            lines = listed.output.decode().splitlines()
            graph: dict[str, list[str]] = {each: more for each, *more in map(str.split, lines) if each not in left_out}
            if follows_in_line(graph, head, since):
                return
            if (await self._read("rev-list", "--max-count=1", since, f"^{head}", at=path)).strip():
                return  # the one does not descend from the other, whatever came before
            graph[since] = parents_of(await self._read("cat-file", "commit", since, at=path))
            with contextlib.suppress(HistoryMissing):
                commits_to_judge(graph, head, since, "every")
                return
        await self._fetched(path, origin, "--unshallow")

    def _replace(self, fresh: Path) -> None:
        """Put a complete store into the place of the old one."""
        remove(self.path)
        (fresh / "fresh-size").write_text(str(_size(fresh)))
        publish(fresh, self.path)

    async def _created(self, path: Path, *, sha256: bool = False) -> None:
        done = await self._git.create(path, memory=self._repository.most_memory, sha256=sha256)
        if done.status != 0:
            raise CannotFetch(
                "no-git" if "cannot run git" in done.errors else "other", f"cannot create {path}: {done.errors}"
            )

    async def _fetched(self, path: Path, origin: GitOrigin, *options: str, beside: Sequence[str] = ()) -> Head:
        """Fetch from the first address that answers, beginning with the one that did so last."""
        urls, failures = self._repository.urls, []
        for turn in range(len(urls)):
            at = (self._next_url + turn) % len(urls)
            try:
                # A mirror may be behind with what is beside it.
                done, head = await self._fetched_from(urls[at], path, origin, options, beside if at == 0 else ())
            except TimeoutError:
                failures.append(
                    (
                        "time-out",
                        f"{failure_of('timed out', urls[at])[1]} ('timeout' is {self._repository.timeout_s:g} s)",
                    )
                )
                continue
            if done.status == 0 or ("does not make sense" in done.errors and "--unshallow" in options):
                # It does not make sense where the whole history is there already.
                if not head.tag or await self._has(path, reference_of(origin), head.tag_id):
                    self._next_url = at
                    return await self._led_to(path, origin, head)
                sent = f"{host_of(urls[at])} sent another object as tag {head.tag} than it had listed"
                failures.append(("other", sent))
                continue
            if is_missing_ref(done.errors):
                raise _missing(origin)
            if "cannot run git" in done.errors:
                raise CannotFetch("no-git", "there is no git program on this host: install git")
            failures.append(failure_of(done.errors, urls[at]))
        self._next_url = 0
        code: Why = failures[0][0]  # type: ignore[assignment]
        raise CannotFetch(code, "; ".join(dict.fromkeys(sentence for _, sentence in failures)))

    async def _fetched_from(
        self, url: str, path: Path, origin: GitOrigin, options: Sequence[str], beside: Sequence[str]
    ) -> tuple[Finished, Head]:
        """Fetch from one address; return how that ended, and what was fetched: of a branch, nothing is known before."""
        head, source = Head(commit=origin.commit), origin.commit or f"refs/heads/{origin.branch}"
        if origin.tags:
            listed = await self._git.tags(path, self._repository, url, origin.tags)
            if listed.status != 0:
                return listed, head
            objects = _tags_of(listed.output)
            tag = newest(objects, origin.tags)
            if tag is None:
                raise _missing(origin)
            head, source = Head(commit="", tag=tag, tag_id=objects[tag]), f"refs/tags/{tag}"
        known = head.commit or head.tag_id
        if known and not options and await self._has(path, reference_of(origin), known):
            return Finished(status=0, output=b"", errors=""), replace(head, was_asked=bool(origin.tags))
        refspecs = (f"+{source}:{reference_of(origin)}",)
        if beside and not self._takes_too_long_beside:
            self._takes_too_long_beside = True  # unless it ends: the next look then asks for less
            done = await self._git.fetch(path, self._repository, url, (*refspecs, *beside), "--prune", *options)
            self._takes_too_long_beside = False
            if done.status == 0 or not is_of_content(done.errors, url):
                return done, replace(head, has_beside=done.status == 0)
            await asyncio.to_thread(self._clean)
        self._takes_too_long_beside = False
        done = await self._git.fetch(path, self._repository, url, refspecs, *options)
        if done.status != 0 and origin.commit and gives_no_ids(done.errors):
            return await self._searched(url, path, origin), head
        return done, head

    async def _searched(self, url: str, path: Path, origin: GitOrigin) -> Finished:
        """Fetch every branch and tag of an address that gives out no commit by its id, and look for it there."""
        ref = reference_of(origin)
        found = (f"+refs/heads/*:{ref}-in/heads/*", f"+refs/tags/*:{ref}-in/tags/*")
        done = await self._git.fetch(path, self._repository, url, found, "--prune")
        if done.status == 0 and (await self._run("cat-file", "-e", f"{origin.commit}^{{commit}}", at=path)).status != 0:
            raise _missing(origin)
        return done if done.status != 0 else await self._run("update-ref", ref, origin.commit, at=path)

    async def _has(self, path: Path, ref: str, object_id: str) -> bool:
        """Return whether a reference leads to an object that is there."""
        found = await self._run("rev-parse", "--verify", "--quiet", ref, at=path)
        is_it = found.status == 0 and found.output.decode(errors="replace").strip() == object_id
        return is_it and (await self._run("cat-file", "-e", object_id, at=path)).status == 0

    async def _led_to(self, path: Path, origin: GitOrigin, head: Head) -> Head:
        """Return what was fetched, with its commit and the subject of that."""
        ref = f"{reference_of(origin)}^{{commit}}"
        done = await self._run("rev-list", "--max-count=1", "--header", "--end-of-options", ref, at=path)
        commit, _, text = done.output.partition(b"\n")
        found = commit.decode(errors="replace")
        if done.status != 0 or not OBJECT_ID.fullmatch(found):
            raise BranchMissing(f"{head.tag or origin.followed} leads to no commit")
        self._fetched_last = found
        return replace(head, commit=found, subject=commit_of(found, text).subject)

    async def distance(self, since: str, commit: str) -> int | None:
        """Return how many commits are reachable from one and not from another, None if that is not known here."""
        if since == commit:
            return 0
        try:
            done = await self._run("rev-list", "--count", commit, f"^{since}")
        except (TooLarge, OSError, TimeoutError):
            return None
        return int(done.output) if done.status == 0 and done.output.strip().isdigit() else None

    def size(self) -> int:
        """Return the bytes of what was fetched. Blocks."""
        return _size(self.path)

    def is_too_large(self) -> bool:
        """Return whether the store has more than twice the size that it had when it was made. Blocks."""
        try:
            fresh = int((self.path / "fresh-size").read_text())
        except (OSError, ValueError):
            return False
        return _size(self.path) > 2 * fresh + _SLACK


def _missing(origin: GitOrigin) -> BranchMissing:
    if origin.branch:
        return BranchMissing(f"the repository has no branch '{origin.branch}'")
    return BranchMissing(f"the repository has no {f'tag like {origin.tags}' if origin.tags else origin.followed}")


def _tags_of(listing: bytes) -> dict[str, str]:
    """Return the objects of tags by the tags' names, as `ls-remote` lists them."""
    lines = (line.partition("\t") for line in listing.decode(errors="replace").split("\n"))
    return {ref.removeprefix("refs/tags/"): object_id for object_id, _, ref in lines if OBJECT_ID.fullmatch(object_id)}


def reference_of(origin: GitOrigin) -> str:
    """Return the reference of a store that holds what an origin leads to."""
    return f"refs/reconciler/{origin.name}/head"


def _interrupted(store: Path) -> Iterator[Path]:
    """Yield the locks and the incomplete packs in a store that no process is using."""
    for directory, _, names in os.walk(store):
        for name in names:
            if name.endswith(".lock") or name.startswith("tmp_"):
                yield Path(directory, name)


def _size(directory: Path) -> int:
    total = 0
    for above, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(Path(above, name)).st_size
    return total
