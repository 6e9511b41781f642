"""The options that most commands share, and the settings, paths and snapshots they stand for."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.settings.settings import Settings
    from reconciler.state.paths import StatePaths

DEFAULT_SETTINGS = Path("/etc/reconciler/host.yaml")

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    """A duration as in manifests, converted to seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from reconciler.documents.units import duration_s

        try:
            return duration_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()


def examples(*lines: str) -> str:
    """Return the examples for the end of a command's help, one per line."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


def manifests_option(command: _Command) -> _Command:
    """Add --manifests DIR."""
    return click.option(
        "--manifests",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="RECONCILER_MANIFESTS",
        default=Path("manifests"),
        metavar="DIR",
        help="The directory of the manifests.  [default: ./manifests]",
    )(command)


def state_option(command: _Command) -> _Command:
    """Add --state DIR."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="RECONCILER_STATE",
        default=None,
        metavar="DIR",
        help="The directory for apps, environments, logs and the database."
        "  [default: /var/lib/reconciler for root, otherwise $XDG_STATE_HOME/reconciler]",
    )(command)


def settings_option(command: _Command) -> _Command:
    """Add --settings FILE."""
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="RECONCILER_SETTINGS",
        default=None,
        metavar="FILE",
        help=f"The settings of this host.  [default: {DEFAULT_SETTINGS} if it exists]",
    )(command)


def with_settings(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Add --settings and these options, and pass them to the command as one argument `settings`."""

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def ready(
            settings_file: Path | None, manifests: Path = Path("manifests"), state: Path | None = None, **rest: Any
        ) -> Any:
            return command(settings=settings_of(manifests, state, settings_file), **rest)

        decorated: Any = ready
        for option in (settings_option, *reversed(options)):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


host_options = with_settings(manifests_option, state_option)


def json_option(command: _Command) -> _Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def paths_of(state: Path | None) -> "StatePaths":
    """Return the paths of the given state directory, or of the default one."""
    from reconciler.state.paths import StatePaths, default_state

    return StatePaths(state=(state or default_state()).absolute())


def settings_of(manifests: Path, state: Path | None, file: Path | None) -> "Settings":
    """Return the settings of this host. Raises ClickException if their file is missing or has mistakes."""
    from reconciler.settings.settings import Settings

    settings = Settings(manifests=manifests.absolute(), paths=paths_of(state))
    if file is None and not DEFAULT_SETTINGS.exists():
        return settings
    from reconciler.settings.file import parse

    path = (file or DEFAULT_SETTINGS).absolute()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read the host's settings {path}: {error.strerror}") from error
    found = parse(str(path), content, settings)
    if found.problems:
        problems = "\n".join(f"  {problem}" for problem in found.problems)
        raise click.ClickException(f"the host's settings are invalid:\n{problems}")
    return found.applied(settings)


def paths_in_use(state: Path | None) -> "StatePaths":
    """Return the paths of a state directory. Raises ClickException if no daemon has ever used it."""
    paths = paths_of(state)
    try:
        exists = paths.database.exists()
    except OSError as error:
        raise click.ClickException(f"cannot read {paths.state}: {error.strerror}") from error
    if not exists:
        raise click.ClickException(
            f"no daemon has ever run in {paths.state}: start one with 'reconciler run', or name another with --state"
        )
    return paths


def paths_to_change(state: Path | None) -> "StatePaths":
    """Return the paths of a state directory that is in use, and belongs to this user.

    Raises ClickException for another user's, also to root: what that user wrote there would run as root.
    """
    from reconciler.state.ownership import require_ours

    paths = paths_in_use(state)
    try:
        require_ours(paths.state)
    except OSError as error:
        raise click.ClickException(str(error)) from error
    return paths


@contextlib.contextmanager
def reading(paths: "StatePaths") -> Iterator[None]:
    """Raise ClickException for failures to read the state directory."""
    import sqlite3

    from reconciler.state.schema import OtherVersion

    try:
        yield
    except (OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    except sqlite3.Error as error:
        raise click.ClickException(f"cannot read {paths.database}: {error}") from error


@contextlib.contextmanager
def open_snapshot(paths: "StatePaths") -> Iterator["HostSnapshot"]:
    """Open a snapshot. Raises ClickException if the state directory cannot be read."""
    from reconciler.inspection.snapshot import HostSnapshot

    with reading(paths), contextlib.closing(HostSnapshot(paths)) as snapshot:
        yield snapshot
