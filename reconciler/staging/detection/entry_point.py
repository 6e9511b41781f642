"""An app's code in, what a server has to load out, found without importing anything.

In this order, the first that is there: what the manifest says, `wsgi.py`, a Django project at the top, `asgi.py`, the
web line of a `Procfile`, one app object in `app.py`, `main.py` or `server.py`, the same below `src/`, a Django project
one or two directories down. Where the dependencies lie in a directory of their own, that is looked at first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.staging.detection import django
from reconciler.staging.detection.modules import Interface, Scope, find, read
from reconciler.staging.detection.procfile import Value, web
from reconciler.staging.errors import StagingError

_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<name>[^\W\d][\w.]*)(?P<call>\(.*\))?)?")
_USUAL_NAMES = ("application", "app")
_USUAL_FILES = ("app.py", "main.py", "server.py")
_SOURCES = "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """What to load: `target` as gunicorn takes it, from the directory `chdir` of the code ("" is its top).

    `settings` is the Django settings module for which `target` has to be generated; None when the app brings its own.
    `pythonpath` are directories of the code to import from as well. `worker_class` and `gunicorn` are what a Procfile
    asks of the server, `reported` what of it is not taken over, and `because` says where all this was found.
    """

    target: str
    interface: Interface
    because: str
    chdir: str = ""
    settings: str | None = None
    pythonpath: tuple[str, ...] = ()
    worker_class: str | None = None
    gunicorn: Mapping[str, Value] = field(default_factory=dict)
    reported: tuple[str, ...] = ()


def detect(code: Path, asked: str | None, beside: str = "") -> EntryPoint:
    """The entry point of the app in `code`; StagingError that lists what was looked for.

    `beside` is the directory of the code where its dependencies are listed: an app of several in one tree.
    """
    if beside and beside != "." and (asked is None or _is_in(code / beside, asked)):
        try:
            found = detect(code / beside, asked)
        except _NothingFound:
            return detect(code, asked)
        return replace(
            found,
            chdir=f"{beside}/{found.chdir}".rstrip("/"),
            pythonpath=tuple(f"{beside}/{path}" for path in found.pythonpath),
        )
    if asked is not None:
        return _asked(code, asked)
    return (
        _module(code, "wsgi", "wsgi")
        or _django(code, (0,))
        or _module(code, "asgi", "asgi")
        or _procfile(code)
        or _one_object(code)
        or _below_sources(code)
        or _django(code, (1, 2))
        or _nothing(code)
    )


class _NothingFound(StagingError):
    """There is nothing that a server could load."""


def _is_in(directory: Path, asked: str) -> bool:
    module = asked.partition(":")[0].strip()
    return find(module, directory) is not None or find(module, directory / _SOURCES) is not None


def _asked(code: Path, asked: str, because: str = "`entrypoint` in the manifest") -> EntryPoint:
    match = _TARGET.fullmatch(asked.strip())
    if match is None:
        raise StagingError(f"cannot use the entrypoint {asked!r}: it reads module:callable, such as wsgi:application")
    name = match["name"]
    for below in ("", _SOURCES):
        top = code / below
        path = find(match["module"], top)
        if path is not None:
            break
    else:
        # It may be in an installed package, which cannot be looked into yet.
        guessed: Interface = "asgi" if "asgi" in match["module"].split(".") else "wsgi"
        target = f"{match['module']}:{name or 'application'}{match['call'] or ''}"
        return EntryPoint(target=target, interface=guessed, because=because)
    scope = read(path, top)
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
    return EntryPoint(
        target=f"{match['module']}:{name}{match['call'] or ''}",
        interface=interface,
        because=because,
        pythonpath=(below,) if below else (),
    )


def _module(code: Path, module: str, interface: Interface) -> EntryPoint | None:
    path = code / f"{module}.py"
    if not path.is_file():
        return None
    scope = read(path, code)
    name = _usual(scope)
    if name is None:
        return None
    return EntryPoint(
        target=f"{module}:{name}", interface=scope.interface(name) or interface, because=f"there is {module}.py"
    )


def _django(code: Path, depths: tuple[int, ...]) -> EntryPoint | None:
    for depth in depths:
        projects = [found for found in sorted(code.glob("*/" * depth + "manage.py")) if django.is_project(found)]
        if len(projects) > 1:
            names = ", ".join(str(found.relative_to(code)) for found in projects)
            raise StagingError(f"cannot choose between {names}: set `entrypoint`, and `path` to one of them")
        for manage in projects:
            project = django.project(manage)
            chdir = manage.parent.relative_to(code).as_posix().removeprefix(".")
            because = f"{manage.relative_to(code)} is Django's"
            if project.module is not None:
                found = _module_of(manage.parent, project.module)
                if found is not None:
                    return replace(found, chdir=chdir, because=because)
            if project.settings is not None:
                return EntryPoint(
                    target=f"{django.GENERATED_MODULE}:application",
                    interface="wsgi",
                    because=because,
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
    return EntryPoint(
        target=f"{module}:{name}", interface=scope.interface(name) or assumed, because=f"there is {path.name}"
    )


def _procfile(code: Path) -> EntryPoint | None:
    said = web(code)
    if said is None:
        return None
    place = (code / said.chdir).resolve()
    if not place.is_relative_to(code.resolve()) or not place.is_dir():
        raise StagingError(f"cannot use the web line of Procfile: there is no directory {said.chdir} in the source")
    target = said.target if ":" in said.target else f"{said.target}:application"
    found = _asked(place, target, "the web line of Procfile")
    prefix = f"{said.chdir}/" if said.chdir else ""
    of_uvicorn = said.server == "uvicorn" or (said.worker_class or "").startswith("uvicorn")
    return replace(
        found,
        interface="asgi" if of_uvicorn else found.interface,
        chdir=said.chdir,
        pythonpath=tuple(f"{prefix}{path}" for path in (*found.pythonpath, *said.pythonpath)),
        worker_class=said.worker_class,
        gunicorn=said.settings,
        reported=said.reported,
    )


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
    return next(
        (
            EntryPoint(target=target, interface=interface, because=f"the one app object is {target}")
            for target, interface in found.items()
        ),
        None,
    )


def _below_sources(code: Path) -> EntryPoint | None:
    """The same in a src layout: beside the packages there, or inside the one package that has such a module."""
    sources = code / _SOURCES
    if not sources.is_dir():
        return None
    here = _module(sources, "wsgi", "wsgi") or _module(sources, "asgi", "asgi") or _one_object(sources)
    found = [here] if here else []
    for package in sorted(path.parent.name for path in sources.glob("*/__init__.py")) if not here else ():
        inside = _in_package(sources, package)
        found += [inside] if inside else []
    if len(found) > 1:
        names = ", ".join(each.target for each in found)
        raise StagingError(f"cannot choose between {names}: set `entrypoint` to one of them")
    return next((replace(each, pythonpath=(_SOURCES,)) for each in found), None)


def _in_package(sources: Path, package: str) -> EntryPoint | None:
    for server in ("wsgi", "asgi"):
        found = _module_of(sources, f"{package}.{server}")
        if found is not None:
            return found
    for file in _USUAL_FILES:
        path = sources / package / file
        if path.is_file():
            apps = read(path, sources).apps()
            name = next((name for name in (*_USUAL_NAMES, *apps) if name in apps), None)
            if name is not None:
                target = f"{package}.{file.removesuffix('.py')}:{name}"
                return EntryPoint(target=target, interface=apps[name], because=f"the one app object is {target}")
    return None


def _usual(scope: Scope) -> str | None:
    return next((name for name in _USUAL_NAMES if scope.has(name)), None)


def _nothing(code: Path) -> EntryPoint:
    seen = ", ".join(sorted(path.name for path in code.iterdir())[:12])
    raise _NothingFound(
        "cannot find the entry point: looked for wsgi.py or asgi.py with `application` or `app`; a Django project"
        " (manage.py with its settings) at most two directories down; a web line of a Procfile that starts gunicorn or"
        " uvicorn; a WSGI or ASGI app object in app.py, main.py or server.py; the same below src/."
        f" There is: {seen}. Set `entrypoint: module:callable` in the manifest"
    )
