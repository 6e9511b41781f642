"""Judge the URL of a repository: ssh, https, user@host:path or an absolute path, without a secret in it."""

import re
from urllib.parse import urlsplit

_SCP = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^:].*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])")
_FORMS = "expected ssh://, https://, user@host:path, or an absolute path"


def uses_ssh(url: str) -> bool:
    """Return whether git opens a URL by ssh."""
    return url.startswith("ssh://") or ("://" not in url and _SCP.fullmatch(url) is not None)


def uses_https(url: str) -> bool:
    """Return whether git opens a URL by https."""
    return url.startswith("https://")


def problem_of_url(url: str) -> str:
    """Return what is wrong with a URL, empty if nothing is; the message does not repeat it."""
    if not url.isprintable() or not url.isascii() or " " in url:
        return f"{_FORMS}, of printable ASCII characters without spaces"
    if url.startswith("/") or ("://" not in url and _SCP.fullmatch(url)):
        return ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return _FORMS
    if (
        parts.scheme not in {"ssh", "https"}
        or not host
        or not _HOST.fullmatch(host if ":" not in host else f"[{host}]")
    ):
        return _FORMS
    if parts.password is not None or (parts.scheme == "https" and parts.username is not None):
        return "contains credentials: name the user in 'user', and the file with the token in 'token'"
    if parts.query or parts.fragment:
        return f"{_FORMS}, without '?' and '#'"
    if (parts.username or "").startswith("-"):
        return _FORMS
    return ""


def host_of(url: str) -> str:
    """Return the host of a URL, as messages name it; the path itself for a directory of this host."""
    if url.startswith("/"):
        return url
    return urlsplit(url).hostname or "" if "://" in url else url.partition("@")[2].partition(":")[0]
