"""A lock file in; a requirements file with what it fixed, out. Each tool reads its own: nothing is resolved again.

A lock that no longer fits its project is an error that names both files and the command that mends it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.staging.command import Command, run
from reconciler.staging.detection import lockfiles
from reconciler.staging.detection.dependencies import Dependencies
from reconciler.staging.detection.python_version import project_table
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments.installers import is_old
from reconciler.staging.environments.tools import PIPENV, POETRY, Tool, Tools, Work
from reconciler.staging.errors import StagingError

_OUT_OF_STEP = re.compile(
    r"needs to be updated|network (?:was|is) disabled|not found in the cache"
    r"|changed significantly|out-of-date|not up to date"
)
_WAY_OUT = {
    "uv": ("pyproject.toml", "uv lock"),
    "poetry": ("pyproject.toml", "poetry lock"),
    "pipenv": ("Pipfile", "pipenv lock"),
    "pylock": ("pyproject.toml", "uv export -o pylock.toml"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """What exporting takes: the tools, uv, its cache, and the Pythons of this host to run tools with."""

    tools: Tools
    uv: str
    cache: Path
    runtimes: tuple[Runtime, ...]

    async def export(self, code: Path, found: Dependencies, runtime: Runtime, into: Path, work: Work) -> None:
        """Write what the lock file fixed into the file `into`; StagingError when it is out of step."""
        directory = code / found.directory
        match found.kind:
            case "uv":
                await self._uv(directory, found, runtime, into, work)
            case "poetry":
                await self._poetry(directory, found, into, work)
            case "pipenv":
                await self._pipenv(directory, found, into, work)
            case _:
                self._pylock(directory, found, runtime, into)
        into.write_text(_absolute(into.read_text(encoding="utf-8"), directory), encoding="utf-8")

    async def _uv(self, directory: Path, found: Dependencies, runtime: Runtime, into: Path, work: Work) -> None:
        python = () if is_old(runtime) else ("--python", runtime.path)
        common = ("--quiet", "--cache-dir", str(self.cache / "uv"), "--color", "never", *python)
        if (directory / "pyproject.toml").is_file():
            # Without the network: a lock that fits is found to fit, and one that does not fails sooner.
            check = (self.uv, "lock", "--check", "--offline", *common)
            await self._checked(found, "checking uv.lock", check, directory, work)
        chosen = (*_each("--extra", found.extras), *_each("--group", found.groups))
        await self._run(
            Command(
                doing="reading uv.lock",
                arguments=(
                    *(self.uv, "export", "--frozen", "--offline", "--format", "requirements.txt", *common),
                    *("--no-default-groups", "--no-editable", "--no-emit-project", "--no-header", "--no-annotate"),
                    *chosen,
                    *("--output-file", str(into)),
                ),
                directory=str(directory),
                environment=work.environment,
            ),
            work,
        )

    async def _poetry(self, directory: Path, found: Dependencies, into: Path, work: Work) -> None:
        poetry = (await self.tools.python(POETRY, self.runtimes, work), "-I", "-m", "poetry", "--no-ansi", "-n")
        await self._checked(found, "checking poetry.lock", (*poetry, "check", "--lock"), directory, work)
        await self._run(
            Command(
                doing="reading poetry.lock",
                arguments=(
                    *(*poetry, "export", "--format", "requirements.txt", "--output", str(into)),
                    *_each("--extras", found.extras),
                    *_each("--with", found.groups),
                ),
                directory=str(directory),
                environment=_for_tools(work, directory),
            ),
            work,
        )

    async def _pipenv(self, directory: Path, found: Dependencies, into: Path, work: Work) -> None:
        pipenv = (await self.tools.python(PIPENV, self.runtimes, work), "-I", "-m", "pipenv")
        if (directory / "Pipfile").is_file():
            await self._checked(found, "checking Pipfile.lock", (*pipenv, "verify"), directory, work)
        if found.extras:
            raise StagingError("cannot choose extras of Pipfile.lock: it has only groups, called categories")
        categories = ("--categories", ",".join(("packages", *found.groups))) if found.groups else ()
        await self._run(
            Command(
                doing="reading Pipfile.lock",
                arguments=(*pipenv, "requirements", "--hash", *categories),
                directory=str(directory),
                environment=_for_tools(work, directory),
                into=into,
            ),
            work,
        )

    def _pylock(self, directory: Path, found: Dependencies, runtime: Runtime, into: Path) -> None:
        lock = lockfiles.read(directory / found.file.rpartition("/")[2])
        misfit = lockfiles.misfit(lock, project_table(directory), runtime.version)
        if misfit:
            raise _out_of_step(found, misfit)
        into.write_text(lockfiles.as_requirements(lock, found.extras, found.groups), encoding="utf-8")

    async def _checked(
        self, found: Dependencies, doing: str, arguments: tuple[str, ...], directory: Path, work: Work
    ) -> None:
        command = Command(
            doing=doing, arguments=arguments, directory=str(directory), environment=_for_tools(work, directory)
        )
        try:
            await self._run(command, work)
        except StagingError as error:
            if _OUT_OF_STEP.search(str(error)):
                raise _out_of_step(found, "") from error
            raise StagingError(f"cannot use {found.file}: {error}") from error

    async def _run(self, command: Command, work: Work) -> None:
        await run(command, work.log, work.tell)


def tool_for(found: Dependencies) -> Tool | None:
    """The tool that reading this lock file takes; None when uv or nothing does."""
    return {"poetry": POETRY, "pipenv": PIPENV}.get(found.kind)


def _out_of_step(found: Dependencies, why: str) -> StagingError:
    project, command = _WAY_OUT[found.kind]
    said = f" ({why})" if why else ""
    return StagingError(f"cannot use {found.file}: it is out of step with {project}{said}; run `{command}`")


def _each(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (option, value))


def _for_tools(work: Work, directory: Path) -> dict[str, str]:
    """Tools keep settings and make environments below HOME: they get one of their own, beside the code they look at."""
    home = str(directory.parent)
    return {
        **work.environment,
        "HOME": home,
        "XDG_CONFIG_HOME": f"{home}/.config",
        "XDG_DATA_HOME": f"{home}/.data",
        "XDG_CACHE_HOME": f"{home}/.cache",
        "POETRY_VIRTUALENVS_CREATE": "false",
        "PIPENV_NOSPIN": "1",
        "PIPENV_IGNORE_VIRTUALENVS": "1",
        "PIPENV_DONT_LOAD_ENV": "1",
    }


def _absolute(text: str, directory: Path) -> str:
    """Paths that are relative to the lock file as absolute ones, and nothing editable."""
    lines = []
    for line in text.splitlines():
        bare = line.removeprefix("-e ").strip() if line.startswith("-e ") else line
        if bare.startswith(("./", "../")):
            path, semicolon, marker = bare.partition(" ;")
            bare = f"{(directory / path).resolve()}{semicolon}{marker}"
        lines.append(bare)
    return "\n".join(lines) + "\n"
