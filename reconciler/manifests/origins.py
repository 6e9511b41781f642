"""Say which origins the manifests of this host come from: its directory, and branches of git repositories.

Whatever reads manifests asks here, the daemon as well as `plan` and `validate`, so that all see the same.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reconciler.manifests.directory_files import read_directory
from reconciler.manifests.origin import Look, Origin
from reconciler.settings.settings import Settings

if TYPE_CHECKING:  # a single look watches nothing
    import asyncio

    from reconciler.linux.followed_paths import FollowedPaths
    from reconciler.manifests.git.git_origin import GitOrigin
    from reconciler.manifests.git.tree_index import Index


def look_once(settings: Settings) -> list[Look]:
    """Return what every origin holds now. Blocks."""
    return [read_directory(str(settings.manifests)), *(origin.read() for origin in _in_git(settings, {}))]


def watched(
    settings: Settings,
    paths: "FollowedPaths",
    changed: "asyncio.Event",
    indexes: "Mapping[str, Callable[[str], Index]] | None" = None,
) -> list[Origin]:
    """Return every origin, watched from now on; `changed` is set when one is to be looked at again.

    `indexes` return the indexes of commits by the names of the origins in git, where something has read them already.
    """
    from reconciler.manifests.directory_origin import Directory

    return [Directory(str(settings.manifests), paths, changed), *_in_git(settings, indexes or {})]


def _in_git(settings: Settings, indexes: "Mapping[str, Callable[[str], Index]]") -> "list[GitOrigin]":
    if not settings.origins:
        return []
    from reconciler.manifests.git.git_origin import GitOrigin  # most hosts have no repository

    return [GitOrigin(origin, settings.paths, indexes.get(origin.name)) for origin in settings.origins]
