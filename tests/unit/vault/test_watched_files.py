"""Files that are followed: one whose disk does not answer holds up no other, and counts once it answers."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Watch
from reconciler.linux.loop_threads import LoopThreads
from reconciler.vault import watched_files
from reconciler.vault.watched_files import Files

_WITHIN_S = 30.0


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Once it is set, the disk of every file with a name of `hung-…` answers."""
    event, stamp = threading.Event(), watched_files._stamp

    def slow(path: str) -> tuple[int, int, int, int, int] | None:
        if "/hung-" in path:
            assert event.wait(_WITHIN_S)
        return stamp(path)

    monkeypatch.setattr(watched_files, "_stamp", slow)
    monkeypatch.setattr(watched_files, "_HANGS_S", 0.05)
    yield event
    event.set()


def test_files_that_hang_hold_up_no_other_and_are_suspected_once_they_answer(
    tmp_path: Path, answers: threading.Event
) -> None:
    names = ("hung-1", "hung-2", "other", "zulu")
    for name in names:
        (tmp_path / name).write_text("A=1\n")
    uses = {name: (str(tmp_path / name), "app blog") for name in names}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(LoopThreads())
        suspected: asyncio.Queue[str] = asyncio.Queue()
        watch = Watch(loop.call_soon_threadsafe)
        files = Files(FollowedPaths(watch), lambda path: suspected.put_nowait(Path(path).name), quiet_s=0.01)

        async def next_ones(count: int) -> set[str]:
            return {await suspected.get() for _ in range(count)}

        async with asyncio.timeout(_WITHIN_S):
            await files.follow(frozenset(uses.values()))
            assert await next_ones(2) == {"other", "zulu"}
            (tmp_path / "other").write_text("A=2\n")
            assert await next_ones(1) == {"other"}
            await files.follow(frozenset(uses.values()) | {(uses["hung-1"][0], "app shop")})  # which hangs no more
            answers.set()
            assert await next_ones(2) == {"hung-1", "hung-2"}
            (tmp_path / "hung-2").write_text("A=2\n")
            while await suspected.get() != "hung-2":
                pass
        files.close()

    asyncio.run(main())
