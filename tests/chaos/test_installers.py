"""An installer dies or hangs half-way: what serves goes on, what was half made is gone, and it is tried again."""

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.eventually import at_leisure, eventually
from tests.support.load import under_load
from tests.support.site import Site, is_gone

pytestmark = pytest.mark.network

# A package that takes as long to build as a file is not there, and needs nothing to be built with.
BACKEND = """\
import pathlib, time, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open({begun!r}, "a") as begun:
        begun.write("begun\\n")
    while not pathlib.Path({sign!r}).exists():
        time.sleep(0.05)
    with zipfile.ZipFile(directory + "/slow-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("slow.py", "SLOW = 1")
        wheel.writestr("slow-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1\\n")
        wheel.writestr("slow-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("slow-1.dist-info/RECORD", "")
    return "slow-1-py3-none-any.whl"
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def needs_slow_package(site: Site) -> Path:
    """Let the next build of blog need that package; returns the file to make when it may be built."""
    package, sign = site.root / "slow", site.root / "go-on"
    package.mkdir()
    (package / "backend.py").write_text(BACKEND.format(sign=str(sign), begun=str(begun_in(site))))
    (package / "pyproject.toml").write_text(PROJECT + '[project]\nname = "slow"\nversion = "1"\n')
    site.save(site.root / "apps" / "blog" / "requirements.txt", f"slow @ file://{package}\n")
    return sign


def begun_in(site: Site) -> Path:
    """The file that has a line for each time the package was begun to be built."""
    return site.root / "begun"


def uv_of(pid: int) -> psutil.Process | None:
    """The installer a daemon has started."""
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if process.name() == "uv" and process.status() != "zombie":
                return process
    return None


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.nightly)])
def test_an_installer_that_is_killed_or_hangs_is_told_of_and_staging_is_tried_again(
    site: Site, number: signal.Signals
) -> None:
    port, timeout_s = site.app("blog"), round(at_leisure(8.0))
    daemon = site.live(staging_timeout_s=timeout_s, retry_first_s=0.1, retry_cap_s=0.2)
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    sign = needs_slow_package(site)
    with under_load(port) as load:
        installer = eventually(lambda: uv_of(daemon.pid))
        assert installer is not None
        builder = eventually(lambda: [child.pid for child in installer.children(recursive=True)])
        os.kill(installer.pid, number)
        why = "uv failed (killed by SIGKILL)" if number == signal.SIGKILL else f"took longer than {timeout_s} s"
        eventually(lambda: any(why in text for _, kind, text in site.events("blog") if kind == "failed"))
        eventually(lambda: is_gone(installer.pid) and all(map(is_gone, builder)))
        assert site.pid("blog") == before
        sign.touch()
        site.source("blog", "2")
        eventually(site.serves("blog", "2", port), 60)
    assert load.failed == {}
    drafts = [path for folder in ("apps/*/builds", "environments") for path in site.state.glob(f"{folder}/.*")]
    assert drafts == []
    assert uv_of(daemon.pid) is None


def test_a_crash_during_a_long_installation_is_mended_at_once_and_the_installation_goes_on(site: Site) -> None:
    port = site.app("blog", probation="0.1s")
    daemon = site.live()
    eventually(lambda: site.serves("blog", "1", port)() and site.known_good("blog"))
    before, sign = site.pid("blog"), needs_slow_package(site)
    installer = eventually(lambda: uv_of(daemon.pid))
    eventually(begun_in(site).exists)
    with under_load(port) as load:
        load.await_more(5)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: [i.ready_at is not None for i in site.instances("blog") if i.pid != before] == [True])
        load.await_more(20)
        assert uv_of(daemon.pid) == installer
        site.source("blog", "1", unused="")  # what is wanted is another build now: this installation is given up
        eventually(lambda: uv_of(daemon.pid) not in (None, installer))
        eventually(lambda: begun_in(site).read_text().count("begun") == 2)
        os.kill(site.pid("blog"), signal.SIGKILL)
        load.await_more(20)
        sign.touch()
        eventually(lambda: site.settled("blog") and len(site.known_good("blog")) == 2, 60)
    assert set(load.failed) <= {"reset"}, load.outcomes
    assert begun_in(site).read_text().count("begun") == 2
    assert [kind for _, kind, _ in site.events("blog")].count("exited") == 2


def test_a_daemon_that_ends_takes_its_installers_along_and_leaves_nothing_half_made(site: Site) -> None:
    port = site.app("blog")
    daemon = site.start()
    eventually(site.serves("blog", "1", port))
    needs_slow_package(site)
    installer = eventually(lambda: uv_of(daemon.pid))
    eventually(begun_in(site).exists)
    assert installer is not None
    builders = [child.pid for child in installer.children(recursive=True)]
    site.end(daemon)
    assert daemon.returncode == 0
    assert is_gone(installer.pid)
    assert all(map(is_gone, builders))
    assert "Traceback" not in site.console.read_text()
    drafts = [path for folder in ("apps/*/builds", "environments") for path in site.state.glob(f"{folder}/.*")]
    assert drafts == []
