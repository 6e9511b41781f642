"""Write an app.bundle: wheels of everything that an app's environment needs, with their hashes and an index.

The environment is created first, as staging would create it. So the bundle contains what was resolved for this very
Python, and the host that stages it resolves nothing again.
"""

import asyncio
import json
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import field, replace
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from reconciler.convergence.slots import Slots
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import draft, remove, replacing
from reconciler.linux.regular_files import read_record
from reconciler.planning.apps.revision import Recipe
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread, look_in_thread
from reconciler.staging.detection.offline import BUNDLE, INDEX, PINS, abi
from reconciler.staging.detection.requirements import requirements
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import Selection, select
from reconciler.staging.environments.environment import EnvironmentRequest
from reconciler.staging.environments.identity import installer
from reconciler.staging.environments.installation import site_packages
from reconciler.staging.environments.installer_env import for_hashed, for_index, for_installers, secrets_of
from reconciler.staging.environments.installers import Pip, is_old
from reconciler.staging.environments.serving import environment_for, ingredients_of
from reconciler.staging.environments.store import Environments
from reconciler.staging.environments.tools import OLD_VIRTUALENV, CommandContext, Tools
from reconciler.staging.errors import StagingError
from reconciler.staging.installer_progress import InstallerProgress
from reconciler.staging.log import Log
from reconciler.staging.progress import Progress
from reconciler.staging.source.reading import LARGEST_LOCK, LARGEST_TEXT, file_digest, source_text
from reconciler.staging.source.snapshot import snapshot
from reconciler.staging.staged import boot_id

_SEEDS = frozenset(("pip", "setuptools", "wheel"))
_BUILD_SYSTEM = ("setuptools>=40.8", "wheel")
_INDEXES = ("--index-url", "-i", "--extra-index-url")
_FROM = "# from "  # before the index of a package, as uv writes it
_INDEX_OPTIONS = ("--index-url", "-i ", "--extra-index-url", "--find-links", "-f ", "--trusted-host", "--no-binary")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRequest:
    """What bundling needs: a `cache`, uv, the host's Pythons, and variables that say where packages come from."""

    cache: Path
    uv: str
    runtimes: tuple[Runtime, ...]
    environ: Mapping[str, str] = field(repr=False)
    timeout_s: float
    log: Path
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A finished bundle: its file, the Python it is for, and the wheels in it."""

    file: Path
    runtime: str
    wheels: tuple[str, ...]


async def bundle(path: Path, recipe: Recipe, request: BundleRequest) -> Bundle:
    """Write `path`/app.bundle; raises StagingError, without a bundle, if a package cannot be had as a wheel."""
    request.cache.mkdir(parents=True, exist_ok=True)
    directory = draft(request.cache, "bundle")
    try:
        with Log(request.log, secrets_of(request.environ)) as log:
            async with asyncio.timeout(request.timeout_s):
                return await _Bundling(path, request, directory, log).bundle(recipe)
    except TimeoutError as error:
        raise StagingError(f"it took longer than {request.timeout_s:g} s and was ended") from error
    finally:
        await in_thread(lambda _: remove(directory))


class _Bundling:
    """Makes one bundle, with `directory` for its intermediate files."""

    def __init__(self, path: Path, request: BundleRequest, directory: Path, log: Log) -> None:
        self._path = path
        self._request = request
        self._code = directory / "code"
        self._directory = directory
        self._wheels = directory / "wheels"
        self._tools = Tools(request.cache.parent / "tools", request.cache, request.uv)
        self._context = CommandContext(log=log, progress=request.progress, environment=for_installers(request.environ))

    async def bundle(self, recipe: Recipe) -> Bundle:
        await look_in_thread(lambda: snapshot(str(self._path), self._code))
        (self._code / BUNDLE).unlink(missing_ok=True)
        selection = await look_in_thread(lambda: select(self._code, recipe, self._request.runtimes))
        for line in selection.lines():
            self._context.log.step(line)
        found = await self._installed(selection)
        self._wheels.mkdir()
        pip = await self._pip(selection.runtime)
        options, release = self._index_options(selection), selection.runtime.release
        await self._fetch(pip, "bundling", _Wanted(found.pins, release, options, exactly=True))
        if found.built:
            systems = _Wanted(self._build_systems(found.built), release)
            await self._fetch(pip, "bundling the build systems of the app's packages", systems)
        pins = await in_thread(lambda _: self._pins(found.names))
        if is_old(selection.runtime):
            # It runs on the daemon's Python, not on the app's.
            tool = _Wanted(OLD_VIRTUALENV.needs, sys.version_info[:2])
            await self._fetch(await self._pip(None), "bundling virtualenv", tool)
        return await in_thread(lambda _: self._write(selection, found, pins))

    async def _installed(self, selection: Selection) -> "_Installed":
        store = Environments(
            directory=self._directory / "environments",
            cache=self._request.cache,
            uv=self._request.uv,
            slots=Slots(1, self._request.timeout_s),
            timeout_s=self._request.timeout_s,
            boot=boot_id(),
        )
        versions = await asyncio.to_thread(installer, self._request.uv)
        request = EnvironmentRequest(
            app="",
            ingredients=ingredients_of(selection, versions, self._request.environ),
            code=self._code,
            previous={},
            log=self._context.log,
            progress=self._context.progress,
            environ=self._request.environ,
            offline=selection.offline,
        )
        made = await environment_for(store, request, selection.entry, self._request.runtimes)
        return _installed(Path(made.directory), self._code, old=is_old(selection.runtime))

    async def _pip(self, runtime: Runtime | None) -> str:
        """Return a Python with pip, of the runtime or of the daemon: pip makes wheels for the Python it runs on."""
        directory = self._directory / f"pip-{runtime.name if runtime else 'ours'}"
        python = directory / "bin" / "python"
        virtualenv = sys.executable
        if runtime is not None and is_old(runtime):
            virtualenv = await self._tools.python(OLD_VIRTUALENV, self._request.runtimes, self._context)
        pip = Pip(virtualenv=virtualenv, cache=self._request.cache, python=python)
        await self._run(
            "creating an environment with pip", pip.create(runtime.path if runtime else sys.executable, directory)
        )
        return str(python)

    async def _fetch(self, pip: str, activity: str, wanted: "_Wanted") -> None:
        """Have pip make wheels of the files that uv chooses: pip itself would take the highest version of any index."""
        cache = ("--cache-dir", str(self._request.cache / "pip"))
        wheel = (pip, "-m", "pip", "wheel", *cache, "--no-deps", "--wheel-dir", str(self._wheels))
        named = [each for each in wanted.requirements if " @ " not in each]
        pins = await self._resolved(named, wanted) if named else []
        hashed = [pin.text for pin in pins if pin.is_hashed]
        if hashed:
            file = self._directory / "hashed.txt"
            file.write_text("".join(f"{line}\n" for line in hashed), encoding="utf-8")
            environment = for_hashed(self._context.environment)
            await self._run(activity, (*wheel, *wanted.options, "--require-hashes", "-r", str(file)), environment)
        # Without a hash, pip would take the file of any index that has this version.
        indexes, others = wanted.indexes()
        for index in dict.fromkeys(pin.index for pin in pins if not pin.is_hashed):
            unhashed = [pin.text for pin in pins if pin.index == index and not pin.is_hashed]
            alone = for_index(self._context.environment, index, indexes)
            await self._run(activity, (*wheel, *(others if alone else wanted.options), *unhashed), alone)
        direct = [each for each in wanted.requirements if " @ " in each]
        if direct:
            await self._run(activity, (*wheel, *wanted.options, *direct))

    async def _resolved(self, requirements: list[str], wanted: "_Wanted") -> list["_Pin"]:
        """Return the version of each package, and the index it comes from, as uv resolves them."""
        named, output = self._directory / "named.txt", self._directory / "resolved.txt"
        named.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        await self._run(
            "resolving",
            (
                *(self._request.uv, "pip", "compile", "--quiet", "--cache-dir", str(self._request.cache / "uv")),
                *("--python", sys.executable, "--python-version", ".".join(map(str, wanted.release[:2]))),
                *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--color", "never"),
                "--emit-index-annotation",
                *(("--no-deps",) if wanted.exactly else ()),
                *(*wanted.options, str(named), "--output-file", str(output)),
            ),
        )
        return _pins_of(source_text(output, most=LARGEST_LOCK))

    async def _run(
        self, activity: str, arguments: tuple[str, ...], environment: Mapping[str, str] | None = None
    ) -> None:
        command = Command(
            activity=activity,
            arguments=arguments,
            environment=environment or self._context.environment,
            progress=InstallerProgress(),
        )
        await run(command, self._context.log, self._context.progress)

    def _index_options(self, selection: Selection) -> tuple[str, ...]:
        """Return the options of the app's requirements file that say where packages come from."""
        if selection.dependencies.kind != "requirements":
            return ()
        lines = requirements(self._code, selection.dependencies.file).lines
        options = [line for line in lines if line.startswith(_INDEX_OPTIONS)]
        return tuple(word for line in options for word in line.replace("=", " ", 1).split())

    def _build_systems(self, built: tuple[str, ...]) -> tuple[str, ...]:
        needs: dict[str, None] = {}
        for path in built:
            project = self._code / path / "pyproject.toml"
            content = tomllib.loads(source_text(project)) if project.is_file() else {}
            needs.update(dict.fromkeys(content.get("build-system", {}).get("requires", _BUILD_SYSTEM)))
        return tuple(needs)

    def _pins(self, names: frozenset[str]) -> str:
        """Return a requirements file for the wheels of these packages, each with its hash."""
        lines = []
        for wheel in sorted(self._wheels.glob("*.whl")):
            name, version, _, _ = parse_wheel_filename(wheel.name)
            if name in names:
                lines.append(f"{name}=={version} --hash=sha256:{file_digest(wheel)}\n")
        missing = names - {line.partition("==")[0] for line in lines}
        if missing:
            raise StagingError(f"cannot build a wheel of {', '.join(sorted(missing))}")
        return "".join(lines)

    def _write(self, selection: Selection, found: "_Installed", pins: str) -> Bundle:
        wheels = sorted(path for path in self._wheels.iterdir() if path.is_file())
        (self._directory / PINS).write_text(pins, encoding="utf-8")
        index: dict[str, Any] = {
            "runtime": abi(selection.runtime),
            "dependencies": dict(selection.dependencies.declared),
            "built": list(found.built),
            "files": {path.name: file_digest(path) for path in (*wheels, self._directory / PINS)},
        }
        target = self._path / BUNDLE
        with replacing(target) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as zipped:
            zipped.writestr(INDEX, json.dumps(index, indent=1))
            for path in (self._directory / PINS, *wheels):
                zipped.write(path, path.name)
        return Bundle(file=target, runtime=selection.runtime.name, wheels=tuple(path.name for path in wheels))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Requirements to make wheels of, for a release of Python; `exactly` without what they depend on."""

    requirements: tuple[str, ...]
    release: tuple[int, ...]
    options: tuple[str, ...] = ()
    exactly: bool = False

    def indexes(self) -> tuple[list[str], list[str]]:
        """Return the indexes that the options name, and the options that name none."""
        indexes, others, words = [], [], iter(self.options)
        for word in words:
            if word in _INDEXES:
                indexes.append(next(words, ""))
            else:
                others.append(word)
        return indexes, others


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pin:
    """A line of a requirements file for one version, and the address of its index."""

    text: str
    index: str

    @property
    def is_hashed(self) -> bool:
        return "--hash=" in self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Installed:
    """The content of an environment: its pins, the names of its packages, and the code that was built into it."""

    pins: tuple[str, ...]
    names: frozenset[str]
    built: tuple[str, ...]


def _pins_of(resolved: str) -> list[_Pin]:
    pins: list[_Pin] = []
    for line in resolved.replace("\\\n", " ").splitlines():
        if line.strip().startswith(_FROM) and pins:
            pins[-1] = replace(pins[-1], index=line.strip().removeprefix(_FROM))
        elif line.strip() and not line.strip().startswith(("#", "-")):
            pins.append(_Pin(text=line, index=""))
    return pins


def _installed(environment: Path, code: Path, *, old: bool) -> _Installed:
    pins, names, built = [], set(), []
    site = site_packages(environment)
    for directory in sorted((*site.glob("*.dist-info"), *site.glob("*.egg-info"))):
        metadata = _metadata(directory)
        name, version = metadata.get("Name", ""), metadata.get("Version", "")
        if not name or (old and canonicalize_name(name) in _SEEDS):
            continue
        origin = _origin(directory)
        local = Path(origin.removeprefix("file://")) if origin.startswith("file://") else None
        if local is not None and local.is_dir():
            built.append(local.resolve().relative_to(code.resolve()).as_posix())
            continue
        names.add(canonicalize_name(name))
        pins.append(f"{name} @ {origin}" if origin else f"{name}=={version}")
    return _Installed(pins=tuple(pins), names=frozenset(names), built=tuple(built))


def _metadata(directory: Path) -> Mapping[str, str]:
    for file in ("METADATA", "PKG-INFO"):
        if (directory / file).is_file():
            text = source_text(directory / file, most=LARGEST_LOCK)
            return dict(HeaderParser().parsestr(text).items())
    return {}


def _origin(directory: Path) -> str:
    """Return the URL that a package was installed from (PEP 610); "" if it came from an index."""
    try:
        direct_url = read_record(directory / "direct_url.json", LARGEST_TEXT)
    except (OSError, ValueError):
        return ""
    control = direct_url.get("vcs_info")
    url = str(direct_url.get("url", ""))
    return f"{control['vcs']}+{url}@{control['commit_id']}" if control else url
