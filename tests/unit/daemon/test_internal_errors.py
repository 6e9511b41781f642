"""What an operator learns of an error that nothing expected: once, with the place, and what happens next."""

import asyncio
import contextlib
from pathlib import Path

from reconciler.daemon.internal_errors import InternalErrors
from reconciler.state.journal import Event, Journal
from reconciler.state.schema import open_database


def told(file: Path, *errors: BaseException) -> list[Event]:
    """The events about errors that a task met one after another."""

    async def story() -> list[Event]:
        events: list[Event] = []
        with contextlib.closing(open_database(file)) as database:
            journal = Journal(database)
            journal.followers.append(events.append)
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(InternalErrors(journal))
            for error in errors:
                loop.call_exception_handler({"message": "cannot rotate logs", "exception": error, "retried_in_s": 2.3})
        return events

    return asyncio.run(story())


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001  with its traceback
        return caught


def test_an_internal_error_is_an_event_with_its_place(tmp_path: Path) -> None:
    (event,) = told(tmp_path / "db", raised(KeyError("x")))
    assert event.reason == "internal-error"
    assert event.text.startswith("cannot rotate logs: internal error in reconciler, please report it: KeyError('x') (")
    assert "test_internal_errors.py:" in event.text
    assert event.cause == "retried in 2 s, and then again and again; the apps keep serving"


def test_what_the_host_refuses_is_no_mistake_of_ours(tmp_path: Path) -> None:
    (event,) = told(tmp_path / "db", PermissionError(13, "Permission denied", "/logs"))
    assert event.text == "cannot rotate logs: [Errno 13] Permission denied: '/logs'"


def test_the_same_error_is_told_once_and_a_long_one_is_cut(tmp_path: Path) -> None:
    events = told(tmp_path / "db", KeyError("x"), KeyError("x"), KeyError("y" * 5000))
    assert len(events) == 2
    assert max(len(event.text) for event in events) <= 401
