"""`reconciler status`: how the apps stand."""

import contextlib
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import examples, glimpsed, json_option, layout_in_use, state_option
from reconciler.cli.table import ago, cut, is_terminal, lines, plain, show_json, styled, width, wrapped

if TYPE_CHECKING:
    from reconciler.settings import Layout

_COLUMNS = ("APP", "STATE", "URL", "REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "MESSAGE")
_SPARE = ("REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "URL")
_REFRESH_S = 1.0
_OTHER_SCREEN, _OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command(epilog=examples("reconciler status", "reconciler status blog --json", "reconciler status --watch"))
@click.argument("app", required=False)
@click.option("--watch", is_flag=True, help="Show it anew every second.")
@json_option
@state_option
def command(app: str | None, watch: bool, as_json: bool, state: Path | None) -> None:
    """How APP, or every app, stands: its state, its URL, what runs, and why not more."""
    layout = layout_in_use(state)
    facts = _facts(layout, app, as_json=as_json)
    if app is not None and not facts["apps"]:
        raise click.ClickException(f"no app named '{plain(app)}'; 'reconciler status' lists them")
    if watch and is_terminal() and not as_json:
        _watch(layout, app)
    elif watch:
        _repeat(layout, app, as_json=as_json)
    elif as_json:
        show_json(facts)
    else:
        show_apps(facts)


def show_apps(facts: dict[str, Any]) -> None:
    """Print the table of `status`, what is wrong with the manifests, and whether a daemon runs."""
    for line in _screen(facts, width()):
        click.echo(line)


def _facts(layout: "Layout", app: str | None, *, as_json: bool) -> dict[str, Any]:
    with glimpsed(layout) as glimpse:
        facts: dict[str, Any] = glimpse.status(app)
    if as_json:
        from importlib.metadata import version

        facts["daemon"]["version"] = version("reconciler")
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


def _repeat(layout: "Layout", app: str | None, *, as_json: bool) -> None:
    """For a pipe: the facts again whenever they changed, JSON on one line each."""
    shown = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            facts = _facts(layout, app, as_json=as_json)
            if facts != shown:
                click.echo(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join([*_screen(facts, None), ""]))
                shown = facts
            time.sleep(_REFRESH_S)


def _watch(layout: "Layout", app: str | None) -> None:
    """Redraw in place on the alternate screen until Ctrl-C, and at once when the window changes its size."""
    click.echo(_OTHER_SCREEN, nl=False)
    try:
        with _resizes() as resized:
            while True:
                click.echo(_frame(_facts(layout, app, as_json=False)), nl=False)
                if select.select([resized], [], [], _REFRESH_S)[0]:
                    os.read(resized, 512)
    except KeyboardInterrupt:
        pass
    finally:
        click.echo(_OWN_SCREEN, nl=False)


def _frame(facts: dict[str, Any]) -> str:
    """One full screen, written over the last one: nothing is cleared first, so nothing flickers."""
    columns, rows = shutil.get_terminal_size()
    told = _screen(facts, columns)
    if len(told) > rows:
        more = f"… and {len(told) - rows + 1} more lines ('reconciler status' shows all)"
        told = [*told[: rows - 1], cut(more, columns)]
    return _HOME + f"{_REST_OF_LINE}\r\n".join(told) + _REST_OF_LINE + _REST_OF_SCREEN


@contextlib.contextmanager
def _resizes() -> Iterator[int]:
    """A descriptor that becomes readable when the window changes its size."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGWINCH, before)
        os.close(reading)
        os.close(writing)
