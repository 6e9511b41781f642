"""Serve static files of the builds that are alive: which trees each app needs, and what lays them out."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from reconciler.linux.process_identity import boot_id
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Revision
from reconciler.planning.routing.actions import LayFiles
from reconciler.planning.routing.routing import Routing
from reconciler.planning.routing.static_files import directories_of, tree_of
from reconciler.routing.static_trees import StaticTrees, Tree
from reconciler.settings.proxy import Proxy
from reconciler.state.paths import StatePaths
from reconciler.state.schema import state_id

if TYPE_CHECKING:  # most hosts have no canary
    from reconciler.planning.canary.canary import Split

_NONE: Mapping[str, tuple[str, ...]] = {}
_NO_TIMES: Mapping[str, Mapping[str, float]] = {}
# How long pages are at work in browsers that name files of a revision which no client gets any more.
_KEPT_S = 3600.0


class StaticFiles:
    """The static files of all apps; without effect for a proxy that serves none.

    `instances` returns the instances of an app, whose builds have the files; `served` the revision that serves, or is
    the next to serve where none does. `trial` is the canary of an app: while clients get pages of two revisions,
    whatever is laid out stays, and the files of the one that is tried come after the other's.
    """

    def __init__(self, proxy: Proxy, paths: StatePaths) -> None:
        self.instances: Callable[[str], tuple[Instance, ...]] = lambda _: ()
        self.served: Callable[[str], Revision | None] = lambda _: None
        self.trial: Callable[[str], Split | None] = lambda _: None
        root = proxy.static_root(paths.proxy, lambda: state_id(paths.state))
        self._paths = paths
        self._trees = None if root is None else StaticTrees(root, boot_id())
        self._routings: Mapping[str, Routing] = {}
        self._looked: tuple[object, object] = (None, None)  # what was looked at last, held so that none is taken for it
        self._lacking: Mapping[str, str] = {}

    def follow(self, routings: Mapping[str, Routing]) -> None:
        """Learn which apps have domains, and so may have static files."""
        self._routings = routings if self._trees is not None else {}

    @property
    def laid(self) -> Mapping[str, tuple[str, ...]]:
        """The trees that clients are served from, by app."""
        return _NONE if self._trees is None else self._trees.laid

    def alive(self) -> Mapping[str, tuple[str, ...]]:
        """Return the trees that each app needs, of the instance that took over last first; of one that sleeps, too."""
        found = {app: tuple(self._trees_of(app)) for app in self._routings}
        return {app: (*trees, *self._laid_while_tried(app)) for app, trees in found.items() if trees}

    def _laid_while_tried(self, app: str) -> tuple[str, ...]:
        split = self.trial(app)
        return self.laid.get(app, ()) if split is not None and split.has_clients else ()

    @property
    def kept(self) -> Mapping[str, Mapping[str, float]]:
        """The trees that stay although no instance needs them, by app, each with its end in monotonic seconds."""
        return _NO_TIMES if self._trees is None else self._trees.kept

    async def keep(self, app: str) -> None:
        """Keep what is laid out of an app for an hour, whatever serves then; a full disk costs that alone."""
        if self._trees is not None and self.has(app):
            await self._trees.keep(app, time.monotonic() + _KEPT_S)

    @property
    def lacking(self) -> Mapping[str, str]:
        """Say of an app which directories its newest build does not have."""
        routings, laid = self._routings, self.laid
        if self._looked[0] is not routings or self._looked[1] is not laid:
            self._looked = routings, laid
            self._lacking = dict(self._lacks())
        return self._lacking

    def _lacks(self) -> Iterator[tuple[str, str]]:
        for app, routing in self._routings.items():
            laid = self.laid.get(app, ())
            # What is laid out for another mapping, of an app that sleeps, has nothing to say about this one.
            is_todays = bool(laid) and laid[0].endswith(tree_of("", routing))
            if is_todays and self._trees is not None and (lacks := self._trees.lacks(app, directories_of(routing))):
                yield app, lacks

    def directory_of(self, app: str, routing: Routing) -> str:
        """Return the directory of an app's trees, "" for an app without static files."""
        return str(self._trees.of(app)) if self._trees is not None and routing.static else ""

    def has(self, app: str) -> bool:
        """Return whether an app has static files."""
        return app in self._routings and bool(self._routings[app].static)

    def ahead_of(self, revision: Revision) -> AbstractAsyncContextManager[None]:
        """Return the context in which an instance of a revision is started: its static files are there before it."""
        if self._trees is None or not self.has(revision.app):
            return nullcontext()
        return self._trees.ahead_of(revision.app, self._tree(revision.app, revision.id, revision.build.id))

    async def lay(self, action: LayFiles) -> None:
        """Lay out the trees of all apps of an action at once. Raises the first OSError; the others go on."""
        await asyncio.gather(*(self._lay(app, names) for app, names in action.apps))

    async def _lay(self, app: str, names: Sequence[str]) -> None:
        assert self._trees is not None
        known, kept = self._trees_of(app), self._trees.of(app)
        await self._trees.lay(app, [known.get(name) or Tree(name=name, code=kept, directories=()) for name in names])

    def _trees_of(self, app: str) -> Mapping[str, Tree]:
        """Return the trees of an app by name. One that has not passed its gate comes after the one that serves."""
        if self._trees is None or not self.has(app):
            return {}
        alive = sorted(
            (each for each in self.instances(app) if each.end is None),
            key=lambda each: (each.stopping_since is None, each.started_at),
            reverse=True,
        )
        split = self.trial(app)
        if split is not None:
            alive.sort(key=lambda each: split.is_tried(each.revision))
        serving = [self._tree(app, each.revision, each.build) for each in alive if each.serves]
        coming = [self._tree(app, each.revision, each.build) for each in alive if not each.serves]
        if not serving and (served := self.served(app)) is not None:
            serving = [self._tree(app, served.id, served.build.id)]
        found = (*serving[:1], *self._trees.starting(app), *coming, *serving[1:])
        return {tree.name: tree for tree in found}

    def _tree(self, app: str, revision: str, build: str) -> Tree:
        routing = self._routings[app]
        code = self._paths.builds(app) / build / "code"
        return Tree(name=tree_of(revision, routing), code=code, directories=directories_of(routing))
