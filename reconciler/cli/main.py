"""The command group: every command is a module of this folder, imported only when it is needed."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from reconciler.cli.options import examples
from reconciler.inspection.printable import visible
from reconciler.version import VERSION

_COMMANDS: Mapping[str, str] = {
    "run": "The daemon, in the foreground.",
    "down": "End the daemon and the apps it started.",
    "apply": "Converge once, show progress, and leave the apps running.",
    "validate": "Check every manifest, without an effect.",
    "plan": "What would be done, and why.",
    "status": "How the apps stand.",
    "top": "What each app does and takes.",
    "metrics": "The host's figures for Prometheus.",
    "events": "What happened, and why.",
    "logs": "What an app wrote, and how it was staged.",
    "runtimes": "The Pythons a manifest can name.",
    "restart": "Start an app anew, handing over.",
    "rollback": "Go back to an earlier revision of an app.",
    "stop": "Stop an app until its manifest changes.",
    "start": "Take back a stop or a rollback.",
    "forget-failure": "Forget how an app failed, and try at once.",
    "services": "The backing services, and who is bound to them.",
    "rotate": "New credentials for a service's apps, handed over.",
    "service-shell": "A service's own client, let in.",
    "backup": "All that a service holds, in a file.",
    "restore": "Put back what a backup holds.",
    "rekey": "Encrypt the stored secrets with a new key.",
    "env": "The environment an app gets.",
    "shell": "A command in an app's environment and code.",
    "init": "Write a manifest for a directory.",
    "bundle": "An app's packages in one file, to stage it offline.",
    "notify": "Send a test message to whoever is notified.",
    "install": "Make the daemon a service of this host.",
    "uninstall": "Take the service away; data and apps stay.",
    "completion": "Completion of commands and app names for a shell.",
    "gc": "Remove what nothing refers to.",
    "doctor": "Check this host, and say what to fix.",
}


class _Commands(click.Group):
    """Finds a command in the module of its name, and lists all of them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click calls it so
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  the same
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module("reconciler.cli." + cmd_name.replace("-", "_"))
        command: click.Command = module.command
        for parameter in command.params:
            if parameter.name == "app" and parameter.type is click.STRING:
                from reconciler.cli.completion import AppName

                parameter.type = AppName()
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it complains of is shown without obeying what names and files say."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            vars(error)["message"] = visible(error.message)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  the same
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if close and "Did you mean" not in error.message:
                raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from error
            raise


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "reconciler init ../apps/blog          write a manifest for a directory",
        "reconciler validate                   check every manifest",
        "reconciler run                        the daemon, in the foreground",
        "reconciler status --watch             how the apps stand",
    ),
)
@click.version_option(VERSION, message="reconciler %(version)s")
def group() -> None:
    """Make a directory of YAML manifests true on this host.

    Each manifest names a Python web app; the daemon stages it, serves it with gunicorn and keeps it that way.
    """


def main(argv: Sequence[str] | None = None) -> Any:
    """Entry point of the console script."""
    return group(args=argv, prog_name="reconciler")
