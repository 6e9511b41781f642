"""Detect the entry point of an app, without importing its code.

The first that exists wins: the manifest's `entrypoint`, `wsgi.py`, a Django project at the top, `asgi.py`, the web line
of a `Procfile`, one app object in `app.py`, `main.py` or `server.py`, the same below `src/`, a Django project one or
two directories down. If the dependency file is in a directory of its own, that directory is searched first.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.staging.detection import django
from reconciler.staging.detection.modules import Interface, Scope, find, read
from reconciler.staging.detection.procfile import Value, web_process
from reconciler.staging.errors import StagingError

_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<name>[^\W\d][\w.]*)(?P<call>\(.*\))?)?")
_CONVENTIONAL_NAMES = ("application", "app")
_CONVENTIONAL_FILES = ("app.py", "main.py", "server.py")
_SOURCES = "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """An entry point: `target` as gunicorn takes it, in the directory `chdir` of the code ("" is its top).

    `settings` is the Django settings module that `target` has to be generated for, None if the app has its own module.
    `pythonpath` are further directories of the code to import from. `worker_class` and `gunicorn` come from a Procfile,
    `reported` are its options that are ignored. `because` says where the entry point was found.
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


def detect(code: Path, manifest: str | None, directory: str = "") -> EntryPoint:
    """Return the entry point of the app in `code`; raises StagingError that lists what was searched for.

    `manifest` is the manifest's `entrypoint`, `directory` the one of the code that holds the dependency file: several
    apps can share a source tree.
    """
    if directory and directory != "." and (manifest is None or _contains(code / directory, manifest)):
        try:
            found = detect(code / directory, manifest)
        except _NotFound:
            return detect(code, manifest)
        return replace(
            found,
            chdir=f"{directory}/{found.chdir}".rstrip("/"),
            pythonpath=tuple(f"{directory}/{path}" for path in found.pythonpath),
        )
    if manifest is not None:
        return _explicit(code, manifest)
    return (
        _module(code, "wsgi", "wsgi")
        or _django(code, (0,))
        or _module(code, "asgi", "asgi")
        or _procfile(code)
        or _one_object(code)
        or _below_sources(code)
        or _django(code, (1, 2))
        or _fail(code)
    )


class _NotFound(StagingError):
    """The code has nothing that a server could load."""


def _contains(directory: Path, target: str) -> bool:
    module = target.partition(":")[0].strip()
    return find(module, directory) is not None or find(module, directory / _SOURCES) is not None


def _explicit(code: Path, target: str, because: str = "`entrypoint` in the manifest") -> EntryPoint:
    match = _TARGET.fullmatch(target.strip())
    if match is None:
        raise StagingError(
            f"cannot use the entrypoint {target!r}: it must have the form module:callable, such as wsgi:application"
        )
    name = match["name"]
    for below in ("", _SOURCES):
        top = code / below
        path = find(match["module"], top)
        if path is not None:
            break
    else:
        # It may be in a package that is not installed yet.
        guessed: Interface = "asgi" if "asgi" in match["module"].split(".") else "wsgi"
        installed = f"{match['module']}:{name or 'application'}{match['call'] or ''}"
        return EntryPoint(target=installed, interface=guessed, because=because)
    scope = read(path, top)
    name = name or _conventional_name(scope) or "application"
    first = name.partition(".")[0]
    if scope.complete and not scope.has(first):
        defined = f", only {', '.join(scope.names)}" if scope.names else ""
        raise StagingError(
            f"cannot use the entrypoint {target!r}: {path.relative_to(code)} does not define {first}{defined}"
        )
    interface = scope.interface_of_call(name) if match["call"] else scope.interface(name)
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
    name = _conventional_name(scope)
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
            because = f"{manage.relative_to(code)} is a Django project"
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
    name = _conventional_name(scope)
    if name is None:
        return None
    assumed: Interface = "asgi" if path.name == "asgi.py" else "wsgi"
    return EntryPoint(
        target=f"{module}:{name}", interface=scope.interface(name) or assumed, because=f"there is {path.name}"
    )


def _procfile(code: Path) -> EntryPoint | None:
    process = web_process(code)
    if process is None:
        return None
    directory = (code / process.chdir).resolve()
    if not directory.is_relative_to(code.resolve()) or not directory.is_dir():
        raise StagingError(f"cannot use the web line of Procfile: there is no directory {process.chdir} in the source")
    target = process.target if ":" in process.target else f"{process.target}:application"
    found = _explicit(directory, target, "the web line of Procfile")
    prefix = f"{process.chdir}/" if process.chdir else ""
    needs_uvicorn = process.server == "uvicorn" or (process.worker_class or "").startswith("uvicorn")
    return replace(
        found,
        interface="asgi" if needs_uvicorn else found.interface,
        chdir=process.chdir,
        pythonpath=tuple(f"{prefix}{path}" for path in (*found.pythonpath, *process.pythonpath)),
        worker_class=process.worker_class,
        gunicorn=process.settings,
        reported=process.reported,
    )


def _one_object(code: Path) -> EntryPoint | None:
    found: dict[str, Interface] = {}
    for file in _CONVENTIONAL_FILES:
        if (code / file).is_file():
            apps = read(code / file, code).apps()
            conventional = [name for name in (*_CONVENTIONAL_NAMES, "server") if name in apps]
            for name in conventional[:1] or apps:
                found[f"{file.removesuffix('.py')}:{name}"] = apps[name]
    if len(found) > 1:
        raise StagingError(f"cannot choose between {', '.join(found)}: set `entrypoint` to one of them")
    return next(
        (
            EntryPoint(target=target, interface=interface, because=f"{target} is the only app object")
            for target, interface in found.items()
        ),
        None,
    )


def _below_sources(code: Path) -> EntryPoint | None:
    """Detect in a src layout: beside the packages, or inside the only package that has such a module."""
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
    for file in _CONVENTIONAL_FILES:
        path = sources / package / file
        if path.is_file():
            apps = read(path, sources).apps()
            name = next((name for name in (*_CONVENTIONAL_NAMES, *apps) if name in apps), None)
            if name is not None:
                target = f"{package}.{file.removesuffix('.py')}:{name}"
                return EntryPoint(target=target, interface=apps[name], because=f"{target} is the only app object")
    return None


def _conventional_name(scope: Scope) -> str | None:
    return next((name for name in _CONVENTIONAL_NAMES if scope.has(name)), None)


def _fail(code: Path) -> EntryPoint:
    files = ", ".join(sorted(path.name for path in code.iterdir())[:12]) or "no files"
    raise _NotFound(
        "cannot find the entry point: searched for wsgi.py or asgi.py with `application` or `app`; a Django project"
        " (manage.py with its settings) at most two directories down; a web line of a Procfile that starts gunicorn or"
        " uvicorn; a WSGI or ASGI app object in app.py, main.py or server.py; the same below src/."
        f" The source contains {files}. Set `entrypoint: module:callable` in the manifest"
    )
