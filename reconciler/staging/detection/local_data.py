"""Find where a project's settings put data beside its code, from their text: a deploy would replace it.

What `django-admin startproject` writes is the usual case. Only plain text counts: a name that is put together by code
is found once the app has written it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.staging.detection.django import project
from reconciler.staging.detection.modules import find
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import source_text

# A path below the project, as its settings write it: `BASE_DIR / "a" / "b"`, `os.path.join(BASE_DIR, "a")`.
_BELOW = r"""(?:str\(\s*)?(?:BASE_DIR|PROJECT_ROOT|ROOT_DIR|BASE_PATH)\s*/\s*(?P<parts>["'][\w./ "'-]{1,200}["'])"""
_JOINED = r"""os\.path\.join\(\s*\w{1,40}\s*,\s*(?P<joined>["'][\w./, "'-]{1,200}["'])\s*\)"""
_PLAIN = r"""["'](?P<plain>[\w./-]{1,200})["']"""
# Databases are not the only settings with a NAME, and not every database is named right beside it.
_FILE = r"""["'](?P<plain>[\w./-]{1,200}\.(?:db|sqlite3?))["']"""
_DATABASE = re.compile(rf"""["']NAME["']\s*:\s*(?:{_BELOW}|{_JOINED})""")
_DATABASE_FILE = re.compile(rf"""{_BELOW}|{_JOINED}|{_FILE}""")
DATABASES = (".db", ".sqlite", ".sqlite3")
_MEDIA = re.compile(rf"""^MEDIA_ROOT\s*=\s*(?:{_BELOW}|{_JOINED}|{_PLAIN})""", re.MULTILINE)
_URL = re.compile(r"sqlite:///(?!/)(?P<plain>[\w.-][\w./-]{0,200})")
# Of Flask's documentation and tutorials, whose base directory is that of the file itself.
_JOINED_URL = re.compile(rf"""sqlite:///["']\s*\+\s*(?:{_BELOW}|{_JOINED})""", re.IGNORECASE)
_CONFIGURATIONS = ("config.py", "settings.py", "app.py", "main.py")
_LITERAL = re.compile(r"""["']([^"']*)["']""")


def local_data(root: Path) -> tuple[str, ...]:
    """Return the paths that the settings of an app name for data, relative to the source, sorted.

    Those of a Django project, else of the files at the top that usually configure an app. A directory ends in `/`.
    Empty where nothing can be told.
    """
    manage = root / "manage.py"
    if not manage.is_file():
        manage = next((path for path in sorted(root.glob("*/manage.py")) if path.is_file()), manage)
    if not manage.is_file():
        return tuple(sorted(set(_configured(root))))
    try:
        found = project(manage, root)
        file = find(found.settings, found.package_root or manage.parent) if found.settings else None
        text = source_text(file, within=root) if file is not None else ""
    except (OSError, StagingError):
        return ()
    paths = {path for path in _named(text) if _is_inside(path)}
    below = "" if manage.parent == root else f"{manage.parent.name}/"
    return tuple(sorted(below + path for path in paths))


def _configured(root: Path) -> Iterator[str]:
    for name in _CONFIGURATIONS:
        try:
            text = source_text(root / name, within=root)
        except (OSError, StagingError):
            continue
        yield from (path for path in map(_path, _JOINED_URL.finditer(text)) if _is_inside(path))


def _named(text: str) -> Iterator[str]:
    if "sqlite" in text:
        yield from map(_path, _DATABASE.finditer(text))
        files = (path for path in map(_path, _DATABASE_FILE.finditer(text)) if path.endswith(DATABASES))
        yield from (path for path in files if ".backends." not in path)  # that of Django's is a module
    yield from (match["plain"] for match in _URL.finditer(text))
    yield from (f"{_path(match).rstrip('/')}/" for match in _MEDIA.finditer(text))


def _path(match: re.Match[str]) -> str:
    """Put a path together from the literals of an expression."""
    found = match.groupdict()
    written = found.get("parts") or found.get("joined")
    return "/".join(_LITERAL.findall(written)) if written else found.get("plain") or ""


def _is_inside(path: str) -> bool:
    parts = path.rstrip("/").split("/")
    return path not in {"", "/", ":memory:"} and not path.startswith("/") and not {"", ".", ".."} & set(parts)
