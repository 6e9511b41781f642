"""Read and check the field `schedules` of a manifest: the commands of an app that run at set times."""

from collections.abc import Callable, Iterator

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import whole_number
from reconciler.manifests.durations import duration_problem
from reconciler.planning.command_line import Command, command_of
from reconciler.planning.schedules.expression import expression_of
from reconciler.planning.schedules.schedule import NO_VARIABLES, Ping, Retries, Schedule
from reconciler.planning.schedules.zones import zone_of
from reconciler.planning.wording import span

_DURATIONS: tuple[tuple[str, ...], ...] = (
    ("every",),
    ("timeout",),
    ("within",),
    ("spread",),
    ("retries", "first"),
    ("retries", "cap"),
)
_MAY_BE_ZERO = frozenset({("spread",)})
# What comes more often is a process that sleeps.
_SHORTEST_EVERY_S = 10.0
_PINGS = ("start", "ok", "failed")
_SILENT = Schedule(app="", name="", command=())


def schedules_of(tree: Node, app: str, zone: str) -> tuple[Schedule, ...]:
    """Return the schedules of a document that has no problem, by name; `zone` is that of the host.

    Files are as the document names them.
    """
    given = tree.given("schedules")
    return () if given is None else tuple(_schedule(app, name, given.parts[name], zone) for name in sorted(given.keys))


def schedule_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the schedules of a document beyond its schema."""
    given = tree.given("schedules")
    for name in given.keys if given is not None else ():
        assert given is not None
        for path, message in _problems(given.parts[name]):
            yield ("schedules", name, *path), message


def _problems(node: Node) -> Iterator[tuple[Path, str]]:
    if not isinstance(node.value, dict):
        return
    for field, read in (("at", expression_of), ("zone", zone_of), ("command", command_of)):
        if field in node.keys and (why := _refusal(node.parts[field], read)):
            yield (field,), why
    for path in _DURATIONS:
        if message := _duration_problem(node, path):
            yield path, message
    if "every" in node.keys:
        for field in ("zone", "spread"):
            if field in node.keys and "at" not in node.keys:
                yield (field,), "requires 'at': 'every' counts from the last start"
    first, cap = node.seconds("retries", "first"), node.seconds("retries", "cap")
    if first and cap and first > cap:
        yield ("retries", "first"), "is longer than 'cap'"


def _refusal(node: Node, read: Callable[[str], object]) -> str:
    if isinstance(node.value, list):
        return "names no program" if node.value[:1] == [""] else ""
    if not isinstance(node.value, str):
        return ""  # its schema says what is wrong
    try:
        read(str(node.written))
    except ValueError as error:
        return str(error)
    return ""


def _duration_problem(node: Node, path: tuple[str, ...]) -> str:
    def problem(seconds: float) -> str:
        if seconds == 0 and path not in _MAY_BE_ZERO:
            return "must be positive"
        too_often = path == ("every",) and seconds < _SHORTEST_EVERY_S
        return f"must be at least {span(_SHORTEST_EVERY_S)}" if too_often else ""

    return duration_problem(node, path, problem)


def _schedule(app: str, name: str, node: Node, zone: str) -> Schedule:
    given = node.value if isinstance(node.value, dict) else {}
    retries, cap = node.given("retries"), node.seconds("retries", "cap")
    first_s = node.seconds("retries", "first") or min(_SILENT.retries.first_s, cap or _SILENT.retries.cap_s)
    at, every_s = node.given("at"), node.seconds("every")
    command, env = _command(node.parts["command"]), node.given("env")
    variables = {} if env is None else env.parts
    return Schedule(
        app=app,
        name=name,
        command=command.with_env,
        expands=command.expands,
        at=None if at is None else " ".join(str(at.written).split()),
        every_s=every_s,
        zone=str(given.get("zone", zone)) if at is not None else "UTC",
        timeout_s=node.seconds("timeout") or _SILENT.timeout_s,
        overlap=given.get("overlap", _SILENT.overlap),  # type: ignore[arg-type]  # the schema has seen to it
        missed=given.get("missed", _SILENT.missed),  # type: ignore[arg-type]  # the same
        within_s=node.seconds("within") or _SILENT.within_s,
        retries=Retries(
            count=0 if retries is None else whole_number(retries.value.get("count", 0)),  # type: ignore[union-attr]
            first_s=first_s,
            cap_s=cap or max(_SILENT.retries.cap_s, first_s),
        ),
        spread_s=node.seconds("spread") or 0.0,
        ping=Ping(**{when: node.written_at("ping", when, "file") for when in _PINGS if node.given("ping", when)}),
        paused=given.get("paused") is True,
        keep=whole_number(given.get("keep", _SILENT.keep)),
        env={str(each): str(part.written) for each, part in variables.items() if not part.keys} or NO_VARIABLES,
        env_files={str(each): str(part.parts["file"].value) for each, part in variables.items() if part.keys}
        or NO_VARIABLES,
    )


def _command(node: Node) -> Command:
    if isinstance(node.value, list):
        return Command(words=tuple(str(part.written) for part in node.parts.values()))
    return command_of(str(node.written))
