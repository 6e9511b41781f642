"""Find the module that serves a Django project, or the settings to generate one from, by its `manage.py`.

In the modern layout a package has `wsgi.py` or `asgi.py`, and `manage.py` names it through its settings. For the old
layout, and projects without either, a small module that loads the settings is written beside the copy of `manage.py`.
"""

import re
from dataclasses import replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.package_files import package_directory
from reconciler.staging.detection.conventions import module_of
from reconciler.staging.detection.modules import find
from reconciler.staging.detection.target import EntryPoint
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import source_text

GENERATED_MODULE = "reconciler_wsgi"

_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*(?:,|\]\s*=)\s*["']([\w.]+)["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The module that serves the project, if there is one, and its settings module, if that is known.

    `absent` is a settings module that `manage.py` names and that is not in the code. `package_root` is the directory
    from which a project inside a package is imported, None for any other.
    """

    module: str | None
    settings: str | None
    absent: str | None = None
    package_root: Path | None = None


def is_project(manage: Path) -> bool:
    """Tell whether a `manage.py` is Django's."""
    return "django" in source_text(manage)


def settings(path: Path) -> str | None:
    """Return the settings module that a file of the project names; None if it names none."""
    named = _SETTINGS.search(source_text(path))
    return named[1] if named else None


def project(manage: Path, code: Path) -> Project:
    """Return the project of a `manage.py` in the code; raises StagingError if several modules could serve it."""
    found = _project_at(manage, manage.parent)
    root = _package_root(manage.parent, code)
    if root is None:
        return found
    if found.module is None and found.settings is None:
        found = _project_at(manage, root)
    return replace(found, package_root=root)


def _project_at(manage: Path, top: Path) -> Project:
    """Return the project of a `manage.py` whose modules are imported from `top`."""
    named = settings(manage) or ("settings" if find("settings", top) else None)
    for server in ("wsgi", "asgi"):
        # `config.settings.production` belongs to `config`, or to `config.settings`.
        packages = named.split(".")[:-1] if named else []
        for length in range(len(packages), 0, -1):
            module = ".".join((*packages[:length], server))
            if find(module, top):
                return Project(module=module, settings=named)
        beside = sorted(path.parent.name for path in top.glob(f"*/{server}.py"))
        if len(beside) > 1:
            names = ", ".join(f"{package}.{server}" for package in beside)
            raise StagingError(f"cannot choose between {names}: set `entrypoint` to one of them, with `:application`")
        if beside:
            return Project(module=f"{beside[0]}.{server}", settings=named)
    present = bool(named and find(named, top))
    return Project(module=None, settings=named if present else None, absent=None if present else named)


def _package_root(directory: Path, code: Path) -> Path | None:
    """Return the directory that holds the package which `directory` is; None if it is none, or the code itself."""
    root = directory
    while root != code and (root / "__init__.py").is_file():
        root = root.parent
    return None if root == directory else root


def entry(manage: Path, code: Path) -> EntryPoint | None:
    """Return the entry point of the project of a `manage.py`; None if it has nothing that could serve it."""
    found = project(manage, code)
    chdir = manage.parent.relative_to(code).as_posix().removeprefix(".")
    because = f"{manage.relative_to(code)} is a Django project"
    outside = () if found.package_root is None else (found.package_root.relative_to(code).as_posix().removeprefix("."),)
    tops = (manage.parent, found.package_root) if found.package_root is not None else (manage.parent,)
    for top in tops if found.module is not None else ():
        served = module_of(top, found.module or "")
        if served is not None:
            return replace(served, chdir=chdir, because=because, pythonpath=outside)
    if found.settings is None:
        return None
    return EntryPoint(
        target=f"{GENERATED_MODULE}:application",
        interface="wsgi",
        because=because,
        chdir=chdir,
        settings=found.settings,
        pythonpath=outside,
    )


def missing_settings(manage: Path, code: Path) -> str | None:
    """Return the problem of a `manage.py` whose settings module is not in the code; None if it has another, or none."""
    absent = project(manage, code).absent
    where = manage.relative_to(code)
    return f"{where} names the settings module {absent}, which is not in the source" if absent else None


def write_module(directory: Path, settings: str) -> None:
    """Write the module that serves a project without one, beside its `manage.py`."""
    template = (
        package_directory("reconciler.staging.detection").joinpath("reconciler_wsgi.py.template").read_text("utf-8")
    )
    written = template.replace("{{ settings }}", settings)
    replace_file(directory / f"{GENERATED_MODULE}.py", written, mode=0o644, durable=False)
