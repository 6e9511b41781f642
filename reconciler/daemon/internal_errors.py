"""Tell of every exception that nothing expected, wherever on the loop it was raised: as an event, and on stderr."""

import asyncio
import traceback
from pathlib import Path
from typing import Any

from reconciler.linux.error_words import as_internal
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST
from reconciler.state.journal import Journal

_AGAIN_AFTER_S = 3600.0
_LONGEST = 400


class InternalErrors:
    """The exception handler of the daemon's loop. One error that is raised again and again is one event in an hour."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._told_at: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what asyncio, the controllers and the standing tasks call an exception handler with."""
        text = _text(context)
        now = loop.time()
        self._told_at = {told: at for told, at in self._told_at.items() if now - at < _AGAIN_AFTER_S}
        if text in self._told_at:
            return
        self._told_at[text] = now
        loop.default_exception_handler(context)
        retried_in_s = context.get("retried_in_s")
        retried = "" if retried_in_s is None else f"retried in {retried_in_s:.0f} s, and then again and again; "
        self._journal.write(HOST, "daemon", text, f"{retried}the apps keep serving", Reason.INTERNAL_ERROR)


def _text(context: dict[str, Any]) -> str:
    """Return such as "cannot rotate logs: internal error in reconciler, please report it: KeyError('x') (a.py:7)"."""
    message, error = str(context.get("message", "")), context.get("exception")
    if error is None:
        said = message
    elif isinstance(error, OSError):
        said = f"{message}: {error}"
    else:
        said = f"{message}: {as_internal(error)}{_raised_at(error)}"
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _raised_at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
