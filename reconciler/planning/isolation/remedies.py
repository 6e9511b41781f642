"""Say which field of its manifest helps an isolated app that ended by what its isolation refused to it. Pure.

What it said last is all that is known: an error of the operating system, as Python, Node.js or a C program writes it.
"""

import re

_PATH = r"[^'\n]{0,300}'(?P<path>/[^'\n]{1,300})'"
_READ_ONLY = re.compile(rf"(?:\[Errno 30\]|EROFS\b){_PATH}")
_ABSENT = re.compile(rf"(?:\[Errno 2\]|ENOENT\b|\[Errno 13\]|EACCES\b){_PATH}")
_OUT_OF_SIGHT = ("/srv/", "/opt/", "/var/", "/home/", "/root/", "/run/", "/mnt/", "/media/")
_NO_PORT = re.compile(r"\[Errno 13\] Permission denied(?! *: *')|EACCES: permission denied \d|listen EACCES")
_NO_PACKAGE = re.compile(r"(?:Distribution not found at: |cannot install from )(?:file://)?(?P<path>/[^\s:;'`]{1,300})")
_NO_NETWORK = re.compile(r"\[Errno 97\]|EAFNOSUPPORT")
_NOT_LISTED = re.compile(
    r"\[Errno (?:111|113)\]|ECONNREFUSED|EHOSTUNREACH|Connection refused|connect EACCES|"
    r"\[Errno 13\] Permission denied(?! *: *')|\[Errno 1\] Operation not permitted(?! *: *')"
)
_REFUSED_HERE = re.compile(
    r"(?=.*(?:localhost|\b127\.\d|\[?::1\b))(?=.*(?:\[Errno 111\]|ECONNREFUSED|Connection refused))", re.DOTALL
)
_NO_CALL = re.compile(r"\[Errno 1\] Operation not permitted|EPERM: operation not permitted")


def remedy(said: str, *, listed: bool = False) -> str:
    """Return what an isolated app may do about what it said last, "" if isolation has no part in that.

    One that is `listed` has a list of where it may connect to.
    """
    if listed and _NOT_LISTED.search(said):
        return "isolated, it connects to nothing but what 'network.connect' lists, by host and port"
    if _REFUSED_HERE.match(said):
        return "isolated, it connects to another app of this host only if 'network.connect' names where, as [all, 8001]"
    if found := _READ_ONLY.search(said):
        return f"isolated, it cannot write {found['path']}: 'persist' keeps what is named there, and $HOME all"
    if (found := _ABSENT.search(said)) and found["path"].startswith(_OUT_OF_SIGHT):
        return f"isolated, it sees {found['path']} only if 'mounts' names a directory that it is in"
    if _NO_NETWORK.search(said):
        return "isolated, it opens no socket of that kind: 'network.connect' may be none"
    if _NO_PORT.search(said):
        return "isolated, it opens no port of its own: 'network: {listen: true}' lets it"
    if _NO_CALL.search(said):
        return "isolated, it may not make a system call that it made: 'isolation: none' lets it"
    return ""


def remedy_of_build(said: str) -> str:
    """Return the same for a command that builds for an isolated app, or installs its packages."""
    if found := _READ_ONLY.search(said):
        return f"isolated, its build cannot write {found['path']}: its code, $HOME and $TMPDIR are there for that"
    absent = _ABSENT.search(said) or _NO_PACKAGE.search(said)
    if absent and absent["path"].startswith(_OUT_OF_SIGHT):
        return f"isolated, its build sees {absent['path']} only if 'mounts' names a directory that it is in"
    return ""
