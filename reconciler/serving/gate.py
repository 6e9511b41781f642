"""Check an app inside its gunicorn workers, on Python 2.7 to the newest: nothing of the daemon is imported here.

A worker passes the gate when the app is imported and, if it has a health path, answers that with 2xx. It says so by a
file in the instance's directory, and wakes the daemon. A worker that fails before the instance ever served ends its
master; one of an instance that serves waits and tries again.
"""

import errno
import io
import os
import re
import signal
import sys
import time

_BOOT_ERROR = 3
_FIRST_LINES = 300
_CLASSES = {"1": 1, "2": 2, "3": 3, "4": 4}
_AGENT = "reconciler-health"


def readable(body):
    """Return the text of a body on one line; of HTML, only the title."""
    if body.lstrip().startswith("<"):
        title = re.search("<title[^>]*>([^<]*)", body, re.IGNORECASE)
        body = title.group(1) if title else ""
    return " ".join(body.split())


class Refused(Exception):
    """The app failed its check; the text is the reason that `status` shows."""


class Gate(object):
    """The gate of one instance's workers. `path` is None when being imported is enough."""

    def __init__(self, app, passed, doorbell, path, host, timeout_s):
        self.app = app
        self.passed = passed
        self.doorbell = doorbell
        self.path = path
        self.host = host
        self.timeout_s = timeout_s
        self.figures = None

    def guard(self, worker):
        """Run as gunicorn's post_worker_init: return only in a worker that may accept."""
        if _is_asgi(worker):
            _module("reconciler_gate_asgi", _ASGI).guard(self, worker, Refused)
            return
        self.until_passed(worker, lambda: self.ask_wsgi(worker.wsgi))
        self.let_in()

    def until_passed(self, worker, ask):
        """Probe once in a new instance, again and again in one that serves already."""
        nap = 0.5
        while self.path is not None:
            try:
                with _Alarm(self.timeout_s, "GET %s did not answer within %g s" % (self.path, self.timeout_s)):
                    ask()
                break
            except Refused as refused:
                self.refuse(str(refused))
            nap = min(nap * 2, 15.0)
            self.wait(worker, nap)

    def refuse(self, reason):
        """Record the reason; end the master too unless the instance serves without this worker."""
        sys.stderr.write("reconciler: not ready: %s\n" % reason)
        sys.stderr.flush()
        if not self.serves():
            self._write("refused", reason)
            os._exit(_BOOT_ERROR)
        self._write("waiting-%d" % os.getpid(), reason)
        self.ring()

    def wait(self, worker, seconds):
        """Sleep with a beating heart; end the worker when its master is gone or stops it."""
        until = _monotonic() + seconds
        while _monotonic() < until:
            worker.notify()
            if os.getppid() != worker.ppid or not worker.alive:
                os._exit(0)
            time.sleep(0.25)

    def serves(self):
        """Whether every first worker of this instance has passed."""
        return os.path.exists(os.path.join(self.passed, "serving"))

    def let_in(self):
        """Record that this worker is about to accept."""
        self._remove("waiting-%d" % os.getpid())
        self._write(str(os.getpid()), "")
        try:
            self.figures = _module("reconciler_gate_figures", _FIGURES).Figures(self.passed, _monotonic)
        except (IOError, OSError):  # a full disk: the file stays empty, which says that it may be busy
            pass
        self.ring()

    def begin(self, request):
        """Run as gunicorn's pre_request."""
        if self.figures is not None and (self.path is None or not self._is_ours(request)):
            request.reconciler_began = self.figures.begin()

    def end(self, request, answer):
        """Run as gunicorn's post_request, after the last byte; `answer` is None if the app never began one."""
        began = getattr(request, "reconciler_began", None)
        if began is None:
            return
        request.reconciler_began = None
        # An answer that was begun and never sent is one that gunicorn replaces by its own 500.
        status = str(answer.status) if answer is not None and answer.headers_sent else ""
        self.figures.end(began, _CLASSES.get(status[:1], 5))

    def _is_ours(self, request):
        """Whether a request is a health probe, which does not keep an app awake and is not counted."""
        return request.uri == self.path and ("USER-AGENT", _AGENT) in request.headers

    def leave(self):
        """Record that this worker is exiting; its figures stay."""
        self._rename(str(os.getpid()), "done-%d" % os.getpid())
        self._remove("waiting-%d" % os.getpid())

    def bury(self, pid):
        """Run as gunicorn's child_exit, in the master: a worker that accepted and never called `leave` crashed."""
        if os.path.exists(os.path.join(self.passed, str(pid))):
            self._write("fallen-%d" % pid, "")
            self._rename(str(pid), "done-%d" % pid)
            self.ring()
        # No worker writes to it any more: the next one continues it.
        self._rename("done-%d" % pid, "left-%d" % pid)

    def resize(self, workers):
        """Run as gunicorn's nworkers_changed, in the master: record how many workers it keeps from now on."""
        try:
            with open(os.path.join(self.passed, "workers"), "w") as file:
                file.write("%d" % workers)
        except (IOError, OSError):  # a full disk: the file is empty, and workers are counted
            pass
        self.ring()

    def ring(self):
        """Wake the daemon, if one runs; another finds the file when it starts."""
        try:
            pipe = os.open(self.doorbell, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            os.write(pipe, (self.app + "\n").encode("ascii"))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPIPE):
                raise
        finally:
            os.close(pipe)

    def ask_wsgi(self, application):
        """Hand one GET of the health path to the callable. Raises Refused."""
        answer = {}

        def start_response(status, headers, exc_info=None):
            answer["status"] = status
            return lambda chunk: None

        try:
            chunks = application(self._environ(), start_response)
            body = b""
            try:
                for chunk in chunks:
                    if len(body) < _FIRST_LINES:
                        body += chunk
            finally:
                getattr(chunks, "close", lambda: None)()
        except Refused:
            raise
        except Exception as error:
            raise Refused("GET %s raised %s: %s" % (self.path, type(error).__name__, error))
        self.judge(answer.get("status", "nothing"), body)

    def judge(self, status, body):
        """Raise Refused unless the status line is one of success."""
        if not str(status).startswith("2"):
            said = readable(body[:_FIRST_LINES].decode("utf-8", "replace"))
            raise Refused("GET %s answered %s%s" % (self.path, status, ": " + said if said else ""))

    def _environ(self):
        path, _, query = self.path.partition("?")
        name, _, port = self.host.partition(":")
        return {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "RAW_URI": self.path,
            "QUERY_STRING": query,
            "SERVER_NAME": name,
            "SERVER_PORT": port or "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "0",
            "HTTP_HOST": self.host,
            "HTTP_USER_AGENT": _AGENT,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }

    def _write(self, name, text):
        try:
            with io.open(os.path.join(self.passed, name), "w", encoding="utf-8") as file:
                file.write(text if not isinstance(text, bytes) else text.decode("utf-8", "replace"))
        except (IOError, OSError):
            if not self.serves():
                raise

    def _rename(self, name, other):
        try:
            os.rename(os.path.join(self.passed, name), os.path.join(self.passed, other))
        except OSError:
            pass

    def _remove(self, name):
        try:
            os.unlink(os.path.join(self.passed, name))
        except OSError:
            pass


def _clock_of_python_2():
    """Return a clock of CLOCK_MONOTONIC, which Python 2 lacks."""
    import ctypes

    class Timespec(ctypes.Structure):
        _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

    clock_gettime = ctypes.CDLL("librt.so.1").clock_gettime
    now = Timespec()

    def monotonic():
        clock_gettime(1, ctypes.byref(now))
        return now.seconds + now.nanoseconds / 1e9

    return monotonic


_monotonic = getattr(time, "monotonic", None) or _clock_of_python_2()


class _Alarm(object):
    """A time limit of a block: it raises Refused in this thread when the block takes longer."""

    def __init__(self, seconds, reason):
        self._seconds = seconds
        self._reason = reason

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_):
        raise Refused(self._reason)


def _beside(name):
    with io.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), encoding="utf-8") as file:
        return file.read()


# Read with this file, in the master: when a worker needs it, the daemon's package may have been replaced by another.
_ASGI = _beside("gate_asgi.py")
_FIGURES = _beside("gate_figures.py")


def _module(name, text):
    module = _loaded[name] = type(sys)(name)
    exec(compile(text, name, "exec"), module.__dict__)
    return module


_loaded = {}  # Python 2 empties a module without a reference to it


def _is_asgi(worker):
    return hasattr(worker, "asgi") or "uvicorn" in type(worker).__module__
