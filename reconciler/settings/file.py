"""Parse the host's settings file into the fields of `Settings` that it gives, or into all that is wrong with it.

It is parsed as manifests are: every problem at once, each with its line. A file with a problem gives nothing.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, replace
from functools import cache
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.schema_checks import problems_of
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.documents.units import duration_s
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import CrashPolicy
from reconciler.planning.isolation.confinement import requirable_parts
from reconciler.settings.setting import Setting, declared_by
from reconciler.settings.settings import Api, Drain, ServiceServer, Settings
from reconciler.settings.targets import targets_of

_Values: TypeAlias = Mapping[tuple[str, ...], Any]

# The parts of the crash policy by their place in the file.
_CRASH: Mapping[tuple[str, ...], str] = {
    ("crash", "first"): "first_s", ("crash", "cap"): "cap_s", ("crash", "good_run"): "good_run_s",
}  # fmt: skip
_SERVER_FIELDS = frozenset(("type", "host", "port", "socket", "user", "password", "token"))
_SERVER_PATHS = ("sslrootcert", "ssl_ca", "ca")
# The first of each must not exceed the second, whichever of the two is a default.
_ORDERED: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("ports", "first"), ("ports", "last")),
    (("isolation", "uids", "first"), ("isolation", "uids", "last")),
    (("retry", "first"), ("retry", "cap")),
    (("crash", "first"), ("crash", "cap")),
    (("settle", "quiet"), ("settle", "longest")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """The fields of `Settings` that a file gives; none when there are problems."""

    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()

    def applied(self, settings: Settings) -> Settings:
        """Return the settings with those of this file in place of the defaults."""
        return replace(settings, **self.given)


@cache
def scalars() -> Mapping[tuple[str, ...], tuple[str, Setting]]:
    """Return every scalar of the file by its path: the field that it gives, and how it is read."""
    declared = ((each.name, declared_by(each)) for each in fields(Settings))
    found = {setting.path: (name, setting) for name, setting in declared if setting is not None}
    crash = {
        path: (part, Setting(path=path, read=duration_s, default=f"{getattr(CrashPolicy(), part):g}", above_zero=True))
        for path, part in _CRASH.items()
    }
    return found | crash


def parse(file: str, content: bytes, defaults: Settings) -> HostFile:
    """Parse the settings `content` of `file`; a file of comments only gives nothing and is no problem."""
    text = text_of(file, content)
    if isinstance(text, Problem):
        return HostFile(problems=(text,))
    trees, problems = trees_of(file, text)
    if len(trees) > 1:
        second = trees[1]
        message = "is a second document; settings are one document"
        problems.append(Problem(file=file, line=second.line, column=second.column, path="", message=message))
    if problems:
        return HostFile(problems=tuple(problems))
    return _parsed(file, trees[0], defaults) if trees else HostFile()


def _parsed(file: str, tree: Node, defaults: Settings) -> HostFile:
    problems = problems_of(file, "host", tree)
    known = {problem.path for problem in problems}
    values = dict(_values(tree)) if not problems else {}
    notifications, invalid = targets_of(file, tree) if not problems else ((), [])
    problems += invalid
    git, invalid = _git(file, tree) if not problems else ({}, [])
    problems += invalid
    problems += [problem for problem in _problems(file, tree, values, defaults) if problem.path not in known]
    if problems:
        return HostFile(problems=tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))))
    given = {scalars()[path][0]: value for path, value in values.items() if path not in _CRASH}
    crash = {part: values[path] for path, part in _CRASH.items() if path in values}
    if crash:
        given["crash"] = CrashPolicy(**crash)
    if notifications:
        given["notifications"] = notifications
    given |= git
    proxy = tree.given("proxy")
    if proxy is not None:
        from reconciler.settings.proxy_file import proxy_of  # most hosts have none

        given["proxy"] = proxy_of(file, proxy)
    clusters = tree.given("clusters")
    if clusters is not None:
        from reconciler.settings.clusters_file import clusters_of  # most hosts have none

        given["clusters"] = clusters_of(file, clusters)
    for path, (name, read) in _STRUCTURES.items():
        node = tree.given(*path)
        found = None if node is None else read(file, node)
        if found is not None:
            given[name] = found
    return HostFile(given=given)


def _git(file: str, tree: Node) -> tuple[dict[str, Any], list[Problem]]:
    """Return the settings of repositories and of origins in them, and their problems."""
    if tree.given("git") is None and tree.given("origins") is None:
        return {}, []
    from reconciler.settings.git_file import git_of  # most hosts have no repository

    return git_of(file, tree)


def _values(tree: Node) -> Iterator[tuple[tuple[str, ...], Any]]:
    for path, (_, setting) in scalars().items():
        node = tree.given(*path)
        if node is not None:
            yield path, setting.read(str(node.written))


def _interpreters(_: str, node: Node) -> tuple[str, ...]:
    return tuple(str(part.value) for part in node.parts.values())


def _staging_env(file: str, node: Node) -> Mapping[str, str | FilePath]:
    """Return the variables of staging, each with its value or the file that contains it."""
    return {
        str(name): _path(file, part.value["file"]) if isinstance(part.value, dict) else str(part.written)
        for name, part in node.parts.items()
    }


def _identities(file: str, node: Node) -> tuple[FilePath, ...]:
    return tuple(_path(file, part.written_at("file")) for part in node.parts.values())


def _words(_: str, node: Node) -> tuple[str, ...]:
    return tuple(str(part.written) for part in node.parts.values())


def _directories(file: str, node: Node) -> tuple[str, ...]:
    return tuple(posixpath.normpath(str(_path(file, part.value))) for part in node.parts.values())


def _key_file(file: str, node: Node) -> FilePath:
    return _path(file, node.value)


def _api(file: str, node: Node) -> Api | None:
    """Return the TCP address of the API, None without one."""
    address, token = node.given("address"), node.given("token", "file")
    if address is None or token is None:
        return None
    writable, url = node.given("writable"), node.given("url")
    host, _, port = str(address.value).rpartition(":")
    return Api(
        host=host.strip("[]"),
        port=int(port),
        token=_path(file, token.value),
        writable=writable is not None and writable.value is True,
        url=None if url is None else str(url.value).rstrip("/"),
    )


def _drain(_: str, node: Node) -> Drain | None:
    to, which = node.given("to"), node.given("which")
    if to is None:
        return None
    drain = Drain(to=str(to.value))
    return drain if which is None else replace(drain, streams=tuple(str(part.value) for part in which.parts.values()))


def _servers(file: str, node: Node) -> Mapping[str, ServiceServer]:
    return {str(name): _server(file, str(name), part.value) for name, part in node.parts.items()}


def _server(file: str, name: str, options: Any) -> ServiceServer:
    """Return a server of services, with every path in its options absolute."""
    others = {key: value for key, value in options.items() if key not in _SERVER_FIELDS}
    others |= {key: str(_path(file, others[key])) for key in _SERVER_PATHS if key in others}
    if "token" in options:
        others["auth"] = "bearer"
    secret = options.get("token") or options.get("password")
    return ServiceServer(
        name=name,
        type=options["type"],
        host=options.get("socket") or options.get("host", "127.0.0.1"),
        port=options.get("port"),
        user=options.get("user"),
        password_file=None if secret is None else _path(file, secret["file"]),
        options=others,
    )


# What is no scalar: its place in the file, the field that it gives, and how it is read.
_STRUCTURES: Mapping[tuple[str, ...], tuple[str, Callable[[str, Node], Any]]] = {
    ("interpreters",): ("interpreters", _interpreters),
    ("staging", "env"): ("staging_env", _staging_env),
    ("api",): ("api", _api),
    ("logs",): ("drain", _drain),
    ("isolation", "require"): ("isolation_required", _words),
    ("isolation", "mounts"): ("isolation_mounts", _directories),
    ("services", "servers"): ("servers", _servers),
    ("services", "key"): ("key_file", _key_file),
    ("git", "identities"): ("identities", _identities),
    ("git", "recipients"): ("recipients", _words),
    ("git", "open"): ("open_command", _words),
}


def _problems(file: str, tree: Node, values: _Values, defaults: Settings) -> Iterator[Problem]:
    """Yield the problems that a schema cannot express."""
    for one, needed in (("address", "token"), ("token", "address")):
        if tree.given("api", one) is not None and tree.given("api", needed) is None:
            why = ": clients of the TCP address must authenticate" if needed == "token" else ""
            yield _problem(file, tree, ("api", one), f"requires '{needed}'{why}")
    yield from _drain_problems(file, tree, defaults.paths.logs)
    yield from _isolation_problems(file, tree)
    if tree.given("clusters") is not None:
        from reconciler.settings.clusters_file import cluster_problems  # most hosts have none

        yield from (_problem(file, tree, path, message) for path, message in cluster_problems(tree))
    if tree.given("proxy") is not None:
        from reconciler.settings.proxy_file import proxy_problems  # most hosts have none

        yield from (_problem(file, tree, path, message) for path, message in proxy_problems(tree))
    for path, value in values.items():
        message = scalars()[path][1].problem(value)
        if message:
            yield _problem(file, tree, path, message)
    known = {**_known(defaults), **values}
    for low, high in _ORDERED:
        if (low in values or high in values) and known[low] > known[high]:
            at, other, word = (low, high, "more") if low in values else (high, low, "less")
            beside = "" if other in values else f", which is {known[other]:g} by default"
            yield _problem(file, tree, at, f"is {word} than '{other[-1]}'{beside}")


def _isolation_problems(file: str, tree: Node) -> Iterator[Problem]:
    """Yield that an app whose manifest says nothing would never start."""
    default, required = tree.given("isolation", "default"), tree.given("isolation", "require")
    kind: Any = "none" if default is None else default.value
    if required is None or kind not in {"strict", "user", "none"}:
        return
    lacking = [part for part in _words(file, required) if part not in requirable_parts(kind)]
    if lacking:
        message = f"asks for {', '.join(lacking)} of every app, and 'default' is {kind}: set it to strict"
        yield _problem(file, tree, ("isolation", "require"), message)


def _drain_problems(file: str, tree: Node, logs: FilePath) -> Iterator[Problem]:
    to, which = tree.given("logs", "to"), tree.given("logs", "which")
    target = "" if to is None else str(to.value)
    if to is None and which is not None:
        yield _problem(file, tree, ("logs", "which"), "requires 'to': where the lines are passed on to")
    if target.startswith("udp://"):
        port = target.rpartition(":")[2]
        if port.isdecimal() and not 0 < int(port) < 2**16:
            yield _problem(file, tree, ("logs", "to"), "has no port from 1 to 65535")
    if target.startswith("file:") and FilePath(posixpath.normpath(target.removeprefix("file:"))).is_relative_to(logs):
        message = f"is among the logs in {logs}, whose lines are passed on: name a file elsewhere"
        yield _problem(file, tree, ("logs", "to"), message)


def _known(defaults: Settings) -> dict[tuple[str, ...], Any]:
    """Return the value of each scalar that holds where the file gives none."""
    return {
        path: getattr(defaults.crash if path in _CRASH else defaults, name) for path, (name, _) in scalars().items()
    }


def _path(file: str, path: object) -> FilePath:
    return FilePath(posixpath.dirname(file), str(path))


def _problem(file: str, tree: Node, path: Path, message: str) -> Problem:
    node = tree.at(path)
    return Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)
