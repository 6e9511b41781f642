"""Errors of staging: each message says in an operator's words why a build cannot be made, and how to fix it."""


class StagingError(Exception):
    """A build cannot be made."""


class SourceError(StagingError):
    """The source of an app cannot be read, or contains something that cannot be staged."""


class SourceChanged(StagingError):
    """The source no longer is what the build was planned from: it has to be read again."""
