"""Which tests a worker of pytest-xdist takes together, and which come first: with `--dist loadfile`."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# Files of the same servers: each of those is started once, by the worker that has all of these.
_OF_SERVERS = (
    "tests/contract/test_every_server.py",
    "tests/contract/test_services_mysql.py",
    "tests/contract/test_services_postgresql.py",
    "tests/contract/test_services_rabbitmq.py",
    "tests/contract/test_services_redis.py",
    "tests/system/test_services.py",
)
# A container has its scratch at one path, and in tests that is the host's.
_OF_CONTAINERS = ("tests/system/test_export.py", "tests/system/test_image.py")
# About how long a test of a folder takes, in seconds; one of any other takes next to nothing.
_USUAL_S = {"chaos": 5.0, "contract": 1.0, "packaging": 3.0, "system": 2.0}
_USUAL_OF_OTHERS_S = 0.03


class LongestFirst(LoadFileScheduling):
    """Files that take long are begun first, so that what is left at the end is short, and no worker is idle then."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "servers" if file in _OF_SERVERS else "containers" if file in _OF_CONTAINERS else file

    def _assign_work_unit(self, node: Any) -> None:
        if len(self.workqueue) > 1:
            longest = max(self.workqueue, key=lambda scope: _expected_s(self.workqueue[scope]))
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def _expected_s(tests: dict[str, bool]) -> float:
    return sum(_USUAL_S.get(nodeid.split("/")[1], _USUAL_OF_OTHERS_S) for nodeid in tests)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    return LongestFirst(config, log) if config.getvalue("dist") == "loadfile" else None
