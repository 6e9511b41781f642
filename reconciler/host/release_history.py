"""Put each run of a release command on record as a task, with what it printed in a log of its own."""

import asyncio
import json
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.host.stores import Stores
from reconciler.linux.process_identity import boot_id
from reconciler.planning.apps.actions import Release
from reconciler.planning.apps.revision import ReleaseStep
from reconciler.planning.subject import Subject
from reconciler.planning.tasks.task import Task
from reconciler.serving.logs import text_from
from reconciler.staging.errors import CommandFailed, StagingError
from reconciler.staging.log import INDENT
from reconciler.state.paths import StatePaths

_SAID_LINES, _MOST_SAID = 20, 4000
_MOST_READ = 4 << 20


class ReleaseHistory:
    """The release commands of apps, among the tasks."""

    def __init__(self, paths: StatePaths, stores: Stores) -> None:
        self._paths = paths
        self._stores = stores
        self._log = stores.records.task_log
        self._boot = boot_id()

    @contextmanager
    def recorded(self, app: str, action: Release, step: ReleaseStep, timeout_s: float) -> Iterator[Path]:
        """Put a step on record as long as the context lasts, and then how it ended; give the path of its log."""
        now = time.time()  # noqa: TID251  on record and shown
        task = Task(
            id=secrets.token_hex(4),
            app=app,
            kind="release",
            name="release" if step.origin != "static files" else "collectstatic",
            command=json.dumps(["/bin/sh", "-c", step.command]),
            state="running",
            owed_at=now,
            started_at=now,
            timeout_s=timeout_s,
            cause=action.cause,
            revision=action.revision.id,
            build=action.revision.build.id,
            boot=self._boot,
        )
        self._log.put(task)
        began = time.monotonic()
        ended = replace(task, state="cancelled", ending="the deployment was given up for another one")
        try:
            yield self._paths.task_log(app, task.id)
            ended = replace(task, state="succeeded", ending="exit code 0", code=0)
        except StagingError as error:
            ended = self._failed(task, error)
            raise
        except asyncio.CancelledError:
            raise
        finally:
            at = time.time()  # noqa: TID251  the same
            ended = self._with_output(ended, self._paths.task_log(app, task.id))
            self._log.put(replace(ended, ended_at=at, took_s=round(time.monotonic() - began, 3)))

    def _with_output(self, task: Task, log: Path) -> Task:
        """Return the task with how much it printed, by its log, and its last lines without secrets."""
        lines = [
            line.removeprefix(INDENT) for line in text_from(log, _MOST_READ).split("\n") if line.startswith(INDENT)
        ]
        said = "\n".join([line for line in lines if line.strip()][-_SAID_LINES:])[-_MOST_SAID:]
        size = sum(len(line.encode()) + 1 for line in lines)
        said = self._stores.journal.redacted(Subject("app", task.app), said)
        return replace(task, log_size=size, said=task.said or said)

    def _failed(self, task: Task, error: StagingError) -> Task:
        cause = error.__cause__
        if not isinstance(cause, CommandFailed):
            return replace(task, state="failed", ending=f"took longer than {task.timeout_s:g} s, and was ended")
        said = self._stores.journal.redacted(Subject("app", task.app), "\n".join(cause.output[-_SAID_LINES:]))
        code, name = cause.status.removeprefix("exit code "), cause.status.removeprefix("killed by ")
        return replace(
            task,
            state="failed",
            ending=cause.status,
            code=int(code) if code.isdecimal() else None,
            signal=next((int(each) for each in signal.Signals if each.name == name), None),
            said=said,
        )
