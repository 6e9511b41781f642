"""Run the programs that verify signatures: with an environment built from nothing, a time limit, and no text trusted.

Their exit status counts, and for gpg the lines on a descriptor of its own; what they print for people is never read.
"""

import asyncio
import shutil
from collections.abc import Mapping, Sequence

from reconciler.linux.child_processes import running
from reconciler.linux.memory_files import memory_files
from reconciler.manifests.git.program import PATH
from reconciler.manifests.git.signed_objects import NotSigned

_WITHIN_S = 30.0
_MOST_OUTPUT = 256 * 1024
_BLOCK = 65536


class Programs:
    """The programs in the directories of `path`, each of which the package in `PACKAGES` installs."""

    PACKAGES: Mapping[str, str] = {"ssh-keygen": "openssh-client", "gpg": "gnupg"}

    def __init__(self, path: str = PATH, within_s: float = _WITHIN_S) -> None:
        self._path = path
        self._within_s = within_s

    async def run(self, program: str, *arguments: str, files: Sequence[int] = (), given: bytes = b"") -> "Finished":
        """Run a program on some open files, with `given` as its standard input. Raises NotSigned, OSError."""
        found = await asyncio.to_thread(shutil.which, program, path=self._path)
        if found is None:
            package = self.PACKAGES[program]
            raise NotSigned("no-program", f"cannot be verified without {program}: install the package {package}")
        try:
            with memory_files(given) as (standard_input,):
                return await self._finished((found, *arguments), standard_input, files)
        except TimeoutError:
            raise NotSigned("timed-out", f"was not verified by {program} within {self._within_s:g} s") from None

    async def _finished(self, argv: Sequence[str], standard_input: int, files: Sequence[int]) -> "Finished":
        environment = {"PATH": self._path, "LANG": "C", "LC_ALL": "C", "HOME": "/nonexistent"}
        async with running(
            argv,
            self._within_s,
            stdin=standard_input,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=tuple(files),
            env=environment,
            cwd="/",
        ) as child:
            assert child.stdout is not None
            output = b""
            while block := await child.stdout.read(_BLOCK):
                output += block[: _MOST_OUTPUT - len(output)]
            return Finished(await child.wait(), output)


class Finished:
    """A program that has ended, with its exit status and the first of its output."""

    __slots__ = ("output", "status")

    def __init__(self, status: int, output: bytes) -> None:
        self.status = status
        self.output = output
