"""Requests about tasks, as the API and the page take them: run a command, trigger a schedule, cancel a task."""

import re
from collections.abc import Mapping
from typing import Any

from reconciler.documents.names import is_name
from reconciler.planning.tasks.task import Task
from reconciler.web.answer_schemas import REVISION_PATTERN, TASK_PATTERN
from reconciler.web.context import WebContext
from reconciler.web.responses import Problem

# The fields of each, those that have to be given first.
TASK_REQUESTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "task": (frozenset({"do", "app", "command"}), frozenset({"name", "timeout", "revision"})),
    "trigger": (frozenset({"do", "app", "schedule"}), frozenset()),
    "cancel": (frozenset({"do", "task"}), frozenset()),
}


def task_request(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as the daemon takes it, which judges the command itself; raises Problem."""
    name = str(content["do"])
    required, optional = TASK_REQUESTS[name]
    if not required <= content.keys() or content.keys() - required - optional:
        fields = ", ".join(sorted(required - {"do"}))
        raise Problem(422, f'expected {fields} beside "do": "{name}"{_and_also(optional)}')
    app, task, revision = content.get("app"), content.get("task"), content.get("revision")
    if "app" in required and not (isinstance(app, str) and is_name(app)):
        raise Problem(422, "'app' must be the name of an app")
    if "task" in required and not (isinstance(task, str) and re.fullmatch(TASK_PATTERN, task)):
        raise Problem(422, "'task' must be the id of a task: 8 hexadecimal digits")
    if revision is not None and not (isinstance(revision, str) and re.fullmatch(REVISION_PATTERN, revision)):
        raise Problem(422, "'revision' must be the beginning of a revision's id: 1 to 12 hexadecimal digits")
    command = content.get("command")
    if "command" in required and not (isinstance(command, list) and all(isinstance(word, str) for word in command)):
        raise Problem(422, "'command' must be a list of words")
    return dict(content)


async def known_task(context: WebContext, task: str) -> Task:
    """Return a task by its id; raises Problem."""
    found = await context.status_cache.task(task) if re.fullmatch(TASK_PATTERN, task) else None
    if found is None:
        raise Problem(404, "no task of this host has this id")
    return found


def _and_also(optional: frozenset[str]) -> str:
    return f", and optionally {', '.join(sorted(optional))}" if optional else ""
