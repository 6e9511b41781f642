"""The gate of a fleet: what a host takes, and otherwise whom it waits for and until when, in an operator's words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from reconciler.planning.fleet.fleet import Fleet, Freeze, Member, Portion, Wave, waves_of, without_wave
from reconciler.planning.fleet.gate import Decision, Outlook, ancestors_among, decide, descending
from reconciler.planning.fleet.reports import Held, Peer, Report, Run, RunState

A, B, C = "a" * 40, "b" * 40, "c" * 40
ORDER = (C, B, A)
GRAPH = {C: (B,), B: (A,)}
CANARY = Wave(name="canary", labels={"ring": "canary"}, well_for_s=1800)
REST = Wave(name="rest")
HOSTS = {
    "c1": Member(labels={"ring": "canary"}),
    "c2": Member(labels={"ring": "canary"}),
    "w1": Member(),
    "w2": Member(),
}
FLEET = Fleet(hosts=HOSTS, waves=(CANARY, REST))


def peer(host: str, *runs: tuple[str, RunState, float], silent_s: float = 0.0, **more: object) -> Peer:
    """A host whose last run is of the commit that it has in force."""
    found = tuple(Run(commit=commit, state=state, well_s=well_s) for commit, state, well_s in runs)
    report = Report(host=host, n=1, in_force=runs[-1][0], runs=found, **more)  # type: ignore[arg-type]
    return Peer(report=report, unchanged_s=silent_s)


OLD: tuple[str, RunState, float] = (A, "well", 9999.0)


def decided(
    host: str, peers: Sequence[Peer], new: Sequence[str] = (B,), fleet: Fleet = FLEET, **more: object
) -> Decision:
    known: Mapping[str, Peer] = {each.report.host: each for each in peers if each.report is not None}
    outlook = Outlook(
        fleet=fleet, host=host, in_force=A, new=new, ancestors=ancestors_among(GRAPH, new), peers=known, **more  # type: ignore[arg-type]
    )  # fmt: skip
    return decide(outlook)


def test_a_host_of_the_first_wave_takes_the_newest_commit() -> None:
    everyone = [peer(host, OLD) for host in HOSTS]
    assert decided("c1", everyone, (C, B)).take == C


@pytest.mark.parametrize(
    ("c1", "c2", "why", "until_s"),
    [
        (peer("c1", OLD), peer("c2", OLD), "c1 has not taken it, c2 has not taken it", None),
        (peer("c1", OLD, (B, "starting", 0)), peer("c2", OLD), "c1 starting, c2 has not taken it", None),
        (peer("c1", OLD, (B, "failing", 0)), peer("c2", OLD, (B, "well", 1800)), "c1 failing", None),
        (peer("c1", OLD, (B, "well", 720)), peer("c2", OLD, (B, "well", 1800)), "c1 well for 12m of 30m", 1080),
        (peer("c1", OLD, (B, "well", 720)), peer("c2", OLD, held="refused"),
         "c1 well for 12m of 30m, c2 refuses a commit", 1080),
    ],
)  # fmt: skip
def test_a_later_wave_waits_until_every_host_of_the_earlier_one_was_well_for_long_enough(
    c1: Peer, c2: Peer, why: str, until_s: float | None
) -> None:
    found = decided("w1", [c1, c2, peer("w1", OLD), peer("w2", OLD)])
    assert found.take is None
    assert found.why == f"wave 2 of 2 (rest): commit bbbbbbb waits for canary ({why})"
    assert found.until_s == until_s


WELL = peer("c1", OLD, (B, "well", 1800))
WEB = [peer("w1", OLD), peer("w2", OLD)]


def test_a_silent_or_paused_host_counts_neither_way_and_one_has_to_be_well() -> None:
    silent = peer("c2", OLD, silent_s=3601)
    assert decided("w1", [WELL, silent, *WEB]).take == B
    assert decided("w1", [WELL, peer("c2", OLD, held="paused"), *WEB]).take == B
    both = decided("w1", [replace(WELL, unchanged_s=3601), silent, *WEB])
    assert both.take is None
    assert "none is well with commit bbbbbbb, and no other is heard of" in both.why


def test_a_host_that_never_reported_is_waited_for_until_it_counts_as_silent() -> None:
    assert "c2 has not reported for 0s" in decided("w1", [WELL, *WEB]).why


@pytest.mark.parametrize("host", ["c1", "w1", "w2"])
def test_what_one_host_has_left_again_no_other_takes_whatever_wave_it_is_in(host: str) -> None:
    bad = peer("c2", (B, "failing", 0), OLD, bad=(B,))
    found = decided(host, [WELL, bad, *WEB])
    assert (found.take, found.why) == (None, "commit bbbbbbb was left again by c2")


def test_a_report_of_a_host_that_is_not_in_the_fleet_has_no_effect() -> None:
    fleet = replace(FLEET, hosts={name: member for name, member in HOSTS.items() if name != "c2"})
    bad = peer("c2", OLD, bad=(B,))
    assert decided("w1", [WELL, bad, *WEB], fleet=fleet).take == B


def test_a_later_wave_takes_exactly_what_was_well_and_not_what_came_after_it() -> None:
    canaries = [peer("c1", OLD, (B, "well", 1800), (C, "starting", 0)), peer("c2", OLD, (B, "well", 1800))]
    assert decided("w1", [*canaries, *WEB], (C, B)).take == B


def test_a_wave_is_done_with_one_commit_before_it_begins_with_another() -> None:
    both = [peer("c1", (A, "well", 600)), peer("c2", (A, "well", 1700)), *WEB]
    found = decided("c1", both)
    assert found.why == (
        "wave 1 of 2 (canary): commit aaaaaaa comes first (c1 well for 10m of 30m, c2 well for 28m20s of 30m)"
    )
    assert found.until_s == 1200
    assert decided("c1", both, urgent=frozenset({B})).take == B
    failing = [peer("c1", (A, "failing", 0)), *both[1:]]
    assert decided("c1", failing).take == B, "what fails is not waited for"


def test_an_eager_wave_takes_each_commit_and_the_time_of_later_ones_counts() -> None:
    eager = replace(CANARY, eager=True)
    fleet = replace(FLEET, waves=(eager, REST))
    young = [peer("c1", (A, "well", 10)), peer("c2", (A, "well", 10)), *WEB]
    assert decided("c1", young, fleet=fleet).take == B
    runs: list[tuple[str, RunState, float]] = [OLD, (B, "well", 900), (C, "well", 900)]
    canaries = [peer("c1", *runs), peer("c2", *runs)]
    assert decided("w1", [*canaries, *WEB], (C, B), fleet=fleet).take == B
    assert decided("w1", [*canaries, *WEB], (C, B)).take is None


def test_hosts_of_a_wave_go_one_after_the_other() -> None:
    fleet = replace(FLEET, waves=(replace(REST, at_once=Portion(count=1)),))
    (order,) = waves_of(fleet, B)
    old = {host: peer(host, OLD) for host in HOSTS}
    assert decided(order[0], [*old.values()], fleet=fleet).take == B
    waits = decided(order[1], [*old.values()], fleet=fleet)
    assert waits.why == f"wave 1 of 1 (rest): commit bbbbbbb is taken by 1 at once, and {order[0]} before this host"
    first = peer(order[0], OLD, (B, "well", 0))
    assert decided(order[1], [*old.values(), first], fleet=fleet).take == B
    dead = replace(old[order[0]], unchanged_s=3601)
    assert decided(order[1], [*old.values(), dead], fleet=fleet).take == B


def test_a_freeze_lets_only_urgent_commits_pass_and_says_until_when() -> None:
    fleet = replace(FLEET, freezes=(Freeze(begin=100, end=200, until="2026-12-27"),))
    everyone = [peer(host, OLD) for host in HOSTS]
    found = decided("c1", everyone, fleet=fleet, now=150)
    assert (found.take, found.why, found.until_s) == (None, "freeze until 2026-12-27", 50)
    assert decided("c1", everyone, fleet=fleet, now=150, urgent=frozenset({B})).take == B
    assert decided("c1", everyone, fleet=fleet, now=200).take == B


def test_a_host_that_is_not_in_the_fleet_comes_after_the_last_wave() -> None:
    found = decided("new", [peer("c1", OLD), peer("c2", OLD), *WEB])
    assert found.why.startswith(
        "this host is not in the fleet, and comes after the last wave: commit bbbbbbb waits for"
    )


def test_without_reports_a_wave_waits_for_time_alone() -> None:
    waves = (Wave(name="canary", labels={"ring": "canary"}), Wave(name="rest", after_s=7200))
    fleet = Fleet(hosts=HOSTS, waves=waves, gate="time")
    assert decided("c1", [], fleet=fleet, seen_s={B: 0.0}).take == B
    found = decided("w1", [], (C, B), fleet=fleet, seen_s={B: 7199.0, C: 10.0})
    assert (found.take, found.until_s) == (None, 1.0), "the first of them to be taken is told"
    assert decided("w1", [], (C, B), fleet=fleet, seen_s={B: 7200.0, C: 10.0}).take == B


@pytest.mark.parametrize("held", ["", "paused"])
def test_a_fleet_without_any_report_lets_the_first_wave_begin(held: Held) -> None:
    own = Peer(report=Report(host="c1", in_force=None, held=held))
    outlook = Outlook(fleet=FLEET, host="c1", in_force=None, new=(B,), ancestors={B: frozenset()}, peers={"c1": own})
    assert decide(outlook).take == B


# The waves of a commit


def test_a_share_is_of_the_hosts_that_fit_and_differs_with_the_commit() -> None:
    hosts = {f"w{n}": Member(labels={"ring": "web"}) for n in range(40)} | {"c": Member(labels={"ring": "canary"})}
    waves = (CANARY, Wave(name="early", share=Portion(fraction=0.1)), REST)
    fleet = Fleet(hosts=hosts, waves=waves)
    found = {commit: waves_of(fleet, commit) for commit in (A, B)}
    for canary, early, rest in found.values():
        assert (canary, len(early), len(rest)) == (("c",), 5, 35)
    assert found[A][1] != found[B][1]
    assert waves_of(fleet, A) == waves_of(replace(fleet), A), "every host finds the same"
    assert without_wave(fleet) == ()
    assert without_wave(replace(fleet, waves=waves[:2])) == tuple(host for host in hosts if host != "c")


def test_only_what_descends_from_the_commit_in_force_may_follow_it() -> None:
    merged = {"m": ("x", "s"), "x": ("base",), "s": ("root",)}
    assert descending(merged, ("m", "s", "x"), "base") == ("m", "x")
    assert descending(merged, ("m", "s", "x"), None) == ("m", "s", "x")
    assert ancestors_among(merged, ("m", "x")) == {"m": frozenset({"x"}), "x": frozenset()}
