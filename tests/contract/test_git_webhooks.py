"""The webhook of an origin in git: it has the repository looked at, however late a replica is and however many come."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from reconciler.daemon.git_origins import spare_looks
from reconciler.manifests.git.follower import Follower
from reconciler.planning.origins.observed import FetchFailure
from reconciler.planning.origins.webhook import QUICK_S, SLOW_S, Webhook, looks_after_call
from tests.contract.test_git_origins import Host, app, host, limited, repository
from tests.support.eventually import soon
from tests.support.repository import Repository

__all__ = ["host", "repository"]

NEVER_S = 3600.0


def followed(host: Host, story: Callable[[Follower], Awaitable[None]]) -> None:
    """Run a story while an origin is followed that has a webhook, and is looked at by itself at first only."""
    limited(host, every_s=NEVER_S, webhook=Path("/hook"))

    async def run() -> None:
        follower = host.follower()
        following = asyncio.create_task(follower.run())
        try:
            await soon(lambda: follower.is_at_rest)
            await story(follower)
        finally:
            following.cancel()
            await asyncio.wait((following,))

    asyncio.run(run())


def test_a_call_has_the_repository_looked_at_and_is_told(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))

    async def story(follower: Follower) -> None:
        assert host.facts["webhook"] == {"called_at": None, "missed": 0, "doubt": ""}
        newest = await asyncio.to_thread(repository.push, app("blog"))
        follower.hook()
        await soon(lambda: host.in_force == newest)
        assert host.facts["webhook"]["called_at"] > 0

    followed(host, story)
    called_at = host.facts["webhook"]["called_at"]
    host.follow()
    assert host.facts["webhook"]["called_at"] == called_at, "the next daemon knows it, too"


def test_a_commit_that_a_replica_shows_some_seconds_after_the_call_is_found(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))

    async def story(follower: Follower) -> None:
        before = follower.looks
        follower.hook()
        await soon(lambda: follower.looks >= before + 3)
        newest = await asyncio.to_thread(repository.push, app("blog"))
        await soon(lambda: host.in_force == newest)
        assert follower.looks < before + len(QUICK_S)

    followed(host, story)


def test_a_call_while_a_look_runs_has_another_one_follow(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))

    async def story(follower: Follower) -> None:
        second = await asyncio.to_thread(repository.push, app("blog"))
        follower.hook()
        await soon(lambda: follower._is_fetching)
        follower.hook()
        await soon(lambda: host.in_force == second)
        third = await asyncio.to_thread(repository.push, app("wiki"))
        await soon(lambda: host.in_force == third)

    followed(host, story)


def test_calls_without_end_lead_to_one_look_at_a_time_and_keep_no_commit_from_being_in_force(
    host: Host, repository: Repository
) -> None:
    repository.push(app("shop"))

    async def story(follower: Follower) -> None:
        newest = await asyncio.to_thread(repository.push, app("blog"))
        calls, looks = 0, follower.looks
        while host.in_force != newest:
            follower.hook()
            calls += 1
            await asyncio.sleep(0.001)
        assert follower.looks - looks <= 2 + calls / 10
        assert len(follower._looks_due) <= len(QUICK_S)

    followed(host, story)


def test_a_server_that_had_too_many_requests_is_left_alone_until_its_time(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))

    async def story(follower: Follower) -> None:
        failure = FetchFailure(code="rate-limited", why="too many requests")
        follower._observed = replace(follower.observed, failure=failure)
        looks, due_at = follower.looks, follower.observed.due_at
        follower.hook()
        await soon(lambda: host.facts["webhook"]["called_at"] is not None)
        assert (follower.looks, follower.observed.due_at) == (looks, due_at)

    followed(host, story)


def test_one_call_for_all_of_a_repository_leads_to_few_looks_at_what_was_not_pushed(host: Host) -> None:
    pushed, other, elsewhere = host.follower(), host.follower(), host.follower()
    other.origin = replace(host.origin, name="other")
    elsewhere.origin = replace(other.origin, repository=replace(other.origin.repository, name="elsewhere"))
    followers = (pushed, other, elsewhere)
    for each in followers:
        each.hook()
    facts = {"name": host.origin.name, "repository": host.origin.repository.name, "head": "a" * 40}
    spare_looks(followers, facts, facts)
    assert [len(each._looks_due) for each in followers] == [len(QUICK_S)] * 3
    spare_looks(followers, facts, {**facts, "head": "b" * 40})
    assert [len(each._looks_due) for each in followers] == [len(QUICK_S), len(SLOW_S), len(QUICK_S)]
    other.hook()
    assert len(other._looks_due) == len(SLOW_S), "quick looks are for one call a minute"


def test_a_call_has_no_look_at_one_commit_that_is_there(host: Host, repository: Repository) -> None:
    commit = repository.push(app("shop"))
    host.origin = replace(host.origin, branch="", commit=commit)

    async def story(follower: Follower) -> None:
        looks, due_at = follower.looks, follower.observed.due_at
        follower.hook()
        await soon(lambda: host.facts["webhook"]["called_at"] is not None)
        assert (follower.looks, follower.observed.due_at) == (looks, due_at)

    followed(host, story)
    assert host.in_force == commit


def test_commits_that_only_looking_found_raise_a_doubt_that_the_next_call_ends(
    host: Host, repository: Repository
) -> None:
    repository.push(app("shop"))

    async def story(follower: Follower) -> None:
        for number, name in enumerate(("a", "b", "c"), 1):
            assert host.facts["webhook"]["doubt"] == ""
            await asyncio.to_thread(repository.push, app(name))
            follower._observed = replace(follower.observed, due_at=0.0)  # as `every` is over
            follower.wake()
            await soon(lambda missed=number: host.facts["webhook"]["missed"] == missed)  # type: ignore[misc]
        doubt = "the last 3 commits were found by looking, not by the webhook: is it still set?"
        assert host.facts["webhook"]["doubt"] == doubt
        await asyncio.to_thread(repository.push, app("d"))
        follower.look_now()
        await soon(lambda: len(host.catalog.apps) == 5)
        assert host.facts["webhook"]["missed"] == 3, "an operator asked for that look"
        follower.hook()
        await soon(lambda: host.facts["webhook"]["missed"] == 0)

    followed(host, story)


def test_an_origin_without_a_webhook_has_none_to_doubt(host: Host, repository: Repository) -> None:
    repository.push(app("shop"))
    host.follow()
    for name in "abcd":
        repository.push(app(name))
        host.follow()
    assert host.facts["webhook"] is None


def test_quick_looks_are_for_one_call_a_minute() -> None:
    assert looks_after_call(None) == looks_after_call(60.0) == QUICK_S
    assert [each for each in QUICK_S if each <= 0.5] == [0.5] * 20, "ten seconds of a replica that is behind"
    assert looks_after_call(59.0) == (0.5, 2.0, 5.0, 15.0)
    assert Webhook(missed=2).doubt == ""
    assert Webhook(missed=9).called(1.0) == Webhook(called_at=1.0)
