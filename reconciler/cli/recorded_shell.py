"""Run a command in this terminal, and have the daemon record who ran what, when, and with which exit code.

What is typed and printed is not recorded. Without a daemon that answers, the command takes the place of this process.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_IGNORED = (signal.SIGINT, signal.SIGQUIT)  # the terminal sends them to the command as well
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def become(
    paths: "StatePaths", app: str, typed: Sequence[str], words: Sequence[str], environment: Mapping[str, str]
) -> NoReturn:
    """Run the words in this directory, and end as they do; those typed are on record. Raises OSError."""
    from reconciler.control.requests import Refused
    from reconciler.control.socket import ask

    try:
        revision = environment.get("RECONCILER_REVISION", "")
        order = {"do": "shell", "app": app, "command": list(typed), "revision": revision}
        task = str(ask(paths.control, order)["task"])
    except (OSError, Refused, KeyError):
        os.execvpe(words[0], list(words), dict(environment))  # noqa: S606  a command of the user's own
    code = 127
    try:
        child = subprocess.Popen(list(words), env=dict(environment))
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        for number in _PASSED_ON:
            signal.signal(number, lambda received, _: child.send_signal(received))
        code = child.wait()
    finally:
        with suppress(OSError, Refused):
            ended_with = code if code >= 0 else 128 - code
            ask(paths.control, {"do": "shell-ended", "task": task, "code": ended_with})
    if code < 0:
        with suppress(OSError):  # that of SIGKILL cannot be set, and need not be
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    raise SystemExit(code)
