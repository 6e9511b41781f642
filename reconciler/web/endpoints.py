"""The endpoints of the API: one table that gives routes, the bounds of parameters, and the OpenAPI document.

Each endpoint is answered by the method of `Api` that has its name.
"""

import re
from dataclasses import field
from typing import Literal

from starlette.requests import Request

from reconciler.documents.names import PROCESS_LOG_PATTERN, is_process_log
from reconciler.inspection.log_tail import MOST_LINES
from reconciler.linux.dataclass import dataclass
from reconciler.web.answer_schemas import INTEGER, NULLABLE_TEXT, TASK_PATTERN, TEXT, Schema, list_of, object_of, ref_to
from reconciler.web.responses import Problem

PREFIX = "/api/v1"
LOGS = ("app", "access", "staging")


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
class LogChoice(Choice):
    """One of the logs of an app, or that of one of its processes or tasks."""

    @property
    def schema(self) -> Schema:
        pattern = f"^({'|'.join(self.values)}|{PROCESS_LOG_PATTERN}|task:{TASK_PATTERN})$"
        return {"type": "string", "pattern": pattern, "default": self.values[0]}

    def read(self, request: Request) -> str:
        """Return the value in the query; raises Problem."""
        value = request.query_params.get(self.name, self.values[0])
        if value not in self.values and not is_process_log(value) and not re.fullmatch(f"task:{TASK_PATTERN}", value):
            others = "a process and its number such as worker.1, or task: and the id of a task"
            raise Problem(400, f"'{self.name}' must be one of {', '.join(self.values)}, {others}")
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


_NAME = Parameter(name="name", place="path", description="An app.")
APP = Parameter(name="app", description="Only events of this app.")
AFTER = Number(name="after", description="The events after this id, oldest first.", default=0, least=0, most=2**53)
LIMIT = Number(name="limit", description="The largest number of events.", default=100, least=1, most=1000)
LINES = Number(name="lines", description="The number of lines.", default=100, least=0, most=MOST_LINES)
WHICH = LogChoice(
    name="which",
    description="The app's own output, its requests, the output of staging, of a process such as worker.1, or task:ID.",
    values=LOGS,
)
OF_APP = Parameter(name="app", description="Only tasks of this app.")
MOST_TASKS = Number(name="limit", description="The largest number of tasks.", default=50, least=1, most=1000)
_TASK = Parameter(name="task", place="path", description="The id of a task.")
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
        answer=object_of(
            daemon={"type": "object"}, apps=list_of("App"), services=list_of("Service"), manifests=list_of("Manifest"),
            origins=list_of("Origin"), domains=list_of("Domain"), notice=NULLABLE_TEXT,
        ),
    ),
    Endpoint(name="apps", path=f"{PREFIX}/apps", summary="Every app.", answer=object_of(apps=list_of("App"))),
    Endpoint(
        name="app",
        path=f"{PREFIX}/apps/{{name}}",
        summary="One app.",
        answer=ref_to("App"),
        parameters=(_NAME,),
        problems=(404,),
    ),
    Endpoint(
        name="releases",
        path=f"{PREFIX}/apps/{{name}}/releases",
        summary="What an app ran, the newest first.",
        answer=object_of(app=TEXT, releases=list_of("Release")),
        parameters=(_NAME,),
        problems=(404,),
    ),
    Endpoint(
        name="tasks",
        path=f"{PREFIX}/tasks",
        summary="The newest tasks, of an app or of all.",
        answer=object_of(tasks=list_of("Task")),
        parameters=(OF_APP, MOST_TASKS),
        problems=(400,),
    ),
    Endpoint(
        name="task",
        path=f"{PREFIX}/tasks/{{task}}",
        summary="One task.",
        answer=ref_to("Task"),
        parameters=(_TASK,),
        problems=(404,),
    ),
    Endpoint(
        name="services",
        path=f"{PREFIX}/services",
        summary="Every service.",
        answer=object_of(services=list_of("Service")),
    ),
    Endpoint(
        name="manifests",
        path=f"{PREFIX}/manifests",
        summary="Every manifest file, with its errors.",
        answer=object_of(manifests=list_of("Manifest"), notice=NULLABLE_TEXT),
    ),
    Endpoint(
        name="origins",
        path=f"{PREFIX}/origins",
        summary="Every origin of manifests in git, and what is followed for sources.",
        answer=object_of(origins=list_of("Origin")),
    ),
    Endpoint(name="domains", path=f"{PREFIX}/domains", summary="Domains.", answer=object_of(domains=list_of("Domain"))),
    Endpoint(
        name="plan", path=f"{PREFIX}/plan", summary="The plan of every app.", answer=object_of(apps=list_of("Plan"))
    ),
    Endpoint(
        name="plan_of_app",
        path=f"{PREFIX}/plan/{{name}}",
        summary="The plan of one app.",
        answer=object_of(apps=list_of("Plan")),
        parameters=(_NAME,),
        problems=(404,),
    ),
    Endpoint(
        name="events",
        path=f"{PREFIX}/events",
        summary="The newest events, or with `after` those that follow an event.",
        answer=object_of(events=list_of("Event")),
        parameters=(APP, AFTER, LIMIT),
        problems=(400,),
        streams=True,
    ),
    Endpoint(
        name="log",
        path=f"{PREFIX}/logs/{{name}}",
        summary="The last lines of a log.",
        answer=object_of(lines={"type": "array", "items": TEXT}),
        parameters=(_NAME, WHICH, LINES, SHOW),
        problems=(400, 404),
        streams=True,
    ),
    Endpoint(
        name="request",
        method="POST",
        path=f"{PREFIX}/requests",
        summary="Make a request to the daemon; it applies until the app's manifest changes, or starts or ends a task.",
        body=ref_to("Request"),
        answer={**object_of(done=TEXT), "properties": {"done": TEXT, "task": TEXT}},
        problems=(400, 403, 404, 408, 409, 413, 415, 422),
    ),
    Endpoint(
        name="login_link",
        method="POST",
        path=f"{PREFIX}/login-links",
        summary="Make a link that logs one browser in to the page, once; on the socket only.",
        body={"type": "object"},
        answer=object_of(url=TEXT, expires_in_s=INTEGER),
        problems=(403, 409, 415),
    ),
    Endpoint(name="openapi", path=f"{PREFIX}/openapi.json", summary="This document.", answer={"type": "object"}),
    Endpoint(
        name="metrics",
        path="/metrics",
        summary="Metrics in Prometheus' text format.",
        media_type="text/plain",
        answer=TEXT,
    ),
)  # fmt: skip
