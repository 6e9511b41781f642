"""The `notifications` of a settings file in, already checked by its schema; targets and what is still wrong out."""

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.documents.problem import Problem, dotted
from reconciler.documents.tree import Node
from reconciler.notifications.targets import Command, Smtp, Target, Webhook

_NEEDS = {"webhook": ("url",), "command": ("argv",), "smtp": ("server", "from", "recipients")}
_TAKES = {
    "webhook": ("url", "template", "ca"),
    "command": ("argv",),
    "smtp": ("server", "port", "tls", "user", "password", "from", "recipients", "ca"),
}
_PORTS = {"tls": 465, "starttls": 587, "none": 25}


def targets_of(file: str, tree: Node) -> tuple[tuple[Target, ...], list[Problem]]:
    """Who is to be notified, and the problems of each target that cannot be."""
    node = tree.parts.get("notifications") if "notifications" in tree.keys else None
    targets: list[Target] = []
    problems: list[Problem] = []
    for index, part in node.parts.items() if node is not None else ():
        given: Any = part.value
        wrong = _wrong(given)
        if wrong:
            where = dotted(("notifications", index))
            problems.append(Problem(file=file, line=part.line, column=part.column, path=where, message=wrong))
        else:
            targets.append(_target(posixpath.dirname(file), given))
    return tuple(targets), problems


def _wrong(given: Mapping[str, Any]) -> str:
    to = given["to"]
    for name in _NEEDS[to]:
        if name not in given:
            return f"needs '{name}' beside 'to: {to}'"
    for name in given.keys() - {"to"}:
        if name not in _TAKES[to]:
            return f"has '{name}', which is not for 'to: {to}'"
    if ("user" in given) != ("password" in given):
        return "needs 'user' and 'password' together"
    if "user" in given and given.get("tls") == "none":
        return "would send a password in the clear: choose 'tls: starttls' or 'tls: tls'"
    return ""


def _target(folder: str, given: Mapping[str, Any]) -> Target:
    authority = Path(folder, given["ca"]) if "ca" in given else None
    if given["to"] == "webhook":
        url = given["url"]
        where = Path(folder, url["file"]) if isinstance(url, Mapping) else str(url)
        return Webhook(url=where, format=given.get("template", "json"), ca=authority)
    if given["to"] == "command":
        return Command(argv=tuple(given["argv"]))
    tls = given.get("tls", "starttls")
    password = given.get("password")
    return Smtp(
        server=given["server"],
        port=given.get("port", _PORTS[tls]),
        sender=given["from"],
        recipients=tuple(given["recipients"]),
        tls=tls,
        user=given.get("user"),
        password=None if password is None else Path(folder, password["file"]),
        ca=authority,
    )
