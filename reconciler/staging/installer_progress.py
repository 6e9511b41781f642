"""Follow the output of uv or pip, and summarise how far an installation is.

Lines that are not understood change nothing.
"""

import re
from pathlib import Path

from reconciler.planning.wording import counted

_RESOLVED = re.compile(r"Resolved (\d+) packages?")
_PREPARED = re.compile(r"(Prepared|Installed) (\d+) packages?")
_STARTED = re.compile(
    r"^\s*(?P<verb>Downloading|Building|Collecting|Building wheels? for) (?:collected packages: )?(?P<name>[\w.\-]+)"
)
_DONE = re.compile(r"^\s*(?:Downloaded|Built) (?P<name>[\w.\-]+)")
_INSTALLING = re.compile(r"^Installing collected packages: (?P<names>.*)")


class InstallerProgress:
    """The state of an installer. `fetched` is a directory that gets an entry for each package it has fetched."""

    def __init__(self, fetched: Path | None = None) -> None:
        self._fetched = fetched
        self._initially = self._entries()
        self._total = 0
        self._collected = 0
        self._phase = "resolving"
        self._current: dict[str, str] = {}

    def feed(self, line: str) -> None:
        """Take in a line of output."""
        if resolved := _RESOLVED.search(line):
            self._total, self._phase = int(resolved[1]), "fetching"
        elif prepared := _PREPARED.search(line):
            self._phase = "linking" if prepared[1] == "Prepared" else "compiling"
            self._current.clear()
        elif installing := _INSTALLING.match(line):
            self._total, self._phase = installing["names"].count(",") + 1, "installing"
            self._current.clear()
        elif done := _DONE.match(line):
            self._current.pop(done["name"], None)
        elif started := _STARTED.match(line):
            self._start(started["verb"].partition(" ")[0], started["name"])

    def summary(self) -> str:
        """Return the phase, the number of packages, and the package in work."""
        words = [self._phase]
        if self._phase == "fetching" and self._fetched is not None:
            fetched = min(self._total, self._entries() - self._initially)
            words.append(f"{fetched} of up to {counted(self._total, 'package')}")
        elif self._total:
            words.append(counted(self._total, "package"))
        elif self._collected:
            words.append(f"{counted(self._collected, 'package')} so far")
        latest = next(reversed(self._current), None)
        if latest is not None:
            words.append(f"{self._current[latest]} {latest}")
        return ", ".join((words[0] if len(words) == 1 else " ".join(words[:2]), *words[2:]))

    def _start(self, verb: str, name: str) -> None:
        if verb == "Collecting":
            self._collected += 1
            self._current.clear()
        self._current[name] = verb.lower()

    def _entries(self) -> int:
        try:
            return 0 if self._fetched is None else sum(1 for _ in self._fetched.iterdir())
        except OSError:
            return 0
