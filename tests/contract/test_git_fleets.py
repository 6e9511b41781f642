"""Hosts of a fleet against one real repository: what they report, what they believe, and in which order they change."""

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.manifests.catalog import Catalog
from reconciler.manifests.git.effects import now_s
from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.report_object import report_of, report_text, signed
from reconciler.planning.fleet.reports import Report, Run
from reconciler.planning.origins.proof import OriginApp
from reconciler.settings.git import GitOrigin
from reconciler.settings.git import Repository as Settings
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.contract.test_git_origins import Host, limited
from tests.support.repository import Repository
from tests.support.signing import Key, make_key

BROKEN = OriginApp(name="shop", revision="2f1e", outcome="failed", rejected="it exited")
REPORT_OF_CANARY = "refs/reconciler/origins/fleet/canary1"
WAVES = "[{name: canary, hosts: {ring: canary}, well_for: 30s}, {name: rest}]"


@dataclass(slots=True)
class Member:
    """One host of the fleet, whose daemon can be ended and started again."""

    host: Host
    fleet: "Fleet"
    running: Follower | None = None

    async def follower(self) -> Follower:
        if self.running is None:
            self.running = self.host.follower()
            self.running.fleet._clock = lambda: self.fleet.now_s
            await self.running.begin()
        return self.running

    async def look(self) -> None:
        """Fetch, and go on until nothing is left to do."""
        follower = await self.follower()
        follower.look_now()
        for _ in range(30):
            if (await follower.step()).action is None:
                return
        raise AssertionError("it never comes to rest")

    @property
    def in_force(self) -> str | None:
        return self.host.in_force

    @property
    def message(self) -> str:
        return str(self.host.facts["message"])

    def told(self, kind: str) -> list[str]:
        return [text for each, text in self.host.events() if each == kind]


@dataclass(slots=True)
class Fleet:
    """The hosts by name, on one clock that only they go by."""

    repository: Repository
    keys: dict[str, Key]
    members: dict[str, Member] = field(default_factory=dict)
    now_s: float = 1000.0

    async def pass_time(self, seconds: float, without: tuple[str, ...] = ()) -> None:
        """Let every host look each 15 seconds."""
        for _ in range(int(seconds / 15)):
            self.now_s += 15
            for name, member in self.members.items():
                if name not in without:
                    await member.look()

    def yaml(self, waves: str = WAVES, more: str = "") -> str:
        rings = {name: "canary" if name.startswith("canary") else "web" for name in self.keys}
        hosts = "".join(f"  {n}: {{ring: {rings[n]}, key: {key.public}}}\n" for n, key in self.keys.items())
        return f"kind: fleet\nhosts:\n{hosts}waves: {waves}\nsilent_after: 5m\n{more}"

    def push(self, code: str, **files: str) -> str:
        app = {f"hosts/{name}/shop.yaml": "path: ../../apps/shop\n" for name in self.keys}
        changed = {"apps/shop/wsgi.py": f"application = {code!r}\n", **app, **files}
        return self.repository.push({"fleet.yaml": self.yaml(), **changed}, code)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    yield from made(tmp_path, "canary1", "web1")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Fleet]:
    yield from made(tmp_path, "canary1", "web1", "web2")


def made(root: Path, *names: str) -> Iterator[Fleet]:
    repository = Repository.at(root)
    found = Fleet(repository, {name: make_key(root / f"{name}-key") for name in names})
    with ExitStack() as stack:
        for name in names:
            found.members[name] = Member(stack.enter_context(a_host(root, repository, name)), found)
        yield found


@contextmanager
def a_host(root: Path, repository: Repository, name: str) -> Iterator[Host]:
    sign = root / f"{name}-key"
    settings = Settings(name="fleet", urls=(str(repository.bare),), signed="no", timeout_s=300, report_sign=sign)
    origin = GitOrigin(name="fleet", repository=settings, branch="main", host=name, paths=(f"hosts/{name}",))
    (root / f"{name}-state").mkdir()
    paths = StatePaths(state=root / f"{name}-state")
    with closing(open_database(paths.database)) as database:
        yield Host(paths, origin, Journal(database))


def reports(fleet: Fleet) -> list[str]:
    return fleet.repository.git(
        "for-each-ref", "--format=%(refname)", "refs/reconciler", at=fleet.repository.bare
    ).split()


def forge(fleet: Fleet, host: str, report: Report, key: Key, *, before: bool = False) -> None:
    """Push a report of a host, signed with a key, as who can push to the repository may.

    `before` pushes it as the version did that knew no origins.
    """
    git = fleet.repository.git
    blob = git("hash-object", "-w", "--stdin")
    text = report_text(replace(report, host=host), "fleet", "main", blob, 0.0)
    if before:
        text = text.replace(b'"origin": "fleet", ', b"").replace(b'"series": 0, ', b"")
    tag = git("mktag", given=signed(text, key.file.read_bytes()))
    git("push", "-q", "-f", "origin", f"{tag}:refs/reconciler/{'hosts' if before else 'origins/fleet'}/{host}")


def test_a_commit_reaches_a_later_wave_once_the_earlier_one_was_well_with_it(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(30)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        assert (canary.in_force, web.in_force) == (first, None)
        assert web.host.facts["state"] == "waiting"
        await fleet.pass_time(45)
        assert {member.in_force for member in fleet.members.values()} == {first}
        second = fleet.push("2")
        await fleet.pass_time(30)
        assert (canary.in_force, web.in_force) == (second, first)
        assert web.message.startswith(f"wave 2 of 2 (rest): commit {second[:7]} waits for canary (canary1 well for ")
        assert web.message.endswith(f"of 30s); commit {first[:7]} stays in force")
        (row,) = [row for row in web.running.fleet.rows(web.running.observed) if row["host"] == "web1"]  # type: ignore[union-attr]
        assert (row["wave"], row["in_force"], row["waits_for"], row["state"]) == ("rest", first, ["canary1"], "well")
        assert 0 < row["until_s"] <= 30
        assert web.running.fleet.states() == {"well": 2}  # type: ignore[union-attr]
        await fleet.pass_time(45)
        assert {member.in_force for member in fleet.members.values()} == {second}
        assert [text.partition(": ")[0] for text in web.told("waiting")] == [
            f"commit {first[:7]} “1” waits", f"commit {second[:7]} “2” waits",
        ]  # fmt: skip
        assert reports(fleet) == [f"refs/reconciler/origins/fleet/{name}" for name in ("canary1", "web1")]

    run(story())


def test_a_commit_that_fails_on_a_canary_reaches_no_other_host_and_its_fix_does(fleet: Fleet) -> None:
    async def story() -> None:
        good = fleet.push("1")
        await fleet.pass_time(75)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        canary.host.apps[good] = [OriginApp(name="shop", revision="1a0d", outcome="up-to-date")]
        bad = fleet.push("2")
        canary.host.apps[bad] = [BROKEN]
        await fleet.pass_time(45)
        assert {member.in_force for member in fleet.members.values()} == {good}
        assert canary.host.facts["state"] == "returned"
        assert web.message == f"commit {bad[:7]} was left again by canary1; commit {good[:7]} stays in force"
        fix = fleet.push("3")
        await fleet.pass_time(75)
        assert {member.in_force for member in fleet.members.values()} == {fix}

    run(story())


@pytest.mark.nightly
def test_an_app_that_fails_after_its_commit_was_good_starts_the_count_again(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        second = fleet.push("2")
        await fleet.pass_time(30)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        canary.host.apps[second] = [replace(BROKEN, rejected="")]
        await fleet.pass_time(45)
        assert web.in_force == first
        assert "canary1 failing" in web.message
        del canary.host.apps[second]
        await fleet.pass_time(30)
        assert web.in_force == first
        await fleet.pass_time(30)
        assert web.in_force == second

    run(story())


def test_forged_replayed_and_far_numbered_reports_have_no_effect(fleet: Fleet, tmp_path: Path) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        web, genuine = (
            fleet.members["web1"],
            fleet.repository.git("rev-parse", "refs/reconciler/origins/fleet/canary1", at=fleet.repository.bare),
        )
        second = fleet.push("2")
        lie = Report(host="canary1", n=1000, in_force=second, runs=(Run(commit=second, state="well", well_s=9999),))
        forge(fleet, "canary1", lie, make_key(tmp_path / "stranger"))
        await fleet.pass_time(15, without=("canary1",))
        assert web.in_force == first
        assert "the report of canary1 is signed by another key" in web.told("failed")
        forge(fleet, "canary1", lie, fleet.keys["web1"])
        await fleet.pass_time(15, without=("canary1",))
        forge(fleet, "canary1", replace(lie, n=2**30), fleet.keys["canary1"])
        await fleet.pass_time(15, without=("canary1",))
        assert web.in_force == first
        assert any("has the number 1073741824, and the last one" in text for text in web.told("failed"))
        await fleet.pass_time(30)
        fleet.repository.git("update-ref", "refs/reconciler/origins/fleet/canary1", genuine, at=fleet.repository.bare)
        await fleet.pass_time(15, without=("canary1",))
        assert web.in_force == first
        forge(fleet, "stranger", lie, make_key(tmp_path / "other"))
        await fleet.pass_time(15, without=("canary1",))
        assert web.in_force == first

    run(story())


def test_what_the_version_before_reported_counts_until_this_one_reports(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        well = Report(host="canary1", n=41, in_force=first, runs=(Run(commit=first, state="well", well_s=30),))
        forge(fleet, "canary1", well, fleet.keys["canary1"], before=True)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        await web.look()
        assert web.in_force == first
        await fleet.pass_time(15, without=("web1",))
        own = canary.running.fleet._record.own  # type: ignore[union-attr]
        assert (own.series, own.n > 41) == (0, True), "its count goes on"
        second = fleet.push("2")
        await fleet.pass_time(75)
        assert web.in_force == second
        assert not web.told("failed")

    run(story())


def test_hosts_of_the_version_before_hear_of_one_that_was_upgraded_until_all_are(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        canary, key = fleet.members["canary1"], fleet.keys["canary1"]
        as_before = "refs/reconciler/hosts/canary1"
        forge(fleet, "web1", Report(host="web1", n=7, in_force=None), fleet.keys["web1"], before=True)
        await canary.look()
        fleet.now_s += 35
        await canary.look()
        there = fleet.repository.git("rev-parse", as_before, REPORT_OF_CANARY, at=fleet.repository.bare).split()
        assert there[0] == there[1]
        raw = fleet.repository.git("cat-file", "tag", there[0], at=fleet.repository.bare).encode() + b"\n"
        assert report_of(raw, "canary1", key.public, "fleet", "main").in_force == first
        await fleet.members["web1"].look()
        second = fleet.push("2")
        await fleet.pass_time(75)
        assert fleet.members["web1"].in_force == second
        now = fleet.repository.git("rev-parse", as_before, REPORT_OF_CANARY, at=fleet.repository.bare).split()
        assert now[0] != now[1], "nobody reads it any more"

    run(story())


@pytest.mark.nightly
def test_two_origins_of_a_repository_go_by_reports_of_their_own(fleet: Fleet, tmp_path: Path) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        fleet.repository.git("push", "-q", "origin", "HEAD:prod")
        for member in fleet.members.values():
            member.host.origin = replace(member.host.origin, name="prod", branch="prod")
            member.host.catalog = Catalog()
            member.running = None
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        await web.look()
        assert web.in_force is None, "the canary was well with this commit, though for another origin"
        await fleet.pass_time(75)
        assert {canary.in_force, web.in_force} == {first}
        names = [f"refs/reconciler/origins/{origin}/{name}" for origin in ("fleet", "prod") for name in fleet.members]
        assert reports(fleet) == names
        fleet.repository.git("update-ref", names[2], names[0], at=fleet.repository.bare)
        fleet.now_s += 80
        await web.look()
        assert "the report of canary1 is of another origin" in web.host.facts["fleet"]

    run(story())


@pytest.mark.nightly
def test_a_commit_that_was_left_is_remembered_when_the_report_is_gone(fleet: Fleet) -> None:
    async def story() -> None:
        good = fleet.push("1")
        await fleet.pass_time(75)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        canary.host.apps[good] = [OriginApp(name="shop", revision="1a0d", outcome="up-to-date")]
        old = fleet.repository.git("rev-parse", REPORT_OF_CANARY, at=fleet.repository.bare)
        bad = fleet.push("2")
        canary.host.apps[bad] = [BROKEN]
        await fleet.pass_time(45)
        told = f"commit {bad[:7]} was left again by canary1; commit {good[:7]} stays in force"
        assert web.message == told
        for command in (("update-ref", REPORT_OF_CANARY, old), ("update-ref", "-d", REPORT_OF_CANARY)):
            fleet.repository.git(*command, at=fleet.repository.bare)
            web.running = None
            await web.look()
            assert (web.message, web.in_force) == (told, good)

    run(story())


@pytest.mark.nightly
def test_two_daemons_under_one_name_are_told_to_have_one_each(fleet: Fleet, tmp_path: Path) -> None:
    async def story() -> None:
        fleet.push("1")
        canary = fleet.members["canary1"]
        await fleet.pass_time(45)
        with a_host(tmp_path / "second", fleet.repository, "canary1") as host:
            second = Member(host, fleet)
            fleet.members["second"] = second
            await fleet.pass_time(240)
            for member in (canary, second):
                (told,) = [text for text in member.told("failed") if "another daemon reports as 'canary1' too" in text]
                assert "give each host a name (git.host) and a key of its own" in told
                assert told in member.host.facts["fleet"]
        del fleet.members["second"]
        await fleet.pass_time(405)
        assert any(text.startswith("over: another daemon") for text in canary.told("recovered"))

    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "canary1-key").write_bytes(fleet.keys["canary1"].file.read_bytes())
    run(story())


@pytest.mark.nightly
def test_a_host_that_lost_its_count_and_its_report_is_heard_at_once(fleet: Fleet, tmp_path: Path) -> None:
    async def story() -> None:
        fleet.push("1")
        await fleet.pass_time(120)
        web = fleet.members["web1"]
        fleet.repository.git("update-ref", "-d", REPORT_OF_CANARY, at=fleet.repository.bare)
        with a_host(tmp_path / "rebuilt", fleet.repository, "canary1") as host:
            later = Member(host, fleet)
            fleet.members["canary1"] = later
            own = (await later.follower()).fleet
            second = fleet.push("2")
            await fleet.pass_time(90)
            assert own._record.own.n < 10
            assert web.in_force == second
            assert not web.told("failed")
            assert not later.told("failed")

    (tmp_path / "rebuilt").mkdir()
    (tmp_path / "rebuilt" / "canary1-key").write_bytes(fleet.keys["canary1"].file.read_bytes())
    run(story())


def test_a_reference_with_an_odd_name_stops_no_host(fleet: Fleet) -> None:
    async def story() -> None:
        git, bare = fleet.repository.git, fleet.repository.bare
        blob = git("hash-object", "-w", "--stdin", at=bare)
        for name in ("x\u2028y", "x\x85y", "web1\u2028tag", "ünï", "deep/er/web1"):
            git("update-ref", f"refs/reconciler/origins/fleet/{name}", blob, at=bare)
        first = fleet.push("1")
        await fleet.pass_time(75)
        assert {member.in_force for member in fleet.members.values()} == {first}

    run(story())


@pytest.mark.nightly
def test_a_source_of_the_same_branch_goes_by_the_reports_and_makes_none(fleet: Fleet, tmp_path: Path) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        with ExitStack() as stack:
            sources = {}
            for name in fleet.members:
                host = stack.enter_context(a_host(tmp_path / "sources", fleet.repository, name))
                host.origin = replace(host.origin, is_source=True)
                sources[name] = Member(host, fleet)
                await sources[name].look()
            second = fleet.push("2")
            canary.host.apps[second] = [replace(BROKEN, rejected="")]
            for _ in range(4):
                await fleet.pass_time(15, without=("web1",))
                for member in (sources["canary1"], web, sources["web1"]):
                    await member.look()
            assert (sources["canary1"].in_force, web.in_force, sources["web1"].in_force) == (second, first, first)

    (tmp_path / "sources").mkdir()
    for name, key in fleet.keys.items():
        (tmp_path / "sources" / f"{name}-key").write_bytes(key.file.read_bytes())
    run(story())


def test_the_fix_of_a_commit_that_one_host_of_a_wave_refuses_is_taken(tmp_path: Path) -> None:
    async def story(fleet: Fleet) -> None:
        fleet.push("1")
        await fleet.pass_time(45)
        refused = fleet.push("2", **{"hosts/canary2/shop.yaml": "port: none\n"})
        await fleet.pass_time(30)
        one, other = fleet.members["canary1"], fleet.members["canary2"]
        assert (one.in_force == refused, other.in_force == refused) == (True, False)
        fix = fleet.push("3")
        await fleet.pass_time(30, without=("canary1",))
        await fleet.pass_time(45)
        assert {one.in_force, other.in_force} == {fix}

    for fleet in made(tmp_path, "canary1", "canary2", "web1"):
        del fleet.members["web1"]
        run(story(fleet))


def test_a_source_that_is_in_no_fleet_takes_each_commit_at_once(fleet: Fleet, tmp_path: Path) -> None:
    async def story() -> None:
        first = fleet.push("1")
        with a_host(tmp_path / "sources", fleet.repository, "web1") as host:
            host.origin = replace(host.origin, is_source=True, in_fleet=False)
            source = Member(host, fleet)
            await source.look()
            assert source.in_force == first
        assert not reports(fleet)

    (tmp_path / "sources").mkdir()
    run(story())


@pytest.mark.nightly
def test_a_commit_that_takes_the_waves_away_goes_through_the_old_ones(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        second = fleet.push("2", **{"fleet.yaml": fleet.yaml("[{name: all}]")})
        await fleet.pass_time(15)
        assert fleet.members["web1"].in_force == first
        await fleet.pass_time(60)
        assert fleet.members["web1"].in_force == second
        third = fleet.push("3", **{"fleet.yaml": fleet.yaml("[{name: all}]")})
        await fleet.pass_time(15)
        assert fleet.members["web1"].in_force == third

    run(story())


def test_a_host_without_memory_takes_no_commit_that_is_older_than_what_another_has(
    fleet: Fleet, tmp_path: Path
) -> None:
    async def story() -> None:
        first = fleet.push("1")
        second = fleet.push("2")
        await fleet.pass_time(75)
        assert fleet.members["web1"].in_force == second
        fleet.repository.git("push", "-q", "-f", "origin", f"{first}:main")
        with a_host(tmp_path / "rebuilt", fleet.repository, "web1") as host:
            rebuilt = Member(host, fleet)
            await rebuilt.look()
            assert rebuilt.in_force is None
            assert f"has commit {second[:7]} in force, which the head does not descend from" in rebuilt.message
            fleet.repository.git("push", "-q", "-f", "origin", f"{second}:main")
            await rebuilt.look()
            assert rebuilt.in_force == second

    (tmp_path / "rebuilt").mkdir()
    (tmp_path / "rebuilt" / "web1-key").write_bytes(fleet.keys["web1"].file.read_bytes())
    run(story())


@pytest.mark.nightly
def test_a_server_that_shows_hosts_two_histories_is_told(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        one = fleet.push("2")
        await fleet.pass_time(30, without=("web1",))
        fleet.repository.git("reset", "-q", "--hard", first)
        other = fleet.repository.commit({"apps/shop/wsgi.py": "application = 3\n"})
        fleet.repository.git("push", "-q", "-f", "origin", "HEAD:main")
        await fleet.pass_time(60, without=("canary1",))
        web = fleet.members["web1"]
        assert other != one
        assert web.in_force == first
        assert any(f"canary1 was shown commit {one[:7]}, which the head of this host" in t for t in web.told("failed"))

    run(story())


@pytest.mark.nightly
def test_a_server_that_stands_still_is_told(three: Fleet) -> None:
    async def story() -> None:
        three.push("1")
        await three.pass_time(75)
        await three.pass_time(420, without=("canary1", "web2"))
        text = "no other host of the fleet was heard of for 5m, though the server answers: it may show an old state"
        assert text in three.members["web1"].told("failed")

    run(story())


@pytest.mark.nightly
def test_a_report_that_cannot_be_pushed_delays_no_commit_and_is_told_once(fleet: Fleet) -> None:
    async def story() -> None:
        git, bare = fleet.repository.git, fleet.repository.bare
        first = fleet.push("1")
        git("config", "receive.maxInputSize", "1", at=bare)
        await fleet.pass_time(60)
        canary = fleet.members["canary1"]
        assert canary.in_force == first
        assert len([text for text in canary.told("failed") if text.startswith("cannot report to the fleet: ")]) == 1
        git("config", "--unset", "receive.maxInputSize", at=bare)
        await fleet.pass_time(120)
        assert reports(fleet)
        assert any(text.startswith("over: cannot report") for text in canary.told("recovered"))

    run(story())


@pytest.mark.nightly
def test_durations_go_on_where_they_were_when_a_daemon_is_started_again(fleet: Fleet) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        second = fleet.push("2")
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        await fleet.pass_time(30)
        well_s = canary.running.fleet._record.own.run(second).well_s  # type: ignore[union-attr]
        assert well_s > 0
        canary.running = None
        fleet.now_s += 600
        await fleet.pass_time(15)
        assert web.in_force == first, "while no daemon ran, nothing is known of the apps"
        assert canary.running.fleet._record.own.run(second).well_s >= well_s - 15  # type: ignore[attr-defined]
        await fleet.pass_time(60)
        assert web.in_force == second

    run(story())


@pytest.mark.nightly
@pytest.mark.parametrize("jump_s", [366 * 86400.0, -366 * 86400.0])
def test_a_clock_that_is_set_while_a_wave_is_watched_takes_nothing_early_and_stops_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """Test 13, of a fleet."""

    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        second = fleet.push("2")
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        await fleet.pass_time(15)
        for module in ("effects", "follower", "fleet_member"):
            monkeypatch.setattr(f"reconciler.manifests.git.{module}.now_s", lambda: now_s() + jump_s)
        await fleet.pass_time(15)
        assert (canary.in_force, web.in_force) == (second, first)
        await fleet.pass_time(45)
        assert web.in_force == second
        third = fleet.push("3")
        await fleet.pass_time(75)
        assert (canary.in_force, web.in_force) == (third, third)

    run(story())


@pytest.mark.nightly
def test_with_a_gate_of_time_no_host_reports_and_later_ones_wait_by_their_own_clock(fleet: Fleet) -> None:
    waves = "[{name: canary, hosts: {ring: canary}}, {name: rest, after: 5m}]"

    async def story() -> None:
        by_time = {"fleet.yaml": fleet.yaml(waves, "gate: time\n")}
        first = fleet.push("1", **by_time)
        await fleet.pass_time(15)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        assert (canary.in_force, web.in_force) == (first, None)
        web.running = None
        fleet.now_s += 120
        await fleet.pass_time(15)
        assert f"commit {first[:7]} is taken 5m after this host first saw it" in web.message
        fleet.push("2", **by_time)
        await fleet.pass_time(165)
        assert web.in_force == first
        assert reports(fleet) == []

    run(story())


@pytest.mark.parametrize("at", ["", "hosts/canary1"])
def test_a_fleet_file_that_is_wrong_refuses_its_commit_wherever_manifests_are(fleet: Fleet, at: str) -> None:
    async def story() -> None:
        canary = fleet.members["canary1"]
        canary.host.origin = replace(canary.host.origin, paths=(at,))
        first = fleet.push("1", **{"shop.yaml": "path: apps/shop\n"})
        await canary.look()
        assert canary.in_force == first
        assert "fleet" not in canary.host.catalog.apps
        fleet.push("2", **{"fleet.yaml": "kind: fleet\nhosts: {web1: {}}\nwaves: [{nmae: x}]\n"})
        await fleet.pass_time(90, without=("web1",))
        assert canary.in_force == first
        assert canary.host.facts["state"] == "refused"
        assert "fleet/fleet.yaml:3:10: waves[0].nmae: unknown field 'nmae'" in canary.message

    run(story())


@pytest.mark.nightly
def test_only_a_commit_of_a_signer_with_the_right_to_it_is_urgent(fleet: Fleet, tmp_path: Path) -> None:
    alice, bob = make_key(tmp_path / "alice"), make_key(tmp_path / "bob")
    signers = tmp_path / "signers"
    signers.write_text(f"alice@example.com {alice.public}\nbob@example.com {bob.public}\n")

    async def story() -> None:
        fleet.push("1")
        await fleet.pass_time(75)
        canary = fleet.members["canary1"]
        rights: dict[str, Any] = {"signed": "head", "signers": signers, "urgent": ("alice@*",)}
        canary.host.origin = replace(canary.host.origin, repository=replace(canary.host.origin.repository, **rights))
        canary.running = None
        urgent = "Change it\n\nReconciler-Urgent: it leaks"
        second = fleet.repository.push({"apps/shop/wsgi.py": "application = '2'\n"}, "2", key=bob)
        await fleet.pass_time(15)
        fleet.repository.push({"apps/shop/wsgi.py": "application = '3'\n"}, urgent, key=bob)
        await fleet.pass_time(15)
        assert canary.in_force == second
        assert f"commit {second[:7]} comes first" in canary.message
        last = fleet.repository.push({"apps/shop/wsgi.py": "application = '4'\n"}, urgent, key=alice)
        await fleet.pass_time(15)
        assert canary.in_force == last

    run(story())


def test_a_repository_without_a_fleet_gets_no_report_and_waits_for_nothing(fleet: Fleet) -> None:
    async def story() -> None:
        only = {"hosts/web1/shop.yaml": "path: ../../apps/shop\n", "apps/shop/wsgi.py": "application = 1\n"}
        commit = fleet.repository.push(only)
        await fleet.members["web1"].look()
        assert fleet.members["web1"].in_force == commit
        assert reports(fleet) == []
        assert fleet.members["web1"].running.fleet.rows(fleet.members["web1"].running.observed) == []  # type: ignore[union-attr]

    run(story())


@pytest.mark.nightly
def test_a_full_disk_takes_nothing_but_the_memory_of_durations(fleet: Fleet) -> None:
    async def story() -> None:
        canary = fleet.members["canary1"]
        (canary.host.state.origin("fleet") / "fleet.json" / "x").mkdir(parents=True)
        first = fleet.push("1")
        await fleet.pass_time(45)
        assert canary.in_force == first
        assert any(text.startswith("cannot write down for how long") for text in canary.told("failed"))

    run(story())


@pytest.mark.nightly
def test_a_commit_that_an_operator_takes_is_left_no_more(fleet: Fleet) -> None:
    async def story() -> None:
        good = fleet.push("1")
        await fleet.pass_time(75)
        canary = fleet.members["canary1"]
        canary.host.apps[good] = [OriginApp(name="shop", revision="1a0d", outcome="up-to-date")]
        bad = fleet.push("2")
        canary.host.apps[bad] = [BROKEN]
        await fleet.pass_time(30, without=("web1",))
        assert canary.in_force == good
        follower = await canary.follower()
        follower.request(lambda record: replace(record, taken=bad, verdict=None))
        await fleet.pass_time(15, without=("web1",))
        assert canary.in_force == bad
        assert follower.fleet._record.own.bad == ()

    run(story())


def test_a_host_whose_settings_and_fleet_disagree_about_its_reports_says_so(fleet: Fleet) -> None:
    async def story() -> None:
        fleet.push("1")
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        canary.host.origin = replace(
            canary.host.origin, repository=replace(canary.host.origin.repository, report_sign=None)
        )
        web.host.origin = replace(web.host.origin, host="web9")
        await fleet.pass_time(30)
        no_settings = "this host does not report: fleet.yaml has a key of 'canary1', and the settings no 'report.sign'"
        assert canary.told("failed") == [no_settings]
        assert canary.host.facts["fleet"] == [no_settings]
        assert reports(fleet) == []

    run(story())


@asynccontextmanager
async def fetches(member: Member, stops: Callable[[Sequence[str]], bool] = lambda _: False) -> AsyncIterator[list[int]]:
    """How many refspecs each fetch has that a host makes meanwhile; one of those that this `stops` takes too long."""
    follower, found = await member.follower(), list[int]()
    real = follower._git.fetch

    async def counted(store: Path, repository: Settings, url: str, refspecs: Sequence[str], *options: str) -> Any:
        found.append(len(refspecs))
        if stops(refspecs):
            raise TimeoutError
        return await real(store, repository, url, refspecs, *options)

    follower._git.fetch = counted  # type: ignore[method-assign]
    yield found
    follower._git.fetch = real  # type: ignore[method-assign]


def test_a_host_that_waits_fetches_the_branch_and_the_reports_at_once(fleet: Fleet) -> None:
    async def story() -> None:
        fleet.push("1")
        await fleet.pass_time(75)
        web = fleet.members["web1"]
        second = fleet.push("2")
        async with fetches(web) as found:
            await web.look()
            assert found == [1, 2], "that there is something to wait for is not known before"
            await web.look()
            assert found == [1, 2, 3]
        await fleet.pass_time(60)
        assert web.in_force == second
        async with fetches(web) as found:
            await web.look()
            assert found == [1]

    run(story())


def test_reports_that_cannot_be_fetched_keep_no_host_from_hearing_of_a_commit(fleet: Fleet) -> None:
    async def story() -> None:
        web, git = fleet.members["web1"], fleet.repository.git
        limited(web.host, largest_store=2 * 1024 * 1024)
        fleet.push("1")
        await fleet.pass_time(75)
        fleet.push("2")
        await web.look()
        huge = git("hash-object", "-w", "--stdin", given=random.Random(1).randbytes(3 * 1024 * 1024))
        git("push", "-q", "-f", "origin", f"{huge}:refs/reconciler/origins/fleet/canary1")
        third = fleet.push("3")
        async with fetches(web) as found:
            await web.look()
            assert found == [3, 1, 2]
        assert web.host.facts["head"] == third
        (told,) = [text for text in web.told("failed") if text.startswith("cannot read the reports of the other hosts")]
        assert "it is larger than 'size' of the repository" in told

    run(story())


def test_reports_that_take_too_long_delay_a_commit_by_one_look(fleet: Fleet) -> None:
    async def story() -> None:
        web = fleet.members["web1"]
        fleet.push("1")
        await fleet.pass_time(75)
        second = fleet.push("2")
        await web.look()
        third = fleet.push("3")
        async with fetches(web, lambda refspecs: len(refspecs) > 1) as found:
            await web.look()
            assert (found, web.host.facts["head"]) == ([3], second)
            await web.look()
            assert (found, web.host.facts["head"]) == ([3, 1, 2], third)

    run(story())


@pytest.mark.nightly
def test_a_host_among_five_hundred_asks_for_nothing_that_did_not_change(tmp_path: Path) -> None:
    """Test 48: what one look costs is what changed, however many hosts there are."""
    names = ["canary1", "web1"]
    for fleet in made(tmp_path, *names):
        asyncio.run(_among_many(fleet, 500))


async def _among_many(fleet: Fleet, number: int) -> None:
    web = fleet.members["web1"]
    others = {f"other{n}": make_key(fleet.repository.bare.with_name(f"other{n}-key")) for n in range(number)}
    fleet.keys |= others
    first = fleet.push("1")
    for name, each in others.items():
        run_of = Run(commit=first, state="well", well_s=600)
        forge(fleet, name, Report(host=name, n=1, in_force=first, runs=(run_of,)), each)
    fleet.keys = {name: each for name, each in fleet.keys.items() if name not in others}
    await fleet.pass_time(75)
    assert web.in_force == first
    runs: list[tuple[str, ...]] = []
    follower = await web.follower()
    real = follower._git.read

    async def counted(store: Path, *words: str, **options: Any) -> Any:
        runs.append(words)
        return await real(store, *words, **options)

    follower._git.read = counted  # type: ignore[method-assign]
    print(f"idle: {await _cost(web)}, {len(runs)} runs that read")
    assert len(runs) < 15
    fleet.push("2")
    print(f"a new head, all reports read: {await _cost(web)}")
    runs.clear()
    print(f"waiting: {await _cost(web)}, {len(runs)} runs that read")
    assert web.host.facts["state"] == "waiting"
    assert len(runs) < 15
    assert not [words for words in runs if "--batch" in words], "no report is read again that did not change"


async def _cost(member: Member) -> str:
    """Let a host look; the processor time that it took here, and that of git."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    await member.look()
    after = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    of_git_s = after[0].ru_utime + after[0].ru_stime - before[0].ru_utime - before[0].ru_stime
    return f"{1000 * (after[1] - before[1]):.0f} ms and {1000 * of_git_s:.0f} ms of git"


@pytest.mark.nightly
def test_a_host_with_a_trial_counts_neither_way_and_goes_on_by_the_rules_of_the_accepted_commit(three: Fleet) -> None:
    async def story() -> None:
        first = three.push("1")
        await three.pass_time(75)
        canary, web = three.members["canary1"], three.members["web1"]
        canary.host.origin = replace(canary.host.origin, trial="try/{host}".replace("{host}", "canary1"))
        canary.running = None
        tried = three.repository.commit({"apps/shop/wsgi.py": "application = 'tried'\n"})
        three.repository.git("push", "-q", "origin", "HEAD:try/canary1")
        three.repository.git("reset", "-q", "--hard", first)
        await three.pass_time(30)
        assert canary.in_force == tried
        own = canary.running.fleet._record.own  # type: ignore[attr-defined]
        assert (own.in_force, own.held) == (first, "paused")
        second = three.push("2")
        await three.pass_time(30)
        assert canary.in_force == second
        assert web.in_force == first
        await three.pass_time(60)
        assert web.in_force == second

    run(story())
