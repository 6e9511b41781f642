"""Find code that imports pkg_resources, which setuptools lost in version 82 and environments do not have by themselves.

Only an import at the top level of a module counts: one inside `try` copes without it.
"""

import subprocess
from pathlib import Path

_IMPORT = r"^(import|from)[[:space:]]+pkg_resources([[:space:]]|,|\.|$)"
_TIMEOUT_S = 60


def imports_pkg_resources(directory: Path) -> bool:
    """Tell whether a Python file below the directory imports it; False if that takes too long. Blocks."""
    try:
        found = subprocess.run(
            (
                "grep",
                "-rqsE",
                "--include=*.py",
                "--exclude-dir=pkg_resources",
                "--exclude-dir=setuptools",
                _IMPORT,
                ".",
            ),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return found.returncode == 0
