"""A machine inside this one: processes, mounts and a network of its own, in which nodes of a cluster are made.

All of it ends with its first process, which ends with whoever made it: nothing of this machine's network, mounts,
sysctls or containers is touched. Only control groups are made outside, and are removed; of a run that was killed, by
the next one.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.eventually import eventually

HUB = "10.77.0.1"
_CGROUPS = Path("/sys/fs/cgroup")
_PREFIX = "reconciler-engine-"
_SHARES = "16384"
# What a kubelet sets for the whole machine: it finds what it wants, and writes nothing.
_KUBELET_WANTS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def missing() -> str:
    """Why there can be none here, empty if there can."""
    if os.geteuid() != 0:
        return "nodes of a cluster are made by root"
    if not _hierarchies():
        return "nodes of a cluster need the controllers of cgroup v1"
    for each in ("ip", "nsenter", "unshare", "setpriv"):
        if shutil.which(each) is None:
            return f"nodes of a cluster need {each}"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "this machine lets no process make namespaces"


@dataclass(slots=True, kw_only=True)
class Space:
    """Namespaces that live as long as their first process, and what was started in them."""

    name: str
    directory: Path
    init: int
    holder: "subprocess.Popen[bytes]"
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def words(self, *which: str) -> list[str]:
        """What stands before a command that is to run in it."""
        if not self.init:
            return []
        return ["nsenter", "-t", str(self.init), *(which or ("-p", "-m", "-n")), "--"]

    def start(self, name: str, words: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start a program that runs until it ends; what it prints is in NAME.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.words(), *map(str, words)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", env={**os.environ, **(env or {})},
            )  # fmt: skip
        self.running.append(process)

    def run(self, *words: str | Path) -> str:
        """Run a command to its end, and return what it printed."""
        return _run([*self.words(), *map(str, words)])

    def kill(self, program: str) -> None:
        """Kill a program of it, and wait until it is gone."""
        for process in [each for each in self.running if _line(each).find(f"/{program} ") >= 0]:
            pids = _descendants(process.pid)
            for pid in reversed(pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            process.wait(30)
            self.running.remove(process)
            # Its ports are free only then.
            eventually(lambda pids=pids: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)  # type: ignore[misc]

    def end(self) -> None:
        """End every process of it; its mounts and devices go with them."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, 9)
        for process in (self.holder, *self.running):
            process.kill()  # what runs outside, too
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)


@dataclass(slots=True, kw_only=True)
class Machine:
    """A hub with a bridge, and nodes that are wired to it: node N has the address 10.77.0.(N+2)."""

    name: str
    directory: Path
    programs: Path
    hub: Space
    nodes: list[Space] = field(default_factory=list)

    @property
    def cgroup(self) -> str:
        """The control group of everything that nodes run, in each hierarchy."""
        return f"/{self.name}"

    def address(self, number: int) -> str:
        """The address of a node."""
        return f"10.77.0.{number + 2}"

    def cut(self, number: int, *, off: bool) -> None:
        """Cut a node off, or wire it up again."""
        _run([*self.hub.words("-n"), "ip", "link", "set", f"v{number}", "down" if off else "up"])


@contextmanager
def machine(directory: Path, programs: Path, nodes: int) -> Iterator[Machine]:
    """Make a machine with so many nodes, and end it."""
    directory.mkdir(parents=True, exist_ok=True)
    name = f"{_PREFIX}{os.getpid()}"
    _remove_what_was_left()
    with ExitStack() as stack:
        stack.callback(_remove_cgroups, name)
        hub = _space("hub", directory / "hub", programs, [])
        stack.callback(hub.end)
        made = Machine(name=name, directory=directory, programs=programs, hub=hub)
        _ip(hub, "link", "set", "lo", "up")
        _ip(hub, "link", "add", "br0", "type", "bridge")
        _ip(hub, "addr", "add", f"{HUB}/24", "dev", "br0")
        _ip(hub, "link", "set", "br0", "up")
        hub.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number in range(nodes):
            for hierarchy in _hierarchies():
                _make_cgroup(hierarchy, Path(name) / f"node-{number}")
            node = _space(f"node-{number}", directory / f"node-{number}", programs, hub.words())
            stack.callback(node.end)
            made.nodes.append(node)
            _wire(made, number)
        for number, node in enumerate(made.nodes):
            for other in range(nodes):
                if other != number:
                    _ip(node, "route", "add", f"10.244.{other}.0/24", "via", made.address(other))
            _ip(hub, "route", "add", f"10.244.{number}.0/24", "via", made.address(number))
        yield made


def _wire(made: Machine, number: int) -> None:
    node, wire = made.nodes[number], f"v{number}"
    only = made.hub.words("-n")
    _run([*only, "ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", str(node.init)])
    _run([*only, "ip", "link", "set", wire, "master", "br0", "up"])
    _ip(node, "link", "set", "lo", "up")
    _ip(node, "addr", "add", f"{made.address(number)}/24", "dev", "eth0")
    _ip(node, "link", "set", "eth0", "up")
    _ip(node, "route", "add", "default", "via", HUB)
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")


_MOUNTS = """
set -e
mkdir -p "$1/cgroups" "$1/data" "$1/bin" "$1/sysctls"
mount --rbind /sys/fs/cgroup "$1/cgroups"
mount -t sysfs sysfs /sys
mount --rbind "$1/cgroups" /sys/fs/cgroup
umount -l "$1/cgroups"
for each in "$1/data" /run /var/log /var/lib; do mount -t tmpfs tmpfs "$each"; done
mkdir -p /run/netns /run/lock
for each in "$1"/sysctls/*; do
    file=/proc/sys/$(basename "$each" | tr : /)
    [ ! -e "$file" ] || mount --bind "$each" "$file"
done
exec "$2" -P
"""


def _space(name: str, directory: Path, programs: Path, inside: list[str]) -> Space:
    (directory / "sysctls").mkdir(parents=True)
    for file, text in _KUBELET_WANTS.items():
        (directory / "sysctls" / file.replace("/", ":")).write_text(f"{text}\n")
    with (directory / "mounts.log").open("wb") as log:
        holder = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL", *inside, "unshare", "--pid", "--fork", "--kill-child", "--mount",
                "--net", "--mount-proc", "sh", "-c", _MOUNTS, "sh", str(directory),
                str(programs / "node" / "usr" / "bin" / "catatonit"),
            ],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def first() -> int:
        assert holder.poll() is None, (directory / "mounts.log").read_text()
        (init,) = [pid for pid in _descendants(holder.pid) if Path(f"/proc/{pid}/comm").read_text() == "catatonit\n"]
        return init

    try:
        return Space(name=name, directory=directory, init=eventually(first, 60), holder=holder)
    except AssertionError:
        holder.kill()
        holder.wait()
        raise


def _descendants(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def _line(process: "subprocess.Popen[bytes]") -> str:
    return " ".join(map(str, process.args)) if isinstance(process.args, list) else str(process.args)


def _hierarchies() -> list[Path]:
    """The directories of the hierarchies of cgroup v1, each once."""
    found = {each.resolve() for each in _CGROUPS.iterdir() if (each / "tasks").exists()} if _CGROUPS.is_dir() else set()
    return sorted(found) if any(each.name == "memory" for each in found) else []


def _make_cgroup(hierarchy: Path, path: Path) -> None:
    """Make a group; those of cpuset take no process until they have what their parent has."""
    made = hierarchy
    for part in path.parts:
        before, made = made, made / part
        made.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (before / name).exists() and not (made / name).read_text().strip():
                (made / name).write_text((before / name).read_text())
    # All pods together would be as one process to the rest of this machine, which may have a hundred.
    if (shares := hierarchy / path.parts[0] / "cpu.shares").exists():
        shares.write_text(_SHARES)


def _remove_cgroups(name: str) -> None:
    """Remove the groups of a machine whose processes are gone."""
    for hierarchy in (*_hierarchies(), _CGROUPS / "unified"):
        top = hierarchy / name
        if top.is_dir():
            eventually(lambda top=top: _removed(top), 30)  # type: ignore[misc]


def _removed(top: Path) -> bool:
    for directory, _, _ in os.walk(top, topdown=False):
        Path(directory).rmdir()
    return not top.exists()


def _remove_what_was_left() -> None:
    for hierarchy in _hierarchies():
        for each in hierarchy.glob(f"{_PREFIX}*"):
            if not Path(f"/proc/{each.name.removeprefix(_PREFIX)}").exists():
                _remove_cgroups(each.name)


def _ip(space: Space, *words: str) -> None:
    space.run("ip", *words)


def _run(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, cwd="/")
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout
