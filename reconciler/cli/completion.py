"""Print the shell completion script.

It completes commands, options and the names of apps, services, revisions, backups and variables in SHELL.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

from reconciler.cli.options import COMPLETED_HOST, examples, paths_of

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths
    from reconciler.state.records import Records


class _Name(click.types.StringParamType):
    """A name that is completed from the state directory; one that cannot be read completes nothing."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        import sqlite3

        from reconciler.state.schema import OtherVersion

        if ctx.meta.get(COMPLETED_HOST):
            return []
        state = ctx.params.get("state")
        try:
            names = sorted(self._names(paths_of(state if isinstance(state, Path) else None), ctx))
        except (OSError, sqlite3.Error, OtherVersion, click.ClickException):
            return []
        given = ctx.params.get(str(param.name)) if param.nargs == -1 else ()
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in (given or ())]

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:
        raise NotImplementedError


class AppName(_Name):
    """The name of an app: a folder of the state directory, so that the database is not opened."""

    name = "app"

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:  # noqa: ARG002  others need it
        return [entry.name for entry in paths.apps.iterdir() if not entry.name.startswith(".")]


class AppOrServiceName(AppName):
    """The name of an app, or service/NAME."""

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:
        with _records(paths) as records:
            return [*super()._names(paths, ctx), *(f"service/{name}" for name in records.service_statuses())]


class ServiceName(_Name):
    """The name of a service with a status."""

    name = "service"

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:  # noqa: ARG002  others need it
        with _records(paths) as records:
            return records.service_statuses()


class RevisionId(_Name):
    """The id of a revision of the app named before that is known good."""

    name = "revision"

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:
        from reconciler.state.revision_history import RevisionHistory

        with _records(paths) as records:
            history = RevisionHistory(records, boot="").of(str(ctx.params.get("app")))
            return [revision.id for revision in history.known_good]


class VariableName(_Name):
    """The name of a variable that the manifest of the app named before sets; with a `=` where a value follows."""

    name = "variable"

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:  # noqa: ARG002  others need it
        from reconciler.cli.chosen_settings import settings_of
        from reconciler.manifests.described import NotDescribed, described
        from reconciler.manifests.origins import look_once

        given = (ctx.params.get(name) for name in ("manifests", "state", "settings_file"))
        try:
            tree = described(look_once(settings_of(*given)), str(ctx.params.get("app"))).tree
        except (NotDescribed, click.ClickException):
            return []
        env = None if tree is None else tree.given("env")
        end = "=" if ctx.info_name == "config" and ctx.params.get("action") == "set" else ""
        return [f"{name}{end}" for name in env.keys] if env else []


class BackupName(_Name):
    """The name of a backup of the service named before, or a file."""

    name = "backup"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return super().shell_complete(ctx, param, incomplete) or [CompletionItem(incomplete, type="file")]

    def _names(self, paths: "StatePaths", ctx: click.Context) -> Iterable[str]:
        from reconciler.services.backup_files import backups_in

        return [each.path.name for each in backups_in(paths.backups) if each.service == ctx.params.get("service")]


@contextlib.contextmanager
def _records(paths: "StatePaths") -> "Iterator[Records]":
    from reconciler.state.records import Records
    from reconciler.state.schema import open_database

    with contextlib.closing(open_database(paths.database, read_only=True)) as database:
        yield Records(database)


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler completion bash > /etc/bash_completion.d/reconciler",
        "reconciler completion zsh > /usr/local/share/zsh/site-functions/_reconciler",
        "reconciler completion fish > ~/.config/fish/completions/reconciler.fish",
    ),
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "reconciler", "_RECONCILER_COMPLETE").source())
