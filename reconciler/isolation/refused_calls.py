"""System calls that no app needs, and that an attacker does: refused to an isolated app.

The numbers are of x86_64 and of aarch64: <asm/unistd.h>, <asm-generic/unistd.h>.
"""

import errno

from reconciler.linux.seccomp import Rule, filter_of

# Each with its number on x86_64 and on aarch64, 0 for none.
_REFUSED = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "bpf": (321, 280), "perf_event_open": (298, 241),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    "iopl": (172, 0), "ioperm": (173, 0), "modify_ldt": (154, 0), "uselib": (134, 0),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
}  # fmt: skip
_SOCKET, _SETSOCKOPT, _IOCTL, _CLONE, _CLONE3 = (41, 198), (54, 208), (16, 29), (56, 220), 435
# Of later kernels than this list: refused as a kernel does that has none of them.
_UNKNOWN_FROM = 467
_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_SENDTO, _SENDMSG, _SENDMMSG = (44, 206), (46, 211), (307, 269)
_LOCAL = (1, 16)  # AF_UNIX, and AF_NETLINK, which asks for the host's addresses
_FAMILIES = (*_LOCAL, 2, 10)  # AF_INET, AF_INET6
# Priorities and limits of other processes: Landlock lets them be changed, where the user is the same.
_OF_ONE_PROCESS = ((302, 261), (203, 122), (144, 119), (142, 118), (314, 274))  # prlimit64, sched_set*
_SETPRIORITY, _IOPRIO_SET, _PRIO_USER = (141, 140), (251, 30), 2
# MPTCP, SMC and QUIC are no protocols of packets: the kernel opens sockets of its own for one of these, which Landlock
# does not take for TCP, and of which rules of packets may not know the user. So does SMC by TCP_ULP.
_OF_THE_KERNEL = 0xFFFFFF00
_TCP, _TCP_ULP = 6, 31
# With IP_LOCAL_PORT_RANGE, listen() without bind(), of which Landlock knows nothing, gets any port that is asked for.
_IP, _LOCAL_PORT_RANGE = 0, 51
_MSG_FASTOPEN = 0x20000000  # connects as it sends, past what looks at connections
# SO_ATTACH_FILTER, DETACH_FILTER, LOCK_FILTER, ATTACH_BPF, ATTACH_REUSEPORT_CBPF and EBPF, DETACH_REUSEPORT_BPF: the
# listener is the daemon's, and of all instances.
_FILTERS = (26, 27, 44, 50, 51, 52, 68)
_SOL_SOCKET = 1
# Whoever opens a file waits, up to 45 s, for one who has a lease on it; where builds run as root, that is any file of
# the host's that they can read.
_FCNTL, _SETLEASE = (72, 25), 1024
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: what is typed into the terminal of an operator


_MADE: "dict[tuple[str, bool, bool], bytes]" = {}


def refusals(machine: str, *, connects: bool = True, sends_first: bool = True) -> bytes:
    """Return the filter for this kind of machine, of an app that `connects` or must not. Raises KeyError for others.

    One that connects may do so by sending if it `sends_first`. It is made once: a process that is forked has it.
    """
    key = machine, connects, sends_first
    if key not in _MADE:
        _MADE[key] = _made(machine, connects=connects, sends_first=sends_first)
    return _MADE[key]


def _made(machine: str, *, connects: bool, sends_first: bool) -> bytes:
    at = {"x86_64": 0, "aarch64": 1}[machine]
    rules = [Rule(numbers[at], errno.EPERM) for numbers in _REFUSED.values() if numbers[at]]
    rules += [
        Rule(_CLONE3, errno.ENOSYS),  # its flags are in memory, where no filter looks: programs fall back to clone
        Rule(_CLONE[at], errno.EPERM, (0, "bits", (_NAMESPACES,))),
        Rule(_SOCKET[at], errno.EAFNOSUPPORT, (0, "not in", _FAMILIES if connects else _LOCAL)),
        Rule(_SOCKET[at], errno.EPROTONOSUPPORT, (2, "bits", (_OF_THE_KERNEL,))),
        *(Rule(numbers[at], errno.EPERM, (0, "not in", (0,))) for numbers in _OF_ONE_PROCESS),
        *(Rule(numbers[at], errno.EPERM, (1, "not in", (0,))) for numbers in (_SETPRIORITY, _IOPRIO_SET)),
        Rule(_SETPRIORITY[at], errno.EPERM, (0, "in", (_PRIO_USER,))),
        Rule(_SETSOCKOPT[at], errno.EPERM, (1, "in", (_SOL_SOCKET,)), (2, "in", _FILTERS)),
        Rule(_SETSOCKOPT[at], errno.EPERM, (1, "in", (_TCP,)), (2, "in", (_TCP_ULP,))),
        Rule(_SETSOCKOPT[at], errno.EPERM, (1, "in", (_IP,)), (2, "in", (_LOCAL_PORT_RANGE,))),
        Rule(_IOCTL[at], errno.EPERM, (1, "in", _TERMINAL_INPUT)),
        Rule(_FCNTL[at], errno.EACCES, (1, "in", (_SETLEASE,))),
    ]
    if not connects or not sends_first:
        sends = ((_SENDTO[at], 3), (_SENDMSG[at], 2), (_SENDMMSG[at], 3))
        rules += [Rule(call, errno.EPERM, (flags, "bits", (_MSG_FASTOPEN,))) for call, flags in sends]
    return filter_of(machine, rules, _UNKNOWN_FROM, errno.ENOSYS)
