"""The record of a task as its runner carries it, for a daemon whose database never got it: the disk was full, say."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path

from reconciler.linux.regular_files import read_record
from reconciler.planning.tasks.task import OPEN, Task
from reconciler.serving.marks import Marked, is_task_id

_LONGEST = 1 << 16  # of one variable, the kernel takes twice as much
_NAMES = frozenset(field.name for field in fields(Task))


def carried(task: Task) -> str:
    """Return the record of a task as a variable for its runner; one that is too long goes without its arguments."""
    text = json.dumps(asdict(task))
    return text if len(text) <= _LONGEST else json.dumps(asdict(replace(task, command=json.dumps(task.words[:1]))))


def missing(found: Iterable[Marked], known: Mapping[str, Task]) -> Iterable[Task]:
    """Return the tasks that have a runner and are on record as owed, or not as open at all, given those that are."""
    for process in found:
        on_record = known.get(process.task)
        if not process.runner or (on_record is not None and on_record.state != "owed"):
            continue
        task = _read(process)
        if task is not None:
            yield task if on_record is None else replace(task, cancelled_by=on_record.cancelled_by)


def ended_unrecorded(directory: Path, known: Callable[[str], bool]) -> Iterable[Task]:
    """Return the tasks that have ended and are not `known`, by the results in a directory."""
    with suppress(OSError):
        for file in directory.glob("*.result"):
            if not is_task_id(file.stem) or known(file.stem):
                continue
            with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                record = str(read_record(file, _LONGEST)["record"])
                app = str(json.loads(record)["app"])
                marks = Marked(pid=0, instance="", app=app, leads=True, record=record, task=file.stem, runner=True)
                if (task := _read(marks)) is not None:
                    yield task


def _read(process: Marked) -> Task | None:
    try:
        found = json.loads(process.record)
        task = Task(**{name: value for name, value in found.items() if name in _NAMES})
        words = task.words
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    is_its_own = (task.id, task.app) == (process.task, process.app) and task.state in OPEN
    return task if is_its_own and all(isinstance(word, str) for word in words) and words else None
