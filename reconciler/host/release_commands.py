"""The release commands of each app: run once for what they depend on, and recorded for good."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import partial

from reconciler.host.app_places import AppPlaces, Place
from reconciler.host.builds import AppBuilds
from reconciler.host.release_history import ReleaseHistory
from reconciler.host.secret_source import SecretSource
from reconciler.host.stores import Stores
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.actions import Release
from reconciler.planning.apps.code_commands import NO_COMMANDS, CodeCommands
from reconciler.planning.apps.revision import ReleaseOrigin, ReleaseStep, Revision
from reconciler.planning.isolation.remedies import remedy
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.staging.detection.shown_text import quoted
from reconciler.staging.errors import StagingError
from reconciler.staging.progress import Phase

# Heroku's and Cloud Foundry's variable for an app whose static files are not to be collected.
_DISABLED = "DISABLE_COLLECTSTATIC"
_PROCFILE = "the release line of Procfile"
# What an operator may do about a command that the manifest does not hold.
_ADVICE: Mapping[ReleaseOrigin, str] = {
    "Procfile": f"it is {_PROCFILE}, whose place `release` in the manifest would take",
    "static files": f"it is collectstatic, which {_DISABLED}: 1 under `env` turns off",
}
_OFF = frozenset(("", "0", "false", "no"))

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What runs in a build before it serves, with the environment that an instance gets.

    `replaced` is the release line of a Procfile whose place the manifest's command takes.
    """

    steps: tuple[ReleaseStep, ...]
    environment: Mapping[str, str] = field(repr=False)
    replaced: str = ""

    @classmethod
    def of(cls, revision: Revision, commands: Mapping[str, CodeCommands], environment: Mapping[str, str]) -> "Steps":
        """Return the steps of a revision, given the commands that the code of each build asks for."""
        code = commands.get(revision.build.id, NO_COMMANDS)
        steps = revision.release_steps(code)
        if environment.get(_DISABLED, "").lower() not in _OFF:
            steps = tuple(step for step in steps if step.origin != "static files")
        return cls(steps=steps, environment=environment, replaced=code.release if revision.release is not None else "")

    def __str__(self) -> str:
        described = " and ".join(map(_described, self.steps)) or f"no release command, as {_DISABLED} is set,"
        return f"{described}, not {_PROCFILE} ({quoted(self.replaced)})," if self.replaced else described


class AppReleaseCommands:
    """The release commands that were run, by app."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        secret_source: SecretSource,
        builds: AppBuilds,
        places: AppPlaces,
    ) -> None:
        self._settings = settings
        self._secret_source = secret_source
        self._builds = builds
        self._places = places
        self._stores = stores
        self._history = ReleaseHistory(settings.paths, stores)
        self._done: dict[str, frozenset[str]] = stores.records.releases()

    def of(self, name: str) -> frozenset[str]:
        """Return the marks of an app's release commands that were run."""
        return self._done.get(name, _NONE)

    async def run(self, name: str, action: Release, progress: Callable[[Phase], None]) -> None:
        """Run the steps of a release to their end, and record that. Raises StagingError when one fails."""
        revision = action.revision
        place = self._places.of(revision)
        environment = self._places.surroundings(place)
        release = Steps.of(revision, self._builds.commands(name), environment)
        record, build = self._stores.record_event, revision.build.id
        record(name, "releasing", f"running {release} of build {build}", action.cause, action.reason)
        if place.confinements is not None:
            await place.confinements.ready(place.revision.isolation)
        await self._run(action, release, place, progress)
        try:
            with self._stores.records.lasting():
                self._stores.records.add_release(name, action.release)
        except sqlite3.Error:  # it was run, and a full disk does not make it run again
            self._stores.records.add_release(name, action.release)
        self._done[name] = self.of(name) | {action.release}
        record(name, "released", f"{release} of build {build} succeeded", action.cause, action.reason)

    async def _run(self, action: Release, release: Steps, place: Place, progress: Callable[[Phase], None]) -> None:
        from reconciler.staging.release import ReleaseCommand, run_release  # adopting runs none

        name, timeout_s = action.revision.app, self._settings.staging_timeout_s
        redact = partial(self._stores.journal.redacted, Subject("app", name))
        for step in release.steps:
            try:
                with self._history.recorded(name, action, step, timeout_s) as own_log:
                    command = ReleaseCommand(
                        app=name,
                        command=step.command,
                        directory=place.code.directory,
                        environment=release.environment,
                        log=self._settings.paths.log(name, "staging"),
                        own_log=own_log,
                        timeout_s=timeout_s,
                        confined=partial(place.confined, builds=True),
                    )
                    await run_release(command, progress, redact)
            except StagingError as error:
                # A service may be down without that being noticed yet.
                self._secret_source.doubt(name)
                isolation = action.revision.isolation
                helps = remedy(str(error), listed=isolation.connects == "listed") if isolation else ""
                advice = "; ".join(filter(None, (helps, _ADVICE.get(step.origin))))
                if not advice:
                    raise
                raise StagingError(f"{error}; {advice}") from error

    def forget(self, name: str) -> None:
        """Forget the release commands of an app that was removed."""
        self._done.pop(name, None)


def _described(step: ReleaseStep) -> str:
    match step.origin:
        case "manifest":
            return "the release command"
        case "Procfile":
            return f"{_PROCFILE} ({quoted(step.command)})"
        case "static files":
            return quoted(step.command)
