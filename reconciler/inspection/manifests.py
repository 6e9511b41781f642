"""Read what the manifests ask for at this moment, without a daemon and without any effect."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.planning.apps.app import HERE
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.documents.problem import Problem
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.manifests.catalog import Catalog, Rules
    from reconciler.manifests.origin import Look


def desired(settings: Settings, snapshot: "HostSnapshot | None") -> "Catalog":
    """Return the catalog that a daemon would follow now; without a snapshot, that of a first start."""
    from reconciler.host.manifest_rules import rules_of
    from reconciler.manifests import persisted
    from reconciler.manifests.catalog import Catalog, review
    from reconciler.manifests.origins import look_once

    rules = rules_of(settings)
    before = Catalog() if snapshot is None else persisted.restored(snapshot.records, rules)
    return review(before, look_once(settings), rules, time.monotonic())


def checked(settings: Settings, instead: Mapping[str, bytes] | None = None, *, anywhere: bool = False) -> "Catalog":
    """Return the catalog of the manifests alone, whatever is running and whichever ports are in use on this host.

    `instead` has other contents for some files. `anywhere` is for apps that need not run on this host, nor in a cluster
    that its settings name.

    Of two that claim the same, the one whose content the daemon of the state directory has accepted keeps it, as it
    does for that daemon; of two of which that is not known, both are refused.
    """
    from reconciler.host.manifest_rules import rules_of
    from reconciler.manifests.catalog import Catalog, review
    from reconciler.manifests.origin import Listing
    from reconciler.manifests.origins import look_once

    rules = replace(rules_of(settings), is_free=lambda _host, _port: True)
    if anywhere:
        rules = replace(rules, host=replace(rules.host, clusters=None))
    looks = [_with(look, instead or {}) for look in look_once(settings)]
    found = {file: content for look in looks if isinstance(look, Listing) for file, content in look.files.items()}
    known = _remembered(settings, rules)
    accepted = {
        file: entry.last_good
        for file, entry in known.files.items()
        if entry.last_good is not None and found.get(file) == entry.last_good
    }
    before = Catalog.restored(accepted, known.leases if accepted else {}, {}, rules.host)
    return review(before, looks, rules, time.monotonic())


def _with(look: "Look", instead: Mapping[str, bytes]) -> "Look":
    from reconciler.manifests.origin import Listing

    if not isinstance(look, Listing):
        return look
    return replace(look, files={file: instead.get(file, content) for file, content in look.files.items()})


def _remembered(settings: Settings, rules: "Rules") -> "Catalog":
    """Return the catalog on record in the state directory, an empty one if there is none that can be read."""
    from reconciler.manifests.catalog import Catalog

    try:
        if not settings.paths.database.exists():
            return Catalog()
    except OSError:
        return Catalog()
    import contextlib
    import sqlite3

    from reconciler.manifests import persisted
    from reconciler.state.records import Records
    from reconciler.state.schema import OtherVersion, open_database

    try:
        with contextlib.closing(open_database(settings.paths.database, read_only=True)) as database:
            return persisted.restored(Records(database), rules)
    except (OtherVersion, OSError, sqlite3.Error):
        return Catalog()


def problems_of(catalog: "Catalog") -> Iterator["Problem"]:
    """Yield every problem of the manifests, file by file."""
    for entry in catalog.files.values():
        yield from entry.problems


def refused_by_clusters(settings: Settings, catalog: "Catalog") -> "Catalog":
    """Return the catalog with the problems of apps that the clusters they are placed in would refuse."""
    placed = any(app.place != HERE for app in catalog.apps.values())
    if not placed and not any(problem.path == "place" for problem in problems_of(catalog)):
        return catalog
    from reconciler.inspection.placed import placed_problems  # most hosts have no cluster

    files = dict(catalog.files)
    for problem in placed_problems(settings, catalog):
        entry = files[problem.file]
        files[problem.file] = replace(entry, problems=(*entry.problems, problem))
    return replace(catalog, files=files)
