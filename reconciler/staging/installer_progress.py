"""The output of uv or pip in, line by line; how far the installation is, in a few words, out."""

import re
from pathlib import Path

_RESOLVED = re.compile(r"Resolved (\d+) packages?")
_PREPARED = re.compile(r"(Prepared|Installed) (\d+) packages?")
_CURRENT = re.compile(
    r"^\s*(?P<what>Downloading|Building|Collecting|Building wheels? for) (?:collected packages: )?(?P<name>[\w.\-]+)"
)
_DONE = re.compile(r"^\s*(?:Downloaded|Built) (?P<name>[\w.\-]+)")
_INSTALLING = re.compile(r"^Installing collected packages: (?P<names>.*)")


class Progress:
    """What an installer is doing. `fetched` is a directory it puts an entry into for each package it has fetched."""

    def __init__(self, fetched: Path | None = None) -> None:
        self._fetched = fetched
        self._before = self._entries()
        self._total = 0
        self._collected = 0
        self._phase = "resolving"
        self._under_way: dict[str, str] = {}

    def hear(self, line: str) -> None:
        """Take in a line of output."""
        if resolved := _RESOLVED.search(line):
            self._total, self._phase = int(resolved[1]), "fetching"
        elif prepared := _PREPARED.search(line):
            self._phase = "linking" if prepared[1] == "Prepared" else "compiling"
            self._under_way.clear()
        elif installing := _INSTALLING.match(line):
            self._total, self._phase = installing["names"].count(",") + 1, "installing"
            self._under_way.clear()
        elif done := _DONE.match(line):
            self._under_way.pop(done["name"], None)
        elif current := _CURRENT.match(line):
            self._take_up(current["what"].partition(" ")[0], current["name"])

    def far(self) -> str:
        """The phase, how many packages, and one that is being worked on."""
        words = [self._phase]
        if self._phase == "fetching" and self._fetched is not None:
            words.append(f"{min(self._total, self._entries() - self._before)} of up to {self._total} packages")
        elif self._total:
            words.append(f"{self._total} packages")
        elif self._collected:
            words.append(f"{self._collected} packages so far")
        now = next(reversed(self._under_way), None)
        if now is not None:
            words.append(f"{self._under_way[now]} {now}")
        return ", ".join((words[0] if len(words) == 1 else " ".join(words[:2]), *words[2:]))

    def _take_up(self, what: str, name: str) -> None:
        if what == "Collecting":
            self._collected += 1
            self._under_way.clear()
        self._under_way[name] = what.lower()

    def _entries(self) -> int:
        try:
            return 0 if self._fetched is None else sum(1 for _ in self._fetched.iterdir())
        except OSError:
            return 0
