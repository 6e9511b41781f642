"""Which files of the host are root's, as a process knows that which has left for a namespace without root."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.linux.user_namespaces import forbidden
from tests.support.probe_of_isolation import NO_MOUNTS

_USER, _OTHER = 70_903, 70_904

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that it can give to others"),
    pytest.mark.skipif(bool(forbidden() or NO_MOUNTS), reason=f"no namespaces here: {forbidden() or NO_MOUNTS}"),
]

# Notes what its first argument names; joins a namespace with its own user alone, says so, and once it is told to go on,
# prints of each further path who shows as its owner, and whether it is root's.
_LOOK = """
import json, os, sys
from pathlib import Path
from reconciler.isolation.roots_files import is_roots, note_roots_files
from reconciler.linux.kernel_calls import prctl
from reconciler.linux.kernel_counts import leave_users
user, *paths = sys.argv[1:]
note_roots_files(paths[:3])
os.setgroups([])
os.setresuid(*[int(user)] * 3)
prctl(4, 1)  # PR_SET_DUMPABLE: its files of /proc are its own
leave_users()
with open("/proc/self/uid_map", "w") as file:
    file.write(f"{user} {user} 1")
print("there", flush=True)
sys.stdin.readline()
found = {Path(path).name: (Path(path), os.stat(path)) for path in paths}
print(json.dumps({name: [facts.st_uid, is_roots(path, facts)] for name, (path, facts) in found.items()}))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter, and root alone can change."""
    made = Path(tempfile.mkdtemp(prefix="reconciler-", dir="/var/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def test_what_was_roots_before_stays_roots_as_long_as_it_is_the_same(place: Path) -> None:
    for name in ("same", "replaced", "of-another", "new"):
        (place / name).write_text("1")
    os.chown(place / "of-another", _OTHER, -1)
    named = [*(str(place / name) for name in ("same", "replaced", "of-another", "new")), str(place), "/"]
    with subprocess.Popen(
        [sys.executable, "-c", _LOOK, str(_USER), *named],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as looking:  # fmt: skip
        assert looking.stdout is not None
        assert looking.stdout.readline() == "there\n"
        (place / "draft").write_text("2")
        (place / "draft").replace(place / "replaced")
        said, _ = looking.communicate("go on\n", timeout=60)
    found = json.loads(said)
    assert len({owner for owner, _ in found.values()}) == 1  # that of nobody: they cannot be told apart
    expected = {"same": True, "replaced": False, "of-another": False, "new": False, place.name: True, "": True}
    assert {name: is_roots for name, (_, is_roots) in found.items()} == expected
