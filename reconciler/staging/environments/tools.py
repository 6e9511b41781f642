"""Install the tools that staging needs, each in an environment of its own, when first needed.

They do what only they can: read their own lock files, and create environments for Pythons that are long out of support.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.file_lock import locked
from reconciler.linux.files import remove
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.lockfiles.format import Tool
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments.installers import link_mode
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log
from reconciler.staging.progress import Phase, Progress

_FINISHED = "finished"

# The last that makes environments for 2.7 and 3.6 (20.22 gave up both), and for 3.7.
OLD_VIRTUALENV = Tool(name="virtualenv", needs=("virtualenv>=20.21,<20.22",), newest=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """What commands are run with: their log, progress and environment, and where packages come from.

    `packages` are an installer's options; uv and pip share those that are used. `enclosed` returns a command that reads
    the app's files as it is to run, `drafts` is where that may write, None for beside the result.
    """

    log: Log
    progress: Progress
    environment: Mapping[str, str]
    packages: tuple[str, ...] = ()
    enclosed: Callable[[Command], Command] = lambda command: command
    drafts: Path | None = None


class Tools:
    """The tool environments of this host in `directory`."""

    def __init__(self, directory: Path, cache: Path, uv: str) -> None:
        self.directory = directory
        self._cache = cache
        self._uv = uv

    async def python(self, tool: Tool, runtimes: Sequence[Runtime], context: CommandContext) -> str:
        """Return the interpreter of the tool's environment, created from one of `runtimes` if there is none yet."""
        base = _base(tool, runtimes)
        key = hashlib.sha256(" ".join((base, *tool.needs)).encode()).hexdigest()[:12]
        directory = self.directory / f"{tool.name}-{key}"
        python = directory / "bin" / "python"
        waiting = Phase(activity=f"waiting for another installation of {tool.name}")
        async with locked(directory.with_suffix(".lock"), lambda: context.progress(waiting)) as lock:
            if (directory / _FINISHED).is_file() and os.access(python, os.X_OK):
                return str(python)
            await in_thread(lambda _: remove(directory))
            try:
                await self._install(tool, directory, base, context, lock)
            except StagingError as error:
                await in_thread(lambda _: remove(directory))
                raise StagingError(f"cannot install {tool.needs[0]}, which this app needs: {error}") from error
            except BaseException:
                await in_thread(lambda _: remove(directory))
                raise
            (directory / _FINISHED).touch()
        return str(python)

    async def _install(self, tool: Tool, directory: Path, base: str, context: CommandContext, lock: int) -> None:
        cache = ("--cache-dir", str(self._cache / "uv"))
        for arguments in (
            (self._uv, "venv", "--quiet", *cache, "--python", base, str(directory)),
            (
                *(self._uv, "pip", "install", "--quiet", *cache, "--link-mode", link_mode(self._cache)),
                *("--python", str(directory / "bin" / "python"), *context.packages, *tool.needs),
            ),
        ):
            await run(
                Command(
                    activity=f"installing {tool.name}, once for this host",
                    arguments=arguments,
                    environment=context.environment,
                    pass_fds=(lock,),
                ),
                context.log,
                context.progress,
            )


def _base(tool: Tool, runtimes: Sequence[Runtime]) -> str:
    """Return the daemon's own Python if the tool runs on it, else the newest of the host that it runs on."""
    if sys.version_info[1] <= tool.newest:
        return os.path.realpath(sys.executable)
    fitting = [each for each in runtimes if each.stable and (3, 8) <= each.release[:2] <= (3, tool.newest)]
    if not fitting:
        lacks = f"this app needs {tool.name}, which requires a Python between 3.8 and 3.{tool.newest}"
        raise StagingError(lacks, retry="later")
    return fitting[-1].path
