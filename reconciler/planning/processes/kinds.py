"""Recognise the queue libraries by a process's command, and how each of them is stopped without losing a task.

Each first signal ends the work warmly: the task at hand is finished, and no other is begun. What a second one does
differs: rq kills the task at the second SIGTERM, celery hands tasks back at a SIGQUIT.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reconciler.planning.processes.stop import StopSequence, StopStep, one_signal

KindName: TypeAlias = Literal[
    "celery worker", "celery beat", "celery flower", "rq", "dramatiq", "huey", "django-tasks", "other"
]
_AT_ONCE_S = 10.0
# Options of celery before its subcommand that take a value of their own.
_CELERY_VALUES = frozenset(("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"))
_CELERY: dict[str, KindName] = {"worker": "celery worker", "beat": "celery beat", "flower": "celery flower"}
_SCRIPTS: dict[str, KindName] = {"dramatiq": "dramatiq", "dramatiq-gevent": "dramatiq"}
_MANAGE: dict[str, KindName] = {
    "db_worker": "django-tasks", "rqworker": "rq", "rundramatiq": "dramatiq", "run_huey": "huey",
}  # fmt: skip
_LAUNCHERS = frozenset(("exec", "env", "nice", "poetry", "pipenv", "uv", "run"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of process. `single`: two of them at a time would do everything twice."""

    name: KindName
    single: bool = False

    def stop(self, timeout_s: float) -> StopSequence:
        """Return how it is stopped when it may take so long to finish."""
        return _STOPS.get(self.name, one_signal)(timeout_s)


def _celery_worker(timeout_s: float) -> StopSequence:
    return StopSequence((StopStep("TERM", timeout_s), StopStep("QUIT", _AT_ONCE_S)))


def _soon(_: float) -> StopSequence:
    return one_signal(_AT_ONCE_S)


_STOPS: dict[KindName, Callable[[float], StopSequence]] = {
    "celery worker": _celery_worker,
    "celery beat": _soon,
    "celery flower": _soon,
}
_OTHER = Kind("other")


def kind_of(command: Sequence[str]) -> Kind:
    """Return the kind of process that a command starts, given as a list of arguments."""
    words = list(command)
    while words and (words[0] in _LAUNCHERS or ("=" in words[0] and not words[0].startswith("-"))):
        words.pop(0)
    if not words:
        return _OTHER
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program.startswith("python"):
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            rest = rest[1:]
        if rest[:1] == ["-m"]:
            rest = rest[1:]
        program, rest = (rest[0].rpartition("/")[2] if rest else ""), rest[1:]
    return _kind(program, rest)


def _kind(program: str, rest: Sequence[str]) -> Kind:
    if program == "celery":
        return _of_celery(rest)
    if program in _SCRIPTS:
        return Kind(_SCRIPTS[program])
    if program.startswith("huey_consumer"):
        return Kind("huey")
    if program == "rq" and rest[:1] in (["worker"], ["worker-pool"]):
        return Kind("rq")
    if program in {"manage.py", "django-admin", "django"}:
        return Kind(_MANAGE[rest[0]]) if rest and rest[0] in _MANAGE else _OTHER
    return _OTHER


def _of_celery(rest: Sequence[str]) -> Kind:
    """Find the subcommand behind celery's own options."""
    skip = False
    for word in rest:
        if skip:
            skip = False
        elif word in _CELERY_VALUES:
            skip = True
        elif not word.startswith("-"):
            name = _CELERY.get(word)
            return _OTHER if name is None else Kind(name, single=name == "celery beat")
    return _OTHER
