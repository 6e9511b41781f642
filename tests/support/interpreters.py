"""The interpreters of this host: a daemon runs each to learn its version, and a test run has many daemons."""

from functools import cache

from reconciler.staging.detection.runtimes import Runtime, discover
from reconciler.staging.stager import Stager


@cache
def _found() -> tuple[Runtime, ...]:
    return discover(())


def acquainted(stager: Stager) -> Stager:
    """The stager of a host that names no more interpreters, which knows those of this host already."""
    interpreters = stager._interpreters
    interpreters._known = _found()
    interpreters._stamps = interpreters._current_stamps()
    return stager
