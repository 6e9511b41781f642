"""Find code that imports pkg_resources, which setuptools lost in version 82 and environments do not have by themselves.

Only an import at the top level of a module counts: one inside `try` copes without it. Tests do not count: of packages
with many of them they are a third of all files, and nothing that is served imports them.
"""

import os
import re
import subprocess
from pathlib import Path

from reconciler.linux.regular_files import read_file
from reconciler.staging.source import allowance

_IMPORT = r"^(import|from)[[:space:]]+pkg_resources([[:space:]]|,|\.|$)"
_HERE = re.compile(rb"^(?:import|from)[ \t]+pkg_resources(?:\s|,|\.|\Z)", re.MULTILINE)
_NEVER = frozenset(("pkg_resources", "setuptools", "tests"))
_TIMEOUT_S = 60
# As much is read sooner than a process is started for it.
_MOST_FILES, _MOST_BYTES = 100, 1 << 20
_GREP_BYTES = 512 << 20


def imports_pkg_resources(directory: Path) -> bool:
    """Tell whether a Python file below the directory imports it; False if that takes too long. Blocks."""
    files = 0
    left = _MOST_BYTES
    for folder, folders, names in os.walk(directory):
        allowance.check("the import of pkg_resources")
        folders[:] = [name for name in folders if name not in _NEVER]
        for name in names:
            if not name.endswith(".py"):
                continue
            files += 1
            try:
                content = read_file(f"{folder}/{name}", left, within=directory)
            except OSError:  # a link out of the code, or more than is to be read here
                return _is_found_by_grep(directory)
            left -= len(content)
            if _HERE.search(content):
                return True
            if files > _MOST_FILES:
                return _is_found_by_grep(directory)
    return False


def _is_found_by_grep(directory: Path) -> bool:
    excluded = (f"--exclude-dir={name}" for name in sorted(_NEVER))
    command = ("grep", "-rqsE", "--include=*.py", *excluded, _IMPORT, ".")
    try:
        status, _ = allowance.run_child(command, "the import of pkg_resources", _TIMEOUT_S, _GREP_BYTES, cwd=directory)
    except (OSError, subprocess.SubprocessError):
        return False
    return status == 0
