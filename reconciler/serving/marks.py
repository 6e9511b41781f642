"""Mark the processes of instances by their environment, and find them again in the process table.

The marks outlive the daemon and its database: every process below an instance inherits them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from reconciler.documents.names import is_name
from reconciler.linux.dataclass import dataclass
from reconciler.linux.held_files import contents
from reconciler.linux.proc_files import proc_text
from reconciler.linux.process_identity import owner_of, stat_of
from reconciler.linux.process_table import pids

STATE_MARK = "RECONCILER_STATE_ID"
INSTANCE_MARK = "RECONCILER_INSTANCE"
APP_MARK = "RECONCILER_APP"
REVISION_MARK = "RECONCILER_REVISION"
PROCESS_MARK = "RECONCILER_PROCESS"
RECORD_MARK = "RECONCILER_RECORD"
TASK_MARK = "RECONCILER_TASK"
RUNNER_MARK = "RECONCILER_TASK_RUNNER"
CLIENT_KEY_MARK = "RECONCILER_CLIENT_KEY"  # as the gate has it, too


NO_APPS: Mapping[int, str] = {}
_OURS, _LONGEST = b"RECONCILER_", 64 << 10
_ID = re.compile("[0-9a-f]{12}")
_TASK_ID = re.compile("[0-9a-f]{8}")


def is_id(text: str) -> bool:
    """Return whether this may be the id of an instance, a revision or a build: only what may is made part of a path."""
    return _ID.fullmatch(text) is not None


def is_task_id(text: str) -> bool:
    """Return whether this may be the id of a task."""
    return _TASK_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of one instance of a state directory. `started_at` is wall-clock seconds, for display."""

    state: str
    instance: str
    started_at: float

    def marks(self, app: str, revision: str) -> dict[str, str]:
        """Return the variables that mark its processes."""
        return {STATE_MARK: self.state, INSTANCE_MARK: self.instance, APP_MARK: app, REVISION_MARK: revision}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A process that carries the marks of a state directory.

    `record` is the instance's record as JSON when it was started, for the case that the database is lost. A process of
    a task has the id of that in place of an instance's; its `runner` is the one that ends all others.
    """

    pid: int
    instance: str
    app: str
    leads: bool
    record: str = ""
    task: str = ""
    runner: bool = False


def marked(
    state_id: str,
    user: int | None = None,
    *,
    apps: Mapping[int, str] = NO_APPS,
    among: Iterable[int] | None = None,
) -> Iterator[Marked]:
    """Find every process of a user, of this one unless given, that was started for this state directory. Blocks.

    They are looked for `among` these, or all of the host. One that keeps its readers waiting is passed over.

    `apps` have users of their own, by number; a process of one that bears the marks of another app is of no instance.

    Marks are no secret, and every other user can write them into an environment: of theirs, none counts, and none is
    read. A process that bears marks of no possible app or instance is one of no instance; one with a larger environment
    than a program can be started with has written it itself, and is passed over.
    """
    owner = os.geteuid() if user is None else user
    wanted = f"{STATE_MARK}={state_id}".encode()
    paths = {
        f"/proc/{pid}/environ": pid for pid in (pids() if among is None else among) if _may_count(pid, owner, apps)
    }
    found = contents([*paths], partial(_marks_in, wanted))
    for path, marks in found.items():
        if marks is not None and (process := _as_marked(paths[path], marks, owner, apps)) is not None:
            yield process


def _may_count(pid: int, owner: int, apps: Mapping[int, str]) -> bool:
    """Whether marks of a process may count, by its user.

    That is root if it forbids to be traced, and then only root may read on; who it really is, is asked of those marked.
    """
    try:
        seen = os.stat(f"/proc/{pid}").st_uid  # noqa: PTH116  very many
    except OSError:
        return False
    return seen in {owner, 0} or seen in apps


def _marks_in(wanted: bytes, block: bytes) -> dict[bytes, bytes] | None:
    """Return the marks in an environment that has a wanted one, None in any other."""
    fields = block.split(b"\0") if wanted in block else ()
    if wanted not in fields:
        return None
    marks = (each for each in fields if each.startswith(_OURS) and b"=" in each and len(each) <= _LONGEST)
    return dict(each.split(b"=", 1) for each in marks)


def _as_marked(pid: int, marks: Mapping[bytes, bytes], owner: int, apps: Mapping[int, str]) -> Marked | None:
    """Return a process with the marks that count, None if it has ended or is of another user."""
    if (stat := stat_of(pid)) is None or stat[0] in "ZX":
        return None
    if (of := owner_of(pid)) != owner and of not in apps:
        return None
    instance, app = proc_text(marks.get(INSTANCE_MARK.encode(), b"")), proc_text(marks.get(APP_MARK.encode(), b""))
    task = proc_text(marks.get(TASK_MARK.encode(), b"")) if not instance else ""
    if not (is_id(instance) or is_task_id(task)) or not is_name(app) or app != apps.get(of or 0, app):
        instance = app = task = ""
    return Marked(
        pid=pid,
        instance=instance,
        app=app,
        leads=int(stat[2]) == pid,
        record=proc_text(marks.get(RECORD_MARK.encode(), b"")),
        task=task,
        runner=bool(task) and RUNNER_MARK.encode() in marks,
    )
