"""What each place of a manifest can reach: a file, a command, an address, a name, or nothing. Pure.

Each place of the schemas is here; a test compares both.
"""

from collections.abc import Mapping
from enum import StrEnum, auto


class Reach(StrEnum):
    """What a place of a manifest can reach."""

    NOTHING = auto()  # values that only the daemon or the app itself interprets
    FILE = auto()  # a path, relative to the manifest or absolute
    RUNTIME = auto()  # a path if it begins with /
    PROGRAM = auto()  # a path if it contains /, run with the daemon's rights
    INSIDE_SOURCE = auto()  # a path that the schema keeps inside the app's source
    BY_APP = auto()  # code or a command that runs with the app's rights, as all its code does
    OPTION = auto()  # a setting of gunicorn, which runs with the app's rights; some are paths
    NAME = auto()
    HOST = auto()
    PORT = auto()
    SERVICE = auto()
    SERVER = auto()
    REPOSITORY = auto()
    DOMAIN = auto()
    PLACE = auto()  # this host, or a cluster of its settings


# Places by their fields: `*` is any field, `[]` any item of a list.
Places = Mapping[tuple[str, ...], Reach]

_APP: Places = {
    ("kind",): Reach.NOTHING,
    ("name",): Reach.NAME,
    ("runtime",): Reach.RUNTIME,
    ("path",): Reach.FILE,
    ("source", "repository"): Reach.REPOSITORY,
    ("source", "path"): Reach.INSIDE_SOURCE,
    **dict.fromkeys([("source", name) for name in ("branch", "tag", "commit", "signed")], Reach.NOTHING),
    ("services", "[]"): Reach.SERVICE,
    ("services", "[]", "name"): Reach.SERVICE,
    ("services", "[]", "binding_name"): Reach.NOTHING,
    ("services", "[]", "parameters"): Reach.NOTHING,
    ("entrypoint",): Reach.BY_APP,
    ("command",): Reach.BY_APP,
    ("command", "[]"): Reach.BY_APP,
    ("listen",): Reach.NOTHING,
    ("build",): Reach.BY_APP,
    ("build", "[]"): Reach.BY_APP,
    ("dependencies",): Reach.INSIDE_SOURCE,
    ("dependencies", "file"): Reach.INSIDE_SOURCE,
    **dict.fromkeys([("dependencies", name, "[]") for name in ("extras", "groups")], Reach.NOTHING),
    ("port",): Reach.PORT,
    ("host",): Reach.HOST,
    ("worker_class",): Reach.BY_APP,
    ("gunicorn", "*"): Reach.OPTION,
    ("gunicorn", "*", "[]"): Reach.OPTION,
    ("env", "*"): Reach.NOTHING,
    ("env", "*", "file"): Reach.FILE,
    ("env_files", "[]"): Reach.FILE,
    **dict.fromkeys([("release",), ("release", "command")], Reach.BY_APP),
    ("release", "retry"): Reach.NOTHING,
    **dict.fromkeys([("health", name) for name in ("path", "host", "interval")], Reach.NOTHING),
    ("health", "timeout"): Reach.NOTHING,
    ("health", "failures"): Reach.NOTHING,
    ("health", "start_timeout"): Reach.NOTHING,
    ("depends_on", "[]"): Reach.NOTHING,
    **dict.fromkeys([("crash", name) for name in ("first", "cap", "good_run")], Reach.NOTHING),
    **dict.fromkeys(
        [("canary", name) for name in ("share", "for", "by", "requests", "undecided", "worse", "workers")],
        Reach.NOTHING,
    ),
    ("holding_page",): Reach.FILE,
    ("web",): Reach.NOTHING,
    ("persist", "[]"): Reach.INSIDE_SOURCE,
    **dict.fromkeys(
        [
            (name,)
            for name in ("workers", "instances", "threads", "probation", "stop_timeout", "idle_after", "start", "state")
        ],
        Reach.NOTHING,
    ),
    **dict.fromkeys(
        [("limits", each) for each in ("memory", "soft", "cpu", "processes", "files", "disk")], Reach.NOTHING
    ),
    **dict.fromkeys([("workers", each) for each in ("min", "max", "busy", "queue", "calm", "spare")], Reach.NOTHING),
    ("isolation",): Reach.NOTHING,  # as the host's settings allow
    ("place",): Reach.PLACE,
    **dict.fromkeys([("instances", each) for each in ("min", "max", "cpu")], Reach.NOTHING),
    **dict.fromkeys([("network", name) for name in ("connect", "listen")], Reach.NOTHING),
    ("network", "connect", "[]"): Reach.NOTHING,  # an app without a list may connect anywhere
    ("mounts", "[]", "from"): Reach.FILE,
    **dict.fromkeys([("mounts", "[]", name) for name in ("as", "write")], Reach.NOTHING),
    **dict.fromkeys([("patience",), ("access_log",), ("watch",), ("allow_from", "[]")], Reach.NOTHING),
    **dict.fromkeys([("domains", "[]"), ("redirects", "[]")], Reach.DOMAIN),
    **dict.fromkeys([("static", "*"), ("canary", "share", "[]")], Reach.NOTHING),
    **dict.fromkeys(
        [(name,) for name in ("below", "strip", "tls", "http", "hsts", "body_limit", "answer_timeout")], Reach.NOTHING
    ),
    **dict.fromkeys([("tls", "certificate", "file"), ("tls", "key", "file"), ("login", "file")], Reach.FILE),
    **dict.fromkeys([("processes", "*"), ("processes", "*", "ready")], Reach.BY_APP),
    **{
        ("processes", "*", *command): Reach.BY_APP
        for each in (("command",), ("ready", "command"), ("alive", "command"), ("scale", "command"))
        for command in (each, (*each, "[]"))
    },
    **{
        ("processes", "*", *field): Reach.NOTHING
        for field in (
            *((name,) for name in ("count", "single", "stop_timeout", "start_timeout", "watchdog", "required")),
            ("stop", "[]"),
            ("ready", "after"),
            ("env", "*"),
            ("alive", "interval"),
            ("alive", "timeout"),
            ("alive", "failures"),
            *(("scale", name) for name in ("per", "min", "max", "every", "timeout", "calm")),
            *(("limits", name) for name in ("memory", "soft", "cpu", "processes", "files")),
        )
    },
    **dict.fromkeys([(kind, "*", "env", "*", "file") for kind in ("processes", "schedules")], Reach.FILE),
    **dict.fromkeys([("schedules", "*", "command"), ("schedules", "*", "command", "[]")], Reach.BY_APP),
    **{("schedules", "*", "ping", when, "file"): Reach.FILE for when in ("start", "ok", "failed")},
    **{
        ("schedules", "*", *field): Reach.NOTHING
        for field in (
            *((name,) for name in ("at", "every", "zone", "timeout", "overlap", "missed", "within", "spread")),
            *(("paused",), ("env", "*")),
            ("keep",),
            ("retries", "count"),
            ("retries", "first"),
            ("retries", "cap"),
        )
    },
}
_SERVICE: Places = {
    ("kind",): Reach.NOTHING,
    ("name",): Reach.NAME,
    ("type",): Reach.NOTHING,
    ("plan",): Reach.NOTHING,
    ("label",): Reach.NOTHING,
    ("retain",): Reach.NOTHING,
    ("tags", "[]"): Reach.NOTHING,
    ("server",): Reach.SERVER,
    ("grace",): Reach.NOTHING,
    ("backup", "every"): Reach.NOTHING,
    ("backup", "keep"): Reach.NOTHING,
    ("service",): Reach.NOTHING,
    ("parameters",): Reach.NOTHING,
    ("credentials_file",): Reach.FILE,
    ("command", "[]"): Reach.PROGRAM,
    ("credentials", "*"): Reach.NOTHING,
    ("credentials", "*", "file"): Reach.FILE,
}
PLACES: Mapping[str, Places] = {"app": _APP, "service": _SERVICE}
