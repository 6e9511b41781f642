"""Refuse an entry point whose module is neither in the source nor in a package that was installed.

Only what is certain is refused: a package may add directories to import from, and the source may have them anywhere.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.staging.detection.entry_point import EntryPoint, detect
from reconciler.staging.detection.target import SOURCES, cannot_use
from reconciler.staging.errors import StagingError
from reconciler.staging.source import allowance

# Of virtualenv and setuptools: they add no directory.
_OWN_PTH = frozenset(("_virtualenv.pth", "distutils-precedence.pth"))
_DEEPEST = 3


def refuse_absent(entry: EntryPoint, code: Path, site: Path) -> None:
    """Raise StagingError if nothing that was staged has the module of an entry point; `site` are the packages."""
    if entry.installed and not _is_installed(entry, site):
        said = absent_module(entry, code)
        if said:
            raise StagingError(f"{said}, and neither has any package that was installed{meant_instead(entry, code)}")


def absent_module(entry: EntryPoint, code: Path) -> str:
    """Return that the source has no module of this name, "" if it has one in any directory."""
    module = entry.target.partition(":")[0]
    path = module.replace(".", "/")
    ends = (f"/{path}", f"/{path}.py", f"/{path}.so")
    for directory, directories, files in os.walk(code):
        allowance.check(module)
        if any(f"{directory}/{name}".endswith(ends) for name in (*directories, *files)):
            return ""
    return f"{cannot_use(entry.target, entry.because)}: the source has no {path}.py or {path}/"


def meant_instead(entry: EntryPoint, code: Path) -> str:
    """Return the end of a message: the entry point that was probably meant, "" if none is like it."""
    module, _, name = entry.target.partition(":")
    from difflib import get_close_matches  # a build that works needs none

    close = get_close_matches(module, modules_near_top(code), n=1)
    if close:
        return f"; did you mean {close[0]}:{name}?"
    with suppress(StagingError):
        found = detect(code, None).target  # of a Procfile: what is refused
        return "" if found == entry.target else f"; did you mean {found}?"
    return ""


def _is_installed(entry: EntryPoint, site: Path) -> bool:
    top = entry.target.partition(":")[0].partition(".")[0]
    if top in sys.stdlib_module_names or any(path.name not in _OWN_PTH for path in site.glob("*.pth")):
        return True
    return any(path.name.partition(".")[0] == top for path in site.glob(f"{top}*"))


def modules_near_top(code: Path) -> list[str]:
    """Return the dotted names of the modules near the top of the code."""
    return sorted(dict.fromkeys(name for top in (code, code / SOURCES) for name in _below(top)))


def _below(top: Path) -> Iterator[str]:
    for depth in range(_DEEPEST):
        for path in top.glob("*/" * depth + "*.py"):
            yield ".".join(path.relative_to(top).with_suffix("").parts).removesuffix(".__init__")
