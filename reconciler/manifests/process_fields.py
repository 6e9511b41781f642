"""Read and check the field `processes` of a manifest: the programs of an app that are not web."""

from collections.abc import Iterator
from dataclasses import replace

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import duration_s, whole_number
from reconciler.manifests.durations import duration_problem
from reconciler.manifests.limit_fields import limits_of
from reconciler.planning.command_line import Command, NoCommand, command_of
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.planning.processes.process import After, Alive, Answers, Notifies, Process, Ready
from reconciler.planning.processes.stop import STOP_SIGNALS, StopSequence, StopStep
from reconciler.planning.scaling.backlog import ByBacklog

_LONGEST_STOP_S = 7 * 86400.0
_DURATIONS: tuple[tuple[str, ...], ...] = (
    ("stop_timeout",),
    ("ready", "after"),
    ("start_timeout",),
    ("watchdog",),
    ("alive", "interval"),
    ("alive", "timeout"),
    ("scale", "every"),
    ("scale", "timeout"),
    ("scale", "calm"),
)
_COMMANDS: tuple[tuple[str, ...], ...] = tuple((*each, "command") for each in ((), ("ready",), ("alive",), ("scale",)))
_SHORTEST_S = 1.0
_DEFAULT = Process(name="")


def processes_of(tree: Node, most: Limits = NO_LIMITS) -> tuple[Process, ...]:
    """Return the processes of a document that has no problem, by name; files are as the document names them.

    `most` are the limits of the host.
    """
    given = tree.given("processes")
    if given is None:
        return ()
    found = ((_process(name, given.parts[name]), given.parts[name].given("limits")) for name in sorted(given.keys))
    return tuple(replace(process, limits=limits_of(limits, most)) for process, limits in found)


def process_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the processes of a document beyond its schema."""
    given = tree.given("processes")
    for name in given.keys if given is not None else ():
        assert given is not None
        for path, message in _problems(given.parts[name]):
            yield ("processes", name, *path), message


def _problems(node: Node) -> Iterator[tuple[Path, str]]:
    if isinstance(node.value, str):
        if message := _command_problem(node):
            yield (), message
        return
    if not isinstance(node.value, dict):
        return
    broken = False
    for path in _COMMANDS:
        found = node.given(*path)
        if found is not None and (message := _command_problem(found)):
            broken = True
            yield path, message
    for path in _DURATIONS:
        if message := _duration_problem(node, path):
            yield path, message
    yield from _stop_problems(node)
    yield from _scale_problems(node)
    if not broken:
        yield from _single_problems(node)


def _single_problems(node: Node) -> Iterator[tuple[Path, str]]:
    assert isinstance(node.value, dict)
    count, command = node.value.get("count", 1), _command(node)
    single = node.value.get("single") is True if command is None else _single(node, command)
    if single and "scale" in node.value:
        yield ("scale",), "there must never be two of a process that is single"
    if single and isinstance(count, int) and count > 1:
        yield ("count",), f"expected 1, not {count}: there must never be two of a process that is single"


def _single(node: Node, command: Command) -> bool:
    given = node.value.get("single") if isinstance(node.value, dict) else None
    return Process(name="", single=given if isinstance(given, bool) else None).is_single(command)


def _command_problem(node: Node) -> str:
    if isinstance(node.value, str):
        try:
            command_of(node.value)
        except NoCommand as error:
            return str(error)
    elif isinstance(node.value, list) and not (node.value and node.value[0]):
        return "names no program"
    return ""


def _duration_problem(node: Node, path: tuple[str, ...]) -> str:
    def problem(seconds: float) -> str:
        if path in {("ready", "after"), ("stop_timeout",)}:
            return "" if seconds <= _LONGEST_STOP_S else "must be at most 7d"
        return "" if seconds >= _SHORTEST_S else "must be at least 1s"

    return duration_problem(node, path, problem)


def _stop_problems(node: Node) -> Iterator[tuple[Path, str]]:
    given = node.given("stop")
    if given is None or not isinstance(given.value, list):
        return
    if "stop_timeout" in node.keys:
        yield ("stop_timeout",), "stands beside 'stop', which says how long to wait: leave one of the two out"
    for index, part in given.parts.items():
        assert isinstance(index, int)
        text = str(part.written)
        if index % 2 == 0 and text.removeprefix("SIG") not in STOP_SIGNALS:
            why = "; the kill at the end comes by itself" if text.removeprefix("SIG") == "KILL" else ""
            yield ("stop", index), f"expected a signal ({', '.join(STOP_SIGNALS)}), not {text!r}{why}"
        elif index % 2:
            try:
                if duration_s(text) > _LONGEST_STOP_S:
                    yield ("stop", index), "must be at most 7d"
            except ValueError as error:
                yield ("stop", index), str(error)
    if len(given.value) % 2:
        yield ("stop",), "expected a length of time after each signal, such as [TERM, 15m, QUIT, 30s]"


def _scale_problems(node: Node) -> Iterator[tuple[Path, str]]:
    given = node.given("scale")
    if given is None or not isinstance(given.value, dict):
        return
    if "count" in node.keys:
        yield ("count",), "stands beside 'scale', whose 'min' and 'max' say how many there may be: leave it out"
    least, most = given.value.get("min", 1), given.value.get("max")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield ("scale", "min"), f"is more than 'max', which is {most}"


def _process(name: str, node: Node) -> Process:
    if isinstance(node.value, int):
        return Process(name=name, count=node.value)
    if isinstance(node.value, str):
        return Process(name=name, command=command_of(node.value))
    given = node.value if isinstance(node.value, dict) else {}
    env = [] if (given_env := node.given("env")) is None else [(name, given_env.parts[name]) for name in given_env.keys]
    single, scale = given.get("single"), _scale(node)
    return Process(
        name=name,
        command=_command(node),
        count=whole_number(given.get("count", 1)) if scale is None else scale.least,
        scale=scale,
        single=single if isinstance(single, bool) else None,
        stop_timeout_s=_or(node.seconds("stop_timeout"), _DEFAULT.stop_timeout_s),
        stop=_stop(node),
        ready=_ready(node),
        watchdog_s=node.seconds("watchdog"),
        alive=_alive(node),
        env={variable: str(part.written) for variable, part in env if not part.keys},
        env_files={variable: str(part.parts["file"].value) for variable, part in env if part.keys},
        required=given.get("required") is not False,
        start_timeout_s=_or(node.seconds("start_timeout"), _DEFAULT.start_timeout_s),
    )


def _command(node: Node, *path: str) -> Command | None:
    found = node.given(*path, "command")
    if found is None:
        return None
    if isinstance(found.value, list):
        return Command(words=tuple(str(found.parts[index].written) for index in range(len(found.value))))
    return command_of(str(found.value))


def _stop(node: Node) -> StopSequence | None:
    given = node.given("stop")
    if given is None or not isinstance(given.value, list):
        return None
    texts = [str(given.parts[index].written) for index in range(len(given.value))]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return StopSequence(tuple(StopStep(signal.removeprefix("SIG"), duration_s(wait)) for signal, wait in pairs))


def _ready(node: Node) -> Ready:
    given = node.given("ready")
    if given is None:
        return _DEFAULT.ready
    if given.value == "notify":
        return Notifies()
    command = _command(node, "ready")
    if command is not None:
        return Answers(command=command)
    return After(seconds=_or(node.seconds("ready", "after"), After().seconds))


def _alive(node: Node) -> Alive | None:
    command = _command(node, "alive")
    given = node.given("alive")
    if command is None or given is None or not isinstance(given.value, dict):
        return None
    default = Alive(command=command)
    return Alive(
        command=command,
        interval_s=_or(node.seconds("alive", "interval"), default.interval_s),
        timeout_s=_or(node.seconds("alive", "timeout"), default.timeout_s),
        failures=whole_number(given.value.get("failures", default.failures)),
    )


def _scale(node: Node) -> ByBacklog | None:
    command, given = _command(node, "scale"), node.given("scale")
    if command is None or given is None or not isinstance(given.value, dict):
        return None
    default = ByBacklog(command=command, per=1.0, most=1)
    return ByBacklog(
        command=command,
        per=float(str(given.value["per"])),
        least=whole_number(given.value.get("min", default.least)),
        most=whole_number(given.value["max"]),
        every_s=_or(node.seconds("scale", "every"), default.every_s),
        timeout_s=_or(node.seconds("scale", "timeout"), default.timeout_s),
        calm_s=_or(node.seconds("scale", "calm"), default.calm_s),
    )


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
