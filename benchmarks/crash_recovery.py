"""SIGKILL of the gunicorn master under a steady request loop: connections refused, and the time to the next 200.

Beside a bare gunicorn start on the same app, one of each in turn. A new connection is opened for every request.
"""

import http.client
import os
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

from _bench import Bench, bench, free_ports, gunicorn_by_hand, machine, seconds_to_200, summary, verdict

KILLS = 20
MOST = 1.5


class Loop(threading.Thread):
    """Asks again and again, each time on a new connection, and counts what happens."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.answered = self.cut = 0
        self.refused_at: list[float] = []
        self.over = threading.Event()

    @property
    def refused(self) -> int:
        return len(self.refused_at)

    def run(self) -> None:
        while not self.over.wait(0.002):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", "/")
                self.answered += connection.getresponse().status == 200
            except ConnectionRefusedError:
                self.refused_at.append(time.monotonic())
            except (OSError, http.client.HTTPException):
                self.cut += 1
            finally:
                connection.close()


def kill_and_wait(here: Bench, port: int) -> float:
    pid = here.status()["steady"]["pid"]
    assert isinstance(pid, int)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    # What answers within the first instants may still be an orphaned worker: wait for the master to be gone.
    while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
        time.sleep(0.0002)
    return seconds_to_200(port, began)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def main() -> int:
    print(machine())
    (port, *others) = free_ports(1 + KILLS)
    with bench() as here:
        here.start()
        here.drop("steady", f"path: {here.app}\nport: {port}\ncrash: {{first: 10ms, cap: 10ms, good_run: 100ms}}\n")
        here.until("running", ["steady"])
        python = here.environment_python()
        ours, theirs = [], []
        loop = Loop(port)
        loop.start()
        for other in others:
            time.sleep(0.5)
            ours.append(kill_and_wait(here, port))
            with gunicorn_by_hand(python, here.app, other) as began:
                theirs.append(seconds_to_200(other, began))
            here.until("running", ["steady"])
        loop.over.set()
        loop.join()
    print(f"master killed → next 200        {summary(ours)}")
    print(f"gunicorn by hand → first 200    {summary(theirs)}")
    print(f"request loop: {loop.answered} answered, {loop.refused} refused, {loop.cut} cut off inside a killed worker")
    held = verdict("crash recovery", statistics.median(ours) / statistics.median(theirs), MOST)
    return 0 if held and loop.refused == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
