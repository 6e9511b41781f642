"""Tell from the output of an installer whether its failure can pass without an edit.

Never, if the code alone decides. Later, if an index or this host has a say: packages are published, compilers and
headers installed, files of the host's settings put where they belong. Soon, of an output that says neither.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from reconciler.planning.apps.retry import Retry
from reconciler.staging.environments.unsuitable import OF_NETWORK

_REFUSED = re.compile(r"client error \(4(?!08|29)\d\d")
_OF_HOST = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|Cannot allocate memory"
    r"|MemoryError|Too many open files|Resource temporarily unavailable|Stale file handle|server error \(5\d\d"
    r"|Permission denied",
    re.IGNORECASE,
)
# As uv and pip say it of a text that is no requirement.
_OF_TEXT = re.compile(
    r"Couldn't parse requirement|Invalid requirement|Unsupported requirement|Expected package name"
    r"|or the start of a requirement|Unnamed requirements? (?:are|is) not allowed"
)
_NOT_THERE = re.compile(r"(?:File not found: |Could not open requirements file: .*: )[`']?(?P<path>[^`'\n]+)")
_OF_BUILD = re.compile(
    r"Failed to build|build backend|Could not build wheels|Failed building wheel|metadata-generation-failed"
)
_OF_INDEX = re.compile(
    r"No solution found|was not found in the package registry|No matching distribution|Could not find a version"
    r"|ResolutionImpossible|conflicting dependencies|DO NOT MATCH THE HASHES|Hash mismatch"
)


def retry_of(output: str, *, code: Path, offline: bool, host_files: Sequence[str]) -> Retry:
    """Return when to try again.

    `offline` says that only packages in the code were looked at; `host_files` are those that the host's settings have
    the installer read.
    """
    if _REFUSED.search(output):
        return "later"
    if OF_NETWORK.search(output) or _OF_HOST.search(output):
        return "soon"
    if (absent := _NOT_THERE.search(output)) is not None:
        return "never" if Path(absent["path"]).is_relative_to(code) else "later"
    if _OF_TEXT.search(output):
        return "later" if any(file in output for file in host_files) else "never"
    if _OF_BUILD.search(output):
        return "later"
    if _OF_INDEX.search(output):
        return "never" if offline and not host_files else "later"
    return "soon"
