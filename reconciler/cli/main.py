"""The command group: every command is a module of this folder, imported only when it is needed."""

import importlib
from collections.abc import Sequence
from typing import Any

import click

_COMMANDS = (
    "run", "apply", "validate", "plan", "status", "events", "logs", "runtimes", "env", "shell", "init", "doctor",
)  # fmt: skip


class _Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"reconciler.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # noqa: PLC0415  only a misspelt command needs it

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if close:
                raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from error
            raise


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reconciler", message="reconciler %(version)s")
def group() -> None:
    """Make a directory of YAML manifests true on this host.

    Each manifest names a Python web app; the daemon stages it, serves it with gunicorn and keeps it that way.

    \b
    Examples:
      reconciler init ../apps/blog          write a manifest for a directory
      reconciler validate                   check every manifest
      reconciler run                        the daemon, in the foreground
      reconciler status --watch             how the apps stand
    """


def main(argv: Sequence[str] | None = None) -> Any:
    """Entry point of the console script."""
    return group(args=argv, prog_name="reconciler")
