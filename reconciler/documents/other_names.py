"""Names by which other tools, or a slip of memory, call the fields of a document."""

from collections.abc import Mapping

# What is written → the fields that may be meant, of which those of the document are proposed.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("environment", "environments", "envs", "env_vars", "variables", "vars", "config_vars"), ("env",)),
    **dict.fromkeys(("env_file", "envfile", "dotenv"), ("env_files",)),
    **dict.fromkeys(("cmd", "run", "exec", "start_command"), ("command", "entrypoint", "release")),
    **dict.fromkeys(("app", "module", "wsgi", "asgi", "callable", "image", "main"), ("entrypoint",)),
    **dict.fromkeys(("migrate", "predeploy", "pre_deploy", "post_deploy", "release_command"), ("release",)),
    **dict.fromkeys(("python", "python_version", "version", "interpreter", "buildpack", "stack"), ("runtime",)),
    **dict.fromkeys(("replicas", "scale", "concurrency", "worker"), ("workers",)),
    **dict.fromkeys(("healthcheck", "health_check", "healthchecks", "probe", "readiness", "liveness"), ("health",)),
    **dict.fromkeys(("src", "dir", "directory", "folder", "root", "context", "code", "workdir"), ("path",)),
    **dict.fromkeys(
        ("dependencies_file", "requirements", "requirements_file", "packages", "lockfile"), ("dependencies",)
    ),
    **dict.fromkeys(("ports", "expose"), ("port",)),
    **dict.fromkeys(("hosts", "hostnames", "server_name", "vhost", "virtual_host", "domain", "routes"), ("domains",)),
    **dict.fromkeys(("bind", "address", "ip", "hostname"), ("host",)),
    **dict.fromkeys(("databases", "database", "bindings", "binds", "addons"), ("services",)),
    **dict.fromkeys(("volumes", "storage", "data"), ("persist", "mounts")),
    **dict.fromkeys(("requires", "needs", "after"), ("depends_on",)),
    **dict.fromkeys(("grace_period", "graceful_timeout", "shutdown_timeout", "stop_grace_period"), ("stop_timeout",)),
    **dict.fromkeys(("url", "endpoint", "uri"), ("path",)),
    **dict.fromkeys(("resources", "limit", "quota", "quotas", "mem_limit", "ulimits"), ("limits",)),
    **dict.fromkeys(("sandbox", "confinement", "security", "isolate"), ("isolation",)),
    **dict.fromkeys(("mount", "bind_mounts", "binds_of_host"), ("mounts",)),
    **dict.fromkeys(("engine", "driver"), ("type",)),
}
