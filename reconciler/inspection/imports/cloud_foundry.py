"""Read the manifest.yml of Cloud Foundry: one app each of its `applications`.

Services have names but no types there: one whose name tells its type becomes a service, others are told.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, yaml_items
from reconciler.inspection.imports.known_servers import addon_type, service_type
from reconciler.inspection.imports.ledger import Item, Ledger, Note, quoted
from reconciler.inspection.imports.web_command import take_command

FILES = ("manifest.yml", "manifest.yaml")
_NOT_INHERITED = frozenset(("applications", "version", "declared-services"))

_ADVICE: Mapping[str, str] = {
    **dict.fromkeys(("memory", "mem"), advice.MEMORY),
    **dict.fromkeys(("disk_quota", "disk-quota"), advice.DISK),
    "log-rate-limit-per-second": "logs are rotated by size: see 'logs' in the host's settings",
    **dict.fromkeys(
        ("routes", "route", "host", "hosts", "domain", "domains", "random-route", "default-route", "url"),
        advice.DOMAINS,
    ),
    "stack": "the app runs on this host",
    "sidecars": "name it in 'processes' of the manifest, with its command",
    "processes": "name it in 'processes' of the manifest, with its command",
    "docker": "the daemon builds from source: set 'path' to it",
    "metadata": "an app has no labels",
    "lifecycle": "the daemon builds the environment from the app's dependency file",
    "features": advice.NONE,
    "inherit": "import the file that it names, too",
    "timeout": "set 'health.start_timeout'",
    "instances": advice.WORKERS,
}
_WORKER = "it has no route and no command: name its processes in 'processes', beside 'web: false'"
_HEALTH: Mapping[str, str] = {
    "health-check-http-endpoint": "path",
    "health-check-invocation-timeout": "timeout",
    "health-check-interval": "interval",
    "timeout": "start_timeout",
}
_PROCESS_FIELDS = frozenset(("command", "instances", "memory", "disk_quota", *_HEALTH, "health-check-type"))


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return the apps of a manifest, and the services whose names tell their types."""
    items = list(yaml_items(name, folder.text(name)))
    values = _variables(folder) if any("((" in item.value for item in items) else {}
    ledger.add(_nested([_with_variables(item, values) for item in items]))
    apps = ledger.names("applications")
    drafts: dict[str, Draft] = {}
    for index in apps:
        base = ("applications", index)
        _inherit(ledger, base)
        title = ledger.value(*base, "name") or folder.path.resolve().name
        draft = Draft(name=unique_name(title, drafts))
        if "((" in title:
            names = ledger.under(*base, "name")
            draft.notes += [_note(names[0], "its name is a variable of the push: rename this manifest")]
        if _take_app(ledger, draft, base, folder, drafts):
            drafts[draft.name] = draft
    ledger.use(*ledger.under("version"))
    ledger.leave(ledger.under("declared-services"), "write a 'kind: service' for each of another type")
    ledger.leave_rest()
    return list(drafts.values())


def _nested(items: list[Item]) -> list[Item]:
    """Return the items with all apps in `applications`: early manifests have one app at the top."""
    if any(item.path[:1] == ("applications",) for item in items) or not any(
        item.path[:1] == ("name",) for item in items
    ):
        return items
    return [replace(item, path=("applications", "0", *item.path)) for item in items]


def _variables(folder: Folder) -> dict[tuple[str, ...], str]:
    """Return the values of vars.yml by their paths; none if it is not there."""
    file = next((name for name in ("vars.yml", "vars.yaml") if folder.has(name)), None)
    return {each.path: each.value for each in yaml_items(file, folder.text(file))} if file else {}


def _with_variables(item: Item, values: Mapping[tuple[str, ...], str]) -> Item:
    """Return the item with each `((name))` that has a value replaced by it."""
    if "((" not in item.value:
        return item
    return replace(item, value=re.sub(r"\(\(([\w.-]+)\)\)", lambda f: values.get((f[1],), f[0]), item.value))


def _inherit(ledger: Ledger, base: tuple[str, str]) -> None:
    """Give an app the fields that stand at the top for all apps."""
    own = set(ledger.names(*base))
    for item in [item for item in ledger.items if item.path and item.path[0] not in _NOT_INHERITED]:
        if item.path[0] in own and item.path[0] != "env":
            continue
        if not item.path[0].startswith("x-"):
            ledger.items.append(replace(item, path=(*base, *item.path)))


def _take_app(ledger: Ledger, draft: Draft, base: tuple[str, str], folder: Folder, drafts: dict[str, Draft]) -> bool:
    path = ledger.value(*base, "path") or "."
    draft.fields["path"] = path
    source = Folder(folder.path / path)
    buildpacks = [*ledger.under(*base, "buildpack"), *ledger.under(*base, "buildpacks")]
    command = next(iter(ledger.under(*base, "command")), None)
    named = [item.value for item in buildpacks if item.value not in {"", "null", "default"}]
    is_python = any("python" in each for each in named) if named else source.has_python()
    if _is_worker(ledger, base):
        return _take_worker(ledger, draft, base, command, drafts)
    taken = (
        command is not None
        and command.value not in {"", "null"}
        and (take_command(ledger, draft, command, source.path))
    )
    if not taken and (not is_python or ledger.under(*base, "docker")):
        ledger.leave(ledger.under(*base), f"{draft.name} is no Python app")
        return False
    ledger.use(*buildpacks)
    _note_buildpacks(draft, [item for item in buildpacks if item.value in named])
    if command is not None and command.value in {"", "null"}:
        ledger.use(command)
    elif command is not None and not taken:
        ledger.leave([command], "it starts no Python web server that import knows: set 'entrypoint'", draft.notes)
    _lift_web_process(ledger, base)
    _take_env(ledger, draft, base)
    _take_health(ledger, draft, base)
    _take_services(ledger, draft, base, drafts)
    _take_instances(ledger, draft, base)
    ledger.use(*ledger.under(*base, "no-route"), *ledger.under(*base, "no-hostname"))
    _take_processes(ledger, draft, base)
    _leave_processes(ledger, draft, base)
    for field in sorted(
        ledger.names(*base), key=lambda field: field == "processes"
    ):  # whose web process is in the rest
        if field in _ADVICE:
            ledger.leave(ledger.under(*base, field), _ADVICE[field], draft.notes)
    ledger.leave_rest(*base, notes=draft.notes)
    return True


def _note(item: Item, advice: str) -> Note:
    return Note(file=item.file, line=item.line, original=quoted([item]), advice=advice)


def _is_worker(ledger: Ledger, base: tuple[str, str]) -> bool:
    """Tell whether an app has no route, and a health that is no answer to a connection."""
    kinds = {item.value for item in ledger.under(*base, "health-check-type")}
    routed = all(item.value != "true" for item in ledger.under(*base, "no-route"))
    return not routed and bool(kinds & {"process", "none"})


def _take_worker(
    ledger: Ledger, draft: Draft, base: tuple[str, str], command: Item | None, drafts: dict[str, Draft]
) -> bool:
    """Take over an app without a route as one without a web server; its command is its one process."""
    draft.fields["web"] = False
    count = [item for item in ledger.under(*base, "instances") if item.value.isdecimal() and int(item.value) <= 100]
    more = {"count": int(count[0].value)} if count and count[0].value != "1" else {}
    taken = command is not None and workers.take(ledger, draft, [command, *count], draft.name, command.value, more)
    if not taken and not _take_processes(ledger, draft, base):
        ledger.leave(ledger.under(*base, "command") or ledger.under(*base), _WORKER)
        ledger.use(*ledger.under(*base))
        return False
    ledger.use(*ledger.under(*base, "buildpack"), *ledger.under(*base, "buildpacks"))
    _take_env(ledger, draft, base)
    _take_services(ledger, draft, base, drafts)
    for field in ("no-route", "no-hostname", "health-check-type"):
        ledger.use(*ledger.under(*base, field))
    for field in ledger.names(*base):
        if field in _ADVICE:
            ledger.leave(ledger.under(*base, field), _ADVICE[field], draft.notes)
    ledger.leave_rest(*base, notes=draft.notes)
    return True


def _take_processes(ledger: Ledger, draft: Draft, base: tuple[str, str]) -> bool:
    """Take over the processes that are not web and have a command; return whether there are any."""
    taken = False
    for index in ledger.names(*base, "processes"):
        place = (*base, "processes", index)
        found = {item.path[4]: item for item in ledger.under(*place) if len(item.path) == 5}
        kind, command = found.get("type"), found.get("command")
        if kind is None or command is None or kind.value == "web":
            continue
        instances = found.get("instances")
        is_counted = instances is not None and instances.value.isdecimal() and int(instances.value) <= 100
        more = {"count": int(instances.value)} if instances is not None and is_counted else {}
        items = [kind, command, *([instances] if instances is not None and is_counted else [])]
        taken = workers.take(ledger, draft, items, kind.value, command.value, more) or taken
    return taken


def _note_buildpacks(draft: Draft, buildpacks: list[Item]) -> None:
    for item in buildpacks:
        if "python" not in item.value:
            advice = "the daemon installs Python packages only: install what this buildpack brings on this host"
            draft.notes.append(_note(item, advice))


def _take_instances(ledger: Ledger, draft: Draft, base: tuple[str, str]) -> None:
    for item in ledger.under(*base, "instances"):
        workers = int(item.value) * int(draft.fields.get("workers", 1)) if item.value.isdecimal() else -1
        if workers == 0:
            draft.fields["state"] = "stopped"
            ledger.use(item)
        elif 1 <= workers <= 1000:
            draft.fields["workers"] = workers
            ledger.use(item)


def _leave_processes(ledger: Ledger, draft: Draft, base: tuple[str, str]) -> None:
    """Leave the processes that are not web, each in a note of its own."""
    for index in ledger.names(*base, "processes"):
        process = (*base, "processes", index)
        if not any(item.value == "web" for item in ledger.under(*process, "type")):
            ledger.leave(ledger.under(*process), _ADVICE["processes"], draft.notes)


def _declared(ledger: Ledger, service: str) -> str | None:
    """Return the type of a service by the label in `declared-services` of AppFog and Bluemix."""
    labels = ledger.under("declared-services", service, "label")
    kind = next((addon_type(item.value) or service_type(item.value) for item in labels), None)
    if kind is not None:
        ledger.use(*ledger.under("declared-services", service))
    return kind


def _lift_web_process(ledger: Ledger, base: tuple[str, str]) -> None:
    """Take over the fields of the process of type web as if they stood in the app."""
    for index in ledger.names(*base, "processes"):
        process = (*base, "processes", index)
        if any(item.value == "web" for item in ledger.under(*process, "type")):
            ledger.value(*process, "type")
            for item in ledger.under(*process):
                if item.path[4] in _PROCESS_FIELDS and item.path[4] != "command":
                    ledger.items.append(replace(item, path=(*base, *item.path[4:])))


def _take_env(ledger: Ledger, draft: Draft, base: tuple[str, str]) -> None:
    for item in ledger.under(*base, "env"):
        if len(item.path) == 4:
            value = "" if "((" in item.value else item.value
            if "((" in item.value:
                ledger.leave([item], f"its value is a variable of the push: add {item.name} to 'env'", draft.notes)
            elif "/home/vcap/" in item.value:
                advice = f"it is a path of the platform: add {item.name} with one of this host to 'env'"
                ledger.leave([item], advice, draft.notes)
            else:
                draft.set_variable(ledger, item, item.path[3], value)
        elif len(item.path) == 3:
            ledger.use(item)  # an empty `env:`


def _take_health(ledger: Ledger, draft: Draft, base: tuple[str, str]) -> None:
    health: dict[str, str] = {}
    kind = ledger.value(*base, "health-check-type")
    for field, name in _HEALTH.items():
        for item in ledger.under(*base, field):
            if name == "path" and item.value.startswith("/") and kind in {None, "http"}:
                health["path"] = item.value
                ledger.use(item)
            elif name != "path" and item.value.isdecimal() and 0 < int(item.value) < 86400:
                health[name] = f"{item.value}s"
                ledger.use(item)
    if kind == "http":
        health.setdefault("path", "/")
    if "path" not in health:
        health = {name: value for name, value in health.items() if name == "start_timeout"}
    if health:
        draft.fields["health"] = health


def _take_services(ledger: Ledger, draft: Draft, base: tuple[str, str], drafts: dict[str, Draft]) -> None:
    for index in ledger.names(*base, "services"):
        place = (*base, "services", index)
        items = ledger.under(*place)
        given = {item.path[4:]: item for item in items}
        title = given[()].value if () in given else given[("name",)].value if ("name",) in given else index
        kind = service_type(title) or _declared(ledger, title)
        name = unique_name(title, set(), "service")
        if not title or kind is None or (name in drafts and drafts[name].kind != "service"):
            advice = (
                f"its type is not in the file: write a 'kind: service' named {name}, of type user-provided if it runs"
                " elsewhere, and add it to 'services'"
            )
            ledger.leave(items, advice if title else "it has no name", draft.notes)
            continue
        drafts.setdefault(name, Draft(name=name, kind="service", fields={"type": kind}))
        binding = given.get(("binding_name",))
        bound: object = name
        if binding is not None and re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", binding.value):
            bound = {"name": name, "binding_name": binding.value}
            ledger.use(binding)
        draft.fields.setdefault("services", []).append(bound)
        ledger.use(*(item for path, item in given.items() if path in {(), ("name",)}))
        ledger.leave(items, "only a service of type broker has parameters of a binding", draft.notes)
