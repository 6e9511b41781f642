"""Start the web process: standard input is a socket to the daemon, the API's listeners are the descriptors after it.

The daemon sends the settings over that socket. When it closes, the daemon has ended, and so does this process.
"""

import ctypes
import pickle
import resource
import signal
import socket

from reconciler.linux.utf8_mode import ensure_utf8

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_DESCRIPTORS = 1024


def main() -> None:
    ensure_utf8()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))  # ends with the daemon even when it hangs
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, most), most))
    line = socket.socket(fileno=0)
    with line.makefile("rb") as sent:
        settings, count = pickle.load(sent)  # noqa: S301  from the daemon, which started this and runs the same code
    from reconciler.web.server import serve

    serve(settings, line, [socket.socket(fileno=3 + number) for number in range(count)])


if __name__ == "__main__":
    main()
