"""What staging says when it cannot make a build, in an operator's words, with the way out."""


class StagingError(Exception):
    """Staging did not work; the message says why and what to do about it."""


class SourceError(StagingError):
    """The source of an app cannot be read, or holds something that cannot be staged."""


class SourceChanged(StagingError):
    """The source is no longer what the build was asked for: look at it again."""
