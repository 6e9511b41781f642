"""gunicorn without a manager: started from a shell, and started again by a client who sees that it is gone."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence

from benchmarks.clients import answers
from benchmarks.peers.peer import App, Peer

_NOBODY = "there is no manager"


class GunicornByHand(Peer):
    """Each app is started in the background; with `at_once`, only so many are on their way to a first answer."""

    name = "gunicorn by hand"
    ways = {  # noqa: RUF012  what it is, is told by the base
        "drop": "`gunicorn … &`",
        "restart": "what is left is killed and gunicorn started again, with no time lost to notice",
        "deploy": "`kill -HUP`",
    }
    cannot = {"idle": _NOBODY, "manager": _NOBODY}  # noqa: RUF012  the same
    at_once: int | None = None

    def configure(self, apps: Sequence[App]) -> None:
        self.apps = list(apps)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        starting: list[App] = []
        for app in self.apps:
            while self.at_once is not None and len(starting) >= self.at_once:
                starting = [each for each in starting if not answers(each.port)]
                time.sleep(0.002)
            self._run(app)
            starting.append(app)

    def drop(self, app: App) -> None:
        self.apps.append(app)
        self._run(app)

    def deploy(self, app: App) -> None:
        self._running[app.name].send_signal(signal.SIGHUP)

    def start_again(self, app: App) -> None:
        """What a person does who sees it die: nothing of it is left in the way."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running[app.name].pid, signal.SIGKILL)
        self._running[app.name].wait()
        self._run(app)

    def _run(self, app: App) -> None:
        self._running[app.name] = self.spawn(self.gunicorn(app), cwd=app.code)

    def masters(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items() if process.poll() is None}

    def of_manager(self) -> list[int]:
        return []

    def stop(self) -> None:
        for process in self._running.values():
            process.terminate()
        super().stop()
        for process in self._running.values():
            process.wait()


class AFewAtATime(GunicornByHand):
    """The same, with as many on their way at once as our daemon has by default."""

    name = "gunicorn by hand, a few at a time"
    at_once = 2 * len(os.sched_getaffinity(0))
