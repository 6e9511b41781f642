"""Check who may do what on this host: as whom apps run, and who else may decide what runs."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.inspection.checks.check import Check
from reconciler.settings.settings import Settings

AS_ROOT = "root: every app that is not isolated, its release command and package build run as root"
_ADVICE_AS_ROOT = "run the daemon as a user of its own: 'reconciler install --user NAME', or 'user' of your container"


def user() -> Iterator[Check]:
    """Check that apps do not run as root."""
    uid = os.geteuid()
    if uid == 0:
        yield Check(level="warn", subject="user", found=AS_ROOT, advice=_ADVICE_AS_ROOT)
    else:
        yield Check(level="ok", subject="user", found=f"user id {uid}, which every app runs as")


def files(settings: Settings) -> Iterator[Check]:
    """Check that no other user may write what decides what runs, or read the secrets of the API and of repositories."""
    deciding = [settings.manifests, *_files_in(settings.manifests), *([settings.file] if settings.file else [])]
    writable = [path for path in deciding if _allows(path, 0o022)]
    if writable:
        below = {settings.manifests if path != settings.file else path: None for path in writable}
        others = f", and {len(writable) - 1} more" if len(writable) > 1 else ""
        yield Check(
            level="warn",
            subject="permissions",
            found=f"other users may write {writable[0]}{others}, and so decide what runs",
            advice=f"chmod -R go-w {' '.join(map(str, below))}, unless they are meant to",
        )
    if settings.api is not None and _allows(settings.api.token, 0o077):
        token = settings.api.token
        found, advice = f"other users may read or write the token {token}", f"chmod 600 {token}, and change the token"
        yield Check(level="warn", subject="permissions", found=found, advice=advice)
    for repository in settings.repositories.values():
        statuses = None if repository.statuses is None else repository.statuses.token
        for secret in (repository.key, repository.token, repository.webhook, statuses):
            if secret is not None and _allows(secret, 0o077):
                found = f"other users may read or write {secret}, a secret of the repository {repository.name}"
                advice = f"chmod 600 {secret}, and change the secret"
                yield Check(level="warn", subject="permissions", found=found, advice=advice)


def _files_in(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in {".yaml", ".yml"})
    except OSError:
        return []


def _allows(path: Path, bits: int) -> bool:
    """Return whether others than the owner have one of these rights; a sticky directory keeps their hands off files."""
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & bits)
    except OSError:
        return False
