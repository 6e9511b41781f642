"""Read from what was fetched by what a host decides: fleet.yaml of a commit, and the commits that are new."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from reconciler.documents.problem import Problem
from reconciler.documents.text import LARGEST_MANIFEST, too_large
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.fleet_file import FILE, fleet_of, is_fleet
from reconciler.manifests.git.objects import DamagedStore, Objects
from reconciler.planning.fleet.fleet import Fleet
from reconciler.planning.fleet.gate import descending
from reconciler.planning.origins.trailers import URGENT, urgency
from reconciler.settings.git import GitOrigin

_ENTRY = re.compile(rb"(?:^|\0)([0-7]{6}) \w+ ([0-9a-f]+) +([0-9-]+)\t%s\0" % re.escape(FILE.encode()))
_MOST = 20_000
_SPLIT = "that is room for some 2,300 hosts with keys: have several fleets, each with a branch of its own"
_MOST_URGENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The commits of the head that are not in force, the newest first, with the parents of each.

    `new` are those of them that the one in force may be followed by, and `urgent` those that say so of themselves.
    """

    order: Sequence[str] = ()
    graph: Mapping[str, Sequence[str]] = field(default_factory=dict)
    new: Sequence[str] = ()
    urgent: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether these are all of them: a longer history ends at its newest ones."""
        return len(self.order) < _MOST


class FleetReader:
    """Reads the store of an origin. The fleet of a few commits is kept, as it does not change.

    `may_be_urgent` is asked of each commit that says of itself that it is, if not every signer has the right to.
    """

    def __init__(self, origin: GitOrigin, store: Objects) -> None:
        self._store = store
        self.may_be_urgent: Callable[[str], Awaitable[bool]] | None = None
        self._file = f"{origin.name}/{FILE}"
        self._has_manifests_at_top = "" in origin.paths
        self._fleets: dict[str, Fleet | list[Problem] | None] = {}

    async def fleet(self, commit: str, listing: bytes | None = None) -> Fleet | list[Problem] | None:
        """Return the fleet of a commit, None if it has none, or what is wrong with its file.

        `listing` is that of the commit's files with their sizes, if it is there.

        Raises DamagedStore, OSError, TimeoutError.
        """
        if commit not in self._fleets:
            self._fleets = dict([*self._fleets.items(), (commit, await self._fleet(commit, listing))][-4:])
        return self._fleets[commit]

    async def fleet_as_of(self, commit: str, before: str) -> None:
        """Note that a commit has the file of another commit. Raises DamagedStore, OSError, TimeoutError."""
        if commit not in self._fleets:
            fleet = await self.fleet(before)
            self._fleets = dict([*self._fleets.items(), (commit, fleet)][-4:])

    async def _fleet(self, commit: str, listing: bytes | None) -> Fleet | list[Problem] | None:
        if listing is None:
            listed = await self._store.run("ls-tree", "-lz", "--full-tree", commit, "--", FILE)
            if listed.status != 0:
                raise DamagedStore(f"{FILE} of commit {commit[:7]} cannot be read")
            listing = listed.output
        found = _ENTRY.search(listing)
        if found is None:
            return None
        mode, object_id, size = found[1].decode(), found[2].decode(), found[3].decode()
        if not mode.startswith("100"):
            return [Problem(file=self._file, line=1, column=1, path="", message="is no file")]
        if not size.isdigit() or int(size) > LARGEST_MANIFEST:
            message = f"{too_large(int(size)) if size.isdigit() else 'was not fetched'}; {_SPLIT}"
            return [Problem(file=self._file, line=1, column=1, path="", message=message)]
        content = (await self._store.run("cat-file", "blob", object_id)).output
        return await asyncio.to_thread(self._parsed, content)

    def _parsed(self, content: bytes) -> Fleet | list[Problem] | None:
        if self._has_manifests_at_top and not is_fleet(content):
            return None  # a manifest of that name
        return fleet_of(self._file, content)

    async def history(self, head: str, in_force: str | None) -> History | None:
        """Return the history of a head since the commit in force, None if it does not descend from that.

        Raises DamagedStore, OSError, TimeoutError.
        """
        if in_force is not None and not await self._store.descends(head, in_force):
            return None
        since = [] if in_force is None else [f"^{in_force}"]
        limit = f"--max-count={_MOST}"
        done = await self._store.run("rev-list", "--topo-order", "--parents", limit, head, *since)
        lines = [line.split() for line in done.output.decode().splitlines()]
        if done.status != 0:
            raise DamagedStore(f"the commits since {head[:7]} cannot be read")
        order, graph = [each[0] for each in lines], {each[0]: each[1:] for each in lines}
        new = descending(graph, order, in_force)
        return History(order=order, graph=graph, new=new, urgent=await self._urgent(head, since, new))

    async def _urgent(self, head: str, since: Sequence[str], new: Sequence[str]) -> frozenset[str]:
        form = (
            "--no-show-signature",
            "-z",
            "--format=%H%n%B",
            "-i",
            f"--grep=^{URGENT}:",
            f"--max-count={_MOST_URGENT}",
        )
        done = await self._store.run("log", *form, head, *since)
        found = set()
        for entry in done.output.decode(errors="replace").split("\0"):
            commit, _, message = entry.partition("\n")
            if urgency(message):
                found.add(commit)
        urgent = found.intersection(new)
        if self.may_be_urgent is not None:
            urgent = {commit for commit in urgent if await self.may_be_urgent(commit)}
        return frozenset(urgent)
