"""`reconciler status`: how the apps stand."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import examples, json_option, open_snapshot, paths_in_use, state_option
from reconciler.cli.table import is_terminal, lines, show_json, styled, width, wrapped
from reconciler.inspection.printable import ago, json_text, plain
from reconciler.version import VERSION

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_COLUMNS = ("APP", "STATE", "URL", "REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "MESSAGE")
_SERVICE_COLUMNS = ("SERVICE", "TYPE", "STATE", "MESSAGE")
_SPARE = ("REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "URL")
_REFRESH_S = 1.0


@click.command(epilog=examples("reconciler status", "reconciler status blog --json", "reconciler status --watch"))
@click.argument("app", required=False)
@click.option(
    "--watch", is_flag=True, help="Stay: a live screen with keys on a terminal (? lists them), else each change."
)
@json_option
@state_option
def command(app: str | None, watch: bool, as_json: bool, state: Path | None) -> None:
    """How APP, or every app, stands: its state, its URL, what runs, and why not more."""
    paths = paths_in_use(state)
    facts = _facts(paths, app, as_json=as_json)
    if app is not None and not facts["apps"]:
        raise click.ClickException(f"no app named '{plain(app)}'; 'reconciler status' lists them")
    if watch and is_terminal() and not as_json:
        from reconciler.cli.live.watch import watch as show_live

        show_live(paths, app)
    elif watch:
        _repeat(paths, app, as_json=as_json)
    elif as_json:
        show_json(facts)
    else:
        show_apps(facts)


def show_apps(facts: dict[str, Any]) -> None:
    """Print the table of `status`, what is wrong with the manifests, and whether a daemon runs."""
    for line in _screen(facts, width()):
        click.echo(line)


def _facts(paths: "StatePaths", app: str | None, *, as_json: bool) -> dict[str, Any]:
    with open_snapshot(paths) as snapshot:
        facts: dict[str, Any] = snapshot.status(app)
    if as_json:
        facts["daemon"]["version"] = VERSION
    return facts


def _screen(facts: dict[str, Any], limit: int | None) -> list[str]:
    """The whole of it as lines; on a terminal, what the table had to cut is said in full below it."""
    rows = [_row(app) for app in facts["apps"]]
    told = lines(_COLUMNS, rows, limit, _SPARE) if rows else ["no apps"]
    for row, line in zip(rows, told[1:], strict=True):
        name, state, message = row[0], row[1], row[-1]
        # What is wrong with a refused manifest is said below anyway.
        if message not in line and state != "invalid":
            told += wrapped(message if name in message else f"{name}: {message}", limit)
    if facts.get("services"):
        told += ["", *lines(_SERVICE_COLUMNS, [_service_row(service) for service in facts["services"]], limit)]
    for note, colour in _notes(facts):
        told += [styled(line, fg=colour) for line in wrapped(note, limit)]
    return told


def _notes(facts: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """What is to be said beside the table, each with its colour."""
    if facts["notice"]:
        yield plain(facts["notice"]), "red"
    for entry in facts["manifests"]:
        for error in entry["errors"]:
            where = f"{entry['file']}:{error['line']}:{error['column']}"
            told = f"refused: {where}: {error['path']}{': ' if error['path'] else ''}{error['message']}"
            yield plain(told), "red"
    if not facts["daemon"]["running"]:
        yield "no daemon runs: what is shown goes on, but nothing watches it ('reconciler run' does)", None


def _service_row(service: dict[str, Any]) -> list[str]:
    message = service["message"]
    if service["next_try_at"]:
        message += f"; again in {ago(-_since(service['next_try_at']))}"
    return [plain(cell or "-") for cell in (service["name"], service["type"], service["state"])] + [plain(message)]


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


def _repeat(paths: "StatePaths", app: str | None, *, as_json: bool) -> None:
    """For a pipe: the facts again whenever they changed, JSON on one line each."""
    shown = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            facts = _facts(paths, app, as_json=as_json)
            if facts != shown:
                click.echo(json_text(facts) if as_json else "\n".join([*_screen(facts, None), ""]))
                shown = facts
            time.sleep(_REFRESH_S)
