"""What apps take their sources from, followed in a repository as an origin of manifests is. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.planning.apps.app import App
from reconciler.planning.apps.git_source import Followed
from reconciler.settings.git import GitOrigin, Repository


def source_origin(followed: Followed, repository: Repository, host: str, origins: Iterable[GitOrigin]) -> GitOrigin:
    """Return what is followed in a repository, on a host with these origins of manifests."""
    leader = leader_of(followed, origins)
    return GitOrigin(
        name=followed.name,
        repository=replace(repository, signed="tag") if followed.signed else repository,
        host=host,
        branch=followed.branch,
        tags=followed.tag,
        commit=followed.commit,
        paths=(),
        returns=False,
        is_source=True,
        in_fleet=bool(leader),
        goes_by=leader,
    )


def leader_of(followed: Followed, origins: Iterable[GitOrigin]) -> str:
    """Return the origin by whose reports a source goes, "" for none: the first with the branch of the source.

    Reports are about the commits of origins only. A tag or a commit came with a manifest.
    """
    leaders = (
        each.name
        for each in origins
        if not each.is_source and (each.repository.name, each.branch) == (followed.repository, followed.branch)
    )
    return next(leaders, "") if followed.branch else ""


def paths_by_source(apps: Iterable[App]) -> dict[Followed, Sequence[str]]:
    """Return what apps take their sources from, with the directories that they take of it."""
    found: dict[Followed, set[str]] = {}
    for app in apps:
        if app.in_git is not None:
            found.setdefault(app.in_git.followed, set()).add(app.in_git.path)
    return {followed: sorted(paths) for followed, paths in found.items()}
