"""A valid document of kind service in; the service it asks for out, with its paths absolute."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.documents.tree import Node
from reconciler.manifests.app_document import joined
from reconciler.planning.desired import Service
from reconciler.planning.fingerprint import Json

_OF_EVERY_TYPE = frozenset(("kind", "name", "type", "plan", "label", "tags", "retain", "server", "grace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDocument:
    """A service as one document asks for it; `line` is where that begins in its file."""

    name: str
    manifest: str
    line: int
    service: Service


def service_of(file: str, tree: Node, name: str) -> ServiceDocument:
    """The service of a document that has no problem."""
    asked: dict[str, Any] = tree.value  # type: ignore[assignment]  # the schema has seen to it
    directory = posixpath.dirname(file)
    service = Service(
        name=name,
        manifest=file,
        type=asked["type"],
        plan=asked.get("plan", "free"),
        label=asked.get("label", ""),
        tags=tuple(asked.get("tags", ())),
        retain=asked.get("retain", True),
        server=asked.get("server"),
        grace_s=tree.seconds("grace"),
        asked={key: _absolute(directory, key, value) for key, value in asked.items() if key not in _OF_EVERY_TYPE},
    )
    return ServiceDocument(name=name, manifest=file, line=tree.line, service=service)


def _absolute(directory: str, key: str, value: Json) -> Json:
    """The value with every path in it absolute."""
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
