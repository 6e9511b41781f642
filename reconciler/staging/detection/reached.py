"""List the files of an app that its served module, or the settings of its Django project, import; nothing is run."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.staging.detection import django
from reconciler.staging.detection.modules import find, read
from reconciler.staging.detection.static_files import manage_of, settings_of
from reconciler.staging.detection.target import EntryPoint
from reconciler.staging.errors import StagingError

_MOST_FILES = 100
_SETTINGS_FILES = ("*/settings.py", "*/settings/*.py", "settings.py", "*/*/settings.py")


def reached_files(code: Path, entry: EntryPoint) -> Iterator[tuple[Path, Path]]:
    """Yield each file once, with the directory that it is imported from, the first ones first."""
    tops = [code / path for path in (entry.chdir, *entry.pythonpath)]
    waiting = [*settings_modules(code, entry)[:1], entry.target.partition(":")[0]]
    seen: set[Path] = set()
    while waiting and len(seen) < _MOST_FILES:
        module = waiting.pop(0)
        place = next(((path, top) for top in tops if (path := find(module, top))), None)
        if place is None or place[0] in seen:
            continue
        seen.add(place[0])
        yield place
        with suppress(StagingError, OSError):
            origins = read(*place).imported.values()
            waiting += dict.fromkeys(each for origin in origins for each in (origin, origin.rpartition(".")[0]) if each)


def settings_modules(code: Path, entry: EntryPoint) -> list[str]:
    """Return the settings module of the app's Django project; those it could be if nothing names one."""
    manage = manage_of(code, entry.chdir)
    if manage is None:
        return []
    named = settings_of(code, entry, manage)
    return named or candidates(manage.parent)


def candidates(top: Path) -> list[str]:
    """Return the modules below a directory that look like Django settings, the most general first."""
    paths = dict.fromkeys(path for pattern in _SETTINGS_FILES for path in sorted(top.glob(pattern)))
    modules = [".".join(path.relative_to(top).with_suffix("").parts) for path in paths]
    usable = [
        each.removesuffix(".__init__") for each in modules if all(part.isidentifier() for part in each.split("."))
    ]
    found = [each for each in usable if (path := find(each, top)) and path.stat().st_size > 0]
    return sorted(found, key=lambda module: (not module.endswith(("settings", ".base")), module))


def names_settings(code: Path, entry: EntryPoint) -> bool:
    """Tell whether a file of the code names the settings of its Django project, or it has none."""
    manage = manage_of(code, entry.chdir)
    return manage is None or bool(settings_of(code, entry, manage)) or django.settings(manage) is not None
