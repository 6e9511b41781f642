"""Choose how to read a path: which kinds of foreign files are there, by name and by content."""

import re
from collections.abc import Callable, Iterator, Mapping
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
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words

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
# CI systems list `services` by their names; those of compose are a mapping.
_LISTED_SERVICES = re.compile(
    r"^[ \t]*([\"']?)services\1[ \t]*:[ \t]*(?:[\[\w\"']|(?:#.*)?\n(?:[ \t]*(?:#.*)?\n)*[ \t]*-[ \t])", re.MULTILINE
)
_FIRST_NAME = re.compile(r"^([ \t]*+)(?!---|#|$|%|-[ \t])[\"']?[\w.-]++[\"']?[ \t]*+:", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Foreign files of one kind in one directory. Each of `names` is read on its own, and none of `others`."""

    kind: str
    folder: Folder
    names: tuple[str, ...]
    others: tuple[str, ...] = ()


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
    found = [_found(kind, Folder(at), names) for (kind, at), names in kinds.items()]
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
                raise Unreadable(f"{path}: {in_words(error)}") from error
            continue
        known = [name for name in names if directory == path or name.startswith("deploy.")]
        yield from ((Folder(directory), name) for name in known if _may_be(name))


def _may_be(name: str) -> bool:
    return name in {procfile.PROCFILE, piku.FILE} or (name.endswith(_ENDINGS) and not name.startswith("."))


def _kind_of(folder: Folder, name: str) -> str | None:
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
    if re.search(r"^[ \t]*\[(fcgi-)?program:", text, re.MULTILINE):
        return "supervisord"
    if re.search(r"^[ \t]*\[Service\]", text, re.MULTILINE) and re.search(
        r"^[ \t]*ExecStart[ \t]*=", text, re.MULTILINE
    ):
        return "systemd"
    if name == procfile.APP_JSON:
        return "procfile" if folder.has(procfile.PROCFILE) or procfile.is_app_json(text) else None
    return _kind_of_yaml(name, text) if name.endswith((".yml", ".yaml")) else None


def _kind_of_yaml(name: str, text: str) -> str | None:
    top = _top_names(text)
    if "applications" in top:
        return "cloud-foundry"
    if kamal.is_deployment(name, top):
        return "kamal"
    if ("services" in top and not _LISTED_SERVICES.search(text)) or name in compose.FILES:
        return "compose"
    if name in cloud_foundry.FILES and top & {"memory", "command"} and "name" in top:
        return "cloud-foundry"
    return None


def _top_names(text: str) -> frozenset[str]:
    """Return the names at the top of a YAML file, which may be indented as a whole; none if it has no such block."""
    first = _FIRST_NAME.search(text)
    indented = re.compile(rf"^{first[1]}([\"']?)([\w.-]+)\1[ \t]*:(?:\s|$)", re.MULTILINE) if first else None
    return frozenset(found[2] for found in indented.finditer(text)) if indented else frozenset()


def _found(kind: str, folder: Folder, names: list[str]) -> Found:
    chosen = _chosen(kind, names)
    others = tuple(name for name in names if name not in chosen) if kind != "procfile" else ()
    return Found(kind=kind, folder=folder, names=chosen, others=others)


def _chosen(kind: str, names: list[str]) -> tuple[str, ...]:
    """Return the files of a kind to read: of compose, Cloud Foundry and Kamal the first, of others each."""
    usual = {"compose": compose.FILES, "cloud-foundry": cloud_foundry.FILES, "kamal": kamal.FILES}.get(kind)
    if kind == "procfile":
        return (procfile.PROCFILE if procfile.PROCFILE in names else names[0],)
    if usual is not None:
        return (next((name for name in usual if name in names), names[0]),)
    return tuple(names[:_MAX_FILES])
