"""An app's code in; an app.bundle out: wheels of everything its environment needs, with hashes and an index of it all.

The environment is made first, as staging would make it. So what is bundled is what was resolved for this very Python,
and the host that stages it decides nothing again.
"""

import asyncio
import hashlib
import json
import sys
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from reconciler.linux.files import draft, remove
from reconciler.planning.desired import Recipe
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.offline import BUNDLE, INDEX, PINS, abi
from reconciler.staging.detection.requirements import requirements
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import Selection, select
from reconciler.staging.environments.identity import installer
from reconciler.staging.environments.installation import site_packages
from reconciler.staging.environments.installer_env import for_installers
from reconciler.staging.environments.installers import Pip, is_old
from reconciler.staging.environments.serving import environment_for, ingredients_of
from reconciler.staging.environments.store import EnvironmentRequest, Environments
from reconciler.staging.environments.tools import OLD_VIRTUALENV, Tools, Work
from reconciler.staging.errors import StagingError
from reconciler.staging.installer_progress import Progress
from reconciler.staging.log import Log
from reconciler.staging.source.snapshot import snapshot
from reconciler.staging.staged import boot_id
from reconciler.vault.secret_patterns import secrets_in

_SEEDS = frozenset(("pip", "setuptools", "wheel"))
_BUILD_SYSTEM = ("setuptools>=40.8", "wheel")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRequest:
    """What bundling takes: a `cache` to work in, uv, the host's Pythons, the variables that say where packages are."""

    cache: Path
    uv: str
    runtimes: tuple[Runtime, ...]
    environ: Mapping[str, str] = field(repr=False)
    timeout_s: float
    log: Path
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A finished bundle: its file, the Python it is for, and the wheels in it."""

    file: Path
    runtime: str
    wheels: tuple[str, ...]


async def bundle(path: Path, recipe: Recipe, bundling: BundleRequest) -> Bundle:
    """Write `path`/app.bundle; StagingError, and no bundle, when any of it cannot be had as a wheel."""
    bundling.cache.mkdir(parents=True, exist_ok=True)
    place = draft(bundling.cache, "bundle")
    try:
        with Log(bundling.log, secrets_in(bundling.environ)) as log:
            async with asyncio.timeout(bundling.timeout_s):
                return await _Making(path, bundling, place, log).bundle(recipe)
    except TimeoutError as error:
        raise StagingError(f"it took longer than {bundling.timeout_s:g} s and was ended") from error
    finally:
        await in_thread(lambda _: remove(place))


class _Making:
    """One bundle being made in `place`."""

    def __init__(self, path: Path, bundling: BundleRequest, place: Path, log: Log) -> None:
        self._path = path
        self._with = bundling
        self._code = place / "code"
        self._place = place
        self._wheels = place / "wheels"
        self._tools = Tools(bundling.cache.parent / "tools", bundling.cache, bundling.uv)
        self._work = Work(log=log, tell=bundling.progress, environment=for_installers(bundling.environ))

    async def bundle(self, recipe: Recipe) -> Bundle:
        await in_thread(lambda go_on: snapshot(str(self._path), self._code, go_on))
        (self._code / BUNDLE).unlink(missing_ok=True)
        plan = await in_thread(lambda _: select(self._code, recipe, self._with.runtimes))
        for line in plan.lines():
            self._work.log.say(line)
        found = await self._installed(plan)
        self._wheels.mkdir()
        pip = await self._pip(plan.runtime)
        await self._fetch(pip, "bundling", ("--no-deps", *self._options(plan), *found.pins))
        if found.built:
            await self._fetch(pip, "bundling what builds the app's own packages", self._build_systems(found.built))
        pins = await in_thread(lambda _: self._pins(found.names))
        if is_old(plan.runtime):
            # It runs on the Python that runs us, not on the app's.
            await self._fetch(await self._pip(None), "bundling virtualenv", OLD_VIRTUALENV.needs)
        return await in_thread(lambda _: self._write(plan, found, pins))

    async def _installed(self, plan: Selection) -> "_Found":
        store = Environments(
            directory=self._place / "environments",
            cache=self._with.cache,
            uv=self._with.uv,
            slots=asyncio.Semaphore(1),
            timeout_s=self._with.timeout_s,
            boot=boot_id(),
        )
        order = EnvironmentRequest(
            ingredients=ingredients_of(plan, await asyncio.to_thread(installer, self._with.uv), self._with.environ),
            code=self._code,
            previous={},
            log=self._work.log,
            progress=self._work.tell,
            environment=self._work.environment,
            supply=plan.supply,
        )
        made = await environment_for(store, order, plan.entry, self._with.runtimes)
        return _found(Path(made.directory), self._code, old=is_old(plan.runtime))

    async def _pip(self, runtime: Runtime | None) -> str:
        """A Python of that kind, or of our own, that has pip: what it can install is what its wheels are."""
        directory = self._place / f"pip-{runtime.name if runtime else 'ours'}"
        python = directory / "bin" / "python"
        virtualenv = sys.executable
        if runtime is not None and is_old(runtime):
            virtualenv = await self._tools.python(OLD_VIRTUALENV, self._with.runtimes, self._work)
        pip = Pip(virtualenv=virtualenv, cache=self._with.cache, python=python)
        await self._run(
            "creating an environment with pip", pip.create(runtime.path if runtime else sys.executable, directory)
        )
        return str(python)

    async def _fetch(self, pip: str, doing: str, what: tuple[str, ...]) -> None:
        cache = ("--cache-dir", str(self._with.cache / "pip"))
        await self._run(doing, (pip, "-m", "pip", "wheel", *cache, "--wheel-dir", str(self._wheels), *what))

    async def _run(self, doing: str, arguments: tuple[str, ...]) -> None:
        command = Command(
            doing=doing, arguments=arguments, environment=self._work.environment, detail=Progress(), directory="/"
        )
        await run(command, self._work.log, self._work.tell)

    def _options(self, plan: Selection) -> tuple[str, ...]:
        """Where the app's own files say its packages are to be had."""
        if plan.dependencies.kind != "requirements":
            return ()
        lines = requirements(self._code, plan.dependencies.file).lines
        kept = ("--index-url", "-i ", "--extra-index-url", "--find-links", "-f ", "--trusted-host", "--no-binary")
        return tuple(word for line in lines if line.startswith(kept) for word in line.replace("=", " ", 1).split())

    def _build_systems(self, built: tuple[str, ...]) -> tuple[str, ...]:
        needs: dict[str, None] = {}
        for path in built:
            project = self._code / path / "pyproject.toml"
            said = tomllib.loads(project.read_text(encoding="utf-8")) if project.is_file() else {}
            needs.update(dict.fromkeys(said.get("build-system", {}).get("requires", _BUILD_SYSTEM)))
        return tuple(needs)

    def _pins(self, names: frozenset[str]) -> str:
        """What is to be installed from the wheels, each with its hash."""
        lines = []
        for wheel in sorted(self._wheels.glob("*.whl")):
            name, version, _, _ = parse_wheel_filename(wheel.name)
            if name in names:
                lines.append(f"{name}=={version} --hash=sha256:{_digest(wheel)}\n")
        missing = names - {line.partition("==")[0] for line in lines}
        if missing:
            raise StagingError(f"cannot bundle {', '.join(sorted(missing))}: no wheel of it could be made")
        return "".join(lines)

    def _write(self, plan: Selection, found: "_Found", pins: str) -> Bundle:
        wheels = sorted(path for path in self._wheels.iterdir() if path.is_file())
        (self._place / PINS).write_text(pins, encoding="utf-8")
        index: dict[str, Any] = {
            "runtime": abi(plan.runtime),
            "dependencies": dict(plan.dependencies.declared),
            "built": list(found.built),
            "files": {path.name: _digest(path) for path in (*wheels, self._place / PINS)},
        }
        target = self._path / BUNDLE
        unfinished = self._path / f".{BUNDLE}.draft"
        try:
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as zipped:
                zipped.writestr(INDEX, json.dumps(index, indent=1))
                for path in (self._place / PINS, *wheels):
                    zipped.write(path, path.name)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return Bundle(file=target, runtime=plan.runtime.name, wheels=tuple(path.name for path in wheels))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is in an environment: requirements that say exactly that, the names of all, and the code that was built."""

    pins: tuple[str, ...]
    names: frozenset[str]
    built: tuple[str, ...]


def _found(environment: Path, code: Path, *, old: bool) -> _Found:
    pins, names, built = [], set(), []
    site = site_packages(environment)
    for directory in sorted((*site.glob("*.dist-info"), *site.glob("*.egg-info"))):
        said = _metadata(directory)
        name, version = said.get("Name", ""), said.get("Version", "")
        if not name or (old and canonicalize_name(name) in _SEEDS):
            continue
        origin = _origin(directory)
        local = Path(origin.removeprefix("file://")) if origin.startswith("file://") else None
        if local is not None and local.is_dir():
            built.append(local.resolve().relative_to(code.resolve()).as_posix())
            continue
        names.add(canonicalize_name(name))
        pins.append(f"{name} @ {origin}" if origin else f"{name}=={version}")
    return _Found(pins=tuple(pins), names=frozenset(names), built=tuple(built))


def _metadata(directory: Path) -> Mapping[str, str]:
    for file in ("METADATA", "PKG-INFO"):
        if (directory / file).is_file():
            text = (directory / file).read_text(encoding="utf-8", errors="replace")
            return dict(HeaderParser().parsestr(text).items())
    return {}


def _origin(directory: Path) -> str:
    """Where a package came from that is not an index's, as a requirement says it; "" when it is (PEP 610)."""
    try:
        said = json.loads((directory / "direct_url.json").read_bytes())
    except (OSError, ValueError):
        return ""
    control = said.get("vcs_info")
    return f"{control['vcs']}+{said['url']}@{control['commit_id']}" if control else str(said.get("url", ""))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
