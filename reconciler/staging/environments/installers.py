"""What to install in; the command lines of uv and of pip that install it, out. pip serves the Pythons uv gave up."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler.staging.detection.runtimes import Runtime

OLDEST_FOR_UV = (3, 8)


class Installer(Protocol):
    """Makes an environment and puts packages into it."""

    def create(self, interpreter: str, directory: Path) -> tuple[str, ...]:
        """The command that makes an environment of an interpreter."""
        ...

    def install(self, what: Sequence[str], *, exactly: bool = False) -> tuple[str, ...]:
        """The command that installs requirements and files of them; `exactly` those, whatever they need themselves."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """uv into the environment of `python`, with hard links from its cache; `packages` says where they come from."""

    uv: str
    cache: Path
    python: Path
    packages: tuple[str, ...] = ()

    def create(self, interpreter: str, directory: Path) -> tuple[str, ...]:
        return (
            *(sys.executable, "-I", "-m", "virtualenv", "--quiet", "--no-seed", "--no-periodic-update"),
            *("--no-vcs-ignore", "--app-data", str(self.cache / "virtualenv")),
            *("--python", interpreter, str(directory)),
        )

    def install(self, what: Sequence[str], *, exactly: bool = False) -> tuple[str, ...]:
        return (
            *(self.uv, "pip", "install", "--python", str(self.python), "--cache-dir", str(self.cache / "uv")),
            *("--link-mode", "hardlink", "--no-editable", "--color", "never"),
            *(("--no-deps",) if exactly else ()),
            *(("--offline",) if "--no-index" in self.packages else ()),
            *self.packages,
            *what,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pip:
    """The environment's own pip, which came with it; `virtualenv` is a Python that has one old enough to make it."""

    virtualenv: str
    cache: Path
    python: Path
    packages: tuple[str, ...] = ()

    def create(self, interpreter: str, directory: Path) -> tuple[str, ...]:
        return (
            *(self.virtualenv, "-I", "-m", "virtualenv", "--quiet", "--no-periodic-update", "--no-vcs-ignore"),
            *("--app-data", str(self.cache / "virtualenv-old"), "--python", interpreter, str(directory)),
        )

    def install(self, what: Sequence[str], *, exactly: bool = False) -> tuple[str, ...]:
        return (
            *(str(self.python), "-m", "pip", "install", "--cache-dir", str(self.cache / "pip")),
            *(("--no-deps",) if exactly else ()),
            *self.packages,
            *what,
        )


def is_old(runtime: Runtime) -> bool:
    """Whether only pip can install for it."""
    return runtime.release < OLDEST_FOR_UV
