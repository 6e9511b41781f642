# Run by an app's own interpreter, which may be Python 2.7: becomes gunicorn in this very process.
# usage: launcher.py DIRECTORY -c CONFIG TARGET     (the listener is descriptor 3)
import os
import sys

sys.path.pop(0)  # this file's directory is none of the app's business
os.chdir(sys.argv[1])
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
sys.argv = ["gunicorn"] + sys.argv[2:]

from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]  # noqa: E402

run()
