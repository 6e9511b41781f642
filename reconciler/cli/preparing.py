"""Prepare an app in this process, for a command that needs no daemon: the options, what is said meanwhile, failures."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import DURATION, ManifestsType
from reconciler.inspection.printable import plain
from reconciler.settings.place import DEFAULT_SETTINGS

if TYPE_CHECKING:
    from reconciler.convergence.world import Report
    from reconciler.daemon.foreground.foreground_daemon import ForegroundDaemon
    from reconciler.daemon.foreground.wanted import Wanted
    from reconciler.settings.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])
Made = TypeVar("Made")
_LOOK_EVERY_S = 0.2

_OPTIONS = (
    click.option(
        "--timeout",
        "timeout_s",
        type=DURATION,
        default="30m",
        show_default=True,
        help="Give up preparing after this long.",
    ),
    click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="RECONCILER_EXEC_STATE",
        metavar="DIR",
        help="The directory for what is staged, one that no daemon uses."
        "  [default: /var/lib/reconciler-exec for root, otherwise $XDG_STATE_HOME/reconciler-exec]",
    ),
    click.option(
        "--manifests",
        type=ManifestsType(),
        envvar="RECONCILER_MANIFESTS",
        metavar="DIR|URL",
        help="The directory of the manifests.  [default: ./manifests]",
    ),
    click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="RECONCILER_SETTINGS",
        metavar="FILE",
        help=f"The settings of this host.  [default: {DEFAULT_SETTINGS} if it exists]",
    ),
)


def preparing_options(command: _Command) -> _Command:
    """Add the options of what prepares an app by itself, and pass `settings` and `timeout_s`."""

    @functools.wraps(command)
    def ready(state: Path | None, manifests: "Path | str | None", settings_file: Path | None, **rest: Any) -> Any:
        from reconciler.cli.chosen_settings import settings_to_start
        from reconciler.state.paths import default_state

        own = default_state()
        settings = settings_to_start(manifests, state or own.with_name(f"{own.name}-exec"), settings_file)
        return command(settings=settings, **rest)

    decorated: Any = ready
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def prepared(
    settings: "Settings", wanted: "Wanted", timeout_s: float, then: "Callable[[ForegroundDaemon], Made]"
) -> Made:
    """Prepare an app, and return what `then` makes of it. Raises ClickException."""
    from reconciler.daemon.foreground.prepare import prepare
    from reconciler.daemon.foreground.preparing import NotPrepared
    from reconciler.linux import loops
    from reconciler.state.lock import AlreadyRunning

    said = _Said(wanted.app)
    until = time.monotonic() + timeout_s
    with failures(settings):
        while True:
            try:
                return loops.run(prepare(settings, wanted, said.report, max(0.0, until - time.monotonic()), then))
            except NotPrepared as error:
                raise Failure(error.reason, f"cannot run {wanted.app}: {plain(str(error))}") from error
            except AlreadyRunning as running:  # only a daemon answers requests, whatever its command line says
                if _is_answered(settings.paths.control) or time.monotonic() > until:
                    state = settings.paths.state
                    what = f"a daemon (pid {running.pid}) uses {state}: it runs its apps by itself"
                    raise Failure("refused", f"{what}; name another directory with --state") from running
                said.waits(f"another command (pid {running.pid}) stages in {settings.paths.state}")
            time.sleep(_LOOK_EVERY_S)


@contextlib.contextmanager
def failures(settings: "Settings") -> Iterator[None]:
    """Raise ClickException for what the state directory cannot do."""
    import sqlite3

    from reconciler.state.ownership import NotOurs
    from reconciler.state.schema import OtherVersion

    try:
        yield
    except NotOurs as error:
        raise Failure("not-allowed", str(error)) from error
    except (OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    except sqlite3.Error as error:
        raise click.ClickException(f"cannot use {settings.paths.database}: {error}") from error


def _is_answered(control: Path) -> bool:
    """Return whether a daemon takes requests at its socket."""
    import socket

    from reconciler.linux.unix_sockets import connected

    try:
        connected(control, socket.SOCK_STREAM, 0).close()
    except BlockingIOError:  # so many that there is no room for one more
        return True
    except OSError:
        return False
    return True


class _Said:
    """Says on standard error what is under way, each phase once and none that ends soon."""

    def __init__(self, app: str) -> None:
        from reconciler.cli.progress import Phases

        self._app = app
        self._phases = Phases()
        self._waits = ""

    def report(self, report: "Report") -> None:
        from reconciler.cli.progress import phase_of

        if not report.settled and self._phases.is_due(self._app, report, time.monotonic()):
            self._say(phase_of(report))

    def waits(self, what: str) -> None:
        if what != self._waits:
            self._waits = what
            self._say(f"waiting: {what}")

    def _say(self, text: str) -> None:
        click.echo(f"reconciler: {self._app}: {plain(text)}", err=True)
