"""gunicorn with its defaults, the way one starts it by hand; and the app that everybody serves."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# It answers with the pid of its worker, so that who asks can tell a successor from what was there before.
APP = """import os
VERSION = "1"
def application(environ, start_response):
    body = ("%s %d\\n" % (VERSION, os.getpid())).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


def write_app(directory: Path, version: int = 1) -> None:
    """Put the app, or another version of it, there as a deploy tool does: renamed into place."""
    directory.mkdir(exist_ok=True)
    draft = directory.parent / f".{directory.name}.draft"
    draft.write_text(APP.replace('"1"', f'"{version}"'))
    draft.rename(directory / "wsgi.py")


def replace_app(directory: Path, version: int) -> None:
    """Put another version of the app there whole: its directory is renamed into place."""
    following, earlier = (directory.with_name(f"{directory.name}.{end}") for end in ("next", "earlier"))
    for each in (following, earlier):
        shutil.rmtree(each, ignore_errors=True)
    write_app(following, version)
    directory.rename(earlier)
    following.rename(directory)


def command(python: str, port: int, *options: str) -> list[str]:
    return [python, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", *options, "wsgi:application"]


@contextlib.contextmanager
def gunicorn_by_hand(python: str, app: Path, port: int, *options: str) -> Iterator[float]:
    """gunicorn with its defaults on the same app; yields the moment it was spawned."""
    env = {"PATH": os.environ["PATH"], "HOME": str(app.parent)}
    began = time.perf_counter()
    process = subprocess.Popen(
        command(python, port, *options),
        cwd=app,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield began
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
