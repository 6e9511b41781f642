"""Start the fork server that most instances came from, while the daemon is still being loaded: as after a boot.

Which one that is stands in the state directory. What the record says is believed as far as it names an environment
there, and what it started is used as far as it is of the kind that an instance needs by then.
"""

import errno
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.package_files import package_directory
from reconciler.linux.processes import Command, started
from reconciler.linux.regular_files import read_record
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.serving.forkserver.eligibility import ForkKind

_PROGRAM = "main.py"
_MOST = 16 * 1024
_MODULE = re.compile(r"gunicorn\.workers\.[a-z]+")


@dataclass(frozen=True, slots=True)
class Begun:
    """A fork server that is starting, and the daemon's end of its socket; `kind` is what the record says of it."""

    kind: Any  # as it stands in the file
    pid: int
    connection: socket.socket
    users: int

    def is_of(self, kind: "ForkKind") -> bool:
        """Whether it can stand for one of this kind, and has the rights that this process has."""
        return bool(self.kind == _stored(kind)) and self.users == _users()


def begin(paths: StatePaths) -> Begun | None:
    """Start what the record names; nothing where instances may still run, which need none."""
    if _answers(paths.keeper):
        return None
    try:
        record = read_record(paths.fork_server, _MOST)
        python, kind = Path(record["python"]), record["kind"]
        module, launcher = kind["module"], str(package_directory("reconciler.serving") / "launcher.py")
        is_environments = python.parents[2] == paths.environments and python.parts[-2:] == ("bin", "python")
        if not is_environments or ".." in python.parts or kind["launcher"] != launcher or kind["for_isolated"]:
            return None
        if not _MODULE.fullmatch(module):
            return None
        pid, connection = start((str(python), launcher, module), paths.fork_servers_log)
    except (OSError, ValueError, KeyError, IndexError, TypeError):  # none yet, or written by another version
        return None
    return Begun(kind, pid, connection, _users())


def start(words: Sequence[str], log: Path) -> tuple[int, socket.socket]:
    """Start a fork server by its interpreter and its arguments; return its pid, and our end of its socket.

    Raises OSError.
    """
    python, *arguments = words
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            argv = (python, str(package_directory("reconciler.serving.forkserver") / _PROGRAM), *arguments)
            return started(Command(argv=argv, env=env_of(python), listener=theirs.fileno(), output=log)), ours
    except BaseException:
        ours.close()
        raise


def env_of(python: str) -> Mapping[str, str]:
    """Return what an interpreter reads when it starts, the same as in the environment of an instance."""
    return {
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }


def remember(paths: StatePaths, python: str, kind: "ForkKind") -> None:
    """Write down which one to start next time. Raises OSError."""
    import json

    replace_file(paths.fork_server, json.dumps({"python": python, "kind": _stored(kind)}), durable=False)


def _stored(kind: "ForkKind") -> Any:
    """Return a kind as JSON gives it back."""
    fields = asdict(kind)
    return {**fields, "interpreter": list(kind.interpreter), "hooks": [list(hook) for hook in kind.hooks]}


def _users() -> int:
    return os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116  no other name of it


def _answers(path: Path) -> bool:
    """Whether a process has this socket open; it notices nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(os.fsencode(path)) == errno.EPROTOTYPE
