"""The schemas of what the API takes and answers, as the OpenAPI document has them."""

from collections.abc import Mapping
from typing import Any, TypeAlias, get_args

from reconciler.control.requests import PROCESS_REQUESTS, REQUESTS, SERVICE_REQUESTS
from reconciler.documents.names import NAME_PATTERN, PROCESS_PATTERN
from reconciler.planning.origins.plan import OriginState
from reconciler.planning.states import APP_STATES, DomainState
from reconciler.planning.tasks.task import TaskKind, TaskState

REVISION_PATTERN = "[0-9a-f]{1,12}"
TASK_PATTERN = "[0-9a-f]{8}"

Schema: TypeAlias = Mapping[str, Any]


def object_of(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of these properties, and maybe others."""
    return {"type": "object", "required": list(properties), "properties": properties}


def only_of(required: tuple[str, ...], **properties: Schema) -> Schema:
    """Return the schema of an object that has these properties and no others."""
    return {"type": "object", "required": [*required], "additionalProperties": False, "properties": properties}


def list_of(of: str) -> Schema:
    """Return the schema of a list of what a schema of this document describes."""
    return {"type": "array", "items": ref_to(of)}


def ref_to(to: str) -> Schema:
    """Return a reference to a schema of this document."""
    return {"$ref": f"#/components/schemas/{to}"}


TEXT: Schema = {"type": "string"}
REASON: Schema = {"type": "string", "description": "A stable code, or empty."}
INTEGER: Schema = {"type": "integer"}
NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
NULLABLE_INTEGER: Schema = {"type": ["integer", "null"]}
COMMIT: Schema = {"type": ["string", "null"], "description": "The id of a commit."}
NULLABLE_NUMBER: Schema = {"type": ["number", "null"]}

_OVERRIDE: Schema = {
    "description": "A request of an operator that applies instead of the manifest.",
    "oneOf": [
        {"type": "null"},
        object_of(kind={"type": "string", "enum": ["stopped", "maintenance", "rolled back"]}, revision=NULLABLE_TEXT),
    ],
}
SCHEMAS: Mapping[str, Schema] = {
    "App": object_of(
        name=TEXT,
        state={"type": "string", "enum": [state.name for state in APP_STATES]},
        reason=REASON,
        message=TEXT,
        url=NULLABLE_TEXT,
        port=NULLABLE_INTEGER,
        wanted_url=NULLABLE_TEXT,
        port_url=NULLABLE_TEXT,
        revision=NULLABLE_TEXT,
        wanted_revision=NULLABLE_TEXT,
        override=_OVERRIDE,
        runtime=NULLABLE_TEXT,
        pid=NULLABLE_INTEGER,
        workers=INTEGER,
        worker_range={
            "type": ["array", "null"],
            "items": {"type": "integer"},
            "description": "The fewest and the most workers of an app that has as many as it needs.",
        },
        held_workers={
            "description": "A number of workers that an operator asked for, until seconds since 1970.",
            "oneOf": [{"type": "null"}, object_of(workers=INTEGER, until=NULLABLE_NUMBER)],
        },
        canary_share={
            "type": ["number", "null"],
            "description": "The part of new connections that the wanted revision gets as a canary, of 1.",
        },
        restarts={
            "type": "integer",
            "description": "Instances that served and exited on their own, since this revision served first.",
        },
        since={
            "type": ["number", "null"],
            "description": "When it came into this state or another revision served, in seconds since 1970.",
        },
        next_try_at=NULLABLE_NUMBER,
        services={"type": "array"},
        persist={"type": "array"},
        schedules=list_of("Schedule"),
        manifest=NULLABLE_TEXT,
        commit={"type": ["string", "null"], "description": "The commit that brought its source, if one did."},
        processes=list_of("Process"),
        user={"type": ["integer", "null"], "description": "The number of the user that it alone runs as."},
        memory_bytes={"type": ["integer", "null"], "description": "The proportional share of its processes (PSS)."},
        cpu={"type": ["number", "null"], "description": "In cores, since the measurement before."},
        requests_per_second=NULLABLE_NUMBER,
        queue={"type": ["integer", "null"], "description": "Connections that no worker has accepted yet."},
        queue_wait_seconds={"type": ["number", "null"], "description": "How long requests waited for a worker."},
    ),
    "Process": object_of(
        **dict.fromkeys(("name", "state", "reason", "message"), TEXT),
        **dict.fromkeys(("desired", "running", "starting", "draining", "crashes"), INTEGER),
        **dict.fromkeys(("since", "draining_since", "draining_until", "next_try_at"), NULLABLE_NUMBER),
        pids={"type": "array", "items": INTEGER},
    ),
    "Manifest": object_of(
        file=TEXT,
        errors={"type": "array", "items": object_of(line=INTEGER, column=INTEGER, path=TEXT, message=TEXT)},
    ),
    "Service": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
    "Domain": object_of(
        **dict.fromkeys(("name", "app", "below", "message", "issuer"), TEXT),
        state={"type": "string", "enum": [*get_args(DomainState)]},
        url={"type": "string", "description": "Where clients reach it, without a path."},
        leads_to={"type": "string", "description": "The URL that the name only leads to; empty for one that serves."},
        ends_at={"type": ["number", "null"], "description": "When its certificate ends, in seconds since 1970."},
    ),
    "Origin": object_of(
        name=TEXT,
        kind={
            "type": "string",
            "enum": ["origin", "source"],
            "description": "Whether manifests or apps' sources are in it.",
        },
        repository=TEXT,
        branch=TEXT,
        tags=TEXT,
        commit={"type": "string", "description": "The commit that the settings name; empty unless they do."},
        tag={"type": "string", "description": "The newest of the tags that are followed; empty otherwise."},
        paths={"type": "array", "items": TEXT},
        state={"type": "string", "enum": [*get_args(OriginState)]},
        message=TEXT,
        failure={"type": "string", "description": "Why the last look failed; empty if it did not."},
        head=COMMIT,
        accepted=COMMIT,
        in_force=COMMIT,
        good=COMMIT,
        since=NULLABLE_NUMBER,
        heard_at=NULLABLE_NUMBER,
        signed={"type": "string", "enum": ["every", "head", "tag", "no"]},
        signed_by=TEXT,
        behind={"type": ["integer", "null"], "description": "The commits of the head that are not in force."},
        store_bytes={"type": ["integer", "null"], "description": "The size of what was fetched."},
        trial={
            "oneOf": [
                {"type": "null"},
                object_of(
                    branch=TEXT,
                    commit=TEXT,
                    ruling={"type": ["string", "null"]},
                    message=TEXT,
                    signed_by=TEXT,
                    up_to_date={"type": "boolean"},
                ),
            ],
            "description": "The newest commit of the trial branch, and the ruling on it; null without one.",
        },
        fleet={"type": "array", "items": TEXT, "description": "Troubles with the fleet of the repository."},
        webhook={
            "oneOf": [{"type": "null"}, object_of(called_at=NULLABLE_NUMBER, missed=INTEGER, doubt=TEXT)],
            "description": "When the webhook was called last, and how many commits it missed since; null without one.",
        },
        subjects={"type": "object", "additionalProperties": TEXT},
    ),
    "Event": object_of(
        id=INTEGER,
        at={"type": "number", "description": "Seconds since 1970."},
        app={"type": "string", "description": "The app it is about; empty for a service or the host."},
        service={"type": "string", "description": "The service it is about; empty for an app or the host."},
        origin={"type": "string", "description": "The origin in git that it is about; empty for anything else."},
        process={"type": "string", "description": "The process of the app that it is about; empty for its web."},
        kind=TEXT,
        reason=REASON,
        text=TEXT,
        cause=TEXT,
    ),
    "Release": object_of(
        number={"type": "integer", "description": "Counts the app's releases; 0 for one of before they were recorded."},
        revision=TEXT,
        build=TEXT,
        at=NULLABLE_NUMBER,
        reason=REASON,
        cause=TEXT,
        initiator=TEXT,
        requested_by=NULLABLE_TEXT,
        commit=COMMIT,
        previous_revision=NULLABLE_TEXT,
        changes={"type": ["array", "null"], "description": "The fields that differ from the previous revision."},
        files={"type": ["object", "null"], "description": "The files of the source that differ from it."},
        outcome=TEXT,
        served_at=NULLABLE_NUMBER,
        served_until=NULLABLE_NUMBER,
        failures=INTEGER,
        failure=NULLABLE_TEXT,
        can_roll_back={"type": "boolean"},
    ),
    "Schedule": object_of(
        name=TEXT,
        at=NULLABLE_TEXT,
        every_s=NULLABLE_NUMBER,
        zone=TEXT,
        state={"type": "string", "enum": ["ready", "failing", "paused"]},
        next_at=NULLABLE_NUMBER,
        task={"type": ["string", "null"], "description": "The last task of it that has ended."},
        message=TEXT,
        ended_at=NULLABLE_NUMBER,
    ),
    "Task": object_of(
        id=TEXT,
        app=TEXT,
        kind={"type": "string", "enum": [*get_args(TaskKind)]},
        name=TEXT,
        command={"type": "string", "description": "Without secrets."},
        state={"type": "string", "enum": [*get_args(TaskState)]},
        cause=TEXT,
        asked_by=NULLABLE_TEXT,
        schedule=NULLABLE_TEXT,
        planned_at=NULLABLE_NUMBER,
        attempt=INTEGER,
        revision=NULLABLE_TEXT,
        owed_at={"type": "number"},
        started_at=NULLABLE_NUMBER,
        ended_at=NULLABLE_NUMBER,
        took_s=NULLABLE_NUMBER,
        timeout_s={"type": "number"},
        exit={"type": ["integer", "null"], "description": "The exit code, or 128 and the number of a signal."},
        signal=NULLABLE_INTEGER,
        message=TEXT,
        memory={"type": ["integer", "null"], "description": "The most that a process of it had, in bytes."},
        printed={"type": ["integer", "null"], "description": "The bytes that it printed; the log may hold less."},
        said={"type": "string", "description": "Its last lines, without secrets."},
        cancelled_by=NULLABLE_TEXT,
    ),
    "Plan": object_of(
        name=TEXT,
        wanted_revision=NULLABLE_TEXT,
        actions={"type": "array", "items": object_of(action=TEXT, what=TEXT, reason=REASON, cause=TEXT)},
        reason=REASON,
        state=TEXT,
        done={"type": "boolean", "description": "Nothing is to be done, waited for or wrong."},
        message=TEXT,
        wait_seconds=NULLABLE_NUMBER,
        error=NULLABLE_TEXT,
        warnings={"type": "array", "items": TEXT, "description": "What staging would refuse."},
        start_follows={"type": "array", "items": TEXT, "description": "What its start comes after."},
        processes={
            "type": "array",
            "items": object_of(**dict.fromkeys(("process", "action", "what", "cause", "reason"), TEXT)),
        },
        unlike_revision=NULLABLE_TEXT,
        changes={"type": "array", "items": object_of(field=TEXT, before=NULLABLE_TEXT, after=NULLABLE_TEXT)},
        files={"type": ["object", "null"], "description": "Null here; 'reconciler plan --diff --json' fills it."},
    ),
    "Problem": object_of(type=TEXT, title=TEXT, status=INTEGER, detail=TEXT),
    "Request": {
        "oneOf": [
            only_of(
                ("do", "app"),
                do={"type": "string", "enum": list(REQUESTS)},
                app={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog"]},
                revision={"type": "string", "pattern": f"^{REVISION_PATTERN}$", "description": "Only for rollback."},
            ),
            only_of(
                ("do", "app", "command"),
                do={"type": "string", "const": "task"},
                app={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog"]},
                command={
                    "type": "array",
                    "items": TEXT,
                    "minItems": 1,
                    "examples": [["python", "-V"]],
                },
                name=TEXT,
                timeout={"type": "number", "description": "In seconds; the host's tasks.timeout unless given."},
                revision={"type": "string", "pattern": f"^{REVISION_PATTERN}$"},
            ),
            only_of(
                ("do", "app", "schedule"),
                do={"type": "string", "const": "trigger"},
                app={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog"]},
                schedule=TEXT,
            ),
            only_of(
                ("do", "app", "workers"),
                do={"type": "string", "const": "scale"},
                app={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog"]},
                workers={
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "maximum": 1000,
                    "description": "Null for those of the manifest.",
                },
                **{"for": {"type": "number", "description": "In seconds; otherwise until the manifest changes."}},
            ),
            only_of(
                ("do", "app", "process"),
                do={"type": "string", "enum": list(PROCESS_REQUESTS)},
                app={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog"]},
                process={"type": "string", "pattern": f"^{PROCESS_PATTERN}$", "examples": ["worker"]},
            ),
            only_of(
                ("do", "task"),
                do={"type": "string", "const": "cancel"},
                task={"type": "string", "pattern": f"^{TASK_PATTERN}$"},
            ),
            only_of(
                ("do", "service"),
                do={"type": "string", "enum": list(SERVICE_REQUESTS)},
                service={"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["blog-db"]},
            ),
        ]
    },
}
