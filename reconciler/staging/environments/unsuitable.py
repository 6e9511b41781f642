"""Tell from the output of an installer that a package cannot have the Python for which it was installed.

Only what says so counts: an index that does not answer, a limit of time or memory and a full disk are no such failure.
"""

import re
from collections.abc import Iterator

from reconciler.staging.detection.runtimes import Runtime

# As uv words it: what a requirement file, a lock file and the packages that they require come to.
_BUILD = re.compile(r"Failed to build `(?P<name>[\w.-]+)==(?P<version>[^`\s]+)`\W+(?:cause:\s)?The build backend")
# What an installer prints may be a package's own: no part is longer than a name or a version may be, and a name begins
# where a word does, so that no long line takes long.
_BOUNDED = re.compile(
    r"does not satisfy Python\S{0,99}<\S{0,99} and "
    r"(?P<name>[\w.-]{1,199})(?:==(?P<version>\S{1,199})|\S{0,99}) depends on Python"
)
_NO_WHEEL = re.compile(
    r"(?<![\w.-])(?P<name>[\w.-]{1,199})(?:==(?P<version>\S{1,199})|\S{0,99}) has no wheels with a matching Python"
)
_LOCKED = re.compile(
    r"Distribution `(?P<name>[\w.-]+)==(?P<version>[^`\s]+)[^`]*` can't be installed because it doesn't have"
)
_REASONS = (
    (_BUILD, "cannot be built for"),
    (_BOUNDED, "does not support"),
    (_NO_WHEEL, "has no wheel for"),
    (_LOCKED, "has no wheel for"),
)
OF_NETWORK = re.compile(r"Failed to fetch|error sending request|timed out|dns error|Connection refused", re.IGNORECASE)
# Whatever is built may be at odds with its Python, and so may what says so.
_OF_PYTHON = re.compile(
    r"Failed to build|build backend|Could not build wheels|Failed building wheel|[Rr]equires a different Python"
    r"|Requires-Python|current Python version|Python ABI|matching Python|not a supported wheel|the current platform"
)


def may_depend_on_python(output: str) -> bool:
    """Tell whether another Python might fix what failed, as far as the output of an installer tells."""
    return _OF_PYTHON.search(output) is not None and not OF_NETWORK.search(output)


def unsuitable(output: str, runtime: Runtime) -> str:
    """Return which package cannot have the Python, and why, in an operator's words; "" if that is not what failed."""
    return "" if OF_NETWORK.search(output) else next(_reasons(output, runtime), "")


def _reasons(output: str, runtime: Runtime) -> Iterator[str]:
    for pattern, reason in _REASONS:
        found = pattern.search(output)
        if found is not None:
            package = " ".join(filter(None, (found["name"], found["version"])))
            yield f"{package} {reason} Python {'.'.join(map(str, runtime.release[:2]))}"
