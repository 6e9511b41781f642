"""Say what takes up a manifest that was written: the daemon that watches its directory, or one to be started."""

from reconciler.cli.chosen_settings import watched_directory
from reconciler.settings.settings import Settings


def next_step(settings: Settings, app: str, effect: str, without_daemon: str = "") -> str:
    """Return what has an `effect` on a manifest in the directory of the settings, such as "serves it".

    Where no daemon is running, that begins with `without_daemon`.
    """
    from reconciler.state.lock import holder

    directory, pid = settings.manifests, holder(settings.paths)
    if pid is None:
        begin = f"'reconciler run --manifests {directory}' {effect}"
        return f"{without_daemon}no daemon is running for {directory}: {begin}"
    watched = watched_directory(settings.paths)
    if watched is not None and directory.resolve() == watched.resolve():
        return f"the daemon (pid {pid}) watches {directory} and {effect}: see 'reconciler status {app}'"
    other = "another directory" if watched is None else str(watched)
    return (
        f"the daemon (pid {pid}) watches {other}, so nothing {effect.replace(' it', ' this manifest')}:"
        f" give --manifests {other}, or start a daemon for {directory}"
    )
