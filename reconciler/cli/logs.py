r"""Print the logs of apps.

Prints what each APP wrote, a name or a pattern such as 'shop-*', or all apps, in the order of time. A failed start is
one line, the app's exception with its file and line; --all-lines shows all that was written. A time with ~ is the
latest at which the line can have been written, as the line names none. Colours are kept on a terminal; other control
characters, and marks that change the direction of text, are printed as escapes such as \x1b.

For one APP that runs in a cluster, prints what its pods wrote, one pod after the other, as the cluster has it.
"""

import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import all_option, examples, json_option, paths_in_use, refuse_both, state_option
from reconciler.documents.names import is_process_log
from reconciler.inspection.printable import plain
from reconciler.linux.error_words import in_words
from reconciler.linux.standard_streams import is_read
from reconciler.planning.name_patterns import is_pattern

if TYPE_CHECKING:
    from reconciler.cli.log_printer import Chosen, Printer
    from reconciler.cluster.reading import Reader
    from reconciler.state.paths import StatePaths

_POLL_S = 0.3
_LOOK_FOR_APPS_EVERY = 10  # polls
_STREAMS = ("app", "access", "staging")
_OF_TASK = re.compile("task:[0-9a-f]{1,8}")


class _Which(click.Choice[str]):
    """One of an app's streams, all of them, or what a process or a task printed."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        return text if _OF_TASK.fullmatch(text) or is_process_log(text) else super().convert(text, param, ctx)


class _Time(click.ParamType[float]):
    """A duration until now, or a time of day or of the calendar, in seconds of the epoch."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return self._seconds(str(value))
        except ValueError:
            wanted = "expected a duration such as 1h, or a time such as 14:30 or '2026-11-26 14:30'"
            self.fail(f"{wanted}, not '{plain(value)}'", param, ctx)

    @staticmethod
    def _seconds(text: str) -> float:
        from datetime import datetime
        from datetime import time as clock

        from reconciler.documents.units import duration_s

        now = datetime.now().astimezone()
        with contextlib.suppress(ValueError):
            return now.timestamp() - duration_s(text)
        with contextlib.suppress(ValueError):
            return datetime.combine(now.date(), clock.fromisoformat(text)).timestamp()
        try:
            return datetime.fromisoformat(text).timestamp()
        except (OverflowError, OSError) as error:
            raise ValueError(text) from error


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler logs",
        "reconciler logs blog -f",
        "reconciler logs 'shop-*' --since 1h --grep 'GET */admin'",
        "reconciler logs blog --which staging",
        "reconciler logs blog --which worker.1 -f",
        "reconciler logs blog --which task:8f3a -f",
        "reconciler logs blog --instance previous --all-lines",
    ),
)
@click.argument("apps", metavar="[APP]...", nargs=-1)
@all_option("Every app; the same as no name.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0, max=100_000),
    default=None,
    help="How many of the last lines to print first.  [default: 100, or all with --since]",
)
@click.option("--since", type=_Time(), metavar="TIME", help="Only lines since a time such as 14:30, or an age as 1h.")
@click.option(
    "--grep",
    "patterns",
    multiple=True,
    metavar="TEXT",
    help="Only lines with this text, in which * stands for any; without capitals, capitals match too. May be repeated.",
)
@click.option(
    "--which",
    type=_Which([*_STREAMS, "all", "PROCESS.N", "task:ID"]),
    multiple=True,
    default=("app",),
    show_default=True,
    help="The app's output, its access log, the output of staging, of a process by its number such as worker.1, or of"
    " a task; may be repeated.",
)
@click.option(
    "--instance",
    type=click.Choice(["current", "previous"]),
    help="Only lines of the instance that was started last, or of the one before it.",
)
@click.option("--all-lines", is_flag=True, help="Fold nothing.")
@click.option("--raw", is_flag=True, help="Print every byte as it was written, of one log.")
@json_option
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    apps: Sequence[str],
    everything: bool,
    follow: bool,
    lines: int | None,
    since: float | None,
    patterns: Sequence[str],
    which: Sequence[str],
    instance: str | None,
    all_lines: bool,
    raw: bool,
    as_json: bool,
    state: Path | None,
) -> None:
    refuse_both(apps, everything=everything)
    streams = _STREAMS if "all" in which else tuple(dict.fromkeys(which))
    if follow and instance == "previous":
        raise click.UsageError("nothing is added to the log of the previous instance: leave out -f")
    if instance and streams != ("app",):
        raise click.UsageError("only the log of the app itself says which instance wrote a line: leave out --which")
    if raw and (len(apps) != 1 or len(streams) != 1 or since is not None or patterns or instance or as_json):
        raise click.UsageError("--raw prints one log as it is: it takes one APP, one --which, -n and -f")
    from reconciler.cli.log_printer import Chosen, Printer

    paths = paths_in_use(state)
    if any(map(_OF_TASK.fullmatch, streams)):
        streams, apps = _tasks(paths, streams, apps)
    count = lines if lines is not None else 100 if since is None else None
    if (reader := _reader(paths, apps, streams)) is not None:
        from reconciler.cli.placed_logs import Asked, print_logs

        asked = Asked(app=apps[0], streams=streams, lines=count, since=since, follow=follow, json=as_json)
        print_logs(reader, asked, previous=instance == "previous", others=bool(patterns or raw))
        return
    chosen = Chosen(
        paths,
        streams,
        instance=instance,
        since=since or 0.0,
        patterns=patterns,
        fold=not all_lines,
        limit_bytes=_limit_bytes(state) if follow else 0,
    )
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(chosen):
        try:
            chosen.open(_names(paths, apps))
            if raw:
                _print_raw(chosen, count or 0, follow=follow)
                return
            printer = Printer(chosen, as_json=as_json)
            printer.print(chosen.history(count))
            if not printer.printed and not follow and count != 0:
                click.echo(_nothing(chosen, apps), err=True)
            while follow:
                follow = _follow(printer, paths, apps)
        except OSError as error:
            raise click.ClickException(f"cannot read {error.filename or 'a log'}: {in_words(error)}") from error


def _reader(paths: "StatePaths", apps: Sequence[str], streams: Sequence[str]) -> "Reader | None":
    """Return what reads the pods of the one app that is asked for, None if it writes on this host."""
    of_pods = [stream for stream in streams if stream in {"app", "access"} or is_process_log(stream)]
    if len(apps) != 1 or not of_pods or not paths.clusters.is_dir():
        return None
    from reconciler.cli.chosen_settings import settings_of  # most hosts have no cluster
    from reconciler.cluster.reading import reader_of
    from reconciler.state.schema import state_id

    clusters = settings_of(None, paths.state, None).clusters
    return reader_of(clusters, paths, apps[0], state_id(paths.state))


def _tasks(paths: "StatePaths", streams: Sequence[str], apps: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the streams with the whole id of each task, and the one app that they are of."""
    from reconciler.cli.failure import Failure
    from reconciler.cli.options import open_snapshot

    whole, of = [], set(apps)
    with open_snapshot(paths) as snapshot:
        for stream in streams:
            beginning = stream.removeprefix("task:")
            found = snapshot.records.task_log.find(beginning) if beginning != stream else []
            if beginning != stream and len(found) != 1:
                wrong = "begins more than one task" if found else "is the id of no task on record"
                raise Failure("not-found", f"'{beginning}' {wrong}; 'reconciler tasks' lists them")
            whole.append(f"task:{found[0].id}" if found else stream)
            of |= {task.app for task in found}
    if len(of) != 1:
        raise click.UsageError(f"a task is of one app: {', '.join(map(plain, sorted(of)))} are more")
    return tuple(whole), list(of)


def _limit_bytes(state: Path | None) -> int:
    """Return the size to which the daemon cuts a log, 0 if its settings cannot be read."""
    from reconciler.cli.chosen_settings import settings_of

    try:
        return settings_of(None, state, None).log_limit_bytes
    except click.ClickException:
        return 0


def _follow(printer: "Printer", paths: "StatePaths", apps: Sequence[str]) -> bool:
    """Print what is added for some time; return at once, and False, when nothing reads it."""
    for number in range(_LOOK_FOR_APPS_EVERY):
        printer.print(printer.chosen.arrived(time.time()))  # noqa: TID251  shown to people
        if not printer.chosen.has_more and not is_read(_POLL_S):
            return False
        if number == 0 and (not apps or any(map(is_pattern, apps))):
            with contextlib.suppress(click.ClickException):
                printer.chosen.open(_names(paths, apps))
    return True


def _names(paths: "StatePaths", words: Sequence[str]) -> list[str]:
    """Return the names of the apps that have logs and that the words choose; all without words."""
    from reconciler.cli.app_names import existing_apps
    from reconciler.linux.listing import names_in

    try:
        known = sorted(name for name in names_in(paths.logs, 1_000_000) if not name.startswith("."))
    except FileNotFoundError:
        known = []
    return existing_apps(known, words, having=" has logs here") if words else known


def _nothing(chosen: "Chosen", apps: Sequence[str]) -> str:
    """Return what to say where no line was printed."""
    if chosen.is_narrowed:
        return "no line matches"
    if len(apps) == 1 and len(chosen.logs) == 1:
        return f"{chosen.logs[0].path} is still empty"
    return "no app has written anything yet"


def _print_raw(chosen: "Chosen", count: int, *, follow: bool) -> None:
    for line in chosen.raw(count):
        click.echo(line)
    while follow:
        if not (lines := chosen.raw_arrived()) and not is_read(_POLL_S):
            return
        for line in lines:
            click.echo(line)
