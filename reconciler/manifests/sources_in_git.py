"""Resolve the sources of apps in repositories to the directories of the commits in force on this host. Pure."""

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import ABSENT_MARK, AWAITED_MARK, TREE_MARK, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInForce:
    """A commit of something followed, and the directories that apps take from it, by their paths in the repository.

    `trees` are their tree ids, `top` is where they are by these ids. `problems` say why one cannot be used, `why` why
    nothing is here of those that are neither. `commit` is "" while none is in force; two that differ in it alone are
    equal, as they have the same directories.
    """

    commit: str = field(default="", compare=False)
    subject: str = field(default="", compare=False)
    top: str = ""
    trees: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    is_failing: bool = False


# By the name of what is followed.
SourcesInForce: TypeAlias = Mapping[str, SourceInForce]


def resolved(app: App, sources: SourcesInForce) -> App:
    """Return an app with its source as it is on this host; an app whose source is in no repository as it is."""
    if app.in_git is None:
        return app
    found = sources.get(app.in_git.followed.name)
    if found is None:
        return app
    source = _source(app, found)
    return app.with_source(source, "" if source.missing else found.commit)


def _source(app: App, found: SourceInForce) -> Source:
    assert app.in_git is not None
    path = app.in_git.path
    if path in found.trees:
        tree = found.trees[path]
        return Source(path=f"{found.top}/{tree}", pinned=f"{TREE_MARK}{tree}")
    if path in found.problems:
        return Source(path="", pinned=f"{ABSENT_MARK}{found.problems[path]}")
    if found.is_failing:
        return Source(path="", pinned=f"{ABSENT_MARK}{found.why}")
    return Source(path="", pinned=f"{AWAITED_MARK}{found.why}") if found.why else app.source
