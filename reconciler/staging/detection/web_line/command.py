"""Understand the command that starts an app's web process: which server or file it runs, and what else it does.

Programs that start another one (`exec`, `uv run`, `newrelic-admin run-program`), shells and shell scripts of the source
are looked through. Of several commands the server for production counts, then one for development, then a Python file.
"""

import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.shown_text import shown
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.web_line.options import WebProcess, report, web_process_of
from reconciler.staging.detection.web_line.servers import SERVERS
from reconciler.staging.detection.web_line.shell import ASSIGNMENT, SimpleCommand, simple_commands
from reconciler.staging.errors import StagingError

_PYTHON = re.compile(r"(?:python|pypy)[\d.]*")
_SOURCING = frozenset((".", "source"))
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh"))
# Programs that make the environment that the daemon makes here, and start another program in it.
_RUNNERS = frozenset(("uv", "poetry", "pipenv", "pdm", "hatch", "rye", "pixi", "conda", "micromamba"))
_HARMLESS = frozenset((
    "exec", "env", "nohup", "command", "time", "uvx", "run", "--", "-m", "--module", "--no-dev", "--frozen", "--locked",
    "--no-sync", "--quiet", "-q", "--active", "--no-project", "--offline", "--exact", "--no-default-groups",
))  # fmt: skip
# They name a server without starting it, or start what serves no HTTP.
_NEVER_START = frozenset((
    "pip", "pip3", "echo", "printf", "pkill", "killall", "service", "systemctl", "supervisorctl", "which", "type",
    "apt", "apt-get", "npm", "npx", "yarn", "celery", "rq", "huey_consumer", "test", "[", "[[", "grep", "ps",
    "django-admin",
))  # fmt: skip
_IN_CODE = {
    "newrelic-admin": "call newrelic.agent.initialize() in the code",
    "ddtrace-run": "import ddtrace.auto first in the code",
    "opentelemetry-instrument": "call opentelemetry.instrumentation.auto_instrumentation.initialize() in the code",
}
# They change nothing that outlives them.
_SILENT = frozenset(("cd", "exit", "wait", "true", ":", "set", "sleep", "echo", "printf", "trap", "shopt", "ulimit"))
_SILENT_TESTS = frozenset(("[", "[[", "test"))
_OPTIONS_WITH_VALUE = frozenset(("-W", "-X", "--check-hash-based-pycs"))
_MAX_DEPTH = 3
_MAX_SCRIPTS = 20
_LARGEST_SCRIPT = 128 << 10
_MAX_REPORTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A command that may be the web process; the higher its `rank`, the surer."""

    process: WebProcess
    rank: int
    command: SimpleCommand


class _Scripts:
    """The shell scripts that one look leads through: each is read once, and what it starts is found once at a depth."""

    def __init__(self) -> None:
        self.found: dict[tuple[Path, int], tuple[WebProcess, int] | None] = {}
        self._texts: dict[Path, str] = {}

    def text(self, path: Path, name: str) -> str | None:
        """Return the text of a script, None if there is none, or were too many before it."""
        if path not in self._texts and len(self._texts) < _MAX_SCRIPTS:
            with suppress(OSError, StagingError, ValueError):
                self._texts[path] = text_of(path, name, most=_LARGEST_SCRIPT)
        return self._texts.get(path)


def understand(line: str, code: Path) -> WebProcess | None:
    """Return the web process that a command line starts from the directory `code`; None if it cannot be told."""
    return _understood(line, code, _Scripts(), 0)


def _understood(line: str, code: Path, scripts: _Scripts, depth: int) -> WebProcess | None:
    try:
        commands = simple_commands(line)
    except ValueError:
        return None
    directory = ""
    candidates: list[_Candidate] = []
    for command in commands:
        if command.words[:1] == ("cd",) and len(command.words) > 1:
            directory = posixpath.join(directory, command.words[1])
        elif (found := _candidate(command, code / directory, scripts, depth)) is not None:
            chdir = posixpath.join(directory, found.process.chdir)
            candidates.append(replace(found, process=replace(found.process, chdir=_relative(chdir))))
    chosen = _choose(candidates)
    if chosen is None:
        return None
    if chosen.process.kind == "flask" and not chosen.process.target:
        target = _variable(commands, f"{chosen.process.server.upper()}_APP")
        chosen = replace(chosen, process=replace(chosen.process, target=target))
    others = [each for each in commands if each is not chosen.command]
    reported = (*_assigned(commands), *chosen.process.reported, *_others(others))
    if len(reported) > _MAX_REPORTED:
        reported = (*reported[:_MAX_REPORTED], f"and {len(reported) - _MAX_REPORTED} more")
    return replace(
        chosen.process,
        pythonpath=(*chosen.process.pythonpath, *_python_path(commands)),
        reported=reported,
    )


def absent_file(line: str, code: Path) -> str | None:
    """Return a Python file that a command line runs and that is not in the code; None if there is none such."""
    try:
        commands = simple_commands(line)
    except ValueError:
        return None
    for command in commands:
        words = command.words
        if words[:1] == ("cd",):
            return None  # what follows runs elsewhere
        file = next((word for word in words[1:] if not word.startswith("-")), "")
        runs = bool(words) and _PYTHON.fullmatch(_base(words[0])) is not None and "-m" not in words[:2]
        if runs and re.fullmatch(r"[\w./-]+\.py", file) and not file.startswith("/") and not (code / file).exists():
            return file
    return None


def _choose(candidates: list[_Candidate]) -> _Candidate | None:
    best = max((each.rank for each in candidates), default=0)
    chosen = [each for each in candidates if each.rank == best]
    if len(chosen) > 1:
        chosen = [each for each in chosen if each.command.operator != "&"] or chosen
    if best > 0 and len({(each.process.kind, each.process.target) for each in chosen}) > 1:
        return None
    return chosen[-1] if chosen else None


def _candidate(command: SimpleCommand, directory: Path, scripts: _Scripts, depth: int) -> _Candidate | None:
    words = list(command.words)
    if not words or _base(words[0]) in _NEVER_START:
        return None
    if _base(words[0]) in _RUNNERS and "run" not in words:
        return None
    for index, word in enumerate(words):
        prefix = words[:index]
        if word.endswith(".py") and not _starts_files(prefix):
            break
        found = _program(word, words[index + 1 :], directory, scripts, depth)
        if found is not None:
            process, rank = found
            reported = (*_prefix_report(prefix), *process.reported)
            return _Candidate(process=replace(process, reported=reported), rank=rank, command=command)
    return _of_script(command, words, directory, scripts, depth)


def _starts_files(prefix: list[str]) -> bool:
    """Tell whether programs in front of a Python file run it: others may serve it in a way of their own."""
    known = (*_HARMLESS, *_RUNNERS, *_IN_CODE, "run-program")
    return all(_base(word) in known or word.startswith("-") or ASSIGNMENT.fullmatch(word) for word in prefix)


def _program(
    word: str, rest: list[str], directory: Path, scripts: _Scripts, depth: int
) -> tuple[WebProcess, int] | None:
    base = _base(word)
    if base in SERVERS:
        return _of_server(base, rest)
    if _PYTHON.fullmatch(base):
        return _of_python(rest)
    if word.endswith(".py") and not word.startswith("-"):
        return _of_file(word, rest)
    if base in _SHELLS or word in _SOURCING:
        return _of_shell(rest, directory, scripts, depth)
    return None


def _of_server(name: str, words: list[str]) -> tuple[WebProcess, int] | None:
    process = web_process_of(name, SERVERS[name], words)
    return None if process is None else (process, 1 if SERVERS[name].development else 2)


def _of_python(words: list[str]) -> tuple[WebProcess, int] | None:
    """Return what `python` runs: a server's module, another module, or a file."""
    remaining = iter(enumerate(words))
    for index, word in remaining:
        if word == "-m":
            module, rest = (words[index + 1 : index + 2] or [""])[0], words[index + 2 :]
            module = module.removesuffix(".app.wsgiapp")
            if module in SERVERS:
                return _of_server(module, rest)
            if re.fullmatch(r"[A-Za-z_][\w.]*", module):
                return WebProcess(kind="file", target=module, server="python"), 0
            return None
        if word in _OPTIONS_WITH_VALUE:
            next(remaining, None)
        elif word.startswith("-"):
            if word.startswith("-c") or word == "-":
                return None
        else:
            return _of_file(word, words[index + 1 :])
    return None


def _of_file(file: str, words: list[str]) -> tuple[WebProcess, int] | None:
    if _base(file) == "manage.py" and words and not words[0].startswith("-"):
        if words[0] not in {"runserver", "runserver_plus", "run", "daphne", "serve"}:
            return None
        return WebProcess(kind="django", target=file, server="python"), 1
    return WebProcess(kind="file", target=file, server="python"), 0


def _of_shell(words: list[str], directory: Path, scripts: _Scripts, depth: int) -> tuple[WebProcess, int] | None:
    """Return what a shell runs: the command behind its `-c`, or a script of the source."""
    for index, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and "c" in word:
            return _inner(" ".join(words[index + 1 : index + 2]), directory, scripts, depth)
        if not word.startswith("-"):
            return _script(word, directory, scripts, depth)
    return None


def _of_script(
    command: SimpleCommand, words: list[str], directory: Path, scripts: _Scripts, depth: int
) -> _Candidate | None:
    """Return what a shell script of the source starts, if the command runs one."""
    at = next((index for index, word in enumerate(words) if word not in _HARMLESS), 0)
    found = _script(words[at], directory, scripts, depth)
    return None if found is None else _Candidate(process=found[0], rank=found[1], command=command)


def _script(name: str, directory: Path, scripts: _Scripts, depth: int) -> tuple[WebProcess, int] | None:
    if name.startswith("/") or ".." in Path(name).parts or depth >= _MAX_DEPTH:
        return None
    key = (directory / name, depth)
    if key not in scripts.found:
        text = scripts.text(directory / name, name)
        scripts.found[key] = None if text is None else _of_script_text(name, text, directory, scripts, depth)
    return scripts.found[key]


def _of_script_text(
    name: str, text: str, directory: Path, scripts: _Scripts, depth: int
) -> tuple[WebProcess, int] | None:
    first = text.partition("\n")[0]
    if first.startswith("#!") and not any(f"/{shell}" in first or f" {shell}" in first for shell in _SHELLS):
        return None
    if not first.startswith("#!") and not name.endswith((".sh", ".bash")):
        return None
    return _inner(text, directory, scripts, depth)


def _inner(line: str, directory: Path, scripts: _Scripts, depth: int) -> tuple[WebProcess, int] | None:
    found = _understood(line, directory, scripts, depth + 1) if depth < _MAX_DEPTH else None
    if found is None:
        return None
    development = found.server not in SERVERS or SERVERS[found.server].development
    return found, (0 if found.kind == "file" and found.server == "python" else 1 if development else 2)


def _prefix_report(prefix: list[str]) -> Iterator[str]:
    """Yield what is lost of the programs that the line starts the server with."""
    rest = [word for word in prefix if word not in _HARMLESS and not ASSIGNMENT.fullmatch(word)]
    runner = next((word for word in prefix if _base(word) in _RUNNERS), None)
    if runner is not None:
        rest.remove(runner)
        if rest:
            what = shown(" ".join((_base(runner), "run", *rest)))
            yield f"{what} (the daemon makes the environment; use the field 'dependencies')"
        return
    rest = [word for word in rest if not _PYTHON.fullmatch(_base(word))]
    if rest:
        instead = _IN_CODE.get(_base(rest[0]), "the daemon starts gunicorn itself")
        yield f"{shown(' '.join(word for word in prefix if not ASSIGNMENT.fullmatch(word)))} ({instead})"


def _assigned(commands: list[SimpleCommand]) -> Iterator[str]:
    """Yield the variables that the line sets, without their values, which may be secret."""
    for name in dict.fromkeys(name for command in commands for name, _ in _assignments(command)):
        if name not in {"PYTHONPATH", "FLASK_APP", "QUART_APP"}:
            yield report(f"{name}=…", "", "raw_env")


def _variable(commands: list[SimpleCommand], variable: str) -> str:
    """Return the value that a line sets a variable to; "" if it does not."""
    values = [value for command in commands for name, value in _assignments(command) if name == variable]
    return values[-1] if values else ""


def _assignments(command: SimpleCommand) -> Iterator[tuple[str, str]]:
    """Yield what a command sets for the program it starts: in front of it, or by `env` and `export`."""
    yield from command.assignments
    for word in command.words:
        if _base(word) in SERVERS or _base(word) in _SHELLS or _PYTHON.fullmatch(_base(word)):
            return
        if match := ASSIGNMENT.fullmatch(word):
            yield match[1], match[2]


def _python_path(commands: list[SimpleCommand]) -> Iterator[str]:
    return (path for path in _variable(commands, "PYTHONPATH").split(":") if path and "$" not in path and path != ".")


def _others(commands: list[SimpleCommand]) -> Iterator[str]:
    for command in commands:
        first = _base(command.words[0]) if command.words else ""
        if not first or first in _SILENT or first in _SILENT_TESTS or first == "export":
            continue
        if first in _SOURCING:
            if not command.words[-1].endswith("/activate"):
                yield f"{shown(str(command))} (use the field 'env_files')"
        elif command.operator == "&":
            yield f"{shown(str(command))} & (name it in `processes` of the manifest)"
        else:
            yield f"{shown(str(command))} (use the field 'release')"


def _relative(path: str) -> str:
    """Return a directory of the source without `.` and the slashes around it."""
    normal = posixpath.normpath(path.strip("/") or ".")
    return "" if normal == "." else normal


def _base(word: str) -> str:
    return word.rpartition("/")[2]
