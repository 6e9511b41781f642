"""Marks by folder, the fixtures of a real host, and how hard hypothesis tries.

RECONCILER_TESTS=nightly asks for the long version of every property and history, and runs what is marked `nightly`.
"""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.servers.fixtures import mysql, postgresql, rabbitmq, redis
from tests.support.distribution import pytest_xdist_make_scheduler
from tests.support.hosts import pytest_runtest_makereport, site, store
from tests.support.placed import api, registry

__all__ = [
    "api", "mysql", "postgresql", "pytest_collection_finish", "pytest_collection_modifyitems",
    "pytest_runtest_makereport", "pytest_xdist_make_scheduler", "rabbitmq", "redis", "registry", "site", "store",
]  # fmt: skip

_HERE = Path(__file__).parent
# A command that is given no state directory finds the daemon of another test, if only one is running.
os.environ["RECONCILER_STATE"] = str(_HERE / "no-state")
# Users of apps are claimed for a whole host, and `exec` stages in a place of it: those of tests are theirs alone.
if "RECONCILER_USERS" not in os.environ:
    _OF_HOST = Path(tempfile.mkdtemp(prefix="reconciler-host-"))
    _OF_HOST.chmod(0o755)
    (_OF_HOST / "users").mkdir(mode=0o755)
    os.environ["RECONCILER_USERS"] = str(_OF_HOST / "users")
    os.environ["RECONCILER_EXEC_STATE"] = str(_OF_HOST / "exec")
    atexit.register(shutil.rmtree, _OF_HOST, ignore_errors=True)
# What is installed has its bytecode. A checkout without it would be compiled anew by each of a thousand processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What the tests of a folder need is known by the folder: a new file cannot forget its marker.
_MARKED = frozenset({"chaos", "contract", "packaging", "system"})

_BUSY = [HealthCheck.too_slow]  # a machine with other work is no fault of a test's
settings.register_profile("everyday", max_examples=100, deadline=None, derandomize=True, suppress_health_check=_BUSY)
settings.register_profile("nightly", max_examples=20_000, deadline=None, suppress_health_check=_BUSY)
settings.register_profile("mutants", max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
settings.load_profile(os.environ.get("RECONCILER_TESTS", "everyday"))


def pytest_collection_finish() -> None:
    """Leave ten thousand tests out of every collection of garbage that a test brings about."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(_HERE).parts[0]
        if folder in _MARKED:
            item.add_marker(folder)
        if item.get_closest_marker("nightly") and os.environ.get("RECONCILER_TESTS") != "nightly":
            item.add_marker(pytest.mark.skip(reason="nightly: RECONCILER_TESTS=nightly runs it"))
