"""The catalog as it outlives the daemon: written down at each change, read once at the start."""

import contextlib
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.planning.fingerprint import Json

if TYPE_CHECKING:  # a reader of the facts need not load what reads manifests
    from reconciler.manifests.catalog import Catalog, Rules
    from reconciler.manifests.manifest_file import ManifestFile
    from reconciler.manifests.origin import Identity
    from reconciler.planning.apps.app import App
    from reconciler.state.records import Records

Described = TypeVar("Described")

_IDENTITY = "manifests-identity"
_FACTS = "manifests"
_ORIGINS = "origins"


def restored(records: "Records", rules: "Rules") -> "Catalog":
    """Return what was in force when it was last written down."""
    from reconciler.manifests.catalog import Catalog

    manifests = records.manifests()
    return Catalog.restored(manifests, records.leases(), _identities(records, manifests), rules.host)


def _identities(records: "Records", files: Iterable[str]) -> "dict[str, Identity]":
    """Return what each origin led to; an earlier version had one directory, and wrote down what that was alone."""
    with contextlib.suppress(ValueError, TypeError, AttributeError, IndexError):  # damaged: nothing is known
        found = json.loads(records.fact(_IDENTITY) or "{}")
        if isinstance(found, list):
            return {posixpath.dirname(file): (found[0], found[1]) for file in files}
        return {origin: each if isinstance(each, str) else (each[0], each[1]) for origin, each in found.items()}
    return {}


class Written:
    """The text of the facts about each file and app that was written down last: most stay as they are."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], tuple[object, str]] = {}

    def facts(self, catalog: "Catalog", directory: Path) -> str:
        """Return facts about the manifests, for `status`, as JSON."""
        before, self._texts = self._texts, {}
        files = [self._text(before, "file", entry.file, entry, _facts_of_file) for entry in catalog.files.values()]
        apps = [
            f"{json.dumps(name)}: {self._text(before, 'app', name, app, _facts_of_app)}"
            for name, app in catalog.apps.items()
        ]
        more = {"directory": str(directory), "notice": catalog.notice, "services": _facts_of_services(catalog)}
        return f'{json.dumps(more)[:-1]}, "files": [{", ".join(files)}], "apps": {{{", ".join(apps)}}}}}'

    def _text(
        self,
        before: Mapping[tuple[str, str], tuple[object, str]],
        kind: str,
        name: str,
        of: Described,
        facts: Callable[[Described], Json],
    ) -> str:
        known = before.get((kind, name))
        text = known[1] if known is not None and known[0] is of else json.dumps(facts(of))
        self._texts[kind, name] = of, text
        return text


def remember(records: "Records", before: "Catalog", after: "Catalog", directory: Path, written: Written) -> None:
    """Write down what changed; leases survive a power cut, as clients may know an app by its port."""
    if after.leases != before.leases:
        with records.lasting():
            records.replace_leases(after.leases)
    changed = {
        file: _last_good(after, file)
        for file in before.files.keys() | after.files.keys()
        if before.files.get(file) is not after.files.get(file) and _last_good(before, file) != _last_good(after, file)
    }
    with records.together():
        records.replace_manifests(changed)
        records.set_fact(_IDENTITY, json.dumps(after.identities))
        records.set_fact(_FACTS, written.facts(after, directory))


def remembered_facts(records: "Records") -> dict[str, Json]:
    """Return the facts about the manifests that were last written down; empty before the first look."""
    with contextlib.suppress(ValueError):  # damaged: the next look writes them again
        found = json.loads(records.fact(_FACTS) or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def remember_origins(records: "Records", facts: Sequence[Mapping[str, Any]]) -> None:
    """Write down the facts about the origins in git, if they differ. Raises sqlite3.Error."""
    text = json.dumps(facts)
    if text != (records.fact(_ORIGINS) or "[]"):
        records.set_fact(_ORIGINS, text)


def remembered_origins(records: "Records") -> list[dict[str, Any]]:
    """Return the facts about the origins in git that were last written down."""
    with contextlib.suppress(ValueError):  # damaged: the next change writes them again
        found = json.loads(records.fact(_ORIGINS) or "[]")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return []


def apps_of_unreadable(records: "Records", catalog: "Catalog") -> dict[str, str]:
    """Return apps, with their files, whose last good manifest this version refuses: what they run is left alone."""
    files: list[dict[str, list[str]]] = remembered_facts(records).get("files", [])  # type: ignore[assignment]
    found = {name: str(entry["file"]) for entry in files for name in entry["apps"]}
    return still_unreadable(found, catalog)


def still_unreadable(apps: Mapping[str, str], catalog: "Catalog") -> dict[str, str]:
    """Return those of them of which nothing newer is in force."""
    return {
        name: file
        for name, file in apps.items()
        if name not in catalog.apps and file in catalog.files and catalog.files[file].problems
    }


def _facts_of_file(entry: "ManifestFile") -> Json:
    return {
        "file": entry.file,
        "apps": list(entry.names),
        "subjects": [[subject.kind, subject.name] for subject in entry.subjects if subject.name],
        "errors": [{"line": p.line, "column": p.column, "path": p.path, "message": p.message} for p in entry.problems],
    }


def _facts_of_app(app: "App") -> Json:
    return {
        "manifest": app.manifest,
        "commit": app.commit,
        "url": app.url,
        "port": app.port,
        **({"port_url": app.port_url} if app.beside is not None else {}),
        "workers": app.server.workers,
        "runtime": app.recipe.runtime,
        "services": [binding.service for binding in app.bindings],
        "persist": [*app.recipe.persist],
        "processes": {process.name: process.count for process in app.processes},
        **_schedules(app),
        **_limits(app),
        **_worker_range(app),
        **({"isolation": app.isolation.kind} if app.isolation else {}),
        **({"connect": [*app.isolation.places]} if app.isolation.places else {}),
    }


def _facts_of_services(catalog: "Catalog") -> dict[str, Json]:
    return {
        name: {
            "manifest": service.manifest,
            "type": service.type,
            "plan": service.plan,
            "label": service.label or service.type,
            "server": service.server,
            "retain": service.retain,
            "backup": None if service.backup is None else asdict(service.backup),
        }
        for name, service in catalog.services.items()
    }


def _last_good(catalog: "Catalog", file: str) -> bytes | None:
    entry = catalog.files.get(file)
    return None if entry is None else entry.last_good


def _worker_range(app: "App") -> dict[str, Any]:
    """Return between which numbers of workers an app has as many as it needs; nothing for one with a number."""
    asked = app.worker_range
    return {} if asked is None else {"worker_range": [asked.least, asked.most]}


def _limits(app: "App") -> dict[str, Any]:
    """Return the limits of an app, by "" for its web and by process; nothing for an app without any."""
    limited = {"": app.limits} | {process.name: process.limits for process in app.processes}
    found = {name: asdict(limits) for name, limits in limited.items() if limits}
    return {"limits": found} if found else {}


def _schedules(app: "App") -> dict[str, Any]:
    """Return when the schedules of an app run; nothing for an app without any."""
    if not app.schedules:
        return {}
    fields = ("name", "at", "every_s", "zone", "spread_s", "paused")
    return {"schedules": [{field: getattr(schedule, field) for field in fields} for schedule in app.schedules]}
