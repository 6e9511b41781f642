"""Hold back manifests that may be half-written: one that does not parse any more counts as it last was for a moment.

Some editors and scripts close a file and open it again before all of it is written. What parses is never held back.
"""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.catalog import Catalog
from reconciler.manifests.origin import Listing, Look


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    content: bytes
    first_at: float
    changed_at: float


class HalfWritten:
    """The files that are held back: until they have not changed for `quiet_s`, at most for `longest_s`."""

    def __init__(self, quiet_s: float, longest_s: float) -> None:
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._held: dict[str, _Held] = {}

    @property
    def due_at(self) -> float | None:
        """When the first of them is judged as it is, in monotonic seconds; None when none is held back."""
        return min(map(self._due, self._held.values()), default=None)

    def held_back(self, before: Catalog, after: Catalog, looks: Sequence[Look], now: float) -> Sequence[Look]:
        """Return the looks with such files as they last were; `after` is what `looks` lead to as they are.

        They are the same looks if nothing is held back.
        """
        held = {}
        for file, entry in after.files.items():
            last = before.files.get(file)
            content = entry.content
            if isinstance(content, str) or not entry.parsed.problems or (last and last.content == content):
                continue
            known = self._held.get(file, _Held(content=content, first_at=now, changed_at=now))
            found = known if known.content == content else replace(known, content=content, changed_at=now)
            if self._due(found) > now:
                held[file] = found
        self._held = held
        return [_as_before(look, before, frozenset(held)) for look in looks] if held else looks

    def _due(self, held: _Held) -> float:
        return min(held.changed_at + self._quiet_s, held.first_at + self._longest_s)


def _as_before(look: Look, before: Catalog, held: frozenset[str]) -> Look:
    if not isinstance(look, Listing) or not held & look.files.keys():
        return look
    files = dict(look.files)
    for file in held & look.files.keys():
        if file in before.files:
            files[file] = before.files[file].content
        else:
            del files[file]
    return replace(look, files=files)
