"""Many apps at once."""

import json

from tests.support.eventually import at_leisure, eventually
from tests.support.site import REPOSITORY, Site, get

HELLO = REPOSITORY / "examples/hello"


def test_apply_makes_twenty_apps_run_and_then_has_nothing_to_do(site: Site) -> None:
    names = [f"hello{number:02}" for number in range(20)]
    ports = {name: site.app(name, path=str(HELLO)) for name in names}
    applied = site.cli("apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert site.settled(*names)
    assert all("Hello" in get(port) for port in ports.values())
    before = site.pids()
    planned = site.cli("plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    again = site.cli("apply")
    assert again.returncode == 0, again.stdout + again.stderr
    assert site.pids() == before
    rows = json.loads(site.cli("status", "--json").stdout)["apps"]
    assert [row["state"] for row in rows] == ["running"] * 20


def test_apply_says_what_could_not_be_done(site: Site) -> None:
    port = site.app("good")
    site.app("bad")
    site.save(site.root / "apps/bad/wsgi.py", "import missing_module\napplication = None\n")
    applied = site.cli("apply", "--timeout", f"{round(at_leisure(20.0))}s")
    assert applied.returncode == 1
    assert "missing_module" in applied.stdout
    assert "bad" in applied.stderr
    assert get(port) == "1"


def test_sixty_apps_dropped_at_once_come_up_a_few_at_a_time(site: Site) -> None:
    names = [f"app{number:02}" for number in range(60)]
    site.live(starting_slots=3, starting_slot_s=600)  # on a slow host, too, none gives its slot up before it is ready
    eventually(site.events)
    for name in names:
        site.app(name)
    starting = list[int]()

    def have_started() -> bool:
        alive = site.instances()
        starting.append(sum(record.ready_at is None for record in alive))
        return len(alive) == 60 and not starting[-1]

    eventually(have_started, 120)
    site.await_settled(*names)
    assert 1 <= max(starting) <= 3
    assert len(site.pids()) == 60
    assert not [text for _, kind, text in site.events() if kind in ("failed", "exited")]


def test_an_edit_of_an_app_that_serves_does_not_wait_for_the_starts_of_many_that_hang(site: Site) -> None:
    port, hanging = site.app("good"), [f"hangs{number:02}" for number in range(30)]
    site.live(starting_slots=1, starting_slot_s=6)  # 30 starts one after the other: three minutes
    site.await_settled("good")
    code = site.root / "hanging"
    code.mkdir()
    site.save(code / "wsgi.py", "import time\ntime.sleep(3600)\napplication = None\n")
    for name in hanging:
        site.app(name, path=str(code))
    eventually(lambda: started(site, *hanging), 120)
    site.source("good", "2")
    eventually(lambda: get(port) == "2", 120)
    assert started(site, *hanging) < len(hanging)


def started(site: Site, *names: str) -> int:
    """How many of these apps have been started."""
    return len({record.app for record in site.instances()} & {*names})
