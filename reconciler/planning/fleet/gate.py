"""Decide whether a host of a fleet may take a commit, and which, from the reports of the others. Pure.

A host takes a commit only if every earlier wave was well with that very commit for long enough, by what its hosts
report of themselves. It stays with the commit that it has until its own wave is done with it, so that no two commits'
evidence is mixed and no stream of commits keeps a later wave waiting. Silence is no evidence either way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fleet.fleet import Fleet, Wave, waves_of
from reconciler.planning.fleet.reports import Peer, Peers, Report
from reconciler.planning.wording import listed, span

_NONE = Peer()
_EPSILON_S = 1e-6
_NEVER_S = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a host decides from. `new` are the commits that it may go to by their history, the newest first.

    `ancestors` are, for each of these, those among them that it descends from. `peers` are the hosts of the fleet, this
    one included. `urgent` are the commits among `new` that say so of themselves. `seen_s` is for how long this host has
    known each, by its own clock.
    """

    fleet: Fleet
    host: str
    in_force: str | None
    new: Sequence[str]
    ancestors: Mapping[str, frozenset[str]]
    peers: Peers
    urgent: frozenset[str] = frozenset()
    seen_s: Mapping[str, float] = field(default_factory=dict)
    now: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The commit to take, None to stay; then why, for which hosts, and for how many seconds at least, if known.

    With `is_final`, no older commit may be taken in place of the one that was judged.
    """

    take: str | None = None
    why: str = ""
    waits_for: tuple[str, ...] = ()
    until_s: float | None = None
    wave: str = ""
    is_final: bool = False


def decide(outlook: Outlook) -> Decision:
    """Return whether a host takes one of the new commits, and otherwise what it waits for."""
    if not outlook.new:
        return Decision()
    return _Deciding(outlook).decision()


def position_of(fleet: Fleet, host: str, commit: str) -> tuple[int, tuple[str, ...]]:
    """Return the number of a host's wave for a commit, and the hosts of it; that after the last if it is in none."""
    for number, hosts in enumerate(waves_of(fleet, commit)):
        if host in hosts:
            return number, hosts
    return len(fleet.waves), (host,)


class _Deciding:
    """One decision; how hosts are with a commit is looked up in their reports."""

    def __init__(self, outlook: Outlook) -> None:
        self._of = outlook
        self._fleet = outlook.fleet
        reports = [peer.report for host, peer in outlook.peers.items() if host in self._fleet.hosts]
        own = outlook.peers.get(outlook.host, _NONE).report
        self._reports = [each for each in (*reports, own) if each is not None]
        self._bad = {commit: report.host for report in self._reports for commit in report.bad}
        self._own_bad = frozenset(own.bad) if own is not None else frozenset()

    def decision(self) -> Decision:
        told: Decision | None = None
        for commit in self._of.new:
            found = self._judged(commit)
            if found.take is not None:
                return found
            # The newest commit is told of, unless there is one that comes closer to being taken.
            if told is None or (found.until_s or _NEVER_S) < (told.until_s or _NEVER_S):
                told = found
            if found.is_final:
                break
        assert told is not None
        return replace(told, is_final=False)

    def _judged(self, commit: str) -> Decision:
        number, hosts = self._position(commit)
        name = self._name(number)
        if commit in self._bad:
            why = f"commit {commit[:7]} was left again by {self._bad[commit]}"
            # Only a descendant may be its fix, unless earlier waves were well with an older commit.
            return Decision(why=why, wave=name, is_final=number == 0 or commit in self._own_bad)
        is_urgent = self._is_urgent(commit)
        freeze = self._fleet.freeze(self._of.now)
        if freeze is not None and not is_urgent:
            return Decision(why=f"freeze until {freeze.until}", until_s=freeze.end - self._of.now, wave=name)
        if self._fleet.gate == "time":
            return self._by_time(commit, number)
        for earlier in range(number):
            if (waiting := self._missing(commit, earlier)) is not None:
                return self._told(number, waiting)
        if not is_urgent and (waiting := self._unfinished(commit, number)) is not None:
            return self._told(number, waiting)
        if (waiting := self._turn(commit, number, hosts)) is not None:
            return self._told(number, waiting)
        return Decision(take=commit, wave=name)

    def _told(self, number: int, waiting: Decision) -> Decision:
        where = f"wave {number + 1} of {len(self._fleet.waves)} ({self._name(number)})"
        if number == len(self._fleet.waves):
            where = "this host is not in the fleet, and comes after the last wave"
        return Decision(
            why=f"{where}: {waiting.why}",
            waits_for=waiting.waits_for,
            until_s=waiting.until_s,
            wave=self._name(number),
            is_final=waiting.is_final,
        )

    # Evidence of earlier waves

    def _missing(self, commit: str, number: int) -> Decision | None:
        """Return what is missing until a wave was well with a commit, None if nothing is."""
        wave, hosts = self._fleet.waves[number], self._hosts(commit)[number]
        well, waits, parts, until_s = 0, [], [], 0.0
        for host in sorted(hosts):
            is_counted, well_s = self._counted(host), self._well_s(host, commit, wave)
            if well_s is not None and well_s + _EPSILON_S >= wave.well_for_s:
                well += is_counted
            elif is_counted:
                waits.append(host)
                parts.append(self._how(host, commit, wave))
                until_s = max(until_s, self._until_s(well_s, wave))
        if not hosts or (well and not waits):
            return None
        if not waits:
            return Decision(
                why=f"waits for a host of {wave.name}: none is well with commit {commit[:7]}, and no other is heard of",
                waits_for=hosts,
            )
        return Decision(
            why=f"commit {commit[:7]} waits for {wave.name} ({listed(parts)})",
            waits_for=tuple(waits),
            until_s=until_s or None,
        )

    def _well_s(self, host: str, commit: str, wave: Wave) -> float | None:
        """Return for how long a host was well with a commit, None if it is not."""
        report = self._report(host)
        if report is None:
            return None
        run = report.run(commit)
        if not wave.eager:
            return run.well_s if run is not None and run.state == "well" else None
        later = [each for each in report.runs if each.commit == commit or commit in self._above(each.commit)]
        return sum(each.well_s for each in later if each.state == "well") if later else None

    def _how(self, host: str, commit: str, wave: Wave) -> str:
        """Say how a host is with a commit that it is not yet well with for long enough."""
        report, peer = self._report(host), self._of.peers.get(host, _NONE)
        if report is None:
            return f"{host} has not reported for {span(peer.unchanged_s)}"
        run = report.run(commit)
        well_s = self._well_s(host, commit, wave)
        if well_s is not None:
            return f"{host} well for {span(well_s)} of {span(wave.well_for_s)}"
        if run is not None:
            return f"{host} {run.state}"
        return f"{host} refuses a commit" if report.held == "refused" else f"{host} has not taken it"

    # The commit that the own wave is busy with

    def _unfinished(self, commit: str, number: int) -> Decision | None:
        """Return what the own wave still waits for with an older commit that it runs, None if it is done with it."""
        running = {self._of.in_force}
        if number < len(self._fleet.waves) and self._fleet.waves[number].eager:
            return None
        if not self._is_alone(number):
            # What others of the wave have is taken first, if this host may take it at all.
            others = {self._in_force(host) for host in self._hosts(commit)[number] if self._counted(host)}
            running |= {
                each for each in others if each is not None and each in self._of.ancestors and self._may_take(each)
            }
        older = sorted(each for each in running if each is not None and self._is_older(each, commit))
        return next((waiting for each in older if (waiting := self._not_done(each, number)) is not None), None)

    def _is_alone(self, number: int) -> bool:
        """Return whether a host of a wave goes on by itself: no later wave waits for this one, and it has no order."""
        is_last = number >= len(self._fleet.waves) - 1
        return is_last and (number == len(self._fleet.waves) or self._fleet.waves[number].at_once is None)

    def _may_take(self, commit: str) -> bool:
        number, _ = self._position(commit)
        return all(self._missing(commit, earlier) is None for earlier in range(number))

    def _not_done(self, commit: str, target: int) -> Decision | None:
        """Return what the wave of this host still waits for with a commit, None if it is well with it or leaves it.

        `target` is the wave of this host for the commit that it would take next.
        """
        number, hosts = self._position(commit)
        # The order in the last wave is no concern of one that is in an earlier wave this time.
        is_alone = self._is_alone(number) or (number == len(self._fleet.waves) - 1 and target < number)
        wave = self._fleet.waves[number] if number < len(self._fleet.waves) else Wave(name="")
        if wave.eager or commit in self._bad or any(self._is_older(commit, bad) for bad in self._own_bad):
            return None
        waits, parts, until_s = [], [], 0.0
        can_be_taken = self._may_take(commit)
        for host in (self._of.host,) if is_alone else sorted(hosts):
            if host != self._of.host and not self._counted(host):
                continue
            well_s = self._well_s(host, commit, wave)
            if well_s is not None and (is_alone or well_s + _EPSILON_S >= wave.well_for_s):
                continue
            if self._gives_up(host, commit):
                return None
            if not can_be_taken and not self._has_run(host, commit):
                continue  # what earlier waves reported of it is gone
            waits.append(host)
            parts.append(self._how(host, commit, wave))
            until_s = max(until_s, 0.0 if is_alone else self._until_s(well_s, wave))
        if not waits:
            return None
        why = f"commit {commit[:7]} comes first ({listed(parts)})"
        return Decision(why=why, waits_for=tuple(waits), until_s=until_s or None)

    def _gives_up(self, host: str, commit: str) -> bool:
        """Return whether a host will not be well with a commit: it fails or refuses it, or has a newer one."""
        report = self._report(host)
        if report is None:
            return False
        run = report.run(commit)
        is_failing = run is not None and run.state == "failing"
        return is_failing or report.held == "refused" or self._is_older(commit, report.in_force)

    def _has_run(self, host: str, commit: str) -> bool:
        report = self._report(host)
        return report is not None and report.run(commit) is not None

    # The order in the own wave

    def _turn(self, commit: str, number: int, hosts: Sequence[str]) -> Decision | None:
        """Return which hosts of the own wave come first, None if it is this host's turn."""
        if number == len(self._fleet.waves) or (at_once := self._fleet.waves[number].at_once) is None:
            return None
        before = hosts[: hosts.index(self._of.host)]
        changing = tuple(host for host in before if self._counted(host) and not self._has(host, commit))
        most = at_once.of(len(hosts))
        if len(changing) < most:
            return None
        why = f"commit {commit[:7]} is taken by {most} at once, and {listed(changing)} before this host"
        return Decision(why=why, waits_for=changing, is_final=True)

    def _has(self, host: str, commit: str) -> bool:
        """Return whether a host is well with a commit, or with one that descends from it."""
        report = self._report(host)
        if report is None:
            return False
        later = (run for run in report.runs if run.commit == commit or commit in self._above(run.commit))
        return any(run.state == "well" for run in later)

    # Time instead of evidence

    def _by_time(self, commit: str, number: int) -> Decision:
        name = self._name(number)
        waves = self._fleet.waves
        after_s = waves[number].after_s if number < len(waves) else max(wave.after_s for wave in waves)
        left_s = after_s - self._of.seen_s.get(commit, 0.0)
        if left_s > _EPSILON_S:
            why = f"commit {commit[:7]} is taken {span(after_s)} after this host first saw it"
            return self._told(number, Decision(why=why, until_s=left_s))
        if self._of.in_force is not None and not self._is_urgent(commit):
            report = self._report(self._of.host)
            run = None if report is None else report.run(self._of.in_force)
            if run is not None and run.state == "starting" and not self._own_bad:
                return self._told(number, Decision(why=f"commit {run.commit[:7]} comes first, which is starting"))
        return Decision(take=commit, wave=name)

    # What is known of hosts and commits

    def _hosts(self, commit: str) -> tuple[tuple[str, ...], ...]:
        return waves_of(self._fleet, commit)

    def _position(self, commit: str) -> tuple[int, tuple[str, ...]]:
        return position_of(self._fleet, self._of.host, commit)

    def _name(self, number: int) -> str:
        return self._fleet.waves[number].name if number < len(self._fleet.waves) else "-"

    def _report(self, host: str) -> Report | None:
        return self._of.peers.get(host, _NONE).report

    def _in_force(self, host: str) -> str | None:
        report = self._report(host)
        return None if report is None else report.in_force

    def _counted(self, host: str) -> bool:
        """Return whether a host counts: it was heard of lately, and no operator has paused it."""
        peer = self._of.peers.get(host, _NONE)
        if peer.report is not None and peer.report.held == "paused":
            return False
        return peer.unchanged_s <= self._fleet.silent_after_s

    def _until_s(self, well_s: float | None, wave: Wave) -> float:
        return 0.0 if well_s is None else wave.well_for_s - well_s

    def _above(self, commit: str) -> frozenset[str]:
        return self._of.ancestors.get(commit, frozenset())

    def _is_older(self, commit: str, other: str | None) -> bool:
        """Return whether a commit is one that another descends from, as far as is known here."""
        if other is None or other not in self._of.ancestors or commit == other:
            return False
        return commit == self._of.in_force or commit in self._above(other)

    def _is_urgent(self, commit: str) -> bool:
        return commit in self._of.urgent or not self._of.urgent.isdisjoint(self._above(commit))


def descending(graph: Mapping[str, Sequence[str]], order: Sequence[str], base: str | None) -> tuple[str, ...]:
    """Return the commits of a history that descend from one of them, the newest first, as `order` has them.

    `graph` has the parents of each commit that is newer than `base`; with None, all are.
    """
    if base is None:
        return tuple(order)
    found = {base}
    for commit in reversed(order):
        if not found.isdisjoint(graph.get(commit, ())):
            found.add(commit)
    return tuple(commit for commit in order if commit in found and commit != base)


def ancestors_among(graph: Mapping[str, Sequence[str]], commits: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return for each of some commits those among them that it descends from, as far as the graph leads."""
    wanted = frozenset(commits)
    return {commit: wanted.intersection(_above(graph, commit)) for commit in commits}


def _above(graph: Mapping[str, Sequence[str]], commit: str) -> Iterator[str]:
    seen, todo = {commit}, [commit]
    while todo:
        for parent in graph.get(todo.pop(), ()):
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)
                yield parent
