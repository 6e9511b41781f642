"""Tell whether a Django project has static files to collect, from the text of its settings.

The settings are not run. What they import from the code with `*` counts as theirs.
"""

import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection import django
from reconciler.staging.detection.modules import find
from reconciler.staging.detection.target import EntryPoint
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.errors import StagingError

_INSTALLED = re.compile(r"^[^#\n]*django\.contrib\.staticfiles", re.MULTILINE)
_ROOT = re.compile(r"^[ \t]*STATIC_ROOT[ \t]*(?::[^=\n]*)?=(?![ \t]*(?:None\b|\"\"|''))", re.MULTILINE)
_STAR = re.compile(r"^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+\*", re.MULTILINE)
_MAX_FILES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFiles:
    """The command that collects the static files of a project, "" for none, and what is to be reported of them."""

    collect: str = ""
    reported: tuple[str, ...] = ()


def static_files(code: Path, entry: EntryPoint) -> StaticFiles:
    """Return how the static files of the app are collected, if it is a Django project that serves any."""
    manage = manage_of(code, entry.chdir)
    if manage is None:
        return StaticFiles()
    named = settings_of(code, entry, manage)
    texts = {settings: "\n".join(_texts(settings, manage.parent)) for settings in named}
    installed = [settings for settings, text in texts.items() if _INSTALLED.search(text)]
    collectable = next((settings for settings in installed if _ROOT.search(texts[settings])), None)
    if collectable is None:
        absent = "django.contrib.staticfiles (nothing is collected, as the settings have no STATIC_ROOT)"
        return StaticFiles(reported=(absent,) if installed else ())
    return StaticFiles(collect=management_command(code, entry, "collectstatic --noinput", collectable))


def management_command(code: Path, entry: EntryPoint, command: str, settings: str | None = None) -> str:
    """Return a command of the app's `manage.py` as it is run in the directory that is served; "" without one."""
    manage = manage_of(code, entry.chdir)
    if manage is None:
        return ""
    settings = settings or next(iter(settings_of(code, entry, manage)), None)
    line = f"python {quote(os.path.relpath(manage, code / entry.chdir))} {command}"
    if settings in {None, django.settings(manage)}:
        return line
    return f'DJANGO_SETTINGS_MODULE="${{DJANGO_SETTINGS_MODULE:-{settings}}}" {line}'


def settings_of(code: Path, entry: EntryPoint, manage: Path) -> list[str]:
    """Return the settings modules that the files of a Django project name, the one that is served first."""
    return list(
        dict.fromkeys(each for each in (entry.settings, *_served(code, entry), django.settings(manage)) if each)
    )


def manage_of(code: Path, chdir: str) -> Path | None:
    """Return the `manage.py` of the app: beside what is served, or at the top."""
    places = dict.fromkeys((code / chdir, code))
    return next(
        (found for place in places if (found := place / "manage.py").is_file() and django.is_project(found)), None
    )


def _served(code: Path, entry: EntryPoint) -> Iterator[str]:
    """Yield the settings that the served module names."""
    module = entry.target.partition(":")[0]
    for top in (entry.chdir, *entry.pythonpath):
        path = find(module, code / top)
        if path is not None:
            settings = django.settings(path)
            if settings:
                yield settings
            return


def _texts(settings: str, top: Path) -> Iterator[str]:
    """Yield the text of a settings module and of those that it imports everything from."""
    waiting, seen = [settings], set[str]()
    while waiting and len(seen) < _MAX_FILES:
        module = waiting.pop()
        path = find(module, top)
        if module in seen or path is None:
            continue
        seen.add(module)
        try:
            text = text_of(path, path.name)
        except (OSError, StagingError):
            continue
        yield text
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        waiting += [_absolute(match[1], package) for match in _STAR.finditer(text)]


def _absolute(module: str, package: str) -> str:
    name = module.lstrip(".")
    level = len(module) - len(name)
    if level == 0:
        return name
    parents = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join((*parents, name)).strip(".")
