"""Sources as they are tracked: what counts as a change, when it takes effect, and what is told of it."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.planning.apps.revision import Source
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.staging.errors import SourceError
from reconciler.staging.source import last_seen
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.staging.source.pace import Pace
from reconciler.staging.source.snapshot import DigestCache
from reconciler.state.journal import Journal
from reconciler.state.records import Records


class Kept:
    """Records of sources, and a journal, in memory."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Reason]] = []

    def sources(self) -> dict[str, tuple[Source, str]]:
        return {}

    def set_source(self, name: str, source: Source, content: str) -> None:
        """Nothing outlives the test."""

    def write(self, subject: Subject, kind: str, text: str, *, reason: Reason) -> None:
        self.events.append((text, reason))


def tracked(story: Callable[[SourceTracker, Kept], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        kept = Kept()
        async with asyncio.TaskGroup() as group:
            tasks = StandingTasks(group, backoff=Backoff(), noise=random.Random(1))
            tracker = SourceTracker(cast("Records", kept), cast("Journal", kept), WakeQueue(), tasks)
            await story(tracker, kept)
            tracker.forget("shop")

    asyncio.run(main())


@pytest.fixture
def shop(tmp_path: Path) -> Source:
    (tmp_path / "wsgi.py").write_text("one\n")
    (tmp_path / "debug.log").write_text("line\n")
    return Source(path=str(tmp_path))


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("line\n")


def test_an_edit_takes_effect_at_once_however_often(shop: Source) -> None:
    async def story(tracker: SourceTracker, kept: Kept) -> None:
        await tracker.read("shop", shop)
        for number in range(4):
            Path(shop.path, "wsgi.py").write_text(f"edit {number}\n")
            assert await tracker.refresh("shop")
            append(Path(shop.path, "wsgi.py"))  # a function more at the end
            assert await tracker.refresh("shop")
        assert (state := tracker.last("shop")) is not None
        assert state.busy is None

    tracked(story)


def test_a_file_that_only_grows_is_held_back_and_named(shop: Source) -> None:
    async def story(tracker: SourceTracker, kept: Kept) -> None:
        await tracker.read("shop", shop)
        append(Path(shop.path, "debug.log"))
        assert await tracker.refresh("shop")
        taken = tracker.last("shop")
        append(Path(shop.path, "debug.log"))
        await tracker.refresh("shop")
        held = tracker.last("shop")
        assert taken is not None
        assert held is not None
        assert (held.content, taken.busy) == (taken.content, None)
        assert held.busy is not None
        assert held.busy.startswith("debug.log in its source is written again and again")
        # An edit beside it takes everything with it.
        Path(shop.path, "wsgi.py").write_text("edited\n")
        await tracker.refresh("shop")
        edited = tracker.last("shop")
        assert edited is not None
        assert edited.content != held.content
        assert edited.busy is None

    tracked(story)


def test_an_action_that_reads_a_source_holds_nothing_back(shop: Source) -> None:
    async def story(tracker: SourceTracker, kept: Kept) -> None:
        await tracker.read("shop", shop)
        for _ in range(3):
            append(Path(shop.path, "debug.log"))
            assert await tracker.read("shop", shop)

    tracked(story)


def test_a_source_that_cannot_be_read_is_told_as_that_and_once(shop: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(tracker: SourceTracker, kept: Kept) -> None:
        await tracker.read("shop", shop)
        outside = Path(shop.path, "out")
        outside.symlink_to("/etc")
        for _ in range(2):
            await tracker.refresh("shop")
        ((text, reason),) = kept.events
        assert reason == Reason.SOURCE_UNREADABLE
        assert "out is a link to /etc, outside the source" in text
        outside.unlink()
        assert await tracker.refresh("shop")
        assert (state := tracker.last("shop")) is not None
        assert state.problem is None

    monkeypatch.setattr(last_seen, "_QUIET_S", 0.0)
    tracked(story)


def test_a_change_wakes_no_app_whose_source_fails_as_before_and_wakes_it_once_it_is_mended(
    shop: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(tracker: SourceTracker, kept: Kept) -> None:
        outside = Path(shop.path, "out")
        outside.symlink_to("/etc")
        with pytest.raises(SourceError):
            await tracker.read("shop", shop)
        for _ in range(3):
            append(Path(shop.path, "debug.log"))
            tracker._refreshing["shop"] = False
            await tracker._refresh("shop")
        assert tracker.generation("shop") == 0
        outside.unlink()
        tracker._refreshing["shop"] = False
        await tracker._refresh("shop")
        assert tracker.generation("shop") > 0

    monkeypatch.setattr(last_seen, "_PAUSE_S", 0.0)
    tracked(story)


def test_a_pace_grows_while_the_same_files_are_written_and_ends_with_a_rest() -> None:
    pace = Pace().seen(("log",), 0.0).taken(0.0)
    assert (pace.due_at, pace.is_slowed) == (3.0, False)
    pace = pace.seen(("log",), 1.0)
    assert (pace.due_at, pace.is_slowed) == (3.0, True)
    pace = pace.taken(3.0).seen(("log",), 4.0)
    assert pace.due_at == 12.0
    pace = pace.taken(12.0).seen(("log",), 13.0)
    assert pace.due_at == 39.0
    assert pace.seen((), 14.0) == Pace()
    assert pace.seen(("other",), 14.0).due_at == float("-inf")
    assert pace.seen(("log",), pace.rests_at).due_at == float("-inf")


def test_a_pace_is_never_longer_than_ten_minutes() -> None:
    now, pace = 0.0, Pace()
    for _ in range(30):
        pace = pace.seen(("log",), now).taken(now)
        now += 1.0
    assert pace.due_at == now - 1.0 + 600.0


def test_a_source_that_is_complete_is_read_without_a_rest_and_another_after_the_longest_of_those_asked_for(
    shop: Source,
) -> None:
    async def story(tracker: SourceTracker, _: Kept) -> None:
        append(Path(shop.path) / "wsgi.py")
        digests = DigestCache()
        complete = asyncio.ensure_future(last_seen._stable_fingerprint(shop.path, digests, 0.0))
        incomplete = asyncio.ensure_future(last_seen._stable_fingerprint(shop.path, digests, 3600.0))
        assert await complete
        assert not incomplete.done()
        incomplete.cancel()
        for quiet_s in (0.0, 0.2, 0.1):
            tracker.suspect("shop", quiet_s)
        assert tracker._quiet_s == {"shop": 0.2}

    tracked(story)
