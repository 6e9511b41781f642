"""Create an environment: check and export the lock, create it, install packages, then the server.

gunicorn is resolved together with what the app requires, so that a pin of the app wins. Locked packages are installed
as they are, and the server beside them without a say in any version.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from reconciler.isolation.pythons import pythons_below
from reconciler.linux.files import replace_file
from reconciler.staging.build_cell import seen_by_installers
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.dependencies import Dependencies, has_uv_configuration
from reconciler.staging.detection.lockfiles.format import LockFormat, repeated
from reconciler.staging.detection.offline import PINS, has_package, unpack_bundle
from reconciler.staging.detection.package_names import canonical
from reconciler.staging.detection.pyproject import FILE as PYPROJECT
from reconciler.staging.detection.pyproject import drop_required_uv, project_table
from reconciler.staging.detection.requirements import Requirements, requirements
from reconciler.staging.environments.environment import EnvironmentRequest
from reconciler.staging.environments.export import Exporter
from reconciler.staging.environments.installer_env import host_files
from reconciler.staging.environments.installers import (
    HARD_LINKS,
    LINK_MODE,
    Installer,
    Pip,
    Uv,
    check_directory,
    copying,
    is_old,
    kept_in,
    needs_build,
)
from reconciler.staging.environments.integrity import own_python, require_own
from reconciler.staging.environments.outlook import retry_of
from reconciler.staging.environments.server_needs import SETUPTOOLS, needs_setuptools, worker_needs
from reconciler.staging.environments.tools import OLD_VIRTUALENV, CommandContext
from reconciler.staging.environments.unsuitable import may_depend_on_python, unsuitable
from reconciler.staging.errors import CommandFailed, NeedsBuild, StagingError, UnsuitablePython
from reconciler.staging.installer_output import explained
from reconciler.staging.installer_progress import InstallerProgress
from reconciler.staging.source.reading import LARGEST_LOCK, source_text

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXPORTED = "locked.txt"
_FLATTENED = "flattened.txt"
_PINNED = "pinned.txt"
_BUNDLE = "bundle"


class Installation:
    """Creates one environment in `directory`; `lock_fd` is the lock on it, which installers inherit."""

    def __init__(self, request: EnvironmentRequest, directory: Path, exporter: Exporter, lock_fd: int) -> None:
        self._request = request
        self._directory = directory
        self._exporter = exporter
        self._lock_fd = lock_fd
        self._runtime = request.ingredients.runtime
        self._found: Dependencies = request.ingredients.dependencies
        self._root = request.code / self._found.directory
        self._has_packages = False

    async def make(self) -> None:
        """Take all the steps; a failure raises StagingError and leaves an incomplete directory."""
        check_directory(self._directory, self._runtime)
        self._directory.mkdir(parents=True)
        if has_uv_configuration(self._root):
            await in_thread(lambda _: drop_required_uv(self._root))
        offline, cell = self._request.offline, self._request.cell
        if cell is not None:
            await in_thread(lambda _: cell.make())
        built, packages = tuple[str, ...](), tuple[str, ...]()
        if offline is not None:
            path = offline.path
            if offline.is_bundle:
                path = self._directory / _BUNDLE
                built = await in_thread(lambda _: unpack_bundle(offline.path, path, self._runtime, self._found))
            packages = ("--no-index", "--find-links", str(path))
            self._request.log.step(f"packages: only from {offline.name}, no index is used")
        context = CommandContext(
            log=self._request.log,
            progress=self._request.progress,
            environment=self._request.environment,
            packages=packages,
            enclosed=self._enclosed,
            drafts=None if cell is None else cell.scratch,
        )
        lock = self._found.lock if offline is None or not offline.is_bundle else None
        if lock is not None:
            await self._export(context)
        installer = await self._installer(context)
        await self._run(
            f"creating an environment for {self._runtime.name}", installer.create(self._runtime.path, self._directory)
        )
        own = await in_thread(lambda _: own_python(self._directory))
        if offline is not None and offline.is_bundle:
            await self._install_bundle(installer, self._directory / _BUNDLE, built)
        else:
            if lock is not None:
                await self._install_locked(installer, lock)
            else:
                await self._install_resolved(installer)
            if not is_old(self._runtime):
                await self._complete(self._for_servers(installer))
        if cell is not None:
            await in_thread(lambda _: require_own(self._directory, own, site_packages(self._directory)))

    async def _complete(self, installer: Installer) -> None:
        """Install what gunicorn, its workers or the app import, and no package requires."""
        site = await in_thread(lambda _: site_packages(self._directory))
        workers = await in_thread(lambda _: worker_needs(site))
        if workers:
            await self._run(f"installing {' and '.join(workers)}", self._beside(installer, workers))
        imported = self._request.ingredients.pkg_resources
        required = await in_thread(lambda _: "setuptools" in self._required())
        if await in_thread(lambda _: needs_setuptools(site, imported=imported, required=required)):
            await self._run(f"installing {SETUPTOOLS}", installer.install((SETUPTOOLS,), exactly=True))

    @cached_property
    def _listed(self) -> Requirements:
        """The requirements file with all that it includes. Blocks; raises StagingError."""
        return requirements(self._request.code, self._found.file)

    def _required(self) -> frozenset[str]:
        """Return the canonical names of the packages that the app itself requires, as far as its files list them."""
        match self._found.kind:
            case "lock":
                lines = _lines(self._directory / _EXPORTED)
            case "requirements":
                lines = [*self._listed.lines]
            case _:
                lines = [str(line) for line in project_table(self._root).get("dependencies", ())]
        names = (_REQUIREMENT.match(line) for line in lines)
        return frozenset(canonical(name[0]) for name in names if name)

    def _for_servers(self, installer: Installer) -> Installer:
        """Return the installer of what the daemon adds: a vendor/ directory need not contain it."""
        offline = self._request.offline
        if offline is None or offline.is_bundle or has_package(offline.path, "gunicorn"):
            return installer
        return installer.from_index()

    async def _export(self, context: CommandContext) -> None:
        # Before the environment is created, so that a stale lock file fails at once.
        await self._exporter.export(
            self._request.code, self._found, self._runtime, self._directory / _EXPORTED, context
        )

    async def _installer(self, context: CommandContext) -> Installer:
        python = self._directory / "bin" / "python"
        cache = self._exporter.cache
        if not is_old(self._runtime):
            return Uv(
                uv=self._exporter.uv,
                cache=cache,
                python=python,
                packages=context.packages,
                builds=self._request.builds,
            )
        # A bundle for such a Python contains the tool as well; a vendor/ directory cannot be expected to.
        offline = self._request.offline
        for_tools = context if offline is not None and offline.is_bundle else replace(context, packages=())
        virtualenv = await self._exporter.tools.python(OLD_VIRTUALENV, self._exporter.runtimes, for_tools)
        return Pip(virtualenv=virtualenv, cache=cache, python=python, packages=context.packages)

    async def _install_bundle(self, installer: Installer, bundle: Path, built: Sequence[str]) -> None:
        pins = str(bundle / PINS)
        await self._run("installing app.bundle", installer.install(("-r", pins), exactly=True))
        if built:
            trees = [str((self._request.code / path).resolve()) for path in built]
            await self._run("installing the app's own packages", installer.install(trees, exactly=True))

    async def _install_locked(self, installer: Installer, lock: LockFormat) -> None:
        exported = self._directory / _EXPORTED
        activity = f"installing {lock.file}"
        if lock.installed_by_uv and self._is_default_choice(installer):
            await self._run(activity, installer.install(("-r", str(self._root / lock.file)), exactly=True))
        elif any(line.strip() and not line.startswith(("#", "-")) for line in _lines(exported)):
            await self._run(activity, installer.install(("-r", str(exported)), exactly=True))
        await self._install_itself(installer)
        await self._install_servers(installer)

    async def _install_itself(self, installer: Installer) -> None:
        """Install the project, if it is a package; one that only might be one is left where it is if that fails."""
        if not self._found.itself or (self._found.optional and is_old(self._runtime)):
            return
        try:
            await self._run("installing the project itself", installer.install((self._project_itself(),), exactly=True))
        except StagingError as error:
            if not self._found.optional:
                raise
            self._request.log.step(f"the project itself is served from where it is, as it cannot be built: {error}")

    def _is_default_choice(self, installer: Installer) -> bool:
        """Tell whether uv can install from the lock file as it is, with the addresses in it."""
        return isinstance(installer, Uv) and not (self._request.offline or self._found.extras or self._found.groups)

    async def _install_resolved(self, installer: Installer) -> None:
        servers = self._request.ingredients.servers
        own = await in_thread(lambda _: self._requirements())
        together = isinstance(installer, Uv) and not self._found.hashed and self._for_servers(installer) is installer
        # pip takes no requirement beside a pin of the same, nor uv one without a hash beside those that must have it.
        if own and not together:
            await self._run(f"installing {self._found.file}", installer.install(own))
            await self._install_servers(installer)
        else:
            installer = installer if own else self._for_servers(installer)
            await self._run(f"installing {self._found.file or 'gunicorn'}", installer.install((*own, *servers)))
        if self._found.optional:
            await self._install_itself(installer)

    def _requirements(self) -> tuple[str, ...]:
        """Return the app's own requirements as arguments."""
        match self._found.kind:
            case "requirements":
                return ("-r", str(self._requirements_file()))
            case "project" if self._found.optional or not self._found.itself:
                return self._project_requirements()
            case "project" | "setup":
                return (self._project_itself(),)
            case _:
                return ()

    def _project_itself(self) -> str:
        extras = f"[{','.join(self._found.extras)}]" if self._found.extras else ""
        return f"{self._root}{extras}"

    def _requirements_file(self) -> Path:
        if not self._listed.rewritten and not is_old(self._runtime):
            return self._request.code / self._found.file
        return self._flattened(self._listed.lines)

    def _project_requirements(self) -> tuple[str, ...]:
        if not is_old(self._runtime):
            groups = tuple(f"{self._root / PYPROJECT}:{group}" for group in self._found.groups)
            return (
                *("-r", str(self._root / PYPROJECT)),
                *repeated("--extra", self._found.extras),
                *repeated("--group", groups),
            )
        if self._found.groups:
            raise StagingError(
                f"cannot install groups of {self._found.file} on {self._runtime.name}: pip supports only extras there"
            )
        project = project_table(self._root)
        optional = project.get("optional-dependencies", {})
        unknown = [extra for extra in self._found.extras if extra not in optional]
        if unknown:
            raise StagingError(f"cannot install {self._found.file}: it has no extra {', '.join(unknown)}")
        lines = (*project.get("dependencies", ()), *(each for extra in self._found.extras for each in optional[extra]))
        return ("-r", str(self._flattened(lines)))

    def _flattened(self, lines: Sequence[str]) -> Path:
        """Write requirements into one file that includes no other."""
        self._request.log.name(file := self._directory / _FLATTENED, self._found.file)
        _write(file, lines)
        return file

    async def _install_servers(self, installer: Installer) -> None:
        servers = self._request.ingredients.servers
        await self._run(
            f"installing {' and '.join(servers)}",
            await in_thread(lambda _: self._beside(self._for_servers(installer), servers)),
        )

    def _beside(self, installer: Installer, packages: Sequence[str]) -> tuple[str, ...]:
        """Return the command that installs packages beside those installed already, without changing any of them."""
        pinned = self._directory / _PINNED
        _write(pinned, installed(self._directory))
        return installer.install(("-c", str(pinned), *packages))

    async def _run(self, activity: str, arguments: tuple[str, ...]) -> None:
        # From "/" uv finds no project's settings; from the code, its own only.
        from reconciler.staging.environments.blamed_requirement import blamed

        directory = str(self._root) if has_uv_configuration(self._root) else "/"
        installs = "install" in arguments
        command = Command(
            activity=activity,
            arguments=arguments,
            directory=directory,
            environment=self._request.environment,
            pass_fds=(self._lock_fd,),
        )
        try:
            if installs:
                command = await in_thread(lambda _: self._installing(command))
            await run(command, self._request.log, self._request.progress)
            if command.environment.get(LINK_MODE) == HARD_LINKS:
                await run(copying(self._directory, self._lock_fd), self._request.log, self._request.progress)
        except CommandFailed as error:
            output, code = "\n".join(error.output), self._request.code
            if not self._request.builds and (needing := needs_build(error.output)):
                raise NeedsBuild(needing) from error
            reason = unsuitable(output, self._runtime) if installs else ""
            # Where a package cannot have the Python, others are tried.
            advice = self._request.python_advice if installs and not reason and may_depend_on_python(output) else ""
            told = error.output, explained(error.output), code
            why = await in_thread(lambda _: blamed(*told, self._files_of(installs)))
            said = "; ".join((why or str(error), *self._hints(arguments, advice)))
            if reason:
                raise UnsuitablePython(said, reason) from error
            retry = retry_of(
                output,
                code=code,
                offline=self._is_offline(arguments),
                host_files=host_files(self._request.environment),
            )
            raise CommandFailed(said, retry=retry) from error

    def _installing(self, command: Command) -> Command:
        """Return an installer's command as it is to run, with the cache that is right for it.

        An isolated app shares the host's cache for wheels alone, which run nothing. Once a package is in the
        environment its code may run with the interpreter: from then on it is all in the app's cell.
        """
        cell = self._request.cell
        shares = cell is None or not (self._request.builds or self._has_packages)
        cache = self._exporter.cache if cell is None or shares else cell.cache
        self._has_packages = True
        command = replace(
            command,
            environment={**command.environment, **kept_in(cache, links=shares and not is_old(self._runtime))},
            progress=InstallerProgress(cache / "uv" / "archive-v0"),
        )
        return command if shares else self._enclosed(command)

    def _enclosed(self, command: Command) -> Command:
        """Return a command that may run code of the app or of its packages, in the app's cell if it is isolated."""
        cell, offline = self._request.cell, self._request.offline
        if cell is None:
            return command
        environment = self._request.environment
        visible = (
            *(self._exporter.uv, str(self._exporter.tools.directory)),
            *(each for runtime in self._exporter.runtimes for each in pythons_below(runtime.path)),
            *((str(offline.path),) if offline is not None else ()),
            *seen_by_installers(environment, host_files(environment)),
        )
        command = replace(command, environment={**command.environment, **kept_in(cell.cache)})
        return cell.around(command, visible=visible, writable=(self._directory, self._request.code))

    def _files_of(self, installs: bool) -> tuple[str, ...]:
        """Return the files of the code, relative to it, that name what a command installs, if it does that."""
        match self._found.kind if installs else "":
            case "requirements":
                included = (name for name in self._listed.contents if name not in self._listed.trees)
                return tuple(dict.fromkeys((self._found.file, *included)))
            case "project":
                return (self._found.file,)
            case _:
                return ()

    def _hints(self, arguments: tuple[str, ...], advice: str) -> Iterator[str]:
        """Yield what an operator may not know of a command that failed, and could change."""
        offline = self._request.offline
        if offline is not None and self._is_offline(arguments):
            yield f"only packages in {offline.name} were looked at: add what is missing there, or remove it"
        if advice:
            yield advice

    def _is_offline(self, arguments: tuple[str, ...]) -> bool:
        """Tell whether a command installs from the code's own packages only."""
        return self._request.offline is not None and "--no-index" in arguments


def site_packages(directory: Path) -> Path:
    """Return the directory of an environment's packages."""
    for pattern in ("lib/python*/site-packages", "lib/pypy*/site-packages", "site-packages"):
        for found in sorted(directory.glob(pattern)):
            return found
    raise StagingError(f"the environment in {directory} has no site-packages", retry="soon")


def installed(directory: Path) -> tuple[str, ...]:
    """Return the packages installed in an environment, as pins."""
    site = site_packages(directory)
    names = [path.name.removesuffix(".dist-info").rpartition("-") for path in sorted(site.glob("*.dist-info"))]
    eggs = [path.name.removesuffix(".egg-info").split("-") for path in sorted(site.glob("*-*.egg-info"))]
    return (
        *(f"{name}=={version}" for name, _, version in names),
        *(f"{parts[0]}=={parts[1]}" for parts in eggs),
    )


def _write(file: Path, lines: Iterable[str]) -> None:
    """Write lines to a file of ours in an environment: code of packages may have put a link in its place."""
    replace_file(file, "".join(f"{line}\n" for line in lines), mode=0o644, durable=False)


def _lines(file: Path) -> list[str]:
    """Return the lines of a file that a tool has written."""
    return source_text(file, most=LARGEST_LOCK).splitlines()
