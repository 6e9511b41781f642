"""What workers of one app take in memory: each started by exec, or forked from one that has their libraries loaded.

Celery workers of one process, which wait for work on a Redis of the study's own. Measured is the proportional share
(PSS) of all processes together, that of the process they are forked from included. How many workers: as arguments.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tools
from benchmarks.machine import described
from benchmarks.processes import memory_mb, with_descendants
from tests.servers.redis import redis_server

_COUNTS = (1, 4, 10)
_SETTLE_S = 20.0
_TASKS = 'import os\nfrom celery import Celery\n\napp = Celery("tasks", broker=os.environ["BROKER"])\n'
_ARGUMENTS = ("-A", "tasks", "worker", "--pool", "solo", "--loglevel", "warning")
# Imports what a worker does, and has each worker go on in a child.
_FORKING = """import gc, os, sys, time
import celery.bin.celery, celery.apps.worker, celery.concurrency.solo, kombu.transport.redis, tasks
gc.freeze()
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        sys.argv = ["celery", *sys.argv[2:], "-n", f"worker-{number}"]
        sys.exit(celery.bin.celery.main())
time.sleep(3600)
"""


def main(arguments: Sequence[str]) -> int:
    print(described())
    with redis_server() as server, tempfile.TemporaryDirectory(prefix="reconciler-bench-") as directory:
        with server.connect() as admin:
            admin.execute_command("ACL", "SETUSER", "default", "nopass")
        (Path(directory) / "tasks.py").write_text(_TASKS)
        environment = {**os.environ, "BROKER": f"redis://127.0.0.1:{server.port}/0", "C_FORCE_ROOT": "1"}
        for count in map(int, arguments) if arguments else _COUNTS:
            executed = _measured(Path(directory), environment, [_executed(number) for number in range(count)])
            forked = _measured(Path(directory), environment, [_forking(count)])
            print(f"{count:3} workers: by exec {executed:.0f} MB, forked {forked:.0f} MB", flush=True)
    return 0


def _executed(number: int) -> list[str]:
    return [tools.tool("celery").path, *_ARGUMENTS, "-n", f"worker-{number}"]


def _forking(count: int) -> list[str]:
    return [tools.neighbour("celery", "python"), "-c", _FORKING, str(count), *_ARGUMENTS]


def _measured(directory: Path, environment: dict[str, str], commands: Sequence[Sequence[str]]) -> float:
    """Megabytes of what these commands start, once it waits for work; it is ended then."""
    started = [
        subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        time.sleep(_SETTLE_S)
        pids = with_descendants(each.pid for each in started)
        return sum(map(memory_mb, pids))
    finally:
        for pid in with_descendants(each.pid for each in started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for each in started:
            each.wait()
