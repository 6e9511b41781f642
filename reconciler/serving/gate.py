"""Runs inside an app's gunicorn workers, on Python 2.7 to the newest: nothing of the daemon is imported here.

A worker passes the gate when the app is imported and, where a health path is asked for, answers it with 2xx. It says so
by a file in the instance's directory and a ring of the doorbell. A worker that fails before the instance ever served
ends its master; one of an instance that serves waits and tries again.
"""

import errno
import io
import os
import signal
import struct
import sys
import threading
import time

_BOOT_ERROR = 3
_FIRST_LINES = 300
_AGENT = "reconciler-health"
_ACTIVITY = struct.Struct("dq")  # as the daemon reads it


class Refused(Exception):
    """The app did not answer its health path as it must; the text says how, in words for `status`."""


class Gate(object):
    """What one instance's workers must pass. `path` is None when being imported is enough."""

    def __init__(self, app, passed, doorbell, path, host, timeout_s, counts):
        self.app = app
        self.passed = passed
        self.doorbell = doorbell
        self.path = path
        self.host = host
        self.timeout_s = timeout_s
        self.counts = counts
        self.activity = None

    def guard(self, worker):
        """Gunicorn's post_worker_init: returns only in a worker that may accept."""
        if _is_asgi(worker):
            _module_beside("gate_asgi").guard(self, worker, Refused)
            return
        self.until_passed(worker, lambda: self.ask_wsgi(worker.wsgi))
        self.let_in()

    def until_passed(self, worker, ask):
        """Ask once in a new instance, again and again in one that serves already."""
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
        """Say why; end the master too unless the instance serves without this worker."""
        sys.stderr.write("reconciler: not ready: %s\n" % reason)
        sys.stderr.flush()
        if not self.serves():
            self._write("refused", reason)
            os._exit(_BOOT_ERROR)
        self._write("waiting-%d" % os.getpid(), reason)
        self.ring()

    def wait(self, worker, seconds):
        """Sleep with a beating heart; ends the worker when its master is gone or wants it to."""
        until = time.time() + seconds
        while time.time() < until:
            worker.notify()
            if os.getppid() != worker.ppid or not worker.alive:
                os._exit(0)
            time.sleep(0.25)

    def serves(self):
        """True once every first worker of this instance had passed."""
        return os.path.exists(os.path.join(self.passed, "serving"))

    def let_in(self):
        """This worker is about to accept."""
        self._remove("waiting-%d" % os.getpid())
        self._write(str(os.getpid()), "")
        if self.counts:
            self.activity = _Activity(os.path.join(self.passed, str(os.getpid())))
        self.ring()

    def begin(self, request):
        """Gunicorn's pre_request."""
        if self.activity is not None and not _is_ours(request):
            self.activity.begin()

    def end(self, request):
        """Gunicorn's post_request."""
        if self.activity is not None and not _is_ours(request):
            self.activity.end()

    def leave(self):
        """This worker is gone."""
        self._remove(str(os.getpid()))
        self._remove("waiting-%d" % os.getpid())

    def ring(self):
        """Wake the daemon, if one runs; the next one finds the file."""
        try:
            bell = os.open(self.doorbell, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            os.write(bell, (self.app + "\n").encode("ascii"))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPIPE):
                raise
        finally:
            os.close(bell)

    def ask_wsgi(self, application):
        """One GET of the health path, handed to the callable; raises Refused."""
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
        """Raises Refused unless the status line is one of success."""
        if not str(status).startswith("2"):
            said = " ".join(body[:_FIRST_LINES].decode("utf-8", "replace").split())
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

    def _remove(self, name):
        try:
            os.unlink(os.path.join(self.passed, name))
        except OSError:
            pass


class _Activity(object):
    """A worker's word on what it is at work on, in its own file, without a system call."""

    def __init__(self, path):
        import mmap

        with open(path, "r+b") as file:
            file.write(_ACTIVITY.pack(_monotonic(), 0))
            file.flush()
            self._map = mmap.mmap(file.fileno(), _ACTIVITY.size)
        self._working_on = 0
        self._lock = threading.Lock()

    def begin(self):
        self._note(1)

    def end(self):
        self._note(-1)

    def _note(self, change):
        with self._lock:
            self._working_on += change
            _ACTIVITY.pack_into(self._map, 0, _monotonic(), self._working_on)


def _clock_of_python_2():
    """CLOCK_MONOTONIC, which Python 2 does not offer."""
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
    """Raises Refused in this thread when the block takes longer."""

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


def _module_beside(name):
    from importlib.util import module_from_spec, spec_from_file_location

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = spec_from_file_location("reconciler_" + name, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_ours(request):
    """Asking how an app is does not keep it awake."""
    for name, value in request.headers:
        if name in ("USER-AGENT", b"user-agent", "user-agent"):
            return value in (_AGENT, _AGENT.encode("ascii"))
    return False


def _is_asgi(worker):
    return hasattr(worker, "asgi") or "uvicorn" in type(worker).__module__
