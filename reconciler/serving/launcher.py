# Run by an app's own interpreter, which may be Python 2.7: applies the sandbox, then becomes gunicorn in this process.
# usage: launcher.py DIRECTORY -c CONFIG TARGET     (the listener is descriptor 3)
#        launcher.py DIRECTORY -- COMMAND...        (becomes any other program, without a listener)
import errno
import io
import os
import resource
import sys

sys.path.pop(0)  # no directory of the app


def _apply_sandbox(encoded):
    """Take on umask, the limits of descriptors, and user and group if they are given."""
    umask, soft, hard = encoded[:3]
    os.umask(umask)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if encoded[3:]:
        uid, gid = encoded[3:]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


if "RECONCILER_SANDBOX" in os.environ:
    _apply_sandbox([int(number) for number in os.environ.pop("RECONCILER_SANDBOX").split()])
os.chdir(sys.argv[1])
if sys.argv[2] == "--":
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606  becoming the program is all there is to do
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
