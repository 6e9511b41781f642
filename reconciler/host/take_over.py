"""Take over what an earlier version of the daemon left under revision ids that are computed in another way now.

Done once for each state directory, before anything is planned: else an upgrade would replace instances that serve.
"""

from collections.abc import Iterable, Mapping

from reconciler.host.secret_source import SecretSource
from reconciler.host.stores import Stores
from reconciler.planning.apps.app import App
from reconciler.planning.apps.former_ids import current_ids, with_current_ids
from reconciler.planning.apps.observed import Observed
from reconciler.serving.instances import Instances

_MARK = "revision-ids"
_WITHOUT_WORKERS = "without workers"


def is_taken_over(stores: Stores) -> bool:
    """Return whether the records name revisions by today's ids."""
    return stores.records.fact(_MARK) == _WITHOUT_WORKERS


def take_over(
    apps: Iterable[tuple[str, App | None, Observed]], stores: Stores, instances: Instances, secret_source: SecretSource
) -> None:
    """Give the revisions of every app their current ids in the records, and record that."""
    for name, app, observed in apps:
        for former, current in _rename_revisions(name, app, observed, stores, instances):
            secret_source.rename_use(name, former, current)
    stores.records.set_fact(_MARK, _WITHOUT_WORKERS)


def _rename_revisions(
    name: str, app: App | None, observed: Observed, stores: Stores, instances: Instances
) -> Iterable[tuple[str, str]]:
    """Give the revisions of an app their current ids in the records; return the former and the current ones."""
    if app is not None and app.leased is not None:
        app = app.at_its_lease
    ids: Mapping[str, str] = current_ids(app, observed)
    if not ids:
        return ()
    renamed = with_current_ids(observed, ids)
    for before, after in zip(observed.instances, renamed.instances, strict=True):
        if before.revision != after.revision:
            instances.rename_revision(name, after.id, after.revision)
    stores.history.rename_revisions(
        name, failures=renamed.failures, override=renamed.override, sleep_state=renamed.sleep_state
    )
    return ids.items()
