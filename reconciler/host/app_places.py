"""The place of each app's instances, for what else runs there: processes, tasks, release commands.

Whatever of an app is not web runs the revision that its web serves, with the same code, directories and secrets.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import field, replace
from pathlib import Path

from reconciler.host.builds import AppBuilds
from reconciler.host.process_verdicts import ProcessVerdicts
from reconciler.host.secret_source import SecretSource
from reconciler.isolation.cells import Cells
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App, AskedState
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Revision
from reconciler.planning.processes.process import Process
from reconciler.planning.schedules.schedule import NO_VARIABLES, Schedule
from reconciler.serving.confinements import Confinements
from reconciler.serving.instances import Instances
from reconciler.serving.marks import Identity
from reconciler.serving.programs.gunicorn import Code, InjectedEnv, InstancePaths, environment, without_listener
from reconciler.serving.sandbox import Sandbox
from reconciler.state.paths import StatePaths
from reconciler.state.revision_history import RevisionHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a program of a revision runs: its code, its directories, its rights, and what it is supplied with.

    `own` are variables of this program besides those of its app. `confinements` say what an isolated one sees.
    """

    revision: Revision
    code: Code
    paths: InstancePaths
    sandbox: Sandbox
    given: InjectedEnv = field(repr=False)
    own: Mapping[str, str] = field(default_factory=lambda: NO_VARIABLES, repr=False)
    confinements: Confinements | None = None

    @property
    def logs(self) -> Path:
        """The directory of the app's logs."""
        return self.paths.log.parent

    def environment(self, identity: Identity, *, listens: bool = False) -> dict[str, str]:
        """Return the variables of a program that has this identity; without a listener, none that names an address."""
        variables = environment(self.revision, self.code, self.paths, identity, self.given)
        variables = variables if listens else without_listener(variables, self.revision)
        marks = identity.marks(self.revision.app, self.revision.id) if self.own else NO_VARIABLES
        return {**self.sandbox.environment, **variables, **self.own, **marks}

    def confined(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        builds: bool = False,
        cells: tuple[str, ...] = (),
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return a command and its variables as they run here: confined as an instance is, if the app is isolated.

        One that `builds` may write in its build. It enters `cells` first.
        """
        if self.confinements is None:
            return tuple(words), dict(environment)
        return self.confinements.around(
            words, environment, self.revision, self.code, self.paths, builds=builds, cells=cells
        )


class AppPlaces:
    """The place of each app's instances, and the revision that whatever is not web is to run.

    `verdicts` are what the processes that run there say of their revision; `prepared` returns the revision that waits
    for the first connection of an app, None if none does. `taking_over` returns the context in which an instance of a
    revision is started.
    """

    def __init__(
        self,
        paths: StatePaths,
        history: RevisionHistory,
        builds: AppBuilds,
        instances: Instances,
        secret_source: SecretSource,
    ) -> None:
        self.prepared: Callable[[str], Revision | None] = lambda _: None
        self.taking_over: Callable[[Revision], AbstractAsyncContextManager[None]] = lambda _: nullcontext()
        self._paths = paths
        self._history = history
        self._builds = builds
        self._instances = instances
        self._secret_source = secret_source
        self.verdicts = ProcessVerdicts()

    @property
    def cells(self) -> Cells:
        """The cells of whatever runs there."""
        return self._instances.cells

    def instances(self, app: str) -> tuple[Instance, ...]:
        """Return the instances of an app."""
        return self._instances.of(app)

    def revision(self, app: str) -> Revision | None:
        """Return the revision that serves, or served last where none does now; None before the first.

        Of two that serve, it is the one that became ready last: it takes over, and may still be on probation. The app
        may be sleeping, or failing: what is not web runs on.
        """
        history = self._history.of(app)
        serving = (history.started_as(instance.revision) for instance in self._serving(app))
        before = history.started_as(history.restarts.revision), *history.known_good[:1]
        known = (revision for revision in (*serving, *before) if revision is not None)
        return next((revision for revision in known if revision.build.id in self._builds.of(app)), None)

    def _serving(self, app: str) -> list[Instance]:
        """Return what serves, the newest first, without a revision that is only tried."""
        canary, serving = self._history.of(app).canary, _newest_first(self._instances.of(app))
        return serving if canary is None else [i for i in serving if not canary.is_tried(i.revision)]

    def revision_of_tasks(self, app: str) -> Revision | None:
        """Return the revision that tasks run: of a sleeping app that has never served, the one that waits to serve."""
        return self.revision(app) or self.prepared(app)

    def state(self, app: App) -> AskedState:
        """Return the state that is asked of an app: by an operator, as long as that holds, or by its manifest."""
        override = self._history.of(app.name).override
        if override is None or override.kind == "rolled back" or override.holds_for != app.fingerprint:
            return app.state
        return override.kind

    def startable(self, app: str) -> tuple[Revision, ...]:
        """Return the revisions whose builds are on this host: the one that serves, then those known to be good."""
        serving = self.revision(app)
        known = ((serving,) if serving is not None else ()) + self._history.of(app).known_good
        builds = self._builds.of(app)
        return tuple({revision.id: revision for revision in known if revision.build.id in builds}.values())

    def process_lines(self, revision: Revision) -> dict[str, str]:
        """Return the lines of its Procfile from which processes may be made, by name. Raises StagingError."""
        from reconciler.staging.detection.procfile import read_procfile  # adopting what runs does not need it

        procfile = read_procfile(self._paths.builds(revision.app) / revision.build.id / "code")
        return {} if procfile is None else procfile.other_lines()

    def of(self, revision: Revision, code: Code | None = None) -> Place:
        """Return the place of a revision whose build is finished, its directories and files made.

        From here on its credentials are in use. Raises CannotStart, or OSError if a directory cannot be made.
        """
        code = code or self._builds.code(revision.app, revision.build)
        paths, sandbox = InstancePaths.of(self._paths, revision.app), self._instances.sandbox_of(revision.app)
        return self._made(revision, code, paths, sandbox)

    def in_foreground(self, revision: Revision, directory: Path) -> Place:
        """Return the same for a program that this process is about to become, with its files in a directory."""
        code = self._builds.code(revision.app, revision.build)
        of_app = InstancePaths.of(self._paths, revision.app)
        paths = replace(
            of_app,
            revisions=directory / "revisions",
            readiness=directory / "passed",
            wakeup_file=directory / "wakeup",
            foreground=True,
        )
        return self._made(revision, code, paths, self._instances.sandbox_of(revision.app))

    def _made(self, revision: Revision, code: Code, paths: InstancePaths, sandbox: Sandbox) -> Place:
        paths.create(sandbox)
        given = self._secret_source.injected(revision, paths.revisions / revision.id)
        return Place(
            revision=revision,
            code=code,
            paths=paths,
            sandbox=sandbox,
            given=given,
            confinements=self._instances.confinements,
        )

    def variables_of(
        self, app: str, part: Process | Schedule
    ) -> tuple[Mapping[str, str], tuple[str, ...], tuple[str, ...]]:
        """Return the ids of what a process or a schedule takes from its own files, what is missing, and what is old."""
        return self._secret_source.of_part(app, part)

    def values_of(self, ids: Mapping[str, str]) -> dict[str, str]:
        """Return those variables from the ids of their values. Raises CannotStart."""
        return self._secret_source.values_of(ids) if ids else {}

    def surroundings(self, place: Place) -> dict[str, str]:
        """Return the environment of an instance, for a command that runs in its place; marked, and on no record."""
        return place.environment(self._instances.new_identity(), listens=True)


def _newest_first(instances: tuple[Instance, ...]) -> list[Instance]:
    return sorted((i for i in instances if i.serves), key=lambda i: i.ready_at or 0.0, reverse=True)
