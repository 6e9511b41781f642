"""An environment gets copies in the place of links into the installer's cache."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.staging.environments import own_files


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Packages of several directories, all of whose files are links, beside a file of the environment's own."""
    cache, environment = tmp_path / "cache", tmp_path / "environment"
    for number in range(6):
        for place in (cache, environment):
            (place / f"package{number}" / "below").mkdir(parents=True)
        for name, size in (("empty.py", 0), ("below/short.py", 10), ("below/long.so", 100_000)):
            file = cache / f"package{number}" / name
            file.write_bytes(os.urandom(size))
            file.chmod(0o755 if name.endswith(".so") else 0o640)
            (environment / f"package{number}" / name).hardlink_to(file)
    (environment / "own.py").write_text("own")
    (environment / "link.py").symlink_to(cache / "package0/below/short.py")
    return environment


def separated(environment: Path, most_bytes: int = resource.RLIM_INFINITY) -> tuple[int, str]:
    """Run the program; return its exit code and what it says."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, "-I", "-S", own_files.__file__, str(environment)]
    ended = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, preexec_fn=limit)
    return ended.returncode, ended.stderr


def files(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and mode of each regular file."""
    found = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(directory)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in found}


def test_each_link_becomes_a_copy_with_the_same_content_and_mode(environment: Path) -> None:
    before, own = files(environment), (environment / "own.py").stat().st_ino
    assert separated(environment) == (0, "")
    assert files(environment) == before
    assert {path.stat().st_nlink for path in environment.rglob("*") if path.is_file() and not path.is_symlink()} == {1}
    assert (environment / "own.py").stat().st_ino == own
    assert (environment / "link.py").is_symlink()


def test_what_is_written_into_a_copy_stays_out_of_the_cache(environment: Path) -> None:
    cached = environment.parent / "cache/package0/below/short.py"
    before = cached.read_bytes()
    assert separated(environment)[0] == 0
    with (environment / "package0/below/short.py").open("r+b") as file:
        file.write(b"changed")
    assert cached.read_bytes() == before


def test_a_copy_that_cannot_be_written_is_told_with_the_reason(environment: Path) -> None:
    code, said = separated(environment, most_bytes=50_000)
    assert code == 1
    assert f"cannot copy {environment}/package" in said
    assert "long.so: File too large\n" in said


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    assert separated(tmp_path / "missing") == (1, f"cannot list {tmp_path}/missing: No such file or directory\n")
