"""Decide whether a change of desired state lies within what its signer may change. Pure.

What counts is the difference of the documents, not of the files that they stand in. A document here includes the ids of
the files and directories that it names, so that a change of code is a change of it, too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json
from reconciler.planning.subject import Subject

# The field of a document, beside those of its manifest, that has the id of what is at each place it names.
FILES = "files"

# What is asked for, by app or service, and files of the repository that are neither, by their names.
Documents = Mapping[Subject | str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a signer may change: apps and services by patterns of fnmatch, and of those some fields only, or all (None).

    A field is dotted, and stands for all in it: `source.commit`, `dependencies`. `others` says whether also what is
    neither an app nor a service, such as the fleet.
    """

    apps: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    fields: tuple[str, ...] | None = None
    others: bool = False


EVERYTHING = Scope(apps=("*",), services=("*",), others=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """A change beyond a scope: of which app, service or other file, and of which field; "" for all of it."""

    subject: Subject | str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.message} {self.subject}{f' ({self.field})' if self.field else ''}"


def scope_of(given: "str | Mapping[str, Any]") -> Scope:
    """Return a scope as settings have it: `all`, or a mapping with `apps`, `services` or `fields`.

    Fields alone are those of every app and service.
    """
    if isinstance(given, str):
        return EVERYTHING
    fields = _all(given["fields"]) if "fields" in given else None
    if "apps" not in given and "services" not in given:
        return Scope(apps=("*",), services=("*",), fields=fields)
    return Scope(apps=_all(given.get("apps", ())), services=_all(given.get("services", ())), fields=fields)


def beyond_scope(scope: Scope, parents: Sequence[Documents], after: Documents) -> tuple[Excess, ...]:
    """Return what a commit changes beyond its signer's scope, given the documents of its parents and its own.

    A merge is held to its difference from every parent: it could as well undo what another signer did.
    """
    found = (each for before in parents or ({},) for each in _beyond(scope, before, after))
    return tuple(dict.fromkeys(found))


def _beyond(scope: Scope, before: Documents, after: Documents) -> Iterator[Excess]:
    for subject in sorted(before.keys() | after.keys(), key=str):
        if subject in before and subject in after and _is_same(before[subject], after[subject]):
            continue
        if not _covers(scope, subject):
            yield Excess(subject=subject, field="", message="changes" if subject in before else "adds")
        elif scope.fields is not None:
            yield from _beyond_fields(scope.fields, subject, before, after)


def _beyond_fields(
    fields: Sequence[str], subject: Subject | str, before: Documents, after: Documents
) -> Iterator[Excess]:
    if subject not in before or subject not in after:
        yield Excess(subject=subject, field="", message="removes" if subject in before else "adds")
        return
    allowed = [tuple(field.split(".")) for field in fields]
    for place in _differences((), before[subject], after[subject]):
        if not any(place[: len(field)] == field for field in allowed):
            yield Excess(subject=subject, field=".".join(map(_name_of, place)), message="changes")


def _name_of(field: str) -> str:
    """Return a field as messages name it: of NAME=value, where a name belongs, the value is left out."""
    name, equals, _ = field.partition("=")
    return f"{name}{equals and '=…'}"


def _differences(place: tuple[str, ...], before: Json, after: Json) -> Iterator[tuple[str, ...]]:
    """Yield the places of all that differs; a list counts as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            if name not in before or name not in after:
                yield (*place, str(name))
            else:
                yield from _differences((*place, str(name)), before[name], after[name])
    elif not _is_same(before, after):
        yield place


def _is_same(one: Json, other: Json) -> bool:
    """Return whether two values are the same in JSON, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _covers(scope: Scope, subject: Subject | str) -> bool:
    if isinstance(subject, str):
        return scope.others
    patterns = {"app": scope.apps, "service": scope.services}.get(subject.kind, ())
    return any(fnmatchcase(subject.name, pattern) for pattern in patterns)


def _all(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
