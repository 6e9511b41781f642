"""Start an app in its image: without arguments its web server, otherwise a command in its place.

usage: start.py [[--expand] COMMAND...]   with --expand, $NAME, ${NAME} and ${NAME:-otherwise} stand for variables

Run by the Python of the image, of 3.6 or newer; nothing of the daemon is imported here.
"""

import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping  # noqa: UP035  of 3.6, too

_LISTENER = 3
_BACKLOG = 2048
_PORT = "8000"
_EXPAND = "--expand"
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-([^}]*))?\})", re.ASCII)
_WRITABLE = "/tmp"  # noqa: S108  where a container without a home may write


def main(arguments: List[str]) -> None:  # noqa: UP006  the same
    """Become the program. Never returns."""
    run = Path(__file__).resolve().parent
    image = json.loads((run / "image.json").read_text(encoding="utf-8"))
    environ = variables(image, os.environ)
    os.chdir(image["directory"])
    try:
        if arguments[:1] == [_EXPAND]:
            arguments = [expanded(word, environ) for word in arguments[1:]]
        if arguments:
            os.execvpe(arguments[0], arguments, environ)  # noqa: S606  that is its purpose
        if not image["target"]:
            sys.exit(f"{image['app']} has no web server: give a command")
        Path(image["readiness"], environ["RECONCILER_INSTANCE"]).mkdir(mode=0o700, parents=True)
        listen(int(environ["PORT"]))
        words = [
            sys.executable,
            f"{run}/launcher.py",
            image["directory"],
            "-c",
            f"{run}/gunicorn.config",
            image["target"],
        ]
        os.execve(words[0], words, environ)  # noqa: S606  the same
    except (OSError, ValueError) as error:
        sys.exit(f"cannot run {image['app']}: {error}")


def variables(image: Mapping[str, Any], given: Mapping[str, str]) -> Dict[str, str]:  # noqa: UP006  the same
    """Return the environment: what was given overrides what the image has, but for what only the program knows."""
    environ = {**image["environment"], **given}
    environ.setdefault("PORT", _PORT)
    environ.setdefault("VCAP_SERVICES", "{}")
    version = environ.get("RECONCILER_REVISION", "")
    kind = {"process_type": environ["RECONCILER_PROCESS"]} if environ.get("RECONCILER_PROCESS") else {}
    told = {**image["application"], **kind, "application_version": version, "version": version}
    environ.setdefault("VCAP_APPLICATION", json.dumps(told, sort_keys=True))
    if not os.access(environ.get("HOME") or "/", os.W_OK):
        environ["HOME"] = _WRITABLE
    return {**environ, "RECONCILER_APP": image["app"], "RECONCILER_INSTANCE": os.urandom(6).hex()}


def expanded(word: str, environ: Mapping[str, str]) -> str:
    """Return a word of a command line with its variables filled in, as the daemon of a host does."""

    def value(found: "re.Match[str]") -> str:
        itself, name, braced, otherwise = found.groups()
        return itself or environ.get(name or braced) or otherwise or ""

    return _VARIABLE.sub(value, word)


def listen(port: int) -> None:
    """Have the listener as descriptor 3, at every address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(_BACKLOG)
    if listener.fileno() != _LISTENER:
        os.dup2(listener.fileno(), _LISTENER)
    os.set_inheritable(_LISTENER, True)
    listener.detach()


if __name__ == "__main__":
    main(sys.argv[1:])
