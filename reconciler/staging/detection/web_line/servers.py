"""The command lines of the servers that a web line may start: which options they have, and what each one means here.

From the option lists of gunicorn 19 to 27, uvicorn, hypercorn, daphne, granian, waitress, uWSGI, mod_wsgi-express,
Flask, Quart and FastAPI.
"""

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.frameworks import Interface

# How the words of a command name the app: `object` is module:callable, `file` a Python file that holds it; `flask` and
# `fastapi` are found as these tools do, `django` is a manage.py, `config` stands in a configuration file of gunicorn.
Kind: TypeAlias = Literal["object", "file", "flask", "fastapi", "django", "config"]
Role: TypeAlias = Literal[
    "app", "callable", "chdir", "config", "factory", "file", "ini", "interface", "module", "nothing", "pythonpath",
    "worker_class",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSyntax:
    """The command line of one server.

    `short` are abbreviations, `flags` the options without a value. `adopted` are options that become settings of
    gunicorn, `means` those that would if the daemon did not own the setting, `roles` those that say where the app is.
    `development` tells a server for a developer's machine, which counts only where there is no other,
    `any_is_setting` that each of its options is a setting of gunicorn.
    """

    kind: Kind = "object"
    interface: Interface | None = None
    subcommands: frozenset[str] = frozenset()
    development: bool = False
    any_is_setting: bool = False
    short: Mapping[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    adopted: Mapping[str, str] = field(default_factory=dict)
    means: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)


_HOST_AND_PORT = {"--host": "bind", "--port": "bind", "--bind": "bind", "--uds": "bind", "--fd": "bind"}

_GUNICORN = ServerSyntax(
    any_is_setting=True,
    short={
        "-b": "--bind", "-w": "--workers", "-k": "--worker-class", "-t": "--timeout", "-c": "--config", "-e": "--env",
        "-n": "--name", "-p": "--pid", "-u": "--user", "-g": "--group", "-m": "--umask", "-D": "--daemon",
        "-R": "--enable-stdio-inheritance",
    },
    flags=frozenset((
        "--preload", "--daemon", "--reload", "--no-sendfile", "--capture-output", "--enable-stdio-inheritance",
        "--strip-header-spaces", "--proxy-protocol", "--spew", "--check-config", "--print-config",
        "--no-control-socket", "--initgroups", "--reuse-port", "--log-syslog", "--suppress-ragged-eofs",
        "--do-handshake-on-connect", "--disable-redirect-access-to-syslog", "--permit-obsolete-folding",
        "--permit-unconventional-http-method", "--permit-unconventional-http-version", "--casefold-http-method",
        "--enable-backlog-metric", "--http2-cleartext",
    )),
    adopted={
        "--timeout": "timeout",
        "--keep-alive": "keepalive",
        "--max-requests": "max_requests",
        "--max-requests-jitter": "max_requests_jitter",
        "--worker-connections": "worker_connections",
        "--limit-request-line": "limit_request_line",
        "--limit-request-fields": "limit_request_fields",
        "--limit-request-field_size": "limit_request_field_size",
        "--forwarded-allow-ips": "forwarded_allow_ips",
        "--access-logformat": "access_log_format",
        "--log-level": "loglevel",
        "--preload": "preload_app",
        "--no-sendfile": "sendfile",
        "--umask": "umask",
    },
    means={
        "--bind": "bind",
        "--backlog": "backlog",
        "--reuse-port": "reuse_port",
        "--workers": "workers",
        "--threads": "threads",
        "--env": "raw_env",
        "--graceful-timeout": "graceful_timeout",
        "--reload": "reload",
        "--reload-engine": "reload",
        "--reload-extra-file": "reload",
        "--paste": "paste",
        "--paster": "paste",
        "--user": "user",
        "--group": "group",
        "--initgroups": "initgroups",
        "--daemon": "daemon",
        "--pid": "pidfile",
        "--name": "proc_name",
        "--access-logfile": "accesslog",
        "--error-logfile": "errorlog",
        "--log-file": "errorlog",
        "--log-config": "logconfig",
        "--log-config-json": "logconfig_json",
        "--capture-output": "capture_output",
        "--check-config": "check_config",
        "--print-config": "print_config",
        "--control-socket": "control_socket",
        "--control-socket-mode": "control_socket_mode",
        "--no-control-socket": "control_socket_disable",
    },
    roles={
        "--chdir": "chdir", "--pythonpath": "pythonpath", "--worker-class": "worker_class", "--config": "config",
    },
)  # fmt: skip

_UVICORN = ServerSyntax(
    interface="asgi",
    flags=frozenset((
        "--reload", "--proxy-headers", "--no-proxy-headers", "--access-log", "--no-access-log", "--use-colors",
        "--no-use-colors", "--server-header", "--no-server-header", "--date-header", "--no-date-header", "--factory",
        "--ws-per-message-deflate", "--reset-contextvars",
    )),
    adopted={
        "--forwarded-allow-ips": "forwarded_allow_ips",
        "--log-level": "loglevel",
        "--timeout-keep-alive": "keepalive",
        "--limit-max-requests": "max_requests",
    },
    means={
        **_HOST_AND_PORT,
        "--workers": "workers",
        "--reload": "reload",
        "--reload-dir": "reload",
        "--env-file": "raw_env",
        "--log-config": "logconfig",
        "--access-log": "accesslog",
        "--no-access-log": "accesslog",
        "--timeout-graceful-shutdown": "graceful_timeout",
        "--backlog": "backlog",
    },
    roles={"--app-dir": "chdir", "--factory": "factory"},
)  # fmt: skip

_HYPERCORN = ServerSyntax(
    interface="asgi",
    short={
        "-b": "--bind", "-w": "--workers", "-k": "--worker-class", "-c": "--config", "-p": "--pid", "-D": "--daemon",
        "-g": "--group", "-u": "--user", "-m": "--umask",
    },
    flags=frozenset(("--daemon", "--debug", "--reload", "--use-reloader")),
    adopted={"--keep-alive": "keepalive", "--log-level": "loglevel", "--max-requests": "max_requests"},
    means={
        "--bind": "bind",
        "--insecure-bind": "bind",
        "--quic-bind": "bind",
        "--workers": "workers",
        "--worker-class": "worker_class",
        "--reload": "reload",
        "--graceful-timeout": "graceful_timeout",
        "--access-logfile": "accesslog",
        "--access-log": "accesslog",
        "--error-logfile": "errorlog",
        "--error-log": "errorlog",
        "--log-config": "logconfig",
        "--pid": "pidfile",
        "--user": "user",
        "--group": "group",
        "--daemon": "daemon",
        "--backlog": "backlog",
    },
)  # fmt: skip

_DAPHNE = ServerSyntax(
    interface="asgi",
    short={
        "-b": "--bind", "-p": "--port", "-u": "--unix-socket", "-e": "--endpoint", "-v": "--verbosity",
        "-t": "--http-timeout", "-s": "--server-name",
    },
    flags=frozenset(("--proxy-headers", "--no-server-name")),
    means={
        **_HOST_AND_PORT,
        "--unix-socket": "bind",
        "--endpoint": "bind",
        "--access-log": "accesslog",
        "--log-fmt": "access_log_format",
    },
    roles={"--verbosity": "nothing"},
)  # fmt: skip

_GRANIAN = ServerSyntax(
    flags=frozenset(("--reload", "--no-reload", "--factory", "--no-factory", "--access-log", "--no-access-log")),
    adopted={"--log-level": "loglevel"},
    means={
        **_HOST_AND_PORT,
        "--workers": "workers",
        "--runtime-threads": "threads",
        "--blocking-threads": "threads",
        "--threads": "threads",
        "--reload": "reload",
        "--access-log": "accesslog",
        "--log-config": "logconfig",
        "--env-files": "raw_env",
        "--backlog": "backlog",
    },
    roles={"--interface": "interface", "--working-dir": "chdir", "--factory": "factory"},
)

_WAITRESS = ServerSyntax(
    interface="wsgi",
    flags=frozenset((
        "--call", "--help", "--expose-tracebacks", "--no-expose-tracebacks", "--ipv4", "--no-ipv4", "--ipv6",
        "--no-ipv6", "--asyncore-use-poll", "--no-asyncore-use-poll", "--log-socket-errors", "--no-log-socket-errors",
        "--log-untrusted-proxy-headers", "--no-log-untrusted-proxy-headers", "--clear-untrusted-proxy-headers",
        "--no-clear-untrusted-proxy-headers",
    )),
    means={**_HOST_AND_PORT, "--listen": "bind", "--unix-socket": "bind", "--threads": "threads"},
    roles={"--call": "factory", "--app": "app"},
)  # fmt: skip

_UWSGI = ServerSyntax(
    interface="wsgi",
    short={
        "-w": "--module", "-p": "--processes", "-s": "--socket", "-H": "--home", "-M": "--master", "-l": "--listen",
        "-L": "--disable-logging", "-t": "--harakiri", "-R": "--max-requests", "-x": "--xml", "-y": "--yaml",
        "-j": "--json",
    },
    flags=frozenset((
        "--master", "--enable-threads", "--die-on-term", "--need-app", "--vacuum", "--lazy", "--lazy-apps",
        "--single-interpreter", "--thunder-lock", "--disable-logging", "--http-auto-chunked", "--strict",
        "--ignore-sigpipe", "--ignore-write-errors", "--disable-write-exception", "--memory-report", "--no-site",
        "--manage-script-name", "--log-master", "--auto-procname", "--catch-exceptions", "--offload",
    )),
    adopted={"--harakiri": "timeout", "--max-requests": "max_requests"},
    means={
        "--http": "bind",
        "--http-socket": "bind",
        "--socket": "bind",
        "--uwsgi-socket": "bind",
        "--chmod-socket": "bind",
        "--listen": "backlog",
        "--processes": "workers",
        "--workers": "workers",
        "--threads": "threads",
        "--env": "raw_env",
        "--uid": "user",
        "--gid": "group",
        "--pidfile": "pidfile",
        "--logto": "errorlog",
        "--daemonize": "daemon",
        "--py-autoreload": "reload",
    },
    roles={
        "--module": "module", "--wsgi": "module", "--wsgi-file": "file", "--file": "file", "--callable": "callable",
        "--chdir": "chdir", "--pythonpath": "pythonpath", "--python-path": "pythonpath", "--pp": "pythonpath",
        "--ini": "ini", "--xml": "ini", "--yaml": "ini", "--json": "ini",
        "--home": "nothing", "--virtualenv": "nothing", "--venv": "nothing", "--plugin": "nothing",
        "--plugins": "nothing", "--master": "nothing", "--die-on-term": "nothing", "--need-app": "nothing",
        "--vacuum": "nothing", "--enable-threads": "nothing", "--strict": "nothing",
    },
)  # fmt: skip

_MOD_WSGI = ServerSyntax(
    kind="file",
    interface="wsgi",
    subcommands=frozenset(("start-server",)),
    flags=frozenset(("--log-to-terminal", "--startup-log", "--access-log", "--trust-proxy-header")),
    means={
        **_HOST_AND_PORT,
        "--processes": "workers",
        "--threads": "threads",
        "--user": "user",
        "--group": "group",
    },
    roles={"--callable-object": "callable", "--working-directory": "chdir", "--python-path": "pythonpath"},
)

_FLASK = ServerSyntax(
    kind="flask",
    subcommands=frozenset(("run",)),
    development=True,
    short={"-A": "--app", "-e": "--env-file", "-h": "--host", "-p": "--port"},
    flags=frozenset((
        "--debug", "--no-debug", "--reload", "--no-reload", "--debugger", "--no-debugger", "--with-threads",
        "--without-threads",
    )),
    means={**_HOST_AND_PORT, "--env-file": "raw_env", "--cert": "bind", "--key": "bind", "--reload": "reload"},
    roles={"--app": "app"},
)  # fmt: skip

_FASTAPI = ServerSyntax(
    kind="fastapi",
    interface="asgi",
    subcommands=frozenset(("run", "dev")),
    development=True,
    short={"-e": "--entrypoint"},
    flags=frozenset(("--reload", "--no-reload", "--proxy-headers", "--no-proxy-headers", "--verbose")),
    adopted={"--forwarded-allow-ips": "forwarded_allow_ips"},
    means={**_HOST_AND_PORT, "--workers": "workers", "--reload": "reload", "--reload-dir": "reload"},
    roles={"--app": "callable", "--entrypoint": "module"},
)

_SANIC = ServerSyntax(
    interface="asgi",
    short={"-H": "--host", "-p": "--port", "-u": "--unix", "-w": "--workers", "-r": "--reload", "-R": "--reload-dir"},
    flags=frozenset(("--factory", "--fast", "--reload", "--debug", "--dev", "--access-logs", "--no-access-logs")),
    means={**_HOST_AND_PORT, "--unix": "bind", "--workers": "workers", "--fast": "workers", "--reload": "reload"},
    roles={"--factory": "factory"},
)

SERVERS: Mapping[str, ServerSyntax] = MappingProxyType({
    "gunicorn": _GUNICORN,
    "uvicorn": _UVICORN,
    "hypercorn": _HYPERCORN,
    "daphne": _DAPHNE,
    "granian": _GRANIAN,
    "sanic": _SANIC,
    "waitress-serve": _WAITRESS,
    "waitress": _WAITRESS,
    "uwsgi": _UWSGI,
    "mod_wsgi-express": _MOD_WSGI,
    "flask": _FLASK,
    "quart": _FLASK,
    "fastapi": _FASTAPI,
})  # fmt: skip
