"""The tables of docs/reference/edits.md: what an edit of each field does, as planning decides it.

After a change, `RECONCILER_WRITE_TABLE=1 pytest tests/docs/test_edits.py` writes the tables again.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.apps.actions import Scale, Stage, Start, Stop, Unlisten
from reconciler.planning.apps.app import App
from reconciler.planning.apps.plan import plan
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.services import plan as services
from reconciler.planning.services.actions import Provision, RecordRetention, Register
from reconciler.planning.services.observed import GrantState, ObservedService, ServiceState
from reconciler.planning.services.service import Service
from tests.world import NOW, serving

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/reference/edits.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"

# Two values of each field of an app, between which an edit changes it.
APP_EDITS: dict[str, tuple[Any, Any]] = {
    "runtime": ("3.11", "3.12"),
    "path": ("/apps/blog", "/apps/other"),
    "entrypoint": ("wsgi:application", "wsgi:app"),
    "command": (["node", "a.js"], ["node", "b.js"]),
    "listen": ("port", "descriptor"),
    "build": (["npm", "ci"], ["npm", "install"]),
    "dependencies": ("a.txt", "b.txt"),
    "port": (8001, 8002),
    "host": ("127.0.0.1", "127.0.0.2"),
    "workers": (1, 2),
    "threads": (1, 2),
    "worker_class": ("sync", "gthread"),
    "gunicorn": ({"timeout": 30}, {"timeout": 60}),
    "env": ({"COLOUR": "red"}, {"COLOUR": "blue"}),
    "release": ("true", "python release.py"),
    "health": ({"path": "/a"}, {"path": "/b"}),
    "limits": ({"memory": "256M"}, {"memory": "512M"}),
    "canary": ({"share": "5%"}, {"share": "10%"}),
    "isolation": ("none", "strict"),
    "probation": ("10s", "20s"),
    "stop_timeout": ("10s", "20s"),
    "idle_after": ("10m", "20m"),
    "start": ("eager", "lazy"),
    "state": ("running", "stopped"),
    "crash": ({"first": "1s"}, {"first": "2s"}),
    "patience": ("10s", "20s"),
    "holding_page": ("/a.html", "/b.html"),
    "access_log": (True, False),
    "depends_on": (["a"], ["b"]),
    "watch": (True, False),
    "domains": (["a.example.com"], ["b.example.com"]),
    "redirects": (["b.example.com"], ["c.example.com"]),
    "below": ("/a", "/b"),
    "strip": (True, False),
    "tls": ("auto", "internal"),
    "http": ("redirect", "serve"),
    "hsts": ("1d", "2d"),
    "body_limit": ("1M", "2M"),
    "answer_timeout": ("9s", "10s"),
    "login": ({"file": "/a"}, {"file": "/b"}),
    "allow_from": (["10.0.0.0/8"], ["10.0.0.0/9"]),
    "static": ({"/static": "a"}, {"/static": "b"}),
    "persist": (["data"], ["media"]),
    "schedules": ({"a": {"command": "a", "every": "1h"}}, {"a": {"command": "a", "every": "2h"}}),
}
OF_DOMAINS = frozenset(
    ("domains", "redirects", "below", "strip", "tls", "http", "hsts", "body_limit", "answer_timeout", "login",
     "allow_from", "static")
)  # fmt: skip
# What another part of the program decides than the plan of the app.
APP_OTHERS = {
    "place": "it is staged and started there; what serves here ends once it is ready there, and the other way round",
    "instances": "the cluster starts or ends as many; nothing else is restarted",
    "kind": "the document is another app or service: the old one is removed, the new one starts",
    "name": "the app of the old name is removed, and one of the new name starts",
    "source": "the directory is fetched if it is not here; if its files differ, a new build is staged, then a new"
    " instance takes over",
    "services": "credentials are created for the app, then a new instance takes over; those of services that it no"
    " longer names are revoked once no instance uses them",
    "env_files": "the files are read, then a new instance takes over",
    "processes": "what differs is started, and what it replaces finishes once that is ready; the web is left alone, and"
    " so is what differs only in how many run, how they are stopped or how they are judged",
    "mounts": "a new instance takes over",
    "network": "a new instance takes over; an edit of a list alone holds at once where rules of the kernel know the"
    " user of the app, and nothing is restarted",
    "web": "a new build is staged; then the web server starts or ends, and so does its port",
}
SERVICE_EDITS: dict[str, tuple[str, Any, Any]] = {
    "type": ("postgresql", "postgresql", "mysql"),
    "plan": ("broker", "small", "large"),
    "retain": ("postgresql", True, False),
    "server": ("postgresql", "main", "other"),
    "grace": ("postgresql", "1h", "2h"),
    "service": ("broker", "a", "b"),
    "parameters": ("broker", {"a": 1}, {"a": 2}),
    "credentials_file": ("user-provided", "/a.json", "/b.json"),
    "command": ("user-provided", ["/bin/a"], ["/bin/b"]),
    "credentials": ("user-provided", {"password": "a"}, {"password": "b"}),
}
SERVICE_OTHERS = {
    "kind": APP_OTHERS["kind"],
    "name": "the service of the old name is no longer desired, and one of the new name is created",
    "backup": "it counts from now on; nothing is restarted",
    "label": "a new instance of each app that binds it takes over",
    "tags": "a new instance of each app that binds it takes over",
}


def fields(schema: str) -> list[str]:
    found = json.loads((ROOT / f"schemas/{schema}.schema.json").read_text())["properties"]
    return list(found)


def app_of(**written: Any) -> App:
    text = yaml.safe_dump({"path": "/apps/blog", "port": 8001, **written})
    parsed = parse("/m/blog.yaml", text.encode(), HostDefaults())
    assert parsed.problems == ()
    return parsed.apps[0].app(int(written.get("port", 8001)))


def effect_on_app(field: str) -> str:
    beside = {"domains": ["a.example.com"], "below": "/a"} if field in OF_DOMAINS else {}
    before, after = (app_of(**{**beside, field: value}) for value in APP_EDITS[field])
    assert before != after, f"{field}: both values are the same app"
    decided = plan(after, serving(before), NOW)
    actions = decided.actions
    if any(isinstance(action, Stage) for action in actions) or after.source != before.source:
        return "a new build is staged, then a new instance takes over"
    if any(isinstance(action, Start) for action in actions):
        moves = any(isinstance(action, Unlisten) for action in actions)
        return "a new instance takes over" + (", at the new address" if moves else "")
    if any(isinstance(action, Scale) for action in actions):
        return "the running instance is scaled"
    if any(isinstance(action, ApplyLimits) for action in actions):
        return "the running instance is held to them; nothing is restarted"
    if any(isinstance(action, Stop) for action in actions):
        return "the app stops or starts, as the field says"
    assert not actions, f"{field}: {actions}"
    if field in OF_DOMAINS:
        return "the proxy is configured; nothing is restarted"
    return "it counts from now on; nothing is restarted"


def effect_on_service(field: str) -> str:
    kind, *values = SERVICE_EDITS[field]

    def service_of(value: Any) -> Service:
        given = {"type": value} if field == "type" else {"type": kind}
        direct = {"plan": "plan", "retain": "retain", "server": "server"}
        if field == "grace":
            return Service(name="db", manifest="db.yaml", grace_s=float(str(value)[:-1]) * 3600, **given)
        if field in direct:
            return Service(name="db", manifest="db.yaml", **given, **{direct[field]: value})
        return Service(name="db", manifest="db.yaml", asked={} if field == "type" else {field: value}, **given)

    before, after = map(service_of, values)
    servers = ("main", "other") if field in {"type", "server"} else ("main", "main")
    bound = GrantState(id="g1", app="blog", parameters="", bound=True, verified_at=NOW, used=True)
    grace_s = 3600.0 if before.grace_s is None else before.grace_s
    here = ServiceState(
        id="s1", type=before.type, server=servers[0], retain=before.retain, grace_s=grace_s,
        made=services.made_of(before), grants=(bound,),
    )  # fmt: skip
    seen = ObservedService(kept=(here,), server=servers[0], wanted_by={"blog": ""})
    assert not services.plan(before, seen, NOW).actions
    actions = services.plan(after, replace(seen, server=servers[1]), NOW).actions
    if any(isinstance(action, Register) for action in actions):
        return "another service is created, and the apps that bind it go over to it; the old one stays as `retain` says"
    if any(isinstance(action, Provision) for action in actions):
        return "the service is changed; if its credentials differ then, each app that binds it gets a new instance"
    assert any(isinstance(action, RecordRetention) for action in actions)
    return "it counts from now on; nothing is restarted"


def tables() -> Iterator[str]:
    yield "## An app's manifest\n\n| field | what an edit does |\n|---|---|\n"
    for field in fields("app"):
        yield f"| `{field}` | {APP_OTHERS.get(field) or effect_on_app(field)} |\n"
    yield "\n## A service's manifest\n\n| field | what an edit does |\n|---|---|\n"
    for field in fields("service"):
        yield f"| `{field}` | {SERVICE_OTHERS.get(field) or effect_on_service(field)} |\n"
    yield "\n## Host settings\n\n| setting | what an edit does |\n|---|---|\n"
    for field in fields("host"):
        yield f"| `{field}` | it counts from the next start of the daemon |\n"


def test_the_tables_say_what_an_edit_of_each_field_does() -> None:
    written = DOCUMENT.read_text()
    before, rest = written.split(BEGIN)
    after = rest.split(END)[1]
    expected = f"{before}{BEGIN}\n{''.join(tables())}{END}{after}"
    if os.environ.get("RECONCILER_WRITE_TABLE"):
        DOCUMENT.write_text(expected)
    assert expected.splitlines() == written.splitlines()


@pytest.mark.parametrize(("schema", "known"), [("app", APP_EDITS.keys() | APP_OTHERS.keys()),
                                               ("service", SERVICE_EDITS.keys() | SERVICE_OTHERS.keys())])  # fmt: skip
def test_every_field_is_edited(schema: str, known: set[str]) -> None:
    assert set(fields(schema)) == known
