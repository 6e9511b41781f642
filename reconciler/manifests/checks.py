"""Check a document beyond its schema: addresses, environment names, bindings, and durations that fit together."""

import ipaddress
import re
from collections.abc import Iterator, Mapping

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.tree import Node
from reconciler.manifests.durations import duration_problem
from reconciler.manifests.program_checks import program_problems
from reconciler.manifests.without_web import problems_without_web
from reconciler.planning.apps.app import MOST_VARIABLES
from reconciler.planning.apps.entrypoint import FORM, is_well_formed
from reconciler.planning.wording import span

MOST_WORKERS = 1000
# Linux's MAX_ARG_STRLEN: exec refuses a longer NAME=value, with its ending NUL.
_LONGEST_VARIABLE = 128 * 1024 - 1
_TAKEN_VARIABLES: Mapping[str, str] = {
    "LISTEN_FDS": "the daemon hands over the listening socket with it",
    "LISTEN_PID": "the daemon hands over the listening socket with it",
    "LISTEN_FDNAMES": "the daemon hands over the listening socket with it",
    "GUNICORN_CMD_ARGS": "use the field 'gunicorn'",
}
_DURATIONS: tuple[tuple[str, ...], ...] = (
    ("stop_timeout",),
    ("health", "interval"),
    ("health", "timeout"),
    ("health", "start_timeout"),
    ("probation",),
    ("idle_after",),
    ("patience",),
    ("crash", "first"),
    ("crash", "cap"),
    ("crash", "good_run"),
    ("hsts",),
    ("answer_timeout",),
)
# An app may do without probation; without patience it would answer 503 whenever it wakes.
_MAY_BE_ZERO = frozenset({("probation",), ("grace",), ("hsts",)})
# A probe takes a worker away from the app's own requests, and a backup makes the server read all data.
_SHORTEST_S: Mapping[tuple[str, ...], float] = {("health", "interval"): 1.0, ("backup", "every"): 60.0}
_ORDERED: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("crash", "first"), ("crash", "cap")),
    (("health", "timeout"), ("health", "start_timeout")),
)
# What says something about domains, and the domains themselves.
_OF_DOMAINS = (
    "domains", "redirects", "below", "strip", "tls", "http", "hsts", "body_limit", "answer_timeout", "login",
    "allow_from", "static",
)  # fmt: skip
_REQUIRE_PATH = ("host", "interval", "timeout", "failures")
_HEALTH = frozenset((*_REQUIRE_PATH, "path", "start_timeout"))


def app_problems(file: str, tree: Node, name: str) -> Iterator[Problem]:
    """Yield what is wrong with an app's document beyond its schema."""
    for path, message in _app_problems(tree, name):
        node = tree.at(path)
        yield Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)


def service_problems(file: str, tree: Node) -> Iterator[Problem]:
    """Yield what is wrong with a document of kind service beyond its schema."""
    for path in (("grace",), ("backup", "every")):
        if message := _duration_problem(tree, path):
            node = tree.at(path)
            yield Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)


def variables(tree: Node) -> Iterator[tuple[str, Node]]:
    """Return the names of the environment's variables with their values."""
    env = tree.given("env")
    return ((name, env.parts[name]) for name in env.keys) if env else iter(())


def variables_of_parts(tree: Node, *kinds: str) -> Iterator[tuple[str, str, Node]]:
    """Yield the process or schedule, the name and the value of each variable of that one alone; of both `kinds`."""
    for kind in kinds or ("processes", "schedules"):
        given = tree.given(kind)
        for part in given.keys if given is not None else ():
            env = tree.given(kind, part, "env")
            yield from ((part, name, env.parts[name]) for name in env.keys) if env is not None else ()


def worker_count(written: str) -> int | None:
    """Return the number of workers that a text says, None if it says none that an app could have."""
    count = int(written) if re.fullmatch("[0-9]{1,9}", written) else 0
    return count if 1 <= count <= MOST_WORKERS else None


def _app_problems(tree: Node, name: str) -> Iterator[tuple[Path, str]]:
    host = tree.given("host")
    if host is not None and isinstance(host.value, str) and not _is_address(host.value):
        yield ("host",), f"expected an IP address or localhost, not {host.value!r}"
    for path in _DURATIONS:
        if path[0] in tree.keys and (message := _duration_problem(tree, path)):
            yield path, message
    for low, high in _ORDERED:
        if low[0] not in tree.keys:
            continue
        shorter, longer = tree.seconds(*low), tree.seconds(*high)
        if shorter and longer and shorter > longer:
            yield low, f"is longer than '{high[-1]}'"
    if (env := tree.given("env")) is not None and len(env.keys) > MOST_VARIABLES:
        yield ("env",), f"expected at most {MOST_VARIABLES} variables, not {len(env.keys)}"
        return
    for variable, part in variables(tree):
        if message := _variable_problem(variable, part):
            yield ("env", variable), message
    yield from _persist_problems(tree)
    yield from _entrypoint_problems(tree)
    yield from program_problems(tree)
    yield from _service_problems(tree)
    yield from _health_problems(tree)
    yield from _dependency_problems(tree, name)
    yield from _schedule_problems(tree)
    yield from _process_problems(tree)
    yield from problems_without_web(tree)


def _schedule_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    if "schedules" in tree.keys:
        from reconciler.manifests.schedule_fields import schedule_problems  # most apps have none

        yield from schedule_problems(tree)
        yield from _variable_problems(tree, "schedules")
    yield from _routing_problems(tree)


def _routing_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    if not any(field in tree.keys for field in _OF_DOMAINS):
        return
    from reconciler.manifests.routing_document import routing_problems  # most apps have no domain

    yield from routing_problems(tree)


def _process_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    if "processes" in tree.keys:
        from reconciler.manifests.process_fields import process_problems  # most apps have none

        yield from process_problems(tree)
        yield from _variable_problems(tree, "processes")


def _variable_problems(tree: Node, kind: str) -> Iterator[tuple[Path, str]]:
    for part, variable, value in variables_of_parts(tree, kind):
        if variable != "WEB_CONCURRENCY" and (message := _variable_problem(variable, value)):
            yield (kind, part, "env", variable), message


def _entrypoint_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    given = tree.given("entrypoint")
    # A text without a colon is reported by the schema.
    if given is not None and isinstance(given.value, str) and ":" in given.value and not is_well_formed(given.value):
        yield ("entrypoint",), f"expected {FORM}, not {given.value!r}"


def _health_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    health = tree.given("health")
    # An unknown field is reported as such, and may well be a misspelt path.
    if health is None or "path" in health.keys or not health.keys.keys() <= _HEALTH:
        return
    for field in _REQUIRE_PATH:
        if field in health.keys:
            yield ("health", field), "requires health.path"


def _persist_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield paths that are, or lie in, another path of the list."""
    persist = tree.given("persist")
    seen: list[str] = []
    for index, part in persist.parts.items() if persist else ():
        path = f"{str(part.value).rstrip('/')}/"
        for other in seen:
            if path.startswith(other) or other.startswith(path):
                yield ("persist", index), f"overlaps '{other.rstrip('/')}', which is persisted already"
        seen.append(path)


def _service_problems(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield bindings of one service, or of one name, which could not be told apart."""
    services = tree.given("services")
    seen: set[tuple[str, str]] = set()
    for index, part in services.parts.items() if services else ():
        given = part.value if isinstance(part.value, dict) else {"name": part.value}
        name = str(given.get("name"))
        label = str(given.get("binding_name") or name)
        if ("service", name) in seen:
            yield ("services", index), f"binds '{name}' twice"
        elif ("binding", label) in seen:
            yield ("services", index), f"another binding has the name '{label}', too"
        seen |= {("service", name), ("binding", label)}


def _dependency_problems(tree: Node, name: str) -> Iterator[tuple[Path, str]]:
    depends_on = tree.given("depends_on")
    for index, part in depends_on.parts.items() if depends_on else ():
        if part.value == name:
            yield ("depends_on", index), "an app cannot depend on itself"


def _duration_problem(tree: Node, path: tuple[str, ...]) -> str:
    def problem(seconds: float) -> str:
        if seconds == 0 and path not in _MAY_BE_ZERO:
            return "must be positive"
        shortest_s = _SHORTEST_S.get(path, 0.0)
        return f"must be at least {span(shortest_s)}" if seconds < shortest_s else ""

    return duration_problem(tree, path, problem)


def _variable_problem(name: str, part: Node) -> str:
    if name.startswith("VCAP_"):
        return "names that start with VCAP_ are set by the daemon"
    if name in _TAKEN_VARIABLES:
        return f"cannot be set here: {_TAKEN_VARIABLES[name]}"
    if name == "WEB_CONCURRENCY" and not part.keys and worker_count(str(part.written)) is None:
        return f"expected a number of workers between 1 and {MOST_WORKERS}: gunicorn reads this variable"
    if not part.keys and len(f"{name}={part.written}".encode()) > _LONGEST_VARIABLE:
        return "is longer than the 128 KiB that Linux allows for one variable"
    return ""


def _is_address(host: str) -> bool:
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False
