"""The API's OpenAPI document, made from one table."""

from typing import Any, TypeAlias

from reconciler.web.buttons import BUTTONS

_NULLABLE_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_NULLABLE_NUMBER: dict[str, Any] = {"type": ["number", "null"]}
_NAME: dict[str, Any] = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "examples": ["blog"]}
_STATES = [
    "pending", "staging", "starting", "running", "degraded", "failing", "sleeping", "stopping", "stopped",
    "maintenance", "invalid",
]  # fmt: skip


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(of: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}


_SCHEMAS: dict[str, Any] = {
    "App": _object(
        name={"type": "string"},
        state={"type": "string", "enum": _STATES},
        message={"type": "string"},
        url=_NULLABLE_TEXT,
        port={"type": ["integer", "null"]},
        revision=_NULLABLE_TEXT,
        wanted_revision=_NULLABLE_TEXT,
        runtime=_NULLABLE_TEXT,
        pid={"type": ["integer", "null"]},
        workers={"type": "integer"},
        restarts={"type": "integer"},
        since=_NULLABLE_NUMBER,
        next_try_at=_NULLABLE_NUMBER,
        services={"type": "array"},
        manifest=_NULLABLE_TEXT,
        memory_bytes={"type": ["integer", "null"], "description": "Shared pages are counted in part."},
        cpu={"type": ["number", "null"], "description": "The share of one core lately."},
        requests_per_second=_NULLABLE_NUMBER,
    ),
    "Manifest": _object(
        file={"type": "string"},
        errors={
            "type": "array",
            "items": _object(
                line={"type": "integer"},
                column={"type": "integer"},
                path={"type": "string"},
                message={"type": "string"},
            ),
        },
    ),
    "Service": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    "Event": _object(
        id={"type": "integer"},
        at={"type": "number", "description": "Seconds since 1970."},
        app={"type": "string", "description": "Empty for what concerns the host."},
        kind={"type": "string"},
        text={"type": "string"},
        cause={"type": "string"},
    ),
    "Plan": _object(
        name={"type": "string"},
        wanted_revision=_NULLABLE_TEXT,
        actions={
            "type": "array",
            "items": _object(action={"type": "string"}, what={"type": "string"}, cause={"type": "string"}),
        },
        message={"type": "string"},
        wait_seconds=_NULLABLE_NUMBER,
        error=_NULLABLE_TEXT,
        unlike_revision=_NULLABLE_TEXT,
        changes={
            "type": "array",
            "items": _object(field={"type": "string"}, before=_NULLABLE_TEXT, after=_NULLABLE_TEXT),
        },
    ),
    "Problem": _object(
        type={"type": "string"}, title={"type": "string"}, status={"type": "integer"}, detail={"type": "string"}
    ),
    "Request": {
        "type": "object",
        "required": ["do", "app"],
        "additionalProperties": False,
        "properties": {
            "do": {"type": "string", "enum": [*BUTTONS]},
            "app": _NAME,
            "revision": {"type": "string", "pattern": "^[0-9a-f]{1,12}$", "description": "Only for rollback."},
        },
    },
}

_APP = {"name": "app", "in": "query", "description": "Of this app only.", "schema": {"type": "string"}}
_PATH = {"name": "name", "in": "path", "required": True, "description": "An app.", "schema": {"type": "string"}}


def _number(name: str, what: str, default: int, least: int, most: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return {"name": name, "in": "query", "description": what, "schema": schema}


_AFTER = _number("after", "Those that follow this event's number, oldest first.", 0, 0, 2**53)
_LIMIT = _number("limit", "How many at most.", 100, 1, 1000)
_LINES = _number("lines", "How many of the last.", 100, 0, 2000)
_WHICH = {
    "name": "which",
    "in": "query",
    "description": "What the app wrote, what it was asked for, or how it was staged.",
    "schema": {"type": "string", "enum": ["app", "access", "staging"], "default": "app"},
}

# Path: what it is, what a 200 holds, parameters, other statuses, whether it can be followed as server-sent events.
_More: TypeAlias = tuple[list[Any], tuple[int, ...], bool]
_GETS: tuple[tuple[str, str, dict[str, Any], list[Any], tuple[int, ...], bool], ...] = (
    ("/status", "Everything: the daemon, apps, services, manifests.",
     _object(daemon={"type": "object"}, apps=_list("App"), services=_list("Service"), manifests=_list("Manifest"),
             notice=_NULLABLE_TEXT), [], (), False),
    ("/apps", "Every app.", _object(apps=_list("App")), [], (), False),
    ("/apps/{name}", "One app.", {"$ref": "#/components/schemas/App"}, [_PATH], (404,), False),
    ("/services", "Every service.", _object(services=_list("Service")), [], (), False),
    ("/manifests", "Every manifest, with what is wrong with it.",
     _object(manifests=_list("Manifest"), notice=_NULLABLE_TEXT), [], (), False),
    ("/plan", "What would be done now, and why.", _object(apps=_list("Plan")), [], (), False),
    ("/plan/{name}", "The same of one app.", _object(apps=_list("Plan")), [_PATH], (404,), False),
    ("/events", "What happened: the newest, or with `after` what follows an event.",
     _object(events=_list("Event")), [_APP, _AFTER, _LIMIT], (400,), True),
    ("/logs/{name}", "The last lines of a log.",
     _object(lines={"type": "array", "items": {"type": "string"}}), [_PATH, _WHICH, _LINES], (400, 404), True),
    ("/openapi.json", "This document.", {"type": "object"}, [], (), False),
)  # fmt: skip


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {
        f"/api/v1{path}": {"get": _get(path, what, holds, (parameters, problems, follow))}
        for path, what, holds, parameters, problems, follow in _GETS
    }
    paths["/api/v1/requests"] = {
        "post": {
            "operationId": "request",
            "summary": "Ask the daemon for something once; it holds until the app's manifest changes.",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}},
            },
            "responses": {
                "200": _answer("What was done.", _object(done={"type": "string"})),
                **_problems(400, 401, 403, 408, 409, 413, 415, 421, 422, 503),
            },
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "reconciler",
            "version": "1",
            "description": "What a host serves, why, and what happened to it.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _get(path: str, what: str, holds: dict[str, Any], more: _More) -> dict[str, Any]:
    parameters, problems, follow = more
    answer = _answer(what, holds)
    if follow:
        answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": path.strip("/").replace("/", "-").replace("{", "").replace("}", ""),
        "summary": what,
        "parameters": parameters,
        "responses": {"200": answer, **_problems(401, 421, 503, *problems)},
    }


def _answer(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _problems(*statuses: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        str(status): {"description": "Why not.", "content": {"application/problem+json": {"schema": schema}}}
        for status in sorted(statuses)
    }
