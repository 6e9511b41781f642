"""Check the origins in git: that git is installed, and that each one can be fetched and is accepted."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.inspection.checks.check import Check
from reconciler.settings.git import GitOrigin
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot

_PATIENCE_S = 20.0
_UNSIGNED = "not signed: every user who can push to it decides what this host runs"


def origins(settings: Settings) -> Iterator[Check]:
    """Fetch and judge the newest commit of each origin, and warn of what is not signed."""
    if not settings.origins:
        return
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.state.schema import OtherVersion

    with contextlib.ExitStack() as stack:
        snapshot = None
        with contextlib.suppress(OSError, OtherVersion, sqlite3.Error):
            if settings.paths.database.exists():
                snapshot = stack.enter_context(contextlib.closing(HostSnapshot(settings.paths)))
        for origin in settings.origins:
            yield from _origin(settings, origin, snapshot)


def _origin(settings: Settings, origin: GitOrigin, snapshot: "HostSnapshot | None") -> Iterator[Check]:
    from reconciler.inspection.origins import tried

    subject = f"origin {origin.name}"
    repository = origin.repository
    hasty = replace(origin, repository=replace(repository, timeout_s=min(repository.timeout_s, _PATIENCE_S)))
    try:
        found = tried(settings, hasty, snapshot)
    except OSError as error:
        advice = "install git (2.30 or newer)"
        yield Check(level="fail", subject=subject, found=f"cannot run git: {error.strerror}", advice=advice)
        return
    if found.problem:
        stays = f"commit {found.in_force[:7]} stays in force" if found.in_force else "no commit is in force"
        advice = f"'reconciler git test {origin.name}' shows each step"
        yield Check(level="warn", subject=subject, found=f"{found.problem}; {stays}", advice=advice)
    elif found.head is not None:
        told = f"{origin.followed} is at commit {found.head.id[:7]}, which is accepted"
        yield Check(level="ok", subject=subject, found=told)
    if repository.signed == "no":
        advice = f"name the keys that may sign: 'signers' and 'signed: every' of 'git.repositories.{repository.name}'"
        yield Check(level="warn", subject=subject, found=_UNSIGNED, advice=advice)
