"""Keep on record which images an installation has pushed: each before it is, the last one of an app last."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_file

_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """An image of a revision of an app: in which HOST/REPOSITORY, its digest and tag, and when it was pushed last."""

    repository: str
    digest: str
    tag: str
    revision: str
    at: float


class PushedImages:
    """The images of one app that this installation has pushed, in a file below a directory."""

    def __init__(self, directory: Path, app: str) -> None:
        self.directory = directory
        self._file = directory / f"{app}.json"

    def all(self) -> tuple[PushedImage, ...]:
        """Return them, the last one last. Raises OSError, and ValueError where the file is damaged."""
        try:
            found = json.loads(read_file(self._file, _MOST_BYTES))
            return tuple(PushedImage(**each) for each in found)
        except FileNotFoundError:
            return ()
        except (TypeError, RecursionError) as error:
            raise ValueError(f"{self._file} is damaged") from error

    def note(self, image: PushedImage) -> None:
        """Put an image on record that is about to be pushed. Raises OSError; blocks."""
        try:
            known = self.all()
        except ValueError:
            known = ()  # what was in it stays in the registry
        key = image.repository, image.digest, image.tag
        self._write([each for each in known if (each.repository, each.digest, each.tag) != key] + [image])

    def forget(self, gone: Iterable[PushedImage]) -> None:
        """Take images off the record. Raises OSError, ValueError; blocks."""
        out = frozenset(gone)
        self._write([each for each in self.all() if each not in out])

    def _write(self, images: list[PushedImage]) -> None:
        if not images:
            self._file.unlink(missing_ok=True)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, json.dumps([asdict(each) for each in images], indent=1))


def apps_with_images(directory: Path) -> list[str]:
    """Return the apps of which images are on record below a directory."""
    if not directory.is_dir():
        return []
    return sorted(each.name.removesuffix(".json") for each in directory.iterdir() if not each.name.startswith("."))
