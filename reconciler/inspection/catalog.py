"""What the manifests ask for at this moment, found out without a daemon and without an effect."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.documents.problem import Problem
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.manifests.catalog import Catalog


def asked_of(settings: Settings, snapshot: "HostSnapshot | None") -> "Catalog":
    """What would be in force after a look at the manifests now; without a glimpse, as if nothing had ever run."""
    from reconciler.host.assembly import rules_of
    from reconciler.manifests import persisted
    from reconciler.manifests.catalog import Catalog, review
    from reconciler.manifests.reader import read_directory

    rules = rules_of(settings)
    before = Catalog() if snapshot is None else persisted.restored(snapshot.records, rules)
    return review(before, [read_directory(str(settings.manifests))], rules, time.monotonic())


def checked(settings: Settings) -> "Catalog":
    """The manifests by themselves: what runs, and who holds which port on this host, makes no difference."""
    from reconciler.host.assembly import rules_of
    from reconciler.manifests.catalog import Catalog, review
    from reconciler.manifests.reader import read_directory

    rules = replace(rules_of(settings), is_free=lambda _host, _port: True)
    return review(Catalog(), [read_directory(str(settings.manifests))], rules, time.monotonic())


def problems_of(catalog: "Catalog") -> Iterator["Problem"]:
    """Everything that is wrong with the manifests, file by file."""
    for entry in catalog.files.values():
        yield from entry.problems
