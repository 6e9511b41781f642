"""A revision in, which only names its secrets; what its instances are given out: variables, and files for their owner.

Nothing of it is kept anywhere else, and nothing of it is in an exception's text.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.desired import App, Bound, Revision
from reconciler.services.records import ServiceRecords
from reconciler.services.vcap import BINDINGS, FILE_NAME, BindingViews, OpenBinding, lay_out, shown
from reconciler.serving.gunicorn import InjectedEnv
from reconciler.serving.instance import CannotStart
from reconciler.vault.vault import VaultLocked


class InstanceSecrets:
    """Supplies every app of this host. `supplies` says with what, `use` hears of it.

    `told` is called with an app's name and a sentence when a variable is too long.
    """

    def __init__(
        self,
        service_records: ServiceRecords,
        *,
        inputs: Callable[[App | None, str], ExternalInputs],
        use: Callable[[str, str, tuple[Bound, ...]], None],
        told: Callable[[str, str], None],
    ) -> None:
        self._service_records = service_records
        self._inputs = inputs
        self._use = use
        self._told = told

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """What an app is supplied with right now."""
        return self._inputs(app, name)

    def injected(self, revision: Revision, directory: Path) -> InjectedEnv:
        """What an instance of a revision gets, with its files below `directory`. Raises CannotStart."""
        # Whose credentials an instance may have must be on record first, or they could be taken back under it.
        with contextlib.suppress(sqlite3.Error):  # in memory it is; a full disk does not keep an app from starting
            self._use(revision.app, revision.id, revision.bindings)
        try:
            told = told_of(revision, self._service_records)
            lay_out(told, directory)
            given = given_of(revision, told, directory, self._service_records)
        except (VaultLocked, sqlite3.Error, KeyError) as error:
            raise CannotStart(f"cannot give it its secrets: {error}") from error
        except OSError as error:
            raise CannotStart(f"cannot write the files of its services: {error.strerror}") from error
        if not told.fits:
            self._told(
                revision.app,
                "its services take more than the 128 KiB that Linux allows for VCAP_SERVICES:"
                " the variable is left out, and VCAP_SERVICES_FILE_PATH names the file that holds it",
            )
        return given


def told_of(revision: Revision, service_records: ServiceRecords) -> BindingViews:
    """What an app sees of its services. Raises Sealed."""
    return shown(
        OpenBinding(bound=b, credentials=service_records.credentials(b.credentials)) for b in revision.bindings
    )


def given_of(revision: Revision, told: BindingViews, directory: Path, service_records: ServiceRecords) -> InjectedEnv:
    """The variables of an instance that are secret, or name what is. Raises Sealed."""
    ours = {"VCAP_SERVICES_FILE_PATH": str(directory / FILE_NAME)}
    if told.fits:
        ours["VCAP_SERVICES"] = told.whole
    fallback = {"SERVICE_BINDING_ROOT": str(directory / BINDINGS)}
    if told.database_url is not None:
        fallback["DATABASE_URL"] = told.database_url
    return InjectedEnv(
        fallback=fallback,
        env={name: service_records.vault.get(kept) for name, kept in revision.env_secrets.items()},
        ours=ours,
    )
