"""Work runs in a bounded number of threads, in order, and ends no differently for its caller than a call would."""

import itertools
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from functools import partial

import pytest

from reconciler.linux import daemon_threads
from reconciler.linux.daemon_threads import DaemonThreads

_WITHIN_S = 30.0


def held(threads: DaemonThreads, count: int) -> tuple[threading.Event, list[Future[str]]]:
    """Work that keeps so many threads busy until the event is set; it has begun."""
    release, begun = threading.Event(), threading.Semaphore(0)

    def work() -> str:
        begun.release()
        assert release.wait(_WITHIN_S)
        return threading.current_thread().name

    futures = [threads.run(work) for _ in range(count)]
    for _ in range(count):
        assert begun.acquire(timeout=_WITHIN_S)
    return release, futures


def test_the_result_or_the_error_of_work_is_that_of_its_future() -> None:
    threads = DaemonThreads("work", 1)
    assert threads.run(lambda: 6 * 7).result(_WITHIN_S) == 42
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda: 1 // 0).result(_WITHIN_S)
    with pytest.raises(SystemExit):
        threads.run(sys.exit).result(_WITHIN_S)
    assert threads.run(lambda: "still there").result(_WITHIN_S) == "still there"


def test_no_more_threads_are_started_than_allowed() -> None:
    threads = DaemonThreads("work", 2)
    release, busy = held(threads, 2)
    begun: list[int] = []
    waiting = [threads.run(partial(begun.append, number)) for number in range(10)]
    assert not any(future.running() or future.done() for future in waiting)
    release.set()
    assert {future.result(_WITHIN_S) for future in busy} == {"work-0", "work-1"}
    for future in waiting:
        future.result(_WITHIN_S)
    assert sorted(begun) == list(range(10))


def test_a_thread_with_nothing_to_do_ends_and_work_starts_another() -> None:
    threads = DaemonThreads("brief", 1, kept_s=0.01)
    first = threads.run(threading.current_thread).result(_WITHIN_S)
    first.join(_WITHIN_S)
    assert not first.is_alive()
    second = threads.run(threading.current_thread).result(_WITHIN_S)
    assert second is not first
    release, busy = held(threads, 1)
    waiting = threads.run(threading.current_thread)
    assert not waiting.done()  # still no more than one at a time
    release.set()
    assert waiting.result(_WITHIN_S).name == busy[0].result(_WITHIN_S)


def test_work_is_done_however_close_to_the_end_of_a_thread_it_comes() -> None:
    threads = DaemonThreads("hurried", 2, kept_s=0.0001)
    for number in range(2000):
        assert threads.run(partial(int, number)).result(_WITHIN_S) == number


def test_what_waits_for_the_only_thread_is_done_in_order() -> None:
    threads = DaemonThreads("work", 1)
    release, _ = held(threads, 1)
    done: list[int] = []
    waiting = [threads.run(partial(done.append, number)) for number in range(10)]
    release.set()
    for future in waiting:
        future.result(_WITHIN_S)
    assert done == list(range(10))


def test_work_that_is_cancelled_before_its_turn_never_runs() -> None:
    threads = DaemonThreads("work", 1)
    ran: list[str] = []
    release, _ = held(threads, 1)
    cancelled = threads.run(lambda: ran.append("cancelled"))
    after = threads.run(lambda: ran.append("after"))
    assert cancelled.cancel()
    release.set()
    after.result(_WITHIN_S)
    assert ran == ["after"]
    with pytest.raises(CancelledError):
        cancelled.result(_WITHIN_S)


def test_a_process_ends_without_waiting_for_work_that_hangs() -> None:
    code = (
        "import threading\n"
        "from reconciler.linux.daemon_threads import DaemonThreads\n"
        "begun = threading.Event()\n"
        "DaemonThreads('stuck', 1).run(lambda: (begun.set(), threading.Event().wait()))\n"
        "assert begun.wait(60)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=_WITHIN_S * 2, check=False).returncode == 0


def test_what_waits_behind_work_that_hangs_gets_threads_of_its_own_up_to_a_number() -> None:
    threads = DaemonThreads("work", 2, at_all=5, hangs_s=0.01)
    release, hung = held(threads, 5)  # the third to the fifth begin only because the first two hang
    beyond = threads.run(lambda: "beyond")
    assert not any(future.done() for future in (*hung, beyond))
    release.set()
    assert beyond.result(_WITHIN_S) == "beyond"
    assert len({future.result(_WITHIN_S) for future in hung}) == 5


def test_work_that_gets_a_processor_does_not_hang_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    monkeypatch.setattr(daemon_threads, "_processor_s", lambda _: float(next(looks)))
    threads = DaemonThreads("work", 2, at_all=5, hangs_s=0.001)
    release, busy = held(threads, 2)
    behind = threads.run(lambda: "behind")
    while next(looks) < 100:
        time.sleep(0.001)
    assert not behind.running()
    assert not behind.done()
    release.set()
    for future in (*busy, behind):
        future.result(_WITHIN_S)


def test_all_but_what_hangs_is_waited_for() -> None:
    threads = DaemonThreads("work", 1, at_all=3, hangs_s=0.01)
    release, hung = held(threads, 2)
    done: list[int] = []
    threads.run(partial(done.append, 1)).result(_WITHIN_S)
    threads.settle(_WITHIN_S)
    assert done == [1]
    assert not any(future.done() for future in hung)
    release.set()


def test_the_last_thread_stays_and_does_what_comes_where_there_can_be_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = DaemonThreads("work", 4, kept_s=0.01, least=1)
    first = threads.run(threading.current_thread).result(_WITHIN_S)
    first.join(0.1)
    assert first.is_alive()
    release, busy = held(threads, 1)

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    waiting = threads.run(threading.current_thread)
    release.set()
    assert waiting.result(_WITHIN_S) is first
    assert busy[0].result(_WITHIN_S) == first.name
    with pytest.raises(RuntimeError, match="can't start new thread"):
        DaemonThreads("work", 1).run(int)


def test_as_many_threads_stay_as_are_asked_for_when_all_have_nothing_to_do_at_once() -> None:
    threads = DaemonThreads("staying", 4, kept_s=0.01, least=1)
    for _ in range(20):
        release, busy = held(threads, 4)
        before = [thread for thread in threading.enumerate() if thread.name.startswith("staying-")]
        release.set()
        for future in busy:
            future.result(_WITHIN_S)
        for thread in before:
            thread.join(0.1)
        assert threads.run(threading.current_thread).result(_WITHIN_S) in before
