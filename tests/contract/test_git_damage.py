"""What was fetched cannot be read, and stays so: it is fetched anew, but not in a loop."""

import asyncio
from dataclasses import replace

import pytest

from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.objects import CannotFetch, DamagedStore, Head
from tests.contract.test_git_origins import Host, app, host, repository
from tests.support.repository import Repository

__all__ = ["host", "repository"]

NEVER_S = float("inf")


@pytest.mark.parametrize("is_away", [False, True])
def test_what_stays_damaged_is_fetched_anew_once_and_then_after_a_wait_that_a_request_or_another_commit_ends(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    first = repository.push(app("shop"))
    host.follow()
    repository.push(app("blog"))
    renewals, waits = list[str](), list[float]()

    async def renewed(*_: object) -> Head:
        renewals.append(repository.git("rev-parse", "HEAD"))
        if is_away:
            raise CannotFetch("name", "it is away")
        return Head(commit=renewals[-1])

    async def unread(*_: object, **__: object) -> None:
        raise DamagedStore("what was fetched cannot be read")

    async def pause(_: Follower, seconds: float) -> None:
        waits.append(seconds)

    async def story() -> None:
        follower = host.follower()
        follower._store.renew = renewed  # type: ignore[assignment]
        follower._judge.judged = unread  # type: ignore[assignment]
        await follower.begin()
        while not renewals:
            await follower.step()
        assert (len(renewals), waits) == (1, [])
        follower._renewal_at, follower._observed = NEVER_S, replace(follower.observed, due_at=NEVER_S)
        for _ in range(10):
            await follower.step()
        assert (len(renewals), len(waits)) == (1, 10), "each step waits"
        newest = await asyncio.to_thread(repository.push, app("wiki"))
        follower.look_now()
        while len(renewals) == 1:
            await follower.step()
        assert renewals[1] == newest
        assert len(waits) <= 11

    monkeypatch.setattr(Follower, "_pause", pause)
    asyncio.run(story())
    assert host.in_force == first
    told = [text for kind, text in host.events() if kind == "failed"]
    assert told.count("cannot read what was fetched: what was fetched cannot be read") == 1
