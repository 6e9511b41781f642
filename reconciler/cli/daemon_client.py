"""Send requests to the running daemon."""

from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import examples, paths_in_use, state_option
from reconciler.inspection.printable import plain


def request(state: Path | None, **fields: Any) -> None:
    """Send a request and print the answer. Raises ClickException if the daemon refuses it or is not running."""
    from reconciler.control.socket import Refused, ask

    paths = paths_in_use(state)
    try:
        answer = ask(paths.control, fields)
    except Refused as refused:
        raise click.ClickException(plain(refused)) from refused
    except OSError as error:
        raise click.ClickException(
            f"no daemon is running in {paths.state}: start it with 'reconciler run', or name another with --state"
        ) from error
    click.echo(plain(answer["done"]))


def app_request(name: str, text: str | None) -> click.Command:
    """Return the command that makes a request about one app and has no other argument; `text` is its help."""

    @click.command(name, help=text, epilog=examples(f"reconciler {name} blog"))
    @click.argument("app")
    @state_option
    def command(app: str, state: Path | None) -> None:
        request(state, do=name, app=app)

    return command
