"""Errors of staging: each message says in an operator's words why a build cannot be made, and how to fix it."""

from reconciler.linux.encodable import encodable


class StagingError(Exception):
    """A build cannot be made; bytes of names that are not UTF-8 are escaped in its message."""

    def __init__(self, message: str) -> None:
        super().__init__(encodable(message))


class CommandFailed(StagingError):
    """A command that staging ran failed; the staging log has its whole output, `output` the last lines of it.

    `status` is how it ended: "exit code 1", "killed by SIGKILL".
    """

    def __init__(self, message: str, status: str = "", output: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.output = output


class UnsuitablePython(CommandFailed):
    """A package cannot be installed for the Python of a build; `reason` says which, in an operator's words."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def where_all_is(app: str) -> str:
    """Return the sentence that says where the whole output of staging an app is."""
    return f"'reconciler logs {app} --which staging' shows the whole output"


class SourceError(StagingError):
    """The source of an app cannot be read, or contains something that cannot be staged."""


class SourceChanged(StagingError):
    """The source no longer is what the build was planned from: it has to be read again."""
