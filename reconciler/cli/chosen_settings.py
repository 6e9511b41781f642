"""Find the settings that a command uses: what its options say, else what the daemon of the state directory uses."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import paths_of
from reconciler.linux.error_words import in_words
from reconciler.settings.place import DEFAULT_SETTINGS
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.state.daemon_record import DaemonRecord
    from reconciler.state.paths import StatePaths

_MANIFESTS = Path("manifests")


class UnusableSettings(Failure):
    """The settings file cannot be read or has mistakes; `without` are the settings as they are without it."""

    def __init__(self, message: str, without: Settings) -> None:
        super().__init__("unusable-settings", message)
        self.without = without


def settings_of(
    manifests: Path | str | None, state: Path | None, file: Path | None, *, default_among_several: bool = False
) -> Settings:
    """Return the settings, of which the recorded ones of the daemon fill in what no option gives.

    `manifests` is a directory, or an origin in git in its short form, as for a daemon that is to start. Of several
    daemons, the one that follows these manifests is meant; if none does, the default state directory where
    `default_among_several`. Raises Failure otherwise, and UnusableSettings if the settings file is missing or has
    mistakes.
    """
    paths = _paths(manifests, state, default_among_several=default_among_several)
    used = None if manifests is not None and file is not None else _recorded(paths)
    if manifests is not None:
        return _settings(manifests, paths, file, used)
    if used is None:
        return _beside_origins(_settings(None, paths, file, None), None)
    return _with_origin(_with_file(Settings(manifests=used.manifests, paths=paths), file, used), used.short_origin)


def settings_to_start(manifests: Path | str | None, state: Path | None, file: Path | None) -> Settings:
    """Return the settings of a daemon that is to start: what no option gives has its default.

    `manifests` is a directory, or an origin in git in its short form. Raises UnusableSettings if the settings file is
    missing or has mistakes, or if the short form has.
    """
    from reconciler.state.paths import StatePaths, default_state

    paths = StatePaths(state=(state or default_state()).absolute())
    settings = _settings(manifests, paths, file, None)
    if manifests is not None or not settings.origins:
        return settings
    return _beside_origins(settings, _recorded(paths))


def _settings(
    manifests: Path | str | None, paths: "StatePaths", file: Path | None, used: "DaemonRecord | None"
) -> Settings:
    """Return the settings with these manifests, whatever the daemon's are. Raises UnusableSettings."""
    short_origin = manifests if isinstance(manifests, str) else None
    directory = paths.manifests if isinstance(manifests, str) else (manifests or _MANIFESTS).absolute()
    return _with_origin(_with_file(Settings(manifests=directory, paths=paths), file, used), short_origin)


def _beside_origins(settings: Settings, before: "DaemonRecord | None") -> Settings:
    """Return the settings of a host that names no directory of manifests, and may have others from git.

    Such a host need not have one: then it is that in the state directory. One that the daemon `before` has followed
    stays, as nothing but its files could say that they are gone.
    """
    from dataclasses import replace

    default, own = settings.manifests, settings.paths.manifests
    if before is not None and before.manifests in (default, own):
        return replace(settings, manifests=before.manifests)
    return replace(settings, manifests=own) if settings.origins and not default.exists() else settings


def _with_origin(settings: Settings, short_origin: str | None) -> Settings:
    """Add an origin in git that is named by its short form. Raises UnusableSettings."""
    if short_origin is None:
        return settings
    from dataclasses import replace

    from reconciler.settings.git_short import origin_of

    try:
        origin = origin_of(short_origin, settings)
    except ValueError as error:
        raise UnusableSettings(f"cannot use the repository that --manifests names: {error}", settings) from error
    if any(each.name == origin.name for each in settings.origins):
        message = f"the origin '{origin.name}' that --manifests names is one of the host's settings as well"
        raise UnusableSettings(message, settings)
    return replace(settings, origins=(*settings.origins, origin), short_origin=short_origin)


def watched_directory(paths: "StatePaths") -> Path | None:
    """Return the directory of manifests that the daemon of a state directory uses, None if that is unknown."""
    used = _recorded(paths)
    return None if used is None else used.manifests


def _paths(manifests: Path | str | None, state: Path | None, *, default_among_several: bool) -> "StatePaths":
    """Return the paths of the state directory that is meant. Raises Failure."""
    from reconciler.state.paths import StatePaths, default_state

    try:
        return paths_of(state)
    except Failure as error:
        if error.reason != "several-daemons":
            raise
        followers = () if manifests is None else _followers(manifests)
        if len(followers) == 1:
            return followers[0]
        if not default_among_several:
            raise
        return StatePaths(state=default_state().absolute())


def _followers(manifests: Path | str) -> "tuple[StatePaths, ...]":
    """Return the state directories of the running daemons that follow a directory of manifests, or an origin in git."""
    from reconciler.state.paths import StatePaths
    from reconciler.state.running_daemons import running_daemons

    states = dict.fromkeys(daemon.state for daemon in running_daemons())
    used = ((paths, _recorded(paths)) for paths in (StatePaths(state=state) for state in states))
    return tuple(paths for paths, one in used if one is not None and _follows(one, manifests))


def _follows(used: "DaemonRecord", manifests: Path | str) -> bool:
    if isinstance(manifests, str):
        return used.short_origin == manifests
    return used.manifests.resolve() == manifests.resolve()


def _recorded(paths: "StatePaths") -> "DaemonRecord | None":
    """Return what the daemon recorded; if it cannot be read, say so and go on without."""
    with suppress(OSError):  # which is told below
        if not paths.database.exists():
            return None  # and nothing that reads a database is loaded
    import sqlite3

    from reconciler.state.daemon_record import recorded
    from reconciler.state.schema import OtherVersion

    try:
        return recorded(paths)
    except (OSError, sqlite3.Error, OtherVersion) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        what = f"cannot read which manifests and settings the daemon of {paths.state} uses: {reason}"
        click.echo(f"{what}; using the defaults for those that no option names", err=True)
        return None


def _with_file(settings: Settings, file: Path | None, used: "DaemonRecord | None") -> Settings:
    """Apply the settings file: the given one, the daemon's, or the default one if it exists."""
    whose = ""
    if file is None and used is not None and used.settings is not None:
        file, whose = used.settings, f", which the daemon of {settings.paths.state} uses"
    if file is None and not Path(DEFAULT_SETTINGS).exists():
        return settings
    from dataclasses import replace

    from reconciler.settings.file import parse

    path = (file or Path(DEFAULT_SETTINGS)).absolute()
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "; name another file with --settings" if whose else ""
        message = f"cannot read the host's settings {path}{whose}: {in_words(error)}{hint}"
        raise UnusableSettings(message, settings) from error
    found = parse(str(path), content, settings)
    if found.problems:
        problems = "\n".join(f"  {problem}" for problem in found.problems)
        raise UnusableSettings(f"the host's settings{whose} cannot be used:\n{problems}", settings)
    return replace(found.applied(settings), file=path)
