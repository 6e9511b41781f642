"""Choose how to read a path: which kinds of foreign files are there, by name and by content."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from reconciler.inspection.imports import (
    cloud_foundry,
    compose,
    kamal,
    piku,
    procfile,
    supervisord,
    systemd_unit,
    uwsgi,
)
from reconciler.inspection.imports.draft import Draft
from reconciler.inspection.imports.foreign_text import Folder, Unreadable
from reconciler.inspection.imports.ledger import Ledger

Reader: TypeAlias = Callable[[Ledger, Folder, str], list[Draft]]

# The likeliest kind first.
READERS: Mapping[str, Reader] = {
    "piku": piku.read,
    "compose": compose.read,
    "cloud-foundry": cloud_foundry.read,
    "kamal": kamal.read,
    "procfile": procfile.read,
    "supervisord": supervisord.read,
    "systemd": systemd_unit.read,
    "uwsgi": uwsgi.read,
}
_ENDINGS = (".conf", ".ini", ".service", ".xml", ".yaml", ".yml", ".json", ".supervisor")
_MAX_FILES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Foreign files of one kind in one directory. Each of `names` is read on its own."""

    kind: str
    folder: Folder
    names: tuple[str, ...]


def found_in(path: Path) -> list[Found]:
    """Return what a file, or a directory and its `config`, holds, the likeliest kind first. Raises Unreadable."""
    if not path.is_dir():
        kind = _kind_of(Folder(path.parent), path.name)
        return [Found(kind=kind, folder=Folder(path.parent), names=(path.name,))] if kind else []
    kinds: dict[tuple[str, Path], list[str]] = {}
    for folder, name in _files(path):
        kind = _kind_of(folder, name)
        if kind is not None:
            kinds.setdefault((kind, folder.path), []).append(name)
    found = [Found(kind=kind, folder=Folder(at), names=_chosen(kind, names)) for (kind, at), names in kinds.items()]
    if any(each.kind == "piku" for each in found):  # which reads the Procfile, too
        found = [each for each in found if each.kind != "procfile"]
    order = list(READERS)
    return sorted(found, key=lambda each: order.index(each.kind))


def _files(path: Path) -> Iterator[tuple[Folder, str]]:
    for directory in (path, path / "config"):
        try:
            names = sorted(each.name for each in directory.iterdir() if each.is_file())
        except OSError as error:
            if directory == path:
                raise Unreadable(f"{path}: {error.strerror}") from error
            continue
        known = [name for name in names if directory == path or name in kamal.FILES]
        yield from ((Folder(directory), name) for name in known if _may_be(name))


def _may_be(name: str) -> bool:
    return name in {procfile.PROCFILE, piku.FILE} or name.endswith(_ENDINGS)


def _kind_of(folder: Folder, name: str) -> str | None:  # noqa: C901  one line for each kind
    if name == procfile.PROCFILE:
        return "procfile"
    if name == piku.FILE:
        return "piku"
    try:
        text = folder.text(name)
    except Unreadable:
        return None
    if uwsgi.is_configuration(name, text):
        return "uwsgi"
    if re.search(r"^\s*\[(fcgi-)?program:", text, re.MULTILINE):
        return "supervisord"
    if re.search(r"^\s*\[Service\]", text, re.MULTILINE) and re.search(r"^\s*ExecStart\s*=", text, re.MULTILINE):
        return "systemd"
    if name == procfile.APP_JSON:
        return "procfile" if re.search(r'"(env|scripts|addons|formation|buildpacks|healthchecks)"\s*:', text) else None
    if name.endswith((".yml", ".yaml")):
        if re.search(r"^applications\s*:", text, re.MULTILINE):
            return "cloud-foundry"
        if name in kamal.FILES and re.search(r"^service\s*:", text, re.MULTILINE):
            return "kamal"
        if re.search(r"^services\s*:", text, re.MULTILINE) or name in compose.FILES:
            return "compose"
        if name in cloud_foundry.FILES and re.search(r"^(name|memory|command)\s*:", text, re.MULTILINE):
            return "cloud-foundry"
    return None


def _chosen(kind: str, names: list[str]) -> tuple[str, ...]:
    """Return the files of a kind to read: of compose, Cloud Foundry and Kamal the first, of others each."""
    usual = {"compose": compose.FILES, "cloud-foundry": cloud_foundry.FILES, "kamal": kamal.FILES}.get(kind)
    if kind == "procfile":
        return (procfile.PROCFILE if procfile.PROCFILE in names else names[0],)
    if usual is not None:
        return (next((name for name in usual if name in names), names[0]),)
    return tuple(names[:_MAX_FILES])
