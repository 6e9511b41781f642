"""Tell by its version whether the source of an app is still the same, where its origin knows that. Pure.

A source in a commit is the directory with its tree id, so a commit that leaves it alone is not even looked at for it.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import TREE_MARK

# The versions of files and directories by their absolute paths, of each origin that knows them, by its name.
Versions = Mapping[str, Mapping[str, str]]


def versioned(app: App, before: App | None, versions: Versions, commits: Mapping[str, str]) -> App:
    """Return an app with the version of its source, if its origin knows it; else as it was before, if it can be that.

    `commits` are those in force, by the origin's name.

    A manifest that pins its source (`watch: false`) has it read again only when the manifest changes.
    """
    source = app.source
    if source.pinned or app.manifest.startswith("/"):
        return app
    origin = app.manifest.partition("/")[0]
    known, commit = versions.get(origin), commits.get(origin, "")
    if known is not None:
        # Few paths are written another way than git has them, and few sources are others than before.
        version = known.get(source.path) or known.get(posixpath.normpath(source.path), "")
        if not version:
            return app
        pinned = f"{TREE_MARK}{version}"
        if before is not None and before.source.pinned == pinned and before.source.path == source.path:
            return app.with_source(before.source, before.commit)
        return app.with_source(replace(source, pinned=pinned), commit)
    if before is not None and before.source.path == source.path:
        return app.with_source(before.source, before.commit)
    return app
