"""Export a lock file as a requirements file: each format by its own tool or conversion, nothing is resolved again.

A lock that no longer matches its project is an error that names both files and the command that fixes it.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_file
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.dependencies import Dependencies
from reconciler.staging.detection.lockfiles.format import (
    ExportByConversion,
    ExportByTool,
    ExportOptions,
    LockFormat,
    Tool,
)
from reconciler.staging.detection.pyproject import FILE as PYPROJECT
from reconciler.staging.detection.pyproject import project_table
from reconciler.staging.detection.runtimes import Runtime, choose
from reconciler.staging.environments.installers import is_old, kept_in
from reconciler.staging.environments.tools import CommandContext, Tools
from reconciler.staging.errors import CommandFailed, StagingError
from reconciler.staging.source.reading import LARGEST_LOCK

# A path with its extras, and a marker or hashes behind it.
_PATH = re.compile(r"(?P<path>[^\s;\[]*)(?P<extras>\[[^\]]*\])?(?P<rest>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """Exports lock files with the tools, uv and its cache; one of `runtimes` runs a tool that needs its own Python."""

    tools: Tools
    uv: str
    cache: Path
    runtimes: tuple[Runtime, ...]

    async def export(
        self, code: Path, found: Dependencies, runtime: Runtime, output: Path, context: CommandContext
    ) -> None:
        """Write the locked requirements to the file `output`; raises StagingError if the lock is stale.

        A tool's output is a draft, read as a stranger's: code of the app may have run.
        """
        lock, directory = found.lock, code / found.directory
        assert lock is not None
        project = await in_thread(lambda _: project_table(directory))
        draft = (context.drafts or output.parent) / f"{output.name}.draft"
        await in_thread(lambda _: draft.unlink(missing_ok=True))
        without = posixpath.join(found.directory, PYPROJECT) if project else ""
        match lock.export:
            case ExportByTool() as export:
                options = ExportOptions(
                    program=await self._program(export.tool, context),
                    python=None if is_old(runtime) else runtime.path,
                    extras=found.extras,
                    groups=found.groups,
                    output=draft,
                )
                checking = await in_thread(partial(self._checking, lock, options, directory))
                commands = _commands(lock, export, (checking, options), directory)
                kept = await in_thread(lambda _: kept_in(self.cache))
                caching = replace(context, environment={**context.environment, **kept})
                await _export_by_tool(lock, commands, caching, without)
            case ExportByConversion() as export:

                def convert(_: object) -> None:
                    content = lock.read(directory / lock.file)
                    mismatch = export.mismatch(content, project, runtime.version)
                    if mismatch:
                        raise lock.stale(mismatch, without)
                    draft.write_text(export.requirements(content, found.extras, found.groups), encoding="utf-8")

                await in_thread(convert)

        def rewrite(_: object) -> None:
            text = read_file(draft, LARGEST_LOCK, within=draft.parent).decode(errors="replace")
            draft.unlink()
            replace_file(output, installable(text, directory, itself=found.itself), mode=0o644, durable=False)

        await in_thread(rewrite)

    def _checking(self, lock: LockFormat, options: ExportOptions, directory: Path, _: object) -> ExportOptions | None:
        """Return what the lock is checked with; None if it needs no check, or none is possible on this host."""
        export = lock.export
        assert isinstance(export, ExportByTool)
        if not (directory / lock.project).is_file():
            return None
        content = lock.read(directory / lock.file)
        if export.matches(directory, content):
            return None
        minor = export.checked_with(directory, content)
        if not minor or options.python is None:
            return options
        with suppress(StagingError):
            return replace(options, python=choose(self.runtimes, minor).path)
        return None

    async def _program(self, tool: Tool | None, context: CommandContext) -> tuple[str, ...]:
        if tool is None:
            return (self.uv, "--quiet", "--color", "never")
        return (await self.tools.python(tool, self.runtimes, context), "-I", "-m", tool.name)


def _commands(
    lock: LockFormat, export: ExportByTool, options: tuple[ExportOptions | None, ExportOptions], directory: Path
) -> Iterator[Command]:
    """Yield the commands that check a lock, if it is to be checked, and export it."""
    checking, exporting = options
    if checking is not None:
        yield Command(activity=f"checking {lock.file}", arguments=export.check(checking), directory=str(directory))
    yield Command(
        activity=f"reading {lock.file}",
        arguments=export.export(exporting),
        directory=str(directory),
        stdout=exporting.output if export.to_stdout else None,
    )


async def _export_by_tool(lock: LockFormat, commands: Iterable[Command], context: CommandContext, without: str) -> None:
    assert isinstance(lock.export, ExportByTool)
    for command in commands:
        environment = _tool_environment(context, Path(command.directory))
        try:
            await run(context.enclosed(replace(command, environment=environment)), context.log, context.progress)
        except CommandFailed as error:
            if lock.export.stale.search("\n".join(error.output)):
                raise lock.stale(without=without) from error
            raise CommandFailed(f"cannot use {lock.file}: {error}") from error


def _tool_environment(context: CommandContext, directory: Path) -> dict[str, str]:
    """Return an environment with its own HOME: tools keep settings and environments there, beside the code."""
    home = str(directory.parent)
    return {
        **context.environment,
        "HOME": home,
        "XDG_CONFIG_HOME": f"{home}/.config",
        "XDG_DATA_HOME": f"{home}/.data",
        "XDG_CACHE_HOME": f"{home}/.cache",
        "POETRY_VIRTUALENVS_CREATE": "false",
        "PIPENV_NOSPIN": "1",
        "PIPENV_IGNORE_VIRTUALENVS": "1",
        "PIPENV_DONT_LOAD_ENV": "1",
    }


def installable(text: str, directory: Path, *, itself: bool) -> str:
    """Make paths that are relative to the lock file absolute, and drop editable installs.

    The project itself is left out if it is installed by itself.
    """
    lines = []
    for line in text.splitlines():
        editable = line.startswith("-e ")
        bare = line.removeprefix("-e ").strip() if editable else line
        path, extras, rest = _PATH.fullmatch(bare).groups()  # type: ignore[union-attr]  # matches anything
        if "://" not in path and (editable or path.startswith(("./", "../")) or _is_path(directory, path)):
            absolute = (directory / path).resolve()
            if itself and absolute == directory.resolve():
                continue
            bare = f"{absolute}{extras or ''}{rest}"
        lines.append(bare)
    return "\n".join(lines) + "\n"


def _is_path(directory: Path, text: str) -> bool:
    return text == "." or ("/" in text and not text.startswith("#") and (directory / text).exists())
