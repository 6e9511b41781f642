"""Seventy things that no app should do to its host and its neighbours; each is tried, and nothing is changed.

Answers with a line for each try: `refused` or `THROUGH`, and what it was. A query tells it of a neighbour, as in
/?victim=blog&victim_pid=4711&victim_port=8000&daemon_pid=4700&file=/tmp/of-another&socket=blog; or by an argument, as a
program. Where nothing listens, as at the admin port of a proxy that is not there, a connection is refused by anyone.
"""

import ctypes
import errno
import os
import platform
import resource
import socket
import sys
from contextlib import suppress
from urllib.parse import parse_qsl

LIBC = ctypes.CDLL(None, use_errno=True)
# System calls that are asked for nothing that could be done: a kernel that would do it complains of that.
ARM = platform.machine() == "aarch64"
CALLS = {
    "mount a file system": (40 if ARM else 165, 0, 0, 0, 0, 0),
    "unmount one": (39 if ARM else 166, 0, 0),
    "change the root": (41 if ARM else 155, 0, 0),
    "copy a tree of mounts": (428, -1, 0, 1),
    "open a file system": (430, 0, 0),
    "change a mount": (442, -1, 0, 0, 0, 0),
    "make a namespace": (97 if ARM else 272, 1),
    "enter a namespace": (268 if ARM else 308, -1, 0),
    "load a program into the kernel": (280 if ARM else 321, -1, 0, 0),
    "watch the kernel's events": (241 if ARM else 298, 0, 0, -1, -1, 0),
    "use the keys of the kernel": (219 if ARM else 250, 99, 0, 0, 0, 0),
    "handle page faults": (282 if ARM else 323, -1),
    "make a ring of requests": (425, 0, 0),
    "restart the host": (142 if ARM else 169, 0, 0, 0, 0),
    "swap to a file": (224 if ARM else 167, 0, 0),
    "set the clock": (170 if ARM else 164, 1, 1),
    "name the host": (161 if ARM else 170, 0, -1),
    "open a file by its handle": (265 if ARM else 304, -1, 0, 0),
    "watch every file": (262 if ARM else 300, -1, 0),
    "read the kernel's log": (116 if ARM else 103, 10, 0, 0),
}
IPPROTO_MPTCP, MSG_FASTOPEN = 262, 0x20000000
ADMIN = ("127.0.0.1", 2019)
REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


def is_refused(number, *arguments):
    """Make a system call; it is refused unless the kernel got as far as to look at what was asked."""
    return LIBC.syscall(number, *[ctypes.c_long(each) for each in arguments]) < 0 and ctypes.get_errno() in REFUSALS


def reads(path):
    """Open a file, list a directory, or connect to a socket."""
    if os.path.isdir(path):
        return bool(os.listdir(path))
    if os.path.exists(path) and not os.path.isfile(path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            return True
    with open(path, "rb") as file:
        return bool(file.read(1))


def writes(directory):
    """Make a file, and remove it."""
    path = os.path.join(directory, ".hostile")
    with open(path, "x"):
        os.unlink(path)
    return True


def lists_others(directory):
    return len(os.listdir(directory)) > 1


def opens(family, kind, protocol=0):
    with socket.socket(family, kind, protocol):
        return True


def takes_port(port):
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(("127.0.0.1", port))
        return True


def connects(place, protocol=0):
    """Connect by TCP; what is let out and never answered has got through."""
    with socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_STREAM, protocol) as own:
        own.settimeout(1)
        with suppress(TimeoutError):
            own.connect(place)
        return True


def connects_by_sending(place):
    with socket.socket() as own:
        own.sendto(b"", MSG_FASTOPEN, place)
        return True


def sends(place):
    """Send an empty packet to where nothing takes it."""
    with socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.sendto(b"", place)
        return True


def connects_by_name(name):
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(f"\0{name}")
        return True


def steers():
    with socket.socket() as own:
        try:
            own.setsockopt(socket.SOL_SOCKET, 51, bytes(16))  # SO_ATTACH_REUSEPORT_CBPF, with no program
        except OSError as error:
            return error.errno not in REFUSALS
        return True


def types_into_terminal():
    return not is_refused(29 if ARM else 16, 0, 0x5412, 0)


def takes_descriptor(pid):
    found = os.pidfd_open(pid)
    try:
        return not is_refused(438, found, 0, 0)
    finally:
        os.close(found)


def gains_root():
    """Become the user 0, if only in name, with every right that is left."""
    os.setgroups([0])
    return True


def tries(facts):
    """Yield each try: what it is, and a function that tells whether it got through, or raises OSError."""
    home = os.environ.get("HOME", "/nowhere")
    state = facts.get("state") or os.path.dirname(os.path.dirname(home))
    victim = facts.get("victim", "victim")
    pid, daemon = int(facts.get("victim_pid", 1)), int(facts.get("daemon_pid", 1))
    for name in ("reconciler.db", "key", "control.sock", "keeper.sock", "lock", "logs"):
        yield f"read {name} of the state directory", lambda name=name: reads(os.path.join(state, name))
    yield "list the apps", lambda: lists_others(os.path.join(state, "apps"))
    yield "list the homes", lambda: lists_others(os.path.join(state, "homes"))
    yield "read a neighbour's home", lambda: reads(os.path.join(state, "homes", victim))
    yield "read a neighbour's code", lambda: reads(os.path.join(state, "apps", victim, "builds"))
    yield "change the state database", lambda: open(os.path.join(state, "reconciler.db"), "r+b").close() is None
    for path in ("/etc/shadow", "/etc/gshadow", "/root/.bashrc", "/home", "/var/log", "/run"):
        yield f"read {path}", lambda path=path: reads(path)
    yield "read a file that another has in /tmp", lambda: reads(facts.get("file", "/nowhere"))
    for path in ("/usr", "/etc", sys.prefix, os.path.dirname(os.path.abspath(__file__))):
        yield f"write in {path}", lambda path=path: writes(path)
    for who, number in (("a neighbour", pid), ("the daemon", daemon)):
        yield f"signal {who}", lambda number=number: os.kill(number, 0) is None
        yield f"read the environment of {who}", lambda number=number: reads(f"/proc/{number}/environ")
        yield f"read the files of {who}", lambda number=number: reads(f"/proc/{number}/root/etc")
        yield f"take a descriptor of {who}", lambda number=number: takes_descriptor(number)
        yield f"read the limits of {who}, to set them", lambda number=number: resource.prlimit(number, 7)
    yield "set the priority of a neighbour", lambda: os.setpriority(0, pid, os.getpriority(0, pid)) is None
    yield "set the processors of a neighbour", lambda: os.sched_setaffinity(pid, os.sched_getaffinity(pid)) is None
    yield "take the port of a neighbour", lambda: takes_port(int(facts.get("victim_port", 0)))
    yield from tries_of_network(int(facts.get("victim_port", 0)), facts.get("socket", "victim"))
    yield "choose who gets a connection", steers
    yield "listen to all packets", lambda: opens(getattr(socket, "AF_PACKET", 17), socket.SOCK_RAW)
    yield "send packets of its own making", lambda: opens(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    yield "type into the terminal of an operator", types_into_terminal
    yield "take another group", gains_root
    for name, call in CALLS.items():
        yield name, lambda call=call: not is_refused(*call)


def tries_of_network(port, name):
    """Yield those that reach others by the network of the host."""
    neighbour = ("127.0.0.1", port)
    yield "connect to a neighbour", lambda: connects(neighbour)
    yield "connect to a neighbour by version 6", lambda: connects((f"::ffff:{neighbour[0]}", port))
    yield "connect to a neighbour by several paths", lambda: connects(neighbour, protocol=IPPROTO_MPTCP)
    yield "connect to a neighbour by sending", lambda: connects_by_sending(neighbour)
    yield "connect to a socket of a neighbour by its name", lambda: connects_by_name(name)
    yield "connect to the admin port of a proxy", lambda: connects(ADMIN)
    yield "send to the admin port of a proxy", lambda: sends(ADMIN)
    yield "connect to the metadata of a cloud", lambda: connects(("169.254.169.254", 80))
    yield "send to the metadata of a cloud", lambda: sends(("169.254.169.254", 9))
    yield "send to the metadata of a cloud by version 6", lambda: sends(("fd00:ec2::254", 9))


def report(facts):
    """Try everything; return what was tried, each with whether it got through."""
    found = []
    for name, attempt in tries(facts):
        try:
            through = bool(attempt())
        except OSError:
            through = False
        found.append((name, through))
    return found


def lines(query):
    return "".join(
        f"{'THROUGH' if through else 'refused'}  {name}\n" for name, through in report(dict(parse_qsl(query)))
    )


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [lines(environ["QUERY_STRING"]).encode()]


if __name__ == "__main__":
    sys.stdout.write(lines(sys.argv[1] if sys.argv[1:] else ""))
