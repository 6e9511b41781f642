"""Read the words behind a server's name: where the app is, the settings that are adopted, and what is not followed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.owned_settings import OWNED
from reconciler.staging.detection.frameworks import Interface
from reconciler.staging.detection.shown_text import shown
from reconciler.staging.detection.web_line.servers import Kind, Role, ServerSyntax

Value: TypeAlias = str | int | float | bool

_OBJECT = re.compile(r"(?:(?:asgi|wsgi):(?=\w[\w.]*:))?(?P<target>[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*(?:\(.*\))?)?)")
_PATH = re.compile(r"[\w./-]+\.(?:py|wsgi)|[\w.-]*/[\w./-]+|[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOption:
    """An option of a server's command line with its value, and the setting of gunicorn that it means, if any."""

    name: str
    value: str
    setting: str | None

    @property
    def report(self) -> str:
        """Return the report of this option where it is not followed."""
        return report(self.name, _without_value(self.value, self.setting), self.setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebProcess:
    """The web process of an app, as a command line starts it.

    `kind` says how `target` names the app; directories and files are relative to the source. `pythonpath` are further
    directories to import from, `config` a configuration file of gunicorn. `settings` are those of gunicorn that are
    adopted, `reported` is what is not followed, and `not_followed` are the options among that, with their whole values.
    `factory` says that the target is called to get the app.
    """

    kind: Kind
    target: str
    server: str
    interface: Interface | None = None
    chdir: str = ""
    pythonpath: tuple[str, ...] = ()
    worker_class: str | None = None
    config: str | None = None
    factory: bool = False
    settings: Mapping[str, Value] = field(default_factory=dict)
    reported: tuple[str, ...] = ()
    not_followed: tuple[ServerOption, ...] = field(default=(), repr=False)


def web_process_of(server: str, syntax: ServerSyntax, words: list[str]) -> WebProcess | None:
    """Return the web process that a server starts with these words; None if they name no app it could serve."""
    found = _Found()
    for option, value in _options(words, syntax, found):
        _take(found, syntax, option, value)
    if syntax.subcommands and not syntax.subcommands & set(found.words):
        return None
    return _process(server, syntax, found)


def report(option: str, value: str, setting: str | None) -> str:
    """Return the report of an option that is not followed, with what an operator writes instead."""
    instead = OWNED.get(setting or "", "use the field 'gunicorn'" if setting else "gunicorn has no such option")
    return f"{shown(f'{option} {value}'.strip())} ({instead})"


@dataclass(slots=True)
class _Found:
    """The command line of a server, read option by option."""

    words: list[str] = field(default_factory=list)
    roles: dict[Role, str] = field(default_factory=dict)
    pythonpath: tuple[str, ...] = ()
    settings: dict[str, Value] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)
    not_followed: list[ServerOption] = field(default_factory=list)


def _options(words: list[str], syntax: ServerSyntax, found: _Found) -> Iterator[tuple[str, str]]:
    """Yield the options with their values; every other word is kept."""
    remaining = iter(words)
    for word in remaining:
        if not word.startswith("-") or word in {"-", "--"}:
            found.words.append(word)
            continue
        option, equals, value = word.partition("=")
        if not equals and not option.startswith("--") and len(option) > 2 and option[:2] in syntax.short:
            option, equals, value = option[:2], "=", option[2:]
        option = syntax.short.get(option, option)
        if not equals and option not in syntax.flags:
            value = next(remaining, "")
        yield option, value


def _take(found: _Found, syntax: ServerSyntax, option: str, value: str) -> None:
    role = syntax.roles.get(option)
    if role == "pythonpath":
        found.pythonpath += tuple(path for path in re.split("[,:]", value) if path)
    elif role is not None:
        found.roles[role] = value or found.roles.get(role, "")
    elif option in syntax.adopted and "$" not in value and "`" not in value:
        found.settings[syntax.adopted[option]] = _value(option, value)
    else:
        setting = syntax.adopted.get(option) or syntax.means.get(option)
        if setting is None and syntax.any_is_setting:
            setting = option.lstrip("-").replace("-", "_")
        found.not_followed.append(ServerOption(name=option, value=value, setting=setting))
        found.reported.append(report(option, _without_value(value, setting), setting))


def _without_value(value: str, setting: str | None) -> str:
    """Return a variable that an option sets without its value, which may be secret; any other value as it is."""
    return f"{value.partition('=')[0]}=…" if setting == "raw_env" and "=" in value else value


def _process(server: str, syntax: ServerSyntax, found: _Found) -> WebProcess | None:
    roles = found.roles
    words = [word for word in found.words if word not in syntax.subcommands]
    process = WebProcess(
        kind=syntax.kind,
        target="",
        server=server,
        interface=_interface(syntax, found),
        chdir=roles.get("chdir", ""),
        pythonpath=found.pythonpath,
        worker_class=roles.get("worker_class"),
        config=roles.get("config"),
        factory="factory" in roles,
        settings=found.settings,
        reported=tuple(found.reported),
        not_followed=tuple(found.not_followed),
    )
    if syntax.kind == "flask":
        return replace(process, target=roles.get("app", ""))
    if syntax.kind == "fastapi" and "module" not in roles:
        path = next((word for word in words if _PATH.fullmatch(word)), "")
        return replace(process, target=path, reported=process.reported) if not words or path else None
    for role in ("module", "app"):
        if role in roles:
            return _of_module(process, roles[role], roles.get("callable", ""))
    return _of_words(process, words, roles)


def _of_words(process: WebProcess, words: list[str], roles: Mapping[Role, str]) -> WebProcess | None:
    """Return the process with the app that its words name."""
    ini = roles.get("ini") or next((word for word in words if word.endswith(".ini")), "")
    if process.server == "uwsgi" and ini:
        return replace(process, kind="config", target=ini)
    file = roles.get("file") or next(
        (word for word in words if word.endswith((".py", ".wsgi")) and "(" not in word), ""
    )
    if file and (process.kind == "file" or process.server == "uwsgi"):
        name = roles.get("callable", "application")
        return replace(process, kind="file", target=f"{file}:{name}")
    match = next((match for word in words if (match := _OBJECT.fullmatch(word))), None)
    if match is not None:
        return _of_module(process, match["target"], "")
    return replace(process, kind="config") if process.server == "gunicorn" and not words else None


def _of_module(process: WebProcess, module: str, name: str) -> WebProcess | None:
    if _OBJECT.fullmatch(module) is None:
        return None
    target = module if ":" in module or not name else f"{module}:{name}"
    return replace(process, kind="object", target=target + ("()" if process.factory else ""))


def _interface(syntax: ServerSyntax, found: _Found) -> Interface | None:
    """Return the interface that the server serves; its worker class or an option may say another."""
    asked = found.roles.get("interface", "")
    if asked.startswith(("asgi", "wsgi")):
        return "asgi" if asked.startswith("asgi") else "wsgi"
    if found.roles.get("worker_class", "").startswith("uvicorn"):
        return "asgi"
    return "wsgi" if any(word.startswith("wsgi:") and word.count(":") > 1 for word in found.words) else syntax.interface


def _value(option: str, value: str) -> Value:
    if option == "--no-sendfile":
        return False
    if value == "":
        return True
    if option == "--umask" and re.fullmatch(r"0o?[0-7]{1,8}", value):
        return int(value.replace("o", ""), 8)
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else value
