"""Print a link that logs a browser in to the page.

The link works once, within five minutes, and opens a session of twelve hours. The page needs an address: 'reconciler
run --page' serves it on a free port of 127.0.0.1, 'api.address' in the host settings on another. Only root and the
daemon's own user may ask for a link. Exits with 3 when no daemon is running.
"""

import http.client
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import examples, json_option, state_option

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths


@click.command(help=__doc__, epilog=examples("reconciler page", "reconciler page --json"))
@json_option
@state_option
def command(as_json: bool, state: Path | None) -> None:
    from urllib.parse import urlsplit

    from reconciler.cli.daemon_client import paths_of_daemon
    from reconciler.cli.table import show_json
    from reconciler.inspection.printable import ago, plain

    link = _made(paths_of_daemon(state))
    if as_json:
        show_json(link)
        return
    click.echo(plain(link["url"]))
    click.echo(f"open it in a browser within {ago(link['expires_in_s'])}; it works once", err=True)
    parts = urlsplit(link["url"])
    if os.environ.get("SSH_CONNECTION") and parts.hostname == "127.0.0.1":
        port = parts.port
        click.echo(f"the browser of another machine needs 'ssh -L {port}:127.0.0.1:{port} HOST' there first", err=True)


def _made(paths: "StatePaths") -> dict[str, Any]:
    """Return a new link and how long it lasts. Raises ClickException where the daemon makes none."""
    from reconciler.cli.api_client import answer_of
    from reconciler.cli.daemon_client import NoDaemon, NotAllowed

    try:
        link = answer_of(paths.api, "/api/v1/login-links", {})
        return {"url": str(link["url"]), "expires_in_s": float(link["expires_in_s"])}
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoDaemon(paths.state) from error
    except PermissionError as error:
        raise NotAllowed(paths.state) from error
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise click.ClickException(f"cannot get a link from the daemon of {paths.state}: {error}") from error
