"""A commit whose apps fail is left again as a whole, for the last one with which all of them were up to date."""

from dataclasses import replace

from tests.contract.test_git_origins import Host, app, host, repository
from tests.support.repository import Repository

__all__ = ["host", "repository"]

BROKEN = {"shop 2f1e": "shop: revision 2f1e failed: it exited"}


def fails_with(host: Host, repository: Repository, failures: dict[str, str]) -> tuple[str, str]:
    """A host that had one good commit when another was pushed with which apps fail; both commits."""
    good = repository.push(app("shop"))
    host.follow()
    bad = repository.push({**app("shop", code="application = 2\n"), **app("blog")})
    host.failed[bad] = failures
    return good, bad


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
    host.failed[commit] = BROKEN
    assert (host.follow().state, host.in_force) == ("current", commit)


def test_an_app_that_failed_before_in_the_same_revision_is_no_reason_to_leave_a_commit(
    host: Host, repository: Repository
) -> None:
    good, bad = fails_with(host, repository, BROKEN)
    host.failed[good] = BROKEN
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
    _, bad = fails_with(host, repository, {})
    host.follow()
    fixed = repository.push(app("shop", code="application = 3\n"))
    host.failed[bad] = BROKEN
    assert (host.follow().state, host.in_force) == ("current", fixed)
