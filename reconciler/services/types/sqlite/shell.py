"""`python -I shell.py FILE [SQL]`: for hosts without the sqlite3 program. Imports the standard library alone."""

import sqlite3
import sys
from collections.abc import Iterator


def _statements(words: list[str]) -> Iterator[str]:
    """Those of the command line, else those typed, each ended by a semicolon."""
    if words:
        yield " ".join(words)
        return
    held = ""
    while True:
        try:
            held += input("sqlite> " if not held else "   ...> ") + "\n"
        except EOFError:
            return
        if sqlite3.complete_statement(held):
            yield held
            held = ""


def main(file: str, *words: str) -> int:
    """Run each statement and print its rows; returns 1 when one of them failed."""
    failed = 0
    with sqlite3.connect(file, isolation_level=None, timeout=10) as database:
        for statement in _statements(list(words)):
            try:
                for row in database.execute(statement):
                    print(*row, sep="|")  # noqa: T201  it is what it is for
            except sqlite3.Error as error:
                print(f"Error: {error}", file=sys.stderr)  # noqa: T201  the same
                failed = 1
    database.close()
    return failed


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
