"""The daemon comes and goes; the apps stay."""

import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reconciler.state.lock import holder
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.site import Forked, Site, get, is_gone


def test_a_second_daemon_is_refused_and_told_the_pid_of_the_first(site: Site) -> None:
    site.app("blog")
    first = site.execute()
    site.await_settled("blog")
    second = site.cli("run")
    assert second.returncode == 1
    assert f"a daemon (pid {first.pid}) already uses it" in second.stderr
    assert first.poll() is None
    assert site.settled("blog")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_apps_go_on_without_the_daemon_and_are_adopted_by_the_next(site: Site, number: signal.Signals) -> None:
    port = site.app("blog", workers=2)
    first = site.execute()
    site.await_settled("blog")
    before = site.pids()
    with under_load(port) as load:
        site.end(first, number)
        if number != signal.SIGKILL:
            assert first.returncode == 0
        load.await_more(20)
        site.start()
        eventually(lambda: ("blog", "adopted", f"gunicorn {before['blog']} keeps serving") in site.events())
        site.await_settled("blog")
        load.await_more(20)
    assert load.failed == {}
    assert site.pids() == before
    assert [kind for _, kind, _ in site.events("blog")].count("ready") == 1


def test_a_daemon_that_is_back_does_what_was_asked_for_meanwhile(site: Site) -> None:
    ports = {name: site.app(name) for name in ("edited", "removed", "same", "moved")}
    site.end(_settled(site, *ports))
    before = site.pids()
    site.source("edited", "2")
    (site.manifests / "removed.yaml").unlink()
    ports["moved"] = site.app("moved")
    ports["added"] = site.app("added")
    site.start()
    eventually(lambda: {row["name"] for row in site.status()["apps"]} == {"edited", "same", "moved", "added"})
    eventually(site.serves("edited", "2", ports["edited"]))
    eventually(site.serves("moved", "1", ports["moved"]))
    site.await_settled("edited", "same", "moved", "added")
    assert site.pid("same") == before["same"]
    assert is_gone(before["removed"])


def test_a_death_while_the_daemon_is_away_is_repaired(site: Site) -> None:
    port = site.app("blog", workers=2)
    site.end(_settled(site, "blog"))
    before = site.pid("blog")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: is_gone(before))
    site.start()
    eventually(site.serves("blog", "1", port))
    assert site.pid("blog") != before
    eventually(lambda: len(site.marked()) == 3)
    assert not [text for _, kind, text in site.events() if kind == "failed"]


def test_a_listener_fetched_back_outlives_the_instance_it_came_from(site: Site) -> None:
    port = site.app("blog")
    site.end(_settled(site, "blog"))
    daemon = site.start()
    eventually(lambda: [text for _, kind, text in site.events() if kind == "adopted"])
    site.await_settled("blog")
    before = site.pid("blog")
    with under_load(port) as load:
        load.await_more(10)
        os.kill(before, signal.SIGKILL)
        site.await_successor("blog", before)
    assert "refused" not in load.outcomes
    assert daemon.poll() is None


def test_after_a_reboot_everything_is_started_again(site: Site) -> None:
    port = site.app("blog")
    site.end(_settled(site, "blog"))
    before = site.pid("blog")
    os.killpg(before, signal.SIGKILL)
    eventually(lambda: site.marked() == set())
    with closing(sqlite3.connect(site.paths.database, isolation_level=None)) as database:
        # What the next boot finds: another boot's id, and a pid that is somebody else's by now.
        database.execute("UPDATE instance SET boot = 'another', pid = 1")
    site.start()
    eventually(site.serves("blog", "1", port))
    assert not [text for _, kind, text in site.events() if kind in ("adopted", "exited")]


def test_nothing_of_the_daemons_environment_reaches_an_app(site: Site) -> None:
    port = site.app("blog", env={"GREETING": "hi", "PORT": "mine"})
    site.execute(env={"DAEMONS_OWN_SECRET": "x", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/x", "LISTEN_FDS_NAMES": "x"})
    eventually(site.serves("blog", "1", port))
    seen = json.loads(get(port, "/env"))
    assert not {"DAEMONS_OWN_SECRET", "PYTHONPATH", "VIRTUAL_ENV", "LISTEN_FDS_NAMES", "USER"} & seen.keys()
    assert (seen["GREETING"], seen["PORT"], seen["VCAP_SERVICES"]) == ("hi", "mine", "{}")
    assert seen["VCAP_APP_PORT"] == str(port)
    assert seen["HOME"] == str(site.paths.home("blog"))
    assert seen["PATH"].startswith(str(site.paths.environments))
    application = json.loads(seen["VCAP_APPLICATION"])
    assert (application["name"], application["port"]) == ("blog", port)


def test_nothing_that_was_open_where_the_daemon_was_started_reaches_an_app(site: Site) -> None:
    port = site.app("blog")
    reading, writing = os.pipe()
    held = Path(f"/proc/self/fd/{writing}").readlink()
    daemon = subprocess.Popen(
        site.command("run"), pass_fds=(writing,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    site.daemons.append(daemon)
    os.close(writing)
    os.close(reading)
    eventually(site.serves("blog", "1", port))
    for pid in site.marked():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed since it was listed
                assert link.readlink() != held


def test_secrets_are_shown_nowhere(site: Site) -> None:
    secret = "swordfish-4711"
    port = site.app("blog", env={"API_KEY": secret})
    site.execute()
    eventually(site.serves("blog", "1", port))
    site.source("blog", "2")
    eventually(site.serves("blog", "2", port))
    for command in (["status"], ["status", "--json"], ["events"], ["plan"], ["logs", "blog", "--which", "staging"]):
        told = site.cli(*command)
        assert secret not in told.stdout + told.stderr, command
    for pid in site.marked():
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for file in [site.console, *site.state.glob("logs/**/*.log"), *site.state.glob("apps/**/gunicorn.config")]:
        assert secret not in file.read_text()
    assert site.paths.state.stat().st_mode & 0o077 == 0


def test_logs_rotate_and_lose_nothing(site: Site) -> None:
    port = site.app("blog", workers=2)
    site.live(Cues(rotate_every_s=0.1), log_limit_bytes=2000, logs_kept=1000)
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    log = site.paths.log("blog", "access")
    asked = 0
    while len(list(log.parent.glob("access.log.*"))) < 3:
        get(port, f"/?{asked}-")
        asked += 1

    def lost() -> list[int]:
        told = "".join(file.read_text() for file in log.parent.glob("access.log*"))
        return [number for number in range(asked) if f"/?{number}- " not in told]

    def whole() -> bool:
        missing = lost()
        assert missing == []
        return True

    eventually(whole)
    assert site.pid("blog") == before


def test_the_daemon_is_told_to_look_again_by_sighup(site: Site) -> None:
    site.app("blog")
    daemon = site.start()
    site.await_settled("blog")
    daemon.send_signal(signal.SIGHUP)
    site.app("shop")
    site.await_settled("blog", "shop")
    assert daemon.poll() is None


def test_down_returns_once_the_daemon_has_ended_whatever_a_thread_of_it_still_reads(site: Site) -> None:
    port = site.app("blog")
    daemon = site.live(Cues(reads_on=True))
    eventually(site.serves("blog", "1", port))
    app = site.pid("blog")
    down = site.cli("down")
    assert (down.returncode, down.stderr) == (0, "")
    assert down.stdout == f"stopped the daemon (pid {daemon.pid}) and 1 app instance\n"
    assert is_gone(daemon.pid)
    assert is_gone(app)


def test_a_daemon_holds_its_state_directory_until_its_process_has_ended(site: Site) -> None:
    port = site.app("blog")
    daemon = site.live(Cues(reads_on=True))
    eventually(site.serves("blog", "1", port))
    daemon.send_signal(signal.SIGTERM)
    eventually(lambda: holder(site.paths) is None)
    assert is_gone(daemon.pid)


def test_a_state_directory_of_a_newer_version_is_refused(site: Site) -> None:
    with closing(sqlite3.connect(site.paths.database)) as database:
        database.execute("PRAGMA user_version = 99")
    refused = site.cli("run")
    assert refused.returncode == 1
    assert "upgrade this one" in refused.stderr


def _settled(site: Site, *names: str) -> Forked:
    daemon = site.start()
    site.await_settled(*names)
    return daemon


def test_a_death_before_the_manifests_were_looked_at_is_no_removal(site: Site) -> None:
    """A daemon that has just started knows of the app from its records, and not yet what is asked of it."""
    port = site.app("blog")
    site.end(_settled(site, "blog"))
    (build,) = site.paths.builds("blog").iterdir()
    made, before = build.stat().st_ino, site.pid("blog")
    daemon = site.live(Cues(kill_first=before))
    eventually(lambda: is_gone(before))
    eventually(lambda: get(port) == "1" and site.settled("blog"))
    assert build.stat().st_ino == made
    assert [kind for _, kind, _ in site.events("blog")].count("staged") == 1
    assert daemon.is_alive()
