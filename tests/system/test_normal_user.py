"""The daemon as a user without any privilege: what root would be granted is not there to lean on."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reconciler.serving.keeper import dismiss
from tests.support.escaping import end as end_escaped
from tests.support.escaping import escaping, have_ended
from tests.support.eventually import eventually
from tests.support.hosts import explained
from tests.support.load import under_load
from tests.support.site import REPOSITORY, Site, is_gone

PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"

pytestmark = [
    pytest.mark.network,  # root's own Pythons and their packages are out of reach: an environment is made
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user that has nothing else running"),
    pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}, which every user may run"),
]

_USER = 61_000 + os.getpid() % 4000
_BECOME = ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups")
_NOTHING = ("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs")


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site that belongs to that user, below a directory that every user may enter."""
    root = Path(tempfile.mkdtemp(prefix="reconciler-"))
    site = Site(root=root)
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", root / "venv"], check=True)
    (packages,) = (root / "venv/lib").glob("python*/site-packages")
    (packages / "ours.pth").write_text(f"{REPOSITORY}\n{sysconfig.get_path('purelib')}\n")
    for directory in (root, site.manifests, root / "apps", site.state):
        directory.mkdir(exist_ok=True)
        os.chown(directory, _USER, _USER)
    try:
        yield from explained(site, request)
    finally:
        shutil.rmtree(root)


def allow_processes(pid: int, count: int) -> None:
    """Bound what a daemon and its templates may start; as the user, since root in a container may not."""
    for process in (pid, *(child.pid for child in psutil.Process(pid).children())):
        bounding = subprocess.run(
            [*_BECOME, "prlimit", f"--pid={process}", f"--nproc={count}:"], capture_output=True, text=True, check=False
        )
        assert bounding.returncode == 0 or is_gone(process), bounding.stderr


def start(site: Site, module: str = "reconciler") -> "subprocess.Popen[str]":
    """The daemon of a user who has no group, no capability, and no way to get any."""
    given = {"PATH": "/usr/bin:/bin", "HOME": str(site.root)}
    words = site.command("run")[3:]
    with site.console.open("a") as console:
        daemon = subprocess.Popen(
            [*_BECOME, *_NOTHING, site.root / "venv/bin/python", "-m", module, *words],
            stdout=console, stderr=console, stdin=subprocess.DEVNULL, text=True,
            cwd=site.root, env={**os.environ, **given}, start_new_session=True,
        )  # fmt: skip
    site.daemons.append(daemon)
    return daemon


def is_taken_back_under_load(site: Site, port: int, daemon: "subprocess.Popen[str]", module: str) -> None:
    """Killed and started again: the very instance goes on, and no request fails."""
    before = site.pid("blog")
    with under_load(port) as load:
        site.end(daemon, signal.SIGKILL)
        load.await_more(20)
        start(site, module)
        eventually(lambda: ("blog", "adopted", f"gunicorn {before} keeps serving") in site.events())
        site.await_settled("blog")
        load.await_more(20)
    assert load.failed == {}
    assert site.pid("blog") == before


def test_a_listener_is_fetched_back_without_any_privilege(site: Site) -> None:
    port = site.app("blog")
    daemon = start(site)
    eventually(site.serves("blog", "1", port), 15)
    before = site.pid("blog")
    assert Path(f"/proc/{before}").stat().st_uid == _USER
    is_taken_back_under_load(site, port, daemon, "reconciler")


def test_where_no_listener_can_be_fetched_back_the_keeper_has_it(site: Site) -> None:
    port = site.app("blog", workers=2)
    daemon = start(site, "tests.fakes.refusing")
    eventually(site.serves("blog", "1", port), 15)
    is_taken_back_under_load(site, port, daemon, "tests.fakes.refusing")


def test_without_a_keeper_the_instance_whose_listener_cannot_be_had_is_replaced_and_nobody_refused(site: Site) -> None:
    port = site.app("blog", workers=2)
    daemon = start(site, "tests.fakes.refusing")
    eventually(site.serves("blog", "1", port), 15)
    before = site.pid("blog")
    with under_load(port) as load:
        site.end(daemon, signal.SIGKILL)
        dismiss(site.paths.keeper)
        load.await_more(20)
        start(site, "tests.fakes.refusing")
        site.await_successor("blog", before)
        load.await_more(20)
    assert set(load.failed) <= {"reset"}, load.outcomes  # what waited at the old socket goes with it
    assert is_gone(before)
    replaced = "the running instance has lost the app's listener"
    assert replaced in site.cli("events", "blog").stdout


def test_a_host_that_grants_no_more_processes_is_waited_for_and_told(site: Site) -> None:
    port = site.app("blog")
    daemon = start(site)
    eventually(site.serves("blog", "1", port), 15)
    before = site.pid("blog")
    allow_processes(daemon.pid, 1)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: "Resource temporarily unavailable" in site.told("blog")["message"])
    site.source("blog", "2")
    eventually(lambda: site.told("blog")["state"] == "failing")
    assert daemon.poll() is None
    allow_processes(daemon.pid, 1000)
    eventually(site.serves("blog", "2", port))
    eventually(lambda: len(site.marked()) == 2)


def test_nothing_of_a_release_command_or_a_task_outlives_it_though_it_kills_what_was_to_end_it(site: Site) -> None:
    (_, program, _), left = escaping(site.root)
    by_task = site.root / "left-by-task"
    try:
        port = site.app("blog", isolation="none")
        site.app("shop", isolation="none", release=f"python {program} {left}")
        os.chown(site.root, _USER, _USER)
        start(site)
        eventually(site.serves("blog", "1", port), 60)
        eventually(lambda: "killed by SIGKILL" in site.told("shop")["message"], 60)
        eventually(lambda: have_ended(left))
        task = ("-m", "reconciler", "task", "--state", site.state, "blog", "--", "python", program, by_task)
        told = subprocess.run(
            [*_BECOME, *_NOTHING, site.root / "venv/bin/python", *task],
            capture_output=True, text=True, cwd=site.root, env={**os.environ, "HOME": str(site.root)}, check=False,
        )  # fmt: skip
        assert "its runner was killed" in told.stderr
        eventually(lambda: have_ended(by_task))
    finally:
        for each in (left, by_task):
            end_escaped(each)
