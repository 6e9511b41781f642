"""Confine the calling process to what one instance may see and do, for good; then prove it from inside.

The process has one thread, and becomes the app's program afterwards. Each fence is put up by itself: what the kernel
refuses is reported, and the others stand all the same.
"""

import _socket  # without the module around it, which takes longer to load than all else takes
import os
import resource
import stat
import sys

from reconciler.isolation.app_counts import counts_of
from reconciler.isolation.fence import BY_RULES, fence
from reconciler.isolation.giving import hand_out
from reconciler.isolation.refused_calls import refusals
from reconciler.isolation.tries import got_through
from reconciler.isolation.view import closed_ways, enter_view, open_ways, view_for
from reconciler.linux.kernel_calls import address_of, call_libc, prctl
from reconciler.linux.kernel_counts import enter as enter_users
from reconciler.linux.kernel_counts import leave_processes
from reconciler.linux.mapped_users import in_place_of_root, not_mapped
from reconciler.linux.privileges import SETGID, SETPCAP, drop_bounding_set, drop_capabilities, gain_no_more, may_each
from reconciler.linux.seccomp import install

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from reconciler.isolation.fence import Held
    from reconciler.isolation.view_maker import Asked, Made
    from reconciler.planning.isolation.confinement import Confinement

_OOM_SCORE = 100  # sooner than the daemon, and than what else runs here
_MOST_NAMED = 3
_CLONE_NEWNET = 0x40000000
_SET_DEATH_SIGNAL, _GET_DEATH_SIGNAL = 1, 2  # linux/prctl.h


class Beginning:
    """How a process begins that is forked to confine itself, as far as its parent has seen to that."""

    def __init__(self, held: "Held | None" = None, *, is_bounded: bool = False) -> None:
        """Note what is `held` open of the host's paths, and whether there is no capability in the bounding set."""
        self.held, self.is_bounded = held, is_bounded
        self.is_inside = False  # the control group of version 2 that it has to enter
        self.asked: Asked | None = None  # for what it need not make itself


def confine(given: "Confinement", begun: "Beginning | None" = None) -> str:
    """Confine this process; return the proof of that, as text. Raises OSError if a right could not be given up."""
    begun = Beginning() if begun is None else begun
    enter(given.cells, is_inside=begun.is_inside)
    _give_way_to_others()
    reasons: dict[str, list[str]] = {}
    drops, has_groups = may_each(SETPCAP, SETGID)  # a view of its own may give rights that are good for nothing else
    users = _in_place_of_root(given)
    uid = None if given.mapped and users is None else given.uid
    owner = None if uid is None or given.gid is None else (uid, given.gid)
    if owner is None and given.no_user:
        reasons.setdefault("user", []).append(given.no_user)
    made = None if begun.asked is None else begun.asked.received()
    apart = counts_of(None if given.mapped else uid) if made is None or made.apart is None else made.apart
    strict = given.isolation == "strict"
    sees = _see(given, reasons, made, users) if strict else owner is not None and _reach(given, reasons)
    if owner is not None and not sees:
        # The directories of the daemon are its user's alone: only by mounts does another user get to what is below.
        reasons.setdefault("user", []).append("without mounts of its own it is kept from its files")
        owner = None
    if given.connects in BY_RULES and owner is None and given.gid is None:
        lacks = given.no_user or "it has that of the daemon"
        reasons.setdefault("network", []).append(f"rules know an app by a user of its own, and {lacks}")
    outside = None
    if given.connects == "none":
        outside = _socket.socket(_socket.AF_INET)  # as the connections that the app is going to accept
        _leave_network(reasons)
    ends_with_parent = _death_signal()
    if apart is not None:
        try:
            enter_users(apart)
        except OSError:  # it counts as it would without one
            apart = None
    if drops and (made is None or apart is not None or not begun.is_bounded):  # it is full in another user namespace
        drop_bounding_set()
    _become(given, owner, sets_groups=has_groups)
    if ends_with_parent:
        prctl(_SET_DEATH_SIGNAL, ends_with_parent)
    drop_capabilities()
    gain_no_more()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if strict:
        fence(given, reasons, sees=sees, held=begun.held, rules=None if made is None else made.rules)
        _refuse_calls(reasons, connects=given.connects != "none", sends_first=given.connects != "ports")
    return _proof(given, reasons, outside)


def _in_place_of_root(given: "Confinement") -> "int | None":
    """Return a descriptor of the users that what is mapped shows; None where a file system cannot show them."""
    if not given.mapped or given.uid is None or given.gid is None:
        return None
    try:
        users = in_place_of_root(given.uid, given.gid)
    except OSError:
        return None
    if unmapped := not_mapped(given.mapped, users):
        os.close(users)
        os.write(2, f"reconciler: runs as root: {unmapped} cannot be shown with another owner\n".encode())
        return None
    return users


def _see(given: "Confinement", reasons: "dict[str, list[str]]", made: "Made | None", users: "int | None") -> bool:
    """Leave the host's files for what is listed, its user's by then. Raises OSError if that could not be given."""
    if made is not None:
        if not made.handed_out:
            hand_out(given)
        made.enter()
        return True
    try:
        tree = view_for(given, users)
    except OSError as error:
        reasons.setdefault("files", []).append(f"this host allows no mounts of its own ({error.strerror})")
        return False
    hand_out(given)
    try:
        enter_view(tree)
    except OSError as error:
        if given.uid is not None and not given.mapped:  # to which its files belong by now
            raise
        reasons.setdefault("files", []).append(f"this host allows no root of its own ({error.strerror})")
        return False
    return True


def _reach(given: "Confinement", reasons: "dict[str, list[str]]") -> bool:
    """Have the files of another user be where they are on the host. Raises OSError if they could not be given."""
    try:
        ways = closed_ways(list(given.visible), list(given.writable))
    except OSError as error:
        reasons.setdefault("user", []).append(f"this host allows no mounts of its own ({error.strerror})")
        return False
    hand_out(given)
    open_ways(ways)
    return True


def _become(given: "Confinement", owner: "tuple[int, int] | None", *, sets_groups: bool) -> None:
    """Become another user for good, or have no group but its own. Raises OSError."""
    if owner is not None:
        uid, gid = owner
        leave_processes()
        if given.mapped:  # a script opens them again by their names in /dev
            _give_pipes(uid)
        # What has its group on the disk shows as that of root in what is mapped.
        os.setgroups([0] if given.mapped else [int(each.partition(":")[0]) for each in given.shared])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif sets_groups:
        os.setgroups([] if given.gid is None else [os.getgid()])
        if given.gid is not None:  # rules of the kernel know by it what builds an app
            os.setresgid(given.gid, given.gid, given.gid)


def _give_pipes(uid: int) -> None:
    for number in (1, 2):
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            os.fchown(number, uid, -1)


def _death_signal() -> int:
    """Return the signal that ends this process with its parent, 0 for none; it is lost with user and namespace."""
    kept, address = address_of(bytes(4))
    call_libc("prctl", _GET_DEATH_SIGNAL, address)
    return int.from_bytes(bytes(kept), sys.byteorder)  # type: ignore[call-overload]  # a buffer


def enter(entrances: "tuple[str, ...] | list[str]", *, is_inside: bool = False) -> None:
    """Become a member of control groups, by the files that take members; of those that let it in.

    One that it is in by now is left alone: to move a process takes the kernel some milliseconds, wherever it goes.
    One that was made in the first of version 2 need not look.
    """
    inside = None
    for entrance in entrances:
        if entrance.endswith("/cgroup.procs"):
            if is_inside:
                is_inside = False
                continue
            inside = _groups() if inside is None else inside
            group = "/" + "/".join(entrance.split("/")[-4:-1])
            if any(line.endswith(group) for line in inside):
                continue
        try:
            descriptor = os.open(entrance, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            os.write(descriptor, b"0")
        except OSError:
            pass
        finally:
            os.close(descriptor)


def _groups() -> "list[str]":
    """Return the control groups that this process is in, as cgroups(7) writes them."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  pathlib would have to be loaded
            return file.read().splitlines()
    except OSError:
        return []


def _leave_network(reasons: "dict[str, list[str]]") -> None:
    """Leave the host's network for an empty one; sockets that are open stay in the former."""
    try:
        call_libc("unshare", _CLONE_NEWNET)
    except OSError as error:
        reasons.setdefault("network", []).append(f"this host allows no network of its own ({error.strerror})")


def _give_way_to_others() -> None:
    """Have the kernel take this process sooner when memory is short."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, str(_OOM_SCORE).encode())
    except OSError:  # it has a higher one, and may not lower it
        pass
    finally:
        os.close(descriptor)


def _refuse_calls(reasons: "dict[str, list[str]]", *, connects: bool, sends_first: bool) -> None:
    try:
        install(refusals(os.uname().machine, connects=connects, sends_first=sends_first))
    except KeyError:
        reasons.setdefault("syscalls", []).append(f"there is no list of calls for {os.uname().machine}")
    except OSError as error:
        reasons.setdefault("syscalls", []).append(f"this kernel filters none ({error.strerror})")


def _proof(given: "Confinement", reasons: "dict[str, list[str]]", outside: "_socket.socket | None") -> str:
    count, through = got_through(given, outside)
    if outside is not None:
        outside.close()
    parts: tuple[str, ...] = ("user", "files", "processes", "syscalls") if given.isolation == "strict" else ("user",)
    parts += ("network",) if given.connects != "all" or given.loose else ()
    missing = {part: f"from inside it could {_some(names)}" for part, names in through.items()}
    if given.loose:
        missing["network"] = "; ".join([given.loose, *([missing["network"]] if "network" in missing else [])])
    if "user" in missing and os.geteuid() != given.uid:
        missing["user"] = "it runs as the user of the daemon"
    lines = [f"isolation {given.isolation}", f"tried {count}"]
    for part in parts:
        why = "; ".join([missing[part], *reasons.get(part, [])]) if part in missing else ""
        lines.append(f"missing {part} {' '.join(why.split())}" if why else f"held {part}")
    return "\n".join([*lines, "end"])


def _some(names: "list[str]") -> str:
    more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
