"""Show the hosts of a fleet as one of them knows them: what each has in force, and what it waits for. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.manifests.git.fleet_history import History
from reconciler.planning.fleet.fleet import Fleet
from reconciler.planning.fleet.gate import Decision, Outlook, ancestors_among, decide, descending, position_of
from reconciler.planning.fleet.reports import Peer, Peers, Report

_MOST_DECIDED = 1000


def rows(  # noqa: PLR0913, PLR0917  the facts of an outlook
    fleet: Fleet, me: str, head: str, history: History, peers: Peers, now: float, seen_s: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return the facts of each host; what one waits for is decided here as it decides it there, by the same reports."""
    names = sorted(fleet.hosts, key=lambda host: (position_of(fleet, host, head)[0], host))
    names += [] if me in fleet.hosts else [me]
    outlooks: dict[str | None, Outlook] = {}
    return [
        _row(
            host,
            me,
            fleet,
            head,
            peers.get(host, Peer()),
            _decision(host, fleet, history, peers, now, seen_s, outlooks),
        )
        for host in names
    ]


def states(fleet: Fleet, peers: Peers) -> dict[str, int]:
    """Return how many hosts of a fleet are in each state."""
    return dict(sorted(Counter(_state(peer.report, peer, fleet) for peer in _peers_of(fleet, peers)).items()))


def _peers_of(fleet: Fleet, peers: Peers) -> Iterator[Peer]:
    return (peers.get(host, Peer()) for host in fleet.hosts)


def _decision(  # noqa: PLR0913, PLR0917  the facts of an outlook
    host: str,
    fleet: Fleet,
    history: History,
    peers: Peers,
    now: float,
    seen_s: Mapping[str, float],
    outlooks: dict[str | None, Outlook],
) -> Decision:
    report = peers.get(host, Peer()).report
    in_force = report.in_force if report is not None else None
    if report is None or in_force not in history.graph:
        return Decision()
    if in_force not in outlooks:
        known = {run.commit for peer in peers.values() if peer.report is not None for run in peer.report.runs}
        wanted = known | {*history.order[:1]}
        new = [c for c in descending(history.graph, history.order, in_force) if c in wanted][:_MOST_DECIDED]
        outlooks[in_force] = Outlook(
            fleet=fleet, host=host, in_force=in_force, new=new, ancestors=ancestors_among(history.graph, new),
            peers=peers, urgent=history.urgent, seen_s=seen_s, now=now,
        )  # fmt: skip
    shared = outlooks[in_force]
    return decide(
        Outlook(
            fleet=fleet, host=host, in_force=in_force, new=shared.new, ancestors=shared.ancestors, peers=peers,
            urgent=shared.urgent, seen_s=seen_s, now=now,
        )
    )  # fmt: skip


def _row(  # noqa: PLR0913, PLR0917  the same
    host: str, me: str, fleet: Fleet, head: str, peer: Peer, decision: Decision
) -> dict[str, Any]:
    number, _ = position_of(fleet, host, head)
    report = peer.report
    run = None if report is None else report.run(report.in_force)
    return {
        "host": host,
        "wave": fleet.waves[number].name if number < len(fleet.waves) else None,
        "in_force": None if report is None else report.in_force,
        "state": _state(report, peer, fleet),
        "well_s": None if run is None or run.state != "well" else round(run.well_s, 1),
        "silent_s": round(peer.unchanged_s, 1),
        "report": None if report is None else report.n,
        "message": f"takes commit {decision.take[:7]}" if decision.take is not None else decision.why,
        "waits_for": [*decision.waits_for],
        "until_s": None if decision.until_s is None else round(decision.until_s, 1),
        "is_this_host": host == me,
    }


def _state(report: Report | None, peer: Peer, fleet: Fleet) -> str:
    if peer.unchanged_s > fleet.silent_after_s:
        return "silent"
    if report is None:
        return "unknown"
    run = report.run(report.in_force)
    return report.held or ("unknown" if run is None else run.state)
