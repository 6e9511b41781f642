"""Recognise the queue libraries by a process's command, and how each of them is stopped without losing a task.

Each first signal ends the work warmly: the task at hand is finished, and no other is begun. That is SIGTERM, but for
huey, which drops the task at hand at it, and for a celery that was told to do so. A second signal would end it coldly.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.processes.stop import StopSequence, StopStep, one_signal

KindName: TypeAlias = Literal[
    "celery worker", "celery worker with beat", "celery beat", "celery flower",
    "rq", "dramatiq", "huey", "django-tasks", "other",
]  # fmt: skip
_AT_ONCE_S = 10.0
# Options of celery before its subcommand that take a value of their own.
_CELERY_VALUES = frozenset(("-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"))
_CELERY: dict[str, KindName] = {"worker": "celery worker", "beat": "celery beat", "flower": "celery flower"}
_SCRIPTS: dict[str, KindName] = {
    "dramatiq": "dramatiq", "dramatiq-gevent": "dramatiq", "flower": "celery flower", "rqworker": "rq",
}  # fmt: skip
_MANAGE: dict[str, KindName] = {
    "db_worker": "django-tasks", "rqworker": "rq", "rqworker-pool": "rq", "rundramatiq": "dramatiq", "run_huey": "huey",
}  # fmt: skip
_MANAGERS = frozenset(("manage.py", "django-admin", "django-admin.py", "django"))
# Programs that become another one, with their options that take a value of their own. What stays in front of the other
# one, such as `honcho run`, passes signals on or not in ways of its own.
_LAUNCHERS: dict[str, frozenset[str]] = {
    "exec": frozenset(("-a",)),
    "env": frozenset(("-u", "-C")),
    "nice": frozenset(("-n",)),
    "ionice": frozenset(("-c", "-n")),
    "chrt": frozenset(),
    "stdbuf": frozenset(("-i", "-o", "-e")),
    "nohup": frozenset(),
    "setpriv": frozenset(),
    "taskset": frozenset(("-c",)),
    "poetry": frozenset(("-C", "-P", "--directory", "--project")),
    "pipenv": frozenset(),
    "uv": frozenset(("-p", "--python", "--project", "--directory", "--with", "--group", "--extra", "--env-file")),
    "run": frozenset(("-p", "--python", "--project", "--directory", "--with", "--group", "--extra", "--env-file")),
    "newrelic-admin": frozenset(),
    "run-program": frozenset(),
    "ddtrace-run": frozenset(),
    "opentelemetry-instrument": frozenset(("--service_name", "--traces_exporter", "--metrics_exporter")),
}
_SHELLS = frozenset(("sh", "bash", "dash", "ash"))
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.ASCII | re.DOTALL)
_EXEC = re.compile(r"(?:^|[;&|\s])exec\s+([^;&|]+)$")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of process. `single`: two of them at a time would do everything twice. `warm` is its first signal."""

    name: KindName
    single: bool = False
    warm: str = "TERM"

    def stop(self, timeout_s: float) -> StopSequence:
        """Return how it is stopped when it may take so long to finish."""
        return _STOPS.get(self.name, one_signal)(timeout_s, self.warm)


def _celery_worker(timeout_s: float, warm: str) -> StopSequence:
    return StopSequence((StopStep(warm, timeout_s), StopStep("QUIT", _AT_ONCE_S)))


def _soon(_: float, warm: str) -> StopSequence:
    return one_signal(_AT_ONCE_S, warm)


_STOPS: dict[KindName, Callable[[float, str], StopSequence]] = {
    "celery worker": _celery_worker,
    "celery worker with beat": _celery_worker,
    "celery beat": _soon,
    "celery flower": _soon,
}
_OTHER = Kind("other")


def kind_of(command: Sequence[str], env: Mapping[str, str] | None = None) -> Kind:
    """Return the kind of process that a command starts, given as a list of arguments and what its environment adds."""
    env = dict(env or {})
    words = _without_launchers(list(command), env)
    if not words:
        return _OTHER
    program, rest = _base(words[0]), words[1:]
    if program in _SHELLS:
        return _of_shell(rest, env)
    if program.startswith(("python", "pypy")):
        program, rest = _of_python(rest)
    found = _kind(program, rest)
    if found.name.startswith("celery worker") and env.get("REMAP_SIGTERM") == "SIGQUIT":
        return Kind(found.name, single=found.single, warm="INT")
    return found


def _without_launchers(words: list[str], env: dict[str, str]) -> list[str]:
    """Return a command without the programs that start it; what they add to its environment goes into `env`."""
    values: frozenset[str] = frozenset()
    while words:
        word = words[0]
        if match := _ASSIGNMENT.fullmatch(word):
            env[match[1]] = match[2]
        elif values and word in values:
            words.pop(0)
        elif word.startswith("-"):
            pass
        elif _base(word) in _LAUNCHERS:
            values = _LAUNCHERS[_base(word)]
        else:
            break
        words = words[1:]
    return words


def _of_python(words: list[str]) -> tuple[str, list[str]]:
    """Return the program that `python` runs, and its arguments: a file, or a module by its package."""
    while words:
        word, words = words[0], words[1:]
        if word == "-m":
            module = words[0] if words else ""
            known = {"rq.cli": "rq", "huey.bin.huey_consumer": "huey_consumer", "django": "django-admin"}
            return known.get(module, module), words[1:]
        if word in {"-W", "-X"}:
            words = words[1:]
        elif not word.startswith("-"):
            return _base(word), words
    return "", []


def _of_shell(words: list[str], env: dict[str, str]) -> Kind:
    """Return the kind of what a shell becomes by its last `exec`: whatever else it runs, it stays in front of."""
    line = words[1].strip() if len(words) > 1 and re.fullmatch(r"-\w*c", words[0]) else ""
    if not (match := _EXEC.search(line)):
        return _OTHER
    try:
        return kind_of(shlex.split(match[1]), env)
    except ValueError:
        return _OTHER


def _kind(program: str, rest: Sequence[str]) -> Kind:
    if program == "celery":
        return _of_celery(rest)
    if program in _SCRIPTS:
        return Kind(_SCRIPTS[program])
    if program in {"huey_consumer", "huey_consumer.py"}:
        return _of_huey(rest)
    if program == "rq" and rest[:1] in (["worker"], ["worker-pool"]):
        return Kind("rq")
    if program == "flask":
        at = rest.index("rq") if "rq" in rest else len(rest)
        return Kind("rq") if rest[at + 1 : at + 2] == ["worker"] else _OTHER
    if program in _MANAGERS and rest:
        if rest[0] == "celery":
            return _of_celery(rest[1:])
        name = _MANAGE.get(rest[0], "other")
        return _of_huey(rest) if name == "huey" else Kind(name)
    return _OTHER


def _of_celery(rest: Sequence[str]) -> Kind:
    """Find the subcommand behind celery's own options, and the options behind that."""
    skip = False
    for at, word in enumerate(rest):
        if skip:
            skip = False
        elif word in _CELERY_VALUES:
            skip = True
        elif not word.startswith("-"):
            name = _CELERY.get(word)
            if name == "celery worker" and ({"-B", "--beat"} & set(rest[at:])):
                return Kind("celery worker with beat", single=True)
            return _OTHER if name is None else Kind(name, single=name == "celery beat")
    return _OTHER


def _of_huey(rest: Sequence[str]) -> Kind:
    """Tell which signal has huey finish: SIGINT, while it drops its tasks at SIGTERM, or the other way round."""
    line = " ".join(rest)
    turned = re.search(r"(?:^|\s)(?:-g|--graceful-signal)(?:[ =]?)(?:SIG)?TERM(?:\s|$)", line)
    return Kind("huey", warm="TERM" if turned else "INT")


def _base(word: str) -> str:
    return word.rpartition("/")[2]
