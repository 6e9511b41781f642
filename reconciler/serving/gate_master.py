"""Watch the workers of an instance from its master. Loaded by gate.py, on Python 2.7 as well.

Until a worker has passed its gate, its limit is the start timeout. The first one that exits before it did ends an
instance that never served.
"""

import os
import signal
import sys

_BOOT_ERROR = 3


def expect(gate, server, worker):
    """Prepare a worker that is about to be forked."""
    last_beat, more_s = worker.tmp.last_update, max(0.0, gate.start_timeout_s - server.timeout)
    pids = []

    def last_update():
        pids[:] = pids or [pid for pid, other in list(server.WORKERS.items()) if other is worker]
        if not worker.tmp.passed and pids and os.path.exists(os.path.join(gate.passed, str(pids[0]))):
            worker.tmp.passed = True
            gate.exited_early = 0
        return last_beat() + (0.0 if worker.tmp.passed else more_s)

    worker.tmp.passed = False
    worker.tmp.last_update = last_update
    if not hasattr(server.cfg, "child_exit"):  # gunicorn before 19.7
        _bury_when_closed(gate, server, worker)


def resize(gate, workers):
    """Record how many workers the master keeps from now on, at once: a reader finds this number or the one before."""
    draft = os.path.join(gate.passed, "draft-%d" % os.getpid())
    try:
        with open(draft, "w") as file:
            file.write("%d" % workers)
        os.rename(draft, os.path.join(gate.passed, "workers"))
    except (IOError, OSError):  # a full disk: without the file, workers are counted
        gate.remove("workers")


def memory_limit(passed):
    """Return the bytes that the instance may have, None for no limit: the daemon tells by the name of a file."""
    try:
        told = [name[len("memory-") :] for name in os.listdir(passed) if name.startswith("memory-")]
    except (IOError, OSError):
        return None
    return max([int(each) for each in told if each.isdigit()] or [None])


def bury(gate, server, pid):
    """Note how a worker ended: one that never called `leave` exited on its own."""
    end = _end(_reaped()[1])
    passed = os.path.exists(os.path.join(gate.passed, str(pid)))
    left = os.path.exists(os.path.join(gate.passed, "done-%d" % pid))
    if passed:
        gate.write("fallen-%d" % pid, end)
        gate.rename(str(pid), "done-%d" % pid)
    gate.remove("waiting-%d" % pid)
    # No worker writes to it any more: the next one continues it.
    gate.rename("done-%d" % pid, "left-%d" % pid)
    if not passed and not left and server.LISTENERS:  # a master that is stopping has none
        _bury_early(gate, pid, end)
    gate.ring()


def _bury_early(gate, pid, end):
    gate.exited_early += 1
    gate.why_early = gate.read("failed-%d" % pid) or "a worker %s before it was ready" % end
    gate.remove("failed-%d" % pid)
    if not gate.serves():
        from gunicorn.errors import HaltServer

        if not os.path.exists(os.path.join(gate.passed, "refused")):  # else the worker itself has said why
            gate.log("not ready: %s" % gate.why_early)
        gate.write("exited", end)
        raise HaltServer("Worker failed to boot.", _BOOT_ERROR)
    gate.remove("importing-%d" % pid)


def _bury_when_closed(gate, server, worker):
    """Bury a worker when its master closes its heartbeat, the last that old versions do for it."""
    close, master = worker.tmp.close, os.getpid()

    def closed():
        close()
        pid = _reaped()[0]
        if os.getpid() == master and pid is not None:
            bury(gate, server, pid)

    worker.tmp.close = closed


def _reaped():
    """Return pid and wait status of the worker that gunicorn is reaping, which it tells no hook; None where unknown."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_code.co_name != "reap_workers":
        frame = frame.f_back
    found = frame.f_locals if frame is not None else {}
    return found.get("wpid"), found.get("status")


def _end(status):
    """Say how a process ended, from its wait status."""
    if status is None:
        return "exited"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        names = [name for name in dir(signal) if name.startswith("SIG") and not name.startswith("SIG_")]
        return "was ended by " + next((n for n in names if getattr(signal, n) == number), "signal %d" % number)
    return "exited with %d" % os.WEXITSTATUS(status)
