"""Check an app inside its gunicorn workers, on Python 2.7 to the newest: nothing of the daemon is imported here.

A worker passes the gate when the app is imported and, if it has a health path, answers that with 2xx: it is asked again
until it does. The worker says so by a file in the instance's directory, and wakes the daemon. One that cannot pass, or
that exits before it did, ends its master if the instance never served; otherwise the next one waits and tries again.
"""

import io
import os
import re
import signal
import sys
import time

BOOT_ERROR = 3
_FIRST_LINES = 300
_CLASSES = {"1": 1, "2": 2, "3": 3, "4": 4}
_AGENT = "reconciler-health"


def readable(body):
    """Return the text of a body on one line; of HTML, only the title."""
    if body.lstrip().startswith("<"):
        title = re.search("<title[^>]*>([^<]*)", body, re.IGNORECASE)
        body = title.group(1) if title else ""
    return " ".join(body.split())


class Refused(BaseException):
    """The app failed its check, for the reason that `status` shows; the app's code may survive every Exception."""


class Gate(object):
    """The gate of one instance's workers. `path` is None when being imported is enough."""

    # The configuration of earlier versions names an `app`, which wakes the daemon by a pipe.
    def __init__(self, passed, doorbell, path, host, timeout_s, start_timeout_s=60.0, umask=False, app=""):
        self.app = app
        self.passed = passed
        self.doorbell = doorbell
        self.path = path
        self.host = host
        self.timeout_s = timeout_s
        self.start_timeout_s = start_timeout_s
        self.umask = umask
        self.logs_probes = True
        self.is_probed = lambda: False
        self.figures = None
        self.tells_waits = True
        self.closing = _DRAIN.Closing()
        self.told = self.why_early = self.access_log = ""
        self.exited_early = 0
        self.fell = False
        self.memory = None
        self.limited = None if _MASTER.memory_limit(passed) is None else _code_of("gate_memory")

    def hooks(self):
        """Return what gunicorn calls, by its settings: it counts the arguments of each, and old ones count `self`."""
        return {
            "pre_fork": lambda server, worker: self.expect(server, worker),  # noqa: PLW0108
            "post_fork": lambda server, worker: self.begin_worker(worker),
            "post_worker_init": lambda worker: self.guard(worker),  # noqa: PLW0108
            "nworkers_changed": lambda server, workers, before: self.resize(workers, before),
            "worker_exit": lambda server, worker: self.leave(),
            "child_exit": lambda server, worker: self.bury(server, worker.pid),
            "pre_request": lambda worker, request: self.begin(request),
            "post_request": lambda worker, request, environ, answer: self.end(request, answer),
        }

    def expect(self, server, worker):
        """Run as gunicorn's pre_fork, in the master."""
        _MASTER.expect(self, server, worker)

    def bury(self, server, pid):
        """Run as gunicorn's child_exit, in the master."""
        _MASTER.bury(self, server, pid)

    def begin_worker(self, worker):
        """Run as gunicorn's post_fork."""
        if self.umask:
            os.umask(worker.cfg.umask)  # gunicorn itself applies it to its sockets only
        _IMPORT.guard(self, worker, _END.tell_of_crashes)

    def guard(self, worker):
        """Run as gunicorn's post_worker_init: return only in a worker that may accept."""
        _LOG.guard(self, worker)
        _END.guard(self, worker, _IMPORT.print_traceback)
        if _is_asgi(worker):
            _module("gate_asgi", _ASGI).guard(self, worker, Refused)
        elif _IMPORT.is_wsgi(worker.wsgi):
            self.until_passed(worker, lambda: self.ask_wsgi(worker.wsgi))
        elif self.path is not None:  # only the worker knows how to ask: the daemon does, once it serves
            self.write("unasked", type(worker).__name__)
        if not _DRAIN.guard(worker, self.closing):
            self.write("cuts", type(worker).__name__)
        if not _is_asgi(worker):
            self.let_in(_COUNT.can_count(worker))
            _COUNT.guard(self, worker)
        if self.limited is not None:
            memory = _module("gate_memory", self.limited)
            self.memory = memory.guard(self, worker, lambda: _MASTER.memory_limit(self.passed))
        _CLIENT.guard(worker, _loaded["gate_asgi"].Told if _is_asgi(worker) else None, _IMPORT.is_wsgi)

    def until_passed(self, worker, ask):
        """Probe again and again: the daemon ends a new instance when its start timeout is over."""
        nap = 0.25
        while self.path is not None:
            began = _monotonic()
            try:
                with _LIMIT.limit(self, worker, Refused):
                    ask()
                self.check_time(_monotonic() - began)
                break
            except Refused as refused:
                self.tell(str(refused))
            nap = self.longer(nap)
            self.wait(worker, nap)

    def patience_s(self):
        """Return how long one probe may take: the first one may fill an app's caches, which an end would undo."""
        return max(self.timeout_s, min(self.start_timeout_s / 3.0, 20.0))

    def late(self):
        """Return what a probe's time limit says."""
        return "GET %s did not answer within %g s" % (self.path, self.timeout_s)

    def check_time(self, took_s):
        """Raise Refused if an answer took longer than a probe may take."""
        if took_s > self.timeout_s:
            raise Refused(self.late())

    def longer(self, nap):
        """Return the next pause between two probes: longer where other workers serve meanwhile."""
        return min(nap * 2, 15.0 if self.serves() else 2.0)

    def tell(self, reason):
        """Record why this worker is not ready yet."""
        if reason == self.told:
            return
        self.told = reason
        self.log("not ready: %s" % reason)
        self.write("waiting-%d" % os.getpid(), reason)
        self.ring()

    def log(self, text):
        """Write a line of ours into the log."""
        sys.stderr.write("reconciler: %s\n" % text)
        sys.stderr.flush()

    def reject(self, reason):
        """Record why this worker can never be ready; return the status to exit with.

        It ends the master, unless the instance serves: then the next worker waits before it tries again.
        """
        self.tell(reason)
        if self.serves():
            self.write("failed-%d" % os.getpid(), reason)
            return 1
        self.write("refused", reason)
        return BOOT_ERROR

    def reason(self, error):
        """Return an exception in one line, with its place."""
        return _IMPORT.reason(error)

    def hold_back(self, worker):
        """Wait before another try when the last workers exited before they were ready."""
        if not self.exited_early or not self.serves():
            return
        self.tell(self.why_early)
        before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # no loop runs yet
        self.wait(worker, min(0.5 * 2.0 ** min(self.exited_early, 8), 15.0))
        signal.signal(signal.SIGTERM, before)

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

    def let_in(self, counts=True):
        """Record that this worker is about to accept; the file of one that cannot count stays empty: it may be busy."""
        self.remove("waiting-%d" % os.getpid())
        if self.told:
            self.log("ready")
        if not counts:
            self.write("uncounted", "")
        self.write(str(os.getpid()), "")
        try:
            if not counts:
                return
            self.figures = _module("gate_figures", _FIGURES).Figures(self.passed, _monotonic)
        except (IOError, OSError):  # a full disk: the file stays empty, which says that it may be busy
            pass
        finally:
            self.ring()
            if os.path.exists(os.path.join(self.passed, "unwanted")):  # the daemon looks here only after writing it
                os._exit(0)

    def begin(self, request):
        """Run as gunicorn's pre_request."""
        if self.figures is not None and (self.path is None or not self._is_ours(request)):
            request.reconciler_began = self.figures.begin()
            _COUNT.count_wait(self, request)

    def end(self, request, answer):
        """Run as gunicorn's post_request, after the last byte; `answer` is None if the app never began one."""
        if self.memory is not None:
            self.memory.look()
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
        """Record that this worker is exiting, unless the app has ended it; its figures stay."""
        if not self.fell:
            self.rename(str(os.getpid()), "done-%d" % os.getpid())
        self.remove("waiting-%d" % os.getpid())

    def resize(self, workers, before):
        """Run as gunicorn's nworkers_changed, in the master.

        `before` is None when the master starts, which tells the daemon nothing that it waits for.
        """
        _MASTER.resize(self, workers)
        if before is not None:
            self.ring()

    def ring(self):
        """Wake the daemon, if one runs, which is told that this file is opened; another finds what the worker wrote."""
        try:
            opened = os.open(self.doorbell, (os.O_WRONLY if self.app else os.O_RDONLY) | os.O_NONBLOCK)
            try:
                if self.app:
                    os.write(opened, (self.app + "\n").encode("ascii"))
            finally:
                os.close(opened)
        except OSError:
            pass

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
        except Exception as error:
            raise Refused("GET %s raised %s: %s" % (self.path, type(error).__name__, error))
        self.judge(answer.get("status", "nothing"), body)

    def judge(self, status, body):
        """Raise Refused unless the status line is one of success."""
        if not str(status).startswith("2"):
            said = readable(body[:_FIRST_LINES].decode("utf-8", "replace"))
            hint = ""
            if str(status).startswith("400") and "django" in sys.modules:
                hint = "; Django answers so to a Host header that is not in its ALLOWED_HOSTS, here %s: set health.host"
                hint %= self.host
            raise Refused("GET %s answered %s%s%s" % (self.path, status, ": " + said if said else "", hint))

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

    def write(self, name, text):
        """Write a file of this name in the instance's directory, with all of its text at once.

        A full disk ends no instance that serves.
        """
        place = os.path.join(self.passed, name)
        draft = os.path.join(self.passed, "draft-%d" % os.getpid()) if text else place
        try:
            with io.open(draft, "w", encoding="utf-8") as file:
                file.write(text if not isinstance(text, bytes) else text.decode("utf-8", "replace"))
            if draft != place:
                os.rename(draft, place)
        except (IOError, OSError):
            if not self.serves():
                raise

    def read(self, name):
        """Return the text of a file there, "" if it cannot be read."""
        try:
            with io.open(os.path.join(self.passed, name), encoding="utf-8") as file:
                return file.read()
        except (IOError, OSError):
            return ""

    def rename(self, name, other):
        """Rename a file there, if it is there."""
        try:
            os.rename(os.path.join(self.passed, name), os.path.join(self.passed, other))
        except OSError:
            pass

    def remove(self, name):
        """Remove a file there, if it is there."""
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


def _code_of(name):
    """Return the code of a module beside this one, from its bytecode where that is there."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    if sys.version_info[0] == 2:
        with io.open(path, encoding="utf-8") as file:
            return compile(file.read(), path, "exec")
    from importlib.machinery import SourceFileLoader

    return SourceFileLoader("reconciler_" + name, path).get_code("reconciler_" + name)


def _module(name, code):
    module = _loaded[name] = type(sys)("reconciler_" + name)
    exec(code, module.__dict__)
    return module


_loaded = {}  # Python 2 empties a module without a reference to it

# Read with this file, in the master: when a worker needs it, the daemon's package may have been replaced by another.
_ASGI = _code_of("gate_asgi") if sys.version_info >= (3, 6) else None
_FIGURES = _code_of("gate_figures")
_CLIENT, _COUNT, _DRAIN, _END, _IMPORT, _LIMIT, _LOG, _MASTER = (
    _module("gate_" + name, _code_of("gate_" + name))
    for name in ("client", "count", "drain", "end", "import", "limit", "log", "master")
)


def _is_asgi(worker):
    return _IMPORT.serves(worker) == "ASGI"
