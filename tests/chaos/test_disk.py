"""The disk is full, fails or cannot be written: what serves goes on, the reason is told, and it mends itself."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.planning.apps.app import CrashPolicy
from tests.chaos.mounts import break_disk, failing_disk, fill, needs_mounts, small_disk
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import Site, get, is_gone
from tests.support.store import Store

AT_ONCE = CrashPolicy(first_s=0.05, cap_s=0.1, good_run_s=0.0)


@contextlib.contextmanager
def living_on(root: Path, store: Store, disk: "contextlib.AbstractContextManager[Path]") -> Iterator[Site]:
    """A site whose state directory, and nothing else, is on a disk of its own."""
    with disk:
        site = Site.at(root, store)
        try:
            yield site
        except BaseException:
            print(site.explain())
            raise
        finally:
            site.close()


@needs_mounts
def test_a_full_disk_stops_nothing_and_is_told_and_what_could_not_be_done_is_done_when_it_has_room(
    tmp_path: Path, store: Store
) -> None:
    with living_on(tmp_path, store, small_disk(tmp_path / "state")) as site:
        port = site.app("blog", workers=2, probation="0s")  # on probation a worker that dies is the release's fault
        daemon = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2)
        eventually(lambda: site.serves("blog", "1", port)() and site.known_good("blog"))
        with under_load(port) as load:
            ballast = fill(site.state)
            load.await_more(20)
            worker = max(site.marked() - {site.pid("blog")})
            os.kill(worker, signal.SIGKILL)  # respawned by its master
            eventually(lambda: is_gone(worker) and len(site.marked()) == 3)
            master = site.pid("blog")
            os.kill(master, signal.SIGKILL)  # started again, on a record that cannot be written
            eventually(lambda: is_gone(master) and len(site.marked()) == 3)
            load.await_more(20)
            site.app("blog", "2", port=port, workers=2, probation="0s")
            eventually(lambda: "No space left on device" in site.console.read_text())
            full = "cannot write to the state database: database or disk is full"
            eventually(lambda: full in site.console.read_text())
            eventually(lambda: "is full" in (site.status()["notice"] or ""))  # a failed build gives back what it wrote
            load.await_more(20)
            assert daemon.is_alive()
            assert get(port) == "1"
            ballast.unlink()
            eventually(site.serves("blog", "2", port))
        assert set(load.failed) <= {"reset"}, load.outcomes
        assert [kind for _, kind, _ in site.events("blog")].count("exited") == 1  # what happened meanwhile is known
        eventually(lambda: ("", "daemon", "the state database can be written to again") in site.events())
        assert not site.status()["notice"]
        eventually(lambda: len(site.marked()) == 3)


@needs_mounts
def test_a_daemon_that_starts_on_a_full_disk_leaves_what_serves_alone(tmp_path: Path, store: Store) -> None:
    with living_on(tmp_path, store, small_disk(tmp_path / "state")) as site:
        port = site.app("blog", probation="0s")
        site.source("shop")
        site.manifest("shop")  # its port is leased
        daemon = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2)
        eventually(lambda: site.settled("blog", "shop") and get(port) == "1")
        fill(site.state)
        master = site.pid("blog")
        os.kill(master, signal.SIGKILL)  # started again, on a record that cannot be written
        eventually(lambda: is_gone(master) and len(site.marked()) == 4 and get(port) == "1")
        serving, leased = site.marked(), site.told("shop")["port"]
        site.end(daemon, signal.SIGKILL)
        site.source("blog", "2")
        again = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2)
        eventually(lambda: "blog: staging" in site.console.read_text() or "No space left" in site.console.read_text())
        assert again.is_alive()
        assert site.marked() == serving
        assert (get(port), get(leased)) == ("1", "1")


@needs_mounts
def test_a_disk_that_fails_stops_nothing_and_ends_no_daemon(tmp_path: Path, store: Store) -> None:
    with living_on(tmp_path, store, failing_disk(tmp_path / "state", tmp_path / "image")) as site:
        port = site.app("blog", workers=2, patience="1s", probation="0s")
        daemon = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2, quiet_s=0.01)
        eventually(lambda: site.serves("blog", "1", port)() and site.known_good("blog"))
        before = site.pid("blog")
        with under_load(port) as load:
            break_disk(site.state)
            worker = max(site.marked() - {before})
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: is_gone(worker) and len(site.marked()) == 3)
            site.app("blog", "2", port=port, workers=2, patience="1s", probation="0s")
            eventually(lambda: "cannot write to the state database" in site.console.read_text())
            eventually(lambda: "Read-only file system" in site.console.read_text())
            load.await_more(20)
        assert daemon.is_alive()
        assert set(load.failed) <= {"reset"}, load.outcomes
        assert set(load.bodies) <= {"1", ""}  # a worker is killed, maybe between the head and the body of an answer
        assert load.bodies[""] <= 1
        site.end(daemon)
        refused = site.cli("run")
        assert (refused.returncode, "Read-only file system" in refused.stderr) == (1, True), refused.stderr
        assert "Traceback" not in refused.stderr
        assert get(port) == "1"
        assert site.pid("blog") == before


@needs_mounts
def test_on_a_disk_that_fails_a_master_that_dies_is_answered_for_and_told_of(tmp_path: Path, store: Store) -> None:
    with living_on(tmp_path, store, failing_disk(tmp_path / "state", tmp_path / "image")) as site:
        port = site.app("blog", patience="0.5s")
        daemon = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2)
        eventually(site.serves("blog", "1", port))
        master = site.pid("blog")
        break_disk(site.state)
        os.kill(master, signal.SIGKILL)
        # Before it served the first time the daemon may have answered for it too: only what is told later counts.
        eventually(lambda: "the daemon answers 503" in site.console.read_text().partition("was ended by SIGKILL")[2])
        with pytest.raises(AssertionError, match="503"):
            get(port)
        assert "Read-only file system" in site.console.read_text()
        assert daemon.is_alive()


@needs_mounts
def test_status_can_be_asked_for_on_a_read_only_disk_and_says_so(tmp_path: Path, store: Store) -> None:
    disk = small_disk(tmp_path / "state")
    with living_on(tmp_path, store, disk) as site:
        site.app("blog", state="stopped")
        daemon = site.live()
        eventually(lambda: site.told("blog")["state"] == "stopped")
        site.end(daemon)
        subprocess.run(["mount", "-o", "remount,ro", site.state], check=True)
        told = site.cli("status")
        assert f"{site.state} is read-only: the apps keep running" in told.stdout, told.stdout + told.stderr
        assert "blog" in told.stdout


@needs_mounts
def test_logs_on_a_disk_that_is_full_cost_their_lines_and_no_request(tmp_path: Path, store: Store) -> None:
    site = Site.at(tmp_path, store)
    with small_disk(site.state / "logs", 1) as logs:
        try:
            fill(logs)
            (logs / "ballast").rename(logs / "taken")
            printing = site.source("blog") / "wsgi.py"
            site.save(
                printing,
                "print('hello')\n" + printing.read_text().replace("    if", "    print('x' * 9999)\n    if", 1),
            )
            port = a_port()
            site.manifest("blog", port=port)
            site.live()
            eventually(site.serves("blog", "1", port))
            with under_load(port) as load:
                load.await_more(50)
            assert load.failed == {}
        finally:
            site.close()


def test_a_log_that_cannot_be_opened_costs_the_log_and_is_told(site: Site) -> None:
    (site.state / "logs").mkdir()
    (site.state / "logs" / "blog").write_text("no directory")
    port = site.app("blog")
    site.live()
    eventually(site.serves("blog", "1", port))
    (started,) = [text for _, kind, text in site.events("blog") if kind == "started"]
    assert started.endswith("without a log: cannot write " + str(site.paths.log("blog", "app")) + ": Not a directory")


@needs_mounts
@pytest.mark.network
def test_state_on_another_disk_than_the_cache_is_staged_by_copying(tmp_path: Path, store: Store) -> None:
    with small_disk(tmp_path / "state"):
        site = Site.at(tmp_path, store)
        try:
            shutil.rmtree(site.state / "environments")
            port = site.app("blog")
            site.live()
            eventually(site.serves("blog", "1", port), 60)
            (environment,) = site.paths.environments.glob("*/finished.json")
            assert (site.paths.cache / "uv").stat().st_dev != environment.stat().st_dev
        finally:
            site.close()
