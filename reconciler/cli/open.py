"""Print the URL of an app, and open it in a browser.

The browser opens on a desktop only, as xdg-open chooses; otherwise, and with --print or --json, the URL is only
printed. An app that listens on every address is opened at 127.0.0.1. Says so when APP cannot answer yet.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.table import show_json
from reconciler.inspection.printable import plain
from reconciler.linux.error_words import in_words

if TYPE_CHECKING:
    from reconciler.inspection.status import AppRow

_ANSWERING = frozenset(("running", "canary", "degraded", "sleeping"))
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


@click.command(help=__doc__, epilog=examples("reconciler open blog", "reconciler open blog --print"))
@click.argument("app")
@click.option("--print", "only_print", is_flag=True, help="Print the URL, and open no browser.")
@json_option
@state_option
def command(app: str, only_print: bool, as_json: bool, state: Path | None) -> None:
    from reconciler.inspection.status import status

    paths = paths_in_use(state)
    with open_snapshot(paths) as snapshot:
        found = status(snapshot, (app,))
    row = next(iter(found.apps), None)
    if row is None:
        from reconciler.cli.app_names import desired_apps, meant

        likely = meant(desired_apps(paths), app)
        hint = likely or "'reconciler status' lists the apps"
        raise Failure("not-found", plain(f"no app named '{app}'; {hint}"))
    url = _at_domain(found.domains) or _browsable(row)
    opener = None if only_print or as_json else _opener(os.environ)
    if as_json:
        show_json({"app": row.name, "url": url, "state": row.state})
    else:
        click.echo(url)
    if row.state not in _ANSWERING and not as_json:
        click.echo(_condition(row), err=True)
    if opener is not None:
        _open(opener, url)


def _condition(row: "AppRow") -> str:
    return plain(f"{row.name} is {row.state}{f': {row.message}' if row.message else ''}")


def _at_domain(domains: Sequence[Mapping[str, Any]]) -> str:
    """Return the URL of the first domain at which the proxy serves the app, "" if it serves none."""
    served = (each for each in domains if each["state"] in {"served", "expiring"} and not each["leads_to"])
    first = next((each for each in served if not each["name"].startswith("*.")), None)
    return "" if first is None else plain(f"{first['url']}{first['below']}")


def _browsable(row: "AppRow") -> str:
    """Return the URL at which a browser on this host finds the app. Raises ClickException without one."""
    from ipaddress import ip_address

    url = row.port_url or row.url
    if url is not None and url.startswith("unix:"):
        raise click.ClickException(
            plain(f"{row.name} has no domain that leads to it: curl --unix-socket {url[5:]} http://localhost/")
        )
    if url is None and row.state in _ANSWERING:
        raise click.ClickException(plain(f"{row.name} has no URL: it has no web server"))
    if url is None or not url.startswith(("http://", "https://")):
        raise click.ClickException(
            plain(f"{row.name} has no URL: it is {row.state}{f': {row.message}' * bool(row.message)}")
        )
    parts = urlsplit(url)
    try:
        everywhere = ip_address(parts.hostname or "").is_unspecified
    except ValueError:
        everywhere = False
    return plain(f"{parts.scheme}://127.0.0.1:{parts.port}/" if everywhere else url)


def _opener(environment: Mapping[str, str]) -> str | None:
    """Return the program that opens a URL on this desktop, None without a desktop."""
    return shutil.which("xdg-open") if any(map(environment.get, _DISPLAYS)) else None


def _open(opener: str, url: str) -> None:
    """Start the browser, which goes on when this command ends. Raises ClickException if it cannot be started."""
    try:
        subprocess.Popen(
            [opener, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise click.ClickException(f"cannot open a browser: {in_words(error)}") from error
