"""Give an environment files of its own: copies of those that are hard links into the installer's cache.

Through a link an app could change what the environments of other apps hold. An installer that copies takes longer: it
opens each copy twice and truncates it, upon which ext4 writes it to the disk at once.

Runs as a program, which takes the directory of an environment and imports nothing of ours; as many processes copy as
there are processors, up to four.
"""

import os
import sys
from collections.abc import Iterable, Iterator

_MOST_PROCESSES = 4
_MOST_AT_ONCE = 1 << 30


def files_below(directory: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each directory that has files, and their names; symbolic links are not followed. Raises OSError."""
    left = [directory]
    while left:
        at, files = left.pop(), list[str]()
        with os.scandir(at) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
        if files:
            yield at, files


def separate(name: str, directory: int) -> None:
    """Put a copy in the place of a file that has other links; `directory` is a descriptor. Raises OSError.

    The file is not there for a moment: nothing uses an environment that is not finished.
    """
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        status = os.fstat(source)
        if status.st_nlink == 1:
            return
        os.unlink(name, dir_fd=directory)
        mode = status.st_mode & 0o777
        copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=directory)
        try:
            left = status.st_size
            while left and (sent := os.sendfile(copy, source, None, min(left, _MOST_AT_ONCE))):
                left -= sent
        finally:
            os.close(copy)
    finally:
        os.close(source)
    if left:
        raise OSError(0, "it became shorter while it was copied")


def _separate_all(found: Iterable[tuple[str, list[str]]]) -> int:
    """Return the exit code of a process that puts copies in the place of some files."""
    path = ""
    try:
        for at, files in found:
            path = at
            directory = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            for name in files:
                path = f"{at}/{name}"
                separate(name, directory)
            os.close(directory)
    except OSError as error:
        sys.stderr.write(f"cannot copy {path}: {error.strerror}\n")
        return 1
    return 0


def main(directory: str) -> int:
    """Give an environment files of its own; return an exit code."""
    os.umask(0)  # copies get the mode of what they are copies of
    try:
        found = list(files_below(directory))
    except OSError as error:
        sys.stderr.write(f"cannot list {error.filename}: {error.strerror}\n")
        return 1
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    children = list[int]()
    for number in range(1, processes):
        if (child := os.fork()) == 0:
            os._exit(_separate_all(found[number::processes]))
        children.append(child)
    code = _separate_all(found[::processes])
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return 1 if code or any(ended) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
