"""A valid document's tree in; the app it asks for out, with defaults, units and paths resolved, and no port leased yet.

What a schema cannot say (addresses, environment names, delays that fit together) is checked here.
"""

import ipaddress
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.desired import Address, App, AskedState, CrashPolicy, Recipe, Server, Source, fingerprint
from reconciler.manifests.problem import Path, Problem, dotted
from reconciler.manifests.tree import Node
from reconciler.manifests.units import duration_s

# Linux's MAX_ARG_STRLEN: exec refuses a longer NAME=value, with its ending NUL.
_LONGEST_VARIABLE = 128 * 1024 - 1
_TAKEN_VARIABLES: Mapping[str, str] = {
    "LISTEN_FDS": "the daemon hands over the listening socket with it",
    "LISTEN_PID": "the daemon hands over the listening socket with it",
    "LISTEN_FDNAMES": "the daemon hands over the listening socket with it",
    "GUNICORN_CMD_ARGS": "use the field 'gunicorn'",
}
_POSITIVE_DURATIONS: tuple[tuple[str, ...], ...] = (
    ("stop_timeout",),
    ("health", "start_timeout"),
    ("crash", "first"),
    ("crash", "cap"),
    ("crash", "good_run"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDefaults:
    """What this host fills in where a manifest says nothing, or says `auto`."""

    auto_workers: int = 1
    crash: CrashPolicy = CrashPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDocument:
    """An app as one document asks for it: all of it but the port, which may be left to the host."""

    name: str
    manifest: str
    line: int
    host: str
    port: int | None
    source: Source
    recipe: Recipe
    server: Server
    env: Mapping[str, str] = field(repr=False)
    state: AskedState
    crash: CrashPolicy

    def app(self, port: int) -> App:
        """The app, listening on `port`."""
        return App(
            name=self.name,
            manifest=self.manifest,
            source=self.source,
            address=Address(host=self.host, port=port),
            recipe=self.recipe,
            server=self.server,
            env=self.env,
            state=self.state,
            crash=self.crash,
        )


def document_of(file: str, tree: Node, name: str, host: HostDefaults) -> AppDocument:
    """The app of a document that has no problem."""
    asked: dict[str, Any] = tree.value  # type: ignore[assignment]  # the schema has seen to it
    directory = posixpath.dirname(file)
    return AppDocument(
        name=name,
        manifest=file,
        line=tree.line,
        host=asked.get("host", "127.0.0.1"),
        port=int(asked["port"]) if "port" in asked else None,
        source=Source(path=_joined(directory, asked["path"]), pinned="" if asked.get("watch", True) else _digest(tree)),
        recipe=Recipe(
            runtime=tree.written_at("runtime") if "runtime" in asked else None,
            entrypoint=asked.get("entrypoint"),
            dependencies=asked.get("dependencies"),
        ),
        server=_server(tree, asked, host),
        env={name: str(part.written) for name, part in _variables(tree)},
        state=asked.get("state", "running"),
        crash=_crash(tree, host.crash),
    )


def misfits(file: str, tree: Node) -> Iterator[Problem]:
    """What is wrong with a document beyond its schema."""
    for path, message in _misfits(tree):
        node = tree.at(path)
        yield Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)


def _misfits(tree: Node) -> Iterator[tuple[Path, str]]:
    host = tree.value.get("host") if isinstance(tree.value, dict) else None
    if isinstance(host, str) and not _is_address(host):
        yield ("host",), f"expected an IP address or localhost, not {host!r}"
    for path in _POSITIVE_DURATIONS:
        if message := _duration_misfit(tree, path):
            yield path, message
    for name, part in _variables(tree):
        if message := _variable_misfit(name, part):
            yield ("env", name), message
    first, cap = _seconds(tree, ("crash", "first")), _seconds(tree, ("crash", "cap"))
    if first and cap and first > cap:
        yield ("crash", "first"), "is longer than 'cap'"


def _server(tree: Node, asked: dict[str, Any], host: HostDefaults) -> Server:
    default = Server()
    workers = asked.get("workers", default.workers)
    return Server(
        workers=host.auto_workers if workers == "auto" else int(workers),
        threads=int(asked.get("threads", default.threads)),
        worker_class=asked.get("worker_class"),
        settings=dict(asked.get("gunicorn", {})),
        start_timeout_s=_seconds(tree, ("health", "start_timeout")) or default.start_timeout_s,
        stop_timeout_s=_seconds(tree, ("stop_timeout",)) or default.stop_timeout_s,
    )


def _crash(tree: Node, default: CrashPolicy) -> CrashPolicy:
    first = _seconds(tree, ("crash", "first"))
    cap = _seconds(tree, ("crash", "cap"))
    # Whichever of the two the manifest gives is meant; the host's default bends to it.
    first_s = first or min(default.first_s, cap or default.cap_s)
    cap_s = cap or max(default.cap_s, first_s)
    return CrashPolicy(
        first_s=first_s, cap_s=cap_s, good_run_s=_seconds(tree, ("crash", "good_run")) or default.good_run_s
    )


def _seconds(tree: Node, path: tuple[str, ...]) -> float | None:
    node = _given(tree, path)
    try:
        return None if node is None else duration_s(str(node.written))
    except ValueError:
        return None


def _duration_misfit(tree: Node, path: tuple[str, ...]) -> str:
    node = _given(tree, path)
    if node is None or not isinstance(node.value, str | int | float):
        return ""
    try:
        return "" if duration_s(str(node.written)) > 0 else "must be longer than nothing"
    except ValueError as error:
        return str(error)


def _given(tree: Node, path: tuple[str, ...]) -> Node | None:
    node = tree
    for name in path:
        if name not in node.keys:
            return None
        node = node.parts[name]
    return node


def _variables(tree: Node) -> Iterator[tuple[str, Node]]:
    env = _given(tree, ("env",))
    return ((name, env.parts[name]) for name in env.keys) if env else iter(())


def _variable_misfit(name: str, part: Node) -> str:
    if name.startswith("VCAP_"):
        return "names that start with VCAP_ are set by the daemon"
    if name in _TAKEN_VARIABLES:
        return f"cannot be set here: {_TAKEN_VARIABLES[name]}"
    if len(f"{name}={part.written}".encode()) > _LONGEST_VARIABLE:
        return "is longer than the 128 KiB that Linux allows for one variable"
    return ""


def _is_address(host: str) -> bool:
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _joined(directory: str, path: str) -> str:
    """An absolute path without `.` and doubled slashes. `..` stays: only the kernel knows it behind a symbolic link."""
    joined = posixpath.join(directory, path)
    return "/" + "/".join(part for part in re.split("/+", joined) if part not in ("", "."))


def _digest(tree: Node) -> str:
    return fingerprint(tree.written)
