"""What one process makes for others to see is what each would make itself; without it, each does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.isolation.fence import SECRET
from reconciler.planning.isolation.confinement import Confinement
from tests.support.probe_of_isolation import LACKS, NO_MOUNTS

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root gives processes users of their own"),
    pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}"),
    pytest.mark.skipif(bool(NO_MOUNTS), reason=NO_MOUNTS),
]

_ROOT = Path(__file__).parents[2]
_USER = 79_991
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
_BEGINNING = """
import json, os, signal, sys, time
from reconciler.isolation import view_maker
from reconciler.isolation.confine import Beginning, confine
from reconciler.isolation.main import given_by
from reconciler.linux.privileges import set_capabilities

arguments = json.loads(sys.argv[1])
maker = view_maker.ViewMaker()

def seen(of, asked):
    "What a process sees that is confined so, and whether it was made for it."
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        request = maker.ask(of) if asked else None
        made = request and request.received()
        if request:
            request.received = lambda: made
        maker.close()
        begun = Beginning()
        begun.asked = request
        proof = confine(given_by(of), begun)
        mounts = sorted(line.split(" ", 3)[3].replace(" shared:", " ") for line in open("/proc/self/mountinfo"))
        mounts = [" ".join(word for word in line.split() if ":" not in word) for line in mounts]
        tree = sorted(os.listdir("/") + os.listdir("/dev") + os.listdir(os.path.dirname(given_by(of).writable[0])))
        opened = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
        told = {"made": made is not None, "proof": proof, "mounts": mounts, "tree": tree, "opened": len(opened)}
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        found = json.loads(told.read())
    os.waitpid(pid, 0)
    return found

def place(pid):
    "Where a process is, and what it has open."
    where = [os.stat("/proc/%s/%s" % (pid, each)).st_ino for each in ("ns/mnt", "ns/ipc", "root")]
    return where, len(os.listdir("/proc/%s/fd" % pid))
"""


def _run(script: str, arguments: object) -> Any:
    ran = subprocess.run(
        (sys.executable, "-c", _BEGINNING + script, json.dumps(arguments)),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _confined(root: Path, name: str) -> tuple[str, ...]:
    (root / "secret").write_text("of the daemon")
    (root / "homes" / name).mkdir(parents=True)
    home = str(root / "homes" / name)
    return Confinement(
        isolation="strict",
        uid=_USER,
        gid=_USER,
        visible=_SYSTEM,
        writable=(home,),
        owned=(home,),
        hidden=SECRET,
        shut=(str(root / "secret"),),
        alone=(str(root / "homes"),),
        account=f"app-{name}:{home}",
        daemon=os.getpid(),
    ).as_arguments()


def test_a_view_that_was_made_for_a_process_is_the_one_that_it_makes_itself(tmp_path: Path) -> None:
    script = "assert maker.renew()\nprint(json.dumps([seen(arguments, True), seen(arguments, False)]))\n"
    made, itself = _run(script, _confined(tmp_path, "one"))
    assert made.pop("made")
    assert not itself.pop("made")
    assert "missing" not in made["proof"]
    assert made == itself


def test_what_was_made_for_one_is_not_seen_by_the_next_and_the_maker_is_where_it_was(tmp_path: Path) -> None:
    script = """
assert maker.renew()
first = seen(arguments[0], True)
before = place(maker._pid)
views = [seen(each, True) for each in arguments]
import time
until = time.monotonic() + 60  # it closes what it made once that was passed on
while (after := place(maker._pid))[1] > before[1] and time.monotonic() < until:
    time.sleep(0.01)
print(json.dumps([first, views, before, after, place("self")]))
"""
    orders = [_confined(tmp_path, name) for name in ("one", "two")]
    _, views, before, after, host = _run(script, orders)
    assert [each["tree"].count(name) for each in views for name in ("one", "two")] == [1, 0, 0, 1]
    assert all(each["made"] and "missing" not in each["proof"] for each in views)
    assert before[0] == after[0] == host[0]
    assert after[1] <= before[1]


@pytest.mark.parametrize("ended", ["os.kill(maker._pid, signal.SIGKILL)", "os.kill(maker._pid, signal.SIGSTOP)"])
def test_without_an_answer_a_process_makes_its_view_itself_and_another_maker_takes_over(
    tmp_path: Path, ended: str
) -> None:
    script = f"""
assert maker.renew()
patience_s, view_maker._WITHIN_S = view_maker._WITHIN_S, 0.3
{ended}
alone = seen(arguments, True)
view_maker._WITHIN_S = patience_s
os.waitid(os.P_PID, maker._pid, os.WEXITED | os.WNOWAIT)
assert maker.renew()
print(json.dumps([alone, seen(arguments, True)]))
"""
    alone, after = _run(script, _confined(tmp_path, "one"))
    assert (alone.pop("made"), after.pop("made")) == (False, True)
    assert "missing" not in alone["proof"]
    assert alone == after


def test_where_no_process_comes_back_to_the_hosts_mounts_each_makes_its_view_itself(tmp_path: Path) -> None:
    script = """
status = open("/proc/self/status").read()
every = int(status.partition("CapEff:")[2].split()[0], 16) & ~(1 << 18)  # but CAP_SYS_CHROOT
set_capabilities(effective=every, permitted=every, inheritable=0)
assert maker.renew()
alone = seen(arguments, True)
os.waitid(os.P_PID, maker._pid, os.WEXITED | os.WNOWAIT)
print(json.dumps([alone, maker.renew(), maker.renew()]))
"""
    alone, *begun = _run(script, _confined(tmp_path, "one"))
    assert not alone["made"]
    assert "missing" not in alone["proof"]
    assert begun == [False, False]


_AMONG_USERS = """
from reconciler.linux.kernel_calls import call_libc
call_libc("unshare", 0x20000)
call_libc("mount", None, b"/", None, 0x4000 | 0x40000, None)
(waits, go), (hears, done), parent = os.pipe(), os.pipe(), os.getpid()
if os.fork() == 0:  # root of the host, in the same mounts
    os.close(go)
    os.read(waits, 1)
    for name in ("uid_map", "gid_map"):
        open("/proc/%s/%s" % (parent, name), "w").write("0 0 100000")
    os.write(done, b"d")
    if os.read(waits, 1):
        call_libc("mount", b"none", os.fsencode(given_by(arguments).writable[0]), b"tmpfs", 0, None)
        os.write(done, b"d")
    os._exit(0)
call_libc("unshare", 0x10000000)
os.write(go, b"g")
os.read(hears, 1)
"""


def test_a_maker_in_a_user_namespace_makes_views_of_a_copy_of_the_hosts_mounts(tmp_path: Path) -> None:
    script = "assert maker.renew()\nprint(json.dumps([seen(arguments, each) for each in (True, True, False)]))\n"
    *made, itself = _run(_AMONG_USERS + script, _confined(tmp_path, "one"))
    assert [each.pop("made") for each in (*made, itself)] == [True, True, False]
    assert "missing" not in itself["proof"]
    assert made == [itself, itself]


def test_no_view_is_made_of_a_copy_of_mounts_that_have_changed_since(tmp_path: Path) -> None:
    script = """
assert maker.renew()
before = seen(arguments, True)
os.write(go, b"m")
os.read(hears, 1)
first = seen(arguments, True)
os.waitid(os.P_PID, maker._pid, os.WEXITED | os.WNOWAIT)
assert maker.renew()
print(json.dumps([before, first, seen(arguments, True)]))
"""
    before, first, second = _run(_AMONG_USERS + script, _confined(tmp_path, "one"))
    assert [each.pop("made") for each in (before, first, second)] == [True, False, True]
    assert len(first["mounts"]) == len(before["mounts"])  # another one in the place of the home
    assert first["mounts"] != before["mounts"]
    assert first == second


def test_a_maker_ends_with_the_last_that_can_ask_it(tmp_path: Path) -> None:
    script = """
assert maker.renew()
seen(arguments, True)
maker.close()
print(json.dumps(os.waitpid(maker._pid, 0)[1]))
"""
    assert _run(script, _confined(tmp_path, "one")) == 0
