"""Check the origins in git: that git is installed, and that each one can be fetched and is accepted."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.inspection.checks.check import Check
from reconciler.linux.error_words import in_words
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.settings import Settings
from reconciler.settings.tokens import token_of

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot

_PATIENCE_S = 20.0
_OF_FLEET = "see 'A fleet of hosts' in the documentation, and 'reconciler git hosts'"
_UNSIGNED = "not signed: every user who can push to it decides what this host runs"


def origins(settings: Settings) -> Iterator[Check]:
    """Fetch and judge the newest commit of each origin, and warn of what is not signed."""
    if not settings.repositories:
        return
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.state.schema import OtherVersion

    with contextlib.ExitStack() as stack:
        snapshot = None
        with contextlib.suppress(OSError, OtherVersion, sqlite3.Error):
            if settings.paths.database.exists():
                snapshot = stack.enter_context(contextlib.closing(HostSnapshot(settings.paths)))
        followed = [] if snapshot is None else snapshot.origins
        for origin in settings.origins:
            yield from _origin(settings, origin, snapshot)
            for trouble in (
                each for facts in followed if facts["name"] == origin.name for each in facts.get("fleet", ())
            ):
                yield Check(level="warn", subject=f"fleet of {origin.name}", found=trouble, advice=_OF_FLEET)
        for repository in settings.repositories.values():
            yield from _webhook(repository, _last_call([o for o in followed if o.get("repository") == repository.name]))
            yield from _statuses(repository)


def _origin(settings: Settings, origin: GitOrigin, snapshot: "HostSnapshot | None") -> Iterator[Check]:
    from reconciler.inspection.origins import tried

    subject = f"origin {origin.name}"
    repository = origin.repository
    hasty = replace(origin, repository=replace(repository, timeout_s=min(repository.timeout_s, _PATIENCE_S)))
    try:
        found = tried(settings, hasty, snapshot)
    except OSError as error:
        advice = "install git (2.30 or newer)"
        yield Check(level="fail", subject=subject, found=f"cannot run git: {in_words(error)}", advice=advice)
        return
    if found.problem:
        stays = f"commit {found.in_force[:7]} stays in force" if found.in_force else "no commit is in force"
        advice = f"'reconciler git test {origin.name}' shows each step"
        yield Check(level="warn", subject=subject, found=f"{found.problem}; {stays}", advice=advice)
    elif found.head is not None:
        told = f"{origin.followed} is at commit {found.head.id[:7]}, which is accepted"
        yield Check(level="ok", subject=subject, found=told)
    yield from _reports(hasty)
    if repository.signed == "no":
        advice = f"name the keys that may sign: 'signers' and 'signed: every' of 'git.repositories.{repository.name}'"
        yield Check(level="warn", subject=subject, found=_UNSIGNED, advice=advice)


def _reports(origin: GitOrigin) -> Iterator[Check]:
    """Check that this host can read the reports about an origin, and may push its own, where the settings name any."""
    repository = origin.repository
    if origin.commit or (repository.report_sign is None and repository.report_to is None):
        return
    from reconciler.inspection.fleet_reports import reports_tried

    subject, to = f"reports of {origin.name}", repository.of_reports.name
    there, problem = reports_tried(origin)
    if problem:
        advice = f"see 'report' of 'git.repositories.{repository.name}', and what the server lets this host push"
        yield Check(level="warn", subject=subject, found=f"{problem} (repository {to})", advice=advice)
        return
    own = "this host may push there" if repository.report_sign is not None else "this host makes none"
    yield Check(level="ok", subject=subject, found=f"{there} in the repository {to}; {own}")


def _last_call(followed: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what is known of the webhook of one repository: what was followed since knows less than the rest."""
    known: list[Mapping[str, Any]] = [each.get("webhook") or {} for each in followed]
    return max(known, key=lambda each: (each.get("called_at") or 0.0, each.get("missed", 0)), default={})


def _webhook(repository: Repository, known: Mapping[str, Any]) -> Iterator[Check]:
    """Check that the secret of a webhook can be used, and that the git server still calls it."""
    if repository.webhook is None:
        return
    subject, at = f"webhook {repository.name}", f"/hooks/{repository.name}"
    try:
        token_of(repository.webhook)
    except (OSError, ValueError) as error:
        why = f"cannot read {repository.webhook}: {in_words(error)}" if isinstance(error, OSError) else str(error)
        advice = "write a long random word into that file, and give the git server the same"
        yield Check(level="warn", subject=subject, found=why, advice=advice)
        return
    if doubt := known.get("doubt"):
        advice = f"look at the deliveries of the webhook in the git server; it calls {at} at the address of the API"
        yield Check(level="warn", subject=subject, found=doubt, advice=advice)
    elif known.get("called_at") is None:
        advice = f"add it to the git server: {at} at the address of the API; until then, polling finds new commits"
        yield Check(level="warn", subject=subject, found="it was never called", advice=advice)
    else:
        yield Check(level="ok", subject=subject, found="the git server calls it")


def _statuses(repository: Repository) -> Iterator[Check]:
    """Check that the token for statuses of commits can be read."""
    if repository.statuses is None:
        return
    subject, token = f"statuses {repository.name}", repository.statuses.token
    try:
        token_of(token)
    except (OSError, ValueError) as error:
        why = f"cannot read {token}: {in_words(error)}" if isinstance(error, OSError) else str(error)
        advice = "write a token that may write statuses of commits into that file"
        yield Check(level="warn", subject=subject, found=why, advice=advice)
    else:
        yield Check(level="ok", subject=subject, found="its token can be read")
