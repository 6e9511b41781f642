"""Command lines of the installers: uv, and pip for the Pythons that uv gave up."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import has_reflinks
from reconciler.staging.command import Command
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments import own_files
from reconciler.staging.errors import StagingError
from reconciler.staging.source.tree import printable

OLDEST_FOR_UV = (3, 8)
LINK_MODE, HARD_LINKS = "UV_LINK_MODE", "hardlink"
_NEEDS_BUILD = re.compile(r"building (?:from source|source distributions?) .*is disabled|--no-build\b", re.IGNORECASE)
_NAMED = re.compile(r"(?:are required for|marked as|distributions? for|Package) `(?P<package>[^`\s]+)`")


class Installer(Protocol):
    """Creates an environment and installs packages into it."""

    def create(self, interpreter: str, directory: Path) -> tuple[str, ...]:
        """Return the command that creates an environment of an interpreter."""
        ...

    def install(self, requirements: Sequence[str], *, exactly: bool = False) -> tuple[str, ...]:
        """Return the command that installs requirements and requirements files; `exactly` without dependencies."""
        ...

    def from_index(self) -> "Installer":
        """Return the installer that takes packages from the host's indexes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """Installs with uv into the environment of `python`.

    `packages` are options that say where packages come from. Unless it `builds`, it takes wheels alone, and runs no
    code of a package. `kept_in` says how files get there.
    """

    uv: str
    cache: Path
    python: Path
    packages: tuple[str, ...] = ()
    builds: bool = True

    def create(self, interpreter: str, directory: Path) -> tuple[str, ...]:
        return (
            *(sys.executable, "-I", "-m", "virtualenv", "--quiet", "--no-seed", "--no-periodic-update"),
            *("--no-vcs-ignore", "--app-data", str(self.cache / "virtualenv")),
            *("--python", interpreter, str(directory)),
        )

    def install(self, requirements: Sequence[str], *, exactly: bool = False) -> tuple[str, ...]:
        return (
            *(self.uv, "pip", "install", "--python", str(self.python)),
            *("--no-editable", "--color", "never"),
            *(("--no-deps",) if exactly else ()),
            *(() if self.builds else ("--no-build",)),
            *(("--offline",) if "--no-index" in self.packages else ()),
            *self.packages,
            *requirements,
        )

    def from_index(self) -> Installer:
        return replace(self, packages=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pip:
    """Installs with the environment's own pip; `virtualenv` is a Python with a virtualenv old enough to create it."""

    virtualenv: str
    cache: Path
    python: Path
    packages: tuple[str, ...] = ()

    def create(self, interpreter: str, directory: Path) -> tuple[str, ...]:
        return (
            *(self.virtualenv, "-I", "-m", "virtualenv", "--quiet", "--no-periodic-update", "--no-vcs-ignore"),
            *("--app-data", str(self.cache / "virtualenv-old"), "--python", interpreter, str(directory)),
        )

    def install(self, requirements: Sequence[str], *, exactly: bool = False) -> tuple[str, ...]:
        return (
            *(str(self.python), "-m", "pip", "install"),
            *(("--no-deps",) if exactly else ()),
            *self.packages,
            *requirements,
        )

    def from_index(self) -> Installer:
        return replace(self, packages=())


def kept_in(cache: Path, *, links: bool = False) -> dict[str, str]:
    """Return the variables by which uv and pip keep what they fetch and build in `cache`, and how uv installs it."""
    mode = link_mode(cache, links=links)
    return {"UV_CACHE_DIR": str(cache / "uv"), "PIP_CACHE_DIR": str(cache / "pip"), LINK_MODE: mode}


def needs_build(output: Sequence[str]) -> str:
    """Return what uv says it would have to build, where it may build nothing; "" if it failed for something else."""
    said = [line for line in output if _NEEDS_BUILD.search(line)]
    if not said:
        return ""
    named = next((found["package"] for line in said if (found := _NAMED.search(line))), "a package")
    return f"there is no wheel of {named}"


def link_mode(cache: Path, *, links: bool = False) -> str:
    """Return how uv brings files from the cache into environments: by reflinks where the file system has them.

    Elsewhere it copies them, as an app could write into the cache through a hard link, and so into the environments of
    others; or it `links` them, which is faster, for `own_files` to copy before an app is there.
    """
    if has_reflinks(cache):
        return "clone"
    return HARD_LINKS if links else "copy"


def copying(directory: Path, lock_fd: int) -> Command:
    """Return the command that puts copies in the place of the hard links in an environment, whose lock it inherits."""
    return Command(
        activity="copying packages",
        arguments=(sys.executable, "-I", "-S", str(own_files.__file__), str(directory)),
        pass_fds=(lock_fd,),
    )


def is_old(runtime: Runtime) -> bool:
    """Tell whether only pip can install for a runtime."""
    return runtime.release < OLDEST_FOR_UV


def check_directory(directory: Path, runtime: Runtime) -> None:
    """Raise StagingError if no environment of the runtime can be in a directory, because of its name."""
    path = str(directory)
    if ":" in path:
        why = "its path contains ':', which separates the directories of PATH"
    elif any("\ud800" <= letter <= "\udfff" for letter in path):
        why = "its path is not UTF-8"
    elif runtime.release[0] == 2 and not path.isascii():
        why = f"its path is not ASCII, as {runtime.description} needs it"
    else:
        return
    raise StagingError(f"no environment can be in {printable(path)}: {why}; choose another directory with --state")
