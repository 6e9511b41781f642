"""Tell from the events of a burst how a source is being changed, and so how long it has to be quiet to be complete."""

from reconciler.linux.inotify import Change
from reconciler.staging.source.tree import is_dropping

# An editor's names beside the file that it saves: a temporary one and a backup.
_MOST_NAMES = 3


class Burst:
    """Changes of one source without a rest, so many, the first of which was at `began_at`."""

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.last_at = began_at
        self.changes = 0
        self._last: dict[str, Change] = {}
        self._is_of_many = False

    def note(self, change: Change | None, now: float) -> None:
        """Take one more change, None for one that may be of anything."""
        self.last_at = now
        self.changes += 1
        if change is not None and is_dropping(change.name):
            return
        if change is None or not change.name or (change.name not in self._last and len(self._last) >= _MOST_NAMES):
            self._is_of_many = True
            self._last.clear()
        elif not self._is_of_many:
            self._last[change.name] = change

    @property
    def is_one_file(self) -> bool:
        """Whether one file was saved, and nothing is being written to it; what an editor had beside it is gone."""
        left = [change for change in self._last.values() if not change.gone]
        return not self._is_of_many and len(left) == 1 and left[0].complete
