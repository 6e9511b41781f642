"""Every field of a manifest as the schema has it, with a value that makes a difference, and what it needs beside."""

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.documents.schemas import schema

_BY_NAME = ("processes", "schedules")
_WORKER: dict[str, Any] = {"command": "celery -A shop worker"}
_SCHEDULE: dict[str, Any] = {"command": "true", "at": "5 4 * * *"}


def fields_of(described: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every field of the schema, as FIELDS names them."""
    for name, each in described.get("properties", {}).items():
        path = f"{above}{name}"
        yield path
        yield from fields_of(each, f"{path}.")
        yield from fields_of(each.get("items", {}), f"{path}.")
        if path in _BY_NAME:
            yield from fields_of(each["additionalProperties"], f"{path}.*.")


ALL = tuple(dict.fromkeys(fields_of(schema("app"))))

# Another value than the schema's own example where that makes no difference, or no sense by itself.
VALUES: dict[str, Any] = {
    "kind": "app",
    "worker_class": "gthread",
    "patience": "10s",
    "instances": 3,
    "workers.queue": "20ms",
    "workers.calm": "1m",
    "canary.for": "20m",
    "canary.by": "client",
    "canary.requests": 50,
    "canary.undecided": "wait",
    "canary.worse": "3x",
    "mounts": [{"from": "/srv/media", "as": "media", "write": True}],
    "processes.*.ready.after": "9s",
    "host": "127.0.0.2",
    "start": "lazy",
    "state": "stopped",
    "port": 8001,
    "services": ["db"],
    "services.name": "other",
    "env": {"COLOUR": "red"},
    "tls": {"certificate": {"file": "a.pem"}, "key": {"file": "b.pem"}},
    "http": "serve",
    "strip": True,
    "below": "/shop",
    "domains": ["a.example.com"],
    "workers": 3,
    "workers.spare": 1,
    "access_log": False,
    "release.retry": True,
    "isolation": "strict",
    "network": {"connect": "none"},
    "network.connect": "none",
    "network.listen": True,
    "static": {"/static": "static"},
    "health": {"path": "/healthz"},
    "limits": {"memory": "512M"},
    "processes": {"worker": _WORKER},
    "processes.*.count": 3,
    "processes.*.single": True,
    "processes.*.stop": ["INT", "20s", "QUIT", "5s"],
    "processes.*.env": {"QUEUE": "mail"},
    "processes.*.required": False,
    "processes.*.ready": {"after": "7s"},
    "processes.*.ready.command": "true",
    "processes.*.start_timeout": "90s",
    "schedules": {"cleanup": _SCHEDULE},
    "schedules.*.at": "7 4 * * *",
    "schedules.*.every": "20m",
    "schedules.*.zone": "Europe/Berlin",
    "schedules.*.overlap": "replace",
    "schedules.*.missed": "skip",
    "schedules.*.within": "2h",
    "schedules.*.paused": True,
    "schedules.*.keep": 50,
    "schedules.*.timeout": "2h",
    "schedules.*.retries.count": 2,
    "schedules.*.env": {"A": "b"},
    "stop_timeout": "20s",
    "probation": "20s",
    "threads": 4,
    "health.interval": "20s",
    "health.timeout": "5s",
    "health.failures": 5,
    "health.start_timeout": "90s",
    "processes.*.alive.interval": "30s",
    "processes.*.alive.timeout": "5s",
    "processes.*.alive.failures": 5,
    "processes.*.stop_timeout": "7m",
    "schedules.*.spread": "10m",
    "crash.cap": "5m",
    "watch": False,
    "runtime": "3.12",
    "entrypoint": "shop.wsgi:app",
    "source": {"repository": "shop", "branch": "main"},
}
# What a field needs beside it.
BESIDE: dict[str, dict[str, Any]] = {
     "workers.min": {"workers": {"max": 8}}, "workers.busy": {"workers": {"max": 8}},
    "workers.queue": {"workers": {"max": 8}}, "workers.calm": {"workers": {"max": 8}},
    "workers.spare": {"workers": {"max": 8}},
    "network.connect": {"isolation": "strict"}, "network.listen": {"isolation": "strict"},
    "network": {"isolation": "strict"}, "mounts": {"isolation": "strict"},
    "release.retry": {"release": {"command": "true"}},
    "mounts.from": {"isolation": "strict"}, "mounts.as": {"isolation": "strict"},
    "mounts.write": {"isolation": "strict"},
    "services.binding_name": {"services": [{"name": "db"}]},
    "services.parameters": {"services": [{"name": "db"}]},
    "instances": {"limits": {"cpu": 1}},
    **{f"instances.{name}": {"instances": {"max": 4}, "limits": {"cpu": 1}} for name in ("min", "max", "cpu")},
    "strip": {"below": "/shop"}, "limits.soft": {"limits": {"memory": "512M"}},
    "processes.*.limits.soft": {"processes": {"worker": {**_WORKER, "limits": {"memory": "512M"}}}},
    "processes.*.start_timeout": {"processes": {"worker": {**_WORKER, "ready": {"command": "true"}}}},
    "processes.*.single": {"processes": {"worker": {"command": "python a.py"}}},
    "schedules.*.every": {"schedules": {"cleanup": {"command": "true", "every": "30m"}}},
    "web": {"processes": {"worker": _WORKER}},
    "listen": {"command": ["node", "a.js"]},
}  # fmt: skip
_NEED_DOMAINS = frozenset((
    "redirects", "below", "strip", "tls", "http", "hsts", "body_limit", "answer_timeout", "login", "allow_from",
    "static",
))  # fmt: skip


def parts_of(path: str) -> tuple[str, ...]:
    names = {"processes": "worker", "schedules": "cleanup"}
    top = path.partition(".")[0]
    return tuple(names[top] if name == "*" else name for name in path.split("."))


def context(path: str) -> dict[str, Any]:
    """Return a document that lacks a field, and in which it makes sense."""
    top = path.partition(".")[0]
    found: dict[str, Any] = dict(BESIDE.get(path, {}))
    if top in _NEED_DOMAINS:
        found["domains"] = ["shop.example.com"]
    if path.startswith("canary."):
        found["canary"] = {"share": "5%"}
    if path.startswith("health."):
        found["health"] = {"path": "/"} if path != "health.path" else {}
    if path.startswith("processes.*."):
        found.setdefault("processes", {"worker": {**_WORKER}})
        if ".alive." in path:
            found["processes"]["worker"]["alive"] = {"command": "true"}
        if ".scale." in path:
            found["processes"]["worker"]["scale"] = {"command": "echo 1", "per": 1, "max": 2}
    if path.startswith("schedules.*."):
        found.setdefault("schedules", {"cleanup": {**_SCHEDULE}})
    return found


def with_field(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a document with a field set."""
    top, _, name = path.partition(".")
    if name and top == "services":
        return {**document, "services": [{"name": "db", name: value}]}
    if name and top == "mounts":
        return {**document, "mounts": [{"from": "/srv/media", name: value}]}

    def put(inside: Mapping[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
        here = inside.get(parts[0], {})
        return {**inside, parts[0]: put(here if isinstance(here, dict) else {}, parts[1:]) if parts[1:] else value}

    return put(document, parts_of(path))


def value_of(path: str) -> Any:
    if path in VALUES:
        return VALUES[path]
    described: Any = schema("app")
    for name in path.split("."):
        described = described["additionalProperties"] if name == "*" else described.get("items", described)
        described = described if name == "*" else described["properties"][name]
    return described["examples"][0]
