"""A fleet in a hostile world on a clock of its own: pushes, deaths, partitions, commits that break, and what hosts do.

Every host decides with the gate itself, from the reports as it last read them. The world knows what is really true.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.planning.fleet.fleet import Fleet, waves_of
from reconciler.planning.fleet.gate import Outlook, ancestors_among, decide
from reconciler.planning.fleet.reports import Peer, Report, Run

STEP_S = 5.0


def commit(number: int) -> str:
    return f"{number:040x}"


def number_of(name: str) -> int:
    return int(name, 16)


@dataclass(slots=True)
class Member:
    """One host: `starts_s` is how long its apps take to come up, `took_at` when it took its commit."""

    name: str
    report: Report
    starts_s: float
    phase_s: float
    good: str
    took_at: float = 0.0
    is_alive: bool = True
    is_connected: bool = True
    away_since: float | None = None
    heard: dict[str, tuple[int, float]] = field(default_factory=dict)
    seen: dict[str, Report] = field(default_factory=dict)
    read_at: float | None = None
    pushed_at: float = -1e9
    pushed: object = None
    takes: list[tuple[float, str]] = field(default_factory=list)


@dataclass(slots=True)
class World:
    """The repository and all hosts. `breaks` are the commits whose apps fail; `checks` are called at every take."""

    fleet: Fleet
    chance: random.Random
    every_s: float = 20.0
    breaks: frozenset[str] = frozenset()
    urgent: frozenset[str] = frozenset()
    now: float = 0.0
    head: int = 1
    is_up: bool = True
    hosts: dict[str, Member] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    truth: dict[tuple[str, str], float] = field(default_factory=dict)  # seconds well, by host and commit
    checks: list[Callable[["World", Member, str], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = commit(1)
        for name in self.fleet.hosts:
            own = Report(host=name, n=1, head=first, in_force=first, runs=(Run(commit=first, state="well"),))
            starts_s = self.chance.uniform(1, 30)
            phase_s = self.chance.uniform(0, self.every_s)
            self.hosts[name] = Member(name=name, report=own, starts_s=starts_s, phase_s=phase_s, good=first)

    def push(self) -> str:
        self.head += 1
        return commit(self.head)

    def run(self, seconds: float, event: Callable[["World"], None] = lambda _: None) -> None:
        end = self.now + seconds
        while self.now < end:
            event(self)
            for host in self.hosts.values():
                if host.is_alive:
                    self._live(host)
            self.now += STEP_S

    def _live(self, host: Member) -> None:
        self._count(host)
        if (self.now + host.phase_s) % self.every_s < STEP_S and host.is_connected and self.is_up:
            self._read(host)
            self._decide(host)
        self._report(host)

    def _count(self, host: Member) -> None:
        name = host.report.in_force or ""
        run = host.report.run(name) or Run(commit=name)
        is_up = self.now - host.took_at >= host.starts_s
        if run.state == "well":
            run = replace(run, well_s=run.well_s + STEP_S)
            key = (host.name, name)
            self.truth[key] = self.truth.get(key, 0.0) + STEP_S
        elif is_up and name in self.breaks:
            host.report = replace(host.report, bad=(*host.report.bad, name), in_force=host.good)
            host.took_at = self.now
            return
        elif is_up:
            run = replace(run, state="well")
            host.good = name
        host.report = host.report.with_run(run)

    def _read(self, host: Member) -> None:
        passed_s = 0.0 if host.read_at is None else min(self.now - host.read_at, self.fleet.silent_after_s / 3)
        host.read_at = self.now
        for name in self.fleet.hosts:
            n, unchanged_s = host.heard.get(name, (0, 0.0))
            found = self.reports.get(name)
            if found is not None and found.n > n:
                host.heard[name], host.seen[name] = (found.n, 0.0), found
            else:
                host.heard[name] = (n, unchanged_s + passed_s)

    def _decide(self, host: Member) -> None:
        in_force = host.report.in_force or ""
        new = [commit(each) for each in range(self.head, number_of(in_force), -1)]
        peers = {n: Peer(report=host.seen.get(n), unchanged_s=host.heard[n][1]) for n in self.fleet.hosts}
        peers[host.name] = Peer(report=host.report)
        ran = {run.commit for peer in peers.values() if peer.report for run in peer.report.runs}
        wanted = [each for each in new if each in ran or each == new[0] or each in self.urgent]
        graph = {each: (commit(number_of(each) - 1),) for each in new}
        found = decide(
            Outlook(
                fleet=self.fleet, host=host.name, in_force=in_force, new=wanted,
                ancestors=ancestors_among(graph, wanted), peers=peers, now=self.now,
                urgent=self.urgent.intersection(new),
            )
        )  # fmt: skip
        if found.take is None or found.take in host.report.bad:
            return
        for check in self.checks:
            check(self, host, found.take)
        host.takes.append((self.now, found.take))
        host.took_at = self.now
        host.report = replace(host.report, in_force=found.take).with_run(Run(commit=found.take))

    def _report(self, host: Member) -> None:
        own = host.report
        run = own.run(own.in_force)
        assert run is not None
        shape = (own.in_force, own.bad, run.state, run.well_s >= self.well_for_s(host.name, run.commit))
        is_due = shape != host.pushed or self.now - host.pushed_at >= self.fleet.silent_after_s / 4
        if not is_due or not host.is_connected or not self.is_up:
            return
        host.report = replace(own, n=own.n + 1, head=commit(self.head))
        self.reports[host.name], host.pushed, host.pushed_at = host.report, shape, self.now

    def well_for_s(self, host: str, name: str) -> float:
        number = self.wave(host, name)
        return self.fleet.waves[number].well_for_s if number < len(self.fleet.waves) else 0.0

    def wave(self, host: str, name: str) -> int:
        return next((k for k, hosts in enumerate(waves_of(self.fleet, name)) if host in hosts), len(self.fleet.waves))

    def changing(self, among: Mapping[str, object]) -> set[str]:
        """The hosts that are alive and whose apps are not up with what they have in force."""
        found = set()
        for host in (self.hosts[name] for name in among):
            run = host.report.run(host.report.in_force)
            if host.is_alive and run is not None and run.state != "well":
                found.add(host.name)
        return found


def every_earlier_wave_was_well(world: World, host: Member, name: str) -> None:
    """Test 42: no host takes a commit that every earlier wave was not well with for long enough, and that by facts."""
    waves = waves_of(world.fleet, name)
    for number in range(world.wave(host.name, name)):
        wave, hosts = world.fleet.waves[number], waves[number]
        well = [each for each in hosts if world.truth.get((each, name), 0.0) >= wave.well_for_s]
        assert well or not hosts, f"{host.name} takes {number_of(name)}, which no host of {wave.name} was well with"
        lately = world.now - 2 * world.fleet.silent_after_s
        for each in (world.hosts[other] for other in hosts):
            was_there = each.is_alive and each.is_connected and (each.away_since is None or each.away_since < lately)
            assert each.name in well or not was_there or each.away_since is not None, (
                f"{host.name} takes {number_of(name)}, which {each.name} of {wave.name} was not well with"
            )
        assert not any(name in world.hosts[each].report.bad and world.hosts[each].is_connected for each in well)
