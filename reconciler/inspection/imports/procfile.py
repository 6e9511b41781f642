"""Read a Procfile, and the app.json of Heroku or Dokku beside it.

The daemon follows the web and release lines of a Procfile itself, so the manifest says only what it does not follow.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.draft import TO_FILL_IN, Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, yaml_items
from reconciler.inspection.imports.known_servers import addon_type, instead_of
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.web_command import not_started, take_command

PROCFILE = "Procfile"
APP_JSON = "app.json"

_LINE = re.compile(r"\s*([A-Za-z0-9_-]+)\s*:\s*(.*)")
_PLATFORM_FIELD = re.compile(r'"(env|scripts|addons|formation|buildpacks|healthchecks|cron)"\s*:')
_HOST = re.compile(r"\w([\w.-]*\w)?(:[1-9]\d{0,4})?", re.ASCII)
_FOLLOWED = ("entrypoint", "gunicorn", "worker_class", "release")
_OTHER: Mapping[str, str] = {
    "static": advice.STATIC,
    "preflight": "run it as part of 'release'",
    "postdeploy": "run it as part of 'release'",
}
# What is not run before every deploy, and what to do about it.
_POSTDEPLOY: Mapping[tuple[str, ...], str] = {
    ("postdeploy",): "it runs once, for a new app: put what every deploy needs into 'release'",
    ("dokku", "postdeploy"): "nothing runs after a deploy: put what may run before it into 'release'",
}
_NOT_NEEDED = frozenset(("name", "description", "keywords", "logo", "repository", "website", "success_url", "$schema"))
_ADVICE: Mapping[str, str] = {
    "buildpacks": "the daemon builds the environment from the app's dependency file",
    "image": "the daemon builds the environment from the app's dependency file",
    "stack": "the app runs on this host, on the Python that 'runtime' names",
    "environments": "there are no review apps: write another manifest",
    "cron": "write it as one of 'schedules'",
    "formation": "set 'workers' for the web, 'count' of other processes, and 'limits' for what they may use",
    "healthchecks": "set 'health'; it has one path",
}


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return the app of a directory with a Procfile, an app.json or both, and the services it asks for."""
    directory = folder.path.resolve().name
    items = ledger.add(procfile_items(PROCFILE, folder.text(PROCFILE))) if folder.has(PROCFILE) else []
    draft = Draft(name=unique_name(directory, set()), fields={"path": "."})
    services: list[Draft] = []
    web = _take_lines(ledger, draft, items, folder)
    if folder.has(APP_JSON) and (name == APP_JSON or items):
        ledger.add(
            Item(file=i.file, line=i.line, column=i.column, path=("app.json", *i.path), value=i.value)
            for i in yaml_items(APP_JSON, folder.text(APP_JSON))
        )
        services = _take_app_json(ledger, draft)
    if not web and draft.fields.get("processes"):
        draft.fields = {"path": ".", "web": False, **{n: v for n, v in draft.fields.items() if n != "path"}}
        return [draft, *services]
    if web or (not items and folder.has_python()):
        return [draft, *services]
    ledger.notes += draft.notes
    return []


def is_app_json(text: str) -> bool:
    """Return whether an app.json is of a platform: programs of other kinds have a file of this name, too."""
    return _PLATFORM_FIELD.search(text) is not None


def procfile_items(file: str, text: str) -> list[Item]:
    """Return the lines of a Procfile by process; what is no line of a process has no name."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        path, value = ((match[1],), match[2].strip()) if match else (("",), line.strip())
        found.append(Item(file=file, line=number, column=1, path=path, value=value))
    return found


def _take_lines(ledger: Ledger, draft: Draft, items: list[Item], folder: Folder) -> bool:
    """Take the lines over; True if one starts a web app of Python, which may also be left to detection."""
    first: dict[str, Item] = {}
    web = False
    for item in items:
        if item.name in first or not item.name:
            advice = "the first line of a name counts" if item.name else "it is no line of a Procfile"
            ledger.leave([item], advice, draft.notes)
        first.setdefault(item.name, item)
    for name, item in first.items():
        if name in {"web", "wsgi"} and not web:
            web = take_web_line(ledger, draft, item, folder)
        elif name == "release":
            ledger.use(item)  # the daemon follows it
        elif name == "cron":
            _take_cron_line(ledger, draft, item)
        elif name in _OTHER:
            ledger.leave([item], _OTHER[name], draft.notes)
        elif name:
            workers.take_line(ledger, draft, item, name)
    return web


def _take_cron_line(ledger: Ledger, draft: Draft, item: Item) -> None:
    from reconciler.inspection.imports.schedules import take_line  # few have any

    take_line(ledger, draft, item)


def take_web_line(ledger: Ledger, draft: Draft, item: Item, folder: Folder) -> bool:
    """Take over of a web line what the daemon does not follow; False if it starts no web app of Python."""
    if item.name == "wsgi":
        words = Item(
            file=item.file, line=item.line, column=1, path=item.path, value=f"gunicorn {item.value}", sign=item.sign
        )
        taken = take_command(ledger, draft, words, folder.path)
    else:
        taken = take_command(ledger, draft, item, folder.path)
    if taken:
        draft.fields = {name: value for name, value in draft.fields.items() if name not in _FOLLOWED}
        draft.fields["path"] = "."
        return True
    if folder.has(PROCFILE) and _is_program(folder.path):
        ledger.use(item)  # the daemon follows it
        draft.fields["path"] = "."
        return True
    reason = not_started(item.value)
    ledger.leave([item], reason if ": " in reason else f"{reason}: set 'entrypoint', if it is one", draft.notes)
    return "python" in item.value and TO_FILL_IN.search(item.value) is None


def _is_program(directory: Path) -> bool:
    """Return whether the web line of a directory's Procfile starts a program of another language than Python."""
    from reconciler.staging.detection.programs.recognition import program_of_web_line
    from reconciler.staging.errors import StagingError

    try:
        return program_of_web_line(directory) is not None
    except (StagingError, OSError):
        return False


def _take_app_json(ledger: Ledger, draft: Draft) -> list[Draft]:
    services: dict[str, Draft] = {}
    if (name := ledger.value("app.json", "name")) and PurePath(name).name == name:
        draft.name = unique_name(name, set(), draft.name)
    _take_addons(ledger, draft, services)
    for field in ledger.names("app.json"):
        items = ledger.under("app.json", field)
        match field:
            case _ if field in _NOT_NEEDED or all(not item.value for item in items):
                ledger.use(*items)
            case "env":
                _take_env(ledger, draft, services)
            case "scripts":
                _take_scripts(ledger, draft, has_release=bool(ledger.under("release")))
            case "cron":
                _take_crons(ledger, draft)
            case "formation":
                _take_formation(ledger, draft)
            case "healthchecks":
                _take_health(ledger, draft)
            case _ if field in _ADVICE:
                ledger.leave(items, _ADVICE[field], draft.notes)
    ledger.leave_rest("app.json", notes=draft.notes)
    return list(services.values())


def _take_crons(ledger: Ledger, draft: Draft) -> None:
    """Take over the crons of Dokku's app.json, each with its command and its schedule."""
    from reconciler.inspection.imports.schedules import take  # few have any

    for index in ledger.names("app.json", "cron"):
        base = ("app.json", "cron", index)
        found = {item.name: item for item in ledger.under(*base)}
        if not found.keys() >= {"command", "schedule"}:
            ledger.leave(ledger.under(*base), _ADVICE["cron"], draft.notes)
            continue
        policy = found["concurrency_policy"].value if "concurrency_policy" in found else ""
        overlap = {"allow": "allow", "replace": "replace"}.get(policy)
        items = [item for item in found.values() if item.name != "maintenance" or item.value == "false"]
        more = {"overlap": overlap} if overlap else {}
        take(ledger, draft, items, found["schedule"].value, found["command"].value, more)


def _take_formation(ledger: Ledger, draft: Draft) -> None:
    """Take over how many of each process run."""
    processes = draft.fields.get("processes", {})
    for name in ledger.names("app.json", "formation"):
        for item in ledger.under("app.json", "formation", name, "quantity"):
            if item.value == "1":
                ledger.use(item)
            elif item.value.isdecimal() and int(item.value) <= 100 and isinstance(processes.get(name), int):
                processes[name] = int(item.value)
                ledger.use(item)
    _leave_each(ledger, draft, "formation")


def _leave_each(ledger: Ledger, draft: Draft, field: str) -> None:
    for name in ledger.names("app.json", field):
        ledger.leave(ledger.under("app.json", field, name), _ADVICE[field], draft.notes)


def _take_env(ledger: Ledger, draft: Draft, services: Mapping[str, Draft]) -> None:
    for name in ledger.names("app.json", "env"):
        items = ledger.under("app.json", "env", name)
        value = next((item for item in items if item.path[3:] in {(), ("value",)} and item.value), None)
        if value is not None:
            draft.set_variable(ledger, value, name, value.value)
            ledger.use(*items)
            continue
        if (advice := instead_of(name, services.values())) is not None:
            ledger.leave([_named(items[0], name)], advice, draft.notes)
            ledger.use(*items)
            continue
        generated = any(item.path[3:] == ("generator",) for item in items)
        optional = any(item.path[3:] == ("required",) and item.value == "false" for item in items)
        advice = (
            f"write a random value to a file, and add {name}: {{file: …}} to 'env'"
            if generated
            else f"it has no value: add {name} to 'env'{', if the app needs it' if optional else ''}"
        )
        ledger.leave([_named(items[0], name)], advice, draft.notes)
        ledger.use(*items)


def _named(item: Item, name: str) -> Item:
    """Return an item that stands for all that a file says of a variable."""
    return replace(item, path=(*item.path[:2], name), value="")


def _take_addons(ledger: Ledger, draft: Draft, services: dict[str, Draft]) -> None:
    for index in ledger.names("app.json", "addons"):
        items = ledger.under("app.json", "addons", index)
        plan = next((item.value for item in items if item.path[3:] in {(), ("plan",)}), "")
        kind = addon_type(plan.partition(":")[0])
        if kind is None:
            ledger.leave(items, "use the provider's service by a 'kind: service' of type user-provided", draft.notes)
            continue
        ledger.use(*items)
        name = unique_name(f"{draft.name}-{kind}", services)
        services[name] = Draft(name=name, kind="service", fields={"type": kind})
        draft.bind(name)


def _take_scripts(ledger: Ledger, draft: Draft, *, has_release: bool) -> None:
    for path in (("dokku", "predeploy"), ("postdeploy",), ("dokku", "postdeploy")):
        for item in [each for each in ledger.under("app.json", "scripts") if each.path[2:] == path]:
            if path == ("dokku", "predeploy") and not has_release and not TO_FILL_IN.search(item.value):
                draft.fields["release"] = item.value
                ledger.use(item)
            else:
                ledger.leave([item], _POSTDEPLOY.get(path, "run it as part of 'release'"), draft.notes)
    ledger.leave(ledger.under("app.json", "scripts", "test"), "tests run elsewhere", draft.notes)


def _take_health(ledger: Ledger, draft: Draft) -> None:
    for index in ledger.names("app.json", "healthchecks", "web"):
        base = ("app.json", "healthchecks", "web", index)
        if "health" not in draft.fields and (path := ledger.value(*base, "path")) and path.startswith("/"):
            draft.fields["health"] = {"path": path}
            for name, field in (("timeout", "timeout"), ("attempts", "failures")):
                found = [item for item in ledger.under(*base, name) if item.value.isdecimal()]
                if found and int(found[0].value) >= 1:
                    ledger.use(*found)
                    draft.fields["health"][field] = int(found[0].value) if field == "failures" else f"{found[0].value}s"
            _take_probe_host(ledger, draft, base)
            goes_without_saying = ("type", "name", "description", "port")  # probes go to where the app listens
            ledger.use(*(item for field in goes_without_saying for item in ledger.under(*base, field)))
            waits = [item for field in ("initialDelay", "wait") for item in ledger.under(*base, field)]
            ledger.leave(waits, "probes begin once the workers are ready", draft.notes)
            ledger.leave(
                ledger.under(*base, "content"), "an answer of 2xx is enough: its text is not compared", draft.notes
            )
    ledger.leave(ledger.under("app.json", "healthchecks"), _ADVICE["healthchecks"], draft.notes)


def _take_probe_host(ledger: Ledger, draft: Draft, check: tuple[str, ...]) -> None:
    """Take over the Host header that a check of Dokku sends; probes have no other."""
    for index in ledger.names(*check, "httpHeaders"):
        header = (*check, "httpHeaders", index)
        names = [item for item in ledger.under(*header) if item.name == "name"]
        values = [item for item in ledger.under(*header, "value") if _HOST.fullmatch(item.value)]
        if [item.value.lower() for item in names] == ["host"] and values:
            ledger.use(*names, *values)
            draft.fields["health"]["host"] = values[0].value
    ledger.leave(ledger.under(*check, "httpHeaders"), "probes have no header but 'health.host'", draft.notes)
