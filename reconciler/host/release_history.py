"""Put each run of a release command on record as a task, with what it printed in a log of its own."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.host.stores import Stores
from reconciler.linux.processes import boot_id
from reconciler.planning.apps.actions import Release
from reconciler.planning.apps.revision import ReleaseStep
from reconciler.planning.subject import Subject
from reconciler.planning.tasks.task import Task
from reconciler.staging.errors import CommandFailed, StagingError
from reconciler.state.paths import StatePaths

_SAID_LINES = 20


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
            self._log.put(replace(ended, ended_at=at, took_s=round(time.monotonic() - began, 3)))

    def _failed(self, task: Task, error: StagingError) -> Task:
        cause = error.__cause__
        if not isinstance(cause, CommandFailed):
            return replace(task, state="failed", ending=f"took longer than {task.timeout_s:g} s, and was ended")
        said = self._stores.journal.redacted(Subject("app", task.app), "\n".join(cause.output[-_SAID_LINES:]))
        code = cause.status.removeprefix("exit code ")
        return replace(
            task, state="failed", ending=cause.status, code=int(code) if code.isdecimal() else None, said=said
        )
