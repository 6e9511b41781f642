"""Read what the hosts of a fleet report, and count for how long each has said nothing new.

A report counts if its host's key, as the fleet has it, has signed it, and if it is newer than the last one that
counted. Silence grows only while the repository answers: where no host can push, none is silent.
"""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.manifests.git.fleet_record import FleetRecord, Heard
from reconciler.manifests.git.report_object import NotGenuine, report_of
from reconciler.manifests.git.report_store import ReportStore
from reconciler.planning.fleet.fleet import Fleet
from reconciler.planning.fleet.reports import Peer, Report

# A number further ahead than this is no next one: a host makes some hundred reports a day.
MOST_AHEAD = 100_000


class FleetPeers:
    """The hosts of one origin's fleet; `origin` and `branch` are what their reports have to be of."""

    def __init__(self, reports: ReportStore, origin: str, branch: str) -> None:
        self._reports = reports
        self._origin = origin
        self._branch = branch
        self._checked: dict[str, tuple[str, str, Report | None]] = {}  # by host: id and key of what was last checked
        self._last: dict[str, Report] = {}
        self.problems: dict[str, str] = {}
        self.has_read = False

    async def read(self, fleet: Fleet, record: FleetRecord, passed_s: float) -> FleetRecord:
        """Read the reports that were fetched; return the record once `passed_s` seconds of listening have passed.

        Raises DamagedStore, OSError, TimeoutError.
        """
        ids = await self._reports.ids()
        new = {host: ids[host] for host in fleet.hosts if host in ids and self._is_new(host, ids[host], fleet)}
        contents = await self._reports.contents(frozenset(new.values()))
        for host, object_id in new.items():
            self._check(host, object_id, contents.get(object_id, b""), fleet.hosts[host].key)
        heard = {host: self._heard(host, host in ids, fleet, record, passed_s) for host in fleet.hosts}
        self._last = {host: report for host, report in self._last.items() if host in fleet.hosts}
        self.problems = {host: why for host, why in self.problems.items() if host in fleet.hosts}
        self.has_read = True
        return replace(record, heard=heard)

    def _is_new(self, host: str, object_id: str, fleet: Fleet) -> bool:
        known = self._checked.get(host)
        return known is None or known[:2] != (object_id, fleet.hosts[host].key)

    def _check(self, host: str, object_id: str, raw: bytes, key: str) -> None:
        report = None
        self.problems.pop(host, None)
        try:
            report = report_of(raw, host, key, self._origin, self._branch)
        except NotGenuine as error:
            self.problems[host] = f"the report of {host} {error}"
        except Exception as error:  # noqa: BLE001  whatever it is, it must not end what this host does for the others
            self.problems[host] = f"the report of {host} cannot be read ({type(error).__name__})"
        self._checked[host] = (object_id, key, report)

    def _heard(self, host: str, is_there: bool, fleet: Fleet, record: FleetRecord, passed_s: float) -> Heard:
        key, before = fleet.hosts[host].key, record.heard.get(host, Heard())
        if before.key != key:
            self._last.pop(host, None)
            before = Heard(key=key, unchanged_s=before.unchanged_s)
        checked = self._checked.get(host)
        found = checked[2] if is_there and checked is not None and checked[1] == key else None
        silent = replace(before, unchanged_s=before.unchanged_s + passed_s)
        if found is None:
            return silent
        heard = Heard(series=found.series, n=found.n, key=key, in_force=found.in_force, bad=found.bad)
        if found.number == before.number:
            self._last[host] = found
            return replace(heard, unchanged_s=silent.unchanged_s)
        expected = before.n if found.series == before.series else 0
        if before.n and (found.number < before.number or found.n > expected + MOST_AHEAD):
            self.problems[host] = f"the report of {host} has the number {found.n}, and the last one {before.n}"
            return silent
        self._last[host] = found
        return heard

    def view(self, fleet: Fleet, record: FleetRecord) -> Mapping[str, Peer]:
        """Return the hosts as a decision sees them; this one as it knows itself."""
        found = {}
        for host in fleet.hosts:
            heard = record.heard.get(host, Heard())
            remembered = heard.report(host) if heard.key == fleet.hosts[host].key else None
            found[host] = Peer(report=self._last.get(host) or remembered, unchanged_s=heard.unchanged_s)
        return {**found, record.own.host: Peer(report=record.own)}

    def id_of(self, host: str) -> str | None:
        """Return the id of the report that was last read of a host, whether it counted or not."""
        checked = self._checked.get(host)
        return None if checked is None else checked[0]

    def of(self, host: str) -> Report | None:
        """Return the last report of a host that counted."""
        return self._last.get(host)
