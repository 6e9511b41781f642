"""Decide which kind of fork server can start an instance, or why none can.

A program whose behaviour depends on how its process begins, so that a fork would differ, is never forked.
"""

import hashlib
import os
import re
import resource
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from reconciler.linux.dataclass import dataclass
from reconciler.linux.processes import Command
from reconciler.linux.regular_files import read_file
from reconciler.serving.forkserver.gunicorn_releases import RELEASES, installed, why_unknown
from reconciler.serving.programs.program import Forkable

_OLDEST = (3, 8)
_MODULES = {
    "sync": "gunicorn.workers.sync",
    "gthread": "gunicorn.workers.gthread",
    "asgi": "gunicorn.workers.gasgi",
    "uvicorn.workers.UvicornWorker": "gunicorn.workers.base",
    "uvicorn.workers.UvicornH11Worker": "gunicorn.workers.base",
}
# Read once, by the interpreter, its libraries or gunicorn, before anything of an instance could change it.
_READ_AT_START = re.compile(
    r"PYTHON.*|LD_.*|MALLOC_.*|GLIBC_TUNABLES|OPENSSL_.*|LC_.*|LANGUAGE|LOCPATH|GCONV_PATH|COVERAGE_.*|COV_.*"
    r"|GUNICORN_CMD_ARGS|SETUPTOOLS_USE_DISTUTILS"
)
_LONGEST_STRING = 32 * 4096  # MAX_ARG_STRLEN of <linux/binfmts.h>
MOST_OF_A_FILE = 4 << 20  # an app can replace what is in its environment
_OURS = {"PYTHONUNBUFFERED": "1"}
_HARMLESS = ("_virtualenv.pth", "distutils-precedence.pth", "-nspkg.pth")


class _Stamp(NamedTuple):
    """What tells a file or a directory from one that was changed or replaced since."""

    path: str
    inode: int
    changed_ns: int
    noted_ns: int


class NotForkable(Exception):
    """No fork server can start an instance; the text says why, as the end of a sentence after "because"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkKind:
    """The identity of fork servers that can stand in for one another, whatever environment they started in.

    `interpreter` is the identity of a file, `gunicorn` a digest of the package's modules: an environment that was made
    again, or another one with the same gunicorn, is of the same kind, and one in which an app changed gunicorn is not.
    `hooks` are what its packages run whenever Python starts; those `for_isolated` apps begin without any.
    """

    interpreter: tuple[str, int, int]
    gunicorn: str
    hooks: tuple[tuple[str, int], ...]
    launcher: str
    module: str
    for_isolated: bool = False


def kind(command: Command, forkable: Forkable | None, *, isolated: bool = False) -> ForkKind:
    """Return the kind of fork server that can start this. Raises NotForkable if none can.

    That of isolated apps has loaded nothing but a known release of gunicorn, whatever the environment holds besides.
    """
    if forkable is None:
        raise NotForkable("only gunicorn is forked")
    release = _release(forkable.runtime)
    module = _module(forkable)
    if _too_large(command):
        raise NotForkable("no program can be started with arguments and an environment that large")
    variable = _read_at_start(command.env)
    if variable is not None:
        raise NotForkable(f"{variable} is read when a program starts")
    python = Path(command.argv[0])
    environment = python.parent.parent
    packages = environment / f"lib/python{release[0]}.{release[1]}/site-packages"
    try:
        if b"include-system-site-packages = true" in read_file(environment / "pyvenv.cfg", MOST_OF_A_FILE):
            raise NotForkable("its environment has the packages of the whole system")
        interpreter = _stamp(str(python))
        gunicorn, hooks = _gunicorn(f"{packages}/gunicorn"), tuple(_hooks(packages))
    except OSError as error:
        raise NotForkable(f"its environment is not as expected: {error}") from error
    if isolated and gunicorn not in RELEASES:
        raise NotForkable(why_unknown(_installed(packages)))
    if isolated and (packages / "inotify").exists():
        raise NotForkable("inotify is installed, which gunicorn would have loaded")
    return ForkKind(
        interpreter=(_resolved(interpreter), interpreter.inode, interpreter.changed_ns),
        gunicorn=gunicorn,
        hooks=() if isolated else hooks,
        launcher=command.argv[1],
        module=module,
        for_isolated=isolated,
    )


def _installed(packages: Path) -> str:
    try:
        return installed(packages)
    except OSError:
        return ""


def _gunicorn(package: str) -> str:
    """Return a digest of gunicorn's modules, read again when a file was added, replaced or removed. Raises OSError.

    One that was written in place is noticed by the fork server, which compares what it has imported.
    """
    return _digest(package, tuple(map(_stamp, _directories(package, _stamp(package)))))


@lru_cache(maxsize=1024)
def _directories(package: str, _: _Stamp) -> tuple[str, ...]:
    """Return a package's directories, itself included."""
    found = [package]
    with os.scandir(package) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
                found += _directories(entry.path, _stamp(entry.path))
    return tuple(sorted(found))


@lru_cache(maxsize=1024)
def _digest(package: str, stamps: tuple[_Stamp, ...]) -> str:
    """Return a digest of the names and contents of the modules in these directories. Raises OSError."""
    read = dict[str, bytes]()
    for directory in stamps:
        with os.scandir(directory.path) as entries:
            for entry in entries:
                if entry.name.endswith((".py", ".so")):
                    read[entry.path[len(package) + 1 :]] = read_file(entry.path, MOST_OF_A_FILE)
    return digest_of(read)


def digest_of(modules: Mapping[str, bytes]) -> str:
    """Return a digest of modules, by their names in a package."""
    digest = hashlib.sha256()
    for name, content in sorted(modules.items()):
        digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return digest.hexdigest()


def _stamp(path: str) -> _Stamp:
    facts = os.stat(path)  # noqa: PTH116  several at each start
    return _Stamp(path, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns)


@lru_cache(maxsize=64)
def _resolved(python: _Stamp) -> str:
    """Return where an interpreter is, once every link is followed."""
    return os.path.realpath(python.path)


def _release(runtime: str) -> tuple[int, int]:
    release = re.match(r"python (\d+)\.(\d+)", runtime)
    if release is None:
        raise NotForkable(f"it runs on {runtime}")
    found = int(release[1]), int(release[2])
    if found < _OLDEST:
        raise NotForkable(f"{runtime} is too old for fork servers")
    return found


def _module(forkable: Forkable) -> str:
    worker = forkable.worker_class
    if worker not in _MODULES:
        raise NotForkable(f"worker class {worker} may change Python before anything else is imported")
    if forkable.preloads_app:
        raise NotForkable("its master imports the app (preload_app)")
    return _MODULES[worker]


def _hooks(packages: Path) -> Iterator[tuple[str, int]]:
    """Return the .pth files of an environment that run code, with a checksum of each. Raises NotForkable."""
    for name in _files_of_hooks(_stamp(str(packages))):
        text = read_file(packages / name, MOST_OF_A_FILE)
        if any(line.startswith((b"import ", b"import\t")) for line in text.splitlines()):
            if not name.endswith(_HARMLESS):
                raise NotForkable(f"{name} runs code whenever Python starts")
            yield name, zlib.crc32(text)


@lru_cache(maxsize=64)
def _files_of_hooks(packages: _Stamp) -> tuple[str, ...]:
    """Return the .pth files of an environment. Raises NotForkable for what else runs whenever Python starts."""
    names = sorted(os.listdir(packages.path))  # noqa: PTH208  names are all there is to know
    if "setproctitle" in names or "setproctitle.py" in names:
        raise NotForkable("setproctitle is installed, which keeps to itself where the arguments are")
    for name in names:
        if name.startswith(("sitecustomize.", "usercustomize.")):
            raise NotForkable(f"{name} runs whenever Python starts")
    return tuple(name for name in names if name.endswith(".pth"))


def _too_large(command: Command) -> bool:
    """Whether exec refuses this, as every exec in the instance would: execve(2), "Limits on size"."""
    sizes = [len(os.fsencode(each)) + 1 for each in command.argv]
    sizes += [len(os.fsencode(f"{name}={value}")) + 1 for name, value in command.env.items()]
    room = resource.getrlimit(resource.RLIMIT_STACK)[0]
    total = sum(sizes) + 8 * len(sizes)
    return max(sizes) > _LONGEST_STRING or (room != resource.RLIM_INFINITY and total > room // 4)


def _read_at_start(env: Mapping[str, str]) -> str | None:
    return next((name for name in env if _READ_AT_START.fullmatch(name) and env[name] != _OURS.get(name)), None)
