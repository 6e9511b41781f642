"""Say where a manifest asks for more than its origin may have: files, commands, addresses and names. Pure.

A place that is not known is refused. Paths are relative to the top of the repository.
"""

import ipaddress
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.tree import Node
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.field_reach import PLACES, Reach
from reconciler.manifests.git.tree_limits import resolved
from reconciler.manifests.parse_file import name_of_file
from reconciler.planning.apps.app import HERE
from reconciler.planning.origins.may import May
from reconciler.planning.routing.domain_names import any_below, domain_name

# What gunicorn's own documentation proposes for worker_tmp_dir: memory that every process of the host may use.
_SHARED_MEMORY = ("/dev/shm", "/run/shm")  # noqa: S108  no file is created there by this name
_NO_SERVER = frozenset(("sqlite", "user-provided"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is there beside the manifests of an origin, of which none of them may take anything.

    `apps`, `services`, `ports` and `domains` belong to others, each with its manifest. `retained` are services
    without a manifest whose data is kept, `declared` those that the origin itself declares, and `servers` are those of
    the host by type.
    """

    port_range: range
    apps: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, str] = field(default_factory=dict)
    domains: Mapping[str, str] = field(default_factory=dict)
    retained: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()
    servers: Mapping[str, Sequence[str]] = field(default_factory=dict)


def beyond_fence(file: str, tree: Node, may: May, around: Surroundings) -> list[Problem]:
    """Return where a document of `file`, which its schema accepts, asks for more than its origin may have."""
    kind = _kind(tree)
    fence = _Fence(file, kind, tree, may, around)
    found = {path: message for path, message in fence.problems() if message}
    problems = []
    for path, message in found.items():
        node = tree.at(path)
        line, column = (node.line, node.column) if len(path) != 1 or path[0] in tree.keys else (tree.line, tree.column)
        problems.append(Problem(file=file, line=line, column=column, path=dotted(path), message=message))
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def named_files(file: str, tree: Node) -> list[tuple[Path, str]]:
    """Return the places of a document that name something in its repository, with the path from the top of that."""
    return [(path, place) for path, _, place in _named(file, tree)]


def absent_files(file: str, tree: Node, has: Callable[[str], bool]) -> list[Problem]:
    """Return where a document names what its repository does not have; `has` says what that has, from its top."""
    return [
        Problem(
            file=file, line=node.line, column=node.column, path=dotted(path), message=f"the commit has no '{place}'"
        )
        for path, node, place in _named(file, tree)
        if not has(place)
    ]


def _named(file: str, tree: Node) -> Iterator[tuple[Path, Node, str]]:
    for path, reach, node in _values(_kind(tree), tree):
        text = str(node.written)
        is_path = reach is Reach.FILE or (reach is Reach.PROGRAM and path[-1] == 0 and "/" in text)
        place = resolved(posixpath.dirname(file), text) if is_path else None
        if place is not None:
            yield path, node, place


def declared_services(trees: Iterable[Node]) -> frozenset[str]:
    """Return the names of the services that documents declare."""
    return frozenset(tree.written_at("name") for tree in trees if _kind(tree) == "service" and "name" in tree.keys)


class _Fence:
    """Judges the values of one document."""

    def __init__(self, file: str, kind: str, tree: Node, may: May, around: Surroundings) -> None:
        self._file = file
        self._kind = kind
        self._tree = tree
        self._may = may
        self._around = around
        self._judges: Mapping[Reach, Callable[[str], str]] = {
            Reach.FILE: self._path,
            Reach.RUNTIME: self._runtime,
            Reach.PROGRAM: self._program,
            Reach.OPTION: self._option,
            Reach.INSIDE_SOURCE: self._inside_source,
            Reach.NAME: self._name,
            Reach.HOST: self._host,
            Reach.SERVICE: self._binding,
            Reach.SERVER: self._server,
            Reach.REPOSITORY: self._repository,
            Reach.DOMAIN: self._domain,
            Reach.PLACE: self._place,
        }

    def problems(self) -> Iterator[tuple[Path, str]]:
        """Yield each place with what is wrong there, "" for nothing."""
        if "name" not in self._tree.keys:
            yield ("name",), self._name(name_of_file(self._file))
        if self._kind == "service" and "server" not in self._tree.keys:
            yield ("server",), self._default_server(self._tree.written_at("type"))
        for path, reach, node in _values(self._kind, self._tree):
            yield path, self._judged(path, reach, node)

    def _judged(self, path: Path, reach: Reach | None, node: Node) -> str:
        if reach is None:
            return "is a field that manifests of a repository may not use yet"
        if reach is Reach.PORT:
            return self._port(node)
        if reach is Reach.PROGRAM and path[-1] != 0:
            return ""
        judge = self._judges.get(reach)
        return "" if judge is None else judge(str(node.written))

    def _path(self, text: str) -> str:
        if text.startswith("/"):
            plain = posixpath.normpath(text)
            allowed = any(_is_within(plain, path) for path in self._may.paths)
            return "" if allowed and ".." not in text.split("/") else _OUTSIDE
        return _LEADS_OUT if resolved(posixpath.dirname(self._file), text) is None else ""

    def _runtime(self, text: str) -> str:
        return self._path(text) if text.startswith("/") else ""

    def _inside_source(self, text: str) -> str:
        return "leads out of the app's source" if resolved("", text) is None else ""

    def _server(self, name: str) -> str:
        return self._allowed(name, self._may.servers, "servers", "create services on the server")

    def _repository(self, name: str) -> str:
        return self._allowed(name, self._may.repositories, "repositories", "use the repository")

    def _place(self, name: str) -> str:
        return "" if name == HERE else self._allowed(name, self._may.places, "places", "run apps in the cluster")

    def _domain(self, text: str) -> str:
        try:
            name = domain_name(text)
        except ValueError:
            return ""  # what reads the manifest says so
        if self._may.domains is not None:
            return self._allowed(name, self._may.domains, "domains", "have the domain")
        # A path of another's name would get its users' cookies, and so would a name below its wildcard.
        holder = self._around.domains.get(name) or self._around.domains.get(any_below(name))
        return f"the domain '{name}' belongs to {holder}: name it in 'may.domains' to share it" if holder else ""

    def _program(self, text: str) -> str:
        if not self._may.commands:
            return "is a command with the daemon's rights, which the origin may not run (may.commands)"
        return self._path(text) if "/" in text else ""

    def _option(self, text: str) -> str:
        if text.startswith("~"):
            return _OUTSIDE
        if text.startswith("/") and not any(_is_within(text, path) for path in _SHARED_MEMORY):
            return self._path(text)
        return _LEADS_OUT if ".." in text.split("/") else ""

    def _name(self, name: str) -> str:
        if self._kind == "app":
            holder = self._around.apps.get(name)
            return _held("app", name, holder) or self._allowed(name, self._may.apps, "apps", "have an app named")
        if self._may.services is None and name in self._around.retained:
            return (
                f"the data of a former service '{name}' is this host's, and kept: name it in 'may.services' to give it"
            )
        holder = self._around.services.get(name)
        return _held("service", name, holder) or self._allowed(
            name, self._may.services, "services", "declare the service"
        )

    def _binding(self, name: str) -> str:
        is_others = name in self._around.services or name in self._around.retained
        is_own = name in self._around.declared and not is_others
        if self._may.services is None and not is_own:
            return f"the origin may only bind services that it declares itself, not '{name}' (may.services)"
        return self._allowed(name, self._may.services, "services", "bind the service")

    def _default_server(self, service_type: str) -> str:
        if self._may.servers is None or service_type in _NO_SERVER:
            return ""
        servers = self._around.servers.get(service_type, ())
        if all(_matches(server, self._may.servers) for server in servers):
            return ""
        return "is required here: the origin may not use every server of the host (may.servers)"

    def _host(self, text: str) -> str:
        address = "127.0.0.1" if text == "localhost" else text
        if any(_same_address(address, allowed) for allowed in self._may.hosts):
            return ""
        return f"the origin may only listen on {' or '.join(self._may.hosts) or 'no address'}, not {text} (may.hosts)"

    def _port(self, node: Node) -> str:
        port = node.value if isinstance(node.value, int) else -1
        if holder := self._around.ports.get(port):
            return f"port {port} belongs to {holder}"
        if any(port in each for each in (self._may.ports or (self._around.port_range,))):
            return ""
        if self._may.ports is None:
            first, last = self._around.port_range.start, self._around.port_range.stop - 1
            return f"the origin may only use the host's ports {first} to {last}, not {port} (may.ports)"
        return f"the origin may not use port {port} (may.ports)"

    def _allowed(self, name: str, patterns: Sequence[str] | None, setting: str, what: str) -> str:
        if patterns is None or _matches(name, patterns):
            return ""
        return f"the origin may not {what} '{name}' (may.{setting}: [{', '.join(patterns)}])"


_OUTSIDE = "leads out of the repository, to a path that the origin may not use (may.paths)"
_LEADS_OUT = "leads out of the repository; expected a path inside it, with '..' only at the beginning"


def _held(kind: str, name: str, holder: str | None) -> str:
    return f"the {kind} '{name}' belongs to {holder}" if holder else ""


def _values(kind: str, tree: Node) -> Iterator[tuple[Path, Reach | None, Node]]:
    """Yield every value of a document with its place and what it can reach, None where that is not known."""
    places = PLACES[kind]
    inner = {place[:length] for place in places for length in range(len(place))}
    todo: list[tuple[Path, tuple[str, ...], Node]] = [((), (), tree)]
    while todo:
        path, place, node = todo.pop()
        if isinstance(node.value, dict | list) and place in inner:
            for part, child in node.parts.items():
                step = "[]" if isinstance(part, int) else str(part)
                known = step if (*place, step) in places or (*place, step) in inner else "*"
                todo.append(((*path, part), (*place, known), child))
        else:
            yield path, places.get(place), node


def _kind(tree: Node) -> str:
    return "service" if isinstance(tree.value, dict) and tree.value.get("kind") == "service" else "app"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _same_address(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other
