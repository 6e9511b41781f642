"""Resolve what names an app, `module:callable` or a factory `module:make(arguments)`, in the code; nothing is imported.

A target that the server could only refuse, or that would answer every request with an error, is refused here.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.package_files import package_directory
from reconciler.planning.apps.entrypoint import FORM, expression, is_plain, is_self_contained, is_well_formed
from reconciler.staging.detection.frameworks import Interface, of_call
from reconciler.staging.detection.modules import Scope, dotted, find, read, required_arguments
from reconciler.staging.detection.web_line.options import Value
from reconciler.staging.errors import StagingError

CONVENTIONAL_NAMES = ("application", "app")
SOURCES = "src"
GENERATED_APP = "reconciler_app"
_FIRST_STRICT = 20  # gunicorn 19 evaluated any expression
MANIFEST = "`entrypoint` in the manifest"

_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<name>[^\W\d][\w.]*)(?P<call>\(.*)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """An entry point: `target` as gunicorn takes it, in the directory `chdir` of the code ("" is its top).

    `settings` is the Django settings module that `target` has to be generated for, `expression` the entry point that is
    more than gunicorn loads; both are None if the app has its own module.
    `pythonpath` are further directories of the code to import from. `worker_class` and `gunicorn` come from a Procfile
    or from gunicorn.conf.py, `reported` is what staging ignores of such files. `because` says where the entry point was
    found. `release` is the release line of the Procfile, to be run in `chdir`. `installed` says that the module is not
    in the code: it may be in a package that is not installed yet.
    """

    target: str
    interface: Interface
    because: str
    chdir: str = ""
    settings: str | None = None
    expression: str | None = None
    pythonpath: tuple[str, ...] = ()
    worker_class: str | None = None
    gunicorn: Mapping[str, Value] = field(default_factory=dict)
    reported: tuple[str, ...] = ()
    release: str = ""
    installed: bool = False


def contains(directory: Path, target: str) -> bool:
    """Tell whether the module of a target is in a directory, or in its `src/`."""
    module = target.partition(":")[0].strip()
    return find(module, directory) is not None or find(module, directory / SOURCES) is not None


def resolve(code: Path, target: str, because: str = MANIFEST, assumed: Interface | None = None) -> EntryPoint:
    """Return the entry point that a target names; raises StagingError if it cannot serve.

    `assumed` is the interface of an app that the text does not show.
    """
    match = _TARGET.fullmatch(target.strip())
    if match is None or (match["call"] and not is_well_formed(target)):
        raise StagingError(f"{cannot_use(target, because)}: it must have the form {FORM}")
    name = match["name"]
    for below in ("", SOURCES):
        top = code / below
        path = find(match["module"], top)
        if path is not None:
            break
    else:
        absent = f"{match['module']}:{name or 'application'}{match['call'] or ''}"
        known = of_call(f"{match['module']}.{dotted(expression(absent))}")
        guessed: Interface = assumed or known or ("asgi" if "asgi" in match["module"].split(".") else "wsgi")
        return EntryPoint(target=absent, interface=guessed, because=because, installed=True)
    scope = read(path, top)
    name = name or conventional_name(scope) or "application"
    first = name.partition(".")[0]
    if scope.complete and not scope.has(first):
        defined = f", only {', '.join(scope.names)}" if scope.names else ""
        raise StagingError(f"{cannot_use(target, because)}: {path.relative_to(code)} does not define {first}{defined}")
    if match["call"]:
        made = expression(target)
        interface = scope.interface_of_call(name) or scope.interface_of_expression(made)
        interface = interface or of_call(f"{match['module']}.{dotted(made)}")
    else:
        _refuse_factory(scope, name, f"{cannot_use(target, because)}", f"{match['module']}:{name}()")
        interface = scope.interface(name)
    if interface is None:
        interface = assumed or ("asgi" if path.name == "asgi.py" else "wsgi")
    return EntryPoint(
        target=f"{match['module']}:{name}{match['call'] or ''}",
        interface=interface,
        because=because,
        pythonpath=(below,) if below else (),
    )


def is_factory(code: Path, target: str) -> bool:
    """Tell whether a target names a function that has to be called to get the app."""
    module, _, name = target.partition(":")
    top = next((top for top in (code, code / SOURCES) if find(module, top)), None)
    if top is None or not name:
        return False
    scope = read(find(module, top) or top, top)
    definition = scope.definition(name)
    return isinstance(definition, ast.FunctionDef) and _is_called_without_arguments(definition)


def loadable(entry: EntryPoint, gunicorn_version: str) -> EntryPoint:
    """Return the entry point as the installed gunicorn loads it: by a module that is written for it, if need be.

    Raises StagingError if none could be written.
    """
    major = int(gunicorn_version.partition(".")[0])
    if major < _FIRST_STRICT or is_plain(entry.target):
        return entry
    if is_self_contained(entry.target):
        return replace(entry, target=f"{GENERATED_APP}:application", expression=entry.target)
    raise StagingError(
        f"{cannot_use(entry.target, entry.because)}: gunicorn {gunicorn_version} loads a name, or a call of one"
        " with plain values; bind the app to a name in its module"
    )


def write_app(directory: Path, entrypoint: str) -> None:
    """Write the module that makes the app of an entry point, in the directory that is served."""
    module, _, made = entrypoint.partition(":")
    template = (package_directory("reconciler.staging.detection") / "reconciler_app.py.template").read_text("utf-8")
    name = dotted(expression(entrypoint)).partition(".")[0]
    text = template.replace("{{ module }}", module).replace("{{ name }}", name).replace("{{ app }}", made.strip())
    replace_file(directory / f"{GENERATED_APP}.py", text, mode=0o644, durable=False)


def conventional_name(scope: Scope) -> str | None:
    """Return the usual name of an app object that a scope has."""
    return next((name for name in CONVENTIONAL_NAMES if scope.has(name)), None)


def cannot_use(target: str, because: str) -> str:
    """Return the beginning of a message about an entry point."""
    return f"cannot use the entrypoint {target!r}" + ("" if because == MANIFEST else f" of {because}")


def _refuse_factory(scope: Scope, name: str, problem: str, meant: str) -> None:
    """Raise StagingError for a function or class that is no app itself, but that makes one."""
    definition = scope.definition(name)
    what = ""
    if isinstance(definition, ast.FunctionDef) and _is_called_without_arguments(definition):
        parameters = definition.args
        none = not (parameters.args or parameters.posonlyargs or parameters.kwonlyargs)
        what = "a function without parameters" if none else "a function that needs no argument"
    elif isinstance(definition, ast.ClassDef) and scope.interface(name) is None and scope.interface_of_call(name):
        what = "a class whose instances are apps"
    if what:
        raise StagingError(f"{problem}: {name} is {what}, not an app; did you mean {meant}?")


def _is_called_without_arguments(function: ast.FunctionDef) -> bool:
    """Tell whether a function can only be called without arguments, or is made for that; a decorator may change it."""
    arguments = function.args
    return not function.decorator_list and arguments.vararg is None and required_arguments(arguments) == 0
