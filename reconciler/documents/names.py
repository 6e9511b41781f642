"""Names of apps and services, which are DNS labels, and of environment variables."""

import re

LONGEST_NAME = 63
NAME_PATTERN = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(NAME_PATTERN)
PROCESS_PATTERN = "[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_PROCESS = re.compile(PROCESS_PATTERN)
PROCESS_LOG_PATTERN = rf"{PROCESS_PATTERN}\.[1-9][0-9]{{0,2}}"
_PROCESS_LOG = re.compile(PROCESS_LOG_PATTERN)
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def is_name(text: str) -> bool:
    """Return whether an app or a service may have this name."""
    return _NAME.fullmatch(text) is not None


def is_process_name(text: str) -> bool:
    """Return whether a process of an app may have this name: that of a line in a Procfile, as a rule."""
    return _PROCESS.fullmatch(text) is not None


def name_from(text: str) -> str:
    """Return a text made a name, as far as that can be; empty when nothing of it can stand in a name.

    >>> name_from("My Blog")
    'my-blog'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST_NAME].strip("-")


def is_variable_name(text: str) -> bool:
    """Return whether an environment variable may have this name."""
    return _VARIABLE.fullmatch(text) is not None


def is_process_log(text: str) -> bool:
    """Return whether this may be the log of one number of a process: `worker.1`."""
    return _PROCESS_LOG.fullmatch(text) is not None
