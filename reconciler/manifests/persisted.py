"""What a restart of the daemon must know of the manifests: written down at each change, read once at the start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.planning.fingerprint import Json
from reconciler.state.records import Records

if TYPE_CHECKING:  # whoever only asks how the manifests stood need not load all that reads them
    from reconciler.manifests.catalog import Catalog, Rules

_IDENTITY = "manifests-identity"
_STANDING = "manifests"


def restored(records: Records, rules: "Rules") -> "Catalog":
    """What was in force when it was last written down."""
    from reconciler.manifests.catalog import Catalog

    identity = records.fact(_IDENTITY)
    return Catalog.restored(
        records.manifests(), records.leases(), tuple(json.loads(identity)) if identity else None, rules.host
    )


def remember(records: Records, before: "Catalog", after: "Catalog", directory: Path) -> None:
    """Write down what changed; leases survive a power cut, because somebody may know an app by its port."""
    if after.leases != before.leases:
        with records.lasting():
            records.replace_leases(after.leases)
    changed = {
        file: _last_good(after, file)
        for file in before.files.keys() | after.files.keys()
        if _last_good(before, file) != _last_good(after, file)
    }
    with records.together():
        records.replace_manifests(changed)
        if after.identity is not None:
            records.set_fact(_IDENTITY, json.dumps(after.identity))
        records.set_fact(_STANDING, json.dumps(facts(after, directory)))


def remembered_facts(records: Records) -> dict[str, Json]:
    """How the manifests stood when that was last written down; empty before the first look."""
    told = records.fact(_STANDING)
    return json.loads(told) if told else {}


def apps_of_unreadable(records: Records, catalog: "Catalog") -> dict[str, str]:
    """Apps, with their files, whose last good manifest this version refuses: what runs of them must be left alone."""
    files: list[dict[str, list[str]]] = remembered_facts(records).get("files", [])  # type: ignore[assignment]
    found = {name: str(entry["file"]) for entry in files for name in entry["apps"]}
    return still_unreadable(found, catalog)


def still_unreadable(apps: Mapping[str, str], catalog: "Catalog") -> dict[str, str]:
    """Those of them of which nothing newer is in force."""
    return {
        name: file
        for name, file in apps.items()
        if name not in catalog.apps and file in catalog.files and catalog.files[file].problems
    }


def facts(catalog: "Catalog", directory: Path) -> dict[str, Json]:
    """How the manifests stand, for `status`."""
    return {
        "directory": str(directory),
        "notice": catalog.notice,
        "files": [
            {
                "file": entry.file,
                "apps": list(entry.names),
                "errors": [
                    {"line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in entry.problems
                ],
            }
            for entry in catalog.files.values()
        ],
        "apps": {
            name: {
                "manifest": app.manifest,
                "url": None if app.address is None else f"http://{app.address}/",
                "port": None if app.address is None else app.address.port,
                "workers": app.server.workers,
                "runtime": app.recipe.runtime,
                "services": [binding.service for binding in app.bindings],
            }
            for name, app in catalog.apps.items()
        },
        "services": {
            name: {
                "manifest": service.manifest,
                "type": service.type,
                "plan": service.plan,
                "label": service.label or service.type,
                "server": service.server,
                "retain": service.retain,
            }
            for name, service in catalog.services.items()
        },
    }


def _last_good(catalog: "Catalog", file: str) -> bytes | None:
    entry = catalog.files.get(file)
    return None if entry is None else entry.last_good
