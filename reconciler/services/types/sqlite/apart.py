"""Have a process of its own work with a database: this one opens none that an app can write."""

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path
from typing import Any, Literal

from reconciler.linux.child_processes import bound_to_us, running
from reconciler.services.provisioner import ServiceError
from reconciler.services.server_tools import TIMEOUT_S
from reconciler.services.types.sqlite import apart_main

Operation = Literal["make", "back up", "restore", "verify"]
_LONGEST_QUOTE = 300
_PATIENCE_S = 60  # without progress
_PROGRAM = (sys.executable, "-I", "-S", apart_main.__file__)


async def apart(database: Path, do: Operation, what: str, **files: str) -> dict[str, Any]:
    """Do something with a database; returns what was found. Raises ServiceError that begins with `what`.

    `files` are absolute paths and URIs, as the program names them. A cancellation ends the process.
    """
    asked = {
        "do": do,
        "directory": str(database.parent),
        "name": database.name,
        "patience_s": _PATIENCE_S,
        "group": _group_of_apps(database.parent),
        **files,
    }
    pipe = asyncio.subprocess.PIPE
    try:
        async with running(
            bound_to_us(_PROGRAM), TIMEOUT_S, cwd="/", env={}, stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            printed, said = await process.communicate(json.dumps(asked).encode())
    except TimeoutError as error:
        raise ServiceError(f"{what}: no success within {TIMEOUT_S:g} s") from error
    except OSError as error:
        raise ServiceError(f"{what}: {error}") from error
    if process.returncode == -signal.SIGALRM:
        raise ServiceError(f"{what}: SQLite waits in vain: look at what lies in {database.parent}")
    try:
        answer: dict[str, Any] = json.loads(printed)
    except ValueError:
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        raise ServiceError(f"{what}: {(last or ['its process was ended'])[0][:_LONGEST_QUOTE]}") from None
    if "error" in answer:
        raise ServiceError(f"{what}: {answer['error']}")
    return answer


def _group_of_apps(directory: Path) -> int:
    """Return the group by which apps with users of their own share a directory, 0 if none do."""
    found = directory.stat()
    return found.st_gid if found.st_mode & stat.S_ISGID and os.geteuid() == 0 else 0
