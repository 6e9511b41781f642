"""Verify OpenPGP signatures, by gpg with a keyring of just the given keys, made for the purpose and removed afterwards.

A signature counts if gpg has exactly one good one to report, of a key that has neither expired nor been revoked by now.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.linux.beneath import directory
from reconciler.linux.memory_files import memory_files, path_of
from reconciler.manifests.git.signed_objects import Fault, NotSigned, SignedObject
from reconciler.manifests.git.verifiers import Programs

# No configuration, no agent, no network, no trust database; the time is that of this host.
_OPTIONS = (
    *("--batch", "--no-tty", "--no-options", "--no-autostart", "--disable-dirmngr", "--lock-never"),
    *("--no-auto-key-retrieve", "--no-auto-key-locate", "--no-auto-check-trustdb", "--trust-model", "always"),
    *("--status-fd", "1"),
)
_PREFIX = b"[GNUPG:] "
_FAULTS: Mapping[str, tuple[Fault, str]] = {
    "EXPKEYSIG": ("ended", "is signed by the OpenPGP key {}, which has expired"),
    "EXPSIG": ("ended", "has a signature of the OpenPGP key {} that has expired"),
    "REVKEYSIG": ("ended", "is signed by the OpenPGP key {}, which was revoked"),
    "BADSIG": ("not-verified", "has a signature of the OpenPGP key {} that does not fit it"),
    "ERRSIG": ("no-signer", "is signed by an OpenPGP key that no signer has ({})"),
}
# SHA-224 and the longer ones: RFC 9580, 9.5.
_HASHES = frozenset(("8", "9", "10", "11"))
_OF_DATA = "00"


class Keyring:
    """A keyring in the directory that `home` holds open, which has the keys of the signers and no other.

    gpg knows it by that descriptor: it cannot work below a path that is too long for a socket.
    """

    def __init__(self, programs: Programs, home: int) -> None:
        self._programs = programs
        self._home = home

    async def fill(self, keys: bytes) -> None:
        """Take the keys of a file, armored or not. Raises NotSigned if it has none that can be used, OSError."""
        with memory_files(keys) as (file,):
            done = await self._programs.run("gpg", *self._options, "--import", path_of(file), files=(self._home, file))
        if done.status != 0 or not any(words[0] == "IMPORT_OK" for words in _status(done.output)):
            raise NotSigned("not-verified", "cannot be verified: gpg cannot import every key of the file 'openpgp'")

    async def signer(self, found: SignedObject) -> str:
        """Return the full fingerprint of the primary key that a signature belongs to. Raises NotSigned, OSError."""
        with memory_files(found.signature) as (file,):
            arguments = (*self._options, "--verify", path_of(file), "-")
            done = await self._programs.run("gpg", *arguments, files=(self._home, file), given=found.payload)
        return _signer(done.status, _status(done.output))

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--homedir", path_of(self._home), *_OPTIONS)


@asynccontextmanager
async def keyring(keys: bytes, programs: Programs, scratch: Path) -> AsyncIterator[Keyring]:
    """Hold a keyring of these keys in a directory below `scratch`. Raises NotSigned, OSError."""
    with TemporaryDirectory(dir=scratch, prefix=".draft-keys-") as made, directory(Path(made)) as home:
        found = Keyring(programs, home)
        await found.fill(keys)
        yield found


def _signer(status: int, lines: Sequence[Sequence[str]]) -> str:
    """Return the primary key of the one good signature that gpg reports. Raises NotSigned."""
    for words in lines:
        if words[0] in _FAULTS:
            fault, message = _FAULTS[words[0]]
            raise NotSigned(fault, message.format(_printable(words[1:2])))
    counts = {name: sum(1 for words in lines if words[0] == name) for name in ("NEWSIG", "GOODSIG", "VALIDSIG")}
    if status != 0 or set(counts.values()) != {1}:
        raise NotSigned("not-verified", "has no OpenPGP signature that gpg can verify, or more than one")
    (valid,) = (words[1:] for words in lines if words[0] == "VALIDSIG")
    if len(valid) < 10 or valid[7] not in _HASHES or valid[8] != _OF_DATA:
        raise NotSigned("not-verified", "has an OpenPGP signature of a kind, or with a digest, that is not accepted")
    return valid[9]


def _status(output: bytes) -> list[list[str]]:
    lines = (line.removeprefix(_PREFIX) for line in output.split(b"\n") if line.startswith(_PREFIX))
    return [words for line in lines if (words := line.decode(errors="replace").split(" ")) and words[0]]


def _printable(words: Sequence[str]) -> str:
    return "".join(letter for word in words for letter in word if letter.isalnum())[:64]
