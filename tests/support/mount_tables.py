"""Tables of mounts as the kernel writes them, in which a directory is on a file system of any type."""

import os
from pathlib import Path

from reconciler.linux.mounts import Mounts


def table(directory: Path, of_type: str, *more: str) -> Mounts:
    """A file system of that type where this directory is, with optional fields, and mounts at other points."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = [f"27 1 {number} / / rw,relatime shared:1 master:2 - {of_type} /dev/root rw"]
    lines += [f"28 27 0:99 / {point} rw - nfs4 far:/away rw" for point in more]
    return Mounts.of("\n".join(lines) + "\n")
