"""What the hosts of a fleet have in force, seen from outside all the time, and which of them took a commit too early.

All times are seconds since 1970, as those of files are.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PAUSE_S = 0.02
_NEVER_S = float("inf")

# When a host took which commit; the oldest are first.
Takes = list[tuple[float, str]]


@dataclass(slots=True)
class FleetWatch:
    """`current` is the link of each host to the commit in force, which is made anew for each; `waves` are in order.

    No host may take a commit before every host of the waves before it had that commit in force for `well_for_s`
    seconds in which its daemon lived. `lives` are from when to when a daemon did.
    """

    current: Mapping[str, Path]
    waves: Sequence[Sequence[str]]
    well_for_s: float
    takes: dict[str, Takes] = field(default_factory=dict)
    lives: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _has_ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look for as long as the context lasts."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._has_ended.set()
            thread.join()

    def _watch(self) -> None:
        while not self._has_ended.wait(_PAUSE_S):
            for name in self.current:
                self._look(name)

    def _look(self, name: str) -> None:
        link = self.current[name]
        with contextlib.suppress(OSError):
            made, commit = _made(link), link.readlink().name
            if made != self._seen.get(name) and made == _made(link):
                self._seen[name] = made
                takes = self.takes.setdefault(name, [])
                if not takes or takes[-1][1] != commit:
                    takes.append((made[1] / 1e9, commit))

    def started(self, name: str) -> None:
        """Note that the daemon of a host is about to be started."""
        self.lives.setdefault(name, []).append((_now_s(), _NEVER_S))

    def ended(self, name: str) -> None:
        """Note that the daemon of a host is gone."""
        self.lives[name][-1] = (self.lives[name][-1][0], _now_s())

    def too_early(self, commits: Sequence[str], told: Mapping[str, Takes] | None = None) -> list[str]:
        """Return what was taken too early, of these commits.

        `told` is what hosts say themselves that they took: a thread that others keep from running may miss something.
        """
        takes = {name: sorted({*self.takes.get(name, []), *(told or {}).get(name, [])}) for name in self.current}
        found = []
        for number, wave in enumerate(self.waves):
            before = [name for earlier in self.waves[:number] for name in earlier]
            for name in wave:
                for at, commit in takes[name]:
                    missing = {each: self._well_s(each, takes[each], commit, at) for each in before}
                    missing = {each: well_s for each, well_s in missing.items() if well_s < self.well_for_s}
                    if commit in commits and missing:
                        found.append(f"{name} took {commit[:7]} at {at:.3f}, which others had for so long: {missing}")
        return found

    def _well_s(self, name: str, takes: Takes, commit: str, until: float) -> float:
        """Return for how long a host can have been well with a commit: it had it in force, and its daemon lived."""
        total = 0.0
        for (begun, taken), (ended, _) in zip(takes, [*takes[1:], (until, "")], strict=True):
            if taken == commit:
                for born, died in self.lives[name]:
                    total += max(0.0, min(ended, until, died) - max(begun, born))
        return total


def _made(link: Path) -> tuple[int, int]:
    found = os.lstat(link)
    return found.st_ino, found.st_mtime_ns


def _now_s() -> float:
    return time.time()  # noqa: TID251  compared with the times of files
