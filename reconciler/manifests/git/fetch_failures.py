"""Say in a sentence why a fetch failed, from what git and ssh print; the code beside it is for programs."""

import re
from typing import Literal, TypeAlias

from reconciler.settings.git_url import host_of

Why: TypeAlias = Literal[
    "name", "refused-connection", "tls", "host-key", "credentials", "not-found", "redirected", "rate-limited",
    "time-out", "too-large", "no-space", "cut-off", "damaged", "no-git", "other",
]  # fmt: skip

# What git, ssh and the C library say where there is a limit.
OUT_OF_MEMORY = r"[Oo]ut of memory|Cannot allocate memory|unable to create thread|bad_alloc"

_OF_CONTENT: frozenset[Why] = frozenset(("too-large", "no-space", "cut-off", "damaged", "other"))
_LONGEST = 300
_DAMAGE = (
    r"fsck error|index-pack|unpack-objects|bad object|missing (?:blob|tree|commit)|all necessary objects|early EOF"
    r"|shallow file|not our ref|broken ref|unable to read|loose object|corrupt|not a git repository"
)
_ADD_KEY = "add the key there only if the server's operator confirms it"

# The first that is found decides; `{host}` is the server, `{found}` what the pattern captured, `{line}` what git says.
_SIGNS: tuple[tuple[str, Why, str], ...] = (
    (r"No space left on device|Disk quota exceeded", "no-space", "the disk of the state directory has no room for it"),
    (r"File too large|pack exceeds maximum", "too-large", "it is larger than 'size' of the repository"),
    (OUT_OF_MEMORY, "too-large", "git needs more memory for it than 'size' of the repository allows"),
    (r"error: 429|Too Many Requests", "rate-limited", "{host} answers that there were too many requests"),
    (
        r"(?s)REMOTE HOST IDENTIFICATION HAS CHANGED.*?\n(SHA256:[^\s.]+)",
        "host-key",
        f"the host key of {{host}} is not the one in 'known_hosts'; its fingerprint is {{found}}: {_ADD_KEY}",
    ),
    (
        r"host key is known for|Host key verification failed",
        "host-key",
        f"the host key of {{host}} is not in 'known_hosts', and 'ssh-keyscan' shows it: {_ADD_KEY}",
    ),
    (
        r"Could not resolve host(?:name)?|Name or service not known|Temporary failure in name",
        "name",
        "the name {host} cannot be resolved",
    ),
    (r"error: 30[1-8]|redirect", "redirected", "{host} redirects to another address: name that one in 'url'"),
    (
        r"Authentication failed|could not read Username|Permission denied|error: 40[13]|prompts disabled|Access denied",
        "credentials",
        "{host} refuses this host's credentials",
    ),
    (r"dubious ownership", "credentials", "the repository belongs to another user than the daemon's"),
    (
        r"not appear to be a git repository|[Rr]epository .*not found|error: 404|not found: did you run",
        "not-found",
        "there is no repository at this address of {host}",
    ),
    (
        r"Connection refused|Network is unreachable|No route to host|Failed to connect",
        "refused-connection",
        "{host} cannot be reached",
    ),
    (
        r"Connection reset by peer|Recv failure|transfer closed with",
        "cut-off",
        "the connection to {host} was cut off: {line}",
    ),
    (r"Operation too slow|timed out|Timeout", "time-out", "{host} does not answer in time"),
    (r"SSL certificate problem: ([^\n]+)", "tls", "the certificate of {host} is not trusted: {found}"),
    (r"SSL|TLS|gnutls|certificate", "tls", "there is no secure connection to {host}: {line}"),
    (_DAMAGE, "damaged", "what was fetched from {host} is damaged or incomplete: {line}"),
)


def failure_of(errors: str, url: str) -> tuple[Why, str]:
    """Return the code and the sentence of a fetch that failed with these messages."""
    for pattern, why, sentence in _SIGNS:
        if found := re.search(pattern, errors):
            captured = found[1] if found.re.groups and found[1] else ""
            return why, sentence.format(found=captured, host=host_of(url), line=_line(errors))
    return "other", f"git cannot fetch from {host_of(url)}: {_line(errors)}"


def is_missing_ref(errors: str) -> bool:
    """Return whether a fetch failed because the branch does not exist there."""
    return "couldn't find remote ref" in errors


def is_of_content(errors: str, url: str) -> bool:
    """Return whether a fetch failed because of what was asked for, as far as can be told, so that less may be had."""
    return not is_missing_ref(errors) and failure_of(errors, url)[0] in _OF_CONTENT


def gives_no_ids(errors: str) -> bool:
    """Return whether a fetch of a commit by its id failed because the server gives out branches and tags only."""
    return "does not allow request for unadvertised object" in errors or "not our ref" in errors


def _line(errors: str) -> str:
    """Return the first line that says what is wrong, printable, without what might be a secret in a URL."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    chosen = next((line for line in lines if line.startswith(("fatal:", "error:", "ERROR"))), lines[0] if lines else "")
    text = re.sub(r"://[^/@\s]*@", "://", chosen.removeprefix("fatal: ").removeprefix("error: "))
    return "".join(each if each.isprintable() else " " for each in text)[:_LONGEST] or "it says nothing"
