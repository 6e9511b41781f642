"""The name of a tool in, a Python that has it out: each in an environment of its own, made when it is first needed.

They do what only they can: read their own lock files, and make environments for Pythons that are long gone.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.file_lock import locked
from reconciler.linux.files import remove
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log

_FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program of the package index: `needs` is what to install, `newest` the last Python (3.x) it runs on."""

    name: str
    needs: tuple[str, ...]
    newest: int = 99


POETRY = Tool(name="poetry", needs=("poetry>=2,<3", "poetry-plugin-export>=1.9"))
PIPENV = Tool(name="pipenv", needs=("pipenv>=2024",))
# The last that makes environments for 2.7 and 3.6 (20.22 gave up both), and for 3.7.
OLD_VIRTUALENV = Tool(name="virtualenv", needs=("virtualenv>=20.21,<20.22",), newest=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What commands are run with: where they write and report to, their environment, and where packages come from.

    `packages` are an installer's own options; uv and pip share those that are used.
    """

    log: Log
    tell: Callable[[str], None]
    environment: Mapping[str, str]
    packages: tuple[str, ...] = ()


class Tools:
    """The tool environments of this host in `directory`."""

    def __init__(self, directory: Path, cache: Path, uv: str) -> None:
        self._directory = directory
        self._cache = cache
        self._uv = uv

    async def python(self, tool: Tool, runtimes: Sequence[Runtime], work: Work) -> str:
        """The interpreter of the tool's environment, made from one of `runtimes`; StagingError when it cannot be."""
        base = _base(tool, runtimes)
        key = hashlib.sha256(" ".join((base, *tool.needs)).encode()).hexdigest()[:12]
        directory = self._directory / f"{tool.name}-{key}"
        python = directory / "bin" / "python"
        async with locked(
            directory.with_suffix(".lock"), lambda: work.tell(f"waiting for {tool.name} to be installed")
        ) as lock:
            if (directory / _FINISHED).is_file() and os.access(python, os.X_OK):
                return str(python)
            await in_thread(lambda _: remove(directory))
            try:
                await self._make(tool, directory, base, work, lock)
            except StagingError as error:
                await in_thread(lambda _: remove(directory))
                raise StagingError(f"cannot install {tool.needs[0]}, which is needed here: {error}") from error
            except BaseException:
                await in_thread(lambda _: remove(directory))
                raise
            (directory / _FINISHED).touch()
        return str(python)

    async def _make(self, tool: Tool, directory: Path, python: str, work: Work, lock: int) -> None:
        cache = ("--cache-dir", str(self._cache / "uv"))
        for arguments in (
            (self._uv, "venv", "--quiet", *cache, "--python", python, str(directory)),
            (
                *(self._uv, "pip", "install", "--quiet", *cache, "--link-mode", "hardlink"),
                *("--python", str(directory / "bin" / "python"), *work.packages, *tool.needs),
            ),
        ):
            await run(
                Command(
                    doing=f"installing {tool.name}, once for this host",
                    arguments=arguments,
                    environment=work.environment,
                    held=(lock,),
                ),
                work.log,
                work.tell,
            )


def _base(tool: Tool, runtimes: Sequence[Runtime]) -> str:
    """Our own Python when the tool runs on it, else the newest of the host that it runs on."""
    if sys.version_info[1] <= tool.newest:
        return os.path.realpath(sys.executable)
    fitting = [each for each in runtimes if each.stable and (3, 8) <= each.release[:2] <= (3, tool.newest)]
    if not fitting:
        raise StagingError(f"{tool.name} is needed here, and it does not run on any Python newer than 3.{tool.newest}")
    return fitting[-1].path
