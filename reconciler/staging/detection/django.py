"""Find the module that serves a Django project, or the settings to generate one from, by its `manage.py`.

In the modern layout a package has `wsgi.py` or `asgi.py`, and `manage.py` names it through its settings. For the old
layout, and projects without either, a small module that loads the settings is written beside the copy of `manage.py`.
"""

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from reconciler.staging.detection.modules import find
from reconciler.staging.errors import StagingError

GENERATED_MODULE = "reconciler_wsgi"

_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*(?:,|\]\s*=)\s*["']([\w.]+)["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The module that serves the project, if there is one, and its settings module, if that is known."""

    module: str | None
    settings: str | None


def is_project(manage: Path) -> bool:
    """Tell whether a `manage.py` is Django's."""
    return "django" in manage.read_text(encoding="utf-8", errors="replace")


def project(manage: Path) -> Project:
    """Return the project of a `manage.py`; raises StagingError if several modules could serve it."""
    top = manage.parent
    named = _SETTINGS.search(manage.read_text(encoding="utf-8", errors="replace"))
    settings = named[1] if named else ("settings" if find("settings", top) else None)
    for server in ("wsgi", "asgi"):
        # `config.settings.production` belongs to `config`, or to `config.settings`.
        packages = settings.split(".")[:-1] if settings else []
        for length in range(len(packages), 0, -1):
            module = ".".join((*packages[:length], server))
            if find(module, top):
                return Project(module=module, settings=settings)
        beside = sorted(path.parent.name for path in top.glob(f"*/{server}.py"))
        if len(beside) > 1:
            names = ", ".join(f"{package}.{server}" for package in beside)
            raise StagingError(f"cannot choose between {names}: set `entrypoint` to one of them, with `:application`")
        if beside:
            return Project(module=f"{beside[0]}.{server}", settings=settings)
    return Project(module=None, settings=settings if settings and find(settings, top) else None)


def write_module(directory: Path, settings: str) -> None:
    """Write the module that serves a project without one, beside its `manage.py`."""
    template = (
        resources.files("reconciler.staging.detection").joinpath("reconciler_wsgi.py.template").read_text("utf-8")
    )
    (directory / f"{GENERATED_MODULE}.py").write_text(template.replace("{{ settings }}", settings), "utf-8")
