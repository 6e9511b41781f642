"""What an isolated instance sees and may change, as one value; the parts that keep it apart, and what is said of them.

A part that the host requires and that is missing keeps an instance from starting; one that nothing requires is told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any, Literal, TypeAlias, TypeGuard

from reconciler.linux.dataclass import dataclass
from reconciler.planning.isolation.destinations import ALL, place_of, ports_of
from reconciler.planning.isolation.refused import NOT_REFUSED

Isolation: TypeAlias = Literal["strict", "user", "none"]
Part: TypeAlias = Literal["user", "files", "processes", "syscalls", "network"]
# Where an app may connect to, or which ports it may open besides the listener that it gets.
Connects: TypeAlias = Literal["all", "none"]
# Where an app may connect to as its manifest says, and how an instance is held: by Landlock to ports of TCP, or by
# rules of the kernel that know its user, to a list or from what is refused to every app.
Reaches: TypeAlias = Literal["all", "none", "listed"]
HeldTo: TypeAlias = Literal["all", "none", "ports", "rules", "most"]

# What keeps an app apart, with its letter in a table, and what it means.
PARTS: Mapping[Part, tuple[str, str]] = {
    "user": ("U", "a user of its own"),
    "files": ("F", "files of others are out of sight, and the system's cannot be changed"),
    "processes": ("P", "processes of others cannot be signalled, read or changed, and their ports not be taken"),
    "syscalls": ("S", "system calls that no app needs are refused"),
    "network": ("N", "no network can be reached but what the manifest allows, and requests that come in"),
}
_PARTS_OF: Mapping[Isolation, tuple[Part, ...]] = {
    "strict": ("user", "files", "processes", "syscalls"),
    "user": ("user",),
    "none": (),
}
_FLAGS = {
    "ro": "visible",
    "rw": "writable",
    "hide": "hidden",
    "cell": "cells",
    "shut": "shut",
    "alone": "alone",
    "fixed": "fixed",
    "own": "owned",
    "mix": "mixed",
    "grant": "granted",
    "open": "opened",
    "share": "shared",
    "port": "ports",
    "map": "mapped",
}
_NETWORK = "network.connect"
NOT_YET = "what runs of it has the daemon's user; it gets its own once it is stopped and started again"
_NO_RULES = "no rules of the kernel know its user, as that takes a daemon of root, or a warden, and nftables"
_BY_PORTS = "of its list only ports of TCP are held, whatever the address, and UDP is not"
_DNS = 53
_OF_INDEXES = (_DNS, 80, 443)
_REQUIRE = "isolation.require of the host's settings"
_LONGEST_REASON = 300
_MOST_TOLD = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A directory of the host that an app may see; `link` is the name of a link to it in its home, "" for none."""

    path: str
    link: str = ""
    write: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """What a manifest says of the isolation of an app.

    `places` are where it may connect to, of one with a list, each as a manifest writes it. It is held to them `by_user`
    where the kernel has rules that know its user, and that change while it runs.
    """

    kind: Isolation = "none"
    mounts: tuple[Mount, ...] = ()
    connects: Reaches = "all"
    listens: Connects = "none"
    places: tuple[str, ...] = ()
    by_user: bool = False

    def __bool__(self) -> bool:
        return self.kind != "none"

    @property
    def of_revision(self) -> "Isolated":
        """What of it takes another instance: all but a list that the kernel's rules hold it to."""
        return replace(self, places=()) if self.by_user else self


NOT_ISOLATED = Isolated()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What one instance sees; paths are absolute texts. Nothing in it is secret.

    `visible` can be read, `writable` changed as well; `hidden` are left out of these. /tmp is
    its own. `cells` are the files by which it enters its control groups. Tried from inside: that `shut` cannot be
    opened or
    listed or connected to, that nothing of other apps shows in `alone`, that nothing can be changed in `fixed`, and
    that the process `daemon` cannot be reached. It begins in `directory`.
    `required` are the parts without which it does not start. `access_log` is opened for it, "" for none. `uid` and
    `gid` are None for those of the daemon, and `no_user` says why. That user gets what is `owned`, and
    what is `mixed`, in which something of the app writes as the daemon's user; it may read what is
    `granted` to it and what is `opened` to all, and is in the groups of what is `shared`,
    each as GID:PATH. In what is `mapped`, it and root change places; where one of these cannot be shown so, it is none.
    Its `account` is NAME:HOME, by which programs find that user. Of `ports` it may connect to
    those by TCP, to all without any; `loose` says what that does not hold.
    """

    isolation: Isolation
    visible: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    access_log: str = ""
    directory: str = "/"
    connects: HeldTo = "all"
    ports: tuple[str, ...] = ()
    loose: str = ""
    listens: Connects = "none"
    daemon: int = 0
    uid: int | None = None
    gid: int | None = None
    no_user: str = ""
    owned: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    mapped: tuple[str, ...] = ()
    account: str = ""
    required: tuple[Part, ...] = ()

    def as_variables(self) -> dict[str, str]:
        """Return what the environment says of the user."""
        name = self.account.partition(":")[0]
        return {"USER": name, "LOGNAME": name} if name else {}

    def as_arguments(self) -> tuple[str, ...]:
        """Return what the program that confines itself is told by its arguments, each NAME=VALUE."""
        lists = [f"{flag}={path}" for flag, name in _FLAGS.items() for path in getattr(self, name)]
        texts = {
            "isolation": self.isolation,
            "access": self.access_log,
            "dir": self.directory,
            "connects": self.connects,
            "listens": self.listens,
            "nouser": self.no_user,
            "account": self.account,
            "loose": self.loose,
        }
        numbers = {"daemon": self.daemon or None, "uid": self.uid, "gid": self.gid}
        return (
            *(f"{name}={text}" for name, text in texts.items() if text),
            *(f"{name}={number}" for name, number in numbers.items() if number is not None),
            *(f"require={part}" for part in self.required),
            *lists,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What an instance found when it tried, from inside, what must fail: the parts that it has, and why others lack.

    `tried` is how much it tried.
    """

    isolation: Isolation = "none"
    held: tuple[Part, ...] = ()
    missing: Mapping[Part, str] = field(default_factory=dict)
    tried: int = 0

    def __str__(self) -> str:
        """Write it as the program does that confines itself."""
        lines = [f"isolation {self.isolation}", f"tried {self.tried}", *(f"held {part}" for part in self.held)]
        return "\n".join([*lines, *(f"missing {part} {why}" for part, why in self.missing.items()), "end"])

    @property
    def letters(self) -> str:
        """One letter for each part that is missing."""
        return "".join(PARTS[part][0] for part in PARTS if part in self.missing)

    @property
    def told(self) -> str:
        """Say what is missing, each with its letter, "" if nothing is."""
        lacks = "; ".join(f"{PARTS[part][0]} ({part}): {why}" for part, why in self.missing.items())
        return f"isolation lacks {lacks}" if lacks else ""


NO_PROOF = Proof()


def needs_network_part(isolation: Isolated) -> bool:
    """Whether an app does not start unless the network is kept from it: where that can be had for what it asks."""
    return isolation.connects == "none" or isolation.by_user


def held_to(isolation: Isolated, ports: Iterable[int] = (), *, is_held: bool = False, why: str = "") -> dict[str, Any]:
    """Return the fields of a confinement by which an instance is held to where its app may connect to.

    `ports` are those of the servers of its services. By the rules of the kernel it `is_held`, or `why` says why not.
    """
    if isolation.connects == "none":
        return {"connects": isolation.connects}
    if isolation.by_user:
        return {"connects": "rules"}
    if isolation.kind != "strict":
        return {"connects": "all"}
    if isolation.connects == "all" or ALL in isolation.places:
        return {"connects": "most"} if is_held else {"connects": "all", "loose": f"{why or _NO_RULES}: {NOT_REFUSED}"}
    listed = ports_of(map(place_of, isolation.places))
    if listed is None:
        return {"connects": "ports", "loose": f"{_NO_RULES}, and the list has a place without a port"}
    allowed = sorted({*listed, *ports, _DNS})
    return {"connects": "ports", "ports": tuple(map(str, allowed)), "loose": f"{_NO_RULES}: {_BY_PORTS}"}


def builds_held_to(
    isolation: Isolated, ports: Iterable[int] = (), *, group: int | None = None, why: str = ""
) -> dict[str, Any]:
    """Return the fields of a confinement by which what builds an app is held, or `why` says why not.

    It reaches the network, as packages come from there, and of this host nothing but what the manifest names, by a
    `group` that the rules of the kernel know. Without them, an app that names places reaches by TCP their ports, those
    of the web, and these `ports`.
    """
    if isolation.kind != "strict":
        return {}
    if group is not None:
        return {"connects": "rules" if isolation.places else "most", "gid": group}
    loose = f"{why or _NO_RULES}: {NOT_REFUSED}"
    listed = ports_of(map(place_of, isolation.places))
    if isolation.connects == "all" or listed is None or ALL in isolation.places:
        return {"loose": loose}
    return {"connects": "ports", "ports": tuple(map(str, sorted({*listed, *ports, *_OF_INDEXES}))), "loose": loose}


def desired_parts(isolation: Isolation) -> tuple[Part, ...]:
    """Return the parts that an app asks for by its kind of isolation; the network is a matter of its own."""
    return _PARTS_OF[isolation]


def requirable_parts(isolation: Isolation) -> tuple[Part, ...]:
    """Return the parts that a host can require of an app of that kind."""
    return (*_PARTS_OF[isolation], *(("network",) if isolation == "strict" else ()))


def refusal(proof: Proof, given: Confinement) -> str:
    """Say why an instance is not started that was confined so, with what it lacks, "" if it is."""
    by_manifest = given.connects in {"none", "rules"}
    lacking = [
        f'"{part}", and {proof.missing[part]} ({_NETWORK if part == "network" and by_manifest else _REQUIRE})'
        for part in given.required
        if part in proof.missing
    ]
    return f"isolation requires {'; '.join(lacking)}" if lacking else ""


def proof_of(text: str) -> Proof | None:
    """Read what `str` of a proof wrote; None if it is not whole, or nothing that was written so."""
    lines = text.splitlines()
    if not lines or lines[-1] != "end" or len(lines) > _MOST_TOLD:
        return None
    found = [line.partition(" ")[::2] for line in lines[:-1]]
    said = dict(found)
    kind, tried = said.get("isolation", ""), said.get("tried", "")
    if not _is_kind(kind) or not (tried.isdecimal() and tried.isascii() and len(tried) < len("1000000")):
        return None
    pairs = [rest.partition(" ")[::2] for name, rest in found if name == "missing"]
    missing: dict[Part, str] = {part: why[:_LONGEST_REASON] for part, why in pairs if _is_part(part)}
    held: tuple[Part, ...] = tuple(part for name, part in found if name == "held" and _is_part(part))
    if {*held, *missing} - {"network"} != set(desired_parts(kind)):
        return None
    return Proof(isolation=kind, held=held, missing=missing, tried=int(tried))


def _is_part(name: str) -> TypeGuard[Part]:
    return name in PARTS


def _is_kind(name: str) -> TypeGuard[Isolation]:
    return name in _PARTS_OF
