"""What a fork server has loaded is shared with what it forks as long as that lives: no reference to it is counted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.serving.forkserver import immortal
from tests.contract.machine import on_the_loop
from tests.contract.test_launch import Ground, _end_of, _environment, ground
from tests.contract.test_launch_isolated import _python

__all__ = ["ground"]

_PAGES = """
import gc, os, resource, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import immortal

class One:
    pass

gc.disable()
things = [One() for _ in range(50_000)]
if sys.argv[2:]:
    immortal.make_immortal()
gc.freeze()
reading, writing = os.pipe()
if os.fork() == 0:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for each in things:
        again = each
    copied = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    os.write(writing, b"%d" % copied)
    os._exit(0)
print(os.read(reading, 100).decode())
"""


def _copied(python: str, *more: str) -> int:
    """How many pages a forked process writes in that looks at fifty thousand objects."""
    command = (python, "-c", _PAGES, str(Path(immortal.__file__)), *more)
    return int(json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout))


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_a_forked_process_that_looks_at_what_it_shares_copies_none_of_it(version: str) -> None:
    python = _python(version)
    assert _copied(python) > 500
    assert _copied(python, "immortal") < 50


def test_on_a_python_that_has_no_such_objects_nothing_changes() -> None:
    before = sys.getrefcount(immortal)
    if sys.version_info >= (3, 12):
        pytest.skip("this Python has them")
    immortal.make_immortal()
    assert sys.getrefcount(immortal) == before


@on_the_loop
@pytest.mark.parametrize("version", ["3.12", "3.13"])
async def test_an_instance_counts_no_references_to_what_its_fork_server_has_loaded(
    ground: Ground, version: str
) -> None:
    ground.python = _environment(ground.root / "environment", of=_python(version))
    text = (
        "import gunicorn.config, sys\nsettings = gunicorn.config.Setting, gunicorn.config.Setting.fmt_desc.__code__\n"
        "print('uncounted', [sys.getrefcount(each) == sys.getrefcount(None) for each in (*settings, settings)])\n"
    )
    await _end_of(await ground.forked(ground.command(launcher=ground.launcher(text))))
    assert "uncounted [True, True, False]" in ground.said()
