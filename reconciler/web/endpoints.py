"""The endpoints of the API: one table that gives routes, the bounds of parameters, and the OpenAPI document.

Each endpoint is answered by the method of `Api` that has its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from starlette.requests import Request

from reconciler.control.requests import REQUESTS, SERVICE_REQUESTS
from reconciler.documents.names import NAME_PATTERN
from reconciler.inspection.log_tail import MOST_LINES
from reconciler.planning.origins.plan import OriginState
from reconciler.planning.states import APP_STATES
from reconciler.web.responses import Problem

PREFIX = "/api/v1"
REVISION_PATTERN = "[0-9a-f]{1,12}"
LOGS = ("app", "access", "staging")

Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of an endpoint, as text."""

    name: str
    description: str
    place: Literal["query", "path"] = "query"

    @property
    def schema(self) -> Schema:
        return {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Parameter):
    """A parameter with a fixed set of values, the first of them the default."""

    values: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.values), "default": self.values[0]}

    def read(self, request: Request) -> str:
        """Return the value in the query; raises Problem."""
        value = request.query_params.get(self.name, self.values[0])
        if value not in self.values:
            raise Problem(400, f"'{self.name}' must be one of {', '.join(self.values)}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Parameter):
    """An integer parameter with bounds."""

    default: int
    least: int
    most: int

    @property
    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most, "default": self.default}

    def read(self, request: Request) -> int:
        """Return the value in the query; raises Problem."""
        text = request.query_params.get(self.name)
        if text is None:
            return self.default
        if not re.fullmatch("[0-9]{1,16}", text) or not self.least <= int(text) <= self.most:
            raise Problem(400, f"'{self.name}' must be an integer from {self.least} to {self.most}")
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A route. `answer` is the schema of a 200, and `problems` the statuses beside those that every endpoint has.

    `streams` when a client may follow it as server-sent events; `body` is the schema of a POST's body.
    """

    name: str
    path: str
    summary: str
    answer: Schema
    method: Literal["GET", "POST"] = "GET"
    media_type: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    problems: tuple[int, ...] = ()
    streams: bool = field(default=False)


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _only(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": [*required], "additionalProperties": False, "properties": properties}


def _list(of: str) -> Schema:
    return {"type": "array", "items": _ref(of)}


def _ref(to: str) -> Schema:
    return {"$ref": f"#/components/schemas/{to}"}


_TEXT: Schema = {"type": "string"}
_REASON: Schema = {"type": "string", "description": "A stable code, or empty."}
_INTEGER: Schema = {"type": "integer"}
_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_NULLABLE_INTEGER: Schema = {"type": ["integer", "null"]}
_COMMIT: Schema = {"type": ["string", "null"], "description": "The id of a commit."}
_NULLABLE_NUMBER: Schema = {"type": ["number", "null"]}

_OVERRIDE: Schema = {
    "description": "A request of an operator that applies instead of the manifest.",
    "oneOf": [
        {"type": "null"},
        _object(kind={"type": "string", "enum": ["stopped", "maintenance", "rolled back"]}, revision=_NULLABLE_TEXT),
    ],
}
SCHEMAS: Mapping[str, Schema] = {
    "App": _object(
        name=_TEXT,
        state={"type": "string", "enum": [state.name for state in APP_STATES]},
        reason=_REASON,
        message=_TEXT,
        url=_NULLABLE_TEXT,
        port=_NULLABLE_INTEGER,
        wanted_url=_NULLABLE_TEXT,
        revision=_NULLABLE_TEXT,
        wanted_revision=_NULLABLE_TEXT,
        override=_OVERRIDE,
        runtime=_NULLABLE_TEXT,
        pid=_NULLABLE_INTEGER,
        workers=_INTEGER,
        restarts={
            "type": "integer",
            "description": "Instances that served and exited on their own, since this revision served first.",
        },
        since={
            "type": ["number", "null"],
            "description": "When it came into this state or another revision served, in seconds since 1970.",
        },
        next_try_at=_NULLABLE_NUMBER,
        services={"type": "array"},
        persist={"type": "array"},
        manifest=_NULLABLE_TEXT,
        commit={"type": ["string", "null"], "description": "The commit that brought its source, if one did."},
        processes=_list("Process"),
        memory_bytes={"type": ["integer", "null"], "description": "The proportional share of its processes (PSS)."},
        cpu={"type": ["number", "null"], "description": "In cores, since the measurement before."},
        requests_per_second=_NULLABLE_NUMBER,
    ),
    "Process": _object(
        **dict.fromkeys(("name", "state", "reason", "message"), _TEXT),
        **dict.fromkeys(("desired", "running", "starting", "draining", "crashes"), _INTEGER),
        **dict.fromkeys(("since", "draining_since", "next_try_at"), _NULLABLE_NUMBER),
        pids={"type": "array", "items": _INTEGER},
    ),
    "Manifest": _object(
        file=_TEXT,
        errors={"type": "array", "items": _object(line=_INTEGER, column=_INTEGER, path=_TEXT, message=_TEXT)},
    ),
    "Service": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
    "Domain": {"type": "object", "required": ["name", "app", "state"], "properties": {"name": _TEXT, "app": _TEXT}},
    "Origin": _object(
        name=_TEXT,
        kind={
            "type": "string",
            "enum": ["origin", "source"],
            "description": "Whether manifests or apps' sources are in it.",
        },
        repository=_TEXT,
        branch=_TEXT,
        tags=_TEXT,
        commit={"type": "string", "description": "The commit that the settings name; empty unless they do."},
        tag={"type": "string", "description": "The newest of the tags that are followed; empty otherwise."},
        paths={"type": "array", "items": _TEXT},
        state={"type": "string", "enum": [*get_args(OriginState)]},
        message=_TEXT,
        head=_COMMIT,
        accepted=_COMMIT,
        in_force=_COMMIT,
        good=_COMMIT,
        since=_NULLABLE_NUMBER,
        heard_at=_NULLABLE_NUMBER,
        signed={"type": "string", "enum": ["every", "head", "tag", "no"]},
        signed_by=_TEXT,
        behind={"type": ["integer", "null"], "description": "The commits of the head that are not in force."},
        store_bytes={"type": ["integer", "null"], "description": "The size of what was fetched."},
        trial={
            "oneOf": [
                {"type": "null"},
                _object(
                    branch=_TEXT,
                    commit=_TEXT,
                    ruling={"type": ["string", "null"]},
                    message=_TEXT,
                    signed_by=_TEXT,
                    up_to_date={"type": "boolean"},
                ),
            ],
            "description": "The newest commit of the trial branch, and the ruling on it; null without one.",
        },
        fleet={"type": "array", "items": _TEXT, "description": "Troubles with the fleet of the repository."},
        webhook={
            "oneOf": [{"type": "null"}, _object(called_at=_NULLABLE_NUMBER, missed=_INTEGER, doubt=_TEXT)],
            "description": "When the webhook was called last, and how many commits it missed since; null without one.",
        },
        subjects={"type": "object", "additionalProperties": _TEXT},
    ),
    "Event": _object(
        id=_INTEGER,
        at={"type": "number", "description": "Seconds since 1970."},
        app={"type": "string", "description": "The app it is about; empty for a service or the host."},
        service={"type": "string", "description": "The service it is about; empty for an app or the host."},
        origin={"type": "string", "description": "The origin in git that it is about; empty for anything else."},
        kind=_TEXT,
        reason=_REASON,
        text=_TEXT,
        cause=_TEXT,
    ),
    "Release": _object(
        number={"type": "integer", "description": "Counts the app's releases; 0 for one of before they were recorded."},
        revision=_TEXT,
        build=_TEXT,
        at=_NULLABLE_NUMBER,
        reason=_REASON,
        cause=_TEXT,
        initiator=_TEXT,
        requested_by=_NULLABLE_TEXT,
        commit=_COMMIT,
        previous_revision=_NULLABLE_TEXT,
        changes={"type": ["array", "null"], "description": "The fields that differ from the previous revision."},
        files={"type": ["object", "null"], "description": "The files of the source that differ from it."},
        outcome=_TEXT,
        served_at=_NULLABLE_NUMBER,
        served_until=_NULLABLE_NUMBER,
        failures=_INTEGER,
        failure=_NULLABLE_TEXT,
        can_roll_back={"type": "boolean"},
    ),
    "Plan": _object(
        name=_TEXT,
        wanted_revision=_NULLABLE_TEXT,
        actions={"type": "array", "items": _object(action=_TEXT, what=_TEXT, reason=_REASON, cause=_TEXT)},
        reason=_REASON,
        state=_TEXT,
        done={"type": "boolean", "description": "Nothing is to be done, waited for or wrong."},
        message=_TEXT,
        wait_seconds=_NULLABLE_NUMBER,
        error=_NULLABLE_TEXT,
        warnings={"type": "array", "items": _TEXT, "description": "What staging would refuse."},
        start_follows={"type": "array", "items": _TEXT, "description": "What its start comes after."},
        unlike_revision=_NULLABLE_TEXT,
        changes={"type": "array", "items": _object(field=_TEXT, before=_NULLABLE_TEXT, after=_NULLABLE_TEXT)},
        files={"type": ["object", "null"], "description": "Null here; 'reconciler plan --diff --json' fills it."},
    ),
    "Problem": _object(type=_TEXT, title=_TEXT, status=_INTEGER, detail=_TEXT),
    "Request": {
        "oneOf": [
            _only(
                ("do", "app"),
                do={"type": "string", "enum": list(REQUESTS)},
                app={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog"]},
                revision={"type": "string", "pattern": f"^{REVISION_PATTERN}$", "description": "Only for rollback."},
            ),
            _only(
                ("do", "service"),
                do={"type": "string", "enum": list(SERVICE_REQUESTS)},
                service={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog-db"]},
            ),
        ]
    },
}

_NAME = Parameter(name="name", place="path", description="An app.")
APP = Parameter(name="app", description="Only events of this app.")
AFTER = Number(name="after", description="The events after this id, oldest first.", default=0, least=0, most=2**53)
LIMIT = Number(name="limit", description="The largest number of events.", default=100, least=1, most=1000)
LINES = Number(name="lines", description="The number of lines.", default=100, least=0, most=MOST_LINES)
WHICH = Choice(name="which", description="The app's own output, its requests, or the output of staging.", values=LOGS)
SHOW = Choice(
    name="show",
    description="Every line as it was written, or a failed start folded to one line and no colours.",
    values=("written", "folded"),
)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        name="status",
        path=f"{PREFIX}/status",
        summary="The daemon, apps, services and manifests.",
        answer=_object(
            daemon={"type": "object"}, apps=_list("App"), services=_list("Service"), manifests=_list("Manifest"),
            origins=_list("Origin"), domains=_list("Domain"), notice=_NULLABLE_TEXT,
        ),
    ),
    Endpoint(name="apps", path=f"{PREFIX}/apps", summary="Every app.", answer=_object(apps=_list("App"))),
    Endpoint(
        name="app",
        path=f"{PREFIX}/apps/{{name}}",
        summary="One app.",
        answer=_ref("App"),
        parameters=(_NAME,),
        problems=(404,),
    ),
    Endpoint(
        name="releases",
        path=f"{PREFIX}/apps/{{name}}/releases",
        summary="What an app ran, the newest first.",
        answer=_object(app=_TEXT, releases=_list("Release")),
        parameters=(_NAME,),
        problems=(404,),
    ),
    Endpoint(
        name="services", path=f"{PREFIX}/services", summary="Every service.", answer=_object(services=_list("Service"))
    ),
    Endpoint(
        name="manifests",
        path=f"{PREFIX}/manifests",
        summary="Every manifest file, with its errors.",
        answer=_object(manifests=_list("Manifest"), notice=_NULLABLE_TEXT),
    ),
    Endpoint(
        name="origins",
        path=f"{PREFIX}/origins",
        summary="Every origin of manifests in git, and what is followed for sources.",
        answer=_object(origins=_list("Origin")),
    ),
    Endpoint(name="domains", path=f"{PREFIX}/domains", summary="Domains.", answer=_object(domains=_list("Domain"))),
    Endpoint(
        name="plan", path=f"{PREFIX}/plan", summary="The plan of every app.", answer=_object(apps=_list("Plan"))
    ),
    Endpoint(
        name="plan_of_app",
        path=f"{PREFIX}/plan/{{name}}",
        summary="The plan of one app.",
        answer=_object(apps=_list("Plan")),
        parameters=(_NAME,),
        problems=(404,),
    ),
    Endpoint(
        name="events",
        path=f"{PREFIX}/events",
        summary="The newest events, or with `after` those that follow an event.",
        answer=_object(events=_list("Event")),
        parameters=(APP, AFTER, LIMIT),
        problems=(400,),
        streams=True,
    ),
    Endpoint(
        name="log",
        path=f"{PREFIX}/logs/{{name}}",
        summary="The last lines of a log.",
        answer=_object(lines={"type": "array", "items": _TEXT}),
        parameters=(_NAME, WHICH, LINES, SHOW),
        problems=(400, 404),
        streams=True,
    ),
    Endpoint(
        name="request",
        method="POST",
        path=f"{PREFIX}/requests",
        summary="Make a request to the daemon; it applies until the app's manifest changes.",
        body=_ref("Request"),
        answer=_object(done=_TEXT),
        problems=(400, 403, 404, 408, 409, 413, 415, 422),
    ),
    Endpoint(
        name="login_link",
        method="POST",
        path=f"{PREFIX}/login-links",
        summary="Make a link that logs one browser in to the page, once; on the socket only.",
        body={"type": "object"},
        answer=_object(url=_TEXT, expires_in_s=_INTEGER),
        problems=(403, 409, 415),
    ),
    Endpoint(name="openapi", path=f"{PREFIX}/openapi.json", summary="This document.", answer={"type": "object"}),
    Endpoint(
        name="metrics",
        path="/metrics",
        summary="Metrics in Prometheus' text format.",
        media_type="text/plain",
        answer=_TEXT,
    ),
)  # fmt: skip
