"""Read an app of Piku: its ENV, which may lie beside the code or on its own, and the Procfile."""

import re
from collections.abc import Mapping

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, env_items
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.procfile import PROCFILE, procfile_items, take_web_line

FILE = "ENV"

_REFERENCE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
_PROXY = "see 'domains' and the fields beside it"
_ADVICE: Mapping[str, str] = {
    "NODE_VERSION": "Node.js is found on this host: see 'reconciler runtimes'",
    "UWSGI_INCLUDE_FILE": "write what gunicorn has of it into the field 'gunicorn'",
    "UWSGI_ASYNCIO": "an ASGI app is detected",
    "PIKU_RUNTIME": "the runtime is detected",
}
_OTHER: Mapping[str, str] = {
    "static": advice.STATIC,
    "preflight": "run it as part of 'release'",
    "php": "set 'command' to what serves it",
}


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return the app."""
    draft = Draft(name=unique_name(folder.path.resolve().name, set()), fields={"path": "."})
    variables = ledger.add(env_items(name, folder.text(name)))
    lines = ledger.add(procfile_items(PROCFILE, folder.text(PROCFILE))) if folder.has(PROCFILE) else []
    web = False
    for item in lines:
        if item.name in {"web", "wsgi"} and not web:
            web = take_web_line(ledger, draft, item, folder)
        elif item.name == "release":
            ledger.use(item)
        elif item.name.partition("-")[0] == "cron":
            from reconciler.inspection.imports.schedules import take_line  # few have any

            take_line(ledger, draft, item)
        elif (known := item.name.partition("-")[0]) in _OTHER:
            ledger.leave([item], _OTHER[known], draft.notes)
        else:
            workers.take_line(ledger, draft, item, item.name)
    if not web and draft.fields.get("processes"):
        draft.fields["web"] = False
    elif not web and (lines or not folder.has_python()):
        ledger.leave(
            variables[:1], "they are of no Python app" if lines else "there is neither a Procfile nor a Python app here"
        )
        ledger.use(*variables)
        ledger.notes += draft.notes
        return []
    if folder.has("requirements.txt") and folder.has("uv.lock", "poetry.lock", "Pipfile"):
        draft.fields["dependencies"] = "requirements.txt"  # Piku looks for it first
    values = {item.name: item.value for item in variables}
    for item in variables:
        _take_variable(ledger, draft, item, values)
    return [draft]


def _take_variable(ledger: Ledger, draft: Draft, item: Item, values: Mapping[str, str]) -> None:  # noqa: C901, PLR0912  one case for each variable
    value = _REFERENCE.sub(lambda found: values.get(found[1], found[0]), item.value)
    match item.name:
        case "":
            ledger.leave([item], "it is no NAME=VALUE", draft.notes)
        case "BIND_ADDRESS" if re.fullmatch(r"[0-9a-fA-F:.]+", value):
            draft.fields["host"] = value
            ledger.use(item)
        case "UWSGI_PROCESSES":
            draft.set_number(ledger, item, "workers")
        case "UWSGI_MAX_REQUESTS" if value.isdecimal():
            draft.fields.setdefault("gunicorn", {})["max_requests"] = int(value)
            ledger.use(item)
        case "UWSGI_IDLE" if value.isdecimal() and 0 < int(value) < 31536000:
            draft.fields["idle_after"] = f"{value}s"
            ledger.use(item)
        case "UWSGI_GEVENT":
            draft.fields["worker_class"] = "gevent"
            ledger.use(item)
        case "UWSGI_ENABLE_THREADS":
            ledger.leave([item], "set 'threads' for more than one thread in a worker", draft.notes)
        case "PYTHON_VERSION" if re.fullmatch(r"\d+(\.\d+){0,2}", value):
            draft.fields["runtime"] = f"python{value}"
            ledger.use(item)
        case "PIKU_AUTO_RESTART" if value.lower() in {"0", "false", "no", "off"}:
            draft.fields["watch"] = False
            ledger.use(item)
        case "UWSGI_LOG_MAXSIZE":
            ledger.leave([item], "set 'logs.limit' in the host's settings", draft.notes)
        case name if name in _ADVICE:
            ledger.leave([item], _ADVICE[name], draft.notes)
        case name if name.startswith(("NGINX_", "ACME_", "CLOUDFLARE_", "DISABLE_IPV6")):
            ledger.leave([item], _PROXY, draft.notes)
        case name if name.startswith(("UWSGI_", "PIKU_")):
            ledger.leave([item], "it sets up Piku itself, or uWSGI", draft.notes)
        case name:
            draft.set_variable(ledger, item, name, value)
