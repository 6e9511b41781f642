"""Show the origins in git, and look at them now.

Without a command, shows each origin: its state, the commit in force, its newest commit, and why the two
differ. What is in force stays in force until a newer commit passes every check.
"""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.options import (
    DURATION,
    examples,
    json_option,
    manifests_option,
    open_snapshot,
    paths_in_use,
    state_option,
    with_settings,
)
from reconciler.inspection.printable import plain
from reconciler.linux.error_words import in_words

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.settings.git import GitOrigin
    from reconciler.settings.settings import Settings
    from reconciler.state.paths import StatePaths

_POLL_S = 0.2
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _with_state(command: _Command) -> _Command:
    """Pass the state directory to a command, whether --state stands before or after its name."""

    @functools.wraps(command)
    def ready(state: Path | None, **rest: Any) -> Any:
        return command(state=state or click.get_current_context().obj, **rest)

    return state_option(ready)  # type: ignore[return-value]


_NAME = click.argument("name", metavar="[ORIGIN]", required=False)


@click.group(
    help=__doc__,
    invoke_without_command=True,
    epilog=examples(
        "reconciler git",
        "reconciler git --json",
        "reconciler git pull fleet --wait",
    ),
)
@json_option
@state_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, state: Path | None) -> None:
    ctx.obj = state
    if ctx.invoked_subcommand is not None:
        return
    from reconciler.cli.status import ORIGIN_COLUMNS, origin_cells
    from reconciler.cli.table import show, show_json

    with open_snapshot(paths_in_use(state)) as snapshot:
        origins = snapshot.origins
    if as_json:
        show_json(origins)
    elif origins:
        show(ORIGIN_COLUMNS, [origin_cells(origin) for origin in origins])
    else:
        click.echo("no origins in git; 'origins' in the host's settings names them")


@command.command(epilog=examples("reconciler git pull", "reconciler git pull fleet --wait --timeout 2m"))
@_NAME
@click.option("--wait", is_flag=True, help="Wait until the newest commit is in force and its apps are up to date.")
@click.option("--timeout", "timeout_s", type=DURATION, default="5m", show_default=True, help="Give up after this long.")
@_with_state
def pull(state: Path | None, name: str | None, wait: bool, timeout_s: float) -> None:
    """Look at the repository now.

    With --wait, exits with 0 once its newest commit, or that of its trial branch, is in force and all apps of the
    origin are up to date, and with 1 and the reason if that commit is not accepted or the time is over.
    """
    from reconciler.cli.daemon_client import asked, paths_of_daemon

    paths = paths_of_daemon(state)
    names = [name] if name is not None else [origin["name"] for origin in _origins(paths)]
    if not names:
        raise click.ClickException("no origins in git; 'origins' in the host's settings names them")
    for each in names:
        done = asked(paths, do="origin", action="pull", name=each)
        click.echo(done["done"])
        if wait:
            _wait_for(paths, each, int(done["looks"]), time.monotonic() + timeout_s)


@command.command(epilog=examples("reconciler git test fleet"))
@click.argument("name", metavar="ORIGIN")
@with_settings(manifests_option)
def test(settings: "Settings", name: str) -> None:
    """Try every step with the daemon's code, and change nothing.

    Fetches into a store of its own, and judges the newest commit: name, TLS or host key, credentials, history,
    signature, files, fence and manifests; and that of the trial branch, if there is one. ORIGIN may also be what apps
    take their sources from, such as shop-code@main. Exits with 1 if such a commit would not be accepted.
    """
    import contextlib

    from reconciler.inspection.origins import tried
    from reconciler.inspection.snapshot import HostSnapshot

    with contextlib.ExitStack() as stack:
        known = settings.paths.database.exists()
        snapshot = stack.enter_context(contextlib.closing(HostSnapshot(settings.paths))) if known else None
        origin = _named(settings, name, snapshot)
        try:
            found = tried(settings, origin, snapshot)
        except OSError as error:
            raise click.ClickException(f"cannot run git: {in_words(error)}") from error
    for step in found.steps:
        click.echo(plain(step))
    if found.problem:
        raise click.ClickException(plain(found.problem))
    click.echo("the commit is accepted")


@command.command(epilog=examples("reconciler git log fleet", "reconciler git log fleet --json"))
@click.argument("name", metavar="ORIGIN")
@json_option
@with_settings(manifests_option)
def log(settings: "Settings", name: str, as_json: bool) -> None:
    """Show the commits that are not in force, the newest first, as they were last fetched.

    ORIGIN may also be what apps take their sources from, such as shop-code@main.
    """
    import contextlib

    from reconciler.cli.table import show, show_json
    from reconciler.inspection.origins import not_in_force
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.manifests.git.objects import CannotFetch, DamagedStore

    with contextlib.ExitStack() as stack:
        known = settings.paths.database.exists()
        snapshot = stack.enter_context(contextlib.closing(HostSnapshot(settings.paths))) if known else None
        origin = _named(settings, name, snapshot)
    try:
        found = not_in_force(settings, origin)
    except (DamagedStore, CannotFetch, OSError) as error:
        raise click.ClickException(plain(str(error))) from error
    if as_json:
        show_json([{"commit": each.id, "author": each.author, "subject": each.subject} for each in found])
    elif found:
        show(("COMMIT", "AUTHOR", "SUBJECT"), [(each.id[:7], each.author, each.subject) for each in found])
    else:
        click.echo("the newest commit that was fetched is in force")


def _named(settings: "Settings", name: str, snapshot: "HostSnapshot | None") -> "GitOrigin":
    """Return an origin of the settings, or what apps take their sources from, by its name. Raises ClickException."""
    from reconciler.inspection.origins import sources

    for origin in (*settings.origins, *(sources(settings, snapshot) if "@" in name else ())):
        if origin.name == name:
            return origin
    if "@" in name:
        raise click.ClickException(f"no app takes its source from '{plain(name)}'; 'reconciler git' lists what they do")
    known = ", ".join(each.name for each in settings.origins) or "none"
    raise click.ClickException(f"no origin is named '{plain(name)}'; 'origins' in the host's settings has {known}")


@command.command(epilog=examples("reconciler git pause fleet --for 2h --because 'freeze until the release'"))
@click.argument("name", metavar="ORIGIN")
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Resume by itself after this long.")
@click.option("--because", required=True, metavar="TEXT", help="The reason, which is shown in 'status'.")
@json_option
@_with_state
def pause(state: Path | None, name: str, for_s: float | None, because: str, as_json: bool) -> None:
    """Let no newer commit take effect."""
    _request(state, as_json, action="pause", name=name, for_s=for_s, because=because)


@command.command(epilog=examples("reconciler git resume fleet"))
@click.argument("name", metavar="ORIGIN")
@json_option
@_with_state
def resume(state: Path | None, name: str, as_json: bool) -> None:
    """End a pause."""
    _request(state, as_json, action="resume", name=name)


@command.command(epilog=examples("reconciler git take fleet 91c2d0a"))
@click.argument("name", metavar="ORIGIN")
@click.argument("commit")
@json_option
@_with_state
def take(state: Path | None, name: str, commit: str, as_json: bool) -> None:
    """Accept the newest commit though it is rewound, missing or held.

    COMMIT is the newest commit, by at least seven digits. It is taken whatever its history,
    what it removes and what its signers may change, and only if it is signed as required, valid and inside the fence.
    """
    _request(state, as_json, action="take", name=name, commit=commit)


@command.command(epilog=examples("reconciler git refuse fleet 91c2d0a"))
@click.argument("name", metavar="ORIGIN")
@click.argument("commit")
@json_option
@_with_state
def refuse(state: Path | None, name: str, commit: str, as_json: bool) -> None:
    """Never accept the newest commit; its descendants are judged."""
    _request(state, as_json, action="refuse", name=name, commit=commit)


def _request(state: Path | None, as_json: bool, **fields: Any) -> None:
    from reconciler.cli.daemon_client import request

    request(state, as_json=as_json, do="origin", **fields)


def _wait_for(paths: "StatePaths", name: str, looks: int, deadline: float) -> None:
    """Wait until an origin has come to rest after so many looks. Raises ClickException if its head is not in force."""
    from reconciler.cli.daemon_client import asked

    while True:
        facts: Mapping[str, Any] = asked(paths, do="origin", action="facts", name=name)
        is_over = facts["looks"] >= looks and facts["at_rest"]
        trial = facts["trial"] if is_over and facts["state"] == "trial" else None
        if is_over and facts["state"] not in {"current", "trial"}:
            raise click.ClickException(f"{name} is {facts['state']}: {facts['message']}")
        if is_over and (failure := facts.get("failure")):
            raise click.ClickException(f"{name} was not fetched: {failure}")
        if is_over and trial is not None and trial["up_to_date"]:
            click.echo(f"{name}: commit {trial['commit'][:7]} is on trial, and its apps are up to date")
            return
        if is_over and trial is None and facts["good"] == facts["head"]:
            click.echo(f"{name}: commit {facts['head'][:7]} is in force, and its apps are up to date")
            if facts["message"]:
                click.echo(plain(f"{name}: {facts['message']}"), err=True)
            return
        if time.monotonic() > deadline:
            what = "its apps are not up to date yet" if is_over else "it is still being fetched or judged"
            raise click.ClickException(f"{name}: {what}; 'reconciler status' says more")
        time.sleep(_POLL_S)


def _origins(paths: "StatePaths") -> list[dict[str, Any]]:
    with open_snapshot(paths) as snapshot:
        return snapshot.origins


@command.command(epilog=examples("reconciler git hosts", "reconciler git hosts fleet --json"))
@_NAME
@json_option
@_with_state
def hosts(state: Path | None, name: str | None, as_json: bool) -> None:
    """Show the hosts of a fleet, as this host knows them by their reports.

    Of each host: its wave, the commit in force, how its apps are with it and for how long they have been well, and what
    it waits for. A host is silent once the repository has had no new report of it for 'silent_after' of fleet.yaml.
    """
    from reconciler.cli.daemon_client import asked, paths_of_daemon
    from reconciler.cli.table import show, show_json

    paths = paths_of_daemon(state)
    names = [name] if name is not None else [origin["name"] for origin in _origins(paths)]
    found = {each: asked(paths, do="origin", action="hosts", name=each)["hosts"] for each in names}
    if as_json:
        show_json([{"origin": each, **row} for each, rows in found.items() for row in rows])
        return
    rows = [row for each in names for row in found[each]]
    if not rows:
        raise click.ClickException("no fleet: the commit in force has no fleet.yaml at its top, or was not read yet")
    show(("HOST", "WAVE", "IN FORCE", "STATE", "WELL FOR", "HEARD", "MESSAGE"), [_host_cells(row) for row in rows])


def _host_cells(row: Mapping[str, Any]) -> list[str]:
    from reconciler.planning.wording import span

    well = "-" if row["well_s"] is None else span(row["well_s"])
    heard = "this host" if row["is_this_host"] else "never" if row["report"] is None else f"{span(row['silent_s'])} ago"
    until = "" if row["until_s"] is None else f"; {span(row['until_s'])} more"
    cells = (row["host"], row["wave"] or "-", (row["in_force"] or "-")[:7], row["state"], well, heard)
    return [plain(cell) for cell in (*cells, f"{row['message']}{until}")]
