"""Start a program confined, and read its proof of that: through a pipe that it loses when it becomes the app's."""

import asyncio
import fcntl
import os
import sys
from collections.abc import Mapping, Sequence

from reconciler.isolation.app_counts import held_counts
from reconciler.isolation.main import COUNTS, HELD_BACK, OURS
from reconciler.linux.dataclass import dataclass
from reconciler.linux.package_files import package_directory
from reconciler.planning.isolation.confinement import Confinement, Proof, proof_of

_LONGEST = 1 << 16
_BEYOND = 10
_WITHIN_S = 30.0


def confined(argv: Sequence[str], confinement: Confinement, report: int | None = None) -> tuple[str, ...]:
    """Return the command line of a program that confines itself, and then becomes another.

    It writes its proof to the descriptor `report`, or else to 4; to none if that is 0.
    """
    told = () if report is None else (f"report={report}",)
    counts = (f"{COUNTS}={held}",) if (held := held_counts()) else ()
    program = str(package_directory("reconciler.isolation") / "main.py")
    return (sys.executable, "-I", "-S", program, *confinement.as_arguments(), *told, *counts, "--", *argv)


def held_back(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which a program confines itself, and which it gives the one that it becomes.

    Variables of an app do nothing before: the loader, as one that is not confined, would load whatever they name.
    """
    return {name if name.startswith(OURS) else f"{HELD_BACK}{name}": value for name, value in environment.items()}


@dataclass(slots=True, kw_only=True)
class Report:
    """The two ends of the pipe by which a program tells what it has proved."""

    reading: int
    writing: int

    @classmethod
    def opened(cls) -> "Report":
        """Open one, of numbers at which a child has no other descriptor. Raises OSError."""
        ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _BEYOND) for end in ends)
        finally:
            for end in ends:
                os.close(end)
        return cls(reading=reading, writing=writing)

    async def proof(self, isolation: str) -> Proof | None:
        """Wait for the proof; return None if it is none of this isolation, or the program ended before it.

        Raises TimeoutError if nothing comes.
        """
        self.close(keep=self.reading)
        loop, said = asyncio.get_running_loop(), b""
        while len(said) < _LONGEST and not said.endswith(b"\nend"):
            readable = asyncio.Event()
            loop.add_reader(self.reading, readable.set)
            try:
                async with asyncio.timeout(_WITHIN_S):
                    await readable.wait()
            finally:
                loop.remove_reader(self.reading)
            try:
                more = os.read(self.reading, _LONGEST)
            except BlockingIOError:
                continue
            if not more:
                break
            said += more
        found = proof_of(said.decode(errors="replace"))
        return found if found is not None and found.isolation == isolation else None

    def close(self, *, keep: int = -1) -> None:
        """Close what is still open of it, but for one end."""
        for end in {self.reading, self.writing} - {keep, -1}:
            os.close(end)
        self.reading, self.writing = (end if end == keep else -1 for end in (self.reading, self.writing))
