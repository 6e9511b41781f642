"""What the commands share that ask something of the running daemon."""

from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import paths_in_use
from reconciler.inspection.printable import plain


def ask_daemon(state: Path | None, **request: Any) -> None:
    """Send a request, print what was done; a usage error in plain words when nobody hears it or it is refused."""
    from reconciler.control.requests import Refused
    from reconciler.control.socket import ask

    paths = paths_in_use(state)
    try:
        answer = ask(paths.control, request)
    except Refused as refused:
        raise click.ClickException(plain(refused)) from refused
    except OSError as error:
        raise click.ClickException(f"no daemon keeps {paths.state}: start it with 'reconciler run'") from error
    click.echo(plain(answer["done"]))
