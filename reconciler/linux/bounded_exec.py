"""Become the given command, bounded in memory and priority, and killed by the kernel when its starter ends.

NICE is added to the command's niceness. If RECONCILER_STAGING_MEMORY is a number of bytes, the command and each process
it starts can use no more memory than that.

A script, run as `python -I -S bounded_exec.py STARTER NICE COMMAND…`: a daemon that is killed while it installs must
not leave an installer behind that writes into the environment its successor builds.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this command has ended")
    os.nice(int(sys.argv[2]))
    memory = int(os.environ.pop("RECONCILER_STAGING_MEMORY", "0"))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 -- becoming the command is all there is to do
    except OSError as error:
        sys.exit(f"cannot run {sys.argv[3]}: {error.strerror}")
