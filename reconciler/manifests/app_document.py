"""Read the app that a valid document defines: defaults, units and paths resolved, and no port leased yet."""

import posixpath
from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from reconciler.documents.tree import Node
from reconciler.linux.dataclass import dataclass
from reconciler.manifests.checks import variables, worker_count
from reconciler.manifests.isolation_fields import NO_RULES, IsolationRules, isolation_of
from reconciler.manifests.program_checks import words_given
from reconciler.planning.address import SOCKET_SUFFIX, Address
from reconciler.planning.apps.app import HERE, App, Binding, CrashPolicy, Liveness
from reconciler.planning.apps.revision import AWAITED_MARK, Health, Recipe, Server, Source
from reconciler.planning.fingerprint import fingerprint
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.planning.scaling.instance_range import ONE, InstanceRange

if TYPE_CHECKING:  # most hosts have no repository, and most apps no process but their web server
    from reconciler.planning.apps.git_source import GitSource
    from reconciler.planning.canary.canary import Canary
    from reconciler.planning.processes.process import Process
    from reconciler.planning.routing.routing import Routing
    from reconciler.planning.scaling.worker_range import WorkerRange
    from reconciler.planning.schedules.schedule import Schedule
    from reconciler.settings.git import Repository

# An app whose manifest leaves everything out.
_SILENT = App(name="", manifest="", source=Source(path="/"), address=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDefaults:
    """What this host fills in where a manifest leaves a field out, or says `auto`.

    `directories` are where the files of origins are that are no directories themselves, by the origin's name.
    `repositories` are those of the settings, in which sources may be; None if they are not known. `zone` is the time
    zone of schedules, `domain` the domain of an app whose manifest has none, with `{app}` for its name; empty for none.
    `no_static` says why the proxy serves no static files, empty if it does.
    `sockets` is the directory of the unix sockets at which the proxy reaches apps; empty for a proxy that dials ports.
    `clusters` are the places of apps beside this host, None where the settings are not known.
    `limits` are the most that an app may have, `isolation` is what the host says of that.
    """

    auto_workers: int = 1
    crash: CrashPolicy = CrashPolicy()
    directories: Mapping[str, str] = field(default_factory=dict)
    repositories: "Mapping[str, Repository] | None" = None
    zone: str = "UTC"
    domain: str = ""
    no_static: str = ""
    sockets: str = ""
    limits: Limits = NO_LIMITS
    isolation: IsolationRules = NO_RULES
    clusters: frozenset[str] | None = None

    def directory_of(self, file: str) -> str:
        """Return the absolute directory that the relative paths of a manifest begin at, by the file's identity."""
        if file.startswith("/"):
            return posixpath.dirname(file)
        origin, _, path = file.partition("/")
        return posixpath.join(self.directories.get(origin, f"/{origin}"), posixpath.dirname(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDocument:
    """An app as one document defines it: without an address, as the port may be left to the host (None).

    One without a web server, `has_web` False, never has an address. `socket` is the path of the unix socket at which it
    listens, empty for one that listens at a port; `beside` says that it listens at a port as well. One that runs in a
    cluster listens at none here: `port_there` is that of its manifest.

    `line` is where the document begins in its file, `places` the line and column of each field that is given.
    """

    unleased: App
    host: str
    port: int | None
    line: int
    has_web: bool = True
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    socket: str = ""
    beside: bool = False
    port_there: int | None = None

    @property
    def name(self) -> str:
        """The app's name."""
        return self.unleased.name

    @property
    def manifest(self) -> str:
        """The file of the document."""
        return self.unleased.manifest

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs in a cluster."""
        return self.unleased.place != HERE

    @property
    def has_port(self) -> bool:
        """Whether it listens at a port, that of its manifest or one that it leases."""
        return self.has_web and self.unleased.place == HERE and (self.beside or not self.socket)

    def app(self, port: int | None) -> App:
        """Return the app at its socket, on `port`, or at both; one with a socket may have leased the port before."""
        if self.is_elsewhere:
            return self.unleased
        at_port = None if port is None else Address(host=self.host, port=port)
        if self.socket:
            beside = at_port if self.beside else None
            return self.unleased.listening_at(Address(host=self.socket), leased=at_port, beside=beside)
        return self.unleased if at_port is None else self.unleased.listening_at(at_port)


def document_of(file: str, tree: Node, name: str, host: HostDefaults) -> AppDocument:
    """Return the app of a document that has no problem."""
    given: dict[str, Any] = tree.value  # type: ignore[assignment]  # the schema has seen to it
    is_here = given.get("place", HERE) == HERE
    socket = _socket(given, name, host.sockets) if is_here else ""
    port = int(given["port"]) if "port" in given else None
    return AppDocument(
        unleased=_app(file, tree, given, name, host),
        host=given.get("host", "127.0.0.1"),
        port=port if is_here else None,
        port_there=None if is_here else port,
        line=tree.line,
        has_web=given.get("web") is not False,
        places=_places(tree),
        socket=socket,
        beside=bool(socket) and not {"host", "port"}.isdisjoint(given),
    )


def _socket(given: dict[str, Any], name: str, directory: str) -> str:
    """Return the path of an app's socket: of one that has domains."""
    is_reached_by_name = bool(directory and given.get("domains")) and given.get("web") is not False
    # The kernel divides the connections of a port, and of no socket.
    is_reached_by_name = is_reached_by_name and "canary" not in given
    return posixpath.join(directory, f"{name}{SOCKET_SUFFIX}") if is_reached_by_name else ""


def _places(tree: Node) -> Mapping[str, tuple[int, int]]:
    """Return the line and column of each field that is given, and of each domain."""
    lists = [(field, tree.given(field)) for field in ("domains", "redirects") if field in tree.keys]
    if not lists:
        return tree.keys
    items = {
        f"{field}[{index}]": (part.line, part.column)
        for field, node in lists
        if node is not None
        for index, part in node.parts.items()
    }
    return {**tree.keys, **items}


def _app(file: str, tree: Node, given: dict[str, Any], name: str, host: HostDefaults) -> App:
    directory = host.directory_of(file)
    return App(
        name=name,
        manifest=file,
        source=_source(directory, tree, given),
        in_git=_in_git(given["source"]) if "source" in given else None,
        address=None,
        recipe=Recipe(
            runtime=tree.written_at("runtime") if "runtime" in given else None,
            entrypoint=given.get("entrypoint"),
            command=words_given(given.get("command")),
            listen=given.get("listen"),
            build=words_given(given.get("build")),
            persist=tuple(given.get("persist", ())),
            web=given.get("web") is not False,
            **_dependencies(given.get("dependencies")),
        ),
        server=_server(tree, given, host),
        env={name: str(part.written) for name, part in variables(tree) if not part.keys},
        state=given.get("state", "running"),
        place=given.get("place", HERE),
        instances=_instances(tree),
        crash=_crash(tree, host.crash),
        liveness=_liveness(tree, given),
        probation_s=_or(tree.seconds("probation"), _SILENT.probation_s),
        idle_after_s=tree.seconds("idle_after"),
        lazy=given.get("start") == "lazy",
        depends_on=tuple(given.get("depends_on", ())),
        patience_s=_or(tree.seconds("patience"), _SILENT.patience_s),
        holding_page=joined(directory, given["holding_page"]) if "holding_page" in given else None,
        **_release(given.get("release")),
        bindings=tuple(map(_binding, given.get("services", ()))),
        env_files={
            name: joined(directory, str(part.parts["file"].value)) for name, part in variables(tree) if part.keys
        },
        env_lists=tuple(joined(directory, path) for path in given.get("env_files", ())),
        processes=_processes(directory, tree, host.limits),
        limits=_limits(tree, host.limits),
        worker_range=_worker_range(tree, given),
        canary=_canary(tree),
        isolation=isolation_of(tree, host.isolation, lambda path: joined(directory, path)),
        schedules=_schedules(directory, tree, name, host.zone),
        routing=_routing(directory, tree, given, host.domain.replace("{app}", name)),
    )


def _schedules(directory: str, tree: Node, app: str, zone: str) -> "tuple[Schedule, ...]":
    if "schedules" not in tree.keys:
        return ()
    from reconciler.manifests.schedule_fields import schedules_of  # most apps have none

    return tuple(
        replace(
            each,
            ping=each.ping.read_from(lambda path: joined(directory, path)),
            env_files={name: joined(directory, path) for name, path in each.env_files.items()} or each.env_files,
        )
        for each in schedules_of(tree, app, zone)
    )


def _routing(directory: str, tree: Node, given: dict[str, Any], domain: str) -> "Routing | None":
    if given.get("web") is False or ("domains" not in given and not domain):
        return None
    from reconciler.manifests.routing_document import routing_of  # most apps have no domain

    return routing_of(directory, tree, given, domain)


def _processes(directory: str, tree: Node, most: Limits) -> "tuple[Process, ...]":
    if "processes" not in tree.keys:
        return ()
    from reconciler.manifests.process_fields import processes_of  # most apps have none

    return tuple(
        replace(each, env_files={name: joined(directory, path) for name, path in each.env_files.items()})
        for each in processes_of(tree, most)
    )


def _worker_range(tree: Node, given: dict[str, Any]) -> "WorkerRange | None":
    if not isinstance(given.get("workers"), dict):
        return None
    from reconciler.manifests.worker_fields import worker_range_of  # most apps have a number

    return worker_range_of(tree)


def _instances(tree: Node) -> InstanceRange:
    if "instances" not in tree.keys:
        return ONE
    from reconciler.manifests.instance_fields import instances_of  # most apps run here

    return instances_of(tree)


def _limits(tree: Node, most: Limits) -> Limits:
    if "limits" not in tree.keys:
        return NO_LIMITS.within(most)
    from reconciler.manifests.limit_fields import limits_of  # most apps have none

    return limits_of(tree.given("limits"), most)


def _canary(tree: Node) -> "Canary | None":
    if "canary" not in tree.keys:
        return None
    from reconciler.manifests.canary_fields import canary_of  # most apps have none

    return canary_of(tree.given("canary"))


def _source(directory: str, tree: Node, given: dict[str, Any]) -> Source:
    """Return the source; one in a repository is awaited until it is known which commit of it is in force."""
    if "source" in given:
        return Source(path="", pinned=f"{AWAITED_MARK}{_in_git(given['source']).followed.text} is not fetched yet")
    return Source(path=joined(directory, given["path"]), pinned="" if given.get("watch", True) else _digest(tree))


def _in_git(given: dict[str, Any]) -> "GitSource":
    from reconciler.planning.apps.git_source import Followed, GitSource

    followed = {each: given[each] for each in ("repository", "branch", "tag", "commit", "signed") if each in given}
    path = posixpath.normpath(given.get("path", ""))
    return GitSource(followed=Followed(**followed), path="" if path == "." else path)


def _binding(given: str | dict[str, Any]) -> Binding:
    if isinstance(given, str):
        return Binding(service=given)
    return Binding(service=given["name"], name=given.get("binding_name"), parameters=given.get("parameters", {}))


def _release(given: str | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of an app that say what runs before it serves."""
    if not isinstance(given, dict):
        return {"release": given}
    return {"release": given["command"], "retries_release": given.get("retry", False)}


def _dependencies(given: str | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a recipe that say what is installed."""
    if not isinstance(given, dict):
        return {"dependencies": given}
    return {
        "dependencies": given.get("file"),
        "extras": tuple(given.get("extras", ())),
        "groups": tuple(given.get("groups", ())),
    }


def _server(tree: Node, given: dict[str, Any], host: HostDefaults) -> Server:
    default = Server()
    timeout_s, start_timeout_s = _fitting(
        (tree.seconds("health", "timeout"), Health(path="/").timeout_s),
        (tree.seconds("health", "start_timeout"), default.start_timeout_s),
    )
    health = given.get("health", {})
    return Server(
        workers=_workers(tree, given, host),
        threads=int(given.get("threads", default.threads)),
        worker_class=given.get("worker_class"),
        settings={name: _setting(value) for name, value in given.get("gunicorn", {}).items()},
        health=Health(path=health["path"], host=health.get("host"), timeout_s=timeout_s) if "path" in health else None,
        start_timeout_s=start_timeout_s,
        stop_timeout_s=_or(tree.seconds("stop_timeout"), default.stop_timeout_s),
        access_log=given.get("access_log", default.access_log),
        counts="idle_after" in given,
    )


def _setting(value: Any) -> Any:
    """Return the value of a setting of gunicorn, whose numbers are all whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _workers(tree: Node, given: dict[str, Any], host: HostDefaults) -> int:
    """Return the number of workers; where it is left out, that of the variable from which gunicorn itself takes it."""
    workers = given.get("workers")
    if "command" in given:
        return Server().workers  # the program itself reads WEB_CONCURRENCY, if it does
    if isinstance(workers, dict):
        return int(workers.get("min", 1))
    if workers == "auto":
        return host.auto_workers
    if workers is not None:
        return int(workers)
    written = {name: str(part.written) for name, part in variables(tree) if not part.keys}.get("WEB_CONCURRENCY", "")
    return worker_count(written) or Server().workers


def _liveness(tree: Node, given: dict[str, Any]) -> Liveness:
    default = Liveness()
    return Liveness(
        interval_s=_or(tree.seconds("health", "interval"), default.interval_s),
        failures=int(given.get("health", {}).get("failures", default.failures)),
    )


def _crash(tree: Node, default: CrashPolicy) -> CrashPolicy:
    first_s, cap_s = _fitting(
        (tree.seconds("crash", "first"), default.first_s), (tree.seconds("crash", "cap"), default.cap_s)
    )
    good_run_s = _or(tree.seconds("crash", "good_run"), default.good_run_s)
    return CrashPolicy(first_s=first_s, cap_s=cap_s, good_run_s=good_run_s)


def _fitting(low: tuple[float | None, float], high: tuple[float | None, float]) -> tuple[float, float]:
    """Return two durations, each given or by default; a default is adjusted to fit the one that is given."""
    low_s = low[0] if low[0] is not None else min(low[1], _or(high[0], high[1]))
    return low_s, high[0] if high[0] is not None else max(high[1], low_s)


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def joined(directory: str, path: str) -> str:
    """Return an absolute path without `.` and `//`. `..` stays: behind a symbolic link only the kernel resolves it."""
    joined = posixpath.join(directory, path)
    return "/" + "/".join(part for part in joined.split("/") if part not in ("", "."))


def _digest(tree: Node) -> str:
    return fingerprint(tree.written)
