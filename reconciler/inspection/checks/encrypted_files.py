"""Check the identities of this host, and that the encrypted files of its manifests can be opened, as this user."""

from collections.abc import Iterator
from pathlib import Path

from reconciler.inspection.checks.check import Check
from reconciler.planning.desired_state import DesiredState
from reconciler.services.types.user_provided.files import files_of
from reconciler.settings.settings import Settings
from reconciler.vault.dotenv import Unusable, bytes_of
from reconciler.vault.encryption.recognition import encryption_of
from reconciler.vault.env_files import files_of_variables
from reconciler.vault.secret_reader import SecretReader

_SUBJECT = "encrypted files"
_MOST_TOLD = 5


def identities(settings: Settings) -> Iterator[Check]:
    """Read the identities that the settings name, and tell what to encrypt to."""
    if not settings.identities:
        return
    from reconciler.vault.encryption.identities import MISSING, NoPackage, identities_of

    subject = "identities"
    try:
        found = identities_of(settings.identities)
    except NoPackage:
        yield Check(level="warn", subject=subject, found="the package that reads them is missing", advice=MISSING)
        return
    for problem in found.problems:
        yield Check(level="warn", subject=subject, found=problem, advice="see 'git.identities' of the host's settings")
    if found.known:
        yield Check(level="ok", subject=subject, found=f"this host opens what is encrypted to {found.recipients()}")


def encrypted_files(settings: Settings, desired: DesiredState) -> Iterator[Check]:
    """Open every encrypted file that an app or a user-provided service names; tell the first of those that fail."""
    reader, opened, problems = SecretReader(settings), 0, list[str]()
    for file in sorted(_files(desired)):
        try:
            if encryption_of(bytes_of(file)) is not None:
                reader.text_of(file)
                opened += 1
        except Unusable as error:
            if str(error).startswith(("cannot open", "cannot use")):
                problems.append(str(error))
    for problem in problems[:_MOST_TOLD]:
        found, _, advice = problem.partition("; ")
        yield Check(level="warn", subject=_SUBJECT, found=found, advice=advice)
    if len(problems) > _MOST_TOLD:
        yield Check(level="warn", subject=_SUBJECT, found=f"{len(problems) - _MOST_TOLD} more cannot be opened")
    if opened and not problems:
        some = "1 file" if opened == 1 else f"{opened} files"
        yield Check(level="ok", subject=_SUBJECT, found=f"{some} can be opened")


def _files(desired: DesiredState) -> set[Path]:
    of_apps = (path for app in desired.apps.values() for path in files_of_variables(app))
    of_services = (path for service in desired.services.values() for path in files_of(service))
    return {Path(path) for path in (*of_apps, *of_services)}
