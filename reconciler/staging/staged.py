"""A finished build: what serving needs to know of it, and the record of it on disk.

A build's files are not fsynced one by one: that would take longer than all the rest. Instead the record says in which
boot it was made, and a build of an earlier boot counts only when none of its files was left empty by a power cut (what
file systems leave of a file whose data never reached the disk). One that does not count is staged again.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.staging.detection.modules import Interface

RECORD = "build.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """One finished build; all paths are absolute.

    `code` is the directory to serve from (an app's own, or the one of its Django project), `pythonpath` further ones to
    import from, `python` the environment's interpreter, `entrypoint` what gunicorn loads, `worker_class` the gunicorn
    worker that suits its `interface`, `gunicorn` settings of the code's own, where a manifest does not say otherwise.
    `because` and `reported` are for an operator: why it has this environment, and which of its wishes are not granted.
    """

    directory: str
    code: str
    environment: str
    python: str
    python_version: str
    gunicorn_version: str
    entrypoint: str
    interface: "Interface"
    worker_class: str
    gunicorn: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    pythonpath: tuple[str, ...] = ()
    because: str = ""
    reported: tuple[str, ...] = ()


def boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def write(staged: Staged, draft: Path, boot: str) -> None:
    """Put the record into the build's directory, as it is before it is renamed to `staged.directory`."""
    filled = [
        os.path.relpath(os.path.join(directory, file), draft)  # noqa: PTH118 -- very many
        for directory, _, files in os.walk(draft)
        for file in files
        if os.lstat(os.path.join(directory, file)).st_size  # noqa: PTH118 -- the same
    ]
    text = json.dumps({"staged": asdict(staged), "boot": boot, "files": filled})
    (draft / RECORD).write_text(text, encoding="utf-8")


def read(directory: Path, boot: str) -> Staged | None:
    """The build in `directory`; None when there is none, or it did not survive a power cut."""
    try:
        record = json.loads((directory / RECORD).read_bytes())
        lists = {name: tuple(record["staged"][name]) for name in ("pythonpath", "reported")}
        staged = Staged(**{**record["staged"], **lists})
        if record["boot"] != boot and any(_emptied(directory / file) for file in record["files"]):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return staged if staged.directory == str(directory) else None


def _emptied(path: Path) -> bool:
    try:
        return path.lstat().st_size == 0
    except FileNotFoundError:
        return False  # the app removed it: creations reach the disk before the rename that follows them
