"""Find the commit that a release comes with: of the origin of its manifest, or of what its source is taken from."""

import re
from contextlib import suppress

from reconciler.manifests.persisted import remembered_origins
from reconciler.planning.apps.app import App
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records

_COMMIT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})(?:\.json)?")


def commit_of(app: App | None, paths: StatePaths, records: Records) -> tuple[str, str]:
    """Return the commit in force and its subject, both empty where there is none. Raises sqlite3.Error."""
    if app is None:
        return "", ""
    if app.in_git is not None:
        name = app.in_git.followed.name
        link = paths.source(name) / "current"
    else:
        name = app.manifest.partition("/")[0] if "/" in app.manifest else ""
        link = paths.current(name)
    commit = None
    if name:
        with suppress(OSError, ValueError):
            commit = _COMMIT.fullmatch(link.readlink().name)
    if commit is None:
        return "", ""
    facts = next((each for each in remembered_origins(records) if each.get("name") == name), {})
    return commit[1], str(facts.get("subjects", {}).get(commit[1], ""))
