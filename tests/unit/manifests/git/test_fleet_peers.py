"""What is believed of a fleet's reports, and remembered of them when they are gone or replaced."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from reconciler.manifests.git import fleet_peers, fleet_record
from reconciler.manifests.git.fleet_peers import FleetPeers
from reconciler.manifests.git.fleet_record import FleetRecord
from reconciler.manifests.git.report_object import report_of, report_text, signed
from reconciler.manifests.git.report_store import ReportStore
from reconciler.planning.fleet.fleet import Fleet, Member, Wave
from reconciler.planning.fleet.reports import Report, Run
from tests.support.signing import Key, make_key

A, B = "a" * 40, "b" * 40
WELL = Report(host="web1", n=40, in_force=A, runs=(Run(commit=A, state="well", well_s=60),))


@dataclass(slots=True)
class Reports:
    """What the repository has, by host."""

    raw: dict[str, bytes] = field(default_factory=dict)

    async def ids(self) -> dict[str, str]:
        return {host: f"{hash(raw):x}" for host, raw in self.raw.items()}

    async def contents(self, ids: Collection[str]) -> dict[str, bytes]:
        return {object_id: self.raw[host] for host, object_id in (await self.ids()).items() if object_id in ids}


@dataclass(slots=True)
class Reader:
    """A host that reads them, and may be started again: what is written down is all that it has then."""

    reports: Reports
    fleet: Fleet
    record: FleetRecord = field(default_factory=lambda: FleetRecord(own=Report(host="me")))
    peers: FleetPeers = field(init=False)

    def __post_init__(self) -> None:
        self.start_again()

    def start_again(self) -> None:
        self.peers = FleetPeers(cast("ReportStore", self.reports), "fleet", "main")

    def read(self) -> Mapping[str, Any]:
        self.record = asyncio.run(self.peers.read(self.fleet, self.record, 10.0))
        return self.peers.view(self.fleet, self.record)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    return {name: make_key(directory / name) for name in ("web1", "web2")}


@pytest.fixture
def reader(keys: dict[str, Key]) -> Reader:
    hosts = {name: Member(key=key.public) for name, key in keys.items()}
    return Reader(Reports(), Fleet(hosts=hosts, waves=(Wave(name="all"),)))


def pushed(reader: Reader, report: Report, keys: dict[str, Key]) -> None:
    text = report_text(report, "fleet", "main", A, 0.0)
    reader.reports.raw[report.host] = signed(text, keys[report.host].file.read_bytes())


def test_what_a_host_left_is_remembered_over_restarts_when_its_report_is_gone_or_an_old_one(
    reader: Reader, keys: dict[str, Key]
) -> None:
    pushed(reader, WELL, keys)
    reader.read()
    pushed(reader, replace(WELL, n=41, bad=(B,)), keys)
    reader.read()
    del reader.reports.raw["web1"]
    for old in (None, WELL):
        reader.start_again()
        if old is not None:
            pushed(reader, old, keys)
        found = reader.read()["web1"]
        assert (found.report.n, found.report.bad, found.report.in_force) == (41, (B,), A)
        assert found.report.runs == (), "nobody is well by a report that is gone"
    assert reader.record.heard["web1"].unchanged_s == 20.0
    assert reader.peers.problems == {"web1": "the report of web1 has the number 40, and the last one 41"}


def test_what_was_heard_is_read_as_it_was_written_and_as_the_version_before_wrote_it(
    reader: Reader, keys: dict[str, Key], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("record") / "fleet.json"
    pushed(reader, replace(WELL, series=7, bad=(B,)), keys)
    reader.read()
    fleet_record.write(file, reader.record, 0.0)
    assert fleet_record.read(file, "me", 0.0)[0] == reader.record
    before = file.read_text()
    for name in (
        '"series": 7, ',
        '"series": 0, ',
        f', "in_force": "{A}", "bad": ["{B}"]',
        ', "in_force": null, "bad": []',
    ):
        before = before.replace(name, "")
    file.write_text(before)
    heard = fleet_record.read(file, "me", 0.0)[0].heard["web1"]
    assert (heard.n, heard.in_force, heard.bad) == (40, None, ())


def test_a_host_that_lost_its_count_goes_on_in_another_series(reader: Reader, keys: dict[str, Key]) -> None:
    pushed(reader, WELL, keys)
    reader.read()
    pushed(reader, replace(WELL, series=1_700_000_000, n=1, in_force=B), keys)
    assert reader.read()["web1"].report.in_force == B
    pushed(reader, replace(WELL, n=41), keys)
    assert reader.read()["web1"].report.in_force == B, "all of an earlier series is older"
    pushed(reader, replace(WELL, series=1_700_000_001, n=200_000), keys)
    assert reader.read()["web1"].report.in_force == B


def test_a_key_that_is_replaced_takes_all_with_it_that_it_signed(reader: Reader, keys: dict[str, Key]) -> None:
    pushed(reader, replace(WELL, bad=(B,)), keys)
    reader.read()
    reader.fleet = replace(reader.fleet, hosts={"web1": Member(key=keys["web2"].public)})
    assert reader.read()["web1"].report is None


def test_a_report_that_nobody_thought_of_is_the_trouble_of_its_host_alone(
    reader: Reader, keys: dict[str, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(raw: bytes, host: str, *rest: str) -> Report:
        if host == "web2":
            raise ZeroDivisionError
        return report_of(raw, host, *rest)

    monkeypatch.setattr(fleet_peers, "report_of", read)
    pushed(reader, WELL, keys)
    pushed(reader, replace(WELL, host="web2"), keys)
    found = reader.read()
    assert (found["web1"].report, found["web2"].report) == (WELL, None)
    assert reader.peers.problems == {"web2": "the report of web2 cannot be read (ZeroDivisionError)"}
