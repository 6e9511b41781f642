"""Read files side by side, in a process that can be killed while some of them wait for what they are about.

A script, run as `python -I -S held_files_main.py MOST`, with the files on standard input, one a line, then an empty
line. It tells of each on standard output: its number and size, then its content; the size is -1 if it cannot be read or
has more than MOST bytes. It says -1 and -1 first, once it begins. It ends with standard input, if not before. Imports
the standard library alone.
"""

import os
import struct
import sys
import threading

HEAD = "=ii"

_STACK = 256 << 10
_CHUNK = 64 << 10
_turn = threading.Lock()


def _content(path: str, most: int) -> bytes | None:
    content = b""
    try:
        reading = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while len(content) <= most and (part := os.read(reading, _CHUNK)):
                content += part
        finally:
            os.close(reading)
    except OSError:
        return None
    return content if len(content) <= most else None


def _tell(number: int, content: bytes | None) -> None:
    said = struct.pack(HEAD, number, -1 if content is None else len(content)) + (content or b"")
    with _turn:
        while said:
            said = said[os.write(1, said) :]


def _main(most: int) -> None:
    paths = list(iter(lambda: sys.stdin.readline().rstrip("\n"), ""))
    left = set(range(len(paths)))

    def read(number: int) -> None:
        _tell(number, _content(paths[number], most))
        with _turn:
            left.remove(number)
            if not left:
                os._exit(0)

    _tell(-1, None)
    threading.stack_size(_STACK)
    for number in range(len(paths)):
        threading.Thread(target=read, args=(number,), daemon=True).start()
    sys.stdin.read()  # until nothing waits for this any more
    os._exit(1)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
