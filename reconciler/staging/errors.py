"""Errors of staging: each message says in an operator's words why a build cannot be made, and how to fix it."""

import errno
import subprocess
from typing import ClassVar

from reconciler.linux.encodable import encodable
from reconciler.linux.regular_files import UnfitFile
from reconciler.planning.apps.retry import Retry

# What the host and the network can end by themselves; which files a source has, they cannot change.
_OF_WORLD = (OSError, subprocess.SubprocessError, ImportError)
_OF_FILES = frozenset((errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


class StagingError(Exception):
    """A build cannot be made; bytes of names that are not UTF-8 are escaped in its message.

    `retry` says when that is tried again: as given, else by what caused it, else not before an edit.
    """

    _otherwise: ClassVar[Retry] = "never"

    def __init__(self, message: str, *, retry: Retry | None = None) -> None:
        super().__init__(encodable(message))
        self._retry = retry

    @property
    def retry(self) -> Retry:
        """When the build is tried again."""
        if self._retry is not None:
            return self._retry
        if isinstance(self.__cause__, StagingError):
            return self.__cause__.retry
        if isinstance(self.__cause__, _OF_WORLD):
            of_files = isinstance(self.__cause__, UnfitFile) or getattr(self.__cause__, "errno", None) in _OF_FILES
            return "never" if of_files else "soon"
        return self._otherwise


class CommandFailed(StagingError):
    """A command that staging ran failed; the staging log has its whole output, `output` the last lines of it.

    `status` is how it ended: "exit code 1", "killed by SIGKILL". Unless what it says is known, it may work next time.
    """

    _otherwise = "soon"

    def __init__(
        self, message: str, status: str = "", output: tuple[str, ...] = (), *, retry: Retry | None = None
    ) -> None:
        super().__init__(message, retry=retry)
        self.status = status
        self.output = output


class NeedsBuild(CommandFailed):
    """A package has no wheel for the app: its code would have to be run to make one."""


class UnsuitablePython(CommandFailed):
    """A package cannot be installed for the Python of a build; `reason` says which, in an operator's words.

    A later version of it may be able to, or another Python of this host.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message, retry="later")
        self.reason = reason


def where_all_is(app: str) -> str:
    """Return the sentence that says where the whole output of staging an app is."""
    return f"'reconciler logs {app} --which staging' shows the whole output"


class SourceError(StagingError):
    """The source of an app cannot be read, or contains something that cannot be staged."""


class SourceChanged(StagingError):
    """The source no longer is what the build was planned from: it has to be read again."""
