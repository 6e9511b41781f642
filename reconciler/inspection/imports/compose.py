"""Read a compose file: its Python apps become apps, the databases it runs become services.

Containers have names as addresses, which no app has here: variables with such an address are left out, as an app
finds its services by DATABASE_URL and VCAP_SERVICES.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.dockerfile import dockerfile_commands
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, Unreadable, env_items, yaml_items
from reconciler.inspection.imports.known_servers import mentions, service_type
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.web_command import is_script_without_app, take_command
from reconciler.staging.detection.web_line.command import understand

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")

_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_]\w*)(?:(:?[-?+])([^{}]*))?\}|\$([A-Za-z_]\w*)")
_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?(?:(/[^\s'\"|;)]*+)|(?=[\s'\"|;)]|$))")
_DURATION = re.compile(r"(?=.)(?:\d+h)?(?:\d+m)?(?:\d+s)?")
_PUBLISHED = re.compile(r"(?:(?P<host>[\d.]+):)?(?P<port>\d+):\d+(?:/tcp)?")
_BUILT_IN = frozenset(("version", "name"))
_SILENT = frozenset(("container_name", "restart", "image", "build", "tty", "stdin_open", "init", "pull_policy"))
_ADVICE: Mapping[str, str] = {
    "volumes": advice.VOLUMES,
    "networks": "apps listen on addresses of this host; there are no networks of their own",
    "expose": "set 'port' for a port that is known beforehand",
    "deploy": "set 'workers' for the number of processes, and 'limits' for what they may use",
    "mem_limit": advice.MEMORY,
    "cpus": advice.CPU,
    "ulimits": advice.LIMITS,
    "labels": advice.DOMAINS,
    "logging": "the daemon keeps the logs: see 'logs' of the host's settings",
    "user": advice.USER,
    "working_dir": "the app runs at the top of its source: set 'path' to the directory it needs",
    "profiles": "remove this manifest, or set 'state: stopped', where the app shall not run",
    "links": "an app finds its services by DATABASE_URL and VCAP_SERVICES",
    "extra_hosts": "add it to /etc/hosts of this host",
    "stop_signal": "an instance is stopped by gunicorn's graceful SIGTERM",
    "entrypoint": "it is a program of the container: what it does before each start belongs into 'release'",
    "healthcheck": "set 'health' with a path that answers 2xx when the app is healthy",
    "secrets": "write the secret to a file, and add NAME: {file: …} to 'env'",
    "configs": "put the file into the source, or name it by its path",
    "develop": "the daemon deploys every change of the source",
    "hostname": "an app has no host name of its own",
    "platform": "the app runs on this host",
    "privileged": "no app gets rights that the daemon's user lacks",
}
_SERVER_ADVICE = "the server that the host's settings name has its own: see 'services.servers' there"
_ADDRESS = "a container's name is no address here: the app finds the service by DATABASE_URL or VCAP_SERVICES"


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:  # noqa: C901, PLR0912  one line for each part of a file
    """Return the apps and services of a compose file."""
    values = _dotenv(folder)
    ledger.add(_expanded(item, values) for item in yaml_items(name, folder.text(name)))
    if not ledger.under("services"):  # the format of the first version has them at the top
        for index, item in enumerate(ledger.items):
            if item.path and item.path[0] not in _BUILT_IN:
                ledger.items[index] = replace(item, path=("services", *item.path))
    drafts: dict[str, Draft] = {}
    apps: dict[str, Draft] = {}
    servers: dict[str, Draft] = {}
    others: list[str] = []
    commands = {each: _command_of(ledger, folder, each) for each in ledger.names("services")}
    for each in ledger.names("services"):
        kind = _server_type(ledger, each)
        if kind is not None:
            draft = Draft(name=unique_name(each, drafts), kind="service", fields={"type": kind})
            servers[each] = drafts[draft.name] = draft
    for each in ledger.names("services"):
        if each in servers:
            continue
        draft = Draft(name=unique_name(each, drafts))
        if _answers(ledger, folder, each, commands[each]) and _take_app(ledger, draft, each, folder, commands[each]):
            apps[each] = drafts[draft.name] = draft
        else:
            others.append(each)
    for each, draft in apps.items():
        _take_fields(ledger, draft, each, apps, servers)
    for each in others:
        if not _take_worker(ledger, drafts, each, commands[each], apps, servers):
            ledger.leave(ledger.under("services", each), "it is no Python app, and no service that is known here")
    for each, draft in servers.items():
        _take_server(ledger, draft, each)
    ledger.use(*(item for item in ledger.items if item.path[0] in _BUILT_IN))
    for top in ("volumes", "networks", "configs", "secrets"):
        ledger.leave(ledger.under(top), _ADVICE[top])
    ledger.leave_rest()
    return list(drafts.values())


def _dotenv(folder: Folder) -> dict[str, str]:
    if not folder.has(".env"):
        return {}
    return {item.name: item.value for item in env_items(".env", folder.text(".env")) if item.name}


def _expanded(item: Item, values: Mapping[str, str]) -> Item:
    """Return the item with `${NAME:-default}` replaced, once; what has no value stays as it is written."""

    def text(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        value = values.get(found[1] or found[4])
        operator, other = found[2] or "", found[3] or ""
        if operator.endswith("+"):
            return other if value else ""
        if value or (value is not None and operator in {"", "-"}):
            return value
        return other if operator.endswith("-") else found[0]

    return replace(item, value=_REFERENCE.sub(text, item.value)) if "$" in item.value else item


def _server_type(ledger: Ledger, service: str) -> str | None:
    image = next((item.value for item in ledger.under("services", service, "image") if len(item.path) == 3), "")
    if image and not ledger.under("services", service, "build"):
        return service_type(image.rpartition("@")[0] or image)
    return None


def _command_of(ledger: Ledger, folder: Folder, service: str) -> Item | None:
    """Return the command of a service as one item: its own, or that of its Dockerfile."""
    items = ledger.under("services", service, "command")
    if items and any(item.value for item in items):
        value = items[0].value if len(items[0].path) == 3 else shlex.join(item.value for item in items)
        return replace(items[0], path=items[0].path[:3], value=value)
    if not ledger.under("services", service, "build"):
        return None
    context, dockerfile = _build_of(ledger, service)
    for file in (f"{context}/{dockerfile}", dockerfile):
        try:
            return _understood(dockerfile_commands(file.removeprefix("./"), folder.text(file)), folder.path / context)
        except Unreadable:
            continue
    return None


def _understood(commands: list[Item], code: Path) -> Item | None:
    """Return the command that starts a web app, else the first."""
    return next((each for each in commands if understand(each.value, code)), next(iter(commands), None))


def _build_of(ledger: Ledger, service: str) -> tuple[str, str]:
    build = {item.path[3:]: item.value for item in ledger.under("services", service, "build")}
    return build.get((), build.get(("context",), ".")) or ".", build.get(("dockerfile",), "Dockerfile")


def _take_app(ledger: Ledger, draft: Draft, service: str, folder: Folder, command: Item | None) -> bool:
    context, _ = _build_of(ledger, service)
    if context.startswith(("http:", "https:", "git@", "git:", "ssh:")):
        return False
    draft.fields["path"] = context
    source = Folder(folder.path / context)
    if command is not None and take_command(ledger, draft, command, source.path, "container"):
        ledger.use(*ledger.under("services", service, "command"), *ledger.under("services", service, "build"))
        return True
    has_build = bool(ledger.under("services", service, "build"))
    if command is None and has_build and source.has_python():
        ledger.use(*ledger.under("services", service, "build"))
        return True
    return False


def _answers(ledger: Ledger, folder: Folder, service: str, command: Item | None) -> bool:
    """Return whether a service may be web: it has a port, or its command is no script without an app."""
    has_port = bool(ledger.under("services", service, "ports") or ledger.under("services", service, "expose"))
    context, _ = _build_of(ledger, service)
    return has_port or command is None or not is_script_without_app(command.value, folder.path / context)


def _take_worker(  # noqa: PLR0913, PLR0917  the parts of a file
    ledger: Ledger,
    drafts: dict[str, Draft],
    service: str,
    command: Item | None,
    apps: Mapping[str, Draft],
    servers: Mapping[str, Draft],
) -> bool:
    """Take over what runs Python and is no web server: as a process of the app of its source, or as an app."""
    base = ("services", service)
    if command is None or not workers.is_of_app(command.value):
        return False
    context, _ = _build_of(ledger, service)
    image = ledger.value(*base, "image")
    here = [
        draft
        for name, draft in apps.items()
        if (draft.fields["path"] == context if ledger.under(*base, "build") else _is_of(ledger, name, image))
    ]
    if not here and not ledger.under(*base, "build"):
        return False  # of an image that is made elsewhere
    draft = Draft(name=unique_name(service, drafts), fields={"path": context, "web": False})
    draft = here[0] if len(here) == 1 else draft
    own = Draft(name=draft.name, fields={"path": draft.fields["path"]}, notes=draft.notes)
    items = [*ledger.under(*base, "command"), *ledger.under(*base, "build"), command]
    if not workers.take(ledger, draft, items, service, command.value, _numbers(ledger, base)):
        return False
    _take_fields(ledger, own, service, apps, servers)
    workers.give(draft, service, own)
    process = draft.fields["processes"][workers.name_of(service)]
    process |= {"stop_timeout": own.fields["stop_timeout"]} if "stop_timeout" in own.fields else {}
    for each in own.fields.get("services", ()):
        draft.bind(each)
    drafts[draft.name] = draft
    return True


def _is_of(ledger: Ledger, service: str, image: str | None) -> bool:
    """Return whether a service runs an image, by its name or by that of the project."""
    return bool(image) and ledger.value("services", service, "image") == image


def _numbers(ledger: Ledger, base: tuple[str, str]) -> dict[str, Any]:
    """Return how many of a process there are, if a file says so."""
    for path in (("scale",), ("deploy", "replicas")):
        for item in ledger.under(*base, *path):
            if item.value.isdecimal() and int(item.value) != 1:
                ledger.use(item)
                return {"count": min(int(item.value), 100)}
    return {}


def _take_fields(  # noqa: C901  one case for each field
    ledger: Ledger, draft: Draft, service: str, apps: Mapping[str, Draft], servers: Mapping[str, Draft]
) -> None:
    base = ("services", service)
    for field in ledger.names(*base):
        items = ledger.under(*base, field)
        match field:
            case _ if field in _SILENT:
                ledger.use(*items)
            case "environment":
                _take_environment(ledger, draft, items, {**apps, **servers}, servers)
            case "env_file":
                _take_env_files(ledger, draft, items)
            case "ports":
                _take_ports(ledger, draft, items, base)
            case "depends_on":
                _take_dependencies(ledger, draft, base, apps, servers)
            case "healthcheck":
                _take_health(ledger, draft, items, base)
            case "stop_grace_period" if _DURATION.fullmatch(items[0].value):
                draft.fields["stop_timeout"] = items[0].value
                ledger.use(*items)
            case "scale" if items[0].value.isdecimal():
                ledger.leave(items, advice.WORKERS, draft.notes)
            case _ if field in _ADVICE:
                ledger.leave(items, _ADVICE[field], draft.notes)
    ledger.leave_rest(*base, notes=draft.notes)


def _take_environment(
    ledger: Ledger, draft: Draft, items: list[Item], hosts: Mapping[str, Draft], servers: Mapping[str, Draft]
) -> None:
    for item in items:
        if item.path[-1].isdigit():
            name, equals, value = item.value.partition("=")
        else:
            name, equals, value = item.path[-1], "=", item.value
        host = next((each for each in hosts if mentions(value, each)), None)
        if not equals or (value == "" and not item.path[-1].isdigit()):
            ledger.leave([item], f"its value is that of the shell: add {name} to 'env'", draft.notes)
        elif host is not None:
            if host in servers:
                draft.bind(servers[host].name)
            advice = _ADDRESS if host in servers else f"a container's name is no address here: use that of {host}"
            ledger.leave([item], advice, draft.notes)
        elif name == "PORT":
            ledger.use(item)  # that of the container; the daemon sets its own
        else:
            draft.set_variable(ledger, item, name.strip(), value)


def _take_env_files(ledger: Ledger, draft: Draft, items: list[Item]) -> None:
    for item in items:
        if item.path[-1] in {"required", "format"}:
            ledger.leave([item], "a file of 'env_files' must exist", draft.notes)
        elif item.value and not item.value.startswith("~") and "$" not in item.value:
            ledger.use(item)
            files = draft.fields.setdefault("env_files", [])
            files += [] if item.value in files else [item.value]
        else:
            ledger.leave([item], "name the file in 'env_files'", draft.notes)


def _take_ports(ledger: Ledger, draft: Draft, items: list[Item], base: tuple[str, str]) -> None:
    for index in ledger.names(*base, "ports"):
        published = ledger.under(*base, "ports", index, "published")
        found = _PUBLISHED.fullmatch(ledger.under(*base, "ports", index)[0].value)
        if published and published[0].value.isdecimal() and "port" not in draft.fields:
            draft.set_port(ledger, published[0], published[0].value, "set 'port'")
            ledger.use(*ledger.under(*base, "ports", index))
        elif found and "port" not in draft.fields and 0 < int(found["port"]) <= 65535:
            draft.fields["port"] = int(found["port"])
            draft.fields["host"] = found["host"] or "0.0.0.0"
            ledger.use(*ledger.under(*base, "ports", index))
    ledger.leave(items, "set 'port'; an app listens on one port", draft.notes)


def _take_dependencies(
    ledger: Ledger, draft: Draft, base: tuple[str, str], apps: Mapping[str, Draft], servers: Mapping[str, Draft]
) -> None:
    for index in ledger.names(*base, "depends_on"):
        items = ledger.under(*base, "depends_on", index)
        name = items[0].value if index.isdigit() else index
        if name in servers:
            draft.bind(servers[name].name)
            ledger.use(*items)
        elif name in apps and apps[name] is not draft:
            draft.fields.setdefault("depends_on", []).append(apps[name].name)
            ledger.use(*items)
        else:
            ledger.leave(items, f"{name} was not imported", draft.notes)


def _take_health(ledger: Ledger, draft: Draft, items: list[Item], base: tuple[str, str]) -> None:
    tests = ledger.under(*base, "healthcheck", "test")
    url = _URL.search(" ".join(item.value for item in tests))
    if url is None:
        ledger.leave(items, _ADVICE["healthcheck"], draft.notes)
        return
    ledger.use(*tests)
    health: dict[str, object] = {"path": url[1] or "/"}
    for name, field in (("interval", "interval"), ("timeout", "timeout"), ("retries", "failures")):
        value = ledger.under(*base, "healthcheck", name)
        if field == "failures" and value and value[0].value.isdecimal() and 0 < int(value[0].value) <= 1000:
            health[field] = int(value[0].value)
            ledger.use(*value)
        elif field != "failures" and value and re.fullmatch(r"[1-9]\d*(s|m)", value[0].value):
            health[field] = value[0].value
            ledger.use(*value)
    draft.fields["health"] = health
    ledger.leave(ledger.under(*base, "healthcheck"), "set it in 'health'", draft.notes)


def _take_server(ledger: Ledger, draft: Draft, service: str) -> None:
    base = ("services", service)
    ledger.use(*ledger.under(*base, "image"), *ledger.under(*base, "container_name"), *ledger.under(*base, "restart"))
    for field in ledger.names(*base):
        items = [item for item in ledger.under(*base, field) if item.place not in ledger.used]
        if field == "environment":
            ledger.leave(items, "the daemon creates the database, the user and the password itself", draft.notes)
        else:
            ledger.leave(items, _SERVER_ADVICE, draft.notes)
