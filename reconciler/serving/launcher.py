# Run by an app's own interpreter, which may be Python 2.7: becomes gunicorn in this very process.
# usage: launcher.py DIRECTORY -c CONFIG TARGET     (the listener is descriptor 3)
import errno
import io
import os
import sys

sys.path.pop(0)  # this file's directory is none of the app's business
os.chdir(sys.argv[1])
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str(os.getpid())
sys.argv = ["gunicorn"] + sys.argv[2:]


class _Log(io.FileIO):
    """Standard output or error in a file: a disk that takes no more costs what is printed, not the request."""

    def write(self, what):
        try:
            return io.FileIO.write(self, what)
        except (IOError, OSError) as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
                raise
            return len(what)


def _printing(stream):
    text = {"encoding": stream.encoding, "errors": stream.errors, "newline": "\n", "write_through": True}
    return io.TextIOWrapper(_Log(stream.fileno(), "wb", closefd=False), **text)


if sys.version_info[0] > 2:
    sys.stdout, sys.stderr = _printing(sys.stdout), _printing(sys.stderr)

from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]  # noqa: E402

run()
