"""Become the given command, which the kernel kills when the process that started it is gone.

A script, run as `python -I -S leash.py STARTER COMMAND…`: a daemon that is killed while it installs must not leave an
installer behind that writes into the environment its successor builds.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this command is gone")
    try:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 -- becoming the command is all there is to do
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[2]}: {error.strerror}")
