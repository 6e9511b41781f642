"""Of a directory that was asked for, the next change is told of once; of no other, nothing is."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from reconciler.linux.inotify_descriptor import MODIFY, Event, shared_inotify
from reconciler.linux.next_changes import NextChanges


def changes(*, content: bool = True) -> NextChanges[str]:
    return NextChanges(asyncio.get_running_loop().call_soon_threadsafe, content=content)


def on_a_loop(story: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await story

    asyncio.run(limited())


def test_what_is_written_is_told_of_once_until_it_is_asked_for_again(tmp_path: Path) -> None:
    async def story() -> None:
        watched, log = changes(), tmp_path / "app.log"
        log.touch()
        assert watched.ask("blog", str(tmp_path))
        assert watched.ask("blog", str(tmp_path))
        for _ in range(2):
            with log.open("a") as opened:
                opened.write("a line\n")
            await watched.happened.wait()
            assert watched.take() == {"blog"}
            assert watched.take() == frozenset()
            log.write_text("nobody asked\n")
            assert watched.ask("blog", str(tmp_path))

    on_a_loop(story())


def test_without_content_only_names_are_changes(tmp_path: Path) -> None:
    async def story() -> None:
        watched, file = changes(content=False), tmp_path / "code"
        file.touch()
        assert watched.ask("blog", str(tmp_path))
        file.write_text("written\n")
        other = changes()
        assert other.ask("all", str(tmp_path))
        file.write_text("written again\n")
        await other.happened.wait()
        assert not watched.happened.is_set()
        (tmp_path / "new").touch()
        await watched.happened.wait()
        assert watched.take() == {"blog"}

    on_a_loop(story())


def test_a_directory_that_is_removed_has_changed_and_a_missing_one_cannot_be_asked_for(tmp_path: Path) -> None:
    async def story() -> None:
        watched, directory = changes(), tmp_path / "logs"
        assert not watched.ask("blog", str(directory))
        directory.mkdir()
        assert watched.ask("blog", str(directory))
        directory.rmdir()
        await watched.happened.wait()
        assert watched.take() == {"blog"}

    on_a_loop(story())


def test_what_is_forgotten_is_told_of_no_more_and_what_is_told_by_hand_is(tmp_path: Path) -> None:
    async def story() -> None:
        watched, last = changes(), tmp_path / "last"
        last.mkdir()
        assert watched.ask("blog", str(tmp_path))
        assert watched.ask("last", str(last))
        watched.forget(["blog", "unknown"])
        (tmp_path / "file").touch()
        (last / "file").touch()
        await watched.happened.wait()
        assert watched.take() == {"last"}
        watched.tell("by hand")
        assert watched.happened.is_set()
        assert watched.take() == {"by hand"}

    on_a_loop(story())


def test_where_the_kernel_dropped_events_everything_has_changed(tmp_path: Path) -> None:
    async def story() -> None:
        watched = changes()
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            assert watched.ask(name, str(tmp_path / name))
        watched.on_queue_overflow()
        await watched.happened.wait()
        assert watched.take() == {"a", "b"}
        assert watched.ask("a", str(tmp_path / "a"))

    on_a_loop(story())


def test_an_event_after_the_end_of_the_loop_ends_no_thread(tmp_path: Path) -> None:
    async def story() -> NextChanges[str]:
        watched = changes()
        assert watched.ask("blog", str(tmp_path))
        return watched

    watched = asyncio.run(story())
    (wd,) = watched._keys
    watched.on_event(Event(wd, MODIFY, b"app.log"))
    assert watched._keys == {}
    assert wd not in shared_inotify()._listeners
