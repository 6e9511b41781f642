"""Where the statuses of commits are told: the API of a git server, and the project there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from reconciler.linux.dataclass import dataclass
from reconciler.settings.git_url import host_of

Forge: TypeAlias = Literal["github", "gitlab", "gitea", "forgejo", "bitbucket", "bitbucket-data-center"]

_APIS = {"github.com": "https://api.github.com", "bitbucket.org": "https://api.bitbucket.org/2.0"}
_PATHS: Mapping[Forge, str] = {
    "github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1", "forgejo": "/api/v1", "bitbucket": "/2.0",
    "bitbucket-data-center": "/rest/build-status/1.0",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Statuses:
    """The git server of a repository, by its API's URL, and the project there; `token` is the file of the token.

    `web` is the URL of the project for people.
    """

    forge: Forge
    api: str
    project: str
    token: Path
    web: str


def api_of(forge: Forge, given: str | None, url: str) -> str:
    """Return the URL of an API: as the settings have it, with the server's usual path if they name none."""
    base = (given or f"https://{server_of(url)}").rstrip("/")
    parts = urlsplit(base)
    if parts.path or base in _APIS.values():
        return base
    return _APIS.get(parts.netloc, f"{base}{_PATHS[forge]}")


def server_of(url: str) -> str:
    """Return the host of a repository's URL as https:// addresses have it, with a port where the URL has one of https.

    The port of ssh is that of another service.
    """
    if url.startswith("https://"):
        return urlsplit(url).netloc.lower().removesuffix(":443")
    host = host_of(url)
    return f"[{host}]" if ":" in host else host


def project_of(given: str | None, url: str) -> str:
    """Return the path of a project on its server, such as `ops/fleet`; "" if a URL does not tell it."""
    if given is not None:
        return given
    if url.startswith("/"):
        return ""
    path = unquote(urlsplit(url).path) if "://" in url else url.partition(":")[2]
    return path.strip("/").removesuffix(".git")


def problem_of_api(url: str) -> str:
    """Return what is wrong with the URL of an API, "" if nothing is; the message does not repeat it."""
    expected = "expected an address such as https://git.example.com"
    if not url.isprintable() or not url.isascii() or " " in url:
        return expected
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return expected
    if parts.scheme != "https" or not host or parts.query or parts.fragment:
        return expected
    return "contains credentials: name the file with the token in 'token'" if "@" in parts.netloc else ""
