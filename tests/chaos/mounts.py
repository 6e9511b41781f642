"""File systems of a test's own: small ones that fill up, and one that the kernel makes read-only under a daemon."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the file system this test spoils")


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int = 48) -> Iterator[Path]:
    """An empty file system of that size at `place`, gone afterwards."""
    place.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "none", str(place))
    try:
        yield place
    finally:
        _run("umount", "--lazy", str(place))


@contextlib.contextmanager
def failing_disk(place: Path, image: Path, megabytes: int = 64) -> Iterator[Path]:
    """An ext4 at `place` that `break_disk` can make read-only as the kernel does when a disk fails."""
    place.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    try:
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        _run("mount", "-o", "loop,errors=remount-ro", str(image), str(place))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no ext4 in a file can be mounted here: {error}")
    try:
        yield place
    finally:
        _run("umount", "--lazy", str(place))


def break_disk(place: Path) -> None:
    """From now on nothing can be written there: what the kernel does at the first error of a disk."""
    subprocess.run(["mount", "-o", "remount,abort", str(place)], check=False, capture_output=True)
    try:
        (place / "trial").write_text("x")
    except OSError:
        return
    pytest.skip("the kernel does not let a file system be spoilt")


def fill(place: Path) -> Path:
    """Leave not one block free; returns the file that takes them."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 65536):
            pass
    return ballast


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
