"""Find the revision to which an operator can roll an app back."""

from reconciler.inspection.snapshot import HostSnapshot


def rollback_target(snapshot: HostSnapshot, app: str, current: str) -> str | None:
    """Return the id of the last known good revision that is still on disk and not the current one, if there is one."""
    for revision in snapshot.known_good(app):
        if revision.id != current and snapshot.staged(app, revision.build.id) is not None:
            return revision.id
    return None
