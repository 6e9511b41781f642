"""What is in force stays so: while a removal is not meant, whatever takes a directory's place, on a read-only disk."""

import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.chaos.mounts import needs_mounts, small_disk
from tests.contract.test_git_origins import APP, Host, app, host, repository
from tests.support.repository import Repository

__all__ = ["host", "repository"]

NAMES = [f"app{number}" for number in range(5)]
CANARY = "canary-5b0e"


def held(host: Host, repository: Repository) -> tuple[str, str]:
    """The commit in force, and one that removes three of its five apps."""
    before = repository.push({path: content for name in NAMES for path, content in app(name).items()})
    host.follow()
    removing = repository.push({path: None for name in NAMES[:3] for path in app(name)})
    assert (host.follow().state, host.in_force) == ("held", before)
    return before, removing


def test_a_removal_that_is_held_takes_effect_once_an_operator_takes_its_commit(
    host: Host, repository: Repository
) -> None:
    _, removing = held(host, repository)
    host.follow(lambda follower: follower.request(lambda record: replace(record, taken=removing, verdict=None)))
    assert host.in_force == removing
    assert set(host.catalog.apps) == set(NAMES[3:])


def test_a_removal_that_is_held_ends_with_a_commit_that_reverts_it(host: Host, repository: Repository) -> None:
    _, removing = held(host, repository)
    repository.git("revert", "--no-edit", removing)
    repository.git("push", "-q", "origin", "HEAD:main")
    assert host.follow().state == "current"
    assert set(host.catalog.apps) == set(NAMES)


@pytest.mark.parametrize("place", ["hosts/web1", "hosts", "apps/shop", "apps"])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_link_in_the_place_of_a_directory_is_never_followed(
    host: Host, repository: Repository, tmp_path: Path, place: str, is_absolute: bool
) -> None:
    outside = tmp_path / "outside"
    for path, content in {"web1/shop.yaml": "path: .\n", "shop/wsgi.py": "", "shop.yaml": "", "wsgi.py": ""}.items():
        (outside / path).parent.mkdir(parents=True, exist_ok=True)
        (outside / path).write_text(content or f"{CANARY} = 1\n")
    before = repository.push(APP)
    host.follow()
    repository.git("rm", "-q", "-r", place)
    link = repository.work / place
    link.parent.mkdir(parents=True, exist_ok=True)
    target = outside if is_absolute else Path("../" * 30) / outside.relative_to("/")
    link.symlink_to(target)
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "Lead elsewhere")
    repository.git("push", "-q", "origin", "HEAD:main")
    planned = host.follow()
    if place == "apps":  # what no manifest names is no part of the commit here, and what one names below it is missing
        assert planned.state == "current"
        assert not host.state.current("fleet").joinpath(place).is_symlink()
    else:
        assert (planned.state, host.in_force) == ("refused", before)
        assert place in planned.message
    assert set(host.catalog.apps) == {"shop"}
    files = [path for path in host.state.state.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


@needs_mounts
def test_on_a_disk_that_is_read_only_what_is_in_force_stays_and_is_current_once_it_is_not(
    host: Host, repository: Repository, tmp_path: Path
) -> None:
    repository.push(APP)
    with small_disk(tmp_path / "disk") as disk, closing(open_database(tmp_path / "journal.db")) as database:
        here = replace(host, state=StatePaths(state=disk), journal=Journal(database))
        here.follow()
        before = here.in_force
        newest = repository.push(app("blog"))
        remount(disk, "ro")
        for _ in range(2):
            planned = here.follow()
            assert here.failure is not None, planned
            assert "Read-only file system" in here.failure.why
            assert (disk / "origins/fleet/current/hosts/web1/shop.yaml").read_text() == APP["hosts/web1/shop.yaml"]
            assert here.in_force == before
        remount(disk, "rw")
        assert here.follow().state == "current"
        assert here.in_force == newest


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)
