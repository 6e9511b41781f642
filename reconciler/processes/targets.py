"""Find out what a process is to run: its command, in the build and the environment of the revision that serves."""

from reconciler.host.app_places import AppPlaces
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.revision import Revision
from reconciler.planning.command_line import Command, NoCommand, command_of
from reconciler.planning.fingerprint import canonical, fingerprint
from reconciler.planning.processes.process import Process, Target
from reconciler.staging.errors import StagingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a process is to run, None if that is not known, and why it is not although its app has served.

    `lacking` says which variables from files of its own there are not, `stale` which are there but not the newest.
    """

    target: Target | None = None
    trouble: str = ""
    lacking: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


class Targets:
    """What the processes of each app are to run."""

    def __init__(self, places: AppPlaces) -> None:
        self._places = places
        self._inputs: dict[str, tuple[Revision, str]] = {}
        self._lines: dict[str, tuple[str, dict[str, Command | str]]] = {}

    def of(self, app: str, process: Process) -> Found:
        """Return what a process is to run now; cheap."""
        revision = self._places.revision(app)
        if revision is None:
            return Found()
        command = process.command or self._line(revision, process.name)
        if command is None:
            return Found(trouble=f'the Procfile has no line "{process.name}", and its manifest no command for it')
        if isinstance(command, str):
            return Found(trouble=f'the line "{process.name}" of the Procfile {command}')
        secrets, lacking, stale = self._places.variables_of(app, process) if process.env_files else ({}, (), ())
        if lacking:
            return Found(lacking=lacking)
        target = Target(
            revision=revision.id,
            build=revision.build.id,
            inputs=self._inputs_of(app, revision),
            command=command,
            secrets=secrets,
        )
        return Found(target=target, stale=stale)

    def revision(self, app: str, wanted: str) -> Revision | None:
        """Return the revision of a target, None if another one serves by now."""
        revision = self._places.revision(app)
        return revision if revision is not None and revision.id == wanted else None

    def forget(self, app: str) -> None:
        """Forget an app."""
        self._inputs.pop(app, None)
        self._lines.pop(app, None)

    def _line(self, revision: Revision, name: str) -> Command | str | None:
        """Return the command of a line of the Procfile, why it cannot be one, or None if there is no such line."""
        lines = self._lines.get(revision.app)
        if lines is None or lines[0] != revision.build.id:
            try:
                found = {name: _command(line) for name, line in self._places.process_lines(revision).items()}
            except StagingError as error:
                return f"cannot be read: {error}"
            lines = self._lines[revision.app] = revision.build.id, found
        return lines[1].get(name)

    def _inputs_of(self, app: str, revision: Revision) -> str:
        """Return a fingerprint of what of a revision makes a difference to what is not web."""
        known = self._inputs.get(app)
        if known is None or known[0] is not revision:
            known = self._inputs[app] = revision, inputs_of(revision)
        return known[1]


def inputs_of(revision: Revision) -> str:
    """Return a fingerprint of all of a revision that makes a difference to what is not web."""
    return fingerprint(canonical((revision.build.id, revision.env, revision.bindings, revision.env_secrets)))


def _command(line: str) -> Command | str:
    try:
        return command_of(line)
    except NoCommand as error:
        return str(error)
