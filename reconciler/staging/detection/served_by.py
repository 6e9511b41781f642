"""Resolve the web process of a Procfile in the code: the entry point it stands for, found as its own tool would."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.staging.detection import django
from reconciler.staging.detection.conventions import object_in
from reconciler.staging.detection.frameworks import Interface
from reconciler.staging.detection.gunicorn_config import uwsgi_ini
from reconciler.staging.detection.modules import find, read
from reconciler.staging.detection.target import EntryPoint, contains, is_factory, resolve
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.web_line.options import WebProcess
from reconciler.staging.errors import StagingError

_FASTAPI_PATHS = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
_FLASK_PATHS = ("wsgi.py", "app.py")
_FLASK_APP = re.compile(r"[ \t]*(?:export[ \t]+)?FLASK_APP[ \t]*=[ \t]*[\"']?([^\"'\s]+)")
_FLASK_NAMES = ("app", "application")


class NotFollowed(StagingError):
    """The app that a command line starts is not in the code: something else may be what is meant."""


def entry_of(process: WebProcess, code: Path, because: str) -> EntryPoint:
    """Return the entry point of a web process.

    Raises NotFollowed if the code does not have what it starts, StagingError if that is there and cannot serve.
    """
    directory = (code / process.chdir).resolve()
    if not directory.is_relative_to(code.resolve()) or not directory.is_dir():
        raise NotFollowed(f"there is no directory {process.chdir} in the source")
    found = _found(process, directory, because)
    prefix = f"{process.chdir}/" if process.chdir else ""
    return replace(
        found,
        interface=_interface(process, found),
        because=because,
        chdir=posixpath.normpath(f"{prefix}{found.chdir}").removeprefix("."),
        pythonpath=tuple(f"{prefix}{path}" for path in (*found.pythonpath, *filter(_is_inside, process.pythonpath))),
        worker_class=process.worker_class or found.worker_class,
        gunicorn={**found.gunicorn, **process.settings},
        reported=(*found.reported, *process.reported),
    )


def flask_entry(directory: Path, app: str, because: str) -> EntryPoint:
    """Return the entry point that `flask --app` names, "" for what Flask finds by itself; raises as `entry_of`."""
    path, _, name = (app or flask_app(directory) or "").partition(":")
    if not path:
        path = next((each for each in _FLASK_PATHS if (directory / each).is_file()), "")
        if not path:
            raise NotFollowed("there is neither wsgi.py nor app.py in the source, where Flask looks for the app")
    root, module = _imported_as(directory, path)
    if find(module, root) is None:
        raise NotFollowed(f"there is no {path} in the source")
    below = root.relative_to(directory).as_posix().removeprefix(".")
    if name and not name.endswith(")") and is_factory(root, f"{module}:{name}"):
        name = f"{name}()"
    target = f"{module}:{name}" if name else _best(root, module, _FLASK_NAMES)
    return replace(resolve(root, target, because), pythonpath=(below,) if below else ())


def flask_app(directory: Path) -> str | None:
    """Return the app that `.flaskenv` names for Flask's own tool; None if it names none."""
    try:
        lines = text_of(directory / ".flaskenv", ".flaskenv").splitlines()
    except FileNotFoundError:
        return None
    return next((match[1] for line in lines if (match := _FLASK_APP.match(line))), None)


def fastapi_entry(directory: Path, path: str, name: str, because: str) -> EntryPoint:
    """Return the entry point that `fastapi run PATH` serves; raises as `entry_of`."""
    path = path or next((each for each in _FASTAPI_PATHS if (directory / each).is_file()), "")
    if not path:
        raise NotFollowed(
            f"there is none of {', '.join(_FASTAPI_PATHS)} in the source, where FastAPI looks for the app"
        )
    root, module = _imported_as(directory, path)
    if find(module, root) is None:
        raise NotFollowed(f"there is no {path} in the source")
    below = root.relative_to(directory).as_posix().removeprefix(".")
    target = f"{module}:{name}" if name else _best(root, module, ("app", "api"))
    return replace(resolve(root, target, because), pythonpath=(below,) if below else ())


def _found(process: WebProcess, directory: Path, because: str) -> EntryPoint:
    match process.kind:
        case "flask":
            return flask_entry(directory, process.target, because)
        case "fastapi":
            path, _, name = process.target.partition(":")
            return fastapi_entry(directory, path, name, because)
        case "file":
            return _of_file(directory, process, because)
        case "django":
            return _of_django(directory, process.target, because)
        case "config":
            return _of_config(directory, process, because)
        case "object":
            return _of_object(directory, process, because)


def _of_object(directory: Path, process: WebProcess, because: str) -> EntryPoint:
    target = process.target if ":" in process.target else f"{process.target}:application"
    if process.server == "uvicorn" and is_factory(directory, target):
        target = f"{target}()"  # uvicorn calls it, with a warning
    searched = (directory, *(directory / path for path in process.pythonpath if _is_inside(path)))
    for place in searched:
        if contains(place, target):
            below = place.relative_to(directory).as_posix().removeprefix(".")
            found = resolve(place, target, because, process.interface)
            return replace(found, pythonpath=tuple(posixpath.join(below, path) for path in found.pythonpath))
    return resolve(directory, target, because, process.interface)


def _of_file(directory: Path, process: WebProcess, because: str) -> EntryPoint:
    """Return the app of a Python file, or of a module that is run as a program."""
    file, _, name = process.target.partition(":")
    if not file.endswith((".py", ".wsgi")):
        path = find(f"{file}.__main__", directory) or find(file, directory)
        module, below = (file if path is None or path.name != "__main__.py" else f"{file}.__main__"), ""
        root = directory
    else:
        path, below = directory / file, posixpath.dirname(posixpath.normpath(file))
        root, module = directory / below, Path(file).stem
    if path is None or not path.is_file() or ".." in Path(file).parts or file.startswith("/"):
        raise NotFollowed(f"there is no {file} in the source")
    if not file.endswith(".wsgi") and not re.fullmatch(r"[^\W\d][\w.]*", module):
        raise NotFollowed(f"{file} cannot be imported: rename it, without a hyphen")
    target, interface = _object(path, root, module, name, file)
    return EntryPoint(target=target, interface=interface, because=because, pythonpath=(below,) if below else ())


def _object(path: Path, root: Path, module: str, name: str, file: str) -> tuple[str, Interface]:
    found = object_in(path, root)
    if name:
        found = {name: found.get(name, "wsgi")}
    if not found:
        raise NotFollowed(f"{file} holds no WSGI or ASGI app object: it runs a server of its own")
    if len(found) > 1:
        raise StagingError(
            f"cannot choose between {', '.join(f'{module}:{each}' for each in found)} of {file}: set `entrypoint`"
        )
    scope = read(path, root)
    line = scope.runs_at()
    name, interface = next(iter(found.items()))
    if line is None:
        return f"{module}:{name}", interface
    origin = scope.imported.get(name, "")
    if origin and find(origin.rpartition(".")[0], root):
        return f"{origin.rpartition('.')[0]}:{origin.rpartition('.')[2]}", interface
    raise StagingError(
        f"cannot serve {file}: it starts a server of its own when it is imported (line {line});"
        " put that below `if __name__ == '__main__':`"
    )


def _of_django(directory: Path, manage: str, because: str) -> EntryPoint:
    path = directory / manage
    if not path.is_file() or not path.resolve().is_relative_to(directory) or not django.is_project(path):
        return _of_file(directory, WebProcess(kind="file", target=manage, server="python"), because)
    found = django.entry(path, directory)
    if found is None:
        raise NotFollowed(django.missing_settings(path, directory) or f"{manage} names no settings")
    return found


def _of_config(directory: Path, process: WebProcess, because: str) -> EntryPoint:
    if process.server != "uwsgi":
        raise NotFollowed("it names no app, and no gunicorn.conf.py sets wsgi_app")
    named = uwsgi_ini(directory, process.target)
    if named is None:
        raise NotFollowed(f"{process.target} names neither a module nor a wsgi-file")
    return entry_of(named, directory, because)


def _interface(process: WebProcess, found: EntryPoint) -> Interface:
    """Return the interface that the server serves, which for some is the only one they know."""
    only = process.server in {"uvicorn", "daphne"} or (process.worker_class or "").startswith("uvicorn")
    return "asgi" if only else found.interface


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def _best(root: Path, module: str, names: tuple[str, ...]) -> str:
    """Return the target of the app that a tool finds in a module: by its name, the only one, or a factory."""
    path = find(module, root)
    found: Mapping[str, Interface] = {} if path is None else object_in(path, root)
    scope = None if path is None else read(path, root)
    name = next((each for each in names if each in found or (scope is not None and scope.has(each))), None)
    if name is None and len(found) > 1:
        raise StagingError(f"cannot choose between {', '.join(f'{module}:{each}' for each in found)}: set `entrypoint`")
    name = name or next(iter(found), None)
    if name is None:
        raise NotFollowed(f"{module} holds no app object and no factory")
    return f"{module}:{name}"


def _imported_as(directory: Path, path: str) -> tuple[Path, str]:
    """Return the directory that a path or module is imported from, and its dotted name there."""
    if "/" not in path and not path.endswith(".py"):
        return directory, path
    relative = posixpath.normpath(path.removesuffix("/").removesuffix(".py"))
    if relative.startswith(("/", "..")):
        raise NotFollowed(f"{path} is outside the source")
    parts = relative.removesuffix("/__init__").split("/")
    top = len(parts) - 1
    while top > 0 and (directory.joinpath(*parts[:top]) / "__init__.py").is_file():
        top -= 1
    return directory.joinpath(*parts[:top]), ".".join(parts[top:])
