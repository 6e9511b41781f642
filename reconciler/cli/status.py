"""`reconciler status`: how the apps stand."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import json_option, layout_in_use, state_option
from reconciler.cli.table import ago, lines, plain, show_json

if TYPE_CHECKING:
    from reconciler.settings import Layout

_COLUMNS = ("APP", "STATE", "URL", "REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "MESSAGE")
_REFRESH_S = 1.0


@click.command()
@click.argument("app", required=False)
@click.option("--watch", is_flag=True, help="Show it anew every second.")
@json_option
@state_option
def command(app: str | None, watch: bool, as_json: bool, state: Path | None) -> None:
    """How APP, or every app, stands: its state, its URL, what runs, and why not more.

    \b
    Examples:
      reconciler status
      reconciler status blog --json
      reconciler status --watch
    """
    layout = layout_in_use(state)
    if watch and not as_json:
        _watch(layout, app)
        return
    facts = _facts(layout, app)
    if app is not None and not facts["apps"]:
        raise click.ClickException(f"no app named '{app}'; 'reconciler status' lists them")
    show_json(facts) if as_json else show_apps(facts)


def show_apps(facts: dict[str, Any]) -> None:
    """Print the table of `status`, what is wrong with the manifests, and whether a daemon runs."""
    for line in _screen(facts):
        click.echo(line)


def _facts(layout: "Layout", app: str | None) -> dict[str, Any]:
    from reconciler.glimpse import Glimpse  # noqa: PLC0415  start-up time

    return Glimpse(layout).status(app)


def _screen(facts: dict[str, Any]) -> list[str]:
    told = lines(_COLUMNS, [_row(app) for app in facts["apps"]]) if facts["apps"] else ["no apps"]
    if facts["notice"]:
        told.append(click.style(plain(facts["notice"]), fg="red"))
    for entry in facts["manifests"]:
        for error in entry["errors"]:
            where = f"{entry['file']}:{error['line']}:{error['column']}"
            told.append(plain(f"refused: {where}: {error['path']}{': ' if error['path'] else ''}{error['message']}"))
    if not facts["daemon"]["running"]:
        told.append("no daemon runs: what is shown goes on, but nothing watches it ('reconciler run' does)")
    return told


def _row(app: dict[str, Any]) -> list[str]:
    since = ago(_since(app["since"])) if app["since"] else "-"
    revision = app["revision"] or "-"
    if app["wanted_revision"] and app["wanted_revision"] != app["revision"]:
        revision = f"{revision} → {app['wanted_revision']}"
    message = app["message"]
    if app["next_try_at"]:
        message += f"; again in {ago(-_since(app['next_try_at']))}"
    cells = [
        app["name"], app["state"], app["url"], revision, app["runtime"], app["pid"], app["workers"], app["restarts"],
        since, message,
    ]  # fmt: skip
    return [plain("-" if cell is None else cell) for cell in cells]


def _since(at: float) -> float:
    return time.time() - at  # noqa: TID251  shown to people, never relied upon


def _watch(layout: "Layout", app: str | None) -> None:
    """Redraw on the alternate screen until Ctrl-C."""
    click.echo("\x1b[?1049h\x1b[?25l", nl=False)
    try:
        while True:
            told = "\x1b[K\r\n".join(_screen(_facts(layout, app)))
            click.echo(f"\x1b[H{told}\x1b[K\x1b[J", nl=False)
            time.sleep(_REFRESH_S)
    except KeyboardInterrupt:
        pass
    finally:
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)
