"""Import an app inside its worker, and say why that failed. Loaded by gate.py, on Python 2.7 as well.

The reason names the exception and the app's own line, and the log holds a traceback without gunicorn's part. Whatever
ends the import (an exception, sys.exit, an object that no worker can call) is written down before the worker exits.
"""

import inspect
import io
import os
import sys
import traceback

try:
    import faulthandler
except ImportError:  # Python 2
    faulthandler = None

PLACES = "importing-%d"
# Of Python 2, whose modules have no file, and of any other.
_OURS = ("reconciler_gate", os.path.join(os.path.dirname((lambda: 0).__code__.co_filename), "gate_"))
_TELL_EVERY_S = 10.0
_LONGEST = 400
_NOT_THE_APPS = ("site-packages", "dist-packages")
_OF_WSGI = tuple("gunicorn.workers." + name for name in ("sync", "gthread", "ggevent", "geventlet"))
_OF_ASGI = ("gunicorn.workers.gasgi", "uvicorn.workers", "uvicorn_worker._workers")


def guard(gate, worker, tell_of_crashes):
    """Stand between the worker and the import of its app; `gate` takes the reason when it fails.

    `tell_of_crashes` is called first: by then, the worker has set up its signals.
    """
    load = worker.app.wsgi

    def wsgi():
        tell_of_crashes()
        if worker.app.callable is not None:  # imported by the master, or by this worker already
            return load()
        gate.hold_back(worker)
        every_s = min(_TELL_EVERY_S, gate.start_timeout_s * 0.4)
        watch = _Watch(os.path.join(gate.passed, PLACES % os.getpid()), every_s)
        try:
            app = load()
        except BaseException as error:
            watch.end()
            _print_as_python(error)
            raise SystemExit(gate.reject(reason(error) + remedy(error, getattr(worker.app, "app_uri", None))))
        watch.end()
        unfit = misfit(app, worker)
        if unfit:
            raise SystemExit(gate.reject(unfit))
        return app

    worker.app.wsgi = wsgi


class _Watch(object):
    """Note in a file where the import is, every few seconds."""

    def __init__(self, path, every_s):
        self._path = path
        self._file = None
        if faulthandler is None:
            return
        try:
            self._file = io.open(path, "wb")  # noqa: SIM115  it is open as long as the import takes
        except (IOError, OSError):
            return
        faulthandler.dump_traceback_later(every_s, repeat=True, file=self._file)

    def end(self):
        if self._file is None:
            return
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass


def misfit(app, worker):
    """Return why a worker cannot serve with this object, "" if it can or if that cannot be told."""
    kind = serves(worker)
    if not kind:
        return ""
    name, expected = _name(app), {"WSGI": 2, "ASGI": 3}[kind]
    if not callable(app):
        return "%s is not callable, so it is no application" % name
    is_asgi = _takes(app, 3) and (_is_coroutine(app) or not _takes(app, 2))
    if kind == "WSGI" and is_asgi:
        return (
            "%s is an ASGI application, and worker class %s serves WSGI: set worker_class to asgi, or to"
            " uvicorn.workers.UvicornWorker with a gunicorn before 24" % (name, type(worker).__name__)
        )
    if _takes(app, expected) or (kind == "ASGI" and _takes(app, 1)):  # of ASGI 2, called with the scope alone
        return ""
    if kind == "ASGI" and _takes(app, 2):
        return "%s is a WSGI application, and worker class %s serves ASGI: leave out worker_class" % (
            name,
            type(worker).__name__,
        )
    if inspect.isfunction(app) and _takes(app, 0):
        return "%s() takes no arguments, so it is no application: if it returns one, set entrypoint to %s:%s()" % (
            name,
            app.__module__,
            name,
        )
    return "%s is no application: it cannot be called with the %d arguments of %s" % (name, expected, kind)


def serves(worker):
    """Return "WSGI" or "ASGI", whichever a worker or what it is derived from calls; "" for unknown workers."""
    modules = [kind.__module__ for kind in type(worker).__mro__]
    if any(name in _OF_ASGI for name in modules):
        return "ASGI"
    return "WSGI" if any(name in _OF_WSGI for name in modules) else ""


def is_wsgi(app):
    """Whether an object can be called as a WSGI application, whatever worker serves it."""
    return callable(app) and _takes(app, 2) and not _is_coroutine(app)


def _name(app):
    return getattr(app, "__name__", None) or "the %s object" % type(app).__name__


def _is_coroutine(app):
    is_coroutine = getattr(inspect, "iscoroutinefunction", None)
    return is_coroutine is not None and (is_coroutine(app) or is_coroutine(type(app).__call__))


def _takes(app, count):
    """Whether an object may be called with so many arguments; True where that cannot be told."""
    if not hasattr(inspect, "signature"):  # Python 2
        return _takes_in_python_2(app, count)
    if hasattr(app, "__signature__"):
        return True
    try:
        signature = inspect.signature(app, follow_wrapped=False)  # what a decorator returns is called, not its function
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _takes_in_python_2(app, count):
    if not inspect.isfunction(app):
        return True
    named, more, _, defaults = inspect.getargspec(app)
    return len(named) - len(defaults or ()) <= count and (more is not None or count <= len(named))


def reason(error):
    """Return an exception in one line, with the app's line that raised it."""
    place = _place(error)
    where = " (%s)" % place if place else ""
    if isinstance(error, SystemExit):
        said = "" if error.code is None else ": %s" % _line(error.code)
        return "it ended its own process while it was imported, by sys.exit%s%s" % (said, where)
    if isinstance(error, SyntaxError):
        return "%s: %s%s" % (type(error).__name__, error.msg, where)
    said = _line(error)
    return "%s%s%s%s" % (type(error).__name__, said and ": " + said, _meant(error), where)


def _meant(error):
    """Return the name that Python itself proposes in place of an unknown one, from 3.12 on."""
    if not isinstance(error, (ImportError, NameError, AttributeError)) or not hasattr(traceback, "TracebackException"):
        return ""
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__)
        text = "".join(told.format_exception_only())
    except Exception:  # an app's own class may fail to describe itself
        return ""
    _, asks, meant = text.rpartition(". Did you ")
    return asks + meant.strip() if asks and "\n" not in meant.strip() else ""


def remedy(error, target):
    """Return what the manifest has to say for an import to work, as the end of a sentence; "" where that is unknown."""
    if isinstance(error, KeyError) and _is_of_environment(error):
        return "; set it under `env` in the manifest"
    absent, module = getattr(error, "name", None), (target or "").partition(":")[0]
    if isinstance(error, ImportError) and absent and (module + ".").startswith(absent + "."):
        return "; the app has no such module: correct `entrypoint` in the manifest, which is %s" % target
    return ""


def _is_of_environment(error):
    """Whether a key is missing in os.environ."""
    frames = _frames(error)
    if not frames:
        return False
    path, _, name, text = tuple(frames[-1])[:4]
    of_os = name == "__getitem__" and (path == "<frozen os>" or os.path.basename(path) == "os.py")
    return of_os or "environ[" in (text or "")


def _line(value):
    try:
        text = " ".join(str(value).split())
    except Exception:  # an app's own class may fail to describe itself
        return ""
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _place(error):
    """Return file:line of the app's own code, "" where it has no part in it."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        shown = _own(error.filename) or os.path.basename(error.filename)
        return "%s:%d" % (shown, error.lineno)
    found = ""
    for frame in _frames(error):
        own = _own(frame[0])
        if own:
            found = "%s:%d" % (own, frame[1])
    return found


def _own(path):
    """Return a file's path below the app's directory, "" if it is not the app's own."""
    here = os.getcwd()
    for root in (here, os.path.realpath(here)):
        if path.startswith(root + os.sep) and not any(part in path for part in _NOT_THE_APPS):
            return path[len(root) + 1 :]
    return "" if os.path.isabs(path) or path.startswith("<") else path


def _frames(error):
    return traceback.extract_tb(_traceback_of(error))


def _traceback_of(error):
    """Return its traceback from the first frame that is neither gunicorn's, ours nor importlib's."""
    step = getattr(error, "__traceback__", None) or sys.exc_info()[2]
    while step is not None and _is_foreign(step.tb_frame.f_code.co_filename):
        step = step.tb_next
    return step


def _is_foreign(path):
    return path.startswith(_OURS + ("<frozen ", _directory_of("gunicorn"), _directory_of("importlib")))


def _directory_of(package):
    module = sys.modules.get(package)
    return os.path.dirname(module.__file__) + os.sep if module is not None else "<frozen "


def print_traceback(error):
    """Print an exception without gunicorn's part of its traceback."""
    _print("".join(traceback.format_exception(type(error), error, _traceback_of(error))))


def _print_as_python(error):
    """Print what ended an import as Python would, without gunicorn's part."""
    if isinstance(error, SystemExit):
        _print("" if error.code is None or isinstance(error.code, int) else "%s\n" % (error.code,))
    else:
        print_traceback(error)


def _print(text):
    sys.stderr.write(text)
    sys.stderr.flush()
