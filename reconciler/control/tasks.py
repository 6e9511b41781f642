"""Grant the requests of operators about tasks: run a command, trigger a schedule, cancel a task, and record a shell."""

import json
import re
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.control.grants import Grant, Manifests
from reconciler.control.requests import NotFound, Refused, desired_app
from reconciler.planning.apps.app import App
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.planning.tasks.task import Task, TaskState
from reconciler.state.journal import Journal
from reconciler.state.task_log import TaskLog
from reconciler.tasks.texts import command_line
from reconciler.tasks.world import TaskWorld

_NO_REVISION = "no revision of it has served yet, so there is no environment to run a command in"
_MOST_WORDS, _MOST_CHARACTERS = 1000, 32 * 1024
_LONGEST_S = 30 * 86400.0
_NAME = re.compile(r"[\w][\w .:@/+-]{0,63}")
_REVISION = re.compile("[0-9a-f]{1,12}")
_TASK = re.compile("[0-9a-f]{1,8}")
_REVISION_HAS = "a revision is up to twelve hexadecimal digits"
_TASK_HAS = "the id of a task is up to eight hexadecimal digits"
_MOST_CODES = 255
_TERMINAL = re.compile("[0-9a-f]{16}")


class TaskRequests:
    """Grants requests such as {"do": "task", "app": "blog", "command": ["python", "-V"]}."""

    def __init__(self, manifests: Manifests, tasks: TaskWorld, log: TaskLog, journal: Journal) -> None:
        self._manifests = manifests
        self._tasks = tasks
        self._log = log
        self._journal = journal

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What grants each of them, by its name."""
        return {
            "task": self._run,
            "trigger": self._trigger,
            "cancel": self._cancel,
            "shell": self._begin_shell,
            "shell-ended": self._end_shell,
        }

    def _app(self, request: dict[str, Any]) -> App:
        return desired_app(self._manifests.catalog, request.get("app"))

    def _run(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Put a task of an app on record that starts at once; return its id. Raises Refused."""
        app = self._app(request)
        words = _words(request.get("command"))
        wanted = _matching(request.get("revision"), _REVISION, _REVISION_HAS)
        name = _matching(request.get("name"), _NAME, "a name has up to 64 letters, digits and .:@/+-")
        self._require_revision(app)
        if wanted and self._tasks.revision(app.name, wanted) is None:
            raise Refused(f"{app.name}: no revision that begins with '{wanted}' can be started, or more than one")
        task = Task(
            id=self._tasks.open.new_id(),
            app=app.name,
            kind="task",
            name=self._journal.redacted(Subject("app", app.name), name or words[0]),
            command=json.dumps(words),
            state="owed",
            owed_at=time.time(),  # noqa: TID251  on record and shown
            timeout_s=_timeout_s(request.get("timeout")) or self._tasks.limits.timeout_s,
            cause=f"requested by {who}",
            asked_by=who,
            wanted=wanted,
            attached=_matching(request.get("terminal"), _TERMINAL, "a terminal has sixteen hexadecimal digits"),
        )
        return self._owed(task, f"task {task.id}: {command_line(task)}")

    def _trigger(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Put a task of a schedule on record that starts as soon as no other one of it runs. Raises Refused."""
        app, name = self._app(request), request.get("schedule")
        schedule = next((each for each in app.schedules if each.name == name), None)
        if schedule is None:
            known = ", ".join(sorted(each.name for each in app.schedules))
            there = f"it has {known}" if known else "its manifest has none"
            raise NotFound(f"{app.name} has no schedule '{name}': {there}")
        self._require_revision(app)
        if app.state == "stopped":
            raise Refused(f"{app.name} is stopped, and so are its schedules; 'reconciler task' runs a command of it")
        task = self._tasks.schedules.triggered(app, schedule, who)
        return self._owed(task, f"task {task.id} of schedule {schedule.name}: {command_line(task)}")

    def _require_revision(self, app: App) -> None:
        if self._tasks.revision(app.name) is None:
            raise Refused(f"{app.name}: {_NO_REVISION}; see 'reconciler status {app.name}'")

    def _owed(self, task: Task, text: str) -> dict[str, Any]:
        try:
            self._tasks.owe(task)
        except sqlite3.Error as error:
            raise Refused(
                f"{task.app}: the task cannot be put on record, and so is not begun: {error}; 'reconciler shell' runs a"
                " command in this terminal"
            ) from error
        self._journal.write(Subject("app", task.app), "request", text, task.cause, Reason.TASK_REQUESTED)
        return {"done": f"{task.app}: {text}", "task": task.id}

    def _begin_shell(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Put on record that an operator has opened a shell, or runs a command in a terminal. Raises Refused."""
        app = self._app(request)
        words, now = _words(request.get("command")), time.time()  # noqa: TID251  on record and shown
        task = Task(
            id=self._tasks.open.new_id(),
            app=app.name,
            kind="shell",
            name="shell",
            command=json.dumps(words),
            state="running",
            owed_at=now,
            started_at=now,
            timeout_s=0.0,
            cause=f"requested by {who}",
            asked_by=who,
            revision=_matching(request.get("revision"), _REVISION, _REVISION_HAS),
        )
        self._log.put(task)
        return {"done": f"{app.name}: {command_line(task)}", "task": task.id}

    def _end_shell(self, request: dict[str, Any], _: str) -> dict[str, Any]:
        """Put on record how a shell has ended. Raises NotFound if none of that id is open."""
        beginning, code = _matching(request.get("task"), _TASK, _TASK_HAS), request.get("code")
        found = [task for task in self._log.find(beginning) if task.kind == "shell" and task.is_open]
        if len(found) != 1 or isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= _MOST_CODES:
            raise NotFound(f"there is no shell '{beginning}'")
        task, now = found[0], time.time()  # noqa: TID251  the same
        took_s = max(0.0, now - task.owed_at)
        state: TaskState = "failed" if code else "succeeded"
        self._log.put(
            replace(task, state=state, code=code, ending=f"exit code {code}", ended_at=now, took_s=round(took_s, 3))
        )
        return {"done": f"{task.app}: shell {task.id} has ended", "task": task.id}

    def _cancel(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Have a task end. Raises Refused, and NotFound if there is none of that id."""
        beginning = _matching(request.get("task"), _TASK, _TASK_HAS)
        open_tasks = [task for task in self._tasks.open.all() if beginning and task.id.startswith(beginning)]
        if len(open_tasks) > 1:
            raise Refused(f"'{beginning}' begins {', '.join(sorted(task.id for task in open_tasks))}: write more of it")
        if not open_tasks:
            past = self._log.find(beginning) if beginning else []
            if past and past[0].is_open:
                whose = "its deployment" if past[0].kind == "release" else "its terminal"
                raise Refused(f"{past[0].kind} {past[0].id} of {past[0].app} ends with {whose}")
            if past:
                raise Refused(f"task {past[0].id} of {past[0].app} has ended: {past[0].state}, {past[0].ending}")
            raise NotFound(f"there is no task '{beginning}'; 'reconciler tasks' lists them")
        task = open_tasks[0]
        if not task.cancelled_by:
            self._tasks.cancel(task, who)
            text = f"cancel task {task.id}: {command_line(task)}"
            self._journal.write(Subject("app", task.app), "request", text, f"requested by {who}", Reason.TASK_CANCELLED)
        ends = "it is not started" if task.state == "owed" else "it is told to end"
        return {"done": f"{task.app}: task {task.id} is cancelled; {ends}", "task": task.id, "app": task.app}


def _words(command: Any) -> list[str]:
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise Refused("a command is a list of words, such as ['python', 'manage.py', 'migrate']")
    if not command[0]:
        raise Refused("the first word of a command is a program's name")
    if any("\0" in word for word in command):
        raise Refused("no word of a command has a NUL")
    if len(command) > _MOST_WORDS or sum(map(len, command)) > _MOST_CHARACTERS:
        raise Refused(f"a command has up to {_MOST_WORDS} words and {_MOST_CHARACTERS // 1024} KiB")
    return command


def _matching(value: Any, pattern: re.Pattern[str], expected: str) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise Refused(expected)
    return value


def _timeout_s(value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST_S:
        raise Refused("a timeout is a number of seconds, of 30 days at most")
    return float(value)
