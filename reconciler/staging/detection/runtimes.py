"""This host in, the Python interpreters it really has out, and the one that an app's `runtime` means.

Found on PATH, in pyenv, in uv's own directory and in the host's settings; every one was run to learn what it is, and
one that is installed under several names is listed once. Discovery blocks for as long as the interpreters take to
answer: call it in a thread, or through `Interpreters`, which does, and looks again whenever something moved.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reconciler.staging.concurrency import SingleFlight
from reconciler.staging.errors import StagingError

_OLDEST_3 = (3, 6)
_OLDEST = (2, 7)

_PROBE_TIMEOUT_S = 10.0
_INTERPRETER = re.compile(r"(python|pypy)(\d(\.\d+)?t?)?")
_ASKED = re.compile(r"(?:(?P<kind>[a-z]+)[-@]?)?(?P<version>\d+(?:\.\d+){0,2})?(?P<rest>t|\.x|\.\*)?")
# Runs on every Python there is; -E -s -S keeps what the host has configured for Python out of the answer.
_PROBE = (
    "import json, os, platform, sys; print(json.dumps(["
    "platform.python_implementation(), platform.python_version(), getattr(sys, 'abiflags', ''),"
    "os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One interpreter: `name` as a manifest asks for it, `version` as it calls itself, `path` with links resolved."""

    name: str
    description: str
    version: str
    path: str

    @property
    def release(self) -> tuple[int, ...]:
        """The version's numbers: (3, 12, 1)."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version)[:3])

    @property
    def stable(self) -> bool:
        """Neither a pre-release nor a build without the GIL, which are never chosen unasked."""
        return re.fullmatch(r"[\d.]+", self.version) is not None and not self.name.endswith("t")


def discover(extra: Sequence[str], environ: Mapping[str, str] = os.environ) -> tuple[Runtime, ...]:
    """Every interpreter on this host, oldest first; `extra` are the host settings' own (programs or directories)."""
    programs = dict.fromkeys(
        os.path.realpath(path) for directory in _places(extra, environ) for path in _interpreters(directory)
    )
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="runtime") as probes:
        found = {runtime.path: runtime for runtime in probes.map(_probe, programs) if runtime is not None}
    return tuple(sorted(found.values(), key=lambda runtime: (not runtime.name.startswith("python"), runtime.release)))


def choose(runtimes: Sequence[Runtime], asked: str | None) -> Runtime:
    """The runtime that `asked` means: `python3`, `python3.12`, `3.12`, `3.12.1`, a path; None is the newest python3.

    StagingError when this host has none such, with the table of those it has, or when it is older than is supported.
    """
    if asked is not None and asked.startswith("/"):
        meant = [runtime for runtime in runtimes if runtime.path == os.path.realpath(asked)]
    else:
        meant = _meant(runtimes, asked)
    supported = [runtime for runtime in meant if is_supported(runtime)]
    if supported:
        return max(supported, key=lambda runtime: (runtime.stable, runtime.release))
    if meant:
        raise StagingError(
            f"{meant[0].description} is not supported: 2.7, 3.6 and everything newer is\n{table(runtimes)}"
        )
    raise StagingError(f"this host has no runtime {asked or 'python3'!r}; it has\n{table(runtimes)}")


def is_supported(runtime: Runtime) -> bool:
    """Whether gunicorn and an installer can still be had for it."""
    return runtime.release[:2] == _OLDEST or runtime.release >= _OLDEST_3


def table(runtimes: Iterable[Runtime]) -> str:
    """The runtimes as lines of name, description and path."""
    lines = [f"  {runtime.name:<12} {runtime.description:<18} {runtime.path}" for runtime in runtimes]
    return "\n".join(lines) or "  no Python at all"


class Interpreters:
    """This host's runtimes, remembered for as long as nothing moved where they were found."""

    def __init__(self, extra: Sequence[str]) -> None:
        self._extra = tuple(extra)
        self._known: tuple[Runtime, ...] = ()
        self._stamp: object = None
        self._looking: SingleFlight[str, tuple[Runtime, ...]] = SingleFlight()

    async def known(self, asked: str | None = None) -> tuple[Runtime, ...]:
        """Every runtime of this host, and the program `asked` names where it is a path."""
        if asked is not None and asked.startswith("/") and asked not in self._extra:
            self._extra = (*self._extra, asked)
        if self._stamp is None or self._stamp != self._look():
            self._known = await self._looking.result("discover", self._discover)
        return self._known

    async def _discover(self) -> tuple[Runtime, ...]:
        self._known = await asyncio.to_thread(discover, self._extra)
        self._stamp = self._look()
        return self._known

    def _look(self) -> object:
        """What stat says of every place to find an interpreter in, and of each one that was found."""
        places = (str(place) for place in _places(self._extra, os.environ))
        return tuple((path, _stamp(path)) for path in (*places, *(runtime.path for runtime in self._known)))


def _meant(runtimes: Sequence[Runtime], asked: str | None) -> list[Runtime]:
    match = _ASKED.fullmatch((asked or "python3").strip().lower())
    if match is None:
        return []
    kind = {None: "python", "cpython": "python"}.get(match["kind"], match["kind"])
    numbers = tuple(int(number) for number in (match["version"] or "").split(".") if number)
    return [
        runtime
        for runtime in runtimes
        if re.fullmatch(rf"{kind}[\d.]+t?", runtime.name)
        and runtime.release[: len(numbers)] == numbers
        and runtime.name.endswith("t") == (match["rest"] == "t")
    ]


def _places(extra: Sequence[str], environ: Mapping[str, str]) -> Iterator[Path]:
    """Directories that may hold interpreters, and interpreters, the likeliest first."""
    home = Path(environ.get("HOME") or "~").expanduser()
    yield from (Path(path) for path in extra)
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        # A shim is a script that picks one of the interpreters listed below by the directory it is run in.
        if directory.startswith("/") and "shims" not in Path(directory).parts:
            yield Path(directory)
    yield Path(sys.executable)
    versions = Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    managed = Path(
        environ.get("UV_PYTHON_INSTALL_DIR")
        or Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "uv" / "python"
    )
    for parent in (versions, managed):
        yield parent
        try:
            yield from (installed / "bin" for installed in sorted(parent.iterdir()))
        except OSError:
            continue


def _interpreters(place: Path) -> list[str]:
    try:
        if place.is_dir():
            return [
                entry.path
                for entry in os.scandir(place)
                if _INTERPRETER.fullmatch(entry.name) and entry.is_file() and os.access(entry.path, os.X_OK)
            ]
        return [str(place)] if place.is_file() else []
    except OSError:
        return []


def _probe(path: str) -> Runtime | None:
    """What the program says it is; None when it is no Python that runs."""
    try:
        answer = subprocess.run(
            [path, "-E", "-s", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        implementation, version, flags, executable = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    kind, title = ("python", "Python") if implementation == "CPython" else (implementation.lower(), implementation)
    free_threaded = "t" if "t" in flags else ""
    name = f"{kind}{'.'.join(version.split('.')[:2])}{free_threaded}"
    return Runtime(name=name, description=f"{title} {version}", version=version, path=executable)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 -- dozens of them before every build
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
