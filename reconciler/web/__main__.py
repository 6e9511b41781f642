"""The process that answers at the API's listeners: standard input is a line to the daemon, the listeners follow it.

What it serves is told on that line; when the line ends the daemon is gone, and so is this.
"""

import ctypes
import pickle
import resource
import signal
import socket

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_DESCRIPTORS = 1024


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))  # even when it hangs it ends with the daemon
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, most), most))
    line = socket.socket(fileno=0)
    with line.makefile("rb") as told:
        settings, count = pickle.load(told)  # noqa: S301  from the daemon, which started this and runs the same code
    from reconciler.web.server import serve

    serve(settings, line, [socket.socket(fileno=3 + number) for number in range(count)])


if __name__ == "__main__":
    main()
