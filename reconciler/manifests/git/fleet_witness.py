"""Notice by the reports of other hosts that the server shows this host another history, or the same one for ever."""

from collections.abc import Callable, Collection

from reconciler.planning.fleet.fleet import Fleet
from reconciler.planning.fleet.reports import Peers, Report
from reconciler.planning.wording import span

# Looks after which a commit that another host was shown has to be in the history of the head.
_MOST_LOOKS = 3
_LEAST_HOSTS = 2


class Witness:
    """Compares what other hosts were shown with what this one is; `tell` is called with a name and a sentence."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._odd: dict[str, tuple[str, int]] = {}  # by host: the commit, and for how many looks

    def look(self, known: Collection[str], peers: Peers, fleet: Fleet, me: str) -> None:
        """Compare after a look at the repository; `known` are the commits of the head's history."""
        others = {host: peer for host, peer in peers.items() if host != me}
        odd = {}
        for host, peer in others.items():
            if peer.report is None or peer.unchanged_s > fleet.silent_after_s:
                continue
            if (commit := _unknown(known, peer.report)) is not None:
                before = self._odd.get(host)
                odd[host] = (commit, 1 + (before[1] if before is not None and before[0] == commit else 0))
        self._odd = odd
        self._tell("history", next((_differs(h, c) for h, (c, looks) in odd.items() if looks >= _MOST_LOOKS), ""))
        silent = [peer for peer in others.values() if peer.unchanged_s > fleet.silent_after_s]
        is_still = len(others) >= _LEAST_HOSTS and len(silent) == len(others)
        text = f"no other host of the fleet was heard of for {span(fleet.silent_after_s)}, though the server answers"
        self._tell("silence", f"{text}: it may show an old state" if is_still else "")


def _unknown(known: Collection[str], report: Report) -> str | None:
    """Return the commit that another host knows and the head does not contain."""
    return next((each for each in (report.head, report.in_force) if each is not None and each not in known), None)


def _differs(host: str, commit: str) -> str:
    return (
        f"{host} was shown commit {commit[:7]}, which the head of this host does not contain: the server shows two"
        " histories, or the branch was rewound"
    )
