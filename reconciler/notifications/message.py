"""Items of news in; subject, text and payloads out, each with what apps wrote escaped for who reads it."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from reconciler.notifications.digest import Entry
from reconciler.planning.subject import HOST

_LINES = 20
_BAD_FIRST = {"failing": 0, "degraded": 1, "healthy": 2}
_MARKS = {"failing": ":red_circle:", "degraded": ":large_yellow_circle:", "healthy": ":large_green_circle:"}


def headline(items: Sequence[Entry], host: str) -> str:
    """One line: who stands how, on which host."""
    counts = {standing: [item for item in items if item.severity == standing] for standing in _BAD_FIRST}
    told = []
    for standing, some in counts.items():
        word = "healthy again" if standing == "healthy" else standing
        if len(some) == 1:
            told.append(f"{_who(some[0])} is {word}")
        elif some:
            told.append(f"{_counted(some)} are {word}")
    return _plain(f"{host}: {', '.join(told)}")


def text(items: Sequence[Entry], host: str) -> str:
    """The headline and a line for each, the worst first; a long list is cut, and says so."""
    ordered = sorted(items, key=lambda item: (_BAD_FIRST[item.severity], str(item.subject)))
    lines = [headline(items, host), "", *map(_line, ordered[:_LINES])]
    if len(ordered) > _LINES:
        lines.append(f"and {len(ordered) - _LINES} more: see 'reconciler status'")
    return "\n".join(lines)


def as_json(items: Sequence[Entry], host: str, at: datetime) -> dict[str, Any]:
    """Return the plain payload: {host, at, text, items: [{app, service, state, message, changes}]}.

    `app` or `service` names what an item is about; both are empty for the host.
    """
    listed = [
        {
            "app": item.subject.name if item.subject.kind == "app" else "",
            "service": item.subject.name if item.subject.kind == "service" else "",
            "state": item.severity,
            "message": _plain(item.text),
            "changes": item.changes,
        }
        for item in items
    ]
    return {"host": host, "at": at.isoformat(timespec="seconds"), "text": headline(items, host), "items": listed}


def as_slack(items: Sequence[Entry], host: str) -> dict[str, Any]:
    """What Slack, Mattermost and their kin take: no text of an app makes a link, a mention or markup of it."""
    ordered = sorted(items, key=lambda item: (_BAD_FIRST[item.severity], str(item.subject)))
    lines = [f"{_MARKS[item.severity]} {_for_slack(_line(item))}" for item in ordered[:_LINES]]
    if len(ordered) > _LINES:
        lines.append(f"and {len(ordered) - _LINES} more")
    return {"text": "\n".join((_for_slack(headline(items, host)), *lines)), "link_names": 0, "unfurl_links": False}


def encoded(payload: dict[str, Any]) -> bytes:
    """A payload as sent; ASCII, so that no control of text direction survives in raw form."""
    return json.dumps(payload).encode()


def _line(item: Entry) -> str:
    word = "healthy again" if item.severity == "healthy" else item.severity
    count = f" (changed {item.changes} times since last told)" if item.changes > 1 else ""
    return _plain(f"{_who(item)} is {word}{count}{': ' if item.text else ''}{item.text}")


def _counted(items: Sequence[Entry]) -> str:
    kinds = {item.subject.kind for item in items}
    noun = {frozenset({"app"}): "apps", frozenset({"service"}): "services"}.get(frozenset(kinds), "apps and services")
    return f"{len(items)} {noun}"


def _who(item: Entry) -> str:
    return "this host" if item.subject == HOST else str(item.subject)


def _plain(text: str) -> str:
    """One line without control characters and marks of text direction."""
    return "".join(character if character.isprintable() else " " for character in text)


def _for_slack(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A zero-width space ends what would be markup or a mention where it begins.
    return "".join(character + "\u200b" if character in "*_~`@" else character for character in escaped)
