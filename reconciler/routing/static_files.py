"""Serve static files of the builds that are alive: which trees each app needs, and what lays them out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from reconciler.linux.processes import boot_id
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Revision
from reconciler.planning.routing.actions import LayFiles
from reconciler.planning.routing.routing import Routing
from reconciler.planning.routing.static_files import directories_of, tree_of
from reconciler.routing.static_trees import StaticTrees, Tree
from reconciler.settings.proxy import Proxy
from reconciler.state.paths import StatePaths

_NONE: Mapping[str, tuple[str, ...]] = {}


class StaticFiles:
    """The static files of all apps; without effect for a proxy that serves none.

    `instances` returns the instances of an app, whose builds have the files.
    """

    def __init__(self, proxy: Proxy, paths: StatePaths) -> None:
        self.instances: Callable[[str], tuple[Instance, ...]] = lambda _: ()
        root = proxy.static_root(paths.proxy)
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
        """Return the trees that the instances of each app need, of the one that was started last first."""
        return {app: found for app in self._routings if (found := tuple(self._trees_of(app)))}

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
        """Lay out the trees of an app. Raises OSError."""
        assert self._trees is not None
        app, known = action.app, self._trees_of(action.app)
        kept = self._trees.of(app)
        trees = [known.get(name) or Tree(name=name, code=kept, directories=()) for name in action.trees]
        await self._trees.lay(app, trees)

    def _trees_of(self, app: str) -> Mapping[str, Tree]:
        if self._trees is None or not self.has(app):
            return {}
        alive = sorted((i for i in self.instances(app) if i.end is None), key=lambda i: i.started_at, reverse=True)
        found = [self._tree(app, instance.revision, instance.build) for instance in alive]
        return {tree.name: tree for tree in (*self._trees.starting(app), *found)}

    def _tree(self, app: str, revision: str, build: str) -> Tree:
        routing = self._routings[app]
        code = self._paths.builds(app) / build / "code"
        return Tree(name=tree_of(revision, routing), code=code, directories=directories_of(routing))
