"""An order in; an environment made of it, step by step: lock checked, environment created, packages, then the server.

gunicorn is resolved together with what the app lists, so that a pin in the app wins. What a lock file fixed is
installed as it is, and the server beside it, without a say in any version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.dependencies import Dependencies, has_own_configuration
from reconciler.staging.detection.offline import PINS, OfflinePackages, opened
from reconciler.staging.detection.python_version import project_table
from reconciler.staging.detection.requirements import requirements
from reconciler.staging.environments.export import Exporter
from reconciler.staging.environments.identity import Ingredients
from reconciler.staging.environments.installers import Installer, Pip, Uv, is_old
from reconciler.staging.environments.tools import OLD_VIRTUALENV, Work
from reconciler.staging.errors import StagingError
from reconciler.staging.installer_progress import Progress
from reconciler.staging.log import Log

_EXPORTED = "locked.txt"
_FLATTENED = "flattened.txt"
_PINNED = "pinned.txt"
_BUNDLE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRequest:
    """An app's wish for an environment: `previous` are the facts of the one it had, {} for none.

    `environment` holds the variables an installer may see, `supply` the packages the code brings along.
    """

    ingredients: Ingredients
    code: Path
    previous: Mapping[str, str]
    log: Log
    progress: Callable[[str], None]
    environment: Mapping[str, str]
    supply: OfflinePackages | None = None


class Installation:
    """One environment being made in `directory`, which `held` keeps from everybody else."""

    def __init__(self, order: EnvironmentRequest, directory: Path, exporter: Exporter, held: int) -> None:
        self._order = order
        self._directory = directory
        self._exporter = exporter
        self._held = held
        self._runtime = order.ingredients.runtime
        self._found: Dependencies = order.ingredients.dependencies
        self._root = order.code / self._found.directory

    async def make(self) -> None:
        """All the steps; StagingError, and a directory that is left half done."""
        self._directory.mkdir(parents=True)
        supply = self._order.supply
        built: tuple[str, ...] = ()
        packages: tuple[str, ...] = ()
        if supply is not None:
            place = supply.place
            if supply.is_bundle:
                place = self._directory / _BUNDLE
                built = await in_thread(lambda _: opened(supply.place, place, self._runtime, self._found))
            packages = ("--no-index", "--find-links", str(place))
            self._order.log.say(f"packages: from {supply.name} alone, no index is asked")
        work = Work(
            log=self._order.log,
            tell=self._order.progress,
            environment=self._order.environment,
            packages=packages,
        )
        bundled = supply is not None and supply.is_bundle
        if self._found.locked and not bundled:
            await self._export(work)
        installer = await self._installer(work)
        await self._run(
            f"creating an environment for {self._runtime.name}", installer.create(self._runtime.path, self._directory)
        )
        if bundled:
            await self._from_bundle(installer, self._directory / _BUNDLE, built)
        elif self._found.locked:
            await self._locked(installer)
        else:
            await self._resolved(installer)

    async def _export(self, work: Work) -> None:
        # Before the environment is made, so that a lock file that is out of step fails at once.
        await self._exporter.export(self._order.code, self._found, self._runtime, self._directory / _EXPORTED, work)

    async def _installer(self, work: Work) -> Installer:
        python = self._directory / "bin" / "python"
        cache = self._exporter.cache
        if not is_old(self._runtime):
            return Uv(uv=self._exporter.uv, cache=cache, python=python, packages=work.packages)
        # A bundle for such a Python holds the tool as well; a vendor/ directory cannot be expected to.
        supply = self._order.supply
        tools = work if supply is not None and supply.is_bundle else replace(work, packages=())
        virtualenv = await self._exporter.tools.python(OLD_VIRTUALENV, self._exporter.runtimes, tools)
        return Pip(virtualenv=virtualenv, cache=cache, python=python, packages=work.packages)

    async def _from_bundle(self, installer: Installer, bundle: Path, built: Sequence[str]) -> None:
        pins = str(bundle / PINS)
        await self._run("installing app.bundle", installer.install(("-r", pins), exactly=True))
        if built:
            places = [str((self._order.code / path).resolve()) for path in built]
            await self._run("installing the app's own packages", installer.install(places, exactly=True))

    async def _locked(self, installer: Installer) -> None:
        file = self._found.file.rpartition("/")[2]
        exported = self._directory / _EXPORTED
        if self._found.kind == "pylock" and self._direct(installer):
            await self._run(f"installing {file}", installer.install(("-r", str(self._root / file)), exactly=True))
        elif any(line.strip() and not line.startswith(("#", "-")) for line in exported.read_text().splitlines()):
            await self._run(f"installing {file}", installer.install(("-r", str(exported)), exactly=True))
        if self._found.itself:
            extras = f"[{','.join(self._found.extras)}]" if self._found.extras else ""
            await self._run(
                "installing the project itself", installer.install((f"{self._root}{extras}",), exactly=True)
            )
        await self._servers(installer)

    def _direct(self, installer: Installer) -> bool:
        """Whether uv can take a pylock.toml as it is, with the addresses in it."""
        return isinstance(installer, Uv) and not (self._order.supply or self._found.extras or self._found.groups)

    async def _resolved(self, installer: Installer) -> None:
        servers = self._order.ingredients.servers
        what = self._what()
        # pip takes no requirement beside a pin of the same, nor uv one without a hash beside those that must have it.
        if not what or (isinstance(installer, Uv) and not self._found.hashed):
            await self._run(f"installing {self._found.file or 'gunicorn'}", installer.install((*what, *servers)))
            return
        await self._run(f"installing {self._found.file}", installer.install(what))
        await self._servers(installer)

    def _what(self) -> tuple[str, ...]:
        """The app's own requirements, as arguments."""
        match self._found.kind:
            case "requirements":
                return ("-r", str(self._requirements_file()))
            case "project" if not self._found.itself:
                return self._project()
            case "project" | "setup":
                extras = f"[{','.join(self._found.extras)}]" if self._found.extras else ""
                return (f"{self._root}{extras}",)
            case _:
                return ()

    def _requirements_file(self) -> Path:
        file = self._order.code / self._found.file
        if not self._found.trees and not is_old(self._runtime):
            return file
        flattened = self._directory / _FLATTENED
        lines = requirements(self._order.code, self._found.file).lines
        flattened.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return flattened

    def _project(self) -> tuple[str, ...]:
        if not is_old(self._runtime):
            groups = tuple(f"{self._root / 'pyproject.toml'}:{group}" for group in self._found.groups)
            chosen = (("--extra", extra) for extra in self._found.extras)
            return (
                *("-r", str(self._root / "pyproject.toml")),
                *(word for pair in chosen for word in pair),
                *(word for group in groups for word in ("--group", group)),
            )
        if self._found.groups:
            raise StagingError(f"cannot choose groups of {self._found.file} on {self._runtime.name}: only extras")
        project = project_table(self._root)
        optional = project.get("optional-dependencies", {})
        lines = [*project.get("dependencies", ()), *(each for extra in self._found.extras for each in optional[extra])]
        file = self._directory / _FLATTENED
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return ("-r", str(file))

    async def _servers(self, installer: Installer) -> None:
        """The server beside what is installed, none of which may change for it."""
        pinned = self._directory / _PINNED
        pinned.write_text("".join(f"{line}\n" for line in installed(self._directory)), encoding="utf-8")
        servers = self._order.ingredients.servers
        await self._run(f"installing {' and '.join(servers)}", installer.install(("-c", str(pinned), *servers)))

    async def _run(self, doing: str, arguments: tuple[str, ...]) -> None:
        # From "/" uv finds no project's settings; from the code, its own and nobody else's.
        own = str(self._root) if has_own_configuration(self._root) else "/"
        await run(
            Command(
                doing=doing,
                arguments=arguments,
                directory=own,
                environment=self._order.environment,
                held=(self._held,),
                detail=Progress(self._exporter.cache / "uv" / "archive-v0") if "install" in arguments else None,
            ),
            self._order.log,
            self._order.progress,
        )


def site_packages(directory: Path) -> Path:
    """Where an environment's packages are."""
    for pattern in ("lib/python*/site-packages", "lib/pypy*/site-packages", "site-packages"):
        for found in sorted(directory.glob(pattern)):
            return found
    raise StagingError(f"the environment in {directory} has no site-packages")


def installed(directory: Path) -> tuple[str, ...]:
    """What is installed in an environment, as pins."""
    site = site_packages(directory)
    names = [path.name.removesuffix(".dist-info").rpartition("-") for path in sorted(site.glob("*.dist-info"))]
    eggs = [path.name.removesuffix(".egg-info").split("-") for path in sorted(site.glob("*-*.egg-info"))]
    return (
        *(f"{name}=={version}" for name, _, version in names),
        *(f"{parts[0]}=={parts[1]}" for parts in eggs),
    )
