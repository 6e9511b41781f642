"""Read the files that hold secrets, plain or encrypted with age or SOPS: the one way to their content.

An encrypted file is opened in memory; what is in it stands in no message, and nothing is loaded for a plain one.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.dataclass import dataclass
from reconciler.linux.readable_paths import readable_path
from reconciler.vault import dotenv
from reconciler.vault.dotenv import Unusable
from reconciler.vault.encryption.recognition import encryption_of, unencrypted

if TYPE_CHECKING:
    from reconciler.vault.encryption.opening import Opened


P = ParamSpec("P")
T = TypeVar("T")

_MOST_THREADS, _AT_ALL = 16, 256


class Decryption(Protocol):
    """How this host opens encrypted files, as its settings say."""

    @property
    def identities(self) -> tuple[Path, ...]:
        """The files of the private keys that files are encrypted to."""
        ...

    @property
    def open_command(self) -> tuple[str, ...]:
        """The words of the program that opens documents of SOPS for which there is no identity, empty for none."""
        ...

    @property
    def unopened(self) -> tuple[Path, ...]:
        """The directories whose encrypted files are not opened."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithoutIdentities:
    """A host that opens no encrypted file."""

    identities: tuple[Path, ...] = ()
    open_command: tuple[str, ...] = ()
    unopened: tuple[Path, ...] = ()


class SecretReader:
    """Reads files of at most 1 MiB. Every method raises Unusable, and blocks.

    Without `may_wait`, as on the loop, it runs no program to open one. Those `of_host` are named by the settings of the
    host, not by a manifest.
    """

    def __init__(self, host: Decryption | None = None, *, may_wait: bool = True, of_host: bool = False) -> None:
        self._host = host or _WithoutIdentities()
        self._of_host = of_host
        self._words = self._host.open_command if may_wait else ()
        self._threads = DaemonThreads("secrets", _MOST_THREADS, kept_s=1.0, at_all=_AT_ALL)

    async def in_thread(self, read: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Run what reads in a thread of our own: a program, or a disk, that hangs keeps no other work."""
        return await asyncio.wrap_future(self._threads.run(partial(read, *arguments, **named)))

    def text_of(self, file: Path) -> str:
        """Return the text of a file."""
        return self._opened(file)[0]

    def value_of(self, file: Path) -> str:
        """Return the text of a file without its last line break, which editors add."""
        return self.text_of(file).removesuffix("\n").removesuffix("\r")

    def variables_of(self, file: Path) -> dict[str, str]:
        """Return the variables of a file of NAME=VALUE lines, or of a document of SOPS whose fields are such."""
        text, found = self._opened(file)
        if found is None or not found.has_fields:
            return dotenv.pairs_of(file, text)
        return {name: _variable(file, name, value) for name, value in _fields(file, found).items()}

    def fields_of(self, file: Path) -> dict[str, Any]:
        """Return the fields of a JSON object, of NAME=VALUE lines, or of a document of SOPS."""
        text, found = self._opened(file)
        if found is not None and found.has_fields:
            return _fields(file, found)
        if not text.lstrip().startswith("{"):
            return dict(dotenv.pairs_of(file, text))
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise Unusable(f"{file} holds no JSON") from None
        if not isinstance(fields, dict):
            raise Unusable(f"{file} holds no JSON object")
        return fields

    def _opened(self, file: Path) -> "tuple[str, Opened | None]":
        """Return the text of a file, and what it is if it was encrypted."""
        content = dotenv.bytes_of(file, of_host=self._of_host)
        encryption = encryption_of(content)
        if encryption is None:
            if problem := unencrypted(file.name):
                raise Unusable(f"cannot use {readable_path(file)}: {problem}")
            return dotenv.text_of(file, content), None
        if any(file.is_relative_to(directory) for directory in self._host.unopened):
            raise Unusable(
                f"cannot open {readable_path(file)}: its origin may have no file opened with this host's identities"
                " (may.secrets)"
            )
        # Most hosts have no encrypted file.
        from reconciler.vault.encryption.age import CannotOpen
        from reconciler.vault.encryption.opening import opened

        try:
            found = opened(file, content, encryption, self._host.identities, self._words)
        except CannotOpen as error:
            raise Unusable(f"cannot open {readable_path(file)}: {error}") from None
        return dotenv.text_of(file, found.content), found


def _fields(file: Path, found: "Opened") -> dict[str, Any]:
    from reconciler.vault.encryption.age import CannotOpen

    try:
        return found.fields()
    except CannotOpen as error:
        raise Unusable(f"cannot use {readable_path(file)}: {error}") from None


def _variable(file: Path, name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    kind = "null" if value is None else "a list" if isinstance(value, list) else "a mapping"
    raise Unusable(f"cannot use {readable_path(file)}: its field '{name}' is {kind}; a variable is text or a number")
