"""A trial branch is in force while it is on top of what is accepted, and never anything else of the origin."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.trees import Trees
from reconciler.planning.origins.proof import OriginApp
from tests.contract.test_git_origins import Host, app, host, leftovers, limited, repository
from tests.support.repository import Repository, signing
from tests.support.signing import make_key

__all__ = ["host", "repository"]

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
OLD = OriginApp(name="shop", revision="1a0d", outcome="up-to-date")
BROKEN = OriginApp(name="shop", revision="2f1e", outcome="failed", rejected="revision 2f1e failed: it exited")


@pytest.fixture
def base(host: Host, repository: Repository) -> str:
    """The commit in force on a host that tries the branch try/web1 as well, which does not exist yet."""
    host.origin = replace(host.origin, trial="try/web1")
    commit = repository.push(app("shop"))
    assert host.follow().state == "current"
    return commit


def tried(repository: Repository, code: str, *, base: str = "HEAD") -> str:
    """Push the one commit of the trial branch, on top of another commit, in place of what was there."""
    repository.git("checkout", "-q", "--detach", base)
    commit = repository.commit(app("shop", code=f"application = {code!r}\n"), f"Try {code}")
    repository.git("push", "-q", "--force", "origin", "HEAD:refs/heads/try/web1")
    repository.git("checkout", "-q", "main")
    return commit


def deleted(repository: Repository) -> None:
    repository.git("push", "-q", "origin", "--delete", "try/web1")


def test_a_trial_is_in_force_from_its_push_to_its_deletion_and_can_be_amended(
    host: Host, repository: Repository, base: str
) -> None:
    first = tried(repository, "a")
    planned = host.follow()
    assert (planned.state, host.in_force, host.facts["accepted"], host.facts["good"]) == ("trial", first, base, base)
    assert planned.message == (
        f"commit {first[:7]} is on trial on top of {base[:7]}, until its branch is deleted or passed"
    )
    assert host.facts["trial"] == {
        "branch": "try/web1", "commit": first, "ruling": "accepted", "message": "", "signed_by": "", "up_to_date": True,
    }  # fmt: skip
    amended = tried(repository, "b")
    assert (host.follow().state, host.in_force) == ("trial", amended)
    deleted(repository)
    assert (host.follow().state, host.in_force, host.facts["trial"]) == ("current", base, None)
    told = [text for _, text in host.events()]
    assert f"commit {first[:7]} “Try a” is in force on trial, on top of {base[:7]}" in told
    assert "try/web1 is gone" in told
    assert f"commit {base[:7]} “Change it” is in force" in told[: told.index("try/web1 is gone") + 2]


def test_a_trial_that_the_branch_takes_over_is_accepted_without_taking_effect_again(
    host: Host, repository: Repository, base: str
) -> None:
    commit = tried(repository, "a")
    host.follow()
    applied = len([kind for kind, _ in host.events() if kind == "applied"])
    repository.git("push", "-q", "origin", f"{commit}:main")
    assert (host.follow().state, host.in_force, host.facts["accepted"]) == ("current", commit, commit)
    assert len([kind for kind, _ in host.events() if kind == "applied"]) == applied
    assert Trees(host.state.origin("fleet")).base_of_trial() is None


def test_a_branch_that_moves_on_is_in_force_until_the_trial_is_on_top_of_it_again(
    host: Host, repository: Repository, base: str
) -> None:
    commit = tried(repository, "a")
    host.follow()
    newest = repository.push(app("blog"))
    planned = host.follow()
    assert (planned.state, host.in_force) == ("current", newest)
    assert planned.message == (
        f"the trial is not in force: commit {commit[:7]} is not on top of {newest[:7]}: rebase try/web1"
    )
    assert ("refused", planned.message) in host.events()
    rebased = tried(repository, "a", base="main")
    assert (host.follow().state, host.in_force) == ("trial", rebased)
    assert sorted(host.catalog.apps) == ["blog", "shop"]


def test_a_trial_that_is_behind_or_elsewhere_is_never_in_force(host: Host, repository: Repository, base: str) -> None:
    newest = repository.push(app("blog"))
    host.follow()
    repository.git("push", "-q", "origin", f"{base}:refs/heads/try/web1")
    assert (host.follow().state, host.in_force) == ("current", newest)
    repository.git("checkout", "-q", "--orphan", "other")
    repository.commit(app("evil"))
    repository.git("push", "-q", "--force", "origin", "HEAD:refs/heads/try/web1")
    assert (host.follow().state, host.in_force) == ("current", newest)
    assert host.facts["trial"]["ruling"] == "rewound"


def test_a_trial_whose_apps_fail_is_left_and_another_commit_of_it_is_tried(
    host: Host, repository: Repository, base: str
) -> None:
    host.apps[base] = [OLD]
    host.follow()
    bad = tried(repository, "bad")
    host.apps[bad] = [BROKEN]
    planned = host.follow()
    assert (planned.state, host.in_force, host.facts["good"]) == ("current", base, base)
    assert planned.message == (
        f"the trial is not in force: commit {bad[:7]} was left again, as its apps failed"
        " (shop: revision 2f1e failed: it exited): push another commit to try/web1"
    )
    assert (host.follow().state, host.in_force) == ("current", base), "the next daemon knows it"
    fixed = tried(repository, "fixed")
    host.apps[fixed] = [OLD]
    assert (host.follow().state, host.in_force, host.facts["good"]) == ("trial", fixed, base)


def test_a_trial_is_judged_as_every_commit_is(host: Host, repository: Repository, base: str) -> None:
    repository.git("checkout", "-q", "--detach")
    repository.commit(app("shop", "wrokers: 2\n"))
    repository.git("push", "-q", "origin", "HEAD:refs/heads/try/web1")
    planned = host.follow()
    assert (planned.state, host.in_force) == ("current", base)
    assert "the trial is not in force: fleet/hosts/web1/shop.yaml:2:1: wrokers: unknown field" in planned.message


def test_an_unsigned_trial_is_refused_where_commits_have_to_be_signed(
    host: Host, repository: Repository, base: str
) -> None:
    alice, signers = make_key(repository.work.parent / "alice"), repository.work.parent / "signers"
    signers.write_text(f"alice@example.com {alice.public}\n")
    repository.git(*signing(alice), "commit", "-q", "--amend", "--no-edit", "-S")
    repository.git("push", "-q", "--force", "origin", "HEAD:main")
    signed = repository.git("rev-parse", "HEAD")
    limited(host, signed="every", signers=signers)
    host.follow(lambda follower: follower.request(lambda record: replace(record, taken=signed, verdict=None)))
    assert host.in_force == signed
    commit = tried(repository, "a")
    assert f"commit {commit[:7]} is not signed" in host.follow().message
    assert host.in_force == signed
    bob = make_key(repository.work.parent / "bob")
    signers.write_text(f"{signers.read_text()}bob@example.com {bob.public}\n")
    repository.git("checkout", "-q", "--detach")
    repository.commit(app("shop", "workers: 2\n"), key=bob)
    repository.git("push", "-q", "--force", "origin", "HEAD:refs/heads/try/web1")
    assert host.follow().state == "trial"
    assert host.facts["signed_by"].startswith("bob@example.com")


def test_a_pause_holds_a_trial_back_and_in_force(host: Host, repository: Repository, base: str) -> None:
    from reconciler.planning.origins.observed import Pause

    def pause(follower: Follower) -> None:
        follower.request(lambda record: replace(record, pause=Pause(at=0, because="a freeze", by="root")))

    def resume(follower: Follower) -> None:
        follower.request(lambda record: replace(record, pause=None))

    commit = tried(repository, "a")
    assert (host.follow(pause).state, host.in_force) == ("paused", base)
    assert (host.follow(resume).state, host.in_force) == ("trial", commit)
    deleted(repository)
    assert (host.follow(pause).state, host.in_force) == ("paused", commit)
    assert (host.follow(resume).state, host.in_force) == ("current", base)


def test_what_is_accepted_is_known_during_a_trial_even_once_every_record_is_lost(
    host: Host, repository: Repository, base: str
) -> None:
    commit = tried(repository, "a")
    host.follow()
    (host.state.origin("fleet") / "record.json").unlink()
    assert (host.follow().state, host.in_force, host.facts["accepted"]) == ("trial", commit, base)
    deleted(repository)
    (host.state.origin("fleet") / "record.json").unlink()
    assert (host.follow().state, host.in_force) == ("current", base)


def test_a_trial_outlives_a_store_that_is_lost_and_a_repository_that_is_away(
    host: Host, repository: Repository, base: str
) -> None:
    commit = tried(repository, "a")
    host.follow()
    repository.bare.rename(repository.bare.with_name("away"))
    host.follow()
    assert host.in_force == commit
    repository.bare.with_name("away").rename(repository.bare)
    for path in sorted((host.state.git / "fleet.git").rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() else path.rmdir()
    assert (host.follow().state, host.in_force) == ("trial", commit)


class Killed(BaseException):
    """The end of a daemon."""


@dataclass(slots=True)
class Life:
    """Counts what a daemon does that lasts, and kills it before one of these effects, or right after it."""

    dies_at: int
    after: bool
    done: int = 0

    def bound(self, follower: Follower) -> None:
        remember, trees = follower._remember, follower._trees

        async def remembered(record: Any) -> None:
            if record != follower.record:
                self._before()
                await remember(record)
                self._then()

        vars(follower)["_remember"] = remembered
        for name in ("write", "_lead_to"):
            vars(trees)[name] = self._mortal(getattr(trees, name))

    def _mortal(self, effect: Callable[..., None]) -> Callable[..., None]:
        def mortal(*arguments: Any) -> None:
            self._before()
            effect(*arguments)
            self._then()

        return mortal

    def _before(self) -> None:
        self.done += 1
        if self.done == self.dies_at and not self.after:
            raise Killed

    def _then(self) -> None:
        if self.done == self.dies_at and self.after:
            raise Killed


def push(repository: Repository) -> str:
    return tried(repository, "b")


def delete(repository: Repository) -> str:
    deleted(repository)
    return repository.git("rev-parse", "main")


def pass_it(repository: Repository) -> str:
    return repository.push(app("blog"))


def take_over(repository: Repository) -> str:
    repository.git("push", "-q", "origin", "refs/remotes/origin/try/web1:refs/heads/main")
    return repository.git("rev-parse", "refs/remotes/origin/try/web1")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("change", [push, delete, pass_it, take_over] if NIGHTLY else [push, delete])
def test_a_daemon_killed_at_any_effect_of_a_trial_is_carried_on_by_the_next(
    host: Host, repository: Repository, base: str, change: Callable[[Repository], str], after: bool
) -> None:
    tried(repository, "a")
    host.follow()
    expected = change(repository)
    deaths = 0
    for number in range(1, 20) if NIGHTLY else (2, 4):
        life = Life(dies_at=number, after=after)
        try:
            host.follow(life.bound)
        except Killed:
            deaths += 1
        else:
            break
        assert (host.state.current("fleet") / "hosts/web1/shop.yaml").exists()
    assert deaths > 0
    planned = host.follow()
    assert planned.state == ("trial" if change is push else "current")
    assert host.in_force == expected
    assert host.facts["accepted"] == (base if change is not pass_it and change is not take_over else expected)
    assert leftovers(host) == []
