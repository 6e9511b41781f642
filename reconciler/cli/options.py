"""The options that most commands share, and the paths and snapshots they stand for."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.failure import Failure
from reconciler.linux.error_words import in_words
from reconciler.settings.place import DEFAULT_SETTINGS

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.settings.settings import Settings
    from reconciler.state.paths import StatePaths


_Command = TypeVar("_Command", bound=Callable[..., Any])

HOST = "--host"
# Where the words of the command are in the context, and the host while a shell completes them.
WORDS = "reconciler.words"
COMPLETED_HOST = "reconciler.host"


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


def host_option() -> click.Option:
    """Return the option --host, which runs the command that has it on another host, and ends this process."""
    return click.Option(
        [HOST],
        metavar="URL",
        envvar="RECONCILER_HOST",
        is_eager=True,
        expose_value=False,
        callback=_run_there,
        help="Run this on another host over ssh: ssh://user@server.  [default: this host]",
    )


def _run_there(ctx: click.Context, param: click.Parameter, url: str | None) -> None:
    if ctx.resilient_parsing:
        ctx.meta[COMPLETED_HOST] = url
    elif url:
        from reconciler.cli.remote import run_there

        try:
            run_there(url, ctx.meta[WORDS], ctx.command)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error


class _PathType(click.Path["Path"]):
    """A path as click takes it, converted by what is loaded only then: helps have no need of it."""

    def coerce_path_result(self, value: "str | os.PathLike[str]") -> "Path":
        from pathlib import Path

        return Path(value)


_DIRECTORY = _PathType(file_okay=False)


class ManifestsType(click.ParamType["Path | str"]):
    """A directory of manifests, or an origin in git in its short form, which stays as it is written."""

    name = "manifests"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "Path | str":
        text = str(value)
        return text if text.startswith("git+") else _DIRECTORY.convert(text, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        return _DIRECTORY.shell_complete(ctx, param, incomplete)


def _directory_option(
    name: str, help_text: str, of: click.ParamType[Any] = _DIRECTORY, metavar: str = "DIR"
) -> Callable[[_Command], _Command]:
    return click.option(
        f"--{name}", type=of, envvar=f"RECONCILER_{name.upper()}", default=None, metavar=metavar, help=help_text
    )


def _settings_option(whose: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--settings",
        "settings_file",
        type=_PathType(dir_okay=False),
        envvar="RECONCILER_SETTINGS",
        default=None,
        metavar="FILE",
        help=f"The settings of this host.  [default: {whose}{DEFAULT_SETTINGS} if it exists]",
    )


_DEFAULT_STATE = "/var/lib/reconciler for root, otherwise $XDG_STATE_HOME/reconciler"

manifests_option = _directory_option(
    "manifests", "The directory of the manifests.  [default: the daemon's, otherwise ./manifests]", of=ManifestsType()
)
state_option = _directory_option(
    "state",
    f"The state directory of the daemon.  [default: that of the only daemon running on this host, or {_DEFAULT_STATE}]",
)
settings_option = _settings_option("the daemon's, otherwise ")


def with_settings(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """Add --state, --settings and these options, and pass the daemon's settings to the command as `settings`."""
    return _passing(_daemon_settings, (settings_option, state_option, *reversed(options)))


def without_daemon(*options: Callable[[Any], Any], writes_unless: str = "") -> Callable[[_Command], _Command]:
    """Add the same options to a command that needs no daemon, so that none of several has to be chosen.

    One that takes --manifests has to be given it then, unless the flag `writes_unless` says that nothing is written.
    """
    from_manifests = manifests_option in options

    def choose(
        manifests: "Path | str | None", state: "Path | None", file: "Path | None", given: Mapping[str, Any]
    ) -> "Settings":
        from reconciler.cli.chosen_settings import settings_of

        certain = manifests is not None or not from_manifests or bool(given.get(writes_unless))
        return settings_of(manifests, state, file, default_among_several=certain)

    return _passing(choose, (settings_option, state_option, *reversed(options)))


def _passing(
    choose: "Callable[[Any, Path | None, Path | None, Mapping[str, Any]], Settings]",
    options: Sequence[Callable[[Any], Any]],
) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def ready(
            settings_file: "Path | None",
            manifests: "Path | str | None" = None,
            state: "Path | None" = None,
            **rest: Any,
        ) -> Any:
            return command(settings=choose(manifests, state, settings_file, rest), **rest)

        decorated: Any = ready
        for option in options:
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def unusable_settings_allowed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same options as `host_options`, and pass the settings without their file if it cannot be used.

    The argument `unusable` says why, None if it can be.
    """

    @functools.wraps(command)
    def ready(settings_file: "Path | None", manifests: "Path | str | None", state: "Path | None", **rest: Any) -> Any:
        from reconciler.cli.chosen_settings import UnusableSettings, settings_of

        try:
            return command(settings=settings_of(manifests, state, settings_file), unusable=None, **rest)
        except UnusableSettings as error:
            return command(settings=error.without, unusable=error.message, **rest)

    return manifests_option(state_option(settings_option(ready)))


def _daemon_settings(
    manifests: "Path | str | None", state: "Path | None", file: "Path | None", _: Mapping[str, Any]
) -> "Settings":
    from reconciler.cli.chosen_settings import settings_of

    return settings_of(manifests, state, file)


def _new_settings(
    manifests: "Path | str | None", state: "Path | None", file: "Path | None", _: Mapping[str, Any]
) -> "Settings":
    from reconciler.cli.chosen_settings import settings_to_start

    return settings_to_start(manifests, state, file)


host_options = with_settings(manifests_option)
# A daemon that starts follows no other one.
start_options = _passing(
    _new_settings,
    (
        _settings_option(""),
        _directory_option(
            "state", f"The directory for apps, environments, logs and the database.  [default: {_DEFAULT_STATE}]"
        ),
        _directory_option(
            "manifests",
            "The directory of the manifests, or git+https://HOST/PATH@BRANCH#subdirectory=PATH: a branch of a"
            " repository, whose commits need not be signed.  [default: ./manifests]",
            of=ManifestsType(),
            metavar="DIR|URL",
        ),
    ),
)


def json_option(command: _Command) -> _Command:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def all_option(help_text: str) -> Callable[[_Command], _Command]:
    """Add --all, as `everything`."""
    return click.option("--all", "everything", is_flag=True, help=help_text)


def refuse_both(words: Sequence[str], *, everything: bool) -> None:
    """Raise UsageError for names beside --all."""
    if words and everything:
        raise click.UsageError("give names, or --all, not both")


def paths_of(state: "Path | None") -> "StatePaths":
    """Return the paths of the given state directory, of that of the only daemon on this host, or of the default one.

    Raises ClickException if several daemons are running.
    """
    from reconciler.state.paths import StatePaths

    if state is None:
        from reconciler.state.running_daemons import SeveralDaemons, default_state_among, running_daemons

        try:
            state = default_state_among(running_daemons())
        except SeveralDaemons as error:
            raise Failure("several-daemons", str(error)) from error
    return StatePaths(state=state.absolute())


class NeverUsed(Failure):
    """No daemon has ever run in a state directory; `remedy` says what to do."""

    def __init__(self, state: "Path", remedy: str) -> None:
        super().__init__("never-used", f"no daemon has ever run in {state}: {remedy}")
        self.state = state
        self.remedy = remedy


def paths_in_use(state: "Path | None") -> "StatePaths":
    """Return the paths of a state directory. Raises NeverUsed, and ClickException if it cannot be read."""
    paths = paths_of(state)
    try:
        exists = paths.database.exists()
    except OSError as error:
        raise click.ClickException(f"cannot read {paths.state}: {in_words(error)}") from error
    if not exists:
        raise NeverUsed(paths.state, _other_daemons())
    return paths


def paths_to_change(state: "Path | None") -> "StatePaths":
    """Return the paths of a state directory that is in use, and belongs to this user.

    Raises ClickException for another user's, also to root: what that user wrote there would run as root.
    """
    from reconciler.state.ownership import NotOurs, require_ours

    paths = paths_in_use(state)
    try:
        require_ours(paths.state)
    except NotOurs as error:
        raise Failure("not-allowed", str(error)) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error
    return paths


def _other_daemons() -> str:
    """Return what to do where the chosen state directory was never used, by the daemons that are running."""
    from reconciler.state.running_daemons import foreign_daemons, running_daemons

    if running := running_daemons():
        states = " and ".join(str(daemon.state) for daemon in running)
        verb = "a daemon is" if len(running) == 1 else "daemons are"
        return f"{verb} running in {states}; name that directory with --state"
    if foreign := foreign_daemons():
        pid, user = foreign[0].pid, foreign[0].user
        return f"the daemon (pid {pid}) on this host belongs to {user}; run this as that user, as with 'sudo -u {user}'"
    return "start one with 'reconciler run', or name another with --state"


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
