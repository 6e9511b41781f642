"""More happens than anybody can follow, or the time of day jumps: it ends as last asked, at a bounded price."""

import random
import threading

from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.load import under_load
from tests.support.site import Site, get

COUNT = 2000
GOOD = ("alpha", "beta", "gamma")


def test_of_manifests_rewritten_a_hundred_times_a_second_the_last_is_served_and_not_all_are_started(site: Site) -> None:
    port = site.app("blog", env={"NUMBER": "0"})
    site.live()
    eventually(site.serves("blog", "1", port))
    pause, written = threading.Event(), 300
    with under_load(port) as load:
        for number in range(1, written + 1):
            site.app("blog", port=port, env={"NUMBER": str(number)})
            assert len(site.instances("blog")) <= 2
            pause.wait(0.01)
        eventually(lambda: f'"NUMBER": "{written}"' in get(port, "/env") and site.settled("blog"))
    assert load.failed == {}
    kinds = [kind for _, kind, _ in site.events("blog")]
    print(f"{kinds.count('started')} started and {kinds.count('ready')} served of {written}")
    assert kinds.count("started") < written  # how many fewer depends on how fast the machine is
    assert kinds.count("staged") == 1
    eventually(lambda: len(site.marked()) == 2)


def test_thousands_of_garbled_manifests_disturb_no_good_one(site: Site) -> None:
    chance = random.Random(4711)
    ports = {name: site.app(name) for name in GOOD}
    good = b"path: ../apps/alpha\nworkers: 2\nenv: {A: b}\n"
    for number in range(COUNT):
        (site.manifests / f"garbage{number}.yaml").write_bytes(_garbled(good, chance))
    daemon = site.live(prune_after_s=0.0)
    eventually(lambda: site.settled(*GOOD), 60)
    before = site.pids()
    refused = [entry for entry in site.status()["manifests"] if entry["errors"]]
    assert len(refused) > 0.9 * COUNT
    for entry in refused:
        assert all(error["message"] for error in entry["errors"])
    for number in range(COUNT):
        (site.manifests / f"garbage{number}.yaml").unlink()
    site.app("beta", "2", port=ports["beta"])
    eventually(site.serves("beta", "2", ports["beta"]), 60)
    eventually(lambda: len(site.status()["manifests"]) == len(GOOD))
    assert daemon.is_alive()
    assert {name: pid for name, pid in site.pids().items() if name != "beta"} == {
        name: pid for name, pid in before.items() if name != "beta"
    }
    site.await_settled(*GOOD)


def _garbled(good: bytes, chance: random.Random) -> bytes:
    """Noise, or a manifest that was cut, doubled or hit somewhere."""
    place = chance.randrange(len(good))
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(1, 400))
        case 1:
            return good[:place] + b"\n}{" + good[place:]
        case 2:
            return b"&a [*a, *a]\n" * chance.randrange(1, 50)
        case 3:
            return bytes(chance.choice(b"{}[]:-#&*!|>'\"%@`? \n\tabc019") for _ in range(chance.randrange(1, 300)))
        case _:
            return b"unknown-field: 1\n" + good


def test_a_time_of_day_that_jumps_back_and_forth_changes_nothing(site: Site) -> None:
    ports = {name: site.app(name, workers=2, idle_after="1h") for name in ("blog", "shop")}
    daemon = site.live(Cues(jumping=True), resync_s=0.2, rescan_s=0.2)
    eventually(lambda: site.settled(*ports))
    before = site.pid("shop")
    with under_load(ports["blog"]) as load:
        for version in ("2", "3"):
            site.app("blog", version, port=ports["blog"], env={"VERSION": version})
            eventually(site.serves("blog", version, ports["blog"]))
            load.await_more(50)
    assert load.failed == {}
    assert daemon.is_alive()
    assert site.pid("shop") == before
