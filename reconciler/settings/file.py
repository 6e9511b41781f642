"""The host's settings file in; the fields of `Settings` it gives, and everything that is wrong with it, out.

It is read as manifests are: every problem at once, each with its line, and a file with a problem says nothing.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.schema_checks import problems_of
from reconciler.documents.text import text_of
from reconciler.documents.tree import Node, trees_of
from reconciler.documents.units import duration_s, size_bytes
from reconciler.notifications.target import Target
from reconciler.planning.desired import CrashPolicy
from reconciler.settings.settings import Api, ServiceServer, Settings
from reconciler.settings.targets import targets_of

_Read: TypeAlias = Callable[[str], Any]

# Where a setting is in the file → the field it gives, and how its text becomes the field's value.
_FIELDS: Mapping[tuple[str, ...], tuple[str, _Read]] = {
    ("ports", "first"): ("first_port", int),
    ("ports", "last"): ("last_port", int),
    ("staging", "concurrency"): ("staging_slots", int),
    ("staging", "timeout"): ("staging_timeout_s", duration_s),
    ("staging", "retention"): ("retention_s", duration_s),
    ("staging", "memory"): ("staging_memory_bytes", size_bytes),
    ("starting", "concurrency"): ("starting_slots", int),
    ("starting", "slot"): ("starting_slot_s", duration_s),
    ("starting", "keep_warm"): ("fork_server_idle_s", duration_s),
    ("starting", "fork_timeout"): ("fork_timeout_s", duration_s),
    ("retry", "first"): ("retry_first_s", duration_s),
    ("retry", "cap"): ("retry_cap_s", duration_s),
    ("crash", "first"): ("first_s", duration_s),
    ("crash", "cap"): ("cap_s", duration_s),
    ("crash", "good_run"): ("good_run_s", duration_s),
    ("prune_after",): ("prune_after_s", duration_s),
    ("rescan",): ("rescan_s", duration_s),
    ("resync",): ("resync_s", duration_s),
    ("settle", "quiet"): ("quiet_s", duration_s),
    ("settle", "longest"): ("longest_s", duration_s),
    ("logs", "limit"): ("log_limit_bytes", size_bytes),
    ("logs", "keep"): ("logs_kept", int),
    ("services", "verify_every"): ("verify_every_s", duration_s),
    ("services", "grace"): ("grace_s", duration_s),
    ("journal", "keep"): ("events_kept", int),
    ("notify", "every"): ("notify_every_s", duration_s),
    ("notify", "delay"): ("notify_delay_s", duration_s),
    ("api", "idle"): ("api_idle_s", duration_s),
}
_MAY_BE_NOTHING = frozenset((
    ("staging", "retention"), ("prune_after",), ("settle", "quiet"), ("notify", "every"), ("notify", "delay"),
    ("services", "grace"),
))  # fmt: skip
_SMALLEST: Mapping[tuple[str, ...], tuple[int, str]] = {
    ("logs", "limit"): (4096, "4K"),
    ("staging", "memory"): (64 * 2**20, "64M"),
}
_OF_EVERY_SERVER = frozenset(("type", "host", "port", "socket", "user", "password", "token"))
_PATHS = ("sslrootcert", "ssl_ca", "ca")
# The first of each must not exceed the second, whichever of the two is a default.
_ORDERED: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("ports", "first"), ("ports", "last")),
    (("retry", "first"), ("retry", "cap")),
    (("crash", "first"), ("crash", "cap")),
    (("settle", "quiet"), ("settle", "longest")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """What a settings file gives: nothing when there are problems."""

    given: Mapping[tuple[str, ...], Any] = field(default_factory=dict)
    interpreters: tuple[str, ...] = ()
    staging_env: Mapping[str, str | FilePath] = field(default_factory=dict, repr=False)
    api: Api | None = None
    notifications: tuple[Target, ...] = ()
    servers: Mapping[str, ServiceServer] = field(default_factory=dict)
    key_file: FilePath | None = None
    problems: tuple[Problem, ...] = ()

    def applied(self, settings: Settings) -> Settings:
        """The settings with what this file gives in place of the defaults."""
        fields = {_FIELDS[path][0]: value for path, value in self.given.items()}
        crash = {name: fields.pop(name) for name in ("first_s", "cap_s", "good_run_s") if name in fields}
        crashes = CrashPolicy(**crash) if crash else settings.crash
        return replace(
            settings,
            crash=crashes,
            interpreters=self.interpreters or settings.interpreters,
            staging_env=self.staging_env,
            notifications=self.notifications,
            api=self.api or settings.api,
            servers=self.servers,
            key_file=self.key_file or settings.key_file,
            **fields,
        )


def parse(file: str, content: bytes, defaults: Settings) -> HostFile:
    """Read the settings `content` of `file`; a file of comments only gives nothing and is no problem."""
    text = text_of(file, content)
    if isinstance(text, Problem):
        return HostFile(problems=(text,))
    trees, problems = trees_of(file, text)
    if len(trees) > 1:
        second = trees[1]
        message = "holds a second document; settings are one document"
        problems.append(Problem(file=file, line=second.line, column=second.column, path="", message=message))
    if problems:
        return HostFile(problems=tuple(problems))
    if not trees:
        return HostFile()
    problems = problems_of(file, "host", trees[0])
    said = {problem.path for problem in problems}
    given = dict(_given(trees[0])) if not problems else {}
    notifications, amiss = targets_of(file, trees[0]) if not problems else ((), [])
    problems += amiss
    problems += [problem for problem in _misfits(file, trees[0], given, defaults) if problem.path not in said]
    if problems:
        return HostFile(problems=tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))))
    key = _at(trees[0], ("services", "key"))
    return HostFile(
        given=given,
        interpreters=_interpreters(trees[0]),
        staging_env=dict(_staging_env(file, trees[0])),
        notifications=notifications,
        api=_api(file, trees[0]),
        servers={server.name: server for server in _servers(file, trees[0])},
        key_file=None if key is None else FilePath(posixpath.dirname(file), str(key.value)),
    )


def _given(tree: Node) -> Iterator[tuple[tuple[str, ...], Any]]:
    for path, (_, read) in _FIELDS.items():
        node = _at(tree, path)
        if node is not None:
            yield path, read(str(node.written))


def _interpreters(tree: Node) -> tuple[str, ...]:
    node = _at(tree, ("interpreters",))
    return () if node is None else tuple(str(part.value) for part in node.parts.values())


def _staging_env(file: str, tree: Node) -> Iterator[tuple[str, str | FilePath]]:
    """What the variables of staging are, or the files that hold them."""
    node = _at(tree, ("staging", "env"))
    for name, part in node.parts.items() if node is not None else ():
        held = part.value["file"] if isinstance(part.value, dict) else None
        yield str(name), str(part.written) if held is None else FilePath(posixpath.dirname(file), str(held))


def _api(file: str, tree: Node) -> Api | None:
    """Where the API is on TCP, None when it is not."""
    address, token = _at(tree, ("api", "address")), _at(tree, ("api", "token", "file"))
    if address is None or token is None:
        return None
    writable, url = _at(tree, ("api", "writable")), _at(tree, ("api", "url"))
    host, _, port = str(address.value).rpartition(":")
    return Api(
        host=host.strip("[]"),
        port=int(port),
        token=FilePath(posixpath.dirname(file), str(token.value)),
        writable=writable is not None and writable.value is True,
        url=None if url is None else str(url.value).rstrip("/"),
    )


def _servers(file: str, tree: Node) -> Iterator[ServiceServer]:
    """The servers of services, with every path in them absolute."""
    node = _at(tree, ("services", "servers"))
    for name, part in node.parts.items() if node is not None else ():
        asked: dict[str, Any] = part.value  # type: ignore[assignment]  # the schema has seen to it
        here = posixpath.dirname(file)
        options = {key: value for key, value in asked.items() if key not in _OF_EVERY_SERVER}
        options |= {key: posixpath.join(here, str(options[key])) for key in _PATHS if key in options}
        held = asked.get("token") or asked.get("password")
        if "token" in asked:
            options["auth"] = "bearer"
        yield ServiceServer(
            name=str(name),
            type=asked["type"],
            host=asked.get("socket") or asked.get("host", "127.0.0.1"),
            port=asked.get("port"),
            user=asked.get("user"),
            password_file=None if held is None else FilePath(here, held["file"]),
            options=options,
        )


def _misfits(file: str, tree: Node, given: Mapping[tuple[str, ...], Any], defaults: Settings) -> Iterator[Problem]:
    """What a schema cannot say."""
    for one, needed in (("address", "token"), ("token", "address")):
        if _at(tree, ("api", one)) is not None and _at(tree, ("api", needed)) is None:
            yield _problem(file, tree, ("api", one), f"needs '{needed}' beside it: on TCP nobody is let in without")
    for path, value in given.items():
        if _FIELDS[path][1] is duration_s and value <= 0 and path not in _MAY_BE_NOTHING:
            yield _problem(file, tree, path, "must be longer than nothing")
        least, shown = _SMALLEST.get(path, (0, ""))
        if shown and value < least:
            yield _problem(file, tree, path, f"must be {shown} at least")
    known = {**_known(defaults), **given}
    for low, high in _ORDERED:
        if (low in given or high in given) and known[low] > known[high]:
            at, other, word = (low, high, "more") if low in given else (high, low, "less")
            beside = "" if other in given else f", which is {known[other]:g} by default"
            yield _problem(file, tree, at, f"is {word} than '{other[-1]}'{beside}")


def _known(defaults: Settings) -> dict[tuple[str, ...], Any]:
    """What holds where the file says nothing."""
    return {
        path: getattr(defaults.crash if path[0] == "crash" else defaults, name) for path, (name, _) in _FIELDS.items()
    }


def _at(tree: Node, path: tuple[str, ...]) -> Node | None:
    node = tree
    for name in path:
        if name not in node.keys:
            return None
        node = node.parts[name]
    return node


def _problem(file: str, tree: Node, path: Path, message: str) -> Problem:
    node = tree.at(path)
    return Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=message)
