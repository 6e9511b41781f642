"""Export a lock file as a requirements file: each format by its own tool or conversion, nothing is resolved again.

A lock that no longer matches its project is an error that names both files and the command that fixes it.
"""

from dataclasses import dataclass
from pathlib import Path

from reconciler.staging.command import Command, run
from reconciler.staging.detection.dependencies import Dependencies
from reconciler.staging.detection.lockfiles.format import (
    ExportByConversion,
    ExportByTool,
    ExportOptions,
    LockFormat,
    Tool,
)
from reconciler.staging.detection.pyproject import project_table
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments.installers import is_old
from reconciler.staging.environments.tools import CommandContext, Tools
from reconciler.staging.errors import StagingError


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
        """Write the locked requirements to the file `output`; raises StagingError if the lock is stale."""
        lock, directory = found.lock, code / found.directory
        assert lock is not None
        match lock.export:
            case ExportByTool() as export:
                options = ExportOptions(
                    program=await self._program(export.tool, context),
                    python=None if is_old(runtime) else runtime.path,
                    extras=found.extras,
                    groups=found.groups,
                    output=output,
                )
                await _export_by_tool(lock, export, options, directory, context)
            case ExportByConversion() as export:
                content = lock.read(directory / lock.file)
                mismatch = export.mismatch(content, project_table(directory), runtime.version)
                if mismatch:
                    raise lock.stale(mismatch)
                output.write_text(export.requirements(content, found.extras, found.groups), encoding="utf-8")
        output.write_text(_with_absolute_paths(output.read_text(encoding="utf-8"), directory), encoding="utf-8")

    async def _program(self, tool: Tool | None, context: CommandContext) -> tuple[str, ...]:
        if tool is None:
            return (self.uv, "--quiet", "--cache-dir", str(self.cache / "uv"), "--color", "never")
        return (await self.tools.python(tool, self.runtimes, context), "-I", "-m", tool.name)


async def _export_by_tool(
    lock: LockFormat, export: ExportByTool, options: ExportOptions, directory: Path, context: CommandContext
) -> None:
    environment = _tool_environment(context, directory)
    checking = Command(
        activity=f"checking {lock.file}",
        arguments=export.check(options),
        directory=str(directory),
        environment=environment,
    )
    reading = Command(
        activity=f"reading {lock.file}",
        arguments=export.export(options),
        directory=str(directory),
        environment=environment,
        stdout=options.output if export.to_stdout else None,
    )
    has_project = (directory / lock.project).is_file()
    for command in (checking, reading) if has_project else (reading,):
        try:
            await run(command, context.log, context.progress)
        except StagingError as error:
            if export.stale.search(str(error)):
                raise lock.stale() from error
            raise StagingError(f"cannot use {lock.file}: {error}") from error


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


def _with_absolute_paths(text: str, directory: Path) -> str:
    """Make paths that are relative to the lock file absolute, and drop editable installs."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("-e ").strip() if line.startswith("-e ") else line
        if bare.startswith(("./", "../")):
            path, semicolon, marker = bare.partition(" ;")
            bare = f"{(directory / path).resolve()}{semicolon}{marker}"
        lines.append(bare)
    return "\n".join(lines) + "\n"
