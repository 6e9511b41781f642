"""Turn foreign files into manifests that are valid: read each, account for all of it, write, and check."""

from collections.abc import Iterable
from dataclasses import field
from pathlib import Path

from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.kinds import READERS, Found
from reconciler.inspection.imports.ledger import Ledger, Note
from reconciler.inspection.imports.manifest_text import Written, written
from reconciler.inspection.imports.workers import with_their_web
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse


@dataclass(slots=True, kw_only=True)
class Imported:
    """The manifests of an import, notes where there is no manifest to hold them, and files that came to nothing."""

    manifests: list[Written] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def imported(found: Iterable[Found], directory: Path) -> Imported:
    """Import the files for a directory of manifests. Raises Unreadable."""
    result = Imported()
    taken: dict[str, str] = {}
    for group in found:
        read: list[tuple[Draft, str, tuple[Note, ...]]] = []
        for name in group.names:
            ledger = Ledger()
            drafts = sorted(READERS[group.kind](ledger, group.folder, name), key=lambda draft: draft.kind)
            ledger.leave_rest()
            _rename(drafts, taken)
            general = tuple(ledger.notes)
            for index, draft in enumerate(drafts):
                read.append((draft, f"{name} ({group.kind})", general if index == 0 else ()))
            if not drafts:
                result.notes += general
        several = group.kind == "systemd"  # a file for each program
        beside = with_their_web([draft for draft, _, _ in read]) if several else frozenset()
        for draft, origin, notes in read:
            if draft.name in beside:
                result.notes += notes
            else:
                _add(result, written(draft, origin, group.folder, directory, notes), directory)
    return result


def _add(result: Imported, manifest: Written, directory: Path) -> None:
    file = str(directory / f"{manifest.name}.yaml")
    problems = parse(file, manifest.text.encode("utf-8", "replace"), HostDefaults()).problems
    if problems:
        result.problems += [f"no manifest can describe {manifest.name}: {problem}" for problem in problems]
    else:
        result.manifests.append(manifest)


def _rename(drafts: list[Draft], taken: dict[str, str]) -> None:
    """Give drafts of further files names that none has yet, in their bindings as well."""
    renamed: dict[str, str] = {}
    for draft in drafts:
        name = unique_name(draft.name, taken)
        taken[name] = renamed[draft.name] = name
    for draft in drafts:
        draft.name = renamed[draft.name]
        for key in ("services", "depends_on"):
            if key in draft.fields:
                draft.fields[key] = [
                    renamed.get(each, each) if isinstance(each, str) else {**each, "name": renamed[each["name"]]}
                    for each in draft.fields[key]
                ]
