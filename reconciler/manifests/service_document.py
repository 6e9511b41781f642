"""Read the service that a valid document of kind service defines, with its paths absolute."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from reconciler.documents.tree import Node
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import joined
from reconciler.planning.fingerprint import Json
from reconciler.planning.services.service import BackupSchedule, Service

_OF_EVERY_TYPE = frozenset(("kind", "name", "type", "plan", "label", "tags", "retain", "server", "grace", "backup"))

_KEEP = 7  # as the schema says


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDocument:
    """A service as one document defines it.

    `line` is where that begins in its file, `places` the line and column of each field that is given.
    """

    name: str
    manifest: str
    line: int
    service: Service
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def service_of(file: str, tree: Node, name: str, directory: str) -> ServiceDocument:
    """Return the service of a document that has no problem, whose relative paths begin at `directory`."""
    given: dict[str, Any] = tree.value  # type: ignore[assignment]  # the schema has seen to it
    service = Service(
        name=name,
        manifest=file,
        type=given["type"],
        plan=given.get("plan", "free"),
        label=given.get("label", ""),
        tags=tuple(given.get("tags", ())),
        retain=given.get("retain", True),
        server=given.get("server"),
        grace_s=tree.seconds("grace"),
        backup=_backup(tree, given.get("backup")),
        asked={key: _absolute(directory, key, value) for key, value in given.items() if key not in _OF_EVERY_TYPE},
    )
    return ServiceDocument(name=name, manifest=file, line=tree.line, service=service, places=tree.keys)


def _backup(tree: Node, given: Mapping[str, Any] | None) -> BackupSchedule | None:
    every_s = tree.seconds("backup", "every")
    if given is None or every_s is None:
        return None
    return BackupSchedule(every_s=every_s, keep=int(given.get("keep", _KEEP)))


def _absolute(directory: str, key: str, value: Json) -> Json:
    """Return the value with every path in it absolute."""
    if key == "credentials_file":
        return joined(directory, str(value))
    if key == "credentials" and isinstance(value, Mapping):
        return {name: _file(directory, given) for name, given in value.items()}
    if key == "command" and isinstance(value, list):
        # A program beside the manifest is found there; one on PATH is named without a slash.
        first = str(value[0])
        return [joined(directory, first) if "/" in first else first, *value[1:]]
    return value


def _file(directory: str, given: Json) -> Json:
    return {"file": joined(directory, str(given["file"]))} if isinstance(given, Mapping) else given
