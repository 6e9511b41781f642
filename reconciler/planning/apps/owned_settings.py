"""The settings of gunicorn that the daemon owns, and what an operator uses instead.

Which other settings exist depends on each app's own gunicorn.
"""

from collections.abc import Mapping

_LISTENS = "the daemon opens the listening socket"
_LOGS = "the daemon keeps the logs; read them with 'reconciler logs'"
_ACCESS = "the daemon keeps the logs; use the field 'access_log'"
_PROCESS = "the daemon starts, watches and ends the process"
_RELOADS = "the daemon redeploys when the source changes; use the field 'watch'"
_HOOK = "a hook is Python code, which a manifest cannot hold"
_NAMED = "the daemon names the process after the app"

# From the settings of gunicorn 19 to 27; https://docs.gunicorn.org/en/stable/settings.html
OWNED: Mapping[str, str] = {
    "bind": f"{_LISTENS}; use the fields 'host' and 'port'",
    "backlog": _LISTENS,
    "reuse_port": _LISTENS,
    "workers": "use the field 'workers'",
    "threads": "use the field 'threads'",
    "worker_class": "use the field 'worker_class'",
    "graceful_timeout": "use the field 'stop_timeout'",
    "raw_env": "use the field 'env'",
    "wsgi_app": "use the field 'entrypoint'",
    "paste": "use the field 'entrypoint'",
    "chdir": "the daemon runs each build in its own directory; use the field 'path'",
    **dict.fromkeys(("errorlog", "logconfig", "logconfig_dict", "logconfig_json", "capture_output"), _LOGS),
    "accesslog": _ACCESS,
    **dict.fromkeys(("daemon", "pidfile", "user", "group", "initgroups", "config"), _PROCESS),
    **dict.fromkeys(("check_config", "print_config"), _PROCESS),
    **dict.fromkeys(("control_socket", "control_socket_mode", "control_socket_disable"), _PROCESS),
    **dict.fromkeys(("reload", "reload_engine", "reload_extra_files"), _RELOADS),
    **dict.fromkeys(("proc_name", "default_proc_name"), _NAMED),
    **dict.fromkeys(("on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init"), _HOOK),
    **dict.fromkeys(("worker_int", "worker_abort", "pre_exec", "pre_request", "post_request", "child_exit"), _HOOK),
    **dict.fromkeys(("worker_exit", "nworkers_changed", "on_exit", "ssl_context", "on_dirty_starting"), _HOOK),
    **dict.fromkeys(("dirty_post_fork", "dirty_worker_init", "dirty_worker_exit"), _HOOK),
}
