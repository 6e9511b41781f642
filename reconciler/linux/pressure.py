"""Read how much of the time processes wait for memory, processors or disks: PSI, Documentation/accounting/psi.rst."""

from pathlib import Path
from typing import Final

from reconciler.linux.dataclass import dataclass
from reconciler.linux.proc_files import read_proc

RESOURCES: Final = ("memory", "cpu", "io")
_HOST = Path("/proc/pressure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """The share of the last ten seconds in which some process waited, from 0 to 1, and the seconds of all time."""

    share: float
    seconds: float


def parsed(text: str) -> Stall | None:
    """Return what a pressure file says of some process, None if it is none."""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        values = dict(word.split("=", 1) for word in rest.split() if "=" in word)
        if kind == "some":
            try:
                return Stall(share=float(values["avg10"]) / 100, seconds=int(values["total"]) / 1e6)
            except (KeyError, ValueError):
                return None
    return None


def of_host() -> dict[str, Stall]:
    """Return that of this host by resource, nothing where the kernel does not count it."""
    found = {}
    for resource in RESOURCES:
        try:
            stall = parsed(read_proc(_HOST / resource))
        except OSError:
            continue
        if stall is not None:
            found[resource] = stall
    return found
