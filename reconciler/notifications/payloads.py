"""Format messages: headline, text and payloads, with text from apps escaped for their readers."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reconciler.documents.problem import one_line
from reconciler.notifications.digest import Entry
from reconciler.planning.subject import HOST, Subject, SubjectKind

_LINES = 20
_WORST_FIRST = {"failing": 0, "degraded": 1, "healthy": 2}
_NOUNS: Mapping[frozenset[SubjectKind], str] = {
    frozenset({"app"}): "apps", frozenset({"service"}): "services", frozenset({"origin"}): "origins",
    frozenset({"schedule"}): "schedules",
}  # fmt: skip
_MARKS = {"failing": ":red_circle:", "degraded": ":large_yellow_circle:", "healthy": ":large_green_circle:"}


def headline(entries: Sequence[Entry], host: str) -> str:
    """Return one line: what is failing, degraded or healthy again, on which host."""
    counts = {severity: [entry for entry in entries if entry.severity == severity] for severity in _WORST_FIRST}
    parts = []
    for severity, some in counts.items():
        word = "healthy again" if severity == "healthy" else severity
        if len(some) == 1:
            parts.append(f"{_subject_of(some[0])} is {word}")
        elif some:
            parts.append(f"{_counted(some)} are {word}")
    return one_line(f"{host}: {', '.join(parts)}")


def text(entries: Sequence[Entry], host: str) -> str:
    """Return the headline and a line for each entry, the worst first; a long list is cut, and says so."""
    ordered = sorted(entries, key=lambda entry: (_WORST_FIRST[entry.severity], str(entry.subject)))
    lines = [headline(entries, host), "", *map(_line, ordered[:_LINES])]
    if len(ordered) > _LINES:
        lines.append(f"and {len(ordered) - _LINES} more: see 'reconciler status'")
    return "\n".join(lines)


def as_json(entries: Sequence[Entry], host: str, at: datetime) -> dict[str, Any]:
    """Return the plain payload: {host, at, text, items}, each item with the fields below.

    `app`, `service` or `origin` names what an item is about, `schedule` with `app` a schedule; all are empty for the
    proxy and the host, which `kind` tells apart. The message of a schedule may have several lines.
    """
    listed = [
        {
            "kind": entry.subject.kind,
            "app": _app_of(entry.subject),
            "service": entry.subject.name if entry.subject.kind == "service" else "",
            "origin": entry.subject.name if entry.subject.kind == "origin" else "",
            "schedule": entry.subject.name.partition("/")[2] if entry.subject.kind == "schedule" else "",
            "state": entry.severity,
            "message": "\n".join(map(one_line, entry.text.splitlines())),
            "changes": entry.changes,
        }
        for entry in entries
    ]
    return {"host": host, "at": at.isoformat(timespec="seconds"), "text": headline(entries, host), "items": listed}


def as_slack(entries: Sequence[Entry], host: str) -> dict[str, Any]:
    """Return a payload for Slack and Mattermost, in which no text of an app is a link, a mention or markup."""
    ordered = sorted(entries, key=lambda entry: (_WORST_FIRST[entry.severity], str(entry.subject)))
    lines = [f"{_MARKS[entry.severity]} {_for_slack(_line(entry))}" for entry in ordered[:_LINES]]
    if len(ordered) > _LINES:
        lines.append(f"and {len(ordered) - _LINES} more")
    return {"text": "\n".join((_for_slack(headline(entries, host)), *lines)), "link_names": 0, "unfurl_links": False}


def encoded(payload: dict[str, Any]) -> bytes:
    """Encode a payload as ASCII, so that no control of text direction survives in raw form."""
    return json.dumps(payload).encode()


def _line(entry: Entry) -> str:
    word = "healthy again" if entry.severity == "healthy" else entry.severity
    count = f" (changed {entry.changes} times since the last message)" if entry.changes > 1 else ""
    first, *more = entry.text.splitlines() or [""]
    head = one_line(f"{_subject_of(entry)} is {word}{count}{': ' if first else ''}{first}")
    return "\n".join((head, *(f"    {one_line(each)}" for each in more)))


def _app_of(subject: Subject) -> str:
    return subject.name.partition("/")[0] if subject.kind in {"app", "schedule"} else ""


def _counted(entries: Sequence[Entry]) -> str:
    kinds = {entry.subject.kind for entry in entries}
    mixed = "apps, services and origins" if "origin" in kinds else "apps and services"
    mixed = "apps, services and schedules" if "schedule" in kinds else mixed
    mixed = "subjects" if "proxy" in kinds else mixed
    return f"{len(entries)} {_NOUNS.get(frozenset(kinds), mixed)}"


def _subject_of(entry: Entry) -> str:
    return "this host" if entry.subject == HOST else str(entry.subject)


def _for_slack(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A zero-width space ends what would be markup or a mention where it begins.
    return "".join(character + "\u200b" if character in "*_~`@" else character for character in escaped)
