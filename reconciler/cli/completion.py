"""Print the shell completion script.

It completes commands, options and app names in SHELL.
"""

from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from reconciler.cli.options import examples, paths_of


class AppName(click.types.StringParamType):
    """The name of an app, completed from the folders of the state directory, without opening the database."""

    name = "app"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  click calls it so
        state = ctx.params.get("state")
        apps = paths_of(state if isinstance(state, Path) else None).apps
        try:
            names = sorted(entry.name for entry in apps.iterdir())
        except OSError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


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
