"""Give an environment files of its own: copies of those that are hard links into the installer's cache.

Through a link an app could change what the environments of other apps hold. An installer that copies takes longer: it
opens each copy twice and truncates it, upon which ext4 writes it to the disk at once.

Runs as a program, which takes the directory of an environment and imports nothing of ours; as many processes copy as
there are processors, up to four.
"""

import os
import sys
from collections.abc import Sequence

_MOST_PROCESSES = 4
_WORTH_BYTES = 1 << 16  # to make a file takes as long as to copy so much
_MOST_AT_ONCE = 1 << 30


def linked(directory: str) -> list[tuple[int, list[str]]]:
    """Return the files with several links below a directory, by the directory they are in, and how much work they are.

    Symbolic links are not followed. Raises OSError.
    """
    found, left = list[tuple[int, list[str]]](), [directory]
    while left:
        work, files = 0, list[str]()
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1:
                        files.append(entry.path)
                        work += status.st_size + _WORTH_BYTES
        if files:
            found.append((work, files))
    return found


def separate(path: str) -> None:
    """Put a copy in the place of a file: not at once, as nothing uses an unfinished environment. Raises OSError."""
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(source)
        os.unlink(path)  # noqa: PTH108  pathlib is not loaded for it
        copy = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, status.st_mode & 0o777)
        try:
            left = status.st_size
            while left and (sent := os.sendfile(copy, source, None, min(left, _MOST_AT_ONCE))):
                left -= sent
        finally:
            os.close(copy)
    finally:
        os.close(source)
    if left:
        raise OSError(0, "it became shorter while it was copied", path)


def _separate_all(files: Sequence[str]) -> int:
    """Return the exit code of a process that gives copies to some files."""
    for path in files:
        try:
            separate(path)
        except OSError as error:
            sys.stderr.write(f"cannot copy {path}: {error.strerror}\n")
            return 1
    return 0


def main(directory: str) -> int:
    """Give an environment files of its own; return an exit code."""
    os.umask(0)  # copies get the mode of what they are copies of
    try:
        found = sorted(linked(directory), reverse=True)
    except OSError as error:
        sys.stderr.write(f"cannot list {error.filename}: {error.strerror}\n")
        return 1
    processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES, len(found))
    parts = [[path for _, files in found[number::processes] for path in files] for number in range(processes)]
    children = list[int]()
    for part in parts[1:]:
        if (child := os.fork()) == 0:
            os._exit(_separate_all(part))
        children.append(child)
    code = _separate_all(parts[0]) if parts else 0
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return 1 if code or any(ended) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
