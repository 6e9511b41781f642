"""The command group: every command is a module of this folder, and is imported only when it runs.

The docstring of a command's module is its help, and the first line its summary, which is read without an import.
"""

import contextlib
import importlib
import keyword
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from reconciler.cli.failure import Failure, JsonFailure, asks_for_json
from reconciler.cli.options import HOST, WORDS, examples, host_option
from reconciler.linux.error_words import in_words
from reconciler.linux.standard_streams import ensure_standard_streams, give_up_output, has_no_room
from reconciler.version import VERSION

_TASKS: Mapping[str, Sequence[str]] = {
    "Run the daemon": ("run", "apply", "wait", "down"),
    "Write and check manifests": ("init", "import", "validate", "plan", "runtimes", "bundle"),
    "Change a manifest": ("config", "secrets", "scale", "maintenance", "edit"),
    "See what is running": (
        "status",
        "ps",
        "top",
        "isolation",
        "open",
        "page",
        "releases",
        "events",
        "logs",
        "metrics",
    ),
    "Change what is running, until the next edit": (
        "restart",
        "rollback",
        "stop",
        "start",
        "forget-failure",
        "promote",
        "abort",
    ),
    "Run an app elsewhere": ("exec", "image", "export"),
    "Work inside an app": ("env", "shell", "task", "tasks", "cancel", "trigger"),
    "Look after services": (
        "services",
        "rotate",
        "service-shell",
        "backup",
        "backups",
        "verify-backup",
        "restore",
        "rekey",
    ),
    "Look after manifests in git": ("git",),
    "Look after domains": ("domains", "proxy"),
    "Look after the host": ("install", "uninstall", "warden", "doctor", "gc", "prune", "notify", "completion"),
}
_FOLDER = os.path.dirname(__file__)  # noqa: PTH120  no help loads what paths need
_WITHOUT_TERMINAL = 80  # columns, as shutil.get_terminal_size() says
_LONGEST_SUMMARY = 120
_WIDEST_HELP, _NARROWEST_HELP = 100, 50
_COMMANDS = tuple(name for names in _TASKS.values() for name in names)

# These are about files of this host, or a process in the foreground.
_HERE = frozenset(("run", "init", "import", "bundle", "exec", "image", "export", "completion"))
_COMPLETED = frozenset(("app", "apps", "service", "revision", "variable", "variables", "backup"))


class _Commands(click.Group):
    """Find a command in the module of its name, and list all of them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click calls it so
        return list(_COMMANDS)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Begin a command; its help is as wide as click makes it."""
        if click.formatting.FORCED_WIDTH is None:
            extra["terminal_width"] = max(min(_columns(), _WIDEST_HELP) - 2, _NARROWEST_HELP)
        return super().make_context(info_name, args, parent, **extra)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"reconciler.cli.{_module(cmd_name)}").command
        for parameter in command.params if ctx.resilient_parsing else ():  # the shell completes
            if parameter.name in _COMPLETED and parameter.type is click.STRING:
                parameter.type = _completed(parameter.name, str(parameter.metavar))
        if cmd_name not in _HERE and all(HOST not in parameter.opts for parameter in command.params):
            command.params.append(host_option())
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; names and texts in its errors are made printable, or JSON where that is asked for."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            from reconciler.inspection.printable import visible

            vars(error)["message"] = visible(f"{error.message}{_other_option(error)}")
            if not self._prints_json(ctx):
                raise
            raise JsonFailure(error) from error
        except (click.Abort, KeyboardInterrupt) as error:
            if not self._prints_json(ctx):
                raise
            raise JsonFailure(Failure("interrupted", "the command was interrupted")) from error

    def _prints_json(self, ctx: click.Context) -> bool:
        words: Sequence[str] = ctx.meta.get(WORDS, ())
        return bool(words) and asks_for_json(self.get_command(ctx, words[0]), words[1:])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  the same
        """List the commands by task, with the columns aligned over all of them."""
        widest = max(map(len, _COMMANDS))
        for task, names in _TASKS.items():
            with formatter.section(task):
                formatter.write_dl([(name.ljust(widest), _summary(name)) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        ctx.meta[WORDS] = tuple(args)
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if close and "Did you mean" not in error.message:
                raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from error
            raise


def _completed(argument: str, shown_as: str) -> click.ParamType[str]:
    """Return the type of an argument that the shell can complete."""
    from reconciler.cli.completion import (
        AppName,
        AppOrServiceName,
        BackupName,
        RevisionId,
        ServiceName,
        VariableName,
    )

    if "service/" in shown_as:
        return AppOrServiceName()
    types = {
        "service": ServiceName,
        "revision": RevisionId,
        "variable": VariableName,
        "variables": VariableName,
        "backup": BackupName,
    }
    return types.get(argument, AppName)()


def _other_option(error: click.ClickException) -> str:
    """Return the end of the message on an option that other commands take, and this one has no need of."""
    if not isinstance(error, click.NoSuchOption):
        return ""
    if error.option_name == HOST:
        return " This command is about this host: run it on the other one, as with 'ssh user@server'."
    if error.option_name not in {"--manifests", "--settings"}:
        return ""
    taken = error.ctx.command.params if error.ctx else ()
    if all(parameter.name != "state" for parameter in taken):
        return ""
    return (
        " This command takes the state directory of the daemon, --state, in which its manifests and settings are known."
    )


def _module(command: str) -> str:
    name = command.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


def _summary(command: str) -> str:
    """Return the first line of the docstring of the command's module."""
    source = os.open(f"{_FOLDER}/{_module(command)}.py", os.O_RDONLY | os.O_CLOEXEC)
    try:
        line = os.read(source, _LONGEST_SUMMARY).partition(b"\n")[0].decode()
    finally:
        os.close(source)
    return line.removeprefix("r").strip('"')


def _columns() -> int:
    """Return the columns of the terminal as shutil.get_terminal_size() does, without the archivers that it loads."""
    with contextlib.suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    columns = 0
    with contextlib.suppress(ValueError, OSError):
        columns = os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 0
    return columns or _WITHOUT_TERMINAL


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST_HELP},
    epilog=examples(
        "reconciler init ../apps/blog          write a manifest for a directory",
        "reconciler validate                   check every manifest",
        "reconciler run                        run the daemon in the foreground",
        "reconciler status --watch             watch the apps",
        "reconciler COMMAND --help             show the options of a command",
    ),
)
@click.version_option(VERSION, message="reconciler %(version)s")
def group() -> None:
    """Keep a host in the state that a directory of YAML manifests describes.

    Each manifest describes a web app. The daemon builds its environment, serves it with gunicorn or by its own program,
    and rolls out every change without a refused connection.
    """


def main(argv: Sequence[str] | None = None) -> Any:
    """Run the console script."""
    ensure_standard_streams()
    try:
        return group(args=argv, prog_name="reconciler")
    except OSError as error:
        if not has_no_room(error):
            raise
        give_up_output()
        failure = click.ClickException(f"cannot write the output: {in_words(error)}")
        words = sys.argv[1:] if argv is None else argv
        (JsonFailure(failure) if "--json" in words else failure).show()
        raise SystemExit(failure.exit_code) from None
