"""Read the configuration of an app for uWSGI, a vassal's as well: ini, xml, YAML or JSON."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from xml.sax.saxutils import unescape

from reconciler.inspection.imports import advice, workers
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, ini_items, yaml_items
from reconciler.inspection.imports.ledger import Item, Ledger
from reconciler.inspection.imports.web_command import ENTRYPOINT, take_address

_ENDINGS = (".ini", ".xml", ".yaml", ".yml", ".json")
_XML = re.compile(r"<(?P<name>[\w-]+)\s*(?:/>|>(?P<value>[^<>]*)</(?P=name)\s*>)")
_XML_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_QUOTES = {"&quot;": '"', "&apos;": "'"}
_PLACEHOLDER = re.compile(r"%\((\w[\w.-]*)\)|%([nds])(?![\w(])|\$\((\w+)\)")
# Options that other ones may refer to as well.
_TAKEN = frozenset(("module", "wsgi", "wsgi-file", "callable", "socket", "http", "http-socket"))
_ALWAYS = frozenset((
    "master", "vacuum", "die-on-term", "need-app", "enable-threads", "lazy-apps", "lazy", "single-interpreter",
    "plugin", "plugins", "plugins-dir", "plugin-dir", "chmod-socket", "chown-socket", "pidfile", "pidfile2",
    "daemonize", "daemonize2", "logto", "logto2", "log-maxsize", "log-master", "disable-logging", "memory-report",
    "no-orphans", "thunder-lock", "procname", "procname-prefix", "procname-prefix-spaced", "auto-procname",
    "log-date", "logdate", "home", "virtualenv", "venv", "pyhome", "no-site", "log-5xx", "log-4xx", "log-slow",
    "touch-reload", "py-autoreload", "python-autoreload", "strict", "binary-path", "safe-pidfile", "ignore-sigpipe",
    "ignore-write-errors", "disable-write-exception", "manage-script-name", "log-format", "reaper", "threaded-logger",
    "log-x-forwarded-for", "show-config", "catch-exceptions", "no-defer-accept", "so-keepalive", "logfile-chown",
    "log-reopen", "req-logger", "logger", "master-fifo", "log-encoder", "log-maxsize", "logfile-chmod", "close-on-exec",
    "harakiri-verbose", "http-auto-chunked", "wsgi-env-behaviour", "wsgi-env-behavior", "post-buffering",
))  # fmt: skip
_SOCKET = "the daemon opens a TCP port, or with 'domains' a socket for the proxy: either speaks HTTP"
_ADVICE: Mapping[str, str] = {
    "uid": advice.USER,
    "gid": advice.USER,
    **dict.fromkeys(("limit-as", "reload-on-as", "reload-on-rss", "evil-reload-on-rss"), advice.MEMORY),
    "cgroup": advice.LIMITS,
    "limit-post": "set 'body_limit', beside 'domains'",
    **dict.fromkeys(("http-keepalive", "so-keepalive-timeout"), "set 'keepalive' in 'gunicorn'"),
    **dict.fromkeys(("http-timeout", "socket-timeout", "harakiri"), "set 'timeout' in 'gunicorn'"),
    "http-enable-proxy-protocol": "set 'proxy_protocol' in 'gunicorn'",
    "max-fd": advice.OPEN_FILES,
    **dict.fromkeys(("static-map", "check-static", "static-index", "static-expires", "static-map2"), advice.STATIC),
    "route": "the proxy routes by 'domains' and 'below', and the app within them",
    "buffer-size": "set 'limit_request_line' and 'limit_request_field_size' in 'gunicorn'",
    "listen": "the daemon opens the listening socket",
    "stats": "metrics are on the daemon's API",
    "stats-http": "metrics are on the daemon's API",
    **dict.fromkeys(("cron2", "unique-cron2", "legion-cron", "legion-cron2"), "write it as one of 'schedules'"),
    **dict.fromkeys(
        ("attach-daemon", "attach-daemon2", "smart-attach-daemon", "mule", "mules", "spooler", "farm"),
        "name it in 'processes' of the manifest, with its command",
    ),
    **dict.fromkeys(
        ("cheaper", "cheaper-initial", "cheaper-step", "cheaper-algo"), "set a range: 'workers: {min: …, max: …}'"
    ),
    "idle": "set 'idle_after'",
    **dict.fromkeys(("include", "ini", "inherit", "for-readline"), "import the file that it names, too"),
    **dict.fromkeys(("hook-pre-app", "exec-pre-app", "exec-asap", "hook-post-app"), "put it into 'release'"),
    "emperor": "import the directory of the vassals: reconciler import DIR",
}
_WORKERS = frozenset(("processes", "workers", "p"))
_NUMBERS = {"harakiri": "timeout", "max-requests": "max_requests", "http-timeout": "timeout"}


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:
    """Return the app of a configuration; none if it names no Python app."""
    items = ledger.add(_items(name, folder.text(name)))
    own = {item.name: item.value for item in items}
    known = {**own, "n": PurePath(name).stem, "s": PurePath(name).name, "d": f"{folder.path.resolve()}/"}
    for index, item in enumerate(ledger.items):
        ledger.items[index] = replace(item, value=_expanded(item.value, known))
    referred = {each for item in items for each in re.findall(r"%\((\w[\w.-]*)\)", item.value)}
    ledger.use(*(item for item in items if item.name in referred and item.name not in _TAKEN))
    title = PurePath(name).stem
    draft = Draft(name=unique_name(folder.path.resolve().name if title.startswith("uwsgi") else title, set()))
    draft.fields["path"] = "."
    for item in ledger.under("uwsgi"):
        _take(ledger, draft, item)
    _take_python_path(ledger, draft)
    for section in ledger.names():
        if section != "uwsgi":
            ledger.leave(ledger.under(section), "it is no section of uWSGI")
    _take_entry(ledger, draft)
    ledger.leave_rest("uwsgi", notes=draft.notes)
    return [draft] if "entrypoint" in draft.fields or folder.has_python() else []


def is_configuration(name: str, text: str) -> bool:
    """Tell whether a file configures an app for uWSGI."""
    if not name.endswith(_ENDINGS):
        return False
    return (
        re.search(r"^[ \t]*+(\[uwsgi\]|<uwsgi\b|uwsgi\s*+:|(?:\{\s*+)?\"uwsgi\"\s*+:)", text, re.MULTILINE) is not None
    )


def _items(name: str, text: str) -> Iterator[Item]:
    if name.endswith(".xml"):
        bare = _XML_COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
        for found in _XML.finditer(bare):
            value = unescape(found["value"] or "", _QUOTES)
            line = bare.count("\n", 0, found.start()) + 1
            column = found.start() - bare.rfind("\n", 0, found.start())
            yield Item(file=name, line=line, column=column, path=("uwsgi", found["name"]), value=value.strip())
    elif name.endswith(".ini"):
        for item in ini_items(name, text):
            alone = not item.name and re.fullmatch(r"[\w-]+", item.value)  # an option that needs no value
            yield replace(item, path=(item.path[0], item.value), value="true", sign="=") if alone else item
    else:
        yield from yaml_items(name, text)


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """Replace `%(name)`, `%n` and `%d`; variables of the environment stay, as their values are not in the file."""
    return _PLACEHOLDER.sub(lambda found: found[0] if found[3] else known.get(found[1] or found[2], found[0]), text)


def _take(ledger: Ledger, draft: Draft, item: Item) -> None:  # noqa: C901, PLR0912  one case for each option
    value = item.value.strip()
    name = item.name.replace("_", "-")
    match name:
        case "module" | "wsgi" | "w" | "wsgi-file" | "file" | "callable":
            pass
        case "chdir" | "chdir2" if value:
            draft.set_path(ledger, item, value)
        case _ if name in _WORKERS:
            draft.set_number(ledger, item, "workers")
        case "threads" | "thread":
            draft.set_number(ledger, item, "threads")
        case "gevent" | "async" if value.isdecimal():
            draft.fields["worker_class"] = "gevent"
            draft.fields.setdefault("gunicorn", {})["worker_connections"] = int(value)
            ledger.use(item)
        case "http" | "http-socket":
            ledger.use(item) if take_address(draft, "--bind", value) else ledger.leave([item], _SOCKET, draft.notes)
        case "socket" | "uwsgi-socket" | "s" | "fastcgi-socket" | "shared-socket":
            ledger.leave([item], _SOCKET, draft.notes)
        case "env":
            variable, equals, text = value.partition("=")
            if equals:
                draft.set_variable(ledger, replace(item, path=(*item.path, variable)), variable.strip(), text.strip())
        case "worker-reload-mercy" | "reload-mercy" if value.isdecimal() and int(value) > 0:
            draft.fields["stop_timeout"] = f"{value}s"
            ledger.use(item)
        case "umask" if re.fullmatch(r"[0-7]{3,4}", value):
            draft.fields.setdefault("gunicorn", {})["umask"] = int(value, 8)
            ledger.use(item)
        case _ if name in _NUMBERS and value.isdecimal():
            draft.fields.setdefault("gunicorn", {})[_NUMBERS[name]] = int(value)
            ledger.use(item)
        case "cron" | "unique-cron":
            from reconciler.inspection.imports.schedules import take_uwsgi_line  # few have any

            take_uwsgi_line(ledger, draft, item)
        case "attach-daemon" | "attach-daemon2" | "smart-attach-daemon" if _take_daemon(ledger, draft, item, name):
            pass
        case _ if name in _ALWAYS:
            ledger.use(item)
        case _ if name in _ADVICE:
            ledger.leave([item], _ADVICE[name], draft.notes)
        case _ if name.startswith("route-"):
            ledger.leave([item], _ADVICE["route"], draft.notes)
        case _ if name.startswith("static-"):
            ledger.leave([item], advice.STATIC, draft.notes)
        case _ if name.startswith(("if-", "endif", "vassal", "set-placeholder", "set-ph")):
            ledger.leave([item], "it sets up uWSGI itself", draft.notes)


def _take_daemon(ledger: Ledger, draft: Draft, item: Item, name: str) -> bool:
    """Take over a daemon that uWSGI keeps running: a command, behind a pid file or among options."""
    command = item.value.strip()
    if name == "attach-daemon2":
        found = re.search(r"(?:^|,)(?:cmd|command|exec)=([^,]+)", command)
        command = found[1] if found is not None else ""
    elif name == "smart-attach-daemon":
        command = command.partition(" ")[2].strip()
    if not workers.is_of_app(command):
        return False
    number = sum(1 for each in draft.fields.get("processes", {}) if each.startswith("daemon"))
    return workers.take(ledger, draft, [item], f"daemon-{number + 1}" if number else "daemon", command, {})


def _take_python_path(ledger: Ledger, draft: Draft) -> None:
    """Take over where uWSGI imports from: the source itself, where nothing else names that, or below it."""
    found = [
        each for each in ledger.under("uwsgi") if each.name.replace("_", "-") in {"pythonpath", "python-path", "pp"}
    ]
    for item in found:
        path, value = str(draft.fields["path"]), item.value.strip()
        below = posixpath.relpath(value, path) if value.startswith(path.rstrip("/") + "/") or value == path else value
        if path == "." and value.startswith("/") and item.place not in ledger.used:
            draft.set_path(ledger, item, value)
        elif value == path or below == ".":
            ledger.use(item)
        elif not below.startswith("/") and ".." not in below.split("/") and not set(below) & set("%$"):
            settings = draft.fields.setdefault("gunicorn", {})
            settings["pythonpath"] = ",".join(filter(None, (settings.get("pythonpath"), below)))
            ledger.use(item)
        else:
            ledger.leave([item], "set PYTHONPATH in 'env', if the app needs it", draft.notes)


def _take_entry(ledger: Ledger, draft: Draft) -> None:
    items = {item.name.replace("_", "-"): item for item in ledger.under("uwsgi")}
    name = items["callable"].value if "callable" in items else "application"
    for key in ("module", "wsgi", "w", "wsgi-file", "file"):
        item = items.get(key)
        if item is None:
            continue
        target = item.value.strip()
        if key in {"wsgi-file", "file"}:
            path = target.removeprefix(f"{draft.fields['path']}/").removeprefix("./")
            target = re.sub(r"[.](py|wsgi)$", "", path).replace("/", ".")
        target = target if ":" in target else f"{target}:{name}"
        if ENTRYPOINT.fullmatch(target):
            draft.fields["entrypoint"] = target
            ledger.use(item, *(items[each] for each in ("callable",) if each in items))
            return
        ledger.leave([item], "set 'entrypoint' to module:callable", draft.notes)
