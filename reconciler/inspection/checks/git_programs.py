"""Check the programs that repositories need: git, ssh, and what verifies signatures; each in a version that can."""

import re
import shutil
import subprocess
from collections.abc import Iterator

from reconciler.inspection.checks.check import Check
from reconciler.settings.git import Repository
from reconciler.settings.git_url import uses_ssh
from reconciler.settings.settings import Settings

_WITHIN_S = 10
_GIT, _SSH = (2, 30), (8, 8)


def git_programs(settings: Settings) -> Iterator[Check]:
    """Check the programs that the repositories of this host need; without a repository, nothing."""
    from reconciler.manifests.git.program import PATH  # which only a host with a repository needs

    repositories = settings.repositories.values()
    if not repositories:
        return
    yield _checked("git", _told(PATH, "git", "--version"), _GIT, "no repository can be fetched")
    if any(map(_needs_ssh, repositories)):
        without = "no repository can be fetched by ssh, and no signature with such a key be verified"
        yield _checked("ssh", _told(PATH, "ssh", "-V"), _SSH, without, "OpenSSH")
    if any(each.openpgp is not None for each in repositories):
        yield _checked("gpg", _told(PATH, "gpg", "--version"), (2,), "no OpenPGP signature can be verified", "GnuPG")


def _needs_ssh(repository: Repository) -> bool:
    return repository.signers is not None or any(map(uses_ssh, repository.urls))


def _checked(program: str, told: str | None, least: tuple[int, ...], without: str, name: str = "") -> Check:
    name, needed = name or program, ".".join(map(str, least))
    advice = f"install {name} {needed} or newer"
    if told is None:
        return Check(level="fail", subject=program, found=f"there is none: {without}", advice=advice)
    numbers = re.search(r"(?<!\d)\d{1,9}(?:\.\d{1,9})+", told)
    if numbers is None:
        return Check(level="warn", subject=program, found=f"its version is not known: {told[:80]!r}", advice=advice)
    if tuple(map(int, numbers[0].split("."))) < least:
        return Check(
            level="fail", subject=program, found=f"is {name} {numbers[0]}, which is too old: {without}", advice=advice
        )
    return Check(level="ok", subject=program, found=f"{name} {numbers[0]}")


def _told(path: str, program: str, option: str) -> str | None:
    """Return what a program says of its version, None if there is none."""
    found = shutil.which(program, path=path)
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, option],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": path, "LC_ALL": "C", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"},
            timeout=_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it does not answer"
    return done.stdout.decode(errors="replace").strip()
