"""An error is told in the kernel's words, in the library's, or at least by its name, and a file only if it has one."""

import errno
import os
import re

import pytest

from reconciler.linux.error_words import in_words, with_file
from tests.support.site import REPOSITORY

DENIED = os.strerror(errno.EACCES)
_BARE = re.compile(r"\{(?:str\()?error\.(?:strerror|filename)\)?\}")
# They run as programs of their own, most before or in place of an app's, and tell of refusals of the kernel alone.
_OF_THE_KERNEL = (
    "isolation/main.py", "isolation/confine.py", "isolation/fence.py", "linux/tree_exec.py", "linux/bounded_exec.py",
    "tasks/runner.py", "staging/environments/own_files.py",
)  # fmt: skip
_WITH_FILE = ("inspection/checks/network.py",)  # only where there is one


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, DENIED, "/srv/x"), DENIED),
        (OSError("cannot be undone"), "cannot be undone"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("no text"), "no text"),
    ],
)
def test_an_error_has_words(error: BaseException, words: str) -> None:
    assert in_words(error) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, DENIED, "/srv/x"), f"{DENIED}: /srv/x"),
        (PermissionError(errno.EACCES, DENIED, b"/srv/x"), f"{DENIED}: /srv/x"),
        (PermissionError(errno.EACCES, DENIED), DENIED),
        (PermissionError(errno.EACCES, DENIED, 7), DENIED),  # a descriptor
    ],
)
def test_a_file_is_told_only_if_there_is_one(error: OSError, words: str) -> None:
    assert with_file(error) == words


def test_no_message_takes_either_from_an_error_as_it_is() -> None:
    package = REPOSITORY / "reconciler"
    found = [
        f"{path.relative_to(package)}: {match[0]}"
        for path in package.rglob("*.py")
        if path.relative_to(package).as_posix() not in (*_OF_THE_KERNEL, *_WITH_FILE)
        for match in _BARE.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
