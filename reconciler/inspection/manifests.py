"""Read what the manifests ask for at this moment, without a daemon and without any effect."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.documents.problem import Problem
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.manifests.catalog import Catalog


def desired(settings: Settings, snapshot: "HostSnapshot | None") -> "Catalog":
    """Return the catalog that a daemon would follow now; without a snapshot, that of a first start."""
    from reconciler.host.manifest_rules import rules_of
    from reconciler.manifests import persisted
    from reconciler.manifests.catalog import Catalog, review
    from reconciler.manifests.origins import look_once

    rules = rules_of(settings)
    before = Catalog() if snapshot is None else persisted.restored(snapshot.records, rules)
    return review(before, look_once(settings), rules, time.monotonic())


def checked(settings: Settings) -> "Catalog":
    """Return the catalog of the manifests alone, whatever is running and whichever ports are in use on this host."""
    from reconciler.host.manifest_rules import rules_of
    from reconciler.manifests.catalog import Catalog, review
    from reconciler.manifests.origins import look_once

    rules = replace(rules_of(settings), is_free=lambda _host, _port: True)
    return review(Catalog(), look_once(settings), rules, time.monotonic())


def problems_of(catalog: "Catalog") -> Iterator["Problem"]:
    """Yield every problem of the manifests, file by file."""
    for entry in catalog.files.values():
        yield from entry.problems
