"""Read the deploy.yml of Kamal, or that of a destination: one app, and the accessories that are known as services.

Kamal deploys images to other machines; the app runs here from its source: the context of the image, which is usually
the directory that has `config/deploy.yml`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.dockerfile import dockerfile_commands
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, Unreadable, yaml_items
from reconciler.inspection.imports.known_servers import instead_of, mentions, service_type
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.web_command import note, take_command

FILES = ("deploy.yml", "deploy.yaml")

_DESTINATION = re.compile(r"deploy\.[\w-]+(?=\.ya?ml$)")
_ERB = re.compile(r"<%.*?(?:%>|\Z)", re.DOTALL)
# Where a piece of Ruby stood while the file is read as YAML.
_MARK = re.compile(r"\ue000(\d+)\ue001")

_IMAGE = "the daemon builds from source, and needs no image"
_ADVICE: Mapping[str, str] = {
    "image": _IMAGE,
    "registry": _IMAGE,
    "builder": _IMAGE,
    "asset_path": _IMAGE,
    "ssh": "apps run on this host",
    "sshkit": "apps run on this host",
    "traefik": advice.DOMAINS,
    "proxy": advice.DOMAINS,
    "volumes": advice.VOLUMES,
    "boot": "a new instance takes over without a refused request",
    "logging": "the daemon keeps the logs: see 'logs' of the host's settings",
    "labels": "an app has no labels",
    "aliases": "use 'reconciler shell APP -- COMMAND'",
    "hooks_path": "put what every deploy needs into 'release'",
    "require_destination": "write one manifest for each host",
    "minimum_version": "it is Kamal's own",
    "primary_role": "the app itself is what the role web runs",
    "retain_containers": "how many builds are kept is in the host's settings",
    "readiness_delay": "readiness is probed: set 'health'",
    "run_directory": "it is Kamal's own",
    "secrets_path": "write each secret to a file, and add NAME: {file: …} to 'env'",
}
_NOT_WEB = re.compile(r"\b(?:celery|worker|beat|rails|bundle|node|npm|nginx|php|mcp_server)\b")


def is_deployment(name: str, top: frozenset[str]) -> bool:
    """Tell whether a YAML file of this name, with these names at its top, is one of Kamal."""
    if _DESTINATION.match(name):
        return bool(top & {"service", "servers", "proxy", "env", "accessories"})
    return "service" in top and bool(top & {"image", "servers", "registry"})


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return the app and the services of a deploy.yml; no app where the source is none of Python."""
    ledger.add(_items(folder, name))
    at_top = folder.path.parent if folder.path.resolve().name == "config" else folder.path
    context = ledger.value("builder", "context") or "."
    source = Folder(at_top / context)
    draft = Draft(name=unique_name(ledger.value("service") or source.path.resolve().name, set()))
    top = ".." if at_top != folder.path else "."
    draft.fields["path"] = top if context == "." else f"{top}/{context}"
    if not _take_command(ledger, draft, source):
        ledger.leave(ledger.under("image") or ledger.items, f"{draft.name} is no Python app")
        ledger.use(*ledger.items)
        return []
    drafts = {draft.name: draft}
    for accessory in ledger.names("accessories"):
        _take_accessory(ledger, draft, accessory, drafts)
    _take_env(ledger, draft, ("env",), drafts)
    _take_env(ledger, draft, ("servers", "web", "env"), drafts)
    for base in (("proxy", "healthcheck"), ("servers", "web", "healthcheck"), ("healthcheck",)):
        _take_health(ledger, draft, base)
    _take_servers(ledger, draft)
    _take_times(ledger, draft)
    ledger.use(*ledger.under("proxy", "app_port"))  # that of the container
    for field, text in _ADVICE.items():
        below = ledger.names(field) if field == "proxy" else ()
        for name_below in below or ("",):
            ledger.leave(ledger.under(*filter(None, (field, name_below))), text, draft.notes)
    ledger.leave_rest(notes=draft.notes)
    return list(drafts.values())


def _items(folder: Folder, name: str) -> list[Item]:
    """Return the items of a file; those of a destination with what deploy.yml says besides, as Kamal merges them."""
    own = _parsed(folder, name)
    base = next((file for file in FILES if folder.has(file)), None)
    if _DESTINATION.match(name) is None or base is None or base == name:
        return own
    replaced = {item.path[:depth] for item in own for depth in range(1, len(item.path) + 1)}
    lists = {path[:-1] for path in replaced if path[-1].isdigit()}
    values = {item.path for item in own}

    def stays(item: Item) -> bool:
        paths = [item.path[:depth] for depth in range(1, len(item.path) + 1)]
        is_in_list = any(path[-1].isdigit() and path[:-1] in replaced for path in paths)
        is_replaced = item.path in replaced or any(path in values or path in lists for path in paths)
        return not is_in_list and not is_replaced

    return [*own, *(item for item in _parsed(folder, base) if stays(item))]


def _parsed(folder: Folder, name: str) -> list[Item]:
    """Return the items of a file, with the pieces of Ruby in them as they are written; nothing of it runs."""
    text = folder.text(name)
    pieces = _ERB.findall(text)
    number = iter(range(len(pieces)))
    marked = _ERB.sub(lambda found: f"\ue000{next(number)}\ue001" + "\n" * found[0].count("\n"), text)
    return [
        replace(item, value=_MARK.sub(lambda found: pieces[int(found[1])], item.value))
        for item in yaml_items(name, marked)
    ]


def _take_command(ledger: Ledger, draft: Draft, source: Folder) -> bool:
    """Take over the command of the web servers, or that of the Dockerfile; False where there is no Python app."""
    commands = ledger.under("servers", "web", "cmd")[:1] or _of_image(ledger, source)
    if any(take_command(ledger, draft, item, source.path, "container") for item in commands):
        return True
    if not source.has_python() or any(_NOT_WEB.search(item.value) for item in commands):
        return False
    for item in commands[:1]:
        ledger.use(item)
        advice = (
            "import cannot tell what it starts: set 'entrypoint', unless detection finds it, and 'release' to what it"
            " does before"
        )
        note(draft, item, f"{item.name} {item.value} ({advice})")
    return True


def _of_image(ledger: Ledger, source: Folder) -> list[Item]:
    file = ledger.value("builder", "dockerfile") or "Dockerfile"
    file = file if source.has(file) else file.rpartition("/")[2]
    try:
        return dockerfile_commands(file, source.text(file))
    except Unreadable:
        return []


def _take_health(ledger: Ledger, draft: Draft, base: tuple[str, ...]) -> None:
    path = ledger.value(*base, "path")
    if path and path.startswith("/"):
        draft.fields["health"] = {"path": path}
        for field in ("interval", "timeout"):
            value = ledger.under(*base, field)
            if value and re.fullmatch(r"[1-9]\d{0,4}s?", value[0].value):
                draft.fields["health"][field] = f"{value[0].value.removesuffix('s')}s"
                ledger.use(*value)
    for field in ("interval", "timeout"):
        ledger.leave(ledger.under(*base, field), "set 'health' with a path", draft.notes)
    ledger.use(*ledger.under(*base, "port"))  # that of the container
    ledger.leave(ledger.under(*base, "max_attempts"), "a start has 'health.start_timeout' to succeed", draft.notes)


def _take_times(ledger: Ledger, draft: Draft) -> None:
    for field in ("drain_timeout", "stop_wait_time", "deploy_timeout"):
        for item in ledger.under(field):
            if item.value.isdecimal() and int(item.value) > 0:
                ledger.use(item)
                if field == "deploy_timeout":
                    draft.fields.setdefault("health", {})["start_timeout"] = f"{item.value}s"
                else:
                    draft.fields["stop_timeout"] = f"{item.value}s"


def _take_accessory(ledger: Ledger, draft: Draft, accessory: str, drafts: dict[str, Draft]) -> None:
    base = ("accessories", accessory)
    image = ledger.under(*base, "image")
    kind = service_type(image[0].value) if image else None
    if kind is None:
        ledger.leave(ledger.under(*base), "it is no service that is known here: run it by other means", draft.notes)
        return
    service = Draft(name=unique_name(accessory, drafts), kind="service", fields={"type": kind})
    drafts[service.name] = service
    draft.bind(service.name)
    ledger.use(*image)
    for field in ledger.names(*base):
        advice = "the server that the host's settings name has its own: see 'services.servers' there"
        ledger.leave(ledger.under(*base, field), advice, service.notes)


def _take_env(ledger: Ledger, draft: Draft, base: tuple[str, ...], drafts: Mapping[str, Draft]) -> None:
    hosts = [f"{draft.name}-{each}" for each in ledger.names("accessories")]
    for item in ledger.under(*base):
        path = item.path[len(base) :]
        if path[:1] == ("secret",):
            _leave_secret(ledger, draft, item, drafts)
        elif any(mentions(item.value, host) for host in hosts):
            advice = "an accessory's name is no address here: the app finds it by DATABASE_URL or VCAP_SERVICES"
            ledger.leave([item], advice, draft.notes)
        elif path[:1] == ("tags",) or "<%" in item.value:
            ledger.leave([item], f"add {item.name} to 'env'", draft.notes)
        elif path[-1:] == ("PORT",):
            ledger.use(item)  # that of the container; the daemon sets its own
        elif len(path) == 1 or path[:1] == ("clear",):
            draft.set_variable(ledger, item, path[-1], item.value)


def _leave_secret(ledger: Ledger, draft: Draft, item: Item, drafts: Mapping[str, Draft]) -> None:
    if not item.value:
        ledger.use(item)
        return
    name = item.value.partition(":")[0]
    advice = f"its value is not in the file: write it to a file, and add {name}: {{file: …}} to 'env'"
    servers = [each for each in drafts.values() if each.kind == "service"]
    known = instead_of(name, servers)
    if known is None and servers and re.fullmatch(r"(POSTGRES|MYSQL|MARIADB|REDIS)\w*_PASSWORD", name):
        known = "the daemon creates the database, the user and the password itself"
    ledger.leave([replace(item, path=(), value=f"{item.value} (a secret)")], known or advice, draft.notes)


def _take_servers(ledger: Ledger, draft: Draft) -> None:
    for role in ledger.names("servers"):
        items = ledger.under("servers", role)
        if role.isdigit() or role == "web":
            ledger.leave(items, "apps run on this host: have each host take the manifest, as from git", draft.notes)
        elif not _take_role(ledger, draft, role):
            ledger.leave(items, workers.ADVICE, draft.notes)


def _take_role(ledger: Ledger, draft: Draft, role: str) -> bool:
    """Take over a role that is not web as a process: its command, and its own variables."""
    base = ("servers", role)
    command = next(iter(ledger.under(*base, "cmd")), None)
    if command is None or "<%" in command.value:
        return False
    items = [command, *ledger.under(*base, "hosts")]
    own = Draft(name=draft.name, fields={"path": draft.fields["path"]}, notes=draft.notes)
    if not workers.take(ledger, draft, items, role, command.value, {}):
        return False
    _take_env(ledger, own, (*base, "env"), {})
    workers.give(draft, role, own)
    ledger.leave(ledger.under(*base), "it is the container's own", draft.notes)
    return True
