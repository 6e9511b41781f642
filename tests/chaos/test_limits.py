"""The host has no more of something: what serves goes on, what is missing is named, and it mends itself."""

import os
import resource
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.planning.apps.app import CrashPolicy
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.site import REPOSITORY, Forked, Site, get

AT_ONCE = CrashPolicy(first_s=0.05, cap_s=0.1, good_run_s=0.0)


def test_a_daemon_without_descriptors_lives_and_goes_on_when_it_has_some(site: Site) -> None:
    ports = {name: site.app(name) for name in ("blog", "shop")}
    daemon = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2, quiet_s=0.01)
    eventually(lambda: site.settled(*ports))
    before, limits = site.pid("shop"), resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    with under_load(ports["shop"]) as load:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (8, limits[1]))  # those it has it keeps
        os.kill(site.pid("blog"), signal.SIGKILL)
        eventually(lambda: "Too many open files" in site.console.read_text())
        site.app("blog", "2", port=ports["blog"])
        site.app("late")
        load.await_more(100)
        assert daemon.is_alive()
        eventually(lambda: len(site.marked()) == 2)  # shop's: nothing half-started is left of blog
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
        site.source("blog", "3")  # a source that could not be read is read again in half a minute, or at an edit
        eventually(lambda: site.settled("blog", "shop", "late"))
    assert load.failed == {}
    assert get(ports["blog"]) == "3"
    assert site.pid("shop") == before
    eventually(lambda: len(site.marked()) == 6)


def test_where_the_kernel_watches_no_more_directories_changes_are_found_by_looking_and_that_is_told(site: Site) -> None:
    port = site.app("blog")
    forbid = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    given = ("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    with site.console.open("a") as console:
        daemon = subprocess.Popen(
            [*given, *site.command("run")], stdout=console, stderr=console, cwd=REPOSITORY, start_new_session=True
        )
    site.daemons.append(daemon)
    eventually(lambda: site.console.read_text() or daemon.poll() is not None)
    if daemon.poll() is not None and "unshare" in site.console.read_text():
        pytest.skip("no user namespace with limits of its own can be made here")
    eventually(site.serves("blog", "1", port))
    told = site.console.read_text()
    assert "the host's limit of watchers is reached; raise fs.inotify.max_user_instances" in told
    assert "until then the daemon looks for changes every 5 s" in told
    site.source("blog", "2")
    eventually(site.serves("blog", "2", port))
    site.app("blog", "2", port=port, workers=2)
    eventually(lambda: site.told("blog")["workers"] == 2 and site.settled("blog"))
    assert site.console.read_text().count("limit of watchers") == 1


def test_a_locked_database_delays_what_is_written_down_and_nothing_else(site: Site) -> None:
    port = site.app("blog")
    daemon = site.live(crash=AT_ONCE, retry_first_s=0.1, retry_cap_s=0.2, quiet_s=0.01)
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    with under_load(port) as load, closing(sqlite3.connect(site.paths.database, isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        os.kill(before, signal.SIGKILL)
        load.await_more(20)
        site.app("blog", "2", port=port, env={"VERSION": "2"})
        eventually(lambda: get(port) == "2")  # all of a deploy, from the manifest to the hand-over
        locked = "cannot write to the state database: database is locked"
        eventually(lambda: locked in site.console.read_text())
        assert daemon.is_alive()
        stranger.execute("ROLLBACK")
        eventually(site.serves("blog", "2", port))
    assert set(load.failed) <= {"reset"}, load.outcomes
    eventually(lambda: ("", "daemon", "the state database can be written to again") in site.events())
    kinds = [kind for _, kind, _ in site.events("blog")]
    assert (kinds.count("exited"), kinds.count("staged")) == (1, 2)
    assert kinds.count("ready") in (3, 4)  # the manifest may have been seen before the source
    site.end(daemon, signal.SIGKILL)
    site.live()
    eventually(site.serves("blog", "2", port))


def test_a_daemon_started_again_and_again_changes_nothing_and_leaves_nothing(site: Site) -> None:
    port = site.app("blog")
    site.end(_settled(site))
    before, held = site.pid("blog"), _descriptors(site.pid("blog"))
    entries = sorted(str(path.relative_to(site.state)) for path in site.state.glob("apps/**/*"))
    with under_load(port) as load:
        for number in range(12):
            daemon = site.live()
            if number % 3:
                eventually(lambda: site.status()["daemon"]["running"])
            site.end(daemon, signal.SIGKILL if number % 2 else signal.SIGTERM)
            load.await_more(2)
        site.end(_settled(site))
    assert load.failed == {}
    assert site.pid("blog") == before
    assert _descriptors(before) == held
    assert sorted(str(path.relative_to(site.state)) for path in site.state.glob("apps/**/*")) == entries
    eventually(lambda: len(site.marked()) == 2)


def _settled(site: Site) -> Forked:
    daemon = site.live()
    site.await_settled("blog")
    return daemon


def _descriptors(pid: int) -> list[str]:
    return sorted(str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
