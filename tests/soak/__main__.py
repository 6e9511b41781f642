"""`make soak`: an hour in the life of a host with 50 apps, at high speed: edits, mistakes, crashes, deploys, restarts.

All the while every app is asked, at a steady rate. In the end everything is mended, and what came of it is reported:
requests that failed, what leaked, the slowest convergence. Exit 0 when nothing was lost and nothing leaked.
"""

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.soak import leaks
from tests.soak.fleet import THE_DAEMON, Fleet, Wanted
from tests.soak.report import Outcome, markdown, write
from tests.soak.requests import Requests
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site
from tests.support.store import warm

_SLEEPERS = 10  # one app in so many sleeps when nobody asks
_WARM_S = 60.0
_PRUNED_S = 75.0  # by then what nobody needs is removed, and what the daemon took in and died is buried
_BEGUN_S = 20.0  # a daemon that has just begun has taken everything back by then
_LONGEST_S = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--apps", type=int, default=50)
    parser.add_argument("--deeds", type=float, default=2.0, help="a second")
    parser.add_argument("--requests", type=float, default=100.0, help="a second, to all apps together")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--write", action="store_true", help="put the report into docs/evidence/reliability.md")
    parser.add_argument("--keep", action="store_true", help="leave the directory there whatever comes of it")
    asked = parser.parse_args()
    print(f"seed {asked.seed}: {asked.apps} apps for {asked.minutes:g} minutes", flush=True)
    root = Path(tempfile.mkdtemp(prefix="reconciler-soak-"))
    site = Site.at(root / "site", warm(root / "store"))
    try:
        fleet = _fleet(site, asked)
        outcome = _soaked(fleet, asked)
    finally:
        site.close()
    left = leaks.ours(site)
    section = markdown(outcome)
    print(section)
    _explain(fleet, outcome)
    if left:
        print(f"still running after the end: {left}")
    if asked.write:
        write(section, REPOSITORY / "docs" / "evidence" / "reliability.md")
    good = outcome.good and not left
    if good and not asked.keep:
        shutil.rmtree(root, ignore_errors=True)
    else:
        print(f"kept: {root}")
    return 0 if good else 1


def _fleet(site: Site, asked: argparse.Namespace) -> Fleet:
    apps = {
        f"app-{number:02}": Wanted(name=f"app-{number:02}", port=a_port(), sleeps=number % _SLEEPERS == _SLEEPERS - 1)
        for number in range(asked.apps)
    }
    requests = Requests(
        ports={app.name: app.port for app in apps.values()},
        rate=asked.requests,
        rarely=frozenset(app.name for app in apps.values() if app.sleeps),
    )
    return Fleet(site=site, chance=random.Random(asked.seed), apps=apps, requests=requests)


def _soaked(fleet: Fleet, asked: argparse.Namespace) -> Outcome:
    site, requests = fleet.site, fleet.requests
    fleet.begin()
    eventually(lambda: _as_asked(fleet, *fleet.apps), _LONGEST_S)
    print("all apps serve", flush=True)
    began = time.monotonic()
    until, looks = began + asked.minutes * 60, []
    requests.start()
    try:
        due = look_at = began
        while (now := time.monotonic()) < until:
            # The daemon is killed in the first half only, so that one can be watched for long enough to see it grow.
            fleet.do_something(to_the_daemon=now - began < asked.minutes * 30)
            if now >= look_at:
                looks.append(_look(fleet, began))
                look_at += min(60.0, asked.minutes * 6)
            due += 1 / asked.deeds
            time.sleep(max(0.0, min(due, until) - time.monotonic()))
        looks.append(_look(fleet, began))
        fleet.mend_all()
        mended = time.monotonic()
        never = _never(fleet)
        settled_s = time.monotonic() - mended
        time.sleep(_PRUNED_S)
    finally:
        requests.end()
    with suppress(AssertionError):
        eventually(lambda: not leaks.left_over(site), 60)
    looks.append(_look(fleet, began))
    new = _a_new_daemon(fleet)
    return Outcome(
        command=_command(asked),
        apps=asked.apps,
        minutes=asked.minutes,
        machine=_machine(),
        deeds=fleet.deeds,
        sent=requests.sent,
        failures=tuple(requests.failures),
        shown=tuple(requests.shown),
        daemon_killed_at=tuple(at for at, app, _ in fleet.told if app == THE_DAEMON),
        never=never,
        settled_s=settled_s,
        looks=tuple(looks),
        new=new,
        leaks=tuple(_leaked(fleet, looks, new)),
    )


def _command(asked: argparse.Namespace) -> str:
    usual = {"apps": 50, "deeds": 2.0, "requests": 100.0}
    unusual = "".join(f" --{name} {vars(asked)[name]:g}" for name, value in usual.items() if vars(asked)[name] != value)
    return f"make soak MINUTES={asked.minutes:g} SOAK='--seed {asked.seed}{unusual}'"


def _machine() -> str:
    release = platform.release().partition("-")[0]
    return f"{len(os.sched_getaffinity(0))} cores, Linux {release}, Python {platform.python_version()}"


def _as_asked(fleet: Fleet, *names: str) -> bool:
    """True when each app runs, or sleeps where it may, with no instance but that of the revision it is to be."""
    status = {row["name"]: row for row in fleet.site.status()["apps"]}
    for name in names:
        row, resting = status.get(name, {}), ("sleeping",) if fleet.apps[name].sleeps else ()
        assert row.get("state") in ("running", *resting), f"{name} is {row.get('state')}: {row.get('message')}"
        alive = [(record.revision, record.ready_at is not None) for record in fleet.site.instances(name)]
        expected = [] if row["state"] == "sleeping" else [(row["wanted_revision"], True)]
        assert alive == expected, f"{name} has {alive}"
    return True


def _never(fleet: Fleet) -> tuple[str, ...]:
    """The apps that are not as asked, nor answer so, when there was time enough; with what they are instead."""
    until, wrong = time.monotonic() + _LONGEST_S, {}
    while time.monotonic() < until:
        wrong = {name: f"{name} (expected to answer {body!r})" for name, body in fleet.requests.awaited().items()}
        for name in fleet.apps:
            try:
                _as_asked(fleet, name)
            except (AssertionError, OSError) as error:
                wrong[name] = str(error)
        if not wrong:
            break
        time.sleep(0.2)
    return tuple(wrong.values())


def _look(fleet: Fleet, began: float) -> leaks.Look:
    assert fleet.daemon is not None
    seen = leaks.look(fleet.site, fleet.daemon.pid, (time.monotonic() - began) / 60)
    requests = fleet.requests
    lost = sum(failure.excuse is None for failure in requests.failures)
    print(
        f"{seen.minute:5.1f} min  {sum(fleet.deeds.values())} deeds  {sum(requests.sent.values())} requests,"
        f" {lost} lost  {len(requests.awaited())} edits awaited  daemon {seen.pid}: {seen.descriptors} descriptors,"
        f" {leaks.mib(seen.memory)}",
        flush=True,
    )
    return seen


def _a_new_daemon(fleet: Fleet) -> leaks.Look:
    """What a daemon that has just begun takes up with the same apps."""
    assert fleet.daemon is not None
    fleet.site.end(fleet.daemon)
    fleet.daemon = fleet.site.execute()
    time.sleep(_BEGUN_S)
    return leaks.look(fleet.site, fleet.daemon.pid, 0.0)


def _leaked(fleet: Fleet, looks: list[leaks.Look], new: leaks.Look) -> list[str]:
    last = looks[-1]
    of_the_last = [look for look in looks[:-1] if look.pid == last.pid]
    warm_from = of_the_last[0].minute + _WARM_S / 60 if of_the_last else 0.0
    warmed = next((look for look in of_the_last if look.minute >= warm_from), None)
    tracebacks = fleet.site.console.read_text(errors="replace").count("Traceback")
    return [
        *([f"{tracebacks} tracebacks in what the daemon said"] if tracebacks else []),
        *leaks.left_over(fleet.site),
        *leaks.beyond_a_new_one(last, new),
        *(leaks.grown(warmed, of_the_last[-1]) if warmed else []),
    ]


def _explain(fleet: Fleet, outcome: Outcome) -> None:
    """What was done to an app, and to the daemon, around each request that was lost, of ten, and the slowest edits."""
    for failure in outcome.unexcused[:10]:
        print(f"{failure.app}: {failure.outcome}, from {failure.began:.2f} to {failure.ended:.2f}; done before:")
        _tell(fleet, failure.app, failure.began, failure.ended)
    for slow in sorted(outcome.shown, key=lambda each: -each.seconds)[:3]:
        print(f"{slow.app}: {slow.deed}, shown after {slow.seconds:.2f} s; done before:")
        _tell(fleet, slow.app, slow.since, slow.since + slow.seconds)


def _tell(fleet: Fleet, name: str, since: float, until: float) -> None:
    for at, app, deed in fleet.told:
        if app in (name, THE_DAEMON) and since - 30 < at < until:
            print(f"  {at - since:+.2f} s: {deed} ({app})")


if __name__ == "__main__":
    sys.exit(main())
