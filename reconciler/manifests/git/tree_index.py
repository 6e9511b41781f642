"""The index of the files of a commit, as they are on the disk."""

from collections.abc import Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.tree_limits import Entry, directories_above


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The files of a commit by path, each with its object, and the tree id of each directory; "" is the top.

    `invalid` are the manifests that defined nothing when the commit was judged. `shared` are the tree ids of the
    directories, by path, that are on the disk once for all commits that have them: of their files, those that manifests
    name and the manifests are among `files`, and all are `inside`, by tree id, until they are written.
    """

    commit: str
    files: Mapping[str, Entry] = field(default_factory=dict)
    directories: Mapping[str, str] = field(default_factory=dict)
    invalid: frozenset[str] = frozenset()
    shared: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict, repr=False)
    _own: dict[str, Entry] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def own_files(self) -> Mapping[str, Entry]:
        """The files that are in no shared directory."""
        if not self.shared:
            return self.files
        if not self._own:
            self._own.update(divided(self.files, self.shared)[0])
        return self._own


def divided(
    files: Mapping[str, Entry], shared: Mapping[str, str]
) -> tuple[dict[str, Entry], dict[str, dict[str, Entry]]]:
    """Return the files that are in no shared directory, and those of each of these by its tree id. Pure."""
    own: dict[str, Entry] = {}
    inside: dict[str, dict[str, Entry]] = {tree: {} for tree in shared.values()}
    for path, entry in files.items():
        place = next((above for above in directories_above(path) if above in shared), None)
        if place is None:
            own[path] = entry
        else:
            inside[shared[place]][path[len(place) + 1 :]] = entry
    return own, inside
