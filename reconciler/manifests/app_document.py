"""A valid document's tree in; the app it asks for out: defaults, units and paths resolved, and no port leased yet."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.documents.tree import Node
from reconciler.manifests.checks import variables
from reconciler.planning.desired import (
    Address,
    App,
    AskedState,
    Binding,
    CrashPolicy,
    Health,
    Liveness,
    Recipe,
    Server,
    Source,
)
from reconciler.planning.fingerprint import fingerprint

# What an app is about which a manifest says nothing.
_SILENT = App(name="", manifest="", source=Source(path="/"), address=Address(host="127.0.0.1", port=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDefaults:
    """What this host fills in where a manifest says nothing, or says `auto`."""

    auto_workers: int = 1
    crash: CrashPolicy = CrashPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDocument:
    """An app as one document asks for it: all of it but the port, which may be left to the host.

    `line` is where the document begins in its file, `depends_on_line` where that field is, if it is.
    """

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
    liveness: Liveness
    probation_s: float
    idle_after_s: float | None
    lazy: bool
    depends_on: tuple[str, ...]
    depends_on_line: int | None
    patience_s: float
    holding_page: str | None
    release: str | None
    bindings: tuple[Binding, ...] = ()
    env_files: Mapping[str, str] = field(default_factory=dict)
    env_lists: tuple[str, ...] = ()

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
            liveness=self.liveness,
            probation_s=self.probation_s,
            idle_after_s=self.idle_after_s,
            lazy=self.lazy,
            depends_on=self.depends_on,
            patience_s=self.patience_s,
            holding_page=self.holding_page,
            release=self.release,
            bindings=self.bindings,
            env_files=self.env_files,
            env_lists=self.env_lists,
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
        source=Source(path=joined(directory, asked["path"]), pinned="" if asked.get("watch", True) else _digest(tree)),
        recipe=Recipe(
            runtime=tree.written_at("runtime") if "runtime" in asked else None,
            entrypoint=asked.get("entrypoint"),
            **_dependencies(asked.get("dependencies")),
        ),
        server=_server(tree, asked, host),
        env={name: str(part.written) for name, part in variables(tree) if not part.keys},
        state=asked.get("state", "running"),
        crash=_crash(tree, host.crash),
        liveness=_liveness(tree, asked),
        probation_s=_or(tree.seconds("probation"), _SILENT.probation_s),
        idle_after_s=tree.seconds("idle_after"),
        lazy=asked.get("start") == "lazy",
        depends_on=tuple(asked.get("depends_on", ())),
        depends_on_line=tree.keys["depends_on"][0] if "depends_on" in asked else None,
        patience_s=_or(tree.seconds("patience"), _SILENT.patience_s),
        holding_page=joined(directory, asked["holding_page"]) if "holding_page" in asked else None,
        release=asked.get("release"),
        bindings=tuple(map(_binding, asked.get("services", ()))),
        env_files={
            name: joined(directory, str(part.parts["file"].value)) for name, part in variables(tree) if part.keys
        },
        env_lists=tuple(joined(directory, path) for path in asked.get("env_files", ())),
    )


def _binding(asked: str | dict[str, Any]) -> Binding:
    if isinstance(asked, str):
        return Binding(service=asked)
    return Binding(service=asked["name"], name=asked.get("binding_name"), parameters=asked.get("parameters", {}))


def _dependencies(asked: str | dict[str, Any] | None) -> dict[str, Any]:
    """The fields of a recipe that say what is installed."""
    if not isinstance(asked, dict):
        return {"dependencies": asked}
    return {
        "dependencies": asked.get("file"),
        "extras": tuple(asked.get("extras", ())),
        "groups": tuple(asked.get("groups", ())),
    }


def _server(tree: Node, asked: dict[str, Any], host: HostDefaults) -> Server:
    default = Server()
    workers = asked.get("workers", default.workers)
    timeout_s, start_timeout_s = _fitting(
        (tree.seconds("health", "timeout"), Health(path="/").timeout_s),
        (tree.seconds("health", "start_timeout"), default.start_timeout_s),
    )
    health = asked.get("health", {})
    return Server(
        workers=host.auto_workers if workers == "auto" else int(workers),
        threads=int(asked.get("threads", default.threads)),
        worker_class=asked.get("worker_class"),
        settings=dict(asked.get("gunicorn", {})),
        health=Health(path=health["path"], host=health.get("host"), timeout_s=timeout_s) if "path" in health else None,
        start_timeout_s=start_timeout_s,
        stop_timeout_s=_or(tree.seconds("stop_timeout"), default.stop_timeout_s),
        access_log=asked.get("access_log", default.access_log),
        counts="idle_after" in asked,
    )


def _liveness(tree: Node, asked: dict[str, Any]) -> Liveness:
    default = Liveness()
    return Liveness(
        interval_s=_or(tree.seconds("health", "interval"), default.interval_s),
        failures=int(asked.get("health", {}).get("failures", default.failures)),
    )


def _crash(tree: Node, default: CrashPolicy) -> CrashPolicy:
    first_s, cap_s = _fitting(
        (tree.seconds("crash", "first"), default.first_s), (tree.seconds("crash", "cap"), default.cap_s)
    )
    good_run_s = _or(tree.seconds("crash", "good_run"), default.good_run_s)
    return CrashPolicy(first_s=first_s, cap_s=cap_s, good_run_s=good_run_s)


def _fitting(low: tuple[float | None, float], high: tuple[float | None, float]) -> tuple[float, float]:
    """Two durations, each as given and by default: whichever the manifest gives is meant, and a default bends to it."""
    low_s = low[0] if low[0] is not None else min(low[1], _or(high[0], high[1]))
    return low_s, high[0] if high[0] is not None else max(high[1], low_s)


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def joined(directory: str, path: str) -> str:
    """An absolute path without `.` and doubled slashes. `..` stays: only the kernel knows it behind a symbolic link."""
    joined = posixpath.join(directory, path)
    return "/" + "/".join(part for part in re.split("/+", joined) if part not in ("", "."))


def _digest(tree: Node) -> str:
    return fingerprint(tree.written)
