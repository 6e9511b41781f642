"""What a forked process needs is in pages of its own: its fork server has used up what was free between its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.serving.forkserver import holes
from tests.contract.test_launch_isolated import _python

_PAGES = """
import json, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import holes

size = int(sys.argv[2])
things = [bytes(size) for _ in range(40 * (1 << 14) // size)]
for at in range(0, len(things), (1 << 14) // size):
    things[at] = None
if sys.argv[3:]:
    holes.fill_holes()
print(json.dumps(len({id(each) >> 12 for each in [bytes(size) for _ in range(30)]})))
"""
_VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def _pages(python: str, size: int, *more: str) -> int:
    """In how many pages thirty new objects are of a process that has freed one such object of each sixteen KiB."""
    command = (python, "-c", _PAGES, str(Path(holes.__file__)), str(size), *more)
    return int(json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout))


@pytest.mark.parametrize("size", [200, 1000])
@pytest.mark.parametrize("version", _VERSIONS)
def test_what_a_process_needs_is_in_few_pages_once_holes_are_filled(version: str, size: int) -> None:
    python = _python(version)
    together = 30 * (size + 50) // 4096 + 2
    assert _pages(python, size) > 2 * together
    assert _pages(python, size, "filled") <= together


def test_nothing_is_taken_from_an_allocator_that_is_not_known() -> None:
    text = (
        f"import sys; sys.path.insert(0, {str(Path(holes.__file__).parent)!r})\n"
        "import holes, resource\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "holes.fill_holes()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2048)\n"
    )
    for allocator in ("malloc", "debug"):
        ran = subprocess.run(
            (sys.executable, "-c", text),
            check=False,
            env={"PYTHONMALLOC": allocator},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr
