"""Resolve the secrets that a revision names into the variables and files of its instances.

What is secret is stored nowhere else, and stands in no exception's text.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path

from reconciler.host.stores import Stores
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.apps.revision import Revision
from reconciler.planning.processes.process import Process
from reconciler.planning.schedules.schedule import Schedule
from reconciler.services.binding_views import BINDINGS, FILE_NAME, BindingViews, OpenBinding, lay_out, shown
from reconciler.services.records import ServiceRecords
from reconciler.services.world import ServiceWorld
from reconciler.serving.instances import Instances
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.marks import CLIENT_KEY_MARK
from reconciler.serving.programs.gunicorn import InjectedEnv
from reconciler.vault.vault import VaultLocked


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What an instance learns of the proxy: its app's domains, and the key of the proxy's requests, "" without one.

    `names_client` tells whether the proxy says in X-Forwarded-For who the client is, and nothing besides.
    """

    domains: tuple[str, ...]
    key: str = field(default="", repr=False)
    names_client: bool = False


def with_routing(injected: InjectedEnv, routed: Routed | None) -> InjectedEnv:
    """Return the variables of an instance with those about its app's domains."""
    if routed is None:
        return injected
    key = {CLIENT_KEY_MARK: routed.key} if routed.key else {}
    ours = {**injected.ours, **key}
    return replace(injected, domains=routed.domains, ours=ours, names_client=routed.names_client)


class InstanceSecrets:
    """Supplies every app of this host with the credentials of its services and the values of its secret variables.

    `give` is told of every revision first whose instances receive secrets, so that none of them is shown. `routed` says
    what the instances of an app learn of the proxy.
    """

    def __init__(
        self,
        service_records: ServiceRecords,
        services: ServiceWorld,
        stores: Stores,
        instances: Instances,
        *,
        give: Callable[[Revision], None],
    ) -> None:
        self._service_records = service_records
        self._services = services
        self._stores = stores
        self._cells = instances.cells
        self._give = give
        self.routed: Callable[[str], Routed | None] = lambda _: None

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """Return what an app is supplied with right now."""
        return self._services.inputs(app, name)

    def injected(self, revision: Revision, directory: Path) -> InjectedEnv:
        """Return what an instance of a revision gets, with its files below `directory`. Raises CannotStart."""
        # Which credentials an instance may have must be on record first, or they could be revoked under it.
        with contextlib.suppress(sqlite3.Error):  # in memory it is; a full disk does not keep an app from starting
            self._services.use(revision.app, revision.id, revision.bindings)
        self._give(revision)
        try:
            views = binding_views(revision, self._service_records)
            if unfit := views.why_unfit():
                raise CannotStart(unfit)
            lay_out(views, directory)
            injected = injected_env(revision, views, directory, self._service_records)
        except (VaultLocked, sqlite3.Error, KeyError) as error:
            raise CannotStart(f"cannot read its secrets: {error}") from error
        except OSError as error:
            raise CannotStart(f"cannot write the files of its services: {in_words(error)}") from error
        if not views.fits:
            self._stores.record_event(
                revision.app,
                "secrets",
                "its services take more than the 128 KiB that Linux allows for VCAP_SERVICES:"
                " the variable is left out, and VCAP_SERVICES_FILE_PATH names the file that holds it",
            )
        return replace(with_routing(injected, self.routed(revision.app)), limits=self._cells.limits_of(revision.app))

    def of_part(self, app: str, part: Process | Schedule) -> tuple[Mapping[str, str], tuple[str, ...], tuple[str, ...]]:
        """Return the ids of what a process or a schedule takes from its own files, what is missing, and what is old."""
        return self._services.env_files.of_part(app, part)

    def values_of(self, ids: Mapping[str, str]) -> dict[str, str]:
        """Return variables from the ids of their values. Raises CannotStart."""
        try:
            return {name: self._service_records.vault.get(kept) for name, kept in ids.items()}
        except (VaultLocked, sqlite3.Error) as error:
            raise CannotStart(f"cannot read its secrets: {error}") from error

    def doubt(self, app: str) -> None:
        """Verify the services of an app now."""
        self._services.doubt(app)

    def rename_use(self, app: str, former: str, current: str) -> None:
        """Record what instances of a revision use under the revision's current id."""
        self._services.rename_use(app, former, current)


def binding_views(revision: Revision, service_records: ServiceRecords) -> BindingViews:
    """Return what an app sees of its services. Raises VaultLocked."""
    return shown(
        OpenBinding(bound=b, credentials=service_records.credentials(b.credentials)) for b in revision.bindings
    )


def injected_env(
    revision: Revision, views: BindingViews, directory: Path, service_records: ServiceRecords
) -> InjectedEnv:
    """Return the variables of an instance that are secret, or that name secret files. Raises VaultLocked."""
    ours = {"VCAP_SERVICES_FILE_PATH": str(directory / FILE_NAME)}
    if views.fits:
        ours["VCAP_SERVICES"] = views.whole
    fallback = {"SERVICE_BINDING_ROOT": str(directory / BINDINGS)}
    if views.database_url is not None:
        fallback["DATABASE_URL"] = views.database_url
    return InjectedEnv(
        fallback=fallback,
        env={name: service_records.vault.get(secret) for name, secret in revision.env_secrets.items()},
        ours=ours,
    )
