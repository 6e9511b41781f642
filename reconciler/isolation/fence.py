"""Have the kernel refuse every path but those that are listed, and what would reach processes outside: landlock(7).

A process from which others are forked holds open what the system has to show. Each of them has the rules that one gets
that looks for all by itself.
"""

import fcntl
import os
import select
import time

from reconciler.isolation.view import DEVICES, LENGTHENED
from reconciler.linux.landlock import LIST, READ, WRITE, Ruleset, rule, version

TYPE_CHECKING = False  # as that of `typing`, which takes a while to load
if TYPE_CHECKING:
    from reconciler.planning.isolation.confinement import Confinement

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32", "/etc")
SECRET = (
    "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssh", "/etc/reconciler", "/etc/sudoers",
    "/etc/sudoers.d", "/etc/ssl/private", "/etc/pki/tls/private", "/etc/letsencrypt", "/etc/krb5.keytab",
)  # fmt: skip
BY_RULES = frozenset({"rules", "most"})  # the kernel's, which know who it is, hold it to where it may connect
_BEYOND = 200  # the numbers of what is held, above those that a new process gets
_SETTLED_NS = 1_000_000_000  # a directory that changed less than that ago may change unnoticed: its clock is coarse


class Held:
    """Paths that isolated apps see, without what is secret, held open; none until they are renewed first."""

    def __init__(self, paths: "tuple[str, ...]" = SYSTEM, secret: "tuple[str, ...]" = SECRET) -> None:
        self._shown, self._secret = paths, secret
        self._mounts = -1
        self._seen: dict[str, tuple[int, int]] = {}
        self._rules: dict[str, list[bytes]] = {}
        self.numbers: list[int] = []

    def renew(self) -> None:
        """Look again if a path was added, removed, replaced or mounted meanwhile; hold none if that fails."""
        if self._mounts < 0 or self._has_changed():
            self.close()
            try:
                self._look()
            except OSError:  # each finds them by itself, then
                self.close()

    def close(self) -> None:
        """Hold none any more."""
        if self.numbers:
            os.closerange(min(self.numbers), max(self.numbers) + 1)  # nothing else has such numbers
        self._mounts, self._seen, self._rules, self.numbers = -1, {}, {}, []

    def rules_of(self, path: str, hidden: "tuple[str, ...]") -> "list[bytes] | None":
        """Return the rules that let a path be read, without what is hidden; None if that is not held."""
        more = [each for each in hidden if each not in self._secret and f"{each}/".startswith(f"{path}/")]
        return None if more or not set(self._secret) <= set(hidden) else self._rules.get(path)

    def _has_changed(self) -> bool:
        changes = select.poll()
        changes.register(self._mounts, select.POLLPRI)
        return bool(changes.poll(0)) or any(_stamp(path) != stamp for path, stamp in self._seen.items())

    def _look(self) -> None:
        self._mounts = self._hold("/proc/self/mountinfo", os.O_RDONLY)
        listed, known = ["/"], version()
        for path in self._shown:
            found = without(path, self._secret, listed)
            opened = [self._hold(each, os.O_PATH) for each in found if os.path.exists(each)]  # noqa: PTH110
            self._rules[path] = [rule(at, READ, known) for at in opened]
        self._seen = {path: _stamp(path) for path in listed}
        if time.time_ns() - max(changed for _, changed in self._seen.values()) < _SETTLED_NS:
            raise BlockingIOError

    def _hold(self, path: str, flags: int) -> int:
        opened = os.open(path, flags | os.O_CLOEXEC)
        try:
            self.numbers.append(fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _BEYOND))
        finally:
            os.close(opened)
        return self.numbers[-1]


def fence(
    given: "Confinement",
    reasons: "dict[str, list[str]]",
    *,
    sees: bool,
    held: "Held | None" = None,
    rules: "Ruleset | None" = None,
) -> None:
    """Take on the rules of a confinement for good; note the reasons for what they cannot keep it from, by part.

    `sees` says whether it has a view of its own; the rules may have been made before.
    """
    try:
        rules = rules_of(given, sees=sees, held=held) if rules is None else rules
        rules.enforce()
    except OSError as error:
        for part in ("files", "processes", "network"):
            reasons.setdefault(part, []).append(f"this kernel has no Landlock ({error.strerror})")
        return
    if not rules.keeps_from_network:
        reasons.setdefault("network", []).append("the Landlock of this kernel does not know of it")
    if not rules.keeps_processes_apart:
        reasons.setdefault("processes", []).append("the Landlock of this kernel lets signals through")


def rules_of(given: "Confinement", *, sees: bool, held: "Held | None" = None) -> Ruleset:
    """Make the rules of a confinement, for a process that has its view, if it has one of its own. Raises OSError.

    What is `held` open of the host's paths is not looked for again.
    """
    rules = _network_rules(given)
    _allow(rules, given, sees=sees, held=held)
    return rules


def _network_rules(given: "Confinement") -> Ruleset:
    """Return rules that refuse nothing yet but connections and ports of its own by TCP. Raises OSError."""
    free = given.connects in {"all", *BY_RULES} or (given.connects == "ports" and not given.ports)
    rules = Ruleset(connects=free, binds=given.listens == "all" and given.connects != "none")
    if rules.keeps_from_network:
        for port in given.ports:
            rules.allow_port(int(port))
    return rules


def _allow(rules: Ruleset, given: "Confinement", *, sees: bool, held: "Held | None") -> None:
    for path in (*given.visible, "/proc"):
        known = None if held is None else held.rules_of(path, given.hidden)
        if known is not None:
            rules.add(known)
            continue
        for each in without(path, given.hidden):
            rules.allow(each, READ)
    for path in (*given.writable, "/dev/shm"):  # noqa: S108  its own where it has a view of its own
        rules.allow(path, READ | WRITE)
    for path in DEVICES:
        rules.allow(path, READ | WRITE)
    rules.allow("/dev", LIST)
    if sees:
        rules.allow("/", LIST)
        rules.allow("/tmp", READ | WRITE)  # noqa: S108  its own
        for path in LENGTHENED:  # other files than those of the host that may be held open
            if path not in given.hidden:
                rules.allow(path, READ)


def without(path: str, hidden: "tuple[str, ...]", listed: "list[str] | None" = None) -> "list[str]":
    """Return what is at a path, without what is hidden: rules give rights to all below what they name.

    Directories whose content was looked at are added to those `listed`.
    """
    if path in hidden:
        return []
    if not any(each.startswith(f"{path.rstrip('/')}/") for each in hidden):
        return [path]
    try:
        names = os.listdir(path)  # noqa: PTH208  pathlib would have to be loaded
    except OSError:
        return []
    if listed is not None:
        listed.append(path)
    return [each for name in names for each in without(f"{path.rstrip('/')}/{name}", hidden, listed)]


def _stamp(path: str) -> "tuple[int, int]":
    found = os.stat(path)  # noqa: PTH116  pathlib would have to be loaded
    return found.st_ino, found.st_ctime_ns
