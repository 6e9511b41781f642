"""Discover the Python interpreters of this host, and choose the one that a `runtime` names.

They are searched on PATH, in pyenv, in uv's directory and in the host's settings. Each one is run to learn its version,
and an interpreter with several names is listed once. Discovery blocks until all of them have answered.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from reconciler.linux.bounded_output import output_of
from reconciler.linux.dataclass import dataclass
from reconciler.staging.errors import StagingError

_OLDEST_3 = (3, 6)
_OLDEST = (2, 7)

_PROBE_TIMEOUT_S = 10.0
_MOST_PRINTED = 64 * 1024
_INTERPRETER = re.compile(r"(python|pypy)(\d(\.\d+)?t?)?")
_NAME = re.compile(r"(?:(?P<kind>[a-z]+)[-@]?)?(?P<version>\d+(?:\.\d+){0,2})?(?P<rest>t|\.x|\.\*)?")
_PATCH = re.compile(r"(?P<kind>[A-Za-z]+[-@]?)?(?P<minor>\d+\.\d+)\.\d+")
# Runs on every Python; -E -s -S ignores the host's Python configuration.
_PROBE = (
    "import json, os, platform, sys; print(json.dumps(["
    "platform.python_implementation(), platform.python_version(), getattr(sys, 'abiflags', ''),"
    "os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One interpreter: `name` as in a manifest, `version` as it reports it, `path` with links resolved."""

    name: str
    description: str
    version: str
    path: str

    @property
    def release(self) -> tuple[int, ...]:
        """The numbers of the version: (3, 12, 1)."""
        return _numbers(self.version)

    @property
    def stable(self) -> bool:
        """False for pre-releases and free-threaded builds, which are only chosen by name."""
        return re.fullmatch(r"[\d.]+", self.version) is not None and not self.name.endswith("t")


@cache  # each app that is staged compares all interpreters
def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def discover(extra: Sequence[str], environ: Mapping[str, str] = os.environ) -> tuple[Runtime, ...]:
    """Return every interpreter of this host, oldest first; `extra` are programs or directories from its settings."""
    programs = dict.fromkeys(map(os.path.realpath, programs_of(extra, environ)))
    from concurrent.futures import ThreadPoolExecutor  # whoever only chooses among runtimes needs no threads

    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="runtime") as probes:
        found = {runtime.path: runtime for runtime in probes.map(probe, programs) if runtime is not None}
    return tuple(sorted(found.values(), key=lambda runtime: (not runtime.name.startswith("python"), runtime.release)))


def program_names(extra: Sequence[str], environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the names of the programs that may be interpreters of this host; none of them is run."""
    return frozenset(Path(path).name for path in programs_of(extra, environ))


def programs_of(extra: Sequence[str], environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield the paths of the programs that may be interpreters of this host; none of them is run."""
    for directory in search_paths(extra, environ):
        yield from _interpreters(directory)


def choose(runtimes: Sequence[Runtime], name: str | None) -> Runtime:
    """Return the runtime of a name: `python3`, `python3.12`, `3.12`, `3.12.1`, a path; None is the newest python3.

    Raises StagingError with the names of all runtimes if none matches, or if it is older than is supported.
    """
    if name is not None and name.startswith("/"):
        matching = [runtime for runtime in runtimes if runtime.path == os.path.realpath(name)]
    else:
        matching = _matching(runtimes, name)
    supported = [runtime for runtime in matching if is_supported(runtime)]
    if supported:
        return max(supported, key=lambda runtime: (runtime.stable, runtime.release))
    if matching or _is_too_old(name):
        which = matching[0].description if matching else f"runtime {name!r}"
        raise StagingError(
            f"{which} is not supported, only 2.7 and 3.6 or newer; this host has {names(runtimes)}",
            retry=None if _is_too_old(name) else "later",
        )
    other = None if name is None else same_minor(runtimes, name)
    if other is not None:
        raise StagingError(
            f"this host has no runtime {name!r}, but {other.version}, which the name {other.name} stands for",
            retry="later",
        )
    raise StagingError(f"this host has no runtime {name or 'python3'!r}; it has {names(runtimes)}", retry="later")


def same_minor(runtimes: Sequence[Runtime], name: str) -> Runtime | None:
    """Return the newest patch release of the minor version of which a name pins another; None if it pins none."""
    pinned = _PATCH.fullmatch(name.strip())
    matching = [] if pinned is None else _matching(runtimes, f"{pinned['kind'] or ''}{pinned['minor']}")
    supported = [runtime for runtime in matching if is_supported(runtime) and runtime.stable]
    return max(supported, key=lambda runtime: runtime.release, default=None)


def is_supported(runtime: Runtime) -> bool:
    """Tell whether gunicorn and an installer still support a runtime."""
    return _is_new_enough(runtime.release)


def _is_new_enough(release: tuple[int, ...]) -> bool:
    return release[:2] == _OLDEST or release >= _OLDEST_3


def _is_too_old(name: str | None) -> bool:
    """Tell whether a name is of a Python that no host can make suitable."""
    match = _NAME.fullmatch((name or "").strip().lower())
    numbers = () if match is None else tuple(int(each) for each in (match["version"] or "").split(".") if each)
    return len(numbers) > 1 and not _is_new_enough(numbers)


def names(runtimes: Iterable[Runtime]) -> str:
    """Return the names of runtimes in one line."""
    return ", ".join(dict.fromkeys(runtime.name for runtime in runtimes)) or "no Python at all"


def _matching(runtimes: Sequence[Runtime], name: str | None) -> list[Runtime]:
    match = _NAME.fullmatch((name or "python3").strip().lower())
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


def search_paths(extra: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield directories that may contain interpreters, and interpreters, the likeliest first."""
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 -- asked before every build
    yield from extra
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        # A shim is a script that selects one of the interpreters below by its working directory.
        if directory.startswith("/") and "shims" not in directory.split("/"):
            yield directory
    yield sys.executable
    managed = environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    for parent in (
        f"{environ.get('PYENV_ROOT') or f'{home}/.pyenv'}/versions",
        environ.get("UV_PYTHON_INSTALL_DIR") or f"{managed}/uv/python",
    ):
        yield parent
        try:
            yield from (f"{parent}/{installed}/bin" for installed in sorted(os.listdir(parent)))  # noqa: PTH208 -- same
        except OSError:
            continue


def _interpreters(place: str) -> list[str]:
    path = Path(place)
    try:
        if path.is_dir():
            return [
                entry.path
                for entry in os.scandir(path)
                if _INTERPRETER.fullmatch(entry.name) and entry.is_file() and os.access(entry.path, os.X_OK)
            ]
        return [str(path)] if path.is_file() else []
    except OSError:
        return []


def probe(path: str) -> Runtime | None:
    """Run a program to learn what it is; None if it is not a working Python."""
    try:
        code, printed = output_of(
            [path, "-E", "-s", "-S", "-c", _PROBE],
            within_s=_PROBE_TIMEOUT_S,
            at_most=_MOST_PRINTED,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
        )
        if code != 0:
            return None
        implementation, version, flags, executable = json.loads(printed)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    kind, title = ("python", "Python") if implementation == "CPython" else (implementation.lower(), implementation)
    free_threaded = "t" if "t" in flags else ""
    name = f"{kind}{'.'.join(version.split('.')[:2])}{free_threaded}"
    return Runtime(name=name, description=f"{title} {version}", version=version, path=executable)


def stamp(path: str) -> tuple[int, int, int] | None:
    """Return what differs once a file or a directory has changed, None if there is none."""
    try:
        stat = os.stat(path)  # noqa: PTH116 -- dozens of them before every build
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
