"""What is promised of isolation, on hosts that have less: the same tests, fewer of them, and no other failure."""

import os
import subprocess
import sys
import tempfile

import pytest

from tests.support.probe_of_isolation import LACKS, NO_MOUNTS
from tests.support.site import REPOSITORY
from tests.support.surrounded import HOWS

_TESTS = ("test_launch_isolated", "test_cells", "test_app_users", "test_user_claims", "test_build_cells")
_LEAST = 30  # of some sixty

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can take from a program what root has"),
    pytest.mark.skipif(bool(LACKS or NO_MOUNTS), reason=LACKS or NO_MOUNTS),
]


@pytest.mark.nightly
@pytest.mark.parametrize("how", HOWS)
def test_on_a_poorer_host_the_tests_of_isolation_pass_or_say_what_it_lacks(how: str) -> None:
    files = [f"tests/contract/{name}.py" for name in _TESTS]
    become = [sys.executable, "-m", "tests.support.surrounded", how]
    words = [*become, sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *files]
    with tempfile.TemporaryDirectory(prefix="t") as short:  # sockets are made in it, whose paths may not be long
        env = {**os.environ, "TMPDIR": short, "RECONCILER_TESTS": "everyday"}
        ended = subprocess.run(words, cwd=REPOSITORY, env=env, check=False, capture_output=True, text=True)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.rpartition(" passed")[0].split()[-1]) >= _LEAST
