"""Read the short form of an origin in git, `git+https://HOST/PATH@BRANCH#subdirectory=PATH`, as pip and uv write it."""

import json
from posixpath import basename
from typing import TYPE_CHECKING

from reconciler.documents.names import name_from
from reconciler.settings.file import parse
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.settings.git import GitOrigin

PREFIX = "git+"
FORM = "expected git+https://HOST/PATH@BRANCH, or git+file:///PATH@BRANCH, with #subdirectory=PATH if it is not the top"


def origin_of(text: str, settings: Settings) -> "GitOrigin":
    """Return the origin, named after its repository. Raises ValueError, whose message does not repeat the text."""
    address, _, fragment = text.removeprefix(PREFIX).partition("#")
    scheme, separator, rest = address.partition("://")
    host, slash, tail = rest.partition("/")
    path, at, branch = tail.rpartition("@")
    if scheme == "ssh" and separator:
        raise ValueError("ssh needs a key and the public keys of its server: name both in the host's settings")
    if "@" in host:
        raise ValueError("contains credentials: name the user, and the file with the token, in the host's settings")
    if scheme not in {"https", "file"} or not slash or not at or (scheme == "file" and host):
        raise ValueError(FORM)
    subdirectory = ""
    if fragment:
        key, equals, subdirectory = fragment.partition("=")
        if key != "subdirectory" or not equals or "&" in subdirectory:
            raise ValueError(FORM)
    url = f"/{path}" if scheme == "file" else f"https://{host}/{path}"
    name = name_from(basename(path.rstrip("/")).removesuffix(".git")) or "git"
    return _origin(name, url, branch, subdirectory, settings)


def _origin(name: str, url: str, branch: str, path: str, settings: Settings) -> "GitOrigin":
    """Return the origin as a settings file would name it. Raises ValueError."""
    written = {
        "git": {"repositories": {name: {"url": url, "signed": "no"}}},
        "origins": {name: {"repository": name, "branch": branch, "path": path}},
    }
    found = parse("", json.dumps(written).encode(), settings)
    if found.problems:
        raise ValueError(found.problems[0].message)
    origin: GitOrigin = found.given["origins"][0]
    return origin
