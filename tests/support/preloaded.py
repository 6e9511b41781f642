"""What the process has loaded that lives of daemons are forked from, and what it knows: this host's interpreters.

A daemon runs each of them to learn its version. They are the same for every life of a test run.
"""

from functools import cache

from reconciler.staging.detection import runtimes
from tests.support import life

__all__ = ["life"]

vars(runtimes)["_probe"] = cache(runtimes._probe)
runtimes.discover(())
