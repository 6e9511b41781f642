"""An isolated app without limits weighs as much as one process, and what builds it is held to a number of processes."""

import os
from pathlib import Path

import pytest

from reconciler.isolation.cells import Cells
from reconciler.linux.control_groups import Hierarchy, hierarchies
from tests.support.eventually import eventually
from tests.support.probe_of_isolation import LACKS
from tests.support.site import Site, get

_LAYOUT = Cells("0" * 16).layout
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}"),
    pytest.mark.skipif(
        not {"pids", "cpu"} <= _LAYOUT.limiting.keys(), reason=f"no limits by control groups: {_LAYOUT.lacks}"
    ),
]
# More processes than a build may have, in as many sessions; what it could start is left in the code.
_BUILD = """
import os, time
started = 0
while started < 1200:
    try:
        if os.fork() == 0:
            os.setsid()
            os.closerange(0, 256)
            time.sleep(600)
    except OSError:
        break
    started += 1
open("started", "w").write(str(started))
"""
_SERVER = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "$PORT"]


def _of_processor(pid: int) -> Hierarchy:
    (found,) = (each for each in hierarchies(pid) if str(each.mount) in _LAYOUT.limiting["cpu"].path)
    return found


def test_an_isolated_app_without_limits_has_the_share_of_one_process(site: Site) -> None:
    site.app("shut", isolation="strict")
    site.app("open")
    site.live()
    site.await_settled("shut", "open")
    tree = f"/reconciler-{site.state_id()}"
    held = _of_processor(int(str(site.told("shut")["pid"])))
    assert f"{tree}/apps/shut/" in held.own
    file, one = ("cpu.shares", 1024) if held.version == 1 else ("cpu.weight", 100)
    assert int((held.group.path / file).read_text()) == one
    above = Path(str(held.group.path).partition(tree)[0] + tree)
    assert int((above / file).read_text()) == one * (os.cpu_count() or 1)
    if held.version == 1:
        assert tree not in _of_processor(int(str(site.told("open")["pid"]))).own


def test_a_build_of_an_isolated_app_starts_only_so_many_processes_and_leaves_none(site: Site) -> None:
    port = site.app("many", isolation="strict", build=["python3", "bomb.py"], command=_SERVER)
    site.save(site.root / "apps/many/bomb.py", _BUILD)
    site.live()
    site.await_settled("many")
    assert 500 < int(get(port, "/started")) < 1024
    tree = f"reconciler-{site.state_id()}/apps/many"

    def has_instances_alone() -> bool:
        found = [path.name for each in hierarchies() for path in (each.mount / tree).glob("build-*")]
        return not found

    eventually(has_instances_alone, 20)
