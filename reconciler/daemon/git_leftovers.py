"""Remove what was fetched for origins and sources that nothing names any more, once that has been so for a week.

The time counts while a daemon runs, so that no clock shortens it. What is in use or in force is never removed.
"""

import asyncio
import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path

from reconciler.convergence.ticks import next_tick
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.linux.file_lock import locked
from reconciler.linux.files import is_leftover, remove, replace_file
from reconciler.linux.regular_files import read_record
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.source_trees import SourceTrees
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal
from reconciler.state.records import Records

_EVERY_S = 3600.0
_GRACE = 7 * 24  # of those
_MOST = 1024 * 1024
_LOCKED_S = 1.0


class GitLeftovers:
    """Looks for such leftovers every hour."""

    def __init__(self, settings: Settings, manifests: ManifestLoop, records: Records, journal: Journal) -> None:
        self._settings = settings
        self._manifests = manifests
        self._records = records
        self._journal = journal
        self._paths = settings.paths
        self._shared: dict[str, Directories] = {}

    async def run(self) -> None:
        """Look for them until cancelled, once it is known what the manifests name."""
        await self._manifests.looked.wait()
        while True:
            await next_tick(_EVERY_S)
            with contextlib.suppress(OSError):
                await self.look()

    async def look(self, hours: int = 1) -> tuple[str, ...]:
        """Count the hours, and remove what has been unused for long enough; return its names. Raises OSError."""
        names, paths = self._names_in_use(), self._paths_in_use()
        gone: tuple[str, ...] = ()
        for name in await asyncio.to_thread(self._count, names, paths, hours):
            with contextlib.suppress(TimeoutError):  # a process is using it
                if name not in self._names_in_use():
                    await self._remove(name)
                    gone = (*gone, name)
        await asyncio.to_thread(self._keep_directories, paths)
        if gone:
            text = f"what was fetched for {', '.join(gone)}, which nothing has named for a week"
            self._journal.write(HOST, "removed", text, reason=Reason.OBSOLETE)
        return gone

    def _names_in_use(self) -> frozenset[str]:
        """Return the origins and sources that the settings or the manifests in force name."""
        catalog = self._manifests.catalog
        followed = (app.in_git.followed.name for app in catalog.apps.values() if app.in_git is not None)
        in_force = (entry.origin for entry in catalog.files.values())
        return frozenset((*(origin.name for origin in self._settings.origins), *followed, *in_force))

    def _paths_in_use(self) -> frozenset[str]:
        """Return the paths of the sources that apps have, or had when they were last read."""
        desired = (app.source.path for app in self._manifests.catalog.apps.values())
        return frozenset((*desired, *(source.path for source, _ in self._records.sources().values())))

    def _count(self, names: frozenset[str], paths: Collection[str], hours: int) -> tuple[str, ...]:
        """Write down for how many hours each has been unused, and return those for which that is over. Blocks."""
        file = self._paths.git / "unused.json"
        before: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            before = {str(name): int(count) for name, count in read_record(file, _MOST).items()}
        found = {
            name: before.get(name, 0) + hours
            for name in sorted(set(self._kept()) - names)
            if not any(path.startswith(f"{self._paths.origin(name)}/") for path in paths)
        }
        if found != before:
            replace_file(file, json.dumps(found))
        return tuple(name for name, count in found.items() if count > _GRACE)

    def _kept(self) -> Iterator[str]:
        """Yield the name of everything of which something is on the disk."""
        for path in _in(self._paths.git):
            if path.suffix == ".git":
                yield path.stem
        yield from (path.name for path in _in(self._paths.origin("x").parent))
        yield from (path.name for path in _in(self._paths.sources) if "@" in path.name)

    async def _remove(self, name: str) -> None:
        store, lock = self._paths.git / f"{name}.git", self._paths.git / f"{name}.lock"
        async with contextlib.AsyncExitStack() as stack:
            if self._paths.git.is_dir():
                async with asyncio.timeout(_LOCKED_S):
                    await stack.enter_async_context(locked(lock, lambda: None))
            directory = self._paths.source(name) if "@" in name else self._paths.origin(name)
            for each in (directory, store):
                await asyncio.to_thread(remove, each)
            lock.unlink(missing_ok=True)

    def _keep_directories(self, paths: Collection[str]) -> None:
        """Remove the directories of repositories that no commit in use has, nor any app. Blocks."""
        found = _in(self._paths.sources)
        for directory in (self._paths.git, self._paths.sources, self._paths.origin("x").parent):
            with contextlib.suppress(FileNotFoundError):
                for path in [each for each in directory.iterdir() if each.name.startswith(".gone-")]:
                    remove(path)
        for each in (path for path in found if "@" not in path.name):
            shared = self._shared.setdefault(each.name, Directories(each))
            followed = [path for path in found if path.name.startswith(f"{each.name}@")]
            used = {tree for path in followed for tree in SourceTrees(path, shared).used()}
            used |= {Path(path).name for path in paths if path.startswith(f"{shared.top}/")}
            shared.keep(used)
            if not followed and not used:
                remove(each)


def _in(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if not is_leftover(path.name)]
    except OSError:
        return []
