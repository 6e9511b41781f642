"""Find the app of code that does not say what to serve, by names and layouts that frameworks and hosts agree on."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from reconciler.staging.detection.frameworks import Interface
from reconciler.staging.detection.modules import find, read
from reconciler.staging.detection.syntax import Unparsed, parsed
from reconciler.staging.detection.target import CONVENTIONAL_NAMES, SOURCES, EntryPoint, conventional_name
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import read_source

# `server` is what Dash's documentation calls the Flask object.
_NAMES = (*CONVENTIONAL_NAMES, "server")
_FILES = ("app.py", "main.py", "server.py")
# Of Elastic Beanstalk, Azure, Passenger, Vercel, and tutorials.
_MORE_FILES = ("application.py", "index.py", "api.py", "run.py", "passenger_wsgi.py", "web.py", "site.py")
_NEVER_SERVED = frozenset((
    "setup.py", "manage.py", "conftest.py", "noxfile.py", "tasks.py", "fabfile.py", "gunicorn.conf.py", "settings.py",
    "config.py", "wsgi.py", "asgi.py",
))  # fmt: skip
_NO_APP_PACKAGES = frozenset(
    ("tests", "test", "docs", "doc", "examples", "example", "scripts", "migrations", "alembic")
)


def served_module(code: Path, module: str, interface: Interface) -> EntryPoint | None:
    """Return the app of a module that is there to be served, such as `wsgi`."""
    path = code / f"{module}.py"
    if not path.is_file():
        return None
    scope = read(path, code)
    name = conventional_name(scope)
    if name is None:
        return None
    return EntryPoint(
        target=f"{module}:{name}", interface=scope.interface(name) or interface, because=f"there is {module}.py"
    )


def module_of(top: Path, module: str) -> EntryPoint | None:
    """Return the app of a dotted module that is there to be served, such as `shop.wsgi`."""
    path = find(module, top)
    if path is None:
        return None
    scope = read(path, top)
    name = conventional_name(scope)
    if name is None:
        return None
    assumed: Interface = "asgi" if path.name == "asgi.py" else "wsgi"
    return EntryPoint(
        target=f"{module}:{name}", interface=scope.interface(name) or assumed, because=f"there is {path.name}"
    )


def one_object(code: Path) -> EntryPoint | None:
    """Return the only app object in the files that usually hold it."""
    found: dict[str, Interface] = {}
    for file in _FILES:
        if (code / file).is_file():
            found |= _objects(code / file, code)
    return _only(found)


def below_sources(code: Path) -> EntryPoint | None:
    """Detect in a src layout: beside the packages, or inside the only package that has such a module."""
    sources = code / SOURCES
    if not sources.is_dir():
        return None
    here = served_module(sources, "wsgi", "wsgi") or served_module(sources, "asgi", "asgi") or one_object(sources)
    found = [here] if here else []
    for package in sorted(path.parent.name for path in sources.glob("*/__init__.py")) if not here else ():
        inside = _in_package(sources, package)
        found += [inside] if inside else []
    chosen = _one_of(found)
    return None if chosen is None else replace(chosen, pythonpath=(SOURCES,))


def elsewhere(code: Path) -> EntryPoint | None:
    """Detect where only some tools look: factories, other usual files, packages, the only file that holds an app."""
    return (
        _factory(code, _FILES)
        or _unparsed(code, _FILES)
        or _made_by_method(code, _FILES)
        or _first(code, _MORE_FILES)
        or _packages(code)
        or _packages(code / SOURCES, SOURCES)
        or _only_file(code)
    )


def object_in(path: Path, root: Path) -> dict[str, Interface]:
    """Return the one app that a file holds, imports or makes, by its name or call; several if it cannot be told."""
    scope = read(path, root)
    found = scope.apps()
    for name in _NAMES:
        if name in found:
            return {name: found[name]}
    if found:
        return found
    for imported, interface in scope.imported_apps().items():
        return {imported: interface}
    for factory, interface in scope.factories().items():
        return {f"{factory}()": interface}
    unparsed = None if scope.parsed else conventional_name(scope)
    return {unparsed: "wsgi"} if unparsed else {}


def _objects(path: Path, root: Path) -> dict[str, Interface]:
    apps = read(path, root).apps()
    conventional = [name for name in _NAMES if name in apps]
    return {f"{path.stem}:{name}": apps[name] for name in conventional[:1] or apps}


def _only(found: Mapping[str, Interface]) -> EntryPoint | None:
    if len(found) > 1:
        raise StagingError(f"cannot choose between {', '.join(found)}: set `entrypoint` to one of them")
    return next((_entry(target, interface) for target, interface in found.items()), None)


def _entry(target: str, interface: Interface) -> EntryPoint:
    what = "factory" if target.endswith("()") else "app object"
    return EntryPoint(target=target, interface=interface, because=f"{target} is the only {what}")


def _one_of(found: list[EntryPoint]) -> EntryPoint | None:
    if len(found) > 1:
        names = ", ".join(each.target for each in found)
        raise StagingError(f"cannot choose between {names}: set `entrypoint` to one of them")
    return found[0] if found else None


def _in_package(sources: Path, package: str) -> EntryPoint | None:
    for server in ("wsgi", "asgi"):
        found = module_of(sources, f"{package}.{server}")
        if found is not None:
            return found
    for file in _FILES:
        path = sources / package / file
        if path.is_file():
            apps = read(path, sources).apps()
            name = next((name for name in (*CONVENTIONAL_NAMES, *apps) if name in apps), None)
            if name is not None:
                return _entry(f"{package}.{file.removesuffix('.py')}:{name}", apps[name])
    return None


def _factory(code: Path, files: Iterable[str]) -> EntryPoint | None:
    """Return the factory of a file that `flask run` would look into."""
    found: dict[str, Interface] = {}
    for file in ("wsgi.py", *files):
        if (code / file).is_file():
            for name, interface in list(read(code / file, code).factories().items())[:1]:
                found[f"{file.removesuffix('.py')}:{name}()"] = interface
    return _only(found)


def _unparsed(code: Path, files: Iterable[str]) -> EntryPoint | None:
    """Return the app of a file that only another Python can parse: its name is all that can be seen."""
    found: dict[str, Interface] = {}
    for file in files:
        if (code / file).is_file():
            scope = read(code / file, code)
            name = None if scope.parsed else conventional_name(scope)
            if name is not None:
                found[f"{file.removesuffix('.py')}:{name}"] = "wsgi"
    return _only(found)


def syntax_errors(code: Path) -> Iterator[str]:
    """Yield what this Python says of each file that usually holds an app, and that it cannot parse."""
    for file in ("wsgi.py", "asgi.py", *_FILES, *_MORE_FILES):
        if (code / file).is_file():
            try:
                parsed(read_source(code / file, file), file)
            except Unparsed as error:
                yield f"{file} is no valid Python {sys.version_info.major}.{sys.version_info.minor}: {error}"


def _made_by_method(code: Path, files: Iterable[str]) -> EntryPoint | None:
    """Return what a method of an object of an unknown class returns, under a name that apps have."""
    found: dict[str, Interface] = {}
    for file in files:
        if (code / file).is_file():
            scope = read(code / file, code)
            name = conventional_name(scope)
            if name is not None and scope.made_by_method(name):
                found[f"{file.removesuffix('.py')}:{name}"] = "wsgi"
    return _only(found)


def _first(code: Path, files: Iterable[str]) -> EntryPoint | None:
    for file in files:
        if (code / file).is_file():
            found = {f"{Path(file).stem}:{name}": kind for name, kind in object_in(code / file, code).items()}
            if found:
                return _only(found)
    return None


def _packages(top: Path, below: str = "") -> EntryPoint | None:
    """Return the app of the only package that has one, in its __init__.py or a file that usually holds it."""
    if not top.is_dir():
        return None
    found = []
    for package in sorted(path.parent.name for path in top.glob("*/__init__.py")):
        if package not in _NO_APP_PACKAGES and package.isidentifier():
            inside = _in_package(top, package) or _of_package(top, package)
            found += [inside] if inside else []
    chosen = _one_of(found)
    if chosen is None and not below:
        return _bare_directory(top)
    return replace(chosen, pythonpath=(below,)) if chosen and below else chosen


def _of_package(top: Path, package: str) -> EntryPoint | None:
    files = ("__init__.py", *_FILES, *_MORE_FILES)
    for file in files:
        path = top / package / file
        found = object_in(path, top) if path.is_file() else {}
        if found:
            module = package if file == "__init__.py" else f"{package}.{Path(file).stem}"
            return _only({f"{module}:{name}": interface for name, interface in found.items()})
    return None


def _bare_directory(code: Path) -> EntryPoint | None:
    """Return the app in `app/` or `api/` without an __init__.py, whose files import one another by their bare names."""
    for directory in ("app", "api", "backend"):
        if (code / directory).is_dir() and not (code / directory / "__init__.py").exists():
            found = one_object(code / directory)
            if found is not None:
                return replace(found, pythonpath=(directory,))
    return None


def _only_file(code: Path) -> EntryPoint | None:
    """Return the app of the only top-level file that binds one."""
    found: dict[str, Interface] = {}
    for path in sorted(code.glob("*.py")):
        if path.name not in _NEVER_SERVED and not path.name.startswith("test") and path.stem.isidentifier():
            with suppress(OSError, StagingError):  # a file that nothing asked for may be no program
                found |= _objects(path, code)
    return _only(found)
