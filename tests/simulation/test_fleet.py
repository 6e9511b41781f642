"""A fleet over many random stories: waves keep their order, nothing starves, and what breaks stays where it broke."""

import os
import random
from itertools import pairwise

import pytest

from reconciler.planning.fleet.fleet import Fleet, Member, Portion, Wave
from tests.simulation.fleet import World, commit, every_earlier_wave_was_well, number_of

STORIES = 250 if os.environ.get("RECONCILER_TESTS") == "nightly" else 4
MINUTE_S, HOUR_S = 60.0, 3600.0

CANARY = Wave(name="canary", labels={"ring": "canary"}, well_for_s=2 * MINUTE_S)
EARLY = Wave(name="early", share=Portion(fraction=0.25), well_for_s=2 * MINUTE_S, at_once=Portion(count=2))
REST = Wave(name="rest", at_once=Portion(fraction=0.25))


def fleet(*waves: Wave, canaries: int = 2, others: int = 10, silent_after_s: float = 10 * MINUTE_S) -> Fleet:
    hosts = {f"canary{n}": Member(labels={"ring": "canary"}) for n in range(canaries)}
    hosts |= {f"web{n}": Member(labels={"ring": "web"}) for n in range(others)}
    return Fleet(hosts=hosts, waves=waves or (CANARY, EARLY, REST), silent_after_s=silent_after_s)


def in_force(world: World) -> set[int]:
    return {number_of(host.report.in_force or "0") for host in world.hosts.values() if host.is_alive}


class Trouble:
    """Pushes, deaths and partitions by chance; `breaking` is how likely a commit breaks its apps."""

    def __init__(self, chance: random.Random, breaking: float) -> None:
        self._chance = chance
        self._breaking = breaking

    def __call__(self, world: World) -> None:
        if self._chance.random() < 0.03:
            pushed = world.push()
            if self._chance.random() < self._breaking:
                world.breaks |= {pushed}
        host = self._chance.choice([*world.hosts.values()])
        if self._chance.random() < 0.01:
            host.is_alive = not host.is_alive
            host.away_since = world.now
        if self._chance.random() < 0.01:
            host.is_connected = not host.is_connected
            host.away_since = world.now
        if self._chance.random() < 0.002:
            world.is_up = not world.is_up


@pytest.mark.parametrize("seed", range(STORIES))
def test_no_host_takes_a_commit_before_every_earlier_wave_was_well_with_it(seed: int) -> None:
    chance = random.Random(seed)
    world = World(fleet(), chance)
    world.checks.append(every_earlier_wave_was_well)
    world.run(chance.uniform(1, 3) * HOUR_S, Trouble(chance, breaking=0.2))
    world.is_up = True
    for host in world.hosts.values():
        host.is_alive = host.is_connected = True
    last = world.push()
    world.run(2 * HOUR_S)
    assert in_force(world) == {number_of(last)}, "once the trouble is over, the last commit reaches every host"


def test_a_push_every_20_seconds_keeps_no_wave_waiting() -> None:
    world = World(fleet(), random.Random(1))
    world.checks.append(every_earlier_wave_was_well)
    pushed: dict[str, float] = {}

    def push(at: World) -> None:
        if at.now % 20 < 5:
            pushed[at.push()] = at.now

    world.run(HOUR_S, push)
    for host in world.hosts.values():
        times = [at for at, _ in host.takes]
        assert len(times) >= 5, f"{host.name} has moved {len(times)} times"
        late = [at for at in times if at > 20 * MINUTE_S]
        assert max(b - a for a, b in pairwise(late)) < 12 * MINUTE_S
        newest = max(number_of(each) for _, each in host.takes)
        assert pushed[commit(newest)] > HOUR_S - 20 * MINUTE_S, f"{host.name} lags"


def test_an_eager_canary_follows_every_push_and_the_others_still_move() -> None:
    eager = Wave(name="canary", labels={"ring": "canary"}, well_for_s=2 * MINUTE_S, eager=True)
    world = World(fleet(eager, REST, canaries=1, others=4), random.Random(2), every_s=5.0)
    for host in world.hosts.values():
        host.starts_s = 1.0

    def push(at: World) -> None:
        if at.now % 20 < 5:
            at.push()

    world.run(20 * MINUTE_S, push)
    assert len(world.hosts["canary0"].takes) > 50
    assert all(len(host.takes) >= 4 for host in world.hosts.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_commit_that_breaks_on_canaries_reaches_no_other_host_and_its_fix_needs_no_command(seed: int) -> None:
    world = World(fleet(), random.Random(seed))
    world.run(10 * MINUTE_S)
    bad = world.push()
    world.breaks = frozenset({bad})
    world.run(20 * MINUTE_S)
    ran = {host.name for host in world.hosts.values() for _, each in host.takes if each == bad}
    assert ran
    assert ran <= {"canary0", "canary1"}
    assert in_force(world) == {1}
    fix = world.push()
    world.run(HOUR_S)
    assert in_force(world) == {number_of(fix)}


def test_a_dead_canary_delays_by_its_silence_and_a_dead_wave_stops_what_follows() -> None:
    world = World(fleet(), random.Random(3))
    world.run(10 * MINUTE_S)
    world.hosts["canary1"].is_alive = False
    first = world.push()
    world.run(40 * MINUTE_S)
    assert in_force(world) == {number_of(first)}
    world.hosts["canary0"].is_alive = False
    world.push()
    world.run(2 * HOUR_S)
    assert in_force(world) == {number_of(first)}
    world.hosts["canary0"].is_alive = True
    last = world.push()
    world.run(HOUR_S)
    assert in_force(world) == {number_of(last)}


def test_half_a_fleet_that_cannot_be_reached_does_not_stop_the_other_half() -> None:
    world = World(fleet(), random.Random(4))
    world.run(10 * MINUTE_S)
    away = [f"web{n}" for n in range(5)]
    for name in away:
        world.hosts[name].is_connected = False
    last = world.push()
    world.run(HOUR_S)
    assert {n for n, host in world.hosts.items() if number_of(host.report.in_force or "0") != number_of(last)} == {
        *away
    }


def test_a_server_that_was_gone_for_a_day_makes_no_host_silent() -> None:
    world = World(fleet(), random.Random(5))
    world.checks.append(every_earlier_wave_was_well)
    world.run(10 * MINUTE_S)
    world.is_up = False
    world.run(10 * MINUTE_S)
    world.now += 24 * HOUR_S
    world.is_up = True
    last = world.push()
    world.run(5.0)
    assert all(unchanged_s < 10 * MINUTE_S for host in world.hosts.values() for _, unchanged_s in host.heard.values())
    world.run(HOUR_S)
    assert in_force(world) == {number_of(last)}


@pytest.mark.parametrize("seed", range(STORIES))
def test_never_do_more_hosts_of_a_wave_change_than_it_allows_at_once(seed: int) -> None:
    chance = random.Random(seed)
    wave = Wave(name="all", at_once=Portion(count=2))
    world = World(fleet(wave, canaries=0, others=10, silent_after_s=2 * HOUR_S), chance)

    def trouble(at: World) -> None:
        if chance.random() < 0.02:
            at.push()
        if chance.random() < 0.01:
            chance.choice([*at.hosts.values()]).is_alive = chance.random() < 0.5
        assert len(at.changing(at.hosts)) <= 2

    world.run(2 * HOUR_S, trouble)


def test_an_urgent_commit_waits_for_no_other_and_still_goes_through_the_waves() -> None:
    world = World(fleet(), random.Random(6))
    world.checks.append(every_earlier_wave_was_well)
    world.run(10 * MINUTE_S)
    world.push()
    world.run(MINUTE_S)
    urgent = world.push()
    world.urgent = frozenset({urgent})
    world.run(MINUTE_S)
    assert {number_of(world.hosts[f"canary{n}"].report.in_force or "0") for n in (0, 1)} == {number_of(urgent)}
    world.run(HOUR_S)
    assert in_force(world) == {number_of(urgent)}
