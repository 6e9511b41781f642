"""An app's code in, what a server has to load out, found without importing anything.

In this order, the first that is there: what the manifest says, `wsgi.py`, a Django project at the top, `asgi.py`, one
app object in `app.py`, `main.py` or `server.py`, a Django project one or two directories down.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.staging import django
from reconciler.staging.failure import StagingError
from reconciler.staging.modules import Interface, Scope, find, read

_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<name>[^\W\d][\w.]*)(?P<call>\(.*\))?)?")
_USUAL_NAMES = ("application", "app")
_USUAL_FILES = ("app.py", "main.py", "server.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """What to load: `target` as gunicorn takes it, from the directory `chdir` of the code ("" is its top).

    `settings` is the Django settings module for which `target` has to be generated; None when the app brings its own.
    """

    target: str
    interface: Interface
    chdir: str = ""
    settings: str | None = None


def detect(code: Path, asked: str | None) -> EntryPoint:
    """The entry point of the app in `code`; StagingError that lists what was looked for."""
    if asked is not None:
        return _asked(code, asked)
    return (
        _module(code, "wsgi", "wsgi")
        or _django(code, (0,))
        or _module(code, "asgi", "asgi")
        or _one_object(code)
        or _django(code, (1, 2))
        or _nothing(code)
    )


def _asked(code: Path, asked: str) -> EntryPoint:
    match = _TARGET.fullmatch(asked.strip())
    if match is None:
        raise StagingError(f"cannot use the entrypoint {asked!r}: it reads module:callable, such as wsgi:application")
    path = find(match["module"], code)
    name = match["name"]
    if path is None:
        # It may be in an installed package, which cannot be looked into yet.
        guessed: Interface = "asgi" if "asgi" in match["module"].split(".") else "wsgi"
        return EntryPoint(target=f"{match['module']}:{name or 'application'}{match['call'] or ''}", interface=guessed)
    scope = read(path, code)
    name = name or _usual(scope) or "application"
    first = name.partition(".")[0]
    if scope.complete and not scope.has(first):
        has = ", ".join(scope.names) or "nothing"
        raise StagingError(
            f"cannot use the entrypoint {asked!r}: {path.relative_to(code)} has no {first}; it has {has}"
        )
    interface = scope.made_by(name) if match["call"] else scope.interface(name)
    if interface is None:
        interface = "asgi" if path.name == "asgi.py" else "wsgi"
    return EntryPoint(target=f"{match['module']}:{name}{match['call'] or ''}", interface=interface)


def _module(code: Path, module: str, interface: Interface) -> EntryPoint | None:
    path = code / f"{module}.py"
    if not path.is_file():
        return None
    scope = read(path, code)
    name = _usual(scope)
    if name is None:
        return None
    return EntryPoint(target=f"{module}:{name}", interface=scope.interface(name) or interface)


def _django(code: Path, depths: tuple[int, ...]) -> EntryPoint | None:
    for depth in depths:
        projects = [found for found in sorted(code.glob("*/" * depth + "manage.py")) if django.is_project(found)]
        if len(projects) > 1:
            names = ", ".join(str(found.relative_to(code)) for found in projects)
            raise StagingError(f"cannot choose between {names}: set `entrypoint`, and `path` to one of them")
        for manage in projects:
            project = django.project(manage)
            chdir = manage.parent.relative_to(code).as_posix().removeprefix(".")
            if project.module is not None:
                found = _module_of(manage.parent, project.module)
                if found is not None:
                    return EntryPoint(target=found.target, interface=found.interface, chdir=chdir)
            if project.settings is not None:
                return EntryPoint(
                    target=f"{django.GENERATED_MODULE}:application",
                    interface="wsgi",
                    chdir=chdir,
                    settings=project.settings,
                )
    return None


def _module_of(top: Path, module: str) -> EntryPoint | None:
    path = find(module, top)
    if path is None:
        return None
    scope = read(path, top)
    name = _usual(scope)
    if name is None:
        return None
    assumed: Interface = "asgi" if path.name == "asgi.py" else "wsgi"
    return EntryPoint(target=f"{module}:{name}", interface=scope.interface(name) or assumed)


def _one_object(code: Path) -> EntryPoint | None:
    found: dict[str, Interface] = {}
    for file in _USUAL_FILES:
        if (code / file).is_file():
            apps = read(code / file, code).apps()
            usual = [name for name in (*_USUAL_NAMES, "server") if name in apps]
            for name in usual[:1] or apps:
                found[f"{file.removesuffix('.py')}:{name}"] = apps[name]
    if len(found) > 1:
        raise StagingError(f"cannot choose between {', '.join(found)}: set `entrypoint` to one of them")
    return next((EntryPoint(target=target, interface=interface) for target, interface in found.items()), None)


def _usual(scope: Scope) -> str | None:
    return next((name for name in _USUAL_NAMES if scope.has(name)), None)


def _nothing(code: Path) -> EntryPoint:
    seen = ", ".join(sorted(path.name for path in code.iterdir())[:12])
    raise StagingError(
        "cannot find the entry point: looked for wsgi.py or asgi.py with `application` or `app`; a Django project"
        " (manage.py with its settings) at most two directories down; a WSGI or ASGI app object in app.py, main.py or"
        f" server.py. There is: {seen}. Set `entrypoint: module:callable` in the manifest"
    )
