"""Reports of a fleet that are in another repository than the manifests, against two real ones."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.planning.fleet.reports import Report, Run
from reconciler.settings.git import Repository as Settings
from tests.contract.test_git_fleets import Fleet, forge, made, reports, run
from tests.support.repository import Repository
from tests.support.signing import make_key

REPORTS = [f"refs/reconciler/origins/fleet/{name}" for name in ("canary1", "web1")]


@pytest.fixture
def notes(tmp_path: Path) -> Repository:
    """The repository of the reports, which has no commit at all."""
    return Repository.at(tmp_path, "notes")


@pytest.fixture
def fleet(tmp_path: Path, notes: Repository) -> Iterator[Fleet]:
    """A fleet whose hosts may push to the repository of the reports alone."""
    with contextlib.contextmanager(made)(tmp_path, "canary1", "web1") as found:
        report_there(found, notes)
        yield found


def report_there(fleet: Fleet, notes: Repository) -> None:
    """Let every host report in another repository, and none push to that of the manifests any more."""
    to = Settings(name="notes", urls=(str(notes.bare),), signed="no", timeout_s=300)
    for member in fleet.members.values():
        origin = member.host.origin
        member.host.origin = replace(origin, repository=replace(origin.repository, report_to=to))
        member.running = None
    hook = fleet.repository.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase "$1" in refs/heads/*) exit 0 ;; esac\nexit 1\n')
    hook.chmod(0o755)


def reports_in(notes: Repository) -> list[str]:
    return notes.git("for-each-ref", "--format=%(refname)", at=notes.bare).split()


def test_waves_go_by_reports_in_another_repository_and_none_is_in_that_of_the_manifests(
    fleet: Fleet, notes: Repository
) -> None:
    async def story() -> None:
        first = fleet.push("1")
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        await fleet.pass_time(30)
        assert (canary.in_force, web.in_force) == (first, None)
        await fleet.pass_time(45)
        second = fleet.push("2")
        await fleet.pass_time(30)
        assert (canary.in_force, web.in_force) == (second, first)
        await fleet.pass_time(45)
        assert web.in_force == second
        assert not canary.told("failed")
        assert not web.told("failed")
        assert reports(fleet) == []
        assert reports_in(notes) == REPORTS

    run(story())


def test_a_commit_in_the_repository_of_reports_takes_effect_nowhere(fleet: Fleet, notes: Repository) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        notes.push({"hosts/web1/shop.yaml": "path: /etc\n", "fleet.yaml": "kind: fleet\nhosts: {}\nwaves: []\n"}, "2")
        await fleet.pass_time(75)
        assert {member.in_force for member in fleet.members.values()} == {first}
        assert {member.host.facts["head"] for member in fleet.members.values()} == {first}

    run(story())


def test_a_report_in_another_repository_that_its_host_did_not_sign_has_no_effect(
    fleet: Fleet, notes: Repository, tmp_path: Path
) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        second, web = fleet.push("2"), fleet.members["web1"]
        lie = Report(host="canary1", n=1000, in_force=second, runs=(Run(commit=second, state="well", well_s=9999),))
        there = replace(fleet, repository=notes)
        forge(there, "canary1", lie, make_key(tmp_path / "stranger"))
        await fleet.pass_time(15, without=("canary1",))
        assert web.in_force == first
        assert "the report of canary1 is signed by another key" in web.told("failed")
        # What the host of the same name says where no report counts any more changes nothing either.
        genuine = replace(fleet, repository=Repository(fleet.repository.bare, fleet.repository.work))
        (fleet.repository.bare / "hooks" / "update").unlink()
        forge(genuine, "canary1", lie, fleet.keys["canary1"])
        await fleet.pass_time(15, without=("canary1",))
        assert web.in_force == first

    run(story())


def test_while_the_repository_of_reports_is_gone_commits_wait_and_what_is_in_force_stays(
    fleet: Fleet, notes: Repository
) -> None:
    async def story() -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        gone = notes.bare.rename(notes.bare.with_suffix(".gone"))
        second = fleet.push("2")
        await fleet.pass_time(75)
        canary, web = fleet.members["canary1"], fleet.members["web1"]
        assert (canary.in_force, web.in_force) == (second, first)
        assert [text for text in canary.told("failed") if text.startswith("cannot report to the fleet: ")]
        assert [text for text in web.told("failed") if text.startswith("cannot read the reports of the other hosts: ")]
        assert "unreachable" not in {member.host.facts["state"] for member in fleet.members.values()}
        gone.rename(notes.bare)
        await fleet.pass_time(180)
        assert web.in_force == second

    run(story())


def test_a_fleet_that_moves_its_reports_goes_on_with_the_count_that_it_has(tmp_path: Path, notes: Repository) -> None:
    async def story(fleet: Fleet) -> None:
        first = fleet.push("1")
        await fleet.pass_time(75)
        assert reports(fleet) == REPORTS
        n = fleet.members["canary1"].running.fleet._record.own.n  # type: ignore[union-attr]
        report_there(fleet, notes)
        second = fleet.push("2")
        await fleet.pass_time(90)
        assert {member.in_force for member in fleet.members.values()} == {second}, first
        assert fleet.members["canary1"].running.fleet._record.own.n > n  # type: ignore[union-attr]
        assert reports_in(notes) == REPORTS

    with contextlib.contextmanager(made)(tmp_path, "canary1", "web1") as moving:
        run(story(moving))
