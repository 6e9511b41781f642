"""Follow what apps take their sources from in repositories: each branch, tag and commit once, however many apps do.

A commit that leaves the directory of an app alone does not concern that app.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.daemon.outcomes import Outcomes
from reconciler.manifests.git.commit_signatures import CommitSignatures
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.source_judge import TakenSources
from reconciler.manifests.git.source_origin import paths_by_source, source_origin
from reconciler.manifests.git.source_trees import SourceTrees
from reconciler.manifests.git.telling import Telling
from reconciler.manifests.sources_in_git import SourceInForce
from reconciler.metrics.origin_figures import OriginFigures
from reconciler.planning.apps.app import App
from reconciler.planning.apps.git_source import Followed, GitSource
from reconciler.planning.apps.revision import TREE_MARK
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.origins.commit_status import CommitStatus
from reconciler.planning.origins.plan import short
from reconciler.planning.origins.proof import OriginApp, Wanted, wanted
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal

# Of a source that is not here: these are over only once something is mended.
_FAILING = frozenset(("refused", "rewound", "missing", "unreachable", "stale", "held"))
_FETCHES_AT_ONCE = 4


class GitSources:
    """The sources in repositories of this host's apps, `followers` by the name of what is followed.

    `publish` is called with the facts about one, None once it is followed no more; `read` returns an app by its row.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        settings: Settings,
        journal: Journal,
        manifests: ManifestLoop,
        outcomes: Outcomes,
        *,
        publish: Callable[[str, Mapping[str, Any] | None], None],
        read: Callable[[Mapping[str, Any]], OriginApp],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._manifests = manifests
        self._outcomes = outcomes
        self._publish = publish
        self._read = read
        self._git = GitProgram(settings.paths.git, fetches_at_once=_FETCHES_AT_ONCE)
        self._directories: dict[str, Directories] = {}
        self._trees: dict[str, SourceTrees] = {}
        self._followed: dict[str, Followed] = {}
        self._tasks: StandingTasks | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, tuple[str, str]] = {}
        self._in_force: Mapping[str, SourceInForce] = {}
        self._changed = asyncio.Event()
        self.followers: dict[str, Follower] = {}
        self.figures: dict[str, OriginFigures] = {}

    def begin(self, tasks: StandingTasks) -> None:
        """Follow what apps take their sources from, as soon as the manifests were looked at."""
        self._tasks = tasks
        tasks.keep("follow the sources in git", self._run)
        for name in self.followers:
            self._start(name)

    def follow(self, desired: DesiredState) -> None:
        """Learn which directories apps take, and follow exactly what these are in."""
        wanted = {
            followed.name: (followed, tuple(paths))
            for followed, paths in paths_by_source(desired.apps.values()).items()
            if followed.repository in self._settings.repositories
        }
        for name in self.followers.keys() - wanted.keys():
            self._drop(name)
        for name, (followed, paths) in wanted.items():
            self._follow(name, followed, paths)

    def _follow(self, name: str, followed: Followed, paths: tuple[str, ...]) -> None:
        if name not in self.followers:
            self._trees[name] = trees = self._trees_of(name, followed.repository)
            trees.paths = paths
            self._followed[name] = followed
            self.followers[name] = self._follower(name, followed, trees)
            self._start(name)
        elif self._trees[name].paths != paths:
            self._trees[name].paths = paths
            self.followers[name].wake()
            self._changed.set()

    def _trees_of(self, name: str, repository: str) -> SourceTrees:
        paths = self._settings.paths
        shared = self._directories.setdefault(repository, Directories(paths.source(repository)))
        return SourceTrees(paths.source(name), shared)

    def _follower(self, name: str, followed: Followed, trees: SourceTrees) -> Follower:
        repository = self._settings.repositories[followed.repository]
        origin = source_origin(followed, repository, self._settings.git_host, self._settings.origins)
        return Follower(
            origin,
            self._settings.paths,
            self._git,
            signatures=CommitSignatures(origin.repository, trees.directory),
            in_force=TakenSources(trees),
            telling=Telling(self._journal, self._on_facts, self.figures.setdefault(name, OriginFigures()), _untold),
            changed=self._changed.set,
            apps=self,
        )

    def _start(self, name: str) -> None:
        if self._tasks is not None:
            run = self.followers[name].run
            self._running[name] = self._tasks.keep(f"follow the source {name}", run)

    def _drop(self, name: str) -> None:
        del self.followers[name], self._followed[name], self._trees[name]
        self._states.pop(name, None)
        self.figures.pop(name, None)
        if (running := self._running.pop(name, None)) is not None:
            running.cancel()
        self._publish(name, None)

    def _on_facts(self, name: str, facts: dict[str, Any]) -> None:
        if name not in self.followers:
            return  # followed no more
        self._states[name] = (facts["state"], facts["message"])
        self._publish(name, {**facts, "paths": [*self._trees[name].paths]})
        self._changed.set()

    async def _run(self) -> None:
        """Tell the manifests of each change of what is in force."""
        while True:
            await self._resolve()
            await self._changed.wait()

    async def once(self) -> None:
        """Fetch everything that is followed once, and put in force what is accepted."""
        for follower in tuple(self.followers.values()):
            await follower.once()
        await self._resolve()

    async def _resolve(self) -> None:
        self._changed.clear()
        trees = dict(self._trees)
        found = await asyncio.to_thread(lambda: {name: each.resolved() for name, each in trees.items()})
        found = {name: self._explained(name, each) for name, each in found.items() if name in self.followers}
        before, self._in_force = self._in_force, found
        if found != before:
            self._tell(before, found)
            self._manifests.take_sources(found)

    def _explained(self, name: str, found: SourceInForce) -> SourceInForce:
        """Say why directories are missing that apps are to take."""
        if found.commit and {*found.trees, *found.problems}.issuperset(self._trees[name].paths):
            return found
        state, message = self._states.get(name, ("pending", ""))
        if state in _FAILING:
            return replace(found, why=f"{self._followed[name].text}: {message}", is_failing=True)
        return replace(found, why=f"{self._followed[name].text} is being fetched")

    def _tell(self, before: Mapping[str, SourceInForce], after: Mapping[str, SourceInForce]) -> None:
        """Write an event of each app whose source is another one with a commit."""
        for app, source in self._taking():
            old, new = before.get(source.followed.name), after.get(source.followed.name)
            if new is None or source.path not in new.trees or new.trees[source.path] == _tree(app, source, old):
                continue
            text = f"its source is that of commit {short(new.commit)} “{new.subject}” of {source.followed.text}"
            self._journal.write(Subject("app", app.name), "source", text, reason=Reason.SOURCE_CHANGED)

    def with_commit(self, name: str, commit: str) -> Sequence[OriginApp] | None:
        """Return the apps whose source is another one than with the good commit; None while that is not known."""
        found = self._in_force.get(name)
        if found is None or found.commit != commit or self._changed.is_set() or not self._manifests.is_current:
            return None
        good = self.followers[name].record.good
        before = self._trees[name].index(good).directories if good is not None else {}
        changed = {path for path, tree in found.trees.items() if before.get(path) != tree}
        apps = [a.name for a, source in self._taking() if source.followed.name == name and source.path in changed]
        return [self._read(row) for row in self._outcomes.of_apps(apps)] if apps else []

    def wanted_with(self, name: str, commit: str) -> Wanted | None:
        """Return the revision that each of these apps wants; None while that is not known."""
        apps = self.with_commit(name, commit)
        return None if apps is None else wanted(apps)

    def _taking(self) -> Iterator[tuple[App, GitSource]]:
        return ((app, app.in_git) for app in self._manifests.catalog.apps.values() if app.in_git is not None)


def _untold(_: CommitStatus | None) -> None:
    """Tell no server of a commit: what is good for the apps of a host says little about the code."""


def _tree(app: App, source: GitSource, old: SourceInForce | None) -> str | None:
    """Return the tree id of an app's source as it was, None if that is not known."""
    if old is not None and source.path in old.trees:
        return old.trees[source.path]
    pinned = app.source.pinned
    return pinned.removeprefix(TREE_MARK) if pinned.startswith(TREE_MARK) else None
