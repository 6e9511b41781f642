"""Build what a program that serves by itself needs: run its build command once in the copied code, and find it."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from reconciler.isolation.pythons import pythons_below
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.code_commands import CodeCommands
from reconciler.planning.apps.command_words import OWN_COMMANDS
from reconciler.staging.build_cell import BuildCell, seen_by_installers
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.programs.languages import SEARCHED, how_to_install
from reconciler.staging.detection.programs.program import ServingProgram
from reconciler.staging.environments.installer_env import clean_environment, variables
from reconciler.staging.errors import CommandFailed, StagingError
from reconciler.staging.log import Log
from reconciler.staging.progress import Progress
from reconciler.staging.staged import Staged

_PASSED_ON = ("npm_config_", "NPM_CONFIG_", "BUNDLE_", "GEM_", "COMPOSER_", "GO", "MAVEN_", "NODE_EXTRA_CA_CERTS")
_DEFAULTS: Mapping[str, str] = {
    "BUNDLE_PATH": "vendor/bundle",
    "COMPOSER_ALLOW_SUPERUSER": "1",
    "GOFLAGS": "-buildvcs=false",
    "GOTOOLCHAIN": "local",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramBuild:
    """What a program is built with: `scripts` is the directory of the environment's commands, "" without Python.

    `home` is where tools keep what they have fetched, `environment` the variables that say where packages come from.
    An isolated app is built in its `cell`.
    """

    code: Path
    scripts: str
    home: Path
    environment: Mapping[str, str] = field(repr=False)
    cell: BuildCell | None = None

    def variables(self) -> dict[str, str]:
        """Return the environment of a build command."""
        own = [str(self.code / each) for each in reversed(OWN_COMMANDS)]
        path = ":".join(filter(None, (self.scripts, *own, SEARCHED)))
        return {**_DEFAULTS, **self.environment, "HOME": str(self.home), "PATH": path, "CI": "1"}

    def trusted(self) -> dict[str, str]:
        """Return the environment of a command that runs as the daemon: an isolated app's own programs are none."""
        return self.variables() if self.cell is None else {"PATH": SEARCHED}

    def enclosed(self, command: Command) -> Command:
        """Return the build command as it is to run."""
        if self.cell is None:
            return command
        self.cell.make()
        environments = (str(Path(self.scripts).parent),) if self.scripts else ()
        pythons = pythons_below(f"{self.scripts}/python") if self.scripts else ()
        seen = (*environments, *pythons, *seen_by_installers(self.environment, ()))
        return self.cell.around(command, visible=seen, writable=(self.code, self.home))

    def check(self, program: str, what: str) -> None:
        """Raise StagingError if a program is neither in the code nor on this host."""
        path = self.variables()["PATH"]
        found = os.access(self.code / program, os.X_OK) if "/" in program else shutil.which(program, path=path)
        if found:
            return
        if "/" in program and (self.code / program).exists():
            raise StagingError(f"cannot run {program}, {what}: it is not executable (chmod +x)")
        if "/" in program:
            raise StagingError(f"there is no program {program}, {what}", retry="later")
        raise StagingError(
            f"there is no program '{program}' on this host, {what}: {how_to_install(program)}", retry="later"
        )


async def build_program(build: ProgramBuild, program: ServingProgram, log: Log, progress: Progress) -> None:
    """Run the build command of a program, and check that the program is there. Raises StagingError."""
    if program.build:
        build.check(program.build[0], "which builds the app")
        build.home.mkdir(parents=True, exist_ok=True)
        command = Command(
            activity="building the app",
            arguments=program.build,
            directory=str(build.code),
            environment=build.variables(),
        )
        try:
            await run(await in_thread(lambda _: build.enclosed(command)), log, progress)
        except CommandFailed as error:
            raise CommandFailed(f"the build command failed: {error}", error.status, error.output) from error
    if program.command:
        build.check(program.command[0], "which serves the app")


def staged_program(directory: Path, program: ServingProgram, runtime: str) -> Staged:
    """Return the build of an app that has no environment of Python."""
    return Staged(
        directory=str(directory),
        code=str(directory / "code"),
        environment="",
        python="",
        python_version="",
        gunicorn_version="",
        entrypoint="",
        interface="wsgi",
        worker_class="",
        reported=program.reported,
        commands=CodeCommands(release=program.release),
        notes=program.notes,
        command=program.command,
        listen=program.listen,
        runtime=runtime,
    )


def for_builds(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a build command may see: those of installers, and those of other languages' tools."""
    of_tools = {name: value for name, value in environ.items() if name.startswith(_PASSED_ON)}
    return {**clean_environment(environ), **variables(environ), **of_tools}
