"""Redact what an app was given from the lines of its logs, where they leave this host."""

import contextlib
import sqlite3

from reconciler.documents.tree import trees_of
from reconciler.inspection.redaction import Redactor
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.regular_files import opened_file
from reconciler.manifests.checks import variables, variables_of_parts
from reconciler.planning.subject import Subject
from reconciler.processes.memory import ProcessMemory
from reconciler.settings.settings import Settings
from reconciler.state.schema import OtherVersion
from reconciler.tasks.variables import GivenSecrets
from reconciler.vault.given_values import written_secrets
from reconciler.vault.secret_patterns import LineRedactor
from reconciler.vault.secret_texts import SecretTexts

_LARGEST_MANIFEST = 256 * 1024


def log_redactor(settings: Settings, app: str) -> LineRedactor:
    """Return what redacts the lines of an app's logs, by what the app may have been given until now. Blocks."""
    return LineRedactor(given_texts(settings, app))


def given_texts(settings: Settings, app: str) -> SecretTexts:
    """Return the secrets that an app may have been given until now. Blocks.

    Without the state database or the key there are none, and secrets are recognised by their shape alone.
    """
    try:
        with contextlib.closing(HostSnapshot(settings.paths)) as snapshot:
            snapshot.key_file = settings.key
            service_records = snapshot.service_records
            of_processes = ProcessMemory(snapshot.records, snapshot.boot)
            of_tasks = GivenSecrets(snapshot.records)
            redactor = Redactor(
                service_records,
                snapshot.env_files,
                desired=dict,
                environ=dict,
                revisions=snapshot.known_good,
                parts=lambda app: of_processes.given(app) | of_tasks.of(app),
            )
            written = _written_in(snapshot.desired.get("apps", {}).get(app, {}).get("manifest"))
            return redactor.texts(Subject("app", app)) | SecretTexts(written_secrets(written))
    except (sqlite3.Error, OSError, OtherVersion):
        return SecretTexts(())


def _written_in(file: str | None) -> dict[str, str]:
    """Return the variables in a manifest as it is now, each after a number; none if it cannot be read."""
    if file is None:
        return {}
    try:
        with opened_file(file) as stream:
            trees, _ = trees_of(file, stream.read(_LARGEST_MANIFEST).decode("utf-8", "replace"))
    except OSError:
        return {}
    of_parts = ((name, part) for tree in trees for _, name, part in variables_of_parts(tree))
    found = [*(each for tree in trees for each in variables(tree)), *of_parts]
    return {f"{number} {name}": str(part.written) for number, (name, part) in enumerate(found) if not part.keys}
