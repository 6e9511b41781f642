"""A manifest file as the page shows it: its lines, secrets masked, with the errors of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import opened_file, private_place
from reconciler.web.manifest_masking import masked

_LARGEST = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, its number from 1, and its errors."""

    number: int
    text: str
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownManifest:
    """`problem` says why there are no lines; it is empty when there are."""

    file: str
    lines: tuple[Line, ...] = ()
    errors: int = 0
    problem: str = ""


def shown_manifest(file: str | None, files: Sequence[Mapping[str, Any]], directory: Path) -> ShownManifest | None:
    """Return the file's lines, secrets masked; None for an app without a manifest."""
    if file is None:
        return None
    path = Path(file)
    errors: list[Mapping[str, Any]] = next((entry["errors"] for entry in files if entry["file"] == file), [])
    if directory not in path.parents:
        return ShownManifest(file=file, problem="is no longer in the directory of manifests")
    try:
        with opened_file(path) as stream:
            if place := private_place(stream.fileno(), directory):
                problem = f"is a link to {place}, which other users may not read"
                return ShownManifest(file=file, errors=len(errors), problem=problem)
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        return ShownManifest(file=file, errors=len(errors), problem=f"cannot be read: {in_words(error)}")
    if len(content) > _LARGEST:
        return ShownManifest(file=file, errors=len(errors), problem="is too large to show")
    found: dict[int, list[str]] = {}
    texts = masked(content.decode("utf-8", "replace"))
    for wrong in errors:
        message = f"{wrong['path']}: {wrong['message']}" if wrong["path"] else str(wrong["message"])
        found.setdefault(min(max(wrong["line"], 1), max(len(texts), 1)), []).append(message)
    lines = tuple(
        Line(number=number, text=text, errors=tuple(found.get(number, ()))) for number, text in enumerate(texts, 1)
    )
    return ShownManifest(file=file, lines=lines, errors=len(errors))
