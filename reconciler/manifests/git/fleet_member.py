"""Take part in a fleet as one of its hosts: report how it is with its commit, and decide which commit it may go to.

The rules are those of fleet.yaml in the commit that is in force, never those of a commit that is to come. Where nothing
is in force, they are those of the head, which is then judged as any commit is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.linux.error_words import in_words
from reconciler.linux.regular_files import read_file
from reconciler.manifests.git import fleet_record as records
from reconciler.manifests.git.candidate import told
from reconciler.manifests.git.fleet_history import FleetReader, History
from reconciler.manifests.git.fleet_peers import FleetPeers
from reconciler.manifests.git.fleet_record import FleetRecord, clock_s
from reconciler.manifests.git.fleet_rows import rows, states
from reconciler.manifests.git.fleet_witness import Witness
from reconciler.manifests.git.objects import CannotFetch, DamagedStore
from reconciler.manifests.git.origin_apps import OriginApps
from reconciler.manifests.git.own_report import LONGEST_GAP_S, Seen, counted, left_s, signature_of
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.record import Record
from reconciler.manifests.git.report_object import NotGenuine, report_of, report_text, signed
from reconciler.manifests.git.report_store import ReportStore
from reconciler.manifests.git.signatures import now_s
from reconciler.manifests.git.store import Store
from reconciler.planning.fleet.fleet import Fleet
from reconciler.planning.fleet.gate import Decision, Outlook, ancestors_among, decide
from reconciler.planning.fleet.reports import Peers, Report
from reconciler.planning.origins.observed import ObservedOrigin
from reconciler.settings.git import GitOrigin

_LARGEST_KEY = 16 * 1024
_WRITTEN_EVERY_S, _WRITTEN_AT_LEAST_EVERY_S = 15.0, 60.0
_SAMPLED_EVERY_S = 15.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 5.0, 900.0
_MOST_BY_TIME = 300
_MOST_OWN_IDS = 100
_REFUSALS = frozenset(("refused", "held", "missing", "rewound"))


class FleetMember:
    """This host in the fleet of one origin, if the origin has one; `clock` counts the seconds of this machine.

    `tell` is called with what is to be told once: a name for programs, and a sentence.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        origin: GitOrigin,
        git: GitProgram,
        store: Store,
        reader: FleetReader,
        directory: Path,
        *,
        apps: OriginApps,
        tell: Callable[[str, str], None],
        clock: Callable[[], float] = clock_s,
    ) -> None:
        self._origin = origin
        self._store = store
        self._file = directory / "fleet.json"
        self._apps = apps
        self._tell = tell
        self._clock = clock
        self._reader = reader
        self._reports = ReportStore(git, store, origin, directory)
        self._peers = FleetPeers(self._reports, origin.reported, origin.followed)
        self._witness = Witness(tell)
        self.fleet: Fleet | None = None
        self.decision = Decision()
        self._rules: Fleet | None = None
        self._record = FleetRecord(own=Report(host=origin.host))
        self._whole: History | None = None
        self._history: tuple[tuple[str, str | None, str], History | None] | None = None
        self._at = self._written_at = clock()
        self._read_at: float | None = None
        self._written: object = None
        self._pushed: object = None
        self._own_ids: tuple[str, ...] = ()
        self._shared_at: float | None = None
        self._pushed_at = self._retry_at = float("-inf")
        self._retry_s = _FIRST_RETRY_S
        self._has_read_record = False
        self._refused: tuple[str | None, str, frozenset[str]] = (None, "", frozenset())
        self._has_waves = origin.in_fleet and not origin.commit

    # What is true, and where to go

    async def observed(self, observed: ObservedOrigin, record: Record) -> ObservedOrigin:
        """Return what is true of the origin with the commit to go to, and what the head waits for.

        Raises DamagedStore, OSError, TimeoutError.
        """
        observed = replace(observed, goal=None, waits="", is_report_due=False)
        self.decision, self.fleet = Decision(), None
        base, head = observed.stands_at or observed.head, observed.head
        if base is None or not self._has_waves:
            return observed
        fleet = await self._reader.fleet(base)
        if fleet is None or isinstance(fleet, list):
            if not fleet or head in {observed.stands_at, record.taken}:
                return observed
            why = f"{told(fleet)}; confirm the newest commit with 'reconciler git take'"
            return _staying(observed, why)
        self.fleet = fleet
        self._read_record()
        await self._count(observed, record, fleet)
        observed = replace(observed, is_report_due=self._is_due(fleet))
        is_decided = head in {observed.stands_at, record.taken, *record.returned, *record.refusals}
        if head is None or is_decided:
            return observed
        history = await self._known_history(head, observed.stands_at, observed.trust)
        if history is None:
            return observed  # the judge says that it was rewound
        return self._gated(observed, fleet, history)

    def _gated(self, observed: ObservedOrigin, fleet: Fleet, history: History) -> ObservedOrigin:
        peers = self._peers.view(fleet, self._record)
        if observed.stands_at is None and fleet.gate == "reports" and (why := self._below_peers(peers, history)):
            return _staying(observed, why)
        new = self._candidates(fleet, history, peers)
        if fleet.gate == "time":
            self._record = self._record.with_seen(tuple(history.new))
        outlook = Outlook(
            fleet=fleet,
            host=self._origin.host,
            in_force=observed.stands_at,
            new=new,
            ancestors=ancestors_among(history.graph, new),
            peers=peers,
            urgent=history.urgent,
            seen_s=self._record.seen_s,
            now=now_s(),
        )
        self.decision = decide(outlook)
        if self.decision.take is None:
            return _staying(observed, self.decision.why)
        return observed if self.decision.take == observed.head else replace(observed, goal=self.decision.take)

    def _candidates(self, fleet: Fleet, history: History, peers: Peers) -> list[str]:
        """Return the new commits that matter: the head, urgent ones, and those that a host had; of tags, the head."""
        if self._origin.tags:
            return [*history.new[:1]]
        if fleet.gate == "time":
            return [*history.new[:_MOST_BY_TIME]]
        wanted = {*history.new[:1], *history.urgent}
        for report in (peer.report for peer in peers.values() if peer.report is not None):
            wanted |= {report.in_force or "", *report.bad, *(run.commit for run in report.runs)}
        return [commit for commit in history.new if commit in wanted]

    def _below_peers(self, peers: Peers, history: History) -> str:
        """Return why a host that has nothing in force does not take the head: other hosts know newer commits."""
        if not self._peers.has_read:
            return "the reports of the other hosts were not read yet"
        known = frozenset(history.order)
        own = self._peers.of(self._origin.host)
        reports = [peer.report for peer in peers.values() if peer.report is not None and peer.report.n]
        for report in (*reports, *([own] if own is not None else ())):
            if (commit := report.in_force) is not None and commit not in known:
                return (
                    f"{report.host} has commit {commit[:7]} in force, which the head does not descend from: the server"
                    " shows this host an older history, or another one"
                )
        return ""

    async def _known_history(self, head: str, in_force: str | None, trust: str) -> History | None:
        if self._history is None or self._history[0] != (head, in_force, trust):  # who may be urgent is of the last
            self._history = ((head, in_force, trust), await self._reader.history(head, in_force))
        return self._history[1]

    # What is counted

    def _read_record(self) -> None:
        if not self._has_read_record:
            self._has_read_record = True
            record, passed_s = records.read(self._file, self._origin.host, self._clock())
            self._record, self._at = record.with_time(passed_s), self._clock()

    async def _count(self, observed: ObservedOrigin, record: Record, fleet: Fleet) -> None:
        passed_s, self._at = max(0.0, self._clock() - self._at), self._clock()
        in_force = observed.stands_at
        is_on_trial = in_force != observed.in_force
        is_refusing = self._is_refusing(observed)
        is_paused = observed.pause is not None and observed.pause.holds(now_s())
        seen = Seen(
            head=observed.head,
            in_force=in_force,
            is_good=in_force is not None and observed.good == in_force,
            apps=None if in_force is None or is_on_trial else self._apps.with_commit(self._origin.name, in_force),
            with_good=record.wanted_with_good,
            # One that an operator took all the same is left no more.
            bad=tuple(each for each in record.returned if each not in {record.taken, in_force}),
            held="paused" if is_paused or is_on_trial else "refused" if is_refusing else "",
        )
        self._record = counted(self._record.with_time(passed_s), seen, passed_s, fleet, self._rules)
        self._rules = fleet
        shape = (signature_of(self._record, fleet), self._record.excused, tuple(self._record.seen_s))
        every_s = _WRITTEN_EVERY_S if left_s(self._record, fleet) else _WRITTEN_AT_LEAST_EVERY_S
        if shape != self._written or self._clock() - self._written_at >= every_s:
            try:
                self._write(shape)
            except OSError as error:
                self._written_at = self._clock()
                self._tell("count", f"cannot write down for how long this host was well: {in_words(error)}")
            else:
                self._tell("count", "")

    def _is_refusing(self, observed: ObservedOrigin) -> bool:
        """Return whether this host refuses a commit that is newer than the one in force, by what it is judged by now.

        That is so until another one is in force: the others of its wave would wait for it once a fix is the head.
        """
        stands_at, trust, verdict = observed.stands_at, observed.trust, observed.verdict
        refused = self._refused[2] if self._refused[:2] == (stands_at, trust) else frozenset[str]()
        is_now = verdict is not None and verdict.ruling in _REFUSALS and verdict.commit == observed.head
        if verdict is not None and verdict.ruling in {"refused", "held"} and verdict.trust == trust:
            refused |= {verdict.commit}
        self._refused = (stands_at, trust, refused - {stands_at})
        return is_now or (bool(self._refused[2]) and observed.head not in {None, stands_at})

    def _write(self, shape: object) -> None:
        records.write(self._file, self._record, self._clock())
        self._written, self._written_at = shape, self._clock()

    def rest_s(self) -> float:
        """Return for how long nothing changes by itself, as far as this host knows."""
        if self.fleet is None:
            return float("inf")
        left = [_SAMPLED_EVERY_S] if left_s(self._record, self.fleet) != 0 else [LONGEST_GAP_S / 2]
        if (soon_s := left_s(self._record, self.fleet)) is not None and soon_s > 0:
            left.append(soon_s + 0.1)
        if self.decision.until_s is not None:
            left.append(self.decision.until_s + 0.1)
        return max(0.2, min(left))

    # What others report

    def refspecs_beside(self, head: str | None, in_force: str | None) -> Sequence[str]:
        """Return what a look had best fetch along with the head: the reports, while this host waits for others."""
        is_waiting = head != in_force and self.fleet is not None and self.fleet.gate == "reports"
        return self._reports.refspecs_beside if is_waiting and self._has_waves else ()

    async def look(self, head: str, in_force: str | None, *, has_reports: bool = False) -> None:
        """Read the reports of the other hosts where they matter now; `has_reports` says that they are here.

        What fails is told, and tried at the next look.
        """
        try:
            fleet = await self._reader.fleet(in_force or head)
            if not isinstance(fleet, Fleet) or not self._has_waves:
                return
            self._read_record()
            if in_force is None:
                await self._store.unshallow(self._origin)
            is_idle = head == in_force and self._read_at is not None
            if is_idle and self._clock() - (self._read_at or 0.0) < fleet.silent_after_s / 4:
                return
            if fleet.gate == "reports":
                await self._read_reports(fleet, head, has_reports=has_reports)
        except (CannotFetch, DamagedStore, OSError, TimeoutError) as error:
            self._tell("reports", f"cannot read the reports of the other hosts: {error}")

    async def _read_reports(self, fleet: Fleet, head: str, *, has_reports: bool) -> None:
        if not has_reports:
            await self._reports.fetch()
        now = self._clock()
        # What no host could push while this one could not read is no silence.
        passed_s = 0.0 if self._read_at is None else min(now - self._read_at, fleet.silent_after_s / 3)
        self._record, self._read_at = await self._peers.read(fleet, self._record, passed_s), now
        self._tell("reports", "")
        self._tell("forged", "; ".join(self._peers.problems[each] for each in sorted(self._peers.problems)[:3]))
        self._look_for_namesake(fleet)
        if self._whole is None or not self._whole.order or self._whole.order[0] != head:
            self._whole = await self._reader.history(head, None)
        if self._whole is not None and self._whole.is_whole:
            view = self._peers.view(fleet, self._record)
            self._witness.look(self._whole.graph, view, fleet, self._origin.host)

    def _look_for_namesake(self, fleet: Fleet) -> None:
        """Tell of another daemon that reports under the name of this host, until none was noticed for a while."""
        own, found = self._record.own, self._peers.of(self._origin.host)
        is_foreign = found is not None and own.n > 0 and self._peers.id_of(own.host) not in self._own_ids
        # A number is written down before it is used, so one that is higher is another daemon's.
        if is_foreign and found is not None and found.number >= (own.number if self._own_ids else _next(own)):
            self._shared_at = self._clock()
        if self._shared_at is not None and self._clock() - self._shared_at > fleet.silent_after_s:
            self._shared_at = None
        text = f"another daemon reports as '{own.host}' too, with the same key: give each host a name (git.host) and a"
        text += " key of its own; if this state directory was restored from a copy, this ends by itself"
        self._tell("shared", "" if self._shared_at is None else text)

    # What this host reports

    def _is_due(self, fleet: Fleet) -> bool:
        if self._origin.is_source or fleet.gate == "time" or not self._can_report(fleet):
            return False
        if not self._peers.has_read or self._clock() < self._retry_at:
            return False
        is_new = signature_of(self._record, fleet) != self._pushed
        return is_new or self._clock() - self._pushed_at >= fleet.silent_after_s / 4

    def _can_report(self, fleet: Fleet) -> bool:
        """Return whether the settings and the fleet are agreed that this host reports, and tell if they are not."""
        host, settings = self._origin.host, self._origin.repository.report_sign is not None
        member = fleet.hosts.get(host)
        has_key = member is not None and bool(member.key)
        problem = ""
        if settings and not has_key:
            problem = f"this host does not report: fleet.yaml of the commit in force has no key of '{host}'"
        elif has_key and not settings:
            problem = f"this host does not report: fleet.yaml has a key of '{host}', and the settings no 'report.sign'"
        self._tell("member", problem)
        return settings and has_key

    async def report(self) -> None:
        """Push what this host reports of itself. What fails is told once, and tried again later and later."""
        fleet, before = self.fleet, self._peers.of(self._origin.host)
        assert fleet is not None
        series, n = max(self._record.own.number, (0, 0) if before is None else before.number)
        # One that knows of no number of its own may have lost its count, and its report with it.
        own = replace(self._record.own, series=series if n else int(now_s()), n=n + 1)
        # Written down first: a number that was used is never used again.
        self._record = replace(self._record, own=own)
        try:
            self._write(None)
            await self._pushed_text(own, fleet)
        except (CannotFetch, DamagedStore, NotGenuine, ValueError, OSError, TimeoutError) as error:
            self._retry_at = self._clock() + self._retry_s
            self._retry_s = min(2 * self._retry_s, _LONGEST_RETRY_S)
            self._tell("report", f"cannot report to the fleet: {str(error) or 'it took too long'}")
            return
        self._pushed, self._pushed_at = signature_of(self._record, fleet), self._clock()
        self._retry_s = _FIRST_RETRY_S
        self._tell("report", "")

    async def _pushed_text(self, own: Report, fleet: Fleet) -> None:
        file = self._origin.repository.report_sign
        assert file is not None
        origin, branch = self._origin.reported, self._origin.followed
        text = report_text(own, origin, branch, await self._reports.blob(), now_s())
        try:
            raw = signed(text, read_file(file, _LARGEST_KEY))
        except ValueError as error:
            raise ValueError(f"{file} {error}") from None
        try:
            report_of(raw, own.host, fleet.hosts[own.host].key, origin, branch)
        except NotGenuine as error:
            raise ValueError(f"what is signed with {file} {error} than fleet.yaml has for {own.host}") from None
        tag = await self._reports.tag(raw)
        self._own_ids = (*self._own_ids, tag)[-_MOST_OWN_IDS:]
        others = self._reports.of_earlier_version & (fleet.hosts.keys() - {own.host})
        await self._reports.push(own.host, tag, also_as_before=bool(others))

    # What is shown

    def rows(self, observed: ObservedOrigin) -> list[dict[str, Any]]:
        """Return each host of the fleet as this one knows it; none if there is no fleet."""
        fleet, head = self.fleet, observed.head
        if fleet is None or head is None or self._whole is None:
            return []
        peers = self._peers.view(fleet, self._record)
        return rows(fleet, self._origin.host, head, self._whole, peers, now_s(), self._record.seen_s)

    def states(self) -> dict[str, int]:
        """Return how many hosts of the fleet are in each state, as this one knows them; none if there is no fleet."""
        return {} if self.fleet is None else states(self.fleet, self._peers.view(self.fleet, self._record))


def _next(report: Report) -> tuple[int, int]:
    return report.series, report.n + 1


def _staying(observed: ObservedOrigin, why: str) -> ObservedOrigin:
    return replace(observed, goal=observed.stands_at or "", waits=why)
