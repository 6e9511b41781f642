"""Say how a task ended: its state, and one sentence for operators."""

import signal
from dataclasses import replace

from reconciler.planning.tasks.task import Task, TaskState
from reconciler.planning.wording import span
from reconciler.tasks.results import Result

HOST_WENT_DOWN = "the host went down while it ran"
DAEMON_ENDED = "the daemon ended while it ran"
NEVER_BEGAN = "its runner ended before the command began, or its record was removed"
RUNNER_KILLED = "its runner was killed, and the command with it"
RECORD_LOST = "what its runner left about its end was removed or replaced"


def ended(task: Task, result: Result, said: str) -> Task:
    """Return a task as it is on record once it ended; `said` are its last lines without secrets."""
    state, ending = _ending(task, result)
    return replace(
        task,
        state=state,
        ending=ending,
        ended_at=result.ended_at,
        took_s=result.took_s,
        code=result.code,
        signal=result.signal,
        peak_memory=result.peak_memory,
        log_size=result.size,
        said=said,
    )


def lost(task: Task, ending: str, now: float) -> Task:
    """Return a task as it is on record whose runner left no result."""
    took_s = None if task.started_at is None else max(0.0, now - task.started_at)
    state: TaskState = "cancelled" if task.cancelled_by else "failed"
    why = f"cancelled by {task.cancelled_by}" if task.cancelled_by else ending
    return replace(task, state=state, ending=why, ended_at=now, took_s=took_s)


def unrecorded(*, same_boot: bool, claimed: bool, how: str) -> str:
    """Say of a task whose runner left no result how it ended: `how` the runner did, "" if that is not known."""
    if not same_boot:
        return HOST_WENT_DOWN
    if claimed and how.startswith("exited with"):
        return f"{RECORD_LOST} (the runner {how})"
    ending = RUNNER_KILLED if claimed else NEVER_BEGAN
    return f"{ending} (the runner {how})" if how and how != "ended" else ending


def _ending(task: Task, result: Result) -> tuple[TaskState, str]:
    how = _how(result)
    if result.timed_out:
        longest = span(task.timeout_s) if task.timeout_s >= 1 else f"{task.timeout_s:g}s"
        return "failed", f"took longer than {longest}, and was ended ({how})"
    if task.cancelled_by:
        return "cancelled", f"cancelled by {task.cancelled_by} ({how})"
    if result.cancelled:
        return "failed", f"ended from outside, as by 'reconciler down' or when the host goes down ({how})"
    if result.error:
        return "failed", f"cannot run {result.error}"
    return ("succeeded" if result.code == 0 else "failed"), how


def _how(result: Result) -> str:
    how = _exit(result)
    return f"{how}: {result.exceeded}" if result.exceeded else how


def _exit(result: Result) -> str:
    if result.signal is None:
        return f"exit code {result.code}"
    try:
        return f"killed by {signal.Signals(result.signal).name}"
    except ValueError:
        return f"killed by signal {result.signal}"
