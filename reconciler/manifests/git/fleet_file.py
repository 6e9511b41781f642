"""Parse fleet.yaml, which stands at the top of a repository, into a fleet, or into all that is wrong with it. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.schema_checks import problems_of
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.planning.fleet.fleet import Fleet, Freeze, Member, Portion, Wave, without_wave
from reconciler.planning.wording import listed

FILE = "fleet.yaml"
KIND = "fleet"

_SHORTEST_SILENCE_S = 20.0


def is_fleet(content: bytes) -> bool:
    """Return whether a file describes a fleet, whatever is wrong with it, and is no manifest."""
    text = text_of(FILE, content)
    trees = [] if isinstance(text, Problem) else trees_of(FILE, text)[0]
    return any(isinstance(tree.value, dict) and tree.value.get("kind") == KIND for tree in trees)


def fleet_of(file: str, content: bytes) -> Fleet | list[Problem]:
    """Return the fleet that a file describes, or its problems, each with its place in `file`."""
    text = text_of(file, content)
    if isinstance(text, Problem):
        return [text]
    trees, problems = trees_of(file, text)
    if len(trees) != 1 and not problems:
        at = trees[1] if trees else None
        line, column = (at.line, at.column) if at is not None else (1, 1)
        message = "is a second document; a fleet is one document" if trees else "holds only comments"
        problems.append(Problem(file=file, line=line, column=column, path="", message=message))
    problems += [] if problems else problems_of(file, "fleet", trees[0])
    if problems:
        return problems
    fleet = _fleet(trees[0])
    problems = [_problem(file, trees[0], path, message) for path, message in _misfits(trees[0], fleet)]
    return sorted(problems, key=lambda problem: (problem.line, problem.column)) or fleet


def _fleet(tree: Node) -> Fleet:
    return Fleet(
        hosts={str(name): _member(node) for name, node in tree.parts["hosts"].parts.items()},
        waves=tuple(_wave(node) for node in tree.parts["waves"].parts.values()),
        gate="time" if tree.given("gate") is not None and tree.written_at("gate") == "time" else "reports",
        silent_after_s=_or(tree.seconds("silent_after"), 3600.0),
        freezes=tuple(_freezes(tree)),
    )


def _member(node: Node) -> Member:
    labels = {str(name): str(part.written) for name, part in node.parts.items() if name != "key"}
    key = node.given("key")
    return Member(labels=labels, key="" if key is None else " ".join(str(key.written).split()[:2]))


def _wave(node: Node) -> Wave:
    chosen, eager = node.given("hosts"), node.given("eager")
    return Wave(
        name=node.written_at("name"),
        labels={} if chosen is None else {str(name): str(part.written) for name, part in chosen.parts.items()},
        share=_portion(node.given("share")),
        well_for_s=node.seconds("well_for") or 0.0,
        at_once=_portion(node.given("at_once")),
        eager=eager is not None and eager.value is True,
        after_s=node.seconds("after") or 0.0,
    )


def _portion(node: Node | None) -> Portion | None:
    if node is None:
        return None
    text = str(node.written)
    return Portion(fraction=int(text[:-1]) / 100) if text.endswith("%") else Portion(count=int(text))


def _freezes(tree: Node) -> Iterator[Freeze]:
    node = tree.given("freeze")
    for part in node.parts.values() if node is not None else ():
        begin, end = part.written_at("from"), part.written_at("to")
        try:
            last = _time(end) + (0.0 if "T" in end else timedelta(days=1).total_seconds())
            yield Freeze(begin=_time(begin), end=last, until=end)
        except ValueError:
            yield Freeze(begin=0.0, end=0.0, until=end)  # a day that no calendar has, which is told below


def _time(written: str) -> float:
    form = "%Y-%m-%dT%H:%MZ" if "T" in written else "%Y-%m-%d"
    return datetime.strptime(written, form).replace(tzinfo=UTC).timestamp()


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _misfits(tree: Node, fleet: Fleet) -> Iterator[tuple[Path, str]]:
    """Yield the places of what a schema cannot express, and what is wrong there."""
    names = [wave.name for wave in fleet.waves]
    for number, wave in enumerate(fleet.waves):
        if wave.name in names[:number]:
            yield ("waves", number, "name"), f"another wave is named '{wave.name}'"
        node = tree.parts["waves"].parts[number]
        wrong = ("well_for", "at_once", "eager") if fleet.gate == "time" else ("after",)
        for field in (each for each in wrong if each in node.keys):
            yield ("waves", number, field), _WRONG_GATE[field]
        labels = wave.labels.items()
        if not any(labels <= member.labels.items() for member in fleet.hosts.values()):
            yield ("waves", number, "hosts"), "no host has these labels"
    if outside := without_wave(fleet):
        message = f"{listed(outside)} may be in no wave: end with one for all others, such as {{name: rest}}"
        yield ("hosts", outside[0]), message
    if fleet.silent_after_s < _SHORTEST_SILENCE_S:
        yield ("silent_after",), f"must be at least {_SHORTEST_SILENCE_S:g}s"
    yield from _shared_keys(fleet)
    for number, freeze in enumerate(fleet.freezes):
        if freeze.begin >= freeze.end:
            yield ("freeze", number), "ends before it begins, or names a day that no calendar has"


def _shared_keys(fleet: Fleet) -> Iterator[tuple[Path, str]]:
    keys: dict[str, str] = {}
    for name, member in fleet.hosts.items():
        if member.key and member.key in keys:
            yield ("hosts", name, "key"), f"is the key of {keys[member.key]}: each host needs a key of its own"
        keys.setdefault(member.key, name)


_WRONG_GATE = {
    "after": "is for 'gate: time'; with reports, a wave waits until the one before was 'well_for' so long",
    "well_for": "needs reports, which 'gate: time' does without; say 'after'",
    "at_once": "needs reports, which 'gate: time' does without",
    "eager": "needs reports, which 'gate: time' does without",
}


def _problem(file: str, tree: Node, path: Path, message: str) -> Problem:
    node = tree.at(path)
    return Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)
