"""A commit whose apps fail is left again as a whole, for the last one with which all of them were up to date."""

import json
from dataclasses import replace

import pytest

from reconciler.linux.files import remove
from reconciler.manifests.git.trees import Trees
from reconciler.planning.origins.proof import OriginApp
from tests.contract.test_git_origins import Host, app, host, repository
from tests.contract.test_git_tags import alice, follows_tags, tag
from tests.support.repository import Repository
from tests.support.signing import Key

__all__ = ["alice", "follows_tags", "host", "repository"]

OLD = OriginApp(name="shop", revision="1a0d", outcome="up-to-date")
STARTING = OriginApp(name="shop", revision="2f1e", outcome="under-way")
BROKEN = replace(STARTING, outcome="failed", rejected="revision 2f1e failed: it exited")


def fails_with(host: Host, repository: Repository, *apps: OriginApp) -> tuple[str, str]:
    """A host that had one good commit when another was pushed, and how its apps are with that; both commits."""
    good = repository.push(app("shop"))
    host.apps[good] = [OLD]
    host.follow()
    bad = repository.push({**app("shop", code="application = 2\n"), **app("blog")})
    host.apps[bad] = apps
    return good, bad


def pushed(host: Host, repository: Repository, code: str, *apps: OriginApp) -> str:
    """Another commit, how the apps are with it, and a host that followed it."""
    commit = repository.push(app("shop", code=f"application = {code!r}\n"))
    host.apps[commit] = apps
    host.follow()
    return commit


def test_a_commit_whose_app_fails_is_left_as_a_whole_and_its_fix_is_taken(host: Host, repository: Repository) -> None:
    good, bad = fails_with(host, repository, BROKEN)
    planned = host.follow()
    assert (planned.state, host.in_force, host.facts["head"]) == ("returned", good, bad)
    assert planned.message == (
        f"commit {bad[:7]} was left again, as its apps failed (shop: revision 2f1e failed: it exited): push a"
        f" descendant, or confirm it with 'reconciler git take'; commit {good[:7]} stays in force"
    )
    assert set(host.catalog.apps) == {"shop"}
    assert ("applied", f"commit {good[:7]} “Change it” is in force") in host.events()[4:]
    assert ("failed", f"returned: {planned.message}") in host.events()
    assert (host.follow().state, host.in_force) == ("returned", good), "the next daemon knows it"
    fixed = repository.push(app("shop", code="application = 3\n"))
    assert (host.follow().state, host.in_force) == ("current", fixed)
    assert set(host.catalog.apps) == {"blog", "shop"}


def test_the_first_commit_of_a_host_has_none_to_return_to(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.apps[commit] = [BROKEN]
    assert (host.follow().state, host.in_force) == ("current", commit)


def test_an_app_that_failed_before_in_the_same_revision_is_no_reason_to_leave_a_commit(
    host: Host, repository: Repository
) -> None:
    good, bad = fails_with(host, repository, BROKEN)
    host.apps[good] = [BROKEN]
    assert (host.follow().state, host.in_force) == ("current", bad)


def test_a_commit_that_an_operator_takes_stays_although_its_apps_fail(host: Host, repository: Repository) -> None:
    _, bad = fails_with(host, repository, BROKEN)
    assert host.follow().state == "returned"
    taken = host.follow(lambda follower: follower.request(lambda record: replace(record, taken=bad, verdict=None)))
    assert (taken.state, host.in_force) == ("current", bad)


def test_a_commit_stays_where_the_settings_say_so(host: Host, repository: Repository) -> None:
    host.origin = replace(host.origin, returns=False)
    _, bad = fails_with(host, repository, BROKEN)
    assert (host.follow().state, host.in_force) == ("current", bad)


def test_what_was_pushed_meanwhile_is_put_in_force_rather_than_what_was_before(
    host: Host, repository: Repository
) -> None:
    _, bad = fails_with(host, repository, STARTING)
    host.follow()
    fixed = repository.push(app("shop", code="application = 3\n"))
    host.apps[bad] = [BROKEN]
    assert (host.follow().state, host.in_force) == ("current", fixed)


def test_nothing_is_left_by_the_record_of_an_earlier_version_that_says_of_no_app_what_it_wanted(
    host: Host, repository: Repository
) -> None:
    _, bad = fails_with(host, repository, STARTING)
    host.follow()
    record = host.state.origin("fleet") / "record.json"
    kept = {
        name: value
        for name, value in json.loads(record.read_text()).items()
        if not name.startswith(("good_", "wanted"))
    }
    record.write_text(json.dumps(kept))
    host.apps[bad] = [BROKEN]
    assert (host.follow().state, host.in_force) == ("current", bad)


class Killed(BaseException):
    """The end of a daemon."""


class KilledOnceInForce(Trees):
    """Trees of a daemon that is killed as soon as another commit is in force, before it writes anything down."""

    def take_effect(self, commit: str, on: str | None = None) -> None:
        super().take_effect(commit)
        raise Killed


def test_a_daemon_that_is_killed_once_a_commit_is_in_force_leaves_what_this_brought_and_no_more(
    host: Host, repository: Repository
) -> None:
    good, bad = fails_with(host, repository, STARTING)
    standing = OriginApp(name="blog", revision="b1", outcome="failed", rejected="it never worked")
    host.apps[good] = [OLD, standing]
    with pytest.raises(Killed):
        host.follow(lambda follower: setattr(follower, "_trees", KilledOnceInForce(follower._directory)))
    host.apps[bad] = [STARTING, standing]
    assert (host.follow().state, host.in_force) == ("current", bad)
    host.apps[bad] = [BROKEN, standing]
    assert (host.follow().state, host.in_force) == ("returned", good)


@pytest.mark.parametrize("before", [None, [replace(OLD, revision=None, outcome="under-way")]])
def test_no_commit_is_left_where_it_was_not_known_what_apps_wanted_before(
    host: Host, repository: Repository, before: list[OriginApp] | None
) -> None:
    good, bad = fails_with(host, repository, BROKEN)
    host.apps[good] = before
    assert (host.follow().state, host.in_force) == ("current", bad)


def test_a_revision_that_a_commit_left_alone_is_no_reason_to_leave_it_though_it_fails_only_now(
    host: Host, repository: Repository
) -> None:
    good, bad = fails_with(host, repository, BROKEN)
    host.apps[good] = [STARTING]
    assert (host.follow().state, host.in_force) == ("current", bad)


def test_a_commit_that_follows_before_the_first_one_failed_is_left_for_the_good_one_before_both(
    host: Host, repository: Repository
) -> None:
    good, _ = fails_with(host, repository, STARTING)
    host.follow()
    pushed(host, repository, "more", BROKEN)
    assert host.in_force == good


@pytest.mark.parametrize("outcome", ["held", "failed"])
def test_an_app_that_is_stopped_or_failed_before_keeps_no_later_commit_from_being_good(
    host: Host, repository: Repository, outcome: str
) -> None:
    first, _ = fails_with(host, repository)
    standing = OriginApp(name="blog", revision="b1", outcome=outcome)  # type: ignore[arg-type]
    host.apps[first] = [OLD, standing]
    second = pushed(host, repository, "second", replace(OLD, revision="3c3c"), standing)
    assert host.facts["good"] == second
    pushed(host, repository, "third", BROKEN, standing)
    assert host.in_force == second


def test_the_good_commit_is_kept_however_many_follow_it(host: Host, repository: Repository) -> None:
    good, _ = fails_with(host, repository, STARTING)
    host.follow()
    for each in range(5):
        pushed(host, repository, str(each), STARTING)
    assert host.facts["good"] == good
    pushed(host, repository, "bad", BROKEN)
    assert host.in_force == good


def test_a_commit_that_is_returned_to_is_accepted_by_its_tag_as_before(
    host: Host, repository: Repository, alice: Key
) -> None:
    good = repository.push(app("shop"))
    tag(repository, "v1", key=alice)
    host.follow()
    signer = host.facts["signed_by"]
    bad = repository.push(app("blog"))
    tag(repository, "v2", key=alice)
    host.apps[bad] = [BROKEN]
    assert (host.follow().state, host.in_force, host.facts["signed_by"]) == ("returned", good, signer)
    remove(host.state.origin("fleet") / "trees" / good)
    assert (host.follow().state, host.in_force) == ("returned", good), "its files are judged by its tag, and written"
    repository.git("push", "-q", "origin", "--delete", "refs/tags/v2")
    moved = repository.push(app("more"))
    tag(repository, "v1", key=alice, force=True)
    assert f"tag v1 was moved from commit {good[:7]} to {moved[:7]}" in host.follow().message
    assert host.in_force == good
