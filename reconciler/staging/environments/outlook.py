"""Tell from the output of an installer whether its failure can pass without an edit.

What an index answers today it may answer otherwise tomorrow, as packages are published and mirrored: that is no reason
to ask it often, nor to give up. Of an output that says neither, the next try may be better.
"""

import re

from reconciler.planning.apps.observed import Retry
from reconciler.staging.environments.unsuitable import OF_NETWORK

_REFUSED = re.compile(r"client error \(4(?!08|29)\d\d")
_OF_HOST = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error|Cannot allocate memory"
    r"|MemoryError|Too many open files|Resource temporarily unavailable|Stale file handle|server error \(5\d\d"
    r"|Permission denied",
    re.IGNORECASE,
)
# As uv and pip say it of a text that is no requirement, and of a file that is not there.
_OF_TEXT = re.compile(
    r"Couldn't parse requirement|Invalid requirement|Unsupported requirement|Expected package name|File not found: "
    r"|Could not open requirements file|Unnamed requirements? (?:are|is) not allowed"
)
_OF_INDEX = re.compile(
    r"No solution found|was not found in the package registry|No matching distribution|Could not find a version"
    r"|ResolutionImpossible|conflicting dependencies|Failed to build|build backend|Could not build wheels"
    r"|Failed building wheel|metadata-generation-failed|DO NOT MATCH THE HASHES|Hash mismatch"
)


def retry_of(output: str, *, offline: bool) -> Retry:
    """Return when to try again; `offline` says that only packages beside the code were looked at."""
    if _REFUSED.search(output):
        return "later"
    if OF_NETWORK.search(output) or _OF_HOST.search(output):
        return "soon"
    if _OF_TEXT.search(output):
        return "never"
    if _OF_INDEX.search(output):
        return "never" if offline else "later"
    return "soon"
