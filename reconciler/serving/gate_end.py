"""Have a worker tell how it ends on its own. Loaded by gate.py, on Python 2.7 as well.

Whenever a worker crashes, the log names the line that it was at. What ends one that has passed its gate, an exception
or sys.exit in the app, leaves its traceback there, and the worker counts as one that exited, not as one that left.
"""

import os

try:
    import faulthandler
except ImportError:  # Python 2
    faulthandler = None

_STANDARD_ERROR = 2  # the log, also once the app has replaced sys.stderr


def tell_of_crashes():
    """Have a crash write its line into the log, from now on; gunicorn's own handler of SIGABRT follows."""
    if faulthandler is not None and not faulthandler.is_enabled():
        faulthandler.enable(_STANDARD_ERROR, False)


def guard(gate, worker, print_traceback):
    """Note what ends the worker, unless gunicorn was told to end it; `print_traceback` writes one into the log."""
    run = worker.run

    def watched():
        try:
            return run()
        except BaseException as error:
            if worker.alive and os.path.exists(os.path.join(gate.passed, str(os.getpid()))):
                gate.fell = True
                if isinstance(error, SystemExit):  # gunicorn and Python print any other
                    print_traceback(error)
            raise

    worker.run = watched
