"""Redact what an app was given from the lines of its logs, where they leave this host."""

import contextlib
import sqlite3

from reconciler.inspection.redaction import Redactor
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.planning.subject import Subject
from reconciler.settings.settings import Settings
from reconciler.state.schema import OtherVersion
from reconciler.vault.env_files import EnvFiles
from reconciler.vault.secret_patterns import LineRedactor


def log_redactor(settings: Settings, app: str) -> LineRedactor:
    """Return what redacts the lines of an app's logs, by what the app may have been given until now. Blocks.

    Without the state database or the key, secrets are recognised by their shape alone.
    """
    try:
        with contextlib.closing(HostSnapshot(settings.paths)) as snapshot:
            snapshot.key_file = settings.key
            service_records = snapshot.service_records
            redactor = Redactor(
                service_records,
                EnvFiles(service_records.database, service_records.vault),
                desired=dict,
                environ=dict,
                revisions=snapshot.known_good,
            )
            return LineRedactor(redactor.texts(Subject("app", app)))
    except (sqlite3.Error, OSError, OtherVersion):
        return LineRedactor()
