"""What is wrong with the manifests stops nothing, and is said."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import Site, get

GOOD = [f"good{number:02}" for number in range(20)]
LAUGHS = "a: &a [ha]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(f'*{chr(97 + n)}' for _ in range(10))}]\n" for n in range(12)
)


def _loop(file: Path) -> None:
    file.symlink_to(file.name)


def _unreadable(file: Path) -> None:
    if os.geteuid() == 0:
        file.symlink_to("/proc/1/mem")  # root may read everything that is a file
    else:
        file.write_text("path: x\n")
        file.chmod(0)


BAD: dict[str, Callable[[Path], object]] = {
    "misspelt": lambda file: file.write_text("nmae: x\nruntmie: 3.12\npaht: ../apps/x\nwrokers: 2\nprot: 1\n"),
    "tabs": lambda file: file.write_text("name: tabs\n\tpath: ../apps/x\n"),
    "large": lambda file: file.write_bytes(b"path: x\n#" + b"x" * 10_000_000),
    "laughs": lambda file: file.write_text(LAUGHS),
    "latin": lambda file: file.write_bytes("path: ../apps/caf\xe9\n".encode("latin-1")),
    "loop": _loop,
    "unreadable": _unreadable,
    "folder": lambda file: file.mkdir(),
}


def test_bad_manifests_are_each_refused_in_words_and_leave_the_good_ones_alone(site: Site) -> None:
    for name in GOOD:
        site.app(name)
    site.start()
    site.await_settled(*GOOD, within=90)
    before = site.pids()
    for name, write in BAD.items():
        write(site.manifests / f"{name}.yaml")
    eventually(lambda: all(site.refusals(f"{name}.yaml") for name in BAD))
    told = {name: site.refusals(f"{name}.yaml") for name in BAD}
    assert len(told["misspelt"]) >= 5
    assert "did you mean" in " ".join(told["misspelt"]).lower()
    assert all(len(lines) == 1 for name, lines in told.items() if name != "misspelt"), told
    assert len({line for lines in told.values() for line in lines}) >= len(BAD)
    screen = site.cli("status").stdout
    assert all(f"{name}.yaml" in screen for name in BAD)
    assert "unknown field 'wrokers'" in site.cli("events", "misspelt").stdout
    assert site.settled(*GOOD)
    assert site.pids() == before
    assert len({row["name"] for row in site.status()["apps"] if row["state"] == "running"}) == 20


def test_a_broken_edit_keeps_the_old_one_serving_and_says_why(site: Site) -> None:
    port = site.app("blog")
    site.start()
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    site.save(site.manifests / "blog.yaml", "path: ../apps/blog\nwrokers: 2\n")
    eventually(lambda: site.refusals("blog.yaml"))
    assert "workers" in site.refusals("blog.yaml")[0]
    assert get(port) == "1"
    assert site.pid("blog") == before
    site.app("blog", port=port, workers=2)
    eventually(lambda: site.told("blog")["workers"] == 2 and site.settled("blog"))
    assert site.refusals("blog.yaml") == []


def test_code_that_does_not_start_keeps_the_old_one_serving_and_the_fix_is_not_held_up(site: Site) -> None:
    port = site.app("blog")
    site.live(retry_first_s=600.0, retry_cap_s=600.0)
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    site.save(site.root / "apps/blog/wsgi.py", "import missing_module\napplication = None\n")
    eventually(lambda: site.told("blog")["state"] == "degraded")
    told = site.told("blog")
    assert "missing_module" in told["message"]
    assert told["next_try_at"] is not None
    assert get(port) == "1"
    assert site.pid("blog") == before
    site.source("blog", "2")
    eventually(site.serves("blog", "2", port))


def test_requirements_that_cannot_be_installed_never_start_and_say_so(site: Site) -> None:
    port = site.app("blog")
    site.start()
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    site.save(site.root / "apps/blog/requirements.txt", "./no-such-directory\n")
    eventually(lambda: site.told("blog")["state"] == "degraded", 60)
    assert "no-such-directory" in site.told("blog")["message"]
    assert site.pid("blog") == before
    assert get(port) == "1"
    assert "no-such-directory" in site.cli("logs", "blog", "--which", "staging").stdout


@pytest.mark.parametrize("way", ["renamed away", "unreadable", "emptied"])
def test_manifests_that_vanish_as_a_whole_stop_nothing(site: Site, way: str) -> None:
    names = [f"app{number}" for number in range(5)]
    for name in names:
        site.app(name)
    site.live(prune_after_s=600.0, rescan_s=0.2)
    site.await_settled(*names)
    before, elsewhere = site.pids(), site.root / "elsewhere"
    if way == "unreadable" and os.geteuid() != 0:
        site.manifests.chmod(0)
    elif way == "unreadable":
        site.manifests.rename(elsewhere)
        site.manifests.write_text("not a directory")
    else:
        site.manifests.rename(elsewhere)
    if way == "emptied":
        site.manifests.mkdir()  # what is under a mount point once the mount is gone
    notice = eventually(lambda: site.status()["notice"])
    assert "nothing is stopped until" in notice
    assert site.pids() == before
    if way == "unreadable" and os.geteuid() != 0:
        site.manifests.chmod(0o755)
    else:
        site.manifests.unlink() if way == "unreadable" else site.manifests.rmdir() if way == "emptied" else None
        elsewhere.rename(site.manifests)
    eventually(lambda: site.status()["notice"] is None)
    assert site.settled(*names)
    assert site.pids() == before


def test_manifests_that_stay_away_for_long_enough_are_believed_to_be_gone(site: Site) -> None:
    names = [f"app{number}" for number in range(5)]
    for name in names:
        site.app(name)
    site.live(prune_after_s=0.5)
    site.await_settled(*names)
    for name in names:
        (site.manifests / f"{name}.yaml").unlink()
    eventually(lambda: site.status()["apps"] == [])
    eventually(lambda: site.marked() == set())
    eventually(lambda: list(site.paths.apps.iterdir()) == [])


def test_a_daemon_that_starts_without_its_manifests_stops_nothing(site: Site) -> None:
    names = ["blog", "shop"]
    for name in names:
        site.app(name)
    first = site.start()
    site.await_settled(*names)
    before = site.pids()
    site.end(first)
    site.manifests.rename(site.root / "elsewhere")
    site.start()
    eventually(lambda: site.status()["notice"])
    assert site.pids() == before


def test_a_file_still_being_written_is_not_taken_for_whole(site: Site) -> None:
    port = site.app("blog", workers=2)
    site.start()
    eventually(site.serves("blog", "1", port))
    whole = (site.manifests / "blog.yaml").read_text()
    with (site.manifests / "blog.yaml").open("w") as file:
        file.write("path: ../apps/blog\nwor")
        file.flush()
        file.write("kers: 2\n")
        file.write(whole.replace("path: ../apps/blog\n", "").replace("workers: 2\n", ""))
    site.app("shop")  # acted on after the other file, which was closed before it
    site.await_settled("blog", "shop")
    assert not [text for _, kind, text in site.events() if kind == "manifest" and "blog.yaml" in text]


def test_two_apps_that_ask_for_one_port_are_both_refused_and_what_ran_runs_on(site: Site) -> None:
    port = site.app("blog")
    site.start()
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    site.app("shop", port=port)
    eventually(lambda: site.refusals("shop.yaml"))
    assert "blog" in site.refusals("shop.yaml")[0]
    assert site.pid("blog") == before
    assert get(port) == "1"
    assert site.instances("shop") == []


def test_two_apps_swap_their_ports_and_no_connection_is_refused(site: Site) -> None:
    ports = site.app("blog", "blog"), site.app("shop", "shop")
    site.live()
    site.await_settled("blog", "shop")
    with under_load(ports[0]) as one, under_load(ports[1]) as other:
        site.manifest("blog", port=ports[1])
        site.manifest("shop", port=ports[0])
        eventually(lambda: (get(ports[0]), get(ports[1])) == ("shop", "blog"))
        site.await_settled("blog", "shop")
        one.await_more(5)
        other.await_more(5)
    assert (one.failed, other.failed) == ({}, {})


def test_two_apps_that_swapped_their_ports_while_no_daemon_ran_are_moved(site: Site) -> None:
    ports = site.app("blog", "blog"), site.app("shop", "shop")
    first = site.live()
    site.await_settled("blog", "shop")
    site.end(first)
    site.manifest("blog", port=ports[1])
    site.manifest("shop", port=ports[0])
    site.live()
    eventually(lambda: (get(ports[0]), get(ports[1])) == ("shop", "blog"))
    site.await_settled("blog", "shop")


def test_a_renamed_manifest_takes_the_port_along_and_no_connection_is_refused(site: Site) -> None:
    port = site.app("blog")
    site.live()
    site.await_settled("blog")
    with under_load(port) as load:
        (site.manifests / "blog.yaml").rename(site.manifests / "shop.yaml")
        eventually(lambda: [row["name"] for row in site.status()["apps"]] == ["shop"] and site.settled("shop"))
        load.await_more(5)
    assert load.failed == {}


@pytest.mark.parametrize(("one", "other"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_another_host_with_the_same_port_is_applied_and_no_connection_is_refused(
    site: Site, one: str, other: str
) -> None:
    port = site.app("blog", host=one)
    site.live()
    site.await_settled("blog")
    with under_load(port) as load:
        site.manifest("blog", port=port, host=other)
        eventually(lambda: site.told("blog")["url"] == f"http://{other}:{port}/" and site.settled("blog"))
        load.await_more(20)
    assert load.failed == {}


def test_another_way_to_write_the_host_replaces_no_instance(site: Site) -> None:
    port = site.app("blog", probation="0s")
    site.live()
    site.await_settled("blog")
    eventually(lambda: site.known_good("blog"))
    before = site.pid("blog")
    site.manifest("blog", port=port, probation="0s", host="localhost", workers=2)
    eventually(lambda: [record.workers for record in site.instances("blog")] == [2] and site.settled("blog"))
    assert site.pid("blog") == before


def test_a_port_that_somebody_else_has_is_waited_for_and_they_are_named(site: Site) -> None:
    port = a_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        site.app("blog", port=port)
        patient = Cues(constants={"reconciler.serving.listening_sockets._LOOK_S": 60.0})  # among many processes, too
        site.live(patient, retry_first_s=0.1, retry_cap_s=0.2)
        eventually(lambda: site.told("blog")["state"] == "failing")
        assert f"(pid {os.getpid()})" in site.told("blog")["message"]
    eventually(site.serves("blog", "1", port))


def test_a_source_is_followed_unless_the_manifest_says_not_to(site: Site) -> None:
    watched, still = site.app("watched"), site.app("still", watch=False)
    site.start()
    site.await_settled("watched", "still")
    before = site.pid("still")
    site.source("still", "2")
    site.source("watched", "2")
    eventually(site.serves("watched", "2", watched))
    assert get(still) == "1"
    assert site.pid("still") == before
    site.app("still", "2", port=still, watch=False, env={"ASKED": "anew"})
    eventually(site.serves("still", "2", still))


def test_a_source_that_is_taken_away_keeps_its_last_build_serving(site: Site) -> None:
    port = site.app("blog")
    site.live(rescan_s=0.2)
    eventually(site.serves("blog", "1", port))
    before = site.pid("blog")
    (site.root / "apps/blog").rename(site.root / "apps/away")
    eventually(lambda: site.told("blog")["state"] == "degraded")
    assert "the last build serves" in site.told("blog")["message"]
    assert get(port) == "1"
    assert site.pid("blog") == before
    (site.root / "apps/away").rename(site.root / "apps/blog")
    eventually(lambda: site.settled("blog"), 60)
    assert site.pid("blog") == before
